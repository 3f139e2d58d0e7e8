//! `Conn`: the face that a connection shows to others.
//!
//! Holds what several tasks touch: the outbound queue and its flushing, the waker of the owning
//! task, counters, subscriptions, and what monitoring shows. The socket is behind [`Wire`], so
//! nothing here does I/O by itself.
//!
//! Flushing. Whoever has frames for an idle connection writes them itself, outside the lock, under
//! the `flushing` flag; others only append meanwhile, and the flusher takes what came. When the
//! socket takes no more, `blocked` is set and the owning task woken: it goes on when the socket is
//! writable, and until then everybody only appends.
//!
//! ```text
//!           send                      short write, or too many rounds
//!   idle ---------> flushing --------------------------------------> blocked
//!    ^                 | all written                                    |
//!    +-----------------+<-----------------------------------------------+  owner: all written
//! ```
//!
//! Invariants: at most one of `flushing` and `blocked`; who sees neither finds the queue empty, but
//! for what was [appended](Conn::append) by somebody who is about to send; after `closed` is set
//! nothing is appended.
//! nats: server/client.go `queueOutbound`, `flushOutbound`, `closeConnection`

mod about;
pub mod outbound;
pub mod subscription;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod taken;

use core::net::{IpAddr, SocketAddr};
use std::io::{self, IoSlice};
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::MutexGuard;

use crate::auth::permissions::{Permissions, Replies};
use crate::base::errors::ClosedReason;
use crate::base::ids::{Cid, Kind};
use crate::base::limits::STALL_PATIENCE;
use crate::base::moment::Moment;
use crate::base::stats::{Counter, Traffic};
use crate::base::sync::{Guard, Mutex, rank};
use crate::base::table::Walk;
use crate::conn::about::Packed;
use crate::conn::outbound::{Admission, Batch, Frames, Outbound, Policy};
use crate::conn::subscription::{Subscription, Subscriptions};

pub use crate::conn::about::About;

/// Rounds of writing what others appended, before the owning task takes over.
const FLUSH_ROUNDS_MAX: usize = 8;

/// Publishers that one receiver wakes when it has caught up. Each pause looks through all of them.
const STALLED_COUNT_MAX: usize = 64;

/// Logs an event of a connection: the fields that put its address, number, client and user in
/// front.
macro_rules! conn_event {
    ($level:ident, $conn:expr, $($message:tt)+) => {
        if tracing::enabled!(tracing::Level::$level) {
            let conn: &$crate::conn::Conn = $conn;
            let label = conn.about().label();
            tracing::event!(
                tracing::Level::$level,
                remote = conn.remote().map(tracing::field::display),
                cid = (conn.kind != $crate::base::ids::Kind::Route).then_some(conn.cid.0),
                rid = (conn.kind == $crate::base::ids::Kind::Route).then_some(conn.cid.0),
                client = label.client,
                account = label.account,
                $($message)+
            );
        }
    };
}

pub(crate) use conn_event;

