//! WebSocket: frames from bytes and to bytes. The messages in them are one stream for NATS.
//!
//! ```text
//! FIN RSV1-3 opcode | MASK length | more of the length (0, 2, 8) | key (0, 4) | payload
//!      1 byte       |    1 byte   |          bytes               |   bytes    |
//! ```
//!
//! Knows no socket, and inflates nothing. The payload of a message is given out in pieces as it
//! arrives, unmasked in place; the payload of a control frame is kept until it is complete.
//! nats: server/websocket.go `wsReadLoop`, `wsHandleControlFrame`, `wsFillFrameHeader`; RFC 6455

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::base::closed_reason::ClosedReason;

/// Payload of a control frame.
pub const CONTROL_LEN_MAX: usize = 125;

/// Bytes before the payload: two, the longest length, and a key.
const HEAD_LEN_MAX: usize = 2 + 8 + 4;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_RSV3: u8 = 0x30;
const MASK: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const PROTOCOL_ERROR: u16 = 1002;
const INVALID_PAYLOAD: u16 = 1007;

/// Reads the frames of a client.
#[derive(Debug)]
pub struct FrameReader {
    /// The result of the upgrade.
    agreed: Agreed,
    /// The head of the next frame, as far as it has come.
    head: [u8; HEAD_LEN_MAX],
    head_len: u8,
    /// The frame whose head is whole.
    frame: Option<Open>,
    /// The part that has come of the payload of a control frame.
    control: Vec<u8>,
    /// A message has begun, and its last frame has not: whether it is compressed.
    message: Option<bool>,
}

/// The parts of the protocol that the two sides have agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The client masks its frames; else they have no keys, whatever the mask bit is.
    pub masked: bool,
    /// Messages may be compressed, on both sides.
    pub compressed: bool,
}

/// A frame whose payload is not over.
#[derive(Debug, Clone, Copy)]
struct Open {
    opcode: u8,
    fin: bool,
    compressed: bool,
    /// Bytes of the payload to come.
    left: u64,
    /// The mask, rotated: its first byte is for the next byte of the payload.
    key: [u8; 4],
}

/// The next frame, or part of one.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Bytes of a message; none perhaps, if a frame has none.
    Data {
        /// Unmasked, and compressed if it says so.
        bytes: &'a mut [u8],
        /// They have to be inflated.
        compressed: bool,
        /// The message ends behind them.
        last: bool,
    },
    /// To be answered with a PONG that has this payload.
    Ping(Vec<u8>),
    /// Nothing has to be done.
    Pong,
    /// To be answered with a CLOSE that has this payload. Nothing counts behind it.
    Close(Vec<u8>),
}

/// A breach of the rules of frames. Its text is the real server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A bit that has no meaning here.
    Reserved,
    /// Compressed, and nobody has agreed to that.
    Compressed,
    /// Without a mask.
    Unmasked,
    /// A control frame with a payload beyond [`CONTROL_LEN_MAX`].
    ControlTooLong,
    /// A control frame in fragments.
    ControlInFragments,
    /// A control frame that is compressed.
    ControlCompressed,
    /// A message within another one.
    NewMessage,
    /// A continuation of nothing, or one that says again that it is compressed.
    Continuation,
    /// An opcode that has no meaning.
    Opcode(u8),
    /// A length of 2^63 and more.
    Length,
    /// Half a status.
    CloseLength,
    /// A status that nobody may send.
    CloseStatus(u16),
    /// A compressed message that cannot be inflated, after so many bytes of it.
    Corrupt(u64),
}

impl FrameReader {
    /// At the start of the stream.
    pub fn new(agreed: Agreed) -> FrameReader {
        FrameReader {
            agreed,
            head: [0; HEAD_LEN_MAX],
            head_len: 0,
            frame: None,
            control: Vec::new(),
            message: None,
        }
    }

