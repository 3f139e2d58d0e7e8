//! `Secrets`: numbers that nobody foresees, and their form in subjects.
//!
//! A reply subject made by the server is a capability: whoever knows it may answer. Each worker
//! draws from a sequence of its own: the hashes of the server's key, of the number of the sequence,
//! and of a count. So a draw takes no lock and asks no system; and a test with a key knows what
//! comes.
//! nats: server/accounts.go `newServiceReply`
//! nats-differs: there, the numbers are not made to be secret.

use sha2::{Digest, Sha256};

/// The digits of the numbers in subjects.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The key of a server.
pub type Key = [u8; 32];

/// One sequence of numbers.
#[derive(Debug)]
pub struct Secrets {
    key: Key,
    sequence: u64,
    count: u64,
    /// The present hash, of which the first `left` numbers are not drawn yet.
    hash: [[u8; 8]; 4],
    left: usize,
}

impl Secrets {
    /// A sequence. No two of a server have the same number.
    pub fn new(key: Key, sequence: u64) -> Secrets {
        Secrets { key, sequence, count: 0, hash: [[0; 8]; 4], left: 0 }
    }

    /// Draws a number of so many digits: 6 are 35 bits.
    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 10, "62^N fits into 64 bits") };
        if self.left == 0 {
            self.left = self.hash.len();
            self.hash_on();
        }
        self.left -= 1;
        let mut number = u64::from_ne_bytes(self.hash[self.left]);
        [(); N].map(|()| {
            let digit = DIGITS[(number % 62) as usize];
            number /= 62;
            digit
        })
    }

    fn hash_on(&mut self) {
        self.count += 1;
        let hasher = Sha256::new_with_prefix(self.key);
        let hash = hasher
            .chain_update(self.sequence.to_ne_bytes())
            .chain_update(self.count.to_ne_bytes())
            .finalize();
        for (number, bytes) in self.hash.iter_mut().zip(hash.chunks_exact(8)) {
            number.copy_from_slice(bytes);
        }
    }
}

/// The name of a server in subjects that are for it alone.
///
/// nats: server/events.go `getHash`
pub fn server_hash(name: &str) -> [u8; 8] {
    let hash = Sha256::digest(name);
    let mut digits = [0; 8];
    for (digit, byte) in digits.iter_mut().zip(hash) {
        *digit = DIGITS[usize::from(byte) % 62];
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_number_comes_twice() {
        let mut drawn = BTreeSet::new();
        for (key, sequence) in [([1; 32], 0), ([1; 32], 1), ([2; 32], 0)] {
            let mut secrets = Secrets::new(key, sequence);
            for _ in 0..1_000 {
                let number = secrets.draw::<10>();
                assert!(number.iter().all(u8::is_ascii_alphanumeric));
                assert!(drawn.insert(number));
            }
        }
        assert_eq!(Secrets::new([1; 32], 0).draw::<6>(), Secrets::new([1; 32], 0).draw::<6>());
    }

    #[test]
    fn a_server_has_the_real_servers_hash() {
        for (name, hash) in [("P", "UacLy6OX"), ("J1", "BzdDHLcR"), ("J3", "4HHMxbeO")] {
            assert_eq!(server_hash(name), hash.as_bytes());
        }
    }
}
