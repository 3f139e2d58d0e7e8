//! `Arenas`: makes the C library consolidate freed memory piece by piece.
//!
//! Each thread allocates from an arena of its own. glibc sets small freed pieces aside, in the
//! arena they came from, and consolidates them all when a large one is wanted there: after another
//! thread has freed two million subscriptions, that takes half a second. It does so as well when
//! much is freed at once, by any thread. So each worker leaves a block here, and a thread that has
//! freed much memory frees the end of all blocks and takes it again.
//!
//! With other C libraries this does no harm. Knows nothing of the freed objects.

use parking_lot::Mutex;

/// More than the 64 KiB that make glibc consolidate, and less than the 128 KiB that it maps without
/// an arena. Nothing is written to it, so it takes no more than a page of memory.
const BLOCK_LEN: usize = 96 * 1024;

/// A block from the arena of each worker.
#[derive(Default)]
pub(crate) struct Arenas(Mutex<Vec<Vec<u8>>>);

impl Arenas {
    /// Adds the arena of this thread.
    pub(crate) fn join(&self) {
        self.0.lock().push(Vec::with_capacity(BLOCK_LEN));
    }

    /// Consolidates everything freed since the last time.
    pub(crate) fn consolidate(&self) {
        for block in self.0.lock().iter_mut() {
            // One byte stays, else the block would be taken from the arena of this thread.
            block.shrink_to(1);
            block.reserve_exact(BLOCK_LEN);
        }
    }
}
