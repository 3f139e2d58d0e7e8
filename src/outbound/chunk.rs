//! A chunk of frames.
//!
//! Chunks of one common length are used again by the thread that dropped them: what a receiver a
//! little behind needs comes and goes thousands of times a second, and an allocator that gives it
//! back to the system each time costs more in page faults than the copying.
//!
//! What is far behind is kept in mappings of their own, which are given back as soon as they are
//! dropped. What an allocator gets back between two allocations that stay in use remains with the
//! process: after one slow consumer that could be all of its 64 MiB.

use std::cell::RefCell;
use std::fmt;

use memmap2::{MmapMut, MmapOptions};

/// Bytes of the chunks that are used again.
pub(super) const CHUNK_LEN: usize = 64 * 1024;

/// Bytes of a mapping: its system calls and page faults then cost less than a tenth of what writing
/// it to a socket does.
pub(super) const MAPPED_LEN: usize = 256 * 1024;

/// Chunks that a thread keeps for their next use: 2 MiB.
const SPARES_MAX: usize = 32;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes, and room for more.
pub(super) enum Chunk {
    Heap(Vec<u8>),
    Mapped { map: MmapMut, len: usize },
}

impl Chunk {
    /// An empty chunk with room for `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Chunk {
        if capacity >= MAPPED_LEN
            && let Ok(map) = MmapOptions::new().len(capacity).populate().map_anon()
        {
            return Chunk::Mapped { map, len: 0 };
        }
        let spare = match capacity {
            CHUNK_LEN => SPARES.with_borrow_mut(Vec::pop),
            _ => None,
        };
        Chunk::Heap(spare.unwrap_or_else(|| Vec::with_capacity(capacity)))
    }

    /// Bytes that it can hold in all.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Chunk::Heap(bytes) => bytes.capacity(),
            Chunk::Mapped { map, .. } => map.len(),
        }
    }

    /// Appends what there is room for; tells how many bytes that was.
    #[inline]
    pub(super) fn append(&mut self, frames: &[u8]) -> usize {
        let taken = frames.len().min(self.capacity() - self.len());
        let frames = &frames[..taken];
        match self {
            Chunk::Heap(bytes) => bytes.extend_from_slice(frames),
            Chunk::Mapped { map, len } => {
                map[*len..*len + taken].copy_from_slice(frames);
                *len += taken;
            }
        }
        taken
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let Chunk::Heap(bytes) = self else { return };
        if bytes.capacity() != CHUNK_LEN {
            return;
        }
        let mut bytes = std::mem::take(bytes);
        bytes.clear();
        // At the end of a thread there is nobody to keep it for.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARES_MAX {
                spares.push(bytes);
            }
        });
    }
}

impl std::ops::Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Chunk::Heap(bytes) => bytes,
            Chunk::Mapped { map, len } => &map[..*len],
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} of {})", self.len(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_take_what_fits_and_nothing_else() {
        for capacity in [64, CHUNK_LEN, MAPPED_LEN] {
            let mut chunk = Chunk::with_capacity(capacity);
            assert_eq!(matches!(chunk, Chunk::Mapped { .. }), capacity == MAPPED_LEN);
            let capacity = chunk.capacity();
            assert_eq!(chunk.append(&vec![b'a'; capacity - 1]), capacity - 1);
            assert_eq!(chunk.append(b"bc"), 1);
            assert_eq!(chunk.append(b"c"), 0);
            assert_eq!(chunk.len(), capacity);
            assert!(chunk.ends_with(b"ab"));
        }
    }

    #[test]
    fn a_dropped_chunk_is_used_again_and_not_too_many_are_kept() {
        let chunks: Vec<Chunk> =
            (0..2 * SPARES_MAX).map(|_| Chunk::with_capacity(CHUNK_LEN)).collect();
        drop(chunks);
        SPARES.with_borrow(|spares| assert_eq!(spares.len(), SPARES_MAX));
        let mut chunk = Chunk::with_capacity(CHUNK_LEN);
        SPARES.with_borrow(|spares| assert_eq!(spares.len(), SPARES_MAX - 1));
        assert!(chunk.is_empty());
        assert_eq!(chunk.append(b"frames"), 6);
    }
}
