//! The layer of a compressed route: each written batch becomes an S2 stream.
//!
//! nats: server/client.go `flushOutbound`, `collapsePtoNB`, `readLoop`

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::base::closed_reason::ClosedReason;
use crate::base::sync::{Mutex, rank};
use crate::codec::s2::{Compressor, Decompressor};
use crate::config::compression::Level;
use crate::conn::Wire;
use crate::net::layer::{Held, Inflow, LayerError, Next};

/// Plain bytes compressed at once. Larger batches hardly compress better, and wait longer.
const BATCH_LEN_MAX: usize = 256 * 1024;

/// Room kept between two batches.
const KEPT_LEN: usize = 64 * 1024;

/// A wire behind a compressor.
pub(crate) struct Compressed {
    below: Arc<dyn Wire>,
    /// Held over a write, which does not block; only one thread at a time writes anyway.
    outflow: Mutex<Outflow, { rank::COMPRESSED }>,
}

struct Outflow {
    compressor: Compressor,
    held: Held,
    /// Plain bytes from several pieces, for the compressor.
    batch: Vec<u8>,
}

impl Compressed {
    /// Compresses everything after the next `clear_len` bytes.
    pub(crate) fn new(below: Arc<dyn Wire>, level: Level, clear_len: usize) -> Compressed {
        let held = Held::new(clear_len, KEPT_LEN);
        let outflow = Outflow { compressor: Compressor::new(level), held, batch: Vec::new() };
        Compressed { below, outflow: Mutex::new(outflow) }
    }

    /// Compresses with another level from the next batch on.
    pub(crate) fn set_level(&self, level: Level) {
        self.outflow.lock().compressor.level = level;
    }
}

impl Wire for Compressed {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outflow = self.outflow.lock();
        let Outflow { compressor, held, batch } = &mut *outflow;
        held.try_write(&*self.below, slices, |slices, out| {
            Ok(compress(slices, batch, compressor, out))
        })
    }

    fn try_flush(&self) -> io::Result<()> {
        self.below.try_flush()
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        self.below.certificates()
    }
}

/// Makes a stream of the first bytes of `slices`, and returns their number.
fn compress(
    slices: &[IoSlice<'_>],
    batch: &mut Vec<u8>,
    compressor: &mut Compressor,
    out: &mut Vec<u8>,
) -> usize {
    batch.clear();
    for slice in slices {
        let room = BATCH_LEN_MAX - batch.len();
        batch.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    let len = batch.len();
    if len > 0 {
        compressor.compress(batch, out);
    }
    batch.shrink_to(KEPT_LEN);
    len
}

impl Inflow for Decompressor {
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError> {
        match self.next(input) {
            Ok((Some(plain), used)) => Ok(Next::Piece(plain, used)),
            Ok((None, _)) => Ok(Next::Missing),
            Err(error) => Err(LayerError {
                reason: ClosedReason::ReadError,
                text: format!("Error decompressing: {error}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::stream::Stream;

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
            let mut at = 0;
            while let (Some(piece), used) = decompressor.next(&mut buf[at..len]).unwrap() {
                plain.extend_from_slice(piece);
                at += used;
            }
        }
        plain
    }

    /// Bytes offered again after a full socket are written once, with any bytes after them.
    #[tokio::test]
    async fn every_byte_arrives_once_through_a_full_socket() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let stream = Arc::new(Stream::Local(ours));
        let clear_len = 3333;
        let reader = std::thread::spawn(move || read_all(theirs, clear_len));
        let wire = Compressed::new(Arc::clone(&stream) as Arc<dyn Wire>, Level::Fast, clear_len);
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
