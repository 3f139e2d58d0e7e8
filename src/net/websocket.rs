//! The layer of a client that has come by WebSocket.
//!
//! Its reading half answers control frames and takes messages out of their frames; its writing half
//! makes one message of each batch. The rules of frames are [codec](crate::codec::websocket)'s,
//! compression is [`deflate`]'s.
//! nats: server/websocket.go `wsReadLoop`, `wsCollapsePtoNB`, `wsEnqueueControlMessage`

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::base::closed_reason::ClosedReason;
use crate::base::sync::{Mutex, rank};
use crate::codec::upgrade::{FrameLenMax, Upgrade};
use crate::codec::websocket::{self, Frame, FrameReader, Violation};
use crate::conn::Wire;
use crate::net::deflate::{self, Corrupt, Inflater};
use crate::net::layer::{Held, Inflow, LayerError, Next};

/// Bytes of the queue that become one message.
const MESSAGE_LEN_MAX: usize = 256 * 1024;

/// Shorter messages are not compressed.
const COMPRESSED_LEN_MIN: usize = 65;

/// A wire that is written to in frames.
pub(crate) struct Framed {
    below: Arc<dyn Wire>,
    held: Mutex<Held, { rank::FRAMED }>,
    compressed: bool,
    frame_len_max: FrameLenMax,
}

/// The reading half.
pub(crate) struct Unframed {
    messages: Messages,
    /// The payload of the CLOSE that has to be said, if the reason of the end does not tell it.
    close: Option<Vec<u8>>,
    /// CLOSE is said.
    closed: bool,
}

/// The messages of a client, out of their frames.
struct Messages {
    reader: FrameReader,
    wire: Arc<Framed>,
    /// A compressed message that is under way.
    message: Option<Message>,
    /// The last inflated piece.
    plain: Vec<u8>,
}

/// Why no more messages come.
enum Ended {
    /// The client has said CLOSE, which is answered with this payload.
    Close(Vec<u8>),
    Violation(Violation),
}

/// A compressed message.
struct Message {
    inflater: Inflater,
    /// Bytes of it that are not inflated yet.
    part: Option<Part>,
}

/// Bytes of a compressed message, which stand, unmasked, at the start of the next input.
struct Part {
    left: usize,
    /// The first of them are inflated already.
    spent: usize,
    /// The message ends behind them.
    last: bool,
}

impl Framed {
    /// Frames over `below`, as agreed in an upgrade.
    pub(crate) fn new(below: Arc<dyn Wire>, upgrade: &Upgrade) -> Framed {
        Framed {
            below,
            held: Mutex::new(Held::new(0, 0)),
            compressed: upgrade.agreed.compressed,
            frame_len_max: upgrade.frame_len_max,
        }
    }

    /// Makes a message of the first bytes of `slices`, and returns their number.
    fn frame(&self, slices: &[IoSlice<'_>], out: &mut Vec<u8>) -> usize {
        let mut room = MESSAGE_LEN_MAX;
        let pieces = slices.iter().map(move |slice| {
            let len = slice.len().min(room);
            room -= len;
            &slice[..len]
        });
        let len = pieces.clone().map(<[u8]>::len).sum();
        if self.compressed && len >= COMPRESSED_LEN_MIN {
            let mut payload = Vec::new();
            deflate::deflate(pieces, &mut payload);
            websocket::write_compressed(&payload, self.frame_len_max.compressed, out);
        } else if len > self.frame_len_max.plain {
            let payload: Vec<&[u8]> = pieces.collect();
            for part in payload.concat().chunks(self.frame_len_max.plain) {
                websocket::write_message([part].into_iter(), out);
            }
        } else if len > 0 {
            websocket::write_message(pieces, out);
        }
        len
    }
}

#[cfg(test)]
impl Framed {
    /// Bytes that the wire below has not taken.
    pub(crate) fn held_len(&self) -> usize {
        self.held.lock().bytes.len()
    }
}

impl Wire for Framed {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut held = self.held.lock();
        held.try_write(&*self.below, slices, |slices, out| Ok(self.frame(slices, out)))
    }