    /// The next of `input`, and the number of bytes used up. `None` if it used up all of them. No
    /// frame is passed over, so that the caller can count the work.
    ///
    /// # Errors
    /// [`Violation`] ends the stream: nothing behind it can be understood.
    pub fn next<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<(Option<Frame<'a>>, usize), Violation> {
        let mut used = 0;
        loop {
            let Some(frame) = &mut self.frame else {
                let Some(&byte) = input.get(used) else { return Ok((None, used)) };
                used += 1;
                self.read_head(byte)?;
                continue;
            };
            let start = used;
            let len = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len() - used);
            used += len;
            frame.left -= len as u64;
            let Open { opcode, fin, compressed, left, .. } = *frame;
            if self.agreed.masked {
                unmask(&mut input[start..used], &mut frame.key);
            }
            if left == 0 {
                self.frame = None;
            }
            if is_control(opcode) {
                self.control.extend_from_slice(&input[start..used]);
                if left > 0 {
                    return Ok((None, used));
                }
                let payload = std::mem::take(&mut self.control);
                let frame = match opcode {
                    PING => Frame::Ping(payload),
                    CLOSE => Frame::Close(close_answer(payload)?),
                    _ => Frame::Pong,
                };
                return Ok((Some(frame), used));
            }
            if len == 0 && left > 0 {
                return Ok((None, used));
            }
            let (bytes, last) = (&mut input[start..used], fin && left == 0);
            return Ok((Some(Frame::Data { bytes, compressed, last }), used));
        }
    }

    /// Takes one byte of a head; the frame is open behind the last one.
    fn read_head(&mut self, byte: u8) -> Result<(), Violation> {
        self.head[usize::from(self.head_len)] = byte;
        self.head_len += 1;
        let head = &self.head[..usize::from(self.head_len)];
        let (first, second) = match *head {
            [first] => return self.agreed.check_first(first),
            [first, second] => {
                self.check_second(first, second)?;
                (first, second)
            }
            [first, second, ..] => (first, second),
            [] => return Ok(()),
        };
        let key_at = match second & !MASK {
            126 => 2 + 2,
            127 => 2 + 8,
            _ => 2,
        };
        let key_len = if self.agreed.masked { 4 } else { 0 };
        if head.len() < key_at + key_len {
            return Ok(());
        }
        let mut key = [0; 4];
        key[..key_len].copy_from_slice(&head[key_at..]);
        let left = match &head[2..key_at] {
            [] => (second & !MASK).into(),
            more => more.iter().fold(0_u64, |len, &byte| len << 8 | u64::from(byte)),
        };
        if left >> 63 != 0 {
            return Err(Violation::Length);
        }
        let (opcode, fin) = (first & 0x0f, first & FIN != 0);
        let mut compressed = false;
        if !is_control(opcode) {
            compressed = self.message.unwrap_or(first & RSV1 != 0);
            self.message = (!fin).then_some(compressed);
        }
        self.head_len = 0;
        self.frame = Some(Open { opcode, fin, compressed, left, key });
        Ok(())
    }

    fn check_second(&self, first: u8, second: u8) -> Result<(), Violation> {
        let (opcode, fin, rsv1) = (first & 0x0f, first & FIN != 0, first & RSV1 != 0);
        if self.agreed.masked && second & MASK == 0 {
            return Err(Violation::Unmasked);
        }
        match opcode {
            CLOSE | PING | PONG if usize::from(second & !MASK) > CONTROL_LEN_MAX => {
                Err(Violation::ControlTooLong)
            }
            CLOSE | PING | PONG if !fin => Err(Violation::ControlInFragments),
            CLOSE | PING | PONG if rsv1 => Err(Violation::ControlCompressed),
            TEXT | BINARY if self.message.is_some() => Err(Violation::NewMessage),
            CONTINUATION if self.message.is_none() || rsv1 => Err(Violation::Continuation),
            CLOSE | PING | PONG | TEXT | BINARY | CONTINUATION => Ok(()),
            _ => Err(Violation::Opcode(opcode)),
        }
    }
}

impl Agreed {
    fn check_first(self, first: u8) -> Result<(), Violation> {
        if first & RSV2_AND_RSV3 != 0 {
            return Err(Violation::Reserved);
        }
        if first & RSV1 != 0 && !self.compressed {
            return Err(Violation::Compressed);
        }
        Ok(())
    }
}

fn is_control(opcode: u8) -> bool {
    opcode >= CLOSE
}

/// The payload of the CLOSE that answers one with this payload.
fn close_answer(payload: Vec<u8>) -> Result<Vec<u8>, Violation> {
    let text = match *payload {
        [] => return Ok(payload),
        [_] => return Err(Violation::CloseLength),
        [high, low, ref text @ ..] => {
            let status = u16::from_be_bytes([high, low]);
            if !is_valid_status(status) {
                return Err(Violation::CloseStatus(status));
            }
            text
        }
    };
    Ok(match std::str::from_utf8(text) {
        Ok(_) => payload,
        Err(_) => close_payload(INVALID_PAYLOAD, "invalid utf8 body in close frame"),
    })
}

