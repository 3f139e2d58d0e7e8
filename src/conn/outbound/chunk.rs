//! A chunk of frames.
//!
//! The queue of a receiver only a little behind is small, and comes from the allocator. That of one
//! further behind is kept in mappings of its own: memory freed between two allocations in use
//! remains with the process, and after one slow consumer that could be all of its 64 MiB. Frames
//! that wait for several receivers are kept once.

use std::fmt;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

use crate::conn::outbound::spares::{self, MAPPED_LEN};

/// Bytes, and room for more.
pub(super) enum Chunk {
    Heap(Vec<u8>),
    Mapped {
        map: MmapMut,
        len: usize,
    },
    /// Shared by several queues.
    Shared(Arc<Vec<u8>>),
}

impl Chunk {
    /// An empty chunk with room for `capacity` bytes, a mapping if that is [`MAPPED_LEN`].
    pub(super) fn with_capacity(capacity: usize) -> Chunk {
        if capacity == MAPPED_LEN {
            let new = || MmapOptions::new().len(MAPPED_LEN).populate().map_anon().ok();
            if let Some(map) = spares::take().or_else(new) {
                return Chunk::Mapped { map, len: 0 };
            }
        }
        Chunk::Heap(Vec::with_capacity(capacity))
    }

    /// Its capacity in bytes.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Chunk::Heap(bytes) => bytes.capacity(),
            Chunk::Mapped { map, .. } => map.len(),
            Chunk::Shared(bytes) => bytes.len(),
        }
    }

    /// Appends the bytes that fit; returns their number.
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
            Chunk::Shared(_) => {}
        }
        taken
    }

    /// Offers its memory to another chunk, once its bytes are written.
    pub(super) fn recycle(self) {
        if let Chunk::Mapped { map, .. } = self {
            spares::keep(map);
        }
    }
}

impl std::ops::Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Chunk::Heap(bytes) => bytes,
            Chunk::Mapped { map, len } => &map[..*len],
            Chunk::Shared(bytes) => bytes,
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
        for capacity in [64, MAPPED_LEN, MAPPED_LEN] {
            let mut chunk = Chunk::with_capacity(capacity);
            assert_eq!(matches!(chunk, Chunk::Mapped { .. }), capacity == MAPPED_LEN);
            assert!(chunk.is_empty());
            let capacity = chunk.capacity();
            assert_eq!(chunk.append(&vec![b'a'; capacity - 1]), capacity - 1);
            assert_eq!(chunk.append(b"bc"), 1);
            assert_eq!(chunk.append(b"c"), 0);
            assert_eq!(chunk.len(), capacity);
            assert!(chunk.ends_with(b"ab"));
            chunk.recycle();
        }
    }
}
