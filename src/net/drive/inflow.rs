//! Input of a compressed connection: decompressed block by block, then handled as any other.

use std::sync::Arc;

use crate::base::closed_reason::ClosedReason;
use crate::config::compression::Level;
use crate::conn::conn_event;
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::net::compressed::Compressed;
use crate::net::drive::behind::Compression;
use crate::net::drive::{Drive, Handled};
use crate::net::s2::Decompressor;

impl<M: Machine> Drive<M> {
    /// Handles what is in `input`, piece by piece.
    pub(super) fn handle_compressed(&mut self, input: &[u8], delivery: &mut Delivery) -> Handled {
        let Some(mut compression) = self.behind().compression.take() else { return Handled::All };
        let mut rest = input;
        let handled = loop {
            match compression.decompressor.next(rest) {
                Ok((None, _)) => break Handled::All,
                Ok((Some(plain), used)) => {
                    rest = &rest[used..];
                    let handled = self.handle(plain, delivery);
                    if handled != Handled::All {
                        compression.kept.extend_from_slice(rest);
                        break handled;
                    }
                    if self.conn().is_closed() {
                        break Handled::All;
                    }
                }
                Err(error) => {
                    conn_event!(ERROR, self.conn(), "Error decompressing: {error}");
                    self.end(ClosedReason::ReadError, true, delivery);
                    break Handled::All;
                }
            }
        };
        self.behind().compression = Some(compression);
        handled
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.compression.is_some())
    }

    /// What is staged still goes out as it is; all that follows, and all that is read behind this
    /// op, is compressed.
    pub(super) fn compress(&mut self, level: Level, rest: &mut &[u8], delivery: &mut Delivery) {
        if let Some(compression) = &self.behind().compression {
            compression.outflow.set_level(level);
            return;
        }
        self.commit(delivery);
        let stream = Arc::clone(&self.stream);
        let outflow = self.conn().rewire(|clear| Compressed::new(stream, level, clear));
        let kept = std::mem::take(rest).to_vec();
        let compression = Compression { decompressor: Decompressor::new(), kept, outflow };
        self.behind().compression = Some(Box::new(compression));
        self.session.machine.handle_compressed(delivery);
    }
}