/// The socket of a connection, as far as writing goes.
pub trait Wire: Send + Sync {
    /// Writes what the socket takes at once.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the connection.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// One connection, as its own task, publishers and monitoring share it.
pub struct Conn {
    /// Unique within the server's run.
    pub cid: Cid,
    /// Who is at the other end.
    pub kind: Kind,
    /// Position in the tables of staging; free again when the last reference to the `Conn` is gone.
    pub slot: u32,
    free_slots: Arc<FreeSlots>,
    /// When it was accepted.
    pub start: Moment,
    /// What it published: messages and their bytes.
    pub in_msgs: Counter,
    /// See `in_msgs`.
    pub in_bytes: Counter,
    /// Address and port of the other side; a `SocketAddr` would take 12 bytes more.
    remote: Option<(IpAddr, u16)>,
    last_activity: AtomicU64,
    /// Nanoseconds; 0 while unknown.
    rtt: AtomicU64,
    /// It takes HMSG.
    headers: AtomicBool,
    /// Its user has an allowance to answer.
    answers: AtomicBool,
    /// It is a route that carries one account only.
    dedicated: AtomicBool,
    /// `closed` of the flow, readable without its lock.
    is_closed: AtomicBool,
    /// It is a route whose other side gives no sign of life.
    is_silent: AtomicBool,
    /// Monitoring wants its RTT.
    rtt_wanted: AtomicBool,
    /// The client has to be told that INFO has changed.
    news: AtomicBool,
    flow: Mutex<Flow, { rank::FLOW }>,
    state: Mutex<State, { rank::STATE }>,
}

// With the counts of its `Arc` and a word of the allocator 240 bytes: with glibc, just what fits
// between two tasks, which are aligned to 128. One word more costs some 130 for each connection.
const _: () = assert!(size_of::<Conn>() <= 216);

type FlowGuard<'a> = Guard<MutexGuard<'a, Flow>, { rank::FLOW }>;

/// What it subscribed to, and what its user may do.
#[derive(Default)]
struct State {
    subscriptions: Subscriptions,
    /// `None` may do everything.
    access: Option<Box<Access>>,
}

/// What the connection may do, for those who deliver to it.
struct Access {
    permissions: Arc<Permissions>,
    replies: Option<Box<Replies>>,
}

/// Everything about writing, and what logs say of it, under one lock. Nothing is logged under it.
#[derive(Default)]
struct Flow {
    /// `None` once the connection has ended: what still refers to it holds no socket.
    wire: Option<Arc<dyn Wire>>,
    outbound: Outbound,
    flushing: bool,
    blocked: bool,
    closed: Option<ClosedReason>,
    /// Closed without writing what was pending.
    discarded: bool,
    /// How often publishers paused because of it.
    stalls: u32,
    /// Wakes the task that owns the connection.
    owner: Option<Waker>,
    out_msgs: u64,
    out_bytes: u64,
    /// Here because logs ask for it, whatever else is locked.
    about: Option<Packed>,
    /// There from the moment it is blocked until the owner has seen that it is so no more.
    lag: Option<Box<Lag>>,
}

/// How a connection gets on whose socket takes no more.
#[derive(Default)]
struct Lag {
    /// Publishers that wait until less is pending.
    stalled: Vec<Waker>,
    /// Bytes that the socket has taken since.
    written: u64,
    /// When the socket last took something of what it had blocked, or had just blocked; unknown
    /// until the owner has looked.
    progress_at: Option<Moment>,
}

/// What became of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Written or waiting.
    Done,
    /// Waiting for who sent it to [`send`](Conn::send) again.
    Appended,
    /// Waiting, and the connection is far behind: publishers should pause.
    Stall,
    /// Dropped by the policy.
    Dropped,
    /// The connection was closed by these frames: it reads too slowly.
    SlowConsumer,
    /// It was closed before.
    Closed,
}

/// How far the owning task got with what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left for the owner to do.
    Idle,
    /// Others go on appending: the owner has to come again, behind its neighbours.
    Part,
    /// The socket takes no more.
    Blocked,
    /// The socket is broken.
    Failed,
}

/// How much is pending and was written, for the write deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the socket has taken since it was first blocked; from 0 again once the owner saw
    /// that it is blocked no more.
    pub written: u64,
    /// Bytes that wait.
    pub pending_bytes: usize,
    /// They wait for the socket.
    pub blocked: bool,
    /// When it last took something while it was blocked, or was blocked; unknown until the owner
    /// has looked.
    pub progress_at: Option<Moment>,
}

/// What a connection has got, for monitoring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Messages delivered to it.
    pub out_msgs: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Bytes that wait for it.
    pub pending_bytes: usize,
    /// How often publishers paused because of it.
    pub stalls: u64,
}

