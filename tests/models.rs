//! Models of state that threads share without a lock: loom plays the orders of their steps, and all
//! results that a load may have.
//!
//! The sources are those of the crate; `crate::base::sync` is loom's here.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

#[path = "../src/registry/turns.rs"]
mod turns;

mod base {
    pub(crate) mod sync {
        pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
        use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

        pub(crate) mod rank {
            pub(crate) const MARKS: u8 = 0;
            pub(crate) const WAITING: u8 = 0;
        }

        #[derive(Default)]
        pub(crate) struct Mutex<T, const RANK: u8>(loom::sync::Mutex<T>);

        impl<T, const RANK: u8> Mutex<T, RANK> {
            pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
                self.0.lock().unwrap()
            }
        }

        #[derive(Default)]
        pub(crate) struct RwLock<T, const RANK: u8>(loom::sync::RwLock<T>);

        impl<T, const RANK: u8> RwLock<T, RANK> {
            pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
                self.0.read().unwrap()
            }

            pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
                self.0.write().unwrap()
            }
        }
    }
}

mod conn {
    /// A connection, as far as it is woken.
    pub struct Conn {
        pub slot: u32,
        pub woken: loom::sync::Notify,
    }

    impl Conn {
        pub fn wake(&self) {
            self.woken.notify();
        }
    }
}

use std::sync::Arc;

use crate::base::sync::{AtomicU64, Mutex, Ordering};
use crate::conn::Conn;
use crate::turns::{Turn, Turns};

/// Limit of preemptions of a thread. Without it a model takes ten times as long, and has shown no
/// more.
const PREEMPTIONS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Msg,
    Pong,
}

/// A server with one subscription.
struct Server {
    /// The stamp of its subject.
    stamp: AtomicU64,
    listed: Mutex<bool, 0>,
    /// Frames for its client.
    queue: Mutex<Vec<Frame>, 0>,
}

impl Server {
    fn new() -> Arc<Server> {
        let (listed, queue) = (Mutex::default(), Mutex::default());
        *listed.lock() = true;
        Arc::new(Server { stamp: AtomicU64::new(0), listed, queue })
    }

    /// A turn that publishes something. The match under the first stamp is cached.
    fn publish(&self, turn: &Turn) {
        let begun = turn.begin();
        let matched = self.stamp.load(Ordering::Acquire) == 0 || *self.listed.lock();
        if matched {
            self.queue.lock().push(Frame::Msg);
        }
        drop(begun);
    }

    /// UNSUB and PING of the client, in as many turns as it takes.
    fn leave(&self, turn: &Turn) {
        let conn = Arc::new(Conn { slot: 0, woken: loom::sync::Notify::new() });
        let begun = turn.begin();
        let mut listed = self.listed.lock();
        *listed = false;
        self.stamp.fetch_add(1, Ordering::Release);
        drop(listed);
        let grace = turn.grace();
        let mut is_over = grace.is_none_or(|grace| turn.is_over(grace, &conn));
        drop(begun);
        while !is_over {
            conn.woken.wait();
            let begun = turn.begin();
            is_over = grace.is_none_or(|grace| turn.is_over(grace, &conn));
            drop(begun);
        }
        self.queue.lock().push(Frame::Pong);
    }
}

#[test]
fn nothing_comes_behind_the_pong_of_who_has_left() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(|| {
        let turns = Arc::new(Turns::default());
        let server = Server::new();
        let (worker, other) = (turns.join(), turns.join());
        let publisher = {
            let server = Arc::clone(&server);
            loom::thread::spawn(move || {
                server.publish(&worker);
                server.publish(&worker);
            })
        };
        server.leave(&other);
        publisher.join().unwrap();
        assert_eq!(server.queue.lock().last(), Some(&Frame::Pong));
    });
}
