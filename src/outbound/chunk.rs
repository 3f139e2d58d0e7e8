//! A chunk of frames in memory that is given back as soon as the chunk is dropped.
//!
//! Small chunks come from the allocator. What it gets back between two allocations that stay in use
//! remains with the process: after one slow consumer that could be all of its 64 MiB. Large chunks
//! are therefore mappings of their own.

use std::fmt;

use memmap2::MmapMut;

/// Bytes from which on a chunk is a mapping: its system calls and page faults then cost less than
/// a tenth of what writing the chunk to a socket does.
pub(super) const MAPPED_LEN: usize = 256 * 1024;

/// Bytes, and room for more.
pub(super) enum Chunk {
    Heap(Vec<u8>),
    Mapped { map: MmapMut, len: usize },
}

impl Chunk {
    /// An empty chunk with room for `capacity` bytes.
    fn with_capacity(capacity: usize) -> Chunk {
        if capacity >= MAPPED_LEN
            && let Ok(map) = MmapMut::map_anon(capacity)
        {
            return Chunk::Mapped { map, len: 0 };
        }
        Chunk::Heap(Vec::with_capacity(capacity))
    }

    /// A chunk of `frames`, with room for `capacity` bytes in all if they are fewer.
    pub(super) fn holding(frames: &[u8], capacity: usize) -> Chunk {
        let mut chunk = Chunk::with_capacity(capacity.max(frames.len()));
        chunk.append(frames);
        chunk
    }

    /// Bytes that it can hold in all.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Chunk::Heap(bytes) => bytes.capacity(),
            Chunk::Mapped { map, .. } => map.len(),
        }
    }

    /// Appends `frames` if there is room for all of them.
    #[inline]
    pub(super) fn append(&mut self, frames: &[u8]) -> bool {
        match self {
            Chunk::Heap(bytes) => {
                let fits = bytes.capacity() - bytes.len() >= frames.len();
                if fits {
                    bytes.extend_from_slice(frames);
                }
                fits
            }
            Chunk::Mapped { map, len } => {
                let Some(room) = map.get_mut(*len..*len + frames.len()) else { return false };
                room.copy_from_slice(frames);
                *len += frames.len();
                true
            }
        }
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
        for capacity in [64, MAPPED_LEN] {
            let mut chunk = Chunk::with_capacity(capacity);
            assert_eq!(matches!(chunk, Chunk::Mapped { .. }), capacity == MAPPED_LEN);
            let capacity = chunk.capacity();
            assert!(chunk.append(&vec![b'a'; capacity - 1]));
            assert!(!chunk.append(b"bc"));
            assert!(chunk.append(b"b"));
            assert!(!chunk.append(b"c"));
            assert_eq!(chunk.len(), capacity);
            assert!(chunk.ends_with(b"ab"));
        }
    }
}
