//! A wire for tests and fuzz bodies.
//!
//! Knows no socket; it is never full.

use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::ids::{Cid, Kind};
use crate::base::moment::Moment;
use crate::conn::{Conn, Slot, Wire};

/// A wire that takes everything, and keeps it.
#[derive(Default)]
pub(crate) struct Taken(Mutex<Vec<u8>>);

impl Taken {
    /// A connection on this wire, which began at `start` and has no remote address.
    pub(crate) fn conn(self: &Arc<Self>, cid: Cid, kind: Kind, slot: Slot, start: Moment) -> Conn {
        let wire = Arc::clone(self);
        Conn::new(cid, kind, slot, None, start, wire)
    }

    /// The bytes written since the last call.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Wire for Taken {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = self.0.lock();
        slices.iter().for_each(|slice| taken.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}
