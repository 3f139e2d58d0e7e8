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

/// Makes the answer to a request; none if the server keeps silent.
pub(super) type Make = Box<dyn FnOnce(&Request<'_>, &View<'_>) -> Option<Answer> + Send>;

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
    /// True from the start of an answer until it is sent.
    is_working: bool,
    made: Slot,
}

/// The answer that has been made; none inside if there is none.
type Slot = Arc<Mutex<Option<Option<Answer>>, { rank::LEAF }>>;

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
                back.send(Some(request.done(done)));
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
            let (made, conn) = (Arc::clone(&self.made), Arc::clone(conn));
            job.run(Return { answer: None, made, conn }, outside);
        }
    }

    /// The answer that has been made, if one has; its place is free again.
    pub(super) fn take_made(&mut self) -> Option<Answer> {
        let made = self.made.lock().take();
        self.is_working &= made.is_none();
        made.flatten()
    }
}

/// The way of an answer back to the machine. Without an answer it tells that there is none, even
/// if its maker has failed.
struct Return {
    answer: Option<Answer>,
    made: Slot,
    conn: Arc<Conn>,
}

impl Return {
    fn send(mut self, answer: Option<Answer>) {
        self.answer = answer;
    }
}

impl Drop for Return {
    fn drop(&mut self) {
        *self.made.lock() = Some(self.answer.take());
        self.conn.bring_news();
    }
}
