//! `Arenas`: has the C library put freed memory in order piece by piece.
//!
//! Each thread allocates from an arena of its own. glibc lays small pieces that are freed aside, by
//! the arena they came from, and puts them all in order when a large one is wanted there: behind
//! two million subscriptions of which another thread has let go, that takes half a second. It does
//! so as well when much is freed at once, by whatever thread. So each worker leaves a block here,
//! and whoever has let go of much frees the end of all blocks and takes it again.
//!
//! With other C libraries this does no harm. Knows nothing of what was freed.

use parking_lot::Mutex;

/// More than the 64 KiB that glibc takes for much, and less than the 128 KiB from which on it
/// takes no arena. Nothing is written to it, so that it takes no more than a page of memory.
const BLOCK_LEN: usize = 96 * 1024;

/// A block from the arena of each worker.
#[derive(Default)]
pub(crate) struct Arenas(Mutex<Vec<Vec<u8>>>);

impl Arenas {
    /// Adds the arena of this thread.
    pub(crate) fn join(&self) {
        self.0.lock().push(Vec::with_capacity(BLOCK_LEN));
    }

    /// Has everything put in order that was freed since the last time.
    pub(crate) fn consolidate(&self) {
        for block in self.0.lock().iter_mut() {
            // One byte stays, else the block would be taken from the arena of this thread.
            block.shrink_to(1);
            block.reserve_exact(BLOCK_LEN);
        }
    }
}
