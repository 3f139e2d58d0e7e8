//! Deadlines of all connections, in one task: no connection has a timer of its own.
//!
//! A connection, known by its slot, has at most a few entries here; one that comes too early, or
//! after another connection got the slot, does no harm. The sweep only wakes: the connection knows
//! its deadlines.
//!
//! It also gives idle memory of the outbound queues back to the system.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::clock::Clock;
use crate::conn::outbound;
use crate::registry::Registry;

/// Longest sleep of the sweep: spare memory may stay that long.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// Spare memory goes back after so long without use.
const SPARE_MAX: Duration = Duration::from_secs(1);

/// Connections woken before other tasks get a turn: any number may be due at once.
const WAKES_PER_TURN: usize = 1024;

/// The earliest deadlines first.
#[derive(Default)]
pub(crate) struct Sweep {
    heap: Mutex<BinaryHeap<Reverse<(Moment, u32)>>>,
    /// Signals a deadline that is earlier than all others.
    earlier: Notify,
}

impl Sweep {
    /// Makes the sweep wake the connection in `slot` at `due`.
    pub(crate) fn add(&self, due: Moment, slot: u32) {
        let mut heap = self.heap.lock();
        let earliest = heap.peek().is_none_or(|Reverse((first, _))| due < *first);
        heap.push(Reverse((due, slot)));
        drop(heap);
        if earliest {
            self.earlier.notify_one();
        }
    }

    /// Wakes connections when they are due, and gives spare memory back, until the server stops.
    pub(crate) async fn run(&self, registry: Arc<Registry>, clock: Clock) {
        let mut trim_at = Moment::START;
        loop {
            let now = clock.now();
            if now >= trim_at {
                trim_at = now
                    + match outbound::trim() {
                        Left::More => SPARE_MAX,
                        Left::Nothing => SLEEP_MAX,
                    };
            }
            let mut next = trim_at;
            for count in 1.. {
                if count % WAKES_PER_TURN == 0 {
                    yield_now().await;
                }
                let mut heap = self.heap.lock();
                match heap.peek() {
                    Some(&Reverse((due, slot))) if due <= now => {
                        heap.pop();
                        drop(heap);
                        if let Some(conn) = registry.conn_in(slot) {
                            conn.wake();
                        }
                    }
                    Some(&Reverse((due, _))) => {
                        next = next.min(due);
                        break;
                    }
                    None => break,
                }
            }
            tokio::select! {
                () = sleep(next.since(now)) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}
