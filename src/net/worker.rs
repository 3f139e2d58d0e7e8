//! What one worker thread owns: the buffer that all its connections read into, and its delivery.
//!
//! It is lent to a connection for one poll. A thread makes it when it first polls a connection.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::deliver::Delivery;
use crate::net::pace::{Pace, REST};
use crate::registry::Registry;

/// Bytes that one read takes at most. What a read and the writes it leads to cost by themselves,
/// above all the wake-ups of those who wait for them, is shared by as many messages. Twice as much
/// brings little more and leaves the processor's cache.
pub(crate) const READ_LEN: usize = 256 * 1024;

/// The belongings of one thread.
pub(crate) struct Worker {
    /// Where connections read into; nothing stays here between two polls. A mapping, and not from
    /// the allocator, which would fill it: so what no read has reached takes no memory.
    pub(crate) scratch: MmapMut,
    /// Match cache, staging and counters.
    pub(crate) delivery: Delivery,
    /// How often it is woken, and for how much.
    pub(crate) pace: Pace,
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Lends this thread's worker. The threads of a runtime serve one server, so all registries that a
/// thread ever sees are the same.
pub(crate) fn with<T>(registry: &Arc<Registry>, work: impl FnOnce(&mut Worker) -> T) -> T {
    WORKER.with_borrow_mut(|worker| {
        let worker = worker.get_or_insert_with(|| Worker {
            scratch: MmapMut::map_anon(READ_LEN).expect("a thread can have memory"),
            delivery: Delivery::new(registry),
            pace: Pace::default(),
        });
        work(worker)
    })
}

/// A thread begins. Its rests take as long as they should, and not the 50 microseconds longer that
/// the kernel is free to add.
pub(crate) fn start() {
    // Without it they are longer, that is all.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
}

/// This thread has nothing left to do. It rests if its sockets wake it too often.
pub(crate) fn handle_idle() {
    let tired = |Worker { delivery, pace, .. }: &mut Worker| {
        pace.handle_idle(delivery.now, delivery.counters.in_msgs.load())
    };
    if WORKER.with_borrow_mut(|worker| worker.as_mut().is_some_and(tired)) {
        std::thread::sleep(REST);
    }
}
