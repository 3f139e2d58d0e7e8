//! The first token of a subject, as a small number.

/// The number of counters shared by all literal first tokens. 2 KiB per account; one change
/// outdates the cached results of one in that many first tokens.
pub(super) const BUCKETS: usize = 256;

/// Bucket of the first token. Only eight bytes of it count: this runs for many messages.
#[inline]
pub(super) fn bucket(subject: &[u8]) -> u8 {
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
    (token.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
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
    use super::{bucket, short_word};

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
}
