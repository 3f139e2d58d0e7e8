//! Turns: which workers may still deliver to a subscription that another one has removed.
//!
//! A worker matches, stages and commits within one turn. What it matched before a removal reaches
//! its receivers at the end of that turn, however late that is. So who removed something, and is
//! asked to vouch for it (PONG behind UNSUB), waits for a *grace period*: until each turn that had
//! begun before the removal has ended. Then all that can come has been handed to the receiver's
//! queue, and the answer follows it.
//!
//! The protocol. Grace periods are numbered. A turn notes the number of the last one at its begin,
//! and that it is over at its end. The removal outdates the stamps of the sublist first and takes a
//! number then. A turn that notes an older number may have matched before; a later one sees the
//! change. The two fences see to it that a turn either sees the change or is seen itself.
//!
//! A turn pays a load, a store and a fence at its begin, an exchange at its end. A removal waits
//! for nobody, and an answer only if another worker is in a turn that had begun before.
//! `tests/models` plays all orders of the steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use crate::base::sync::{AtomicU64, Mutex, RwLock, fence, rank};
use crate::conn::Conn;

/// The turns of all workers of a server.
#[derive(Default)]
pub struct Turns {
    /// How many grace periods have begun.
    graces: AtomicU64,
    marks: RwLock<Vec<Arc<Mark>>, { rank::MARKS }>,
}

/// The turns of one worker.
pub struct Turn {
    turns: Arc<Turns>,
    mark: Arc<Mark>,
}

/// What others see of the turns of one worker. Aligned as
/// [`Counters`](crate::base::stats::Counters) are.
#[derive(Default)]
#[repr(align(128))]
struct Mark {
    /// [`IDLE`] between two turns. In a turn: how many grace periods had begun before it, above
    /// [`BEGUN`] and perhaps [`AWAITED`].
    state: AtomicU64,
    /// Who is woken at the end of the turn, by slot.
    waiting: Mutex<BTreeMap<u32, Arc<Conn>>, { rank::WAITING }>,
}

const IDLE: u64 = 0;
/// A turn is going on.
const BEGUN: u64 = 1;
/// Somebody waits for its end.
const AWAITED: u64 = 2;
const COUNT_SHIFT: u32 = 2;

/// A turn that has begun; it ends when this is dropped.
pub struct Begun<'a>(&'a Mark);

/// The number of a grace period.
#[derive(Debug, Clone, Copy)]
pub struct Grace(u64);

impl Turns {
    /// One more worker.
    pub fn join(self: &Arc<Turns>) -> Turn {
        let mark = Arc::new(Mark::default());
        self.marks.write().push(Arc::clone(&mark));
        Turn { turns: Arc::clone(self), mark }
    }
}

impl Turn {
    /// Begins a turn. Within it the worker may match, and by its end it has committed.
    #[inline]
    pub fn begin(&self) -> Begun<'_> {
        let graces = self.turns.graces.load(Acquire);
        self.mark.state.store(graces << COUNT_SHIFT | BEGUN, Relaxed);
        fence(SeqCst);
        Begun(&self.mark)
    }

    /// Begins a grace period: what is out of the sublist by now may still be delivered to, until
    /// each turn of another worker that had begun before has ended. None if there is no such turn.
    /// What this worker itself has matched it commits in order.
    pub fn grace(&self) -> Option<Grace> {
        let grace = Grace(self.turns.graces.fetch_add(1, AcqRel) + 1);
        (!self.others(|mark| mark.has_passed(grace))).then_some(grace)
    }

    /// Whether a grace period is over. If not, `conn` is woken when it may be.
    pub fn is_over(&self, grace: Grace, conn: &Arc<Conn>) -> bool {
        self.others(|mark| mark.has_passed(grace) || !mark.await_end(grace, conn))
    }

    /// Whether all the other workers are so.
    fn others(&self, are: impl Fn(&Mark) -> bool) -> bool {
        fence(SeqCst);
        let marks = self.turns.marks.read();
        marks.iter().filter(|mark| !Arc::ptr_eq(mark, &self.mark)).all(|mark| are(mark))
    }
}

impl Mark {
    /// No turn that had begun before `grace` is going on.
    fn has_passed(&self, grace: Grace) -> bool {
        is_past(self.state.load(Acquire), grace)
    }

    /// Has `conn` woken at the end of the turn; false if it has ended.
    fn await_end(&self, grace: Grace, conn: &Arc<Conn>) -> bool {
        loop {
            let state = self.state.load(Acquire);
            if is_past(state, grace) {
                return false;
            }
            // Under the lock, so that the turn does not end between the two.
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

/// Whether a worker in this state is in no turn that had begun before the grace period.
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
