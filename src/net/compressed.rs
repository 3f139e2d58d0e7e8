//! `Compressed`: the writing half of a route whose bytes are compressed.
//!
//! To the connection it looks like its socket. But bytes count as written only when the whole
//! stream that was made of them is out; until then the stream is held here and the socket is full.
//! So the queue in front of it still holds what it holds here, and nobody has to know.
//!
//! Invariant: `plain_len` is 0 when no stream is held; else it is the length of what was
//! compressed, which stands first in what the next call brings.
//! nats: server/client.go `flushOutbound`, `collapsePtoNB`

use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::compression::Level;
use crate::conn::Wire;
use crate::net::s2::Compressor;
use crate::net::stream::Stream;

/// Plain bytes that are compressed at once. More compress hardly better, and wait longer.
const BATCH_LEN_MAX: usize = 256 * 1024;

/// Room that is kept between two batches.
const KEPT_LEN: usize = 64 * 1024;

/// A socket that is written to through a compressor.
pub(crate) struct Compressed {
    stream: Arc<Stream>,
    /// Held over a write, which does not block; only one thread at a time writes anyway.
    outflow: Mutex<Outflow>,
}

struct Outflow {
    compressor: Compressor,
    /// Bytes that were queued before compression was agreed on.
    clear_len: usize,
    /// The stream that is being written, and how much of it is out.
    held: Vec<u8>,
    held_written: usize,
    /// Plain bytes that are in it.
    plain_len: usize,
    /// Plain bytes that came in several pieces, for the compressor.
    batch: Vec<u8>,
}

impl Compressed {
    /// Compresses what comes after the next `clear_len` bytes.
    pub(crate) fn new(stream: Arc<Stream>, level: Level, clear_len: usize) -> Compressed {
        let outflow = Outflow {
            compressor: Compressor::new(level),
            clear_len,
            held: Vec::new(),
            held_written: 0,
            plain_len: 0,
            batch: Vec::new(),
        };
        Compressed { stream, outflow: Mutex::new(outflow) }
    }

    /// Compresses with another level from the next batch on.
    pub(crate) fn set_level(&self, level: Level) {
        self.outflow.lock().compressor.level = level;
    }
}

impl Wire for Compressed {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outflow = self.outflow.lock();
        if outflow.clear_len > 0 {
            let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else { return Ok(0) };
            let clear = &first[..first.len().min(outflow.clear_len)];
            let written = self.stream.try_write(&[IoSlice::new(clear)])?;
            outflow.clear_len -= written;
            return Ok(written);
        }
        if outflow.plain_len == 0 {
            outflow.compress(slices);
        }
        while outflow.held_written < outflow.held.len() {
            let rest = &outflow.held[outflow.held_written..];
            outflow.held_written += self.stream.try_write(&[IoSlice::new(rest)])?;
        }
        Ok(outflow.release())
    }
}

impl Outflow {
    /// Makes a stream of the first bytes of `slices`.
    fn compress(&mut self, slices: &[IoSlice<'_>]) {
        self.batch.clear();
        for slice in slices {
            let room = BATCH_LEN_MAX - self.batch.len();
            self.batch.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.plain_len = self.batch.len();
        if self.plain_len > 0 {
            self.compressor.compress(&self.batch, &mut self.held);
        }
        self.batch.shrink_to(KEPT_LEN);
    }

    /// Forgets the stream, which is out; tells how many plain bytes that was.
    fn release(&mut self) -> usize {
        self.held.clear();
        self.held.shrink_to(KEPT_LEN);
        self.held_written = 0;
        std::mem::take(&mut self.plain_len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::s2::Decompressor;

    /// Reads `clear_len` bytes as they are and the rest decompressed, in pieces of all sizes.
    fn read_all(mut stream: UnixStream, clear_len: usize) -> Vec<u8> {
        let mut plain = vec![0; clear_len];
        stream.read_exact(&mut plain).unwrap();
        let mut decompressor = Decompressor::new();
        let mut buf = vec![0; 5000];
        for size in (1..5000).step_by(7).cycle() {
            let len = stream.read(&mut buf[..size]).unwrap();
            if len == 0 {
                break;
            }
            let mut rest = &buf[..len];
            while let (Some(piece), used) = decompressor.next(rest).unwrap() {
                plain.extend_from_slice(piece);
                rest = &rest[used..];
            }
        }
        plain
    }

    /// What is offered again after a full socket is written once, whatever came behind it since.
    #[tokio::test]
    async fn every_byte_arrives_once_through_a_full_socket() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let stream = Arc::new(Stream::Local(ours));
        let clear_len = 3333;
        let reader = std::thread::spawn(move || read_all(theirs, clear_len));
        let wire = Compressed::new(Arc::clone(&stream), Level::Fast, clear_len);
        let mut random = fastrand::Rng::with_seed(7);
        let text: Vec<u8> = (0..3_000_000).map(|_| random.u8(b'a'..b'f')).collect();
        let (mut start, mut end) = (0, 0);
        while start < text.len() {
            end = (end + random.usize(0..200_000)).min(text.len());
            let split = random.usize(start..=end);
            let slices = [IoSlice::new(&text[start..split]), IoSlice::new(&text[split..end])];
            match wire.try_write(&slices) {
                Ok(written) => start += written,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    std::future::poll_fn(|cx| stream.poll_write_ready(cx)).await.unwrap();
                }
            }
        }
        drop((wire, stream));
        assert!(reader.join().unwrap() == text);
    }
}
