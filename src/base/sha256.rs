//! `Sha256Writer`: SHA-256 over bytes that come a few at a time.

use std::hash::Hasher;

use sha2::{Digest, Sha256};

/// Bytes are hashed in pieces of about this length: a few would take as long as many.
const PIECE_LEN: usize = 64 * 1024;

/// Hashes what is written, or what the `Hash` of values writes.
#[derive(Clone, Default)]
pub struct Sha256Writer {
    hash: Sha256,
    /// The last bytes, not hashed yet.
    piece: Vec<u8>,
}

impl Sha256Writer {
    /// The last bytes, for others to be added.
    pub fn end(&mut self) -> &mut Vec<u8> {
        if self.piece.len() > PIECE_LEN {
            self.hash.update(&self.piece);
            self.piece.clear();
        }
        &mut self.piece
    }

    /// The hash of all bytes.
    #[must_use]
    pub fn digest(mut self) -> [u8; 32] {
        self.hash.update(&self.piece);
        self.hash.finalize().into()
    }
}

impl Hasher for Sha256Writer {
    fn write(&mut self, bytes: &[u8]) {
        self.end().extend_from_slice(bytes);
    }

    /// The first bytes of the hash so far.
    fn finish(&self) -> u64 {
        let digest = self.clone().digest();
        u64::from_be_bytes(*digest.first_chunk().expect("it is longer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..3 * PIECE_LEN + 5).map(|at| at as u8).collect();
        let mut writer = Sha256Writer::default();
        bytes.chunks(999).for_each(|some| writer.write(some));
        let wanted: [u8; 32] = Sha256::digest(&bytes).into();
        assert_eq!(writer.finish().to_be_bytes(), wanted[..8]);
        assert_eq!(writer.digest(), wanted);
    }
}
