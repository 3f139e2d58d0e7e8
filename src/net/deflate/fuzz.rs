//! Fuzz bodies of compressed messages: cuts do not change the bytes read, no piece is too large,
//! and deflated bytes are inflated again.

use crate::net::deflate::{Corrupt, Inflater, PIECE_LEN, deflate};

/// Plain bytes that are looked at: a message may have any number.
const LEN_MAX: usize = 1 << 22;

/// The plain bytes of a message that comes in `pieces`.
fn plain<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Corrupt> {
    let mut inflater = Inflater::new();
    let (mut all, mut piece) = (Vec::new(), Vec::new());
    let mut pieces = pieces.peekable();
    while let Some(input) = pieces.next() {
        let last = pieces.peek().is_none();
        let mut rest = input;
        loop {
            let used = inflater.inflate(rest, last, &mut piece)?;
            assert!(piece.len() <= PIECE_LEN);
            rest = &rest[used..];
            all.extend_from_slice(&piece);
            if piece.is_empty() || all.len() > LEN_MAX {
                break;
            }
        }
    }
    Ok(all)
}

/// Inflates `bytes` whole, byte by byte, and cut in two at each of the first places.
pub fn fuzz_inflate(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let whole = plain([bytes].into_iter());
    // Where it is found to be corrupt depends on the cut; that it is does not.
    let whole = whole.ok();
    assert_eq!(plain(bytes.chunks(1)).ok(), whole);
    for at in 1..bytes.len().min(50) {
        let (front, back) = bytes.split_at(at);
        assert_eq!(plain([front, back].into_iter()).ok(), whole, "cut at {at}");
    }
}

/// Deflates `bytes` in pieces and inflates them again; the first byte chooses the pieces.
pub fn fuzz_deflate(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let bytes = bytes.repeat(1 + usize::from(choice));
    let mut message = b"before".to_vec();
    deflate(bytes.chunks(1 + 7 * usize::from(choice)), &mut message);
    let read = plain(message[6..].chunks(1 + usize::from(choice)));
    assert_eq!(read, Ok(bytes));
}
