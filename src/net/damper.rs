//! Damper: flushes the connections that hold back what they got, a moment later.
//!
//! A publisher that writes each message by itself would have each of them flushed by itself, and
//! each flush wakes a receiver: three system calls for every message. A connection flushed that
//! often holds its messages back ([`Conn::send`]) and is left here; at the end of [`HOLD`] all that
//! wait here are flushed. The timers of the runtime are a millisecond coarse, hence a thread, which
//! sleeps for as long as nothing is hot.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::Clock;
use crate::conn::Conn;

/// How long messages are held back at most, but for the time that other work takes.
const HOLD: Duration = Duration::from_micros(50);

/// The way to the thread, which ends when this is dropped.
pub(crate) struct Damper(Arc<Held>);

#[derive(Default)]
struct Held {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    conns: Vec<Arc<Conn>>,
    stopped: bool,
}

impl Damper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(clock: Clock) -> io::Result<Damper> {
        let held = Arc::new(Held::default());
        let damper = Damper(Arc::clone(&held));
        thread::Builder::new().name("dialtone-damper".to_owned()).spawn(move || held.run(clock))?;
        Ok(damper)
    }

    /// Has connections flushed that began to hold something back.
    pub(crate) fn add(&self, conns: impl Iterator<Item = Arc<Conn>>) {
        let mut state = self.0.state.lock();
        let asleep = state.conns.is_empty();
        state.conns.extend(conns);
        drop(state);
        if asleep {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Damper {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.changed.notify_one();
    }
}

impl Held {
    fn run(&self, clock: Clock) {
        sleep_exactly();
        let mut due = Vec::new();
        loop {
            let mut state = self.state.lock();
            while state.conns.is_empty() {
                if state.stopped {
                    return;
                }
                self.changed.wait(&mut state);
            }
            drop(state);
            thread::sleep(HOLD);
            std::mem::swap(&mut due, &mut self.state.lock().conns);
            let now = clock.now();
            for conn in due.drain(..) {
                conn.release(now);
            }
        }
    }
}

/// Has this thread woken on time. By default Linux adds up to 50 µs to each sleep.
fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    {
        // Without it messages are held back a little longer.
        let slack = Some(std::num::NonZeroU64::MIN);
        let _ = rustix::thread::set_current_timer_slack(slack);
    }
}