/// A small number that no other living connection of the server has.
pub struct Slot {
    /// The number.
    pub number: u32,
    /// Where it is given back to.
    pub(crate) free: Arc<FreeSlots>,
}

/// Slots of connections that are gone.
pub(crate) type FreeSlots = Mutex<Vec<u32>, { rank::FREE_SLOTS }>;

impl Drop for Conn {
    fn drop(&mut self) {
        self.free_slots.lock().push(self.slot);
    }
}

impl Conn {
    /// A connection nobody has written to yet.
    pub fn new(
        cid: Cid,
        kind: Kind,
        slot: Slot,
        remote: Option<SocketAddr>,
        start: Moment,
        wire: Arc<dyn Wire>,
    ) -> Conn {
        Conn {
            cid,
            kind,
            slot: slot.number,
            free_slots: slot.free,
            remote: remote.map(|remote| (remote.ip(), remote.port())),
            start,
            in_msgs: Counter::default(),
            in_bytes: Counter::default(),
            last_activity: AtomicU64::new(start.0),
            rtt: AtomicU64::new(0),
            headers: AtomicBool::new(false),
            answers: AtomicBool::new(false),
            dedicated: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            rtt_wanted: AtomicBool::new(false),
            news: AtomicBool::new(false),
            flow: Mutex::new(Flow { wire: Some(wire), ..Flow::default() }),
            state: Mutex::default(),
        }
    }