    fn try_flush(&self) -> io::Result<()> {
        self.held.lock().try_flush(&*self.below)?;
        self.below.try_flush()
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        self.below.certificates()
    }
}

impl Unframed {
    /// The reading half of `wire`, by the same upgrade.
    pub(crate) fn new(wire: Arc<Framed>, upgrade: &Upgrade) -> Unframed {
        let reader = FrameReader::new(upgrade.agreed);
        let messages = Messages { reader, wire, message: None, plain: Vec::new() };
        Unframed { messages, close: None, closed: false }
    }
}

impl Messages {
    /// The next piece of a message; an empty one for a frame without any. Control frames are
    /// answered.
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, Ended> {
        let inflated = self.inflate(input).map_err(Ended::Violation)?;
        if !self.plain.is_empty() {
            return Ok(Next::Piece(&mut self.plain, inflated));
        }
        let (frame, len) = self.reader.next(&mut input[inflated..]).map_err(Ended::Violation)?;
        let used = inflated + len;
        match frame {
            None => {
                self.plain = Vec::new();
                Ok(Next::Missing)
            }
            Some(Frame::Data { bytes, compressed: false, .. }) => {
                let start = used - bytes.len();
                Ok(Next::Piece(&mut input[start..used], used))
            }
            Some(Frame::Data { bytes, last, .. }) => {
                let left = bytes.len();
                let inflater = self.message.take().map(|message| message.inflater);
                let inflater = inflater.unwrap_or_else(Inflater::new);
                let part = Some(Part { left, spent: 0, last });
                self.message = Some(Message { inflater, part });
                let start = used - left;
                let len = self.inflate(&input[start..]).map_err(Ended::Violation)?;
                Ok(Next::Piece(&mut self.plain, start + len))
            }
            Some(Frame::Ping(payload)) => {
                websocket::write_pong(&payload, &mut self.wire.held.lock().bytes);
                Ok(Next::Piece(&mut [], used))
            }
            Some(Frame::Pong) => Ok(Next::Piece(&mut [], used)),
            Some(Frame::Close(answer)) => Err(Ended::Close(answer)),
        }
    }

    /// Inflates a piece of the bytes that stand at the start of `input`, and returns how many of
    /// them are used up: all of them, if the piece is empty.
    fn inflate(&mut self, input: &[u8]) -> Result<usize, Violation> {
        self.plain.clear();
        let Some(Message { inflater, part }) = &mut self.message else { return Ok(0) };
        let Some(Part { left, spent, last }) = part else { return Ok(0) };
        let inflated = inflater.inflate(&input[*spent..*left], *last, &mut self.plain);
        *spent += inflated.map_err(|Corrupt(at)| Violation::Corrupt(at))?;
        if !self.plain.is_empty() {
            // There may be more: who has used up all of an input has got all of it.
            let used = if spent == left { left.saturating_sub(1) } else { *spent };
            (*left, *spent) = (*left - used, *spent - used);
            return Ok(used);
        }
        let used = *left;
        if *last {
            self.message = None;
        } else {
            *part = None;
        }
        Ok(used)
    }
}

impl Inflow for Unframed {
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError> {
        match self.messages.next_piece(input) {
            Ok(next) => Ok(next),
            Err(Ended::Close(answer)) => {
                self.close = Some(answer);
                Ok(Next::End)
            }
            Err(Ended::Violation(violation)) => {
                self.close = Some(violation.close_payload());
                let text = format!("read error: {violation}");
                Err(LayerError { reason: ClosedReason::ReadError, text })
            }
        }
    }

    fn end(&mut self, reason: ClosedReason) {
        if !std::mem::replace(&mut self.closed, true) {
            let payload = self.close.take().unwrap_or_else(|| websocket::closing_payload(reason));
            websocket::write_close(&payload, &mut self.messages.wire.held.lock().bytes);
        }
    }
}
