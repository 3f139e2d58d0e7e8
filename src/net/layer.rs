//! Layers between a socket and a parser, such as compression: any number, one upon the other.
//!
//! ```text
//!   parser <-- Inflow <-- Inflow <-- socket        the task that reads, on its own
//!   queue  --> Wire   --> Wire   --> socket        whoever writes, under a lock of each layer
//! ```
//!
//! Each layer has two halves: an [`Inflow`], which the task of the connection owns, and a [`Wire`]
//! over the wire below. What a layer has to say by itself, its reading half puts into the [`Held`]
//! of the other one, where it waits for the socket like anything else.

use std::io::{self, IoSlice};

use crate::base::closed_reason::ClosedReason;
use crate::conn::Wire;

/// The reading half of a layer.
pub(crate) trait Inflow: Send {
    /// The next piece that `input` has for what is above.
    ///
    /// Nothing whole stays inside: behind [`Next::Missing`] only further input brings another
    /// piece. So the rule of sockets holds for layers too: who has got all that a read brought has
    /// to wait for the next one.
    ///
    /// # Errors
    /// The connection has to be ended: nothing sensible can be read behind a [`LayerError`].
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError>;
}

/// The next of an input, for what is above a layer.
pub(crate) enum Next<'a> {
    /// These bytes, to be changed at will, and how many of the input are used up.
    Piece(&'a mut [u8], usize),
    /// All of the input is used up; the start of something is kept for the next call.
    Missing,
    /// Nothing: the other side has ended its stream.
    #[cfg_attr(not(test), expect(dead_code, reason = "S2 streams have no end"))]
    End,
}

/// A breach of the rules of a layer.
pub(crate) struct LayerError {
    /// Why the connection ends.
    pub(crate) reason: ClosedReason,
    /// For the log.
    pub(crate) text: String,
}

/// The bytes that the writing half of a layer has made and the wire below has not taken yet.
///
/// Bytes of the queue count as written only when all is out that was made of them; until then the
/// socket is full. So the queue still has what stands here, and nobody else has to know.
///
/// Invariant: `queued_len` bytes stand first in what the next call brings.
pub(crate) struct Held {
    /// Bytes that were queued below the layer.
    clear_len: usize,
    /// The layer appends what it says by itself.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of `bytes` that are out.
    written: usize,
    /// Bytes of the queue that `bytes` were made of.
    queued_len: usize,
    /// Room that is kept while nothing is held.
    kept_len: usize,
}

impl Held {
    /// Holds nothing. The next `clear_len` bytes go through as they are.
    pub(crate) fn new(clear_len: usize, kept_len: usize) -> Held {
        Held { clear_len, bytes: Vec::new(), written: 0, queued_len: 0, kept_len }
    }

    /// Writes `slices` as [`Wire::try_write`] does. Unless something is held of them, `make`
    /// appends what their first bytes become, and tells how many these are.
    pub(crate) fn try_write(
        &mut self,
        below: &dyn Wire,
        slices: &[IoSlice<'_>],
        make: impl FnOnce(&[IoSlice<'_>], &mut Vec<u8>) -> usize,
    ) -> io::Result<usize> {
        if self.clear_len > 0 {
            let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else { return Ok(0) };
            let clear = &first[..first.len().min(self.clear_len)];
            let written = below.try_write(&[IoSlice::new(clear)])?;
            self.clear_len -= written;
            return Ok(written);
        }
        if self.queued_len == 0 {
            self.queued_len = make(slices, &mut self.bytes);
        }
        self.try_flush(below)?;
        Ok(std::mem::take(&mut self.queued_len))
    }

    /// Writes what is held, as [`Wire::try_flush`] does.
    pub(crate) fn try_flush(&mut self, below: &dyn Wire) -> io::Result<()> {
        if self.clear_len > 0 {
            return Ok(());
        }
        while self.written < self.bytes.len() {
            self.written += below.try_write(&[IoSlice::new(&self.bytes[self.written..])])?;
        }
        self.bytes.clear();
        self.bytes.shrink_to(self.kept_len);
        self.written = 0;
        Ok(())
    }
}
