//! `Lists`: long answers, which are made one after the other outside of the machine; and reloads.
//!
//! At most one is being made or waits to be sent. So lists take one core at most, and one answer's
//! memory. Requests beyond the limits are dropped, as are those that the connection has no room
//! for.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::sync::{Mutex, rank};
use crate::conn::Conn;
use crate::monitor::View;
use crate::system::Outside;
use crate::system::request::{Answer, Request};

/// Requests that wait.
const WAITING_MAX: usize = if cfg!(test) { 4 } else { 16_384 };

/// Bytes of them.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Does the work for a request; none if the server keeps silent.
pub(super) type Make = Box<dyn FnOnce(&Request<'_>, &View<'_>) -> Option<Made> + Send>;

/// The result of the work for a request.
pub(super) enum Made {
    Answer(Answer),
    /// A part of a sum of subscriptions.
    Count {
        token: [u8; 8],
        number: u64,
    },
}

/// A request that takes long.
pub(super) struct Job {
    reply: Box<[u8]>,
    header: Box<[u8]>,
    task: Task,
    /// Bytes that it takes, about.
    len: usize,
}

/// The work for an answer.
pub(super) enum Task {
    Make(Make),
    Reload,
}

/// Long answers.
pub(super) struct Lists {
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    /// True from the start of work until its result is handled.
    is_working: bool,
    made: Slot,
}

/// The result of the work that is done; none inside if there is none.
type Slot = Arc<Mutex<Option<Option<Made>>, { rank::LEAF }>>;

impl Job {
    pub(super) fn new(request: &Request<'_>, task: Task) -> Job {
        let Request { reply, header, body } = request;
        let len = size_of::<Job>() + reply.len() + header.len() + body.len();
        Job { reply: (*reply).into(), header: (*header).into(), task, len }
    }

    /// Has the answer made, and sent `back`.
    fn run(self, back: Return, outside: &dyn Outside) {
        let Job { reply, header, task, .. } = self;
        match task {
            Task::Make(make) => outside.work(Box::new(move |view: &View<'_>| {
                let request = Request { reply: &reply, header: &header, body: b"" };
                back.send(make(&request, view));
            })),
            Task::Reload => outside.reload(Box::new(move |done| {
                let request = Request { reply: &reply, header: &header, body: b"" };
                let done = done.as_ref().copied().map_err(String::as_str);
                back.send(Some(Made::Answer(request.done(done))));
            })),
        }
    }
}

impl Lists {
    pub(super) fn new() -> Lists {
        let (waiting, made) = (VecDeque::new(), Arc::default());
        Lists { waiting, waiting_bytes: 0, is_working: false, made }
    }

    /// Adds a request; false if too many wait.
    pub(super) fn add(&mut self, job: Job) -> bool {
        let bytes = self.waiting_bytes + job.len;
        if self.waiting.len() == WAITING_MAX || bytes > WAITING_BYTES_MAX {
            return false;
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(job);
        true
    }

    /// Has the next answer made, if none is being made. News to `conn` report that it is.
    pub(super) fn start(&mut self, outside: &dyn Outside, conn: &Arc<Conn>) {
        if !self.is_working
            && let Some(job) = self.waiting.pop_front()
        {
            self.waiting_bytes -= job.len;
            self.is_working = true;
            let (to, conn) = (Arc::clone(&self.made), Arc::clone(conn));
            job.run(Return { made: None, to, conn }, outside);
        }
    }

    /// The result of the work that is done, if there is one; its place is free again.
    pub(super) fn take_made(&mut self) -> Option<Made> {
        let made = self.made.lock().take();
        self.is_working &= made.is_none();
        made.flatten()
    }
}

/// The way of a result back to the machine. It tells that there is none, even if the work has
/// failed.
struct Return {
    made: Option<Made>,
    to: Slot,
    conn: Arc<Conn>,
}

impl Return {
    fn send(mut self, made: Option<Made>) {
        self.made = made;
    }
}

impl Drop for Return {
    fn drop(&mut self) {
        *self.to.lock() = Some(self.made.take());
        self.conn.bring_news();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::client::fuzz::Bench;
    use crate::config::options::Options;
    use crate::system::{Reloaded, Work};

    /// Keeps all work undone.
    #[derive(Default)]
    struct Undone(RefCell<Vec<Work>>);

    impl Outside for Undone {
        fn look(&self, _look: &mut dyn FnMut(&View<'_>)) {}

        fn work(&self, work: Work) {
            self.0.borrow_mut().push(work);
        }

        fn reload(&self, _done: Reloaded) {}
    }

    #[test]
    fn one_is_made_at_a_time_and_few_wait() {
        let bench = Bench::new(Options::default(), 1);
        let (conn, outside, mut lists) = (&bench.ends[0].conn, Undone::default(), Lists::new());
        let request = Request { reply: b"in", header: b"", body: b"" };
        let add = |lists: &mut Lists| {
            let is_added = lists.add(Job::new(&request, Task::Make(Box::new(|_, _| None))));
            lists.start(&outside, conn);
            is_added
        };
        assert!((0..=WAITING_MAX).all(|_| add(&mut lists)), "one is being made");
        assert!(!add(&mut lists));
        for _ in 0..=WAITING_MAX {
            assert_eq!(outside.0.borrow().len(), 1);
            // Its maker fails.
            outside.0.borrow_mut().clear();
            assert!(conn.take_news() && lists.take_made().is_none());
            lists.start(&outside, conn);
        }
        assert!(outside.0.borrow().is_empty() && lists.waiting_bytes == 0);
        let long = Request { body: &[b' '; WAITING_BYTES_MAX], ..request };
        assert!(!lists.add(Job::new(&long, Task::Reload)));
    }
}
