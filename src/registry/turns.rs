//! Turns: tell when no worker can still deliver to a subscription that another one has removed.
//!
//! A worker matches, stages and commits within one turn. A message matched before a removal reaches
//! its receivers at the end of that turn, which may be late. So a connection that removed a
//! subscription and has to confirm it (PONG after UNSUB) waits for a *grace period*: until each
//! turn that had begun before the removal has ended. Then the last message for it is in the
//! receiver's queue, and the answer follows it.
//!
//! The protocol. Grace periods are numbered. A turn stores the number of the last one at its begin,
//! and marks its end. The removal first outdates the stamps of the sublist and then takes a number.
//! A turn with an older number may have matched before; a later one sees the change. The two fences
//! make sure that a turn sees the change, or that the removal sees the turn.
//!
//! A turn pays a load, a store and a fence at its begin, an exchange at its end. A removal itself
//! never waits, and an answer only if another worker is in a turn that had begun before.
//! `tests/models` plays all orders of the steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use crate::base::sync::{AtomicU64, Mutex, RwLock, fence, rank};
use crate::conn::Conn;

/// The turns of all workers of a server.
#[derive(Default)]
pub struct Turns {
    /// The number of grace periods so far.
    graces: AtomicU64,
    marks: RwLock<Vec<Arc<Mark>>, { rank::MARKS }>,
}

/// The turns of one worker.
pub struct Turn {
    turns: Arc<Turns>,
    mark: Arc<Mark>,
}

/// The turns of one worker, as other threads see them. Aligned as
/// [`Counters`](crate::base::stats::Counters) are.
#[derive(Default)]
#[repr(align(128))]
struct Mark {
    /// [`IDLE`] between two turns. In a turn: the number of grace periods before it, above the bits
    /// [`BEGUN`] and [`AWAITED`].
    state: AtomicU64,
    /// Connections to wake at the end of the turn, by slot.
    waiting: Mutex<BTreeMap<u32, Arc<Conn>>, { rank::WAITING }>,
}

const IDLE: u64 = 0;
/// Bit of a turn that is going on.
const BEGUN: u64 = 1;
/// Bit of a turn whose end is awaited.
const AWAITED: u64 = 2;
const COUNT_SHIFT: u32 = 2;

/// A turn that has begun; it ends when this is dropped.
pub struct Begun<'a>(&'a Mark);

/// The number of a grace period.
#[derive(Debug, Clone, Copy)]
pub struct Grace(u64);

impl Turns {
    /// Adds a worker.
    pub fn join(self: &Arc<Turns>) -> Turn {
        let mark = Arc::new(Mark::default());
        self.marks.write().push(Arc::clone(&mark));
        Turn { turns: Arc::clone(self), mark }
    }
}

impl Turn {
    /// Begins a turn. The worker matches only within a turn, and commits before its end.
    #[inline]
    pub fn begin(&self) -> Begun<'_> {
        let graces = self.turns.graces.load(Acquire);
        self.mark.state.store(graces << COUNT_SHIFT | BEGUN, Relaxed);
        fence(SeqCst);
        Begun(&self.mark)
    }

    /// Begins a grace period: subscriptions removed by now may still get messages until each turn
    /// of another worker that had begun before has ended. None if there is no such turn. This
    /// worker commits its own matches in order.
    pub fn grace(&self) -> Option<Grace> {
        let grace = Grace(self.turns.graces.fetch_add(1, AcqRel) + 1);
        (!self.others(|mark| mark.has_passed(grace))).then_some(grace)
    }

    /// True if a grace period is over. If not, wakes `conn` when it may be.
    pub fn is_over(&self, grace: Grace, conn: &Arc<Conn>) -> bool {
        self.others(|mark| mark.has_passed(grace) || !mark.await_end(grace, conn))
    }

    /// True if `are` holds for all other workers.
    fn others(&self, are: impl Fn(&Mark) -> bool) -> bool {
        fence(SeqCst);
        let marks = self.turns.marks.read();
        marks.iter().filter(|mark| !Arc::ptr_eq(mark, &self.mark)).all(|mark| are(mark))
    }
}

impl Mark {
    /// True if no turn that had begun before `grace` is going on.
    fn has_passed(&self, grace: Grace) -> bool {
        is_past(self.state.load(Acquire), grace)
    }

    /// Makes the turn wake `conn` at its end; false if it has ended.
    fn await_end(&self, grace: Grace, conn: &Arc<Conn>) -> bool {
        loop {
            let state = self.state.load(Acquire);
            if is_past(state, grace) {
                return false;
            }
            // Under the lock, so that the turn does not end between check and entry.
            let mut waiting = self.waiting.lock();
            let awaited = state | AWAITED;
            if self.state.compare_exchange(state, awaited, AcqRel, Acquire).is_ok() {
                waiting.insert(conn.slot, Arc::clone(conn));
                return true;
            }
        }
    }

    #[cold]
    fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.values().for_each(|conn| conn.wake());
    }
}

/// True if a worker in this state is in no turn that had begun before the grace period.
fn is_past(state: u64, Grace(number): Grace) -> bool {
    state == IDLE || state >> COUNT_SHIFT >= number
}

impl Drop for Begun<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.state.swap(IDLE, AcqRel) & AWAITED != 0 {
            self.0.wake_waiting();
        }
    }
}
