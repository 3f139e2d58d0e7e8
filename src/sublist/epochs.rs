//! Epochs: stamps by which caches outside a sublist's lock find that their results are outdated.
//!
//! Lock-free; shared by `Arc` between a sublist, which bumps, and the caches, which read stamps.
//!
//! The protocol. A writer holds the sublist for itself (its lock), changes it, and bumps before it
//! releases it. A reader that misses takes the stamp *before* it takes the lock for reading,
//! matches, and keeps the result under that stamp. Then no result is kept that is older than its
//! stamp: a reader that saw a bump gets the lock after the writer that made it and so sees the
//! change; a reader that did not see it keeps a stamp that the next lookup finds outdated, whether
//! or not its result has the change already. The counters only grow, hence equal sums mean equal
//! parts.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of counters shared by all literal first tokens. 2 KiB per account; one change
/// outdates the cached results of one in that many first tokens.
const BUCKETS: usize = 256;

/// Change counters of one sublist: one for wildcard first tokens, the others by first token.
#[derive(Debug)]
pub struct Epochs {
    /// Changes of subscriptions whose first token is a wildcard: they concern every subject.
    all: AtomicU64,
    /// Changes of subscriptions by the hash of their literal first token.
    buckets: [AtomicU64; BUCKETS],
}

impl Epochs {
    /// All counters at zero.
    pub fn new() -> Self {
        Self { all: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    /// The stamp of everything that a match of `subject` depends on; it only grows.
    #[inline]
    pub fn stamp(&self, subject: &[u8]) -> u64 {
        // The sum may wrap after 2^64 changes.
        let bucket = self.buckets[bucket(subject)].load(Ordering::Acquire);
        self.all.load(Ordering::Acquire).wrapping_add(bucket)
    }

    /// Outdates the stamps of every subject that `pattern` could match. To be called before the
    /// sublist is released.
    pub(super) fn bump(&self, pattern: &[u8]) {
        let counter = match pattern {
            [b'*' | b'>'] | [b'*', b'.', ..] => &self.all,
            _ => &self.buckets[bucket(pattern)],
        };
        counter.fetch_add(1, Ordering::Release);
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}

/// Bucket of the first token. Only eight bytes of it count: this runs for every message.
#[inline]
fn bucket(subject: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = match subject.first_chunk() {
        Some(head) => u64::from_le_bytes(*head),
        None => short_word(subject),
    };
    // The lowest zero byte of `dots` is the first dot; bits above it may be wrong, but not below.
    let dots = word ^ (ONES * u64::from(b'.'));
    let found = dots.wrapping_sub(ONES) & !dots & (ONES << 7);
    // Everything below the top bit of the dot's byte: the token, and seven bits of the dot itself,
    // which are the same for every token of that length.
    let token = word & (found.wrapping_sub(1) & !found);
    (token.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize
}

/// Fewer than eight bytes, filled up with dots, so that the end of the subject ends the token too.
///
/// Made of whole loads: bytes copied one by one would stall the load that follows.
#[inline]
fn short_word(subject: &[u8]) -> u64 {
    let len = subject.len();
    let text = match (subject.first_chunk(), subject.last_chunk()) {
        (Some(head), Some(tail)) => {
            let tail = u64::from(u32::from_le_bytes(*tail)) << (8 * (len - 4));
            u64::from(u32::from_le_bytes(*head)) | tail
        }
        _ => subject.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    let filler = u64::from_le_bytes([b'.'; 8]);
    text | filler << (8 * len)
}

#[cfg(test)]
mod tests {
    use super::{Epochs, bucket, short_word};

    #[test]
    fn short_subjects_are_filled_up_with_dots() {
        for len in 0..8 {
            let mut filled = [b'.'; 8];
            filled[..len].copy_from_slice(&b"abcdefgh"[..len]);
            assert_eq!(short_word(&b"abcdefgh"[..len]), u64::from_le_bytes(filled));
        }
    }

    #[test]
    fn only_the_first_token_counts() {
        for (one, other) in [("a", "a.b"), ("abc.d", "abc.xyzuvw"), ("abcdefg.1", "abcdefg.2")] {
            assert_eq!(bucket(one.as_bytes()), bucket(other.as_bytes()), "{one} {other}");
        }
        assert_ne!(bucket(b"orders.new"), bucket(b"events.new"));
        assert_ne!(bucket(b"a"), bucket(b"b"));
        assert_eq!(bucket(b""), bucket(b".a"));
        assert_eq!(bucket(b"12345678"), bucket(b"12345678.a"));
    }

    #[test]
    fn a_change_outdates_what_it_may_concern() {
        let epochs = Epochs::new();
        let (orders, events) = (epochs.stamp(b"orders.new"), epochs.stamp(b"events"));
        epochs.bump(b"orders.>");
        assert_ne!(epochs.stamp(b"orders.new"), orders);
        assert_eq!(epochs.stamp(b"events"), events);
        for pattern in [&b"*"[..], b">", b"*.a", b"*.>"] {
            let (orders, events) = (epochs.stamp(b"orders.new"), epochs.stamp(b"events"));
            epochs.bump(pattern);
            assert_ne!(epochs.stamp(b"orders.new"), orders);
            assert_ne!(epochs.stamp(b"events"), events);
        }
        let starred = epochs.stamp(b"events");
        epochs.bump(b"*a");
        epochs.bump(b">>.a");
        assert_eq!(epochs.stamp(b"events"), starred);
    }
}
