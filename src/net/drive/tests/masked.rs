//! A layer of frames with masked bodies, like those of a browser, and its other side.
//!
//! ```text
//! frame:  kind  length of the body (2 bytes, little endian)  body, masked
//! ```

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::base::closed_reason::ClosedReason;
use crate::conn::Wire;
use crate::net::layer::{Held, Inflow, LayerError, Next};

/// Bytes of the stream.
pub(super) const DATA: u8 = 1;
/// Asks for a [`PONG`] with the same body.
pub(super) const PING: u8 = 2;
pub(super) const PONG: u8 = 3;
/// Ends the stream.
pub(super) const CLOSE: u8 = 4;

const HEAD_LEN: usize = 3;
/// Bytes of one written frame.
const BODY_LEN_MAX: usize = 1000;

/// Reads frames, unmasks them in place, and answers pings.
pub(super) struct Unmasked {
    head: Vec<u8>,
    /// Bytes of the body that have come.
    at: usize,
    ping: Vec<u8>,
    wire: Arc<Masked>,
}

/// Writes frames.
pub(super) struct Masked {
    below: Arc<dyn Wire>,
    held: Mutex<Held>,
    /// The number of answers to pings.
    pub(super) pongs: AtomicUsize,
}

/// One frame.
pub(super) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_le_bytes();
    let mut frame = [&[kind, len[0], len[1]], body].concat();
    mask(&mut frame[HEAD_LEN..], 0);
    frame
}

/// Masks or unmasks bytes at that position of a body.
pub(super) fn mask(bytes: &mut [u8], at: usize) {
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte ^= 0x5a ^ (at + n) as u8;
    }
}

impl Masked {
    pub(super) fn new(below: Arc<dyn Wire>, clear_len: usize) -> Masked {
        let held = Mutex::new(Held::new(clear_len, 0));
        Masked { below, held, pongs: AtomicUsize::default() }
    }

    /// Bytes of its own frames that are not written.
    pub(super) fn held_len(&self) -> usize {
        self.held.lock().bytes.len()
    }
}

impl Wire for Masked {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.held.lock().try_write(&*self.below, slices, |slices, out| {
            let all = slices.iter().flat_map(|slice| slice.iter());
            let body: Vec<u8> = all.take(BODY_LEN_MAX).copied().collect();
            out.extend(frame(DATA, &body));
            Ok(body.len())
        })
    }

    fn try_flush(&self) -> io::Result<()> {
        self.held.lock().try_flush(&*self.below)?;
        self.below.try_flush()
    }
}

impl Unmasked {
    pub(super) fn new(wire: Arc<Masked>) -> Unmasked {
        Unmasked { head: Vec::new(), at: 0, ping: Vec::new(), wire }
    }
}

impl Inflow for Unmasked {
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError> {
        let mut used = 0;
        while used < input.len() {
            if self.head.len() < HEAD_LEN {
                self.head.push(input[used]);
                used += 1;
            }
            let &[kind, low, high] = &self.head[..] else { continue };
            let left = usize::from(u16::from_le_bytes([low, high])) - self.at;
            let len = left.min(input.len() - used);
            mask(&mut input[used..used + len], self.at);
            self.at += len;
            if len == left {
                self.at = 0;
                self.head.clear();
            }
            let start = used;
            used += len;
            match kind {
                DATA => return Ok(Next::Piece(&mut input[start..used], used)),
                PING => {
                    self.ping.extend_from_slice(&input[start..used]);
                    if len == left {
                        self.wire.held.lock().bytes.extend(frame(PONG, &self.ping));
                        self.ping.clear();
                    }
                }
                PONG if len == left => {
                    self.wire.pongs.fetch_add(1, Ordering::SeqCst);
                }
                PONG => {}
                CLOSE => return Ok(Next::End),
                _ => {
                    let text = format!("no frame is of kind {kind}");
                    return Err(LayerError { reason: ClosedReason::ProtocolViolation, text });
                }
            }
        }
        Ok(Next::Missing)
    }
}
