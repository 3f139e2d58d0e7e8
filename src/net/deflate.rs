//! Compressed messages of WebSocket: raw deflate streams, each by itself (permessage-deflate).
//!
//! ```text
//! message:  blocks of a stream, without the last four bytes of an empty block behind them
//! ```
//!
//! Knows no frame. A compressor takes much memory, and belongs to a thread; an inflater belongs to
//! a connection while a message is under way.
//! nats: server/websocket.go `wsCollapsePtoNB`, `wsDecompressAndParse`; RFC 7692

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The end of an empty block, which a writer leaves out.
const BLOCK_END: &[u8] = b"\0\0\xff\xff";

/// Put behind a message: that end, and an empty block that is the last.
const MESSAGE_END: &[u8] = b"\0\0\xff\xff\x01\0\0\xff\xff";

/// Plain bytes that are given out at once.
const PIECE_LEN: usize = 32 * 1024;

thread_local! {
    static COMPRESSOR: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::fast(), false));
    /// The state of the last inflater, for the next one.
    static SPARE: RefCell<Option<Box<Decompress>>> = const { RefCell::new(None) };
}

/// Appends a message of `pieces` to `out`.
pub fn deflate<'a>(pieces: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        pieces.for_each(|piece| run(compressor, piece, FlushCompress::None, out));
        run(compressor, b"", FlushCompress::Sync, out);
    });
    debug_assert!(out.ends_with(BLOCK_END));
    out.truncate(out.len() - BLOCK_END.len());
}

fn run(compressor: &mut Compress, mut piece: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    loop {
        out.reserve(piece.len() / 2 + 64);
        let before = compressor.total_in();
        compressor.compress_vec(piece, out, flush).expect("a compressor takes any bytes");
        piece = &piece[(compressor.total_in() - before) as usize..];
        if piece.is_empty() && out.len() < out.capacity() {
            return;
        }
    }
}

/// Inflates one message.
pub struct Inflater {
    /// `None` only while it is dropped.
    state: Option<Box<Decompress>>,
    /// The last block is over. Later bytes have no meaning.
    over: bool,
    /// The rest of [`MESSAGE_END`], which follows the message.
    end: &'static [u8],
}

/// A message that is no stream, or one cut short; after so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt(pub u64);

impl Inflater {
    /// At the start of a message.
    pub fn new() -> Inflater {
        let spare = SPARE.with_borrow_mut(Option::take);
        let state = spare.unwrap_or_else(|| Box::new(Decompress::new(false)));
        Inflater { state: Some(state), over: false, end: MESSAGE_END }
    }

    /// Puts the next plain bytes of a message into `plain`, a piece at most, and returns the number
    /// of bytes used of `input`. Without plain bytes all of it is used; if it was the `last` input
    /// of the message, the message is over.
    ///
    /// # Errors
    /// [`Corrupt`]: there is nothing to be had of the rest.
    pub fn inflate(
        &mut self,
        input: &[u8],
        last: bool,
        plain: &mut Vec<u8>,
    ) -> Result<usize, Corrupt> {
        plain.clear();
        plain.reserve_exact(PIECE_LEN);
        let used = self.run(input, plain)?;
        if plain.is_empty() && last {
            let end = self.end;
            let used = self.run(end, plain)?;
            self.end = &end[used..];
            if plain.is_empty() && !self.over {
                return Err(Corrupt(self.read_len()));
            }
        }
        Ok(used)
    }

    /// Inflates until there is something, or nothing is left.
    fn run(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<usize, Corrupt> {
        let mut used = 0;
        while !self.over && plain.is_empty() {
            let Some(state) = &mut self.state else { break };
            let before = state.total_in();
            let status = state
                .decompress_vec(&input[used..], plain, FlushDecompress::None)
                .map_err(|_| Corrupt(before))?;
            used += (state.total_in() - before) as usize;
            match status {
                Status::StreamEnd => self.over = true,
                Status::BufError => break,
                Status::Ok => {}
            }
        }
        Ok(if self.over { input.len() } else { used })
    }

    fn read_len(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.total_in())
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.reset(false);
            // It fails when the thread ends.
            let _ = SPARE.try_with(|spare| spare.replace(Some(state)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fuzz::{fuzz_deflate, fuzz_inflate};
    use super::*;
    use crate::base::fuzzing;

    /// nats-server refuses the same: a message that still has its block end, an empty one, one that
    /// refers to the message before.
    #[test]
    fn a_message_is_a_stream_by_itself() {
        let inflated = |message: &[u8]| {
            let (mut inflater, mut plain) = (Inflater::new(), Vec::new());
            inflater.inflate(message, true, &mut plain).map(|_| plain)
        };
        let mut message = Vec::new();
        deflate([&b"PING\r\n"[..]].into_iter(), &mut message);
        assert_eq!(inflated(&message).as_deref(), Ok(&b"PING\r\n"[..]));
        assert_eq!(inflated(b"\x4b\x04\x00").as_deref(), Ok(&b"a"[..]), "the last block");
        assert_eq!(inflated(b"\x4b\x04\x00trash").as_deref(), Ok(&b"a"[..]));
        assert!(inflated(b"").is_err());
        assert!(inflated(b"\x02\x13\x00").is_err(), "a distance beyond the start");
        let mut inflater = Inflater::new();
        let with_end = [&message, BLOCK_END].concat();
        let mut plain = Vec::new();
        let used = inflater.inflate(&with_end, true, &mut plain).unwrap();
        assert!(inflater.inflate(&with_end[used..], true, &mut plain).is_err());
    }

    /// A bomb of a thousand times its length comes in pieces, and nothing of it stays.
    #[test]
    fn a_bomb_comes_in_pieces() {
        let mut message = Vec::new();
        deflate(std::iter::repeat_n(&[0; 1 << 20][..], 100), &mut message);
        assert!(message.len() < 1 << 20, "{}", message.len());
        let (mut inflater, mut plain) = (Inflater::new(), Vec::new());
        let (mut used, mut len) = (0, 0);
        loop {
            used += inflater.inflate(&message[used..], true, &mut plain).unwrap();
            assert!(plain.len() <= PIECE_LEN && plain.capacity() <= PIECE_LEN);
            if plain.is_empty() {
                break;
            }
            len += plain.len();
        }
        assert_eq!(len, 100 << 20);
    }

    #[test]
    fn cuts_do_not_matter() {
        fuzzing::run("deflate", 2_000, fuzz_inflate, fuzzing::mutated);
        fuzzing::run("deflate", 500, fuzz_deflate, fuzzing::mutated);
    }
}
