//! Checks: threads of their own compare passwords with bcrypt hashes.
//!
//! A hash takes as long as thousands of messages, so no worker computes one. There are as many
//! threads as cores, started when there is work for them. They take the oldest and the newest
//! waiting check in turn: a login while many clients guess passwords does not wait behind all of
//! them, and each check is made at last. A connection has one check at most, and withdraws it when
//! it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::auth::{Check, Verdict};
use crate::conn::Conn;

/// The checks of one server. Its threads end when this is dropped.
pub(crate) struct Checks {
    pool: Arc<Pool>,
    threads_max: usize,
}

/// A connection's hold on its check.
pub(crate) struct Ticket {
    pool: Arc<Pool>,
    number: u64,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    /// Signals a new check, or that the pool has closed.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// By number: the oldest is the first.
    waiting: BTreeMap<u64, Job>,
    /// The number of checks so far.
    count: u64,
    /// The newest is next.
    newest_next: bool,
    threads: usize,
    /// The number of idle threads.
    idle: usize,
    closed: bool,
}

struct Job {
    check: Check,
    conn: Arc<Conn>,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

impl Checks {
    pub(crate) fn new(threads_max: usize) -> Checks {
        Checks { pool: Arc::default(), threads_max }
    }

    /// Queues a check; it wakes `conn` when it is done.
    pub(crate) fn add(&self, check: Check, conn: &Arc<Conn>) -> Ticket {
        let verdict = Arc::default();
        let job = Job { check, conn: Arc::clone(conn), verdict: Arc::clone(&verdict) };
        let mut queue = self.pool.queue.lock();
        let number = queue.count;
        queue.count += 1;
        queue.waiting.insert(number, job);
        let starts = queue.waiting.len() > queue.idle && queue.threads < self.threads_max;
        queue.threads += usize::from(starts);
        drop(queue);
        self.pool.changed.notify_one();
        if starts {
            self.pool.start_thread();
        }
        Ticket { pool: Arc::clone(&self.pool), number, verdict }
    }
}

impl Default for Checks {
    fn default() -> Checks {
        Checks::new(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.pool.queue.lock().closed = true;
        self.pool.changed.notify_all();
    }
}

impl Pool {
    fn start_thread(self: &Arc<Pool>) {
        let pool = Arc::clone(self);
        let builder = thread::Builder::new().name("dialtone-check".to_owned());
        if let Err(error) = builder.spawn(move || pool.run()) {
            self.queue.lock().threads -= 1;
            tracing::error!("No thread to check passwords: {error}");
        }
    }

    fn run(&self) {
        let mut queue = self.queue.lock();
        while !queue.closed {
            if let Some(job) = queue.pop() {
                MutexGuard::unlocked(&mut queue, || job.run());
            } else {
                queue.idle += 1;
                self.changed.wait(&mut queue);
                queue.idle -= 1;
            }
        }
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Job> {
        let popped = match self.newest_next {
            true => self.waiting.pop_last(),
            false => self.waiting.pop_first(),
        };
        self.newest_next = !self.newest_next;
        popped.map(|(_, job)| job)
    }
}

impl Job {
    fn run(self) {
        let Job { check, conn, verdict } = self;
        *verdict.lock() = Some(check.run());
        conn.wake();
    }
}

impl Ticket {
    /// The verdict, once it is known.
    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.verdict.lock().take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let job = self.pool.queue.lock().waiting.remove(&self.number);
        drop(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Authenticator;
    use crate::base::ids::{Cid, Kind};
    use crate::base::moment::Moment;
    use crate::codec::connect::Connect;
    use crate::config::options::{ConnectionType, Login, Options};
    use crate::conn::taken::Taken;

    /// Checks of the token `U*U`.
    struct Bench {
        authenticator: Authenticator,
        conn: Arc<Conn>,
    }

    impl Bench {
        fn new() -> Bench {
            let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
            let mut options = Options::default();
            options.authorization.login = Login::Token(hash.to_owned());
            let slot = crate::conn::Slot { number: 0, free: Arc::default() };
            let conn = Arc::new(Taken::default()).conn(Cid(1), Kind::Client, slot, Moment::START);
            Bench { authenticator: Authenticator::new(&options), conn: Arc::new(conn) }
        }

        fn add(&self, checks: &Checks, token: &str) -> Ticket {
            let mut connect = Connect::default();
            connect.overlay(format!("{{\"auth_token\":\"{token}\"}}").as_bytes()).unwrap();
            let verdict = self.authenticator.check(&connect, b"", ConnectionType::Standard);
            let Verdict::Pending(check) = verdict else { panic!("a hash takes long") };
            checks.add(check, &self.conn)
        }
    }

    fn wait(ticket: &Ticket) -> Verdict {
        loop {
            if let Some(verdict) = ticket.take_verdict() {
                return verdict;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn no_more_threads_are_started_than_there_may_be() {
        let (bench, checks) = (Bench::new(), Checks::new(2));
        assert_eq!(checks.pool.queue.lock().threads, 0, "nor one before there is a check");
        let tickets: Vec<_> = (0..20).map(|_| bench.add(&checks, "wrong")).collect();
        let right = bench.add(&checks, "U*U");
        assert!(matches!(wait(&right), Verdict::Admitted(_)));
        for ticket in &tickets {
            assert!(matches!(wait(ticket), Verdict::Refused));
        }
        assert_eq!(checks.pool.queue.lock().threads, 2);
        wait(&bench.add(&checks, "wrong"));
        assert_eq!(checks.pool.queue.lock().threads, 2);
    }

    #[test]
    fn who_ends_gives_up_its_place() {
        let (bench, checks) = (Bench::new(), Checks::new(0));
        let tickets: Vec<_> = (0..4).map(|_| bench.add(&checks, "wrong")).collect();
        assert_eq!(checks.pool.queue.lock().waiting.len(), 4);
        drop(tickets);
        assert_eq!(checks.pool.queue.lock().waiting.len(), 0);
    }

    #[test]
    fn the_oldest_and_the_newest_are_checked_in_turn() {
        let (bench, checks) = (Bench::new(), Checks::new(0));
        let tickets: Vec<_> = (0..5).map(|_| bench.add(&checks, "wrong")).collect();
        let next = || {
            let job = checks.pool.queue.lock().pop().unwrap();
            tickets.iter().position(|ticket| Arc::ptr_eq(&ticket.verdict, &job.verdict)).unwrap()
        };
        assert_eq!([(); 5].map(|()| next()), [0, 4, 1, 3, 2]);
    }
}
