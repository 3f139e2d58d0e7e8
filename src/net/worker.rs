//! What one worker thread owns: the buffer that all its connections read into, and its delivery.
//!
//! It is lent to a connection for one poll. A thread makes it when it first polls a connection.

use std::cell::RefCell;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::deliver::Delivery;
use crate::net::arenas::Arenas;
use crate::registry::Registry;
use crate::registry::turns::Turn;

/// Bytes that one read takes at most. What a read and the writes it leads to cost by themselves,
/// above all the wake-ups of those who wait for them, is shared by as many messages. Twice as much
/// brings little more and leaves the processor's cache.
pub(crate) const READ_LEN: usize = 256 * 1024;

/// Subscriptions removed after which the memory that they had is put in order: some 100
/// microseconds.
const REMOVED_MAX: usize = 1024;

/// The belongings of one thread.
pub(crate) struct Worker {
    /// Where connections read into; nothing stays here between two polls. A mapping, and not from
    /// the allocator, which would fill it: so what no read has reached takes no memory.
    pub(crate) scratch: MmapMut,
    /// Match cache, staging and counters.
    pub(crate) delivery: Delivery,
}

thread_local! {
    static WORKER: RefCell<Option<(Arc<Turn>, Worker)>> = const { RefCell::new(None) };
}

/// Lends this thread's worker for a turn. The threads of a runtime serve one server, so all
/// registries that a thread ever sees are the same.
pub(crate) fn with<T>(
    registry: &Arc<Registry>,
    arenas: &Arenas,
    work: impl FnOnce(&mut Worker) -> T,
) -> T {
    WORKER.with_borrow_mut(|worker| {
        let (turn, worker) = worker.get_or_insert_with(|| {
            arenas.join();
            let scratch = MmapMut::map_anon(READ_LEN).expect("a thread can have memory");
            let delivery = Delivery::new(registry);
            (Arc::clone(&delivery.turn), Worker { scratch, delivery })
        });
        let done = {
            let _turn = turn.begin();
            worker.delivery.renew_settings(registry);
            work(worker)
        };
        if worker.delivery.removed >= REMOVED_MAX {
            worker.delivery.removed = 0;
            arenas.consolidate();
        }
        done
    })
}
