//! The S2 stream of a compressed route: batches of bytes to frames, frames to bytes. A stream of a
//! single text that Snappy can read.
//!
//! ```text
//! chunk:  type  length (3 bytes, little endian)  body
//! 0xff    "S2sTwO", begins a stream; there may be any number of them
//! 0x00    CRC of the plain bytes (4 bytes), S2 block
//! 0x01    CRC of the plain bytes (4 bytes), plain bytes
//! 0x80 to 0xfe  skipped        0x02 to 0x7f  refused
//! ```
//!
//! Knows no socket. The real server makes a stream of its own of each batch that it writes, and so
//! does [`Compressor`]; [`Decompressor`] takes streams cut anywhere and keeps at most one chunk.
//! nats: server/client.go `collapsePtoNB`, `flushOutbound` (`out.cw`), `readLoop`; klauspost's s2

use std::fmt;

use minlz::s2;

use crate::config::compression::Level;

/// Begins each stream.
const STREAM_ID: &[u8] = b"\xff\x06\x00\x00S2sTwO";
/// The body of a stream identifier that Snappy writes. Its blocks are S2 blocks too.
const SNAPPY_ID: &[u8] = b"sNaPpY";

const COMPRESSED: u8 = 0x00;
const PLAIN: u8 = 0x01;
const STREAM: u8 = 0xff;
/// Chunk types from here on may be skipped.
const SKIPPABLE: u8 = 0x80;

/// Bytes of a chunk before its body.
const HEAD_LEN: usize = 4;
const CRC_LEN: usize = 4;

/// Plain bytes of a block that is written. The real server's writer has blocks of 1 MiB.
const BLOCK_LEN: usize = 1024 * 1024;
/// The same of a block for Snappy, which allows no more.
const SNAPPY_BLOCK_LEN: usize = 64 * 1024;
/// Plain bytes of a block that is read: as many as the format allows.
const BLOCK_LEN_MAX: usize = 4 * 1024 * 1024;
/// Body of a chunk that may be read: a block of that length, compressed as badly as can be.
const BODY_LEN_MAX: usize = CRC_LEN + BLOCK_LEN_MAX + BLOCK_LEN_MAX / 6 + 32;

/// Capacity kept while nothing is read; a larger buffer is given back.
const KEPT_LEN: usize = 64 * 1024;

/// Makes streams of batches.
pub struct Compressor {
    /// Strength; may change between batches.
    pub level: Level,
    encoder: s2::Encoder,
}

/// Extracts the bytes of batches from the streams.
#[derive(Debug, Default)]
pub struct Decompressor {
    state: State,
    /// The part that has arrived of the head or body of the state.
    kept: Vec<u8>,
    /// The last plain bytes, if they were not a part of the input.
    plain: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The first chunk's head.
    #[default]
    ExpectStream,
    /// A chunk's head.
    ExpectHead,
    /// The body of a chunk.
    ExpectBody(Head),
    /// So many bytes without a meaning.
    Skip(usize),
}

#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    body_len: usize,
}

/// The place of the plain bytes of a chunk.
enum Found {
    Nowhere,
    InBody,
    Decoded,
}

/// The other side sent bytes that are no S2 stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S2Error {
    /// A chunk that must not be skipped, of an unknown type.
    UnknownChunk(u8),
    /// A chunk or a block longer than the format allows, or too short for a checksum.
    Length(usize),
    /// A stream identifier of something else.
    Identifier,
    /// A block that cannot be decoded.
    Corrupt,
    /// A wrong checksum.
    Checksum,
}

impl Compressor {
    /// Compresses with `level`.
    pub fn new(level: Level) -> Compressor {
        Compressor { level, encoder: s2::Encoder::new() }
    }

    /// Appends `batch` to `out` as one whole stream.
    pub fn compress(&mut self, batch: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(STREAM_ID);
        for block in batch.chunks(BLOCK_LEN) {
            let encoded = match self.level {
                Level::Uncompressed => None,
                Level::Fast => Some(self.encoder.encode(block)),
                Level::Better => Some(self.encoder.encode_better(block)),
                Level::Best => Some(self.encoder.encode_best(block)),
            };
            write_chunk(block, encoded, out);
        }
    }
}

/// Appends `text` to `out` as one whole stream that Snappy can read, too.
pub fn write_snappy(text: &[u8], out: &mut Vec<u8>) {
    let mut encoder = s2::Encoder::new();
    out.extend_from_slice(&STREAM_ID[..HEAD_LEN]);
    out.extend_from_slice(SNAPPY_ID);
    for block in text.chunks(SNAPPY_BLOCK_LEN) {
        write_chunk(block, Some(encoder.encode_snappy(block)), out);
    }
}

fn write_chunk(block: &[u8], encoded: Option<Vec<u8>>, out: &mut Vec<u8>) {
    // A block that hardly shrinks is cheaper to read uncompressed.
    let encoded = encoded.filter(|encoded| encoded.len() < block.len());
    let (kind, body) = match &encoded {
        Some(encoded) => (COMPRESSED, &encoded[..]),
        None => (PLAIN, block),
    };
    let len = (CRC_LEN + body.len()) as u32; // far below 2^24: see BLOCK_LEN
    out.push(kind);
    out.extend_from_slice(&len.to_le_bytes()[..3]);
    out.extend_from_slice(&masked_crc(block).to_le_bytes());
    out.extend_from_slice(body);
}

impl Decompressor {
    /// At the start of a stream.
    pub fn new() -> Decompressor {
        Decompressor::default()
    }

