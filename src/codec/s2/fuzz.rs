//! Fuzz bodies of the S2 stream: cuts do not change the bytes read, and bytes written are read
//! again.

use crate::codec::s2::{BODY_LEN_MAX, Compressor, Decompressor, S2Error};
use crate::config::compression::Level;

/// The plain bytes of `pieces`, and the error behind them.
fn plain<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<S2Error>) {
    let mut decompressor = Decompressor::new();
    let mut bytes = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            let len = piece.len() - at;
            match decompressor.next(&mut piece[at..]) {
                Err(error) => return (bytes, Some(error)),
                Ok((None, used)) => {
                    assert_eq!(used, len, "nothing is left when there is nothing more");
                    break;
                }
                Ok((Some(plain), used)) => {
                    assert!(used <= len);
                    bytes.extend_from_slice(plain);
                    at += used;
                }
            }
        }
        assert!(decompressor.kept_len() <= 4 * BODY_LEN_MAX);
    }
    (bytes, None)
}

/// Reads `bytes` whole, byte by byte, and cut in two at each of the first places.
pub fn fuzz_decompress(bytes: &[u8]) {
    let whole = plain([bytes]);
    assert_eq!(plain(bytes.chunks(1)), whole);
    for at in 0..bytes.len().min(200) {
        let (front, back) = bytes.split_at(at);
        assert_eq!(plain([front, back]), whole, "cut at {at}");
    }
}

/// Writes `bytes`, whose first one chooses the level, as two batches and reads them again.
pub fn fuzz_compress(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let levels = [Level::Uncompressed, Level::Fast, Level::Better, Level::Best];
    let mut compressor = Compressor::new(levels[usize::from(choice) % levels.len()]);
    let (front, back) = bytes.split_at(bytes.len() / 3);
    let mut stream = Vec::new();
    compressor.compress(front, &mut stream);
    compressor.compress(back, &mut stream);
    let read = plain(stream.chunks(1 + usize::from(choice)));
    assert_eq!(read, (bytes.to_vec(), None));
}
