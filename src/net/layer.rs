//! Layers between a socket and a parser, such as compression: any number, one on top of the other.
//!
//! ```text
//!   parser <-- Inflow <-- Inflow <-- socket        the owning task alone
//!   queue  --> Wire   --> Wire   --> socket        any writing thread, under a lock of each layer
//! ```
//!
//! Each layer has two halves: an [`Inflow`], which the task of the connection owns, and a [`Wire`]
//! over the wire below. For frames of a layer itself, such as an answer to a ping, the reading half
//! appends to the [`Held`] of the writing half, where they wait for the socket like other bytes.

use std::io::{self, ErrorKind, IoSlice};

use smallvec::SmallVec;

use crate::base::closed_reason::ClosedReason;
use crate::conn::Wire;

/// The reading half of a layer.
pub(crate) trait Inflow: Send {
    /// The next piece of `input` for the layer or parser above; an empty one to let the caller
    /// count the work.
    ///
    /// The caller asks until more input is missing, or the stream has ended. So layers are
    /// edge-triggered, too: then the task waits for the next read.
    ///
    /// # Errors
    /// The caller has to end the connection: after a [`LayerError`] no input has a meaning.
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError>;

    /// Says that our stream ends, behind what is written, and the reason. To say it again does
    /// nothing.
    fn end(&mut self, _reason: ClosedReason) {}
}

/// The next part of an input, for the layer or parser above.
pub(crate) enum Next<'a> {
    /// These bytes, which the caller may change, and the number of bytes of the input used up.
    Piece(&'a mut [u8], usize),
    /// All of the input is used up; an incomplete piece is kept for the next call.
    Missing,
    /// Nothing: the other side has ended its stream.
    End,
}

/// A breach of the rules of a layer.
pub(crate) struct LayerError {
    /// The reason to close the connection.
    pub(crate) reason: ClosedReason,
    /// For the log.
    pub(crate) text: String,
}

/// The bytes made by the writing half of a layer that the wire below has not taken yet.
///
/// Bytes of the queue count as written only when all bytes made of them are written; until then the
/// socket is full. So the queue still has the bytes that stand here, and no other code has to know.
///
/// Invariant: the next call offers the same `queued_len` bytes first.
pub(crate) struct Held {
    /// Bytes queued below the layer.
    clear_len: usize,
    /// The layer appends its own frames here.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of `bytes` that are written.
    written: usize,
    /// Bytes of the queue that `bytes` are made of.
    queued_len: usize,
    /// Room kept while nothing is held.
    kept_len: usize,
}

impl Held {
    /// Holds nothing. The next `clear_len` bytes go through as they are.
    pub(crate) fn new(clear_len: usize, kept_len: usize) -> Held {
        Held { clear_len, bytes: Vec::new(), written: 0, queued_len: 0, kept_len }
    }

    /// Writes `slices` as [`Wire::try_write`] does. Unless some of them are held, `make` encodes
    /// their first bytes, appends the result, and returns the number of bytes encoded.
    pub(crate) fn try_write(
        &mut self,
        below: &dyn Wire,
        slices: &[IoSlice<'_>],
        mut make: impl FnMut(&[IoSlice<'_>], &mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.clear_len > 0 {
            let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else { return Ok(0) };
            let clear = &first[..first.len().min(self.clear_len)];
            let written = below.try_write(&[IoSlice::new(clear)])?;
            self.clear_len -= written;
            return Ok(written);
        }
        let mut written = 0;
        loop {
            if self.queued_len == 0 {
                let rest = rest_of(slices, written);
                if rest.is_empty() {
                    return Ok(written);
                }
                self.queued_len = make(&rest, &mut self.bytes)?;
            }
            match self.try_flush(below) {
                Ok(()) => written += std::mem::take(&mut self.queued_len),
                Err(error) if error.kind() == ErrorKind::WouldBlock && written > 0 => {
                    return Ok(written);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the held bytes, as [`Wire::try_flush`] does.
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

/// The rest of `slices` after `len` bytes, without empty ones.
fn rest_of<'a>(slices: &'a [IoSlice<'_>], mut len: usize) -> SmallVec<[IoSlice<'a>; 1]> {
    let mut rest = SmallVec::new();
    for slice in slices {
        let skipped = len.min(slice.len());
        len -= skipped;
        if skipped < slice.len() {
            rest.push(IoSlice::new(&slice[skipped..]));
        }
    }
    rest
}