/// A status that may stand in a CLOSE.
fn is_valid_status(status: u16) -> bool {
    matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Masks or unmasks bytes, and rotates `key` for the byte after them.
fn unmask(bytes: &mut [u8], key: &mut [u8; 4]) {
    let word = u32::from_ne_bytes(*key);
    let word = u64::from(word) << 32 | u64::from(word);
    let mut words = bytes.chunks_exact_mut(8);
    for chunk in &mut words {
        let chunk: &mut [u8; 8] = chunk.try_into().expect("chunks have that length");
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    let rest = words.into_remainder();
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    key.rotate_left(rest.len() % 4);
}

/// Appends a message in one frame.
pub fn write_message<'a>(payload: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
    let len = payload.clone().map(<[u8]>::len).sum();
    write_head(FIN | BINARY, len, out);
    payload.for_each(|piece| out.extend_from_slice(piece));
}

/// Appends a compressed message, in frames with a payload of at most `len_max` bytes.
pub fn write_compressed(payload: &[u8], len_max: usize, out: &mut Vec<u8>) {
    let mut first = RSV1 | BINARY;
    let mut chunks = payload.chunks(len_max).peekable();
    while let Some(chunk) = chunks.next() {
        let fin = if chunks.peek().is_none() { FIN } else { 0 };
        write_head(fin | std::mem::replace(&mut first, CONTINUATION), chunk.len(), out);
        out.extend_from_slice(chunk);
    }
}

/// Appends the answer to a PING.
pub fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    write_head(FIN | PONG, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends the last frame.
pub fn write_close(payload: &[u8], out: &mut Vec<u8>) {
    write_head(FIN | CLOSE, payload.len(), out);
    out.extend_from_slice(payload);
}

fn write_head(first: u8, len: usize, out: &mut Vec<u8>) {
    out.push(first);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

impl Violation {
    /// The payload of the CLOSE that tells of it.
    pub fn close_payload(self) -> Vec<u8> {
        close_payload(PROTOCOL_ERROR, &self.to_string())
    }
}

/// The payload of the CLOSE that tells why a connection ends.
///
/// nats: server/websocket.go `wsEnqueueCloseMessage`
pub fn closing_payload(reason: ClosedReason) -> Vec<u8> {
    close_payload(status(reason), reason.as_str())
}

/// The payload of a CLOSE; the text has room in a control frame.
fn close_payload(status: u16, text: &str) -> Vec<u8> {
    debug_assert!(2 + text.len() <= CONTROL_LEN_MAX);
    [&status.to_be_bytes(), text.as_bytes()].concat()
}

fn status(reason: ClosedReason) -> u16 {
    use ClosedReason as R;
    match reason {
        R::ClientClosed => 1000,
        R::WriteError | R::ReadError | R::StaleConnection | R::ServerShutdown => 1001,
        R::ParseError | R::ProtocolViolation | R::BadClientProtocolVersion => PROTOCOL_ERROR,
        R::AuthenticationTimeout
        | R::AuthenticationViolation
        | R::AuthenticationExpired
        | R::Revocation
        | R::MissingAccount
        | R::SlowConsumerPendingBytes
        | R::SlowConsumerWriteDeadline
        | R::MaxAccountConnectionsExceeded
        | R::MaxConnectionsExceeded
        | R::MaxControlLineExceeded
        | R::MaxSubscriptionsExceeded => 1008,
        R::MaxPayloadExceeded => 1009,
        _ => 1011,
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::Reserved => "RSV2 and RSV3 must be clear",
            Violation::Compressed => {
                "compressed frame received without negotiated permessage-deflate"
            }
            Violation::Unmasked => "mask bit missing",
            Violation::ControlTooLong => {
                return write!(
                    f,
                    "control frame length bigger than maximum allowed of {CONTROL_LEN_MAX} bytes"
                );
            }
            Violation::ControlInFragments => "control frame does not have final bit set",
            Violation::ControlCompressed => "control frame must not be compressed",
            Violation::NewMessage => {
                "new message started before final frame for previous message was received"
            }
            Violation::Continuation => "invalid continuation frame",
            Violation::Opcode(opcode) => return write!(f, "unknown opcode {opcode}"),
            Violation::Length => "invalid 64-bit payload length",
            Violation::CloseLength => "close frame payload cannot be 1 byte",
            Violation::CloseStatus(status) => {
                return write!(f, "invalid close status code {status}");
            }
            Violation::Corrupt(at) => {
                return write!(f, "flate: corrupt input before offset {at}");
            }
        })
    }
}
