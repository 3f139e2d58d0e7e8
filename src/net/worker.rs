//! `Worker`: the state of one thread: the read buffer of all its connections, and its delivery.
//!
//! It is lent to a connection for one poll. A thread makes it when it first polls a connection.

use std::cell::RefCell;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::deliver::Delivery;
use crate::net::arenas::Arenas;
use crate::registry::Registry;
use crate::registry::turns::Turn;

/// The most bytes of one read. Its messages share the fixed cost of the read and of its writes,
/// above all of the wake-ups. Twice as much gains little, and does not fit into the processor's
/// cache.
pub(crate) const READ_LEN: usize = 256 * 1024;

/// Removed subscriptions after which their memory is consolidated: some 100 microseconds.
const REMOVED_MAX: usize = 1024;

/// The state of one thread.
pub(crate) struct Worker {
    /// The read buffer; empty between two polls. A mapping, because the allocator would fill it: so
    /// pages that no read has reached take no memory.
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
