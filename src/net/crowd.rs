//! `Crowd`: a few seats, whose holders give way when another one comes.
//!
//! A seat is never refused: the holder whose other side has been waited for longest gives way, as
//! soon as that is [`STEP_MIN`]. A holder that makes progress renews its seat with every step, and
//! so outlives all that stand still; a newcomer waits for few of these.

use std::collections::BTreeMap;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// Time that each holder has for a step although others wait.
const STEP_MIN: Duration = Duration::from_millis(100);

/// The holders of seats.
pub(crate) struct Crowd {
    room: Arc<Semaphore>,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    /// Holders by their last step; one that is dropped from here gives way.
    by_step: BTreeMap<u64, Step>,
    steps: u64,
}

/// The last step of a holder.
struct Step {
    time: Instant,
    evict: oneshot::Sender<()>,
}

/// A holder's part of the crowd.
pub(crate) struct Entered {
    /// Its other side is not waited for yet.
    pub(crate) seat: Seat,
    /// Ends when the seat has to be left.
    pub(crate) evicted: oneshot::Receiver<()>,
    /// The room that is taken up, until it is dropped.
    pub(crate) room: OwnedSemaphorePermit,
}

/// A seat among the others.
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    stand: Stand,
}

/// The side that a holder waits for.
enum Stand {
    /// Only itself: this seat is left to its holder.
    Busy(oneshot::Sender<()>),
    /// The other side, since that step.
    Waiting(u64),
    /// It has to give way.
    Evicted,
}

impl Crowd {
    /// Room for so many.
    pub(crate) fn new(seats: usize) -> Arc<Crowd> {
        Arc::new(Crowd { room: Arc::new(Semaphore::new(seats)), seats: Mutex::default() })
    }

    /// Takes a seat, once the holder that gives way for it has gone.
    pub(crate) async fn enter(self: &Arc<Crowd>) -> Entered {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => self.wait().await,
        };
        let (evict, evicted) = oneshot::channel();
        let seat = Seat { crowd: Arc::clone(self), stand: Stand::Busy(evict) };
        Entered { seat, evicted, room }
    }

    /// Waits for room. Evicts one that stands still, and again if others were first.
    async fn wait(&self) -> OwnedSemaphorePermit {
        let mut freed = pin!(Arc::clone(&self.room).acquire_owned());
        loop {
            let next = self.seats.lock().evict(Instant::now());
            if let Ok(room) = timeout_at(next, &mut freed).await {
                return room.expect("the semaphore is never closed");
            }
        }
    }
}

impl Seats {
    fn add(&mut self, evict: oneshot::Sender<()>) -> u64 {
        self.steps += 1;
        self.by_step.insert(self.steps, Step { time: Instant::now(), evict });
        self.steps
    }

    /// Evicts the one that stands still for longest, if that is long enough. Returns the time of
    /// the next attempt.
    fn evict(&mut self, now: Instant) -> Instant {
        if let Some(longest) = self.by_step.first_entry() {
            let due = longest.get().time + STEP_MIN;
            if due > now {
                return due;
            }
            longest.remove();
        }
        now + STEP_MIN
    }
}

impl Seat {
    /// Waits for the other side from now on: all that wait already give way before this one.
    pub(crate) fn wait(&mut self) {
        self.work();
        self.stand = match mem::replace(&mut self.stand, Stand::Evicted) {
            Stand::Busy(evict) => Stand::Waiting(self.crowd.seats.lock().add(evict)),
            stand => stand,
        };
    }

    /// Ends the wait: the other side has done its step.
    pub(crate) fn work(&mut self) {
        if let Stand::Waiting(step) = self.stand {
            let step = self.crowd.seats.lock().by_step.remove(&step);
            self.stand = step.map_or(Stand::Evicted, |step| Stand::Busy(step.evict));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_longest_gives_way() {
        let crowd = Crowd::new(2);
        let mut first = crowd.enter().await;
        let mut second = crowd.enter().await;
        first.seat.wait();
        second.seat.wait();
        first.seat.wait();
        let (third, ()) = tokio::join!(crowd.enter(), async {
            let Entered { seat, evicted, room } = second;
            assert!(evicted.await.is_err());
            drop((seat, room));
        });
        assert!(
            first
                .evicted
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        drop(third);
        // There is room again, and no holder has to give way.
        let mut fourth = crowd.enter().await;
        fourth.seat.wait();
        assert_eq!(crowd.seats.lock().by_step.len(), 2);
        drop((first, fourth));
        assert_eq!(crowd.seats.lock().by_step.len(), 0);
    }

    /// Regression: of many that came at once, those that had to wait never gave way, and the ones
    /// behind them waited as long.
    #[tokio::test]
    async fn who_had_to_wait_gives_way_too() {
        let crowd = Crowd::new(2);
        for _ in 0..20 {
            let crowd = Arc::clone(&crowd);
            tokio::spawn(async move {
                let mut entered = crowd.enter().await;
                entered.seat.wait();
                // It stands still until it has to go.
                assert!(entered.evicted.await.is_err());
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(crowd.seats.lock().by_step.len(), 2);
        crowd.enter().await;
    }
}