    /// Has everything that is sent from now on go through the wire that `make` gives for the number
    /// of bytes that are queued. For a connection that nobody but its owner knows yet.
    pub fn rewire<W: Wire + 'static>(&self, make: impl FnOnce(usize) -> W) -> Arc<W> {
        let mut flow = self.flow.lock();
        debug_assert!(!flow.flushing, "only the owner writes, and it is here");
        let wire = Arc::new(make(flow.outbound.pending_bytes()));
        flow.wire = Some(Arc::clone(&wire) as Arc<dyn Wire>);
        wire
    }

    /// Address of the other side; `None` within the process.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.map(SocketAddr::from)
    }

    /// Sets who is woken when the connection needs its owner.
    pub fn own(&self, waker: &Waker) {
        self.flow.lock().owner = Some(waker.clone());
    }

    /// Wakes the owning task.
    pub fn wake(&self) {
        let owner = self.flow.lock().owner.clone();
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Delivers `frames`, which carry `msgs` messages of `bytes` bytes: writes them at once when
    /// nothing waits, else appends them.
    pub fn send<'a>(
        &self,
        frames: impl Into<Frames<'a>>,
        msgs: u64,
        bytes: u64,
        policy: &Policy,
    ) -> Sent {
        let frames = frames.into();
        let mut flow = self.flow.lock();
        if flow.closed.is_some() {
            return Sent::Closed;
        }
        let admission = policy.admit(self.kind, flow.outbound.pending_bytes(), frames.len());
        let idle = flow.is_idle();
        match admission {
            // What is no message is an answer that the client waits for.
            Admission::Drop if msgs > 0 => return Sent::Dropped,
            // An idle connection gets the chance to take it all first.
            Admission::Overflow if !idle => {
                self.close_locked(flow, ClosedReason::SlowConsumerPendingBytes, true);
                return Sent::SlowConsumer;
            }
            _ => {}
        }
        flow.out_msgs += msgs;
        flow.out_bytes += bytes;
        if frames.is_empty() && (!idle || flow.outbound.is_empty()) {
            return Sent::Done;
        }
        if !idle {
            flow.outbound.push(frames);
            return if admission == Admission::AppendAndStall { Sent::Stall } else { Sent::Done };
        }
        if !flow.outbound.is_empty() {
            if !frames.is_empty() {
                flow.outbound.push(frames);
            }
            self.write_appended(flow);
            return Sent::Done;
        }
        self.write_through(flow, frames, policy)
    }

    /// As [`send`](Conn::send), but leaves the writing to a later `send` if nobody else writes and
    /// so much may wait.
    #[cold]
    pub fn send_later(&self, frames: Frames<'_>, msgs: u64, bytes: u64, policy: &Policy) -> Sent {
        let mut flow = self.flow.lock();
        let admission = policy.admit(self.kind, flow.outbound.pending_bytes(), frames.len());
        let may_wait = matches!(admission, Admission::Append | Admission::AppendAndStall);
        if flow.closed.is_none() && flow.is_idle() && may_wait {
            flow.out_msgs += msgs;
            flow.out_bytes += bytes;
            flow.outbound.push(frames);
            return Sent::Appended;
        }
        drop(flow);
        self.send(frames, msgs, bytes, policy)
    }

    /// Appends frames without writing them, so that a lock may be held by which several threads
    /// agree on their order. Each of them has to call [`send`](Conn::send) later, with other frames
    /// or with none.
    pub fn append(&self, frames: &[u8]) {
        let mut flow = self.flow.lock();
        if flow.closed.is_none() && !frames.is_empty() {
            flow.outbound.push(frames);
        }
    }

    /// Writes `frames` on an idle connection, then what others appended meanwhile.
    fn write_through<'a>(
        &'a self,
        mut flow: FlowGuard<'a>,
        frames: Frames<'_>,
        policy: &Policy,
    ) -> Sent {
        let Some(wire) = flow.wire.clone() else { return Sent::Closed };
        flow.flushing = true;
        flow.outbound.reserve(frames.len());
        drop(flow);
        let written = wire.try_write(&[IoSlice::new(&frames)]);
        let mut flow = self.flow.lock();
        flow.flushing = false;
        let written = match written {
            Ok(len) => len,
            Err(error) if is_transient(&error) => 0,
            Err(_) => {
                self.close_locked(flow, ClosedReason::WriteError, true);
                return Sent::Closed;
            }
        };
        if flow.discarded {
            self.hand_over(flow);
            return Sent::Closed;
        }
        flow.release(written);
        if written < frames.len() {
            flow.outbound.prepend(frames, written);
            if flow.outbound.pending_bytes() > policy.pending_max(self.kind) {
                self.close_locked(flow, ClosedReason::SlowConsumerPendingBytes, true);
                return Sent::SlowConsumer;
            }
            self.hand_over(flow);
            return Sent::Done;
        }
        self.write_appended(flow);
        Sent::Done
    }

    /// Writes what others appended while this thread was writing.
    fn write_appended<'a>(&'a self, mut flow: FlowGuard<'a>) {
        for _ in 0..FLUSH_ROUNDS_MAX {
            if flow.outbound.is_empty() && flow.closed.is_none() {
                return;
            }
            if flow.outbound.is_empty() {
                // The owner waits for the last bytes before it leaves.
                break;
            }
            flow.flushing = true;
            let (again, result) = self.write_batch(flow);
            flow = again;
            flow.flushing = false;
            match result {
                Flushed::Idle => {}
                Flushed::Part | Flushed::Blocked | Flushed::Failed => break,
            }
        }
        self.hand_over(flow);
    }

    /// Takes one batch, writes it outside the lock, and puts the rest back.
    fn write_batch<'a>(&'a self, mut flow: FlowGuard<'a>) -> (FlowGuard<'a>, Flushed) {
        let Some(wire) = flow.wire.clone() else { return (flow, Flushed::Failed) };
        let mut batch: Batch = flow.outbound.take();
        drop(flow);
        let result = wire.try_write(&batch.slices());
        let mut flow = self.flow.lock();
        let written = match result {
            Ok(len) => len,
            Err(error) if is_transient(&error) => 0,
            Err(_) => {
                self.close_locked(flow, ClosedReason::WriteError, true);
                return (self.flow.lock(), Flushed::Failed);
            }
        };
        if flow.discarded {
            return (flow, Flushed::Failed);
        }
        flow.release(written);
        batch.advance(written);
        let all = batch.is_empty();
        if !all {
            flow.outbound.put_back(batch);
        }
        (flow, if all { Flushed::Idle } else { Flushed::Blocked })
    }

    /// Leaves what is pending to the owning task.
    fn hand_over(&self, mut flow: FlowGuard<'_>) {
        flow.blocked = !flow.outbound.is_empty();
        if flow.blocked {
            flow.lag.get_or_insert_default().progress_at = None;
        }
        let owner = flow.owner.clone();
        drop(flow);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// For the owning task: writes what is pending, if it was handed over.
    pub fn flush(&self, policy: &Policy, now: Moment) -> Flushed {
        let mut flow = self.flow.lock();
        if let Some(lag) = &mut flow.lag {
            lag.progress_at.get_or_insert(now);
        }
        for _ in 0..FLUSH_ROUNDS_MAX {
            if !flow.blocked || flow.outbound.is_empty() {
                flow.blocked = false;
                return Flushed::Idle;
            }
            let before = flow.written();
            let (again, result) = self.write_batch(flow);
            flow = again;
            let caught_up = flow.outbound.pending_bytes() <= policy.far_behind();
            let moved = flow.written() > before;
            if let Some(lag) = &mut flow.lag {
                if moved {
                    lag.progress_at = Some(now);
                }
                if caught_up {
                    lag.stalled.drain(..).for_each(Waker::wake);
                }
            }
            if result != Flushed::Idle {
                return result;
            }
        }
        Flushed::Part
    }

    /// For the owning task: what the write deadline is judged by.
    pub fn progress(&self) -> Progress {
        let mut flow = self.flow.lock();
        if !flow.blocked {
            flow.lag = None;
        }
        Progress {
            written: flow.written(),
            pending_bytes: flow.outbound.pending_bytes(),
            blocked: flow.blocked,
            progress_at: flow.lag.as_ref().and_then(|lag| lag.progress_at),
        }
    }

    /// Has `publisher` woken when less is pending, if it is far behind but worth waiting for: one
    /// whose socket has taken nothing for [`STALL_PATIENCE`] holds up nobody. Tells whether the
    /// publisher should pause.
    pub fn stall(&self, publisher: &Waker, policy: &Policy, now: Moment) -> bool {
        let mut flow = self.flow.lock();
        if !flow.is_far_behind(policy) {
            return false;
        }
        let lag = flow.lag.get_or_insert_default();
        if lag.is_stuck(now) {
            return false;
        }
        // Pauses may follow each other for as long as it stays behind. One that is not noted comes
        // again when its pause is over.
        let is_full = lag.stalled.len() == STALLED_COUNT_MAX;
        if !is_full && !lag.stalled.iter().any(|noted| noted.will_wake(publisher)) {
            lag.stalled.push(publisher.clone());
        }
        flow.stalls = flow.stalls.saturating_add(1);
        true
    }

    /// It waits for its socket, and so much is pending that publishers should pause.
    pub fn is_far_behind(&self, policy: &Policy) -> bool {
        self.flow.lock().is_far_behind(policy)
    }

    /// It is far behind, but its socket takes something now and then.
    pub fn is_catching_up(&self, policy: &Policy, now: Moment) -> bool {
        let flow = self.flow.lock();
        flow.is_far_behind(policy) && flow.lag.as_ref().is_none_or(|lag| !lag.is_stuck(now))
    }

    /// Ends the connection, for the first reason given, and wakes its owner. What is pending is
    /// still written, unless `discard`.
    pub fn close(&self, reason: ClosedReason, discard: bool) {
        let flow = self.flow.lock();
        self.close_locked(flow, reason, discard);
    }

    fn close_locked(&self, mut flow: FlowGuard<'_>, reason: ClosedReason, discard: bool) {
        flow.closed.get_or_insert(reason);
        self.is_closed.store(true, Ordering::Release);
        if discard {
            flow.discarded = true;
            flow.outbound.clear();
        }
        // Whoever appended comes too late to send it.
        flow.blocked |= !flow.flushing && !flow.outbound.is_empty();
        let owner = flow.owner.clone();
        let stalled = flow.lag.as_mut().map(|lag| std::mem::take(&mut lag.stalled));
        drop(flow);
        for waker in owner.into_iter().chain(stalled.into_iter().flatten()) {
            waker.wake();
        }
    }

    /// Lets go of the socket and of whoever was to be woken, at the very end.
    pub fn hang_up(&self) {
        let mut flow = self.flow.lock();
        flow.outbound.clear();
        flow.discarded = true;
        let kept = (flow.wire.take(), flow.owner.take());
        drop(flow);
        drop(kept);
    }

    /// Its socket is let go of: it has ended and nothing of it is left to be written.
    pub fn has_hung_up(&self) -> bool {
        self.flow.lock().wire.is_none()
    }

    /// Why it ends, if it does.
    pub fn closed(&self) -> Option<ClosedReason> {
        if !self.is_closed() {
            return None;
        }
        self.flow.lock().closed
    }

    /// It takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// It is a route whose other side gives no sign of life: others are to be preferred.
    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Notes whether its other side gives no sign of life.
    pub fn set_silent(&self, silent: bool) {
        self.is_silent.store(silent, Ordering::Relaxed);
    }

    /// What it has got so far.
    pub fn received(&self) -> Received {
        let flow = self.flow.lock();
        Received {
            out_msgs: flow.out_msgs,
            out_bytes: flow.out_bytes,
            pending_bytes: flow.outbound.pending_bytes(),
            stalls: flow.stalls.into(),
        }
    }

    /// What it has got and published so far.
    pub fn traffic(&self) -> Traffic {
        let Received { out_msgs, out_bytes, .. } = self.received();
        let (in_msgs, in_bytes) = (self.in_msgs.load(), self.in_bytes.load());
        Traffic { in_msgs, in_bytes, out_msgs, out_bytes }
    }

    /// It takes HMSG.
    pub fn headers(&self) -> bool {
        self.headers.load(Ordering::Relaxed)
    }

    /// Notes whether it takes HMSG.
    pub fn set_headers(&self, headers: bool) {
        self.headers.store(headers, Ordering::Relaxed);
    }

    /// It is a route that carries one account only, which its lines do not name.
    pub fn is_dedicated(&self) -> bool {
        self.dedicated.load(Ordering::Relaxed)
    }

    /// Notes that it carries one account only.
    pub fn set_dedicated(&self) {
        self.dedicated.store(true, Ordering::Relaxed);
    }

    /// When it was last sent a message, or sent one itself, or changed its interest.
    pub fn last_activity(&self) -> Moment {
        Moment(self.last_activity.load(Ordering::Relaxed))
    }

    /// Notes that a message or a change of interest has passed.
    pub fn set_last_activity(&self, now: Moment) {
        self.last_activity.store(now.0, Ordering::Relaxed);
    }

    /// Round trip time in nanoseconds; 0 while unknown.
    pub fn rtt(&self) -> u64 {
        self.rtt.load(Ordering::Relaxed)
    }

    /// Notes a measured round trip time.
    pub fn set_rtt(&self, nanos: u64) {
        self.rtt.store(nanos.max(1), Ordering::Relaxed);
    }

    /// Asks the owning task for a PING, if the round trip time is not known yet.
    pub fn want_rtt(&self) {
        if self.rtt() == 0 && !self.rtt_wanted.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// For the owning task: whether a PING was asked for since the last call.
    pub fn take_rtt_wanted(&self) -> bool {
        self.rtt_wanted.load(Ordering::Relaxed) && self.rtt_wanted.swap(false, Ordering::Relaxed)
    }

    /// Asks the owning task to tell its client that INFO has changed.
    pub fn bring_news(&self) {
        if !self.news.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// For the owning task: whether INFO was asked for since the last call.
    pub fn take_news(&self) -> bool {
        self.news.load(Ordering::Relaxed) && self.news.swap(false, Ordering::Relaxed)
    }

    /// Its subscriptions, locked. Lock the account's sublist first if both are needed.
    pub fn subscriptions(&self) -> impl DerefMut<Target = Subscriptions> {
        self.state.lock().map(|state| &mut state.subscriptions)
    }

    /// Its subscriptions, in no order. They are looked up in pieces, since there may be many; so if
    /// some go meanwhile, another one may be listed twice.
    pub fn list_subscriptions(&self) -> impl Iterator<Item = Subscription> {
        let mut walk = Walk::new();
        let next_piece = move || {
            let more = !walk.is_over();
            more.then(|| self.subscriptions().step(&mut walk).cloned().collect::<Vec<_>>())
        };
        std::iter::from_fn(next_piece).flatten()
    }

    /// What its CONNECT told.
    pub fn about(&self) -> About {
        self.flow.lock().about.as_ref().map_or_else(About::default, Packed::about)
    }

    /// Notes what its CONNECT told.
    pub fn set_about(&self, about: &About) {
        self.flow.lock().about = Packed::new(about);
    }

    /// Sets what it may do; `None` for everything.
    pub fn set_access(&self, permissions: Option<Arc<Permissions>>) {
        let access = permissions.map(|permissions| {
            let replies = permissions.replies().map(Box::new);
            Box::new(Access { permissions, replies })
        });
        let answers = access.as_ref().is_some_and(|access| access.replies.is_some());
        self.answers.store(answers, Ordering::Relaxed);
        self.state.lock().access = access;
    }

    /// Its user may answer to what it gets, so each delivery to it is looked at.
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// A message on `subject` may go to its subscription in `queue`.
    pub fn can_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let state = self.state.lock();
        state.access.as_ref().is_none_or(|access| match self.kind {
            Kind::Client => access.permissions.can_deliver(subject, queue),
            Kind::Route => access.permissions.exports(subject),
        })
    }

    /// Lets it answer to `reply`, if it may not publish there anyway.
    pub fn allow_reply(&self, reply: &[u8], now: Moment) {
        if let Some(access) = &mut self.state.lock().access
            && let Some(replies) = &mut access.replies
            && !access.permissions.can_publish(reply)
        {
            replies.open(reply, now.0);
        }
    }

    /// Uses up one answer to `subject`; false if it is not allowed to answer there.
    pub fn take_reply(&self, subject: &[u8], now: Moment) -> bool {
        let mut state = self.state.lock();
        let replies = state.access.as_mut().and_then(|access| access.replies.as_mut());
        replies.is_some_and(|replies| replies.take(subject, now.0))
    }
}

impl Lag {
    /// The socket has taken nothing for [`STALL_PATIENCE`].
    fn is_stuck(&self, now: Moment) -> bool {
        self.progress_at.is_some_and(|at| now - at >= STALL_PATIENCE)
    }
}

impl Flow {
    /// Counts bytes that the socket has taken.
    fn release(&mut self, written: usize) {
        self.outbound.release(written);
        if let Some(lag) = &mut self.lag {
            lag.written += written as u64;
        }
    }

    /// Bytes that the socket has taken since it was blocked.
    fn written(&self) -> u64 {
        self.lag.as_ref().map_or(0, |lag| lag.written)
    }

    /// Nobody writes, and nothing waits for the socket.
    fn is_idle(&self) -> bool {
        !self.flushing && !self.blocked
    }

    fn is_far_behind(&self, policy: &Policy) -> bool {
        self.closed.is_none() && self.blocked && self.outbound.pending_bytes() > policy.far_behind()
    }
}

/// Trouble that passes: the socket is full, or a signal came in between.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