    /// The plain bytes of the next chunk of `input` that has any, and the number of bytes used up.
    /// `None` if it used up all of them; the start of a chunk is then kept for the next call.
    ///
    /// # Errors
    /// An [`S2Error`] ends the connection: nothing behind it can be understood.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
    ) -> Result<(Option<&'a mut [u8]>, usize), S2Error> {
        let Decompressor { state, kept, plain } = self;
        let len = input.len();
        let mut rest = input;
        while !rest.is_empty() {
            match *state {
                State::Skip(left) => {
                    let skipped = left.min(rest.len());
                    rest = &mut rest[skipped..];
                    *state = match left - skipped {
                        0 => State::ExpectHead,
                        left => State::Skip(left),
                    };
                }
                State::ExpectStream | State::ExpectHead => {
                    let Some(in_place) = take(kept, &mut rest, HEAD_LEN) else { break };
                    let head = Head::read(in_place.as_deref().unwrap_or(kept))?;
                    kept.clear();
                    *state = match (*state, head.kind) {
                        (State::ExpectStream, kind) if kind != STREAM => {
                            return Err(S2Error::Identifier);
                        }
                        (_, COMPRESSED | PLAIN | STREAM) => State::ExpectBody(head),
                        _ => State::Skip(head.body_len),
                    };
                }
                State::ExpectBody(head) => {
                    let Some(in_place) = take(kept, &mut rest, head.body_len) else { break };
                    let found = head.open(in_place.as_deref().unwrap_or(kept), plain)?;
                    *state = State::ExpectHead;
                    match (found, in_place) {
                        (Found::Nowhere, _) => kept.clear(),
                        (Found::InBody, Some(body)) => {
                            return Ok((Some(&mut body[CRC_LEN..]), len - rest.len()));
                        }
                        (Found::InBody, None) => {
                            std::mem::swap(kept, plain);
                            shrink(kept);
                            return Ok((Some(&mut plain[CRC_LEN..]), len - rest.len()));
                        }
                        (Found::Decoded, _) => {
                            shrink(kept);
                            return Ok((Some(plain), len - rest.len()));
                        }
                    }
                }
            }
        }
        shrink(plain);
        Ok((None, len))
    }

    /// Bytes kept for further input.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn kept_len(&self) -> usize {
        self.kept.capacity() + self.plain.capacity()
    }
}

impl Head {
    /// Reads the [`HEAD_LEN`] bytes of a head.
    fn read(bytes: &[u8]) -> Result<Head, S2Error> {
        let kind = bytes[0];
        let body_len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], 0]) as usize;
        match kind {
            COMPRESSED if (CRC_LEN..=BODY_LEN_MAX).contains(&body_len) => {}
            PLAIN if (CRC_LEN..=CRC_LEN + BLOCK_LEN_MAX).contains(&body_len) => {}
            STREAM if body_len == STREAM_ID.len() - HEAD_LEN => {}
            COMPRESSED | PLAIN | STREAM => return Err(S2Error::Length(body_len)),
            SKIPPABLE.. => {}
            _ => return Err(S2Error::UnknownChunk(kind)),
        }
        Ok(Head { kind, body_len })
    }

    /// Checks the body, and decodes it into `plain` where it is compressed.
    fn open(self, body: &[u8], plain: &mut Vec<u8>) -> Result<Found, S2Error> {
        if self.kind == STREAM {
            let known = [&STREAM_ID[HEAD_LEN..], SNAPPY_ID].contains(&body);
            return if known { Ok(Found::Nowhere) } else { Err(S2Error::Identifier) };
        }
        let (crc, block) = body.split_first_chunk().ok_or(S2Error::Length(body.len()))?;
        let (found, bytes) = if self.kind == PLAIN {
            (Found::InBody, block)
        } else {
            let (len, _) = s2::decode_len(block).map_err(|_| S2Error::Corrupt)?;
            if len > BLOCK_LEN_MAX {
                return Err(S2Error::Length(len));
            }
            plain.resize(len, 0);
            s2::decode_into(plain, block).map_err(|_| S2Error::Corrupt)?;
            (Found::Decoded, &plain[..])
        };
        if masked_crc(bytes) != u32::from_le_bytes(*crc) {
            return Err(S2Error::Checksum);
        }
        Ok(found)
    }
}

/// The checksum (CRC-32C) of a chunk's plain bytes, masked as the framing format wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Takes `len` bytes from the front of `kept` and `rest` together: `Some(None)` if they are now all
/// of `kept`, `Some(Some(_))` if they lay in `rest`, none if there are not enough, which are then
/// kept.
fn take<'a>(
    kept: &mut Vec<u8>,
    rest: &mut &'a mut [u8],
    len: usize,
) -> Option<Option<&'a mut [u8]>> {
    let wanted = (len - kept.len()).min(rest.len());
    let (front, after) = std::mem::take(rest).split_at_mut(wanted);
    *rest = after;
    if kept.is_empty() && front.len() == len {
        return Some(Some(front));
    }
    kept.extend_from_slice(front);
    (kept.len() == len).then_some(None)
}

/// Empties a buffer; its memory is kept only if it is small.
fn shrink(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_LEN {
        *buffer = Vec::new();
    }
}

impl fmt::Display for S2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("s2: ")?;
        match self {
            Self::UnknownChunk(kind) => write!(f, "unsupported chunk type 0x{kind:02x}"),
            Self::Length(len) => write!(f, "a chunk or block of {len} bytes"),
            Self::Identifier => f.write_str("not an S2 stream"),
            Self::Corrupt => f.write_str("corrupt input"),
            Self::Checksum => f.write_str("corrupt input, checksum mismatch"),
        }
    }
}

impl std::error::Error for S2Error {}

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;
