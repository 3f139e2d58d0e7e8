//! `Conn`: the face that a connection shows to others.
//!
//! Holds what several tasks touch: the outbound queue and its flushing, the waker of the owning
//! task, counters, subscriptions, and what monitoring shows. The socket is behind [`Wire`], so
//! nothing here does I/O by itself. `conn/flow.rs` says who writes to it, and when.
//! nats: server/client.go `client`

mod about;
mod access;
mod event;
mod flow;
mod flush;
pub mod outbound;
pub mod subscription;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod taken;

use core::net::{IpAddr, SocketAddr};
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::auth::permissions::Permissions;
use crate::base::ids::{Cid, Kind};
use crate::base::moment::Moment;
use crate::base::stats::{Counter, Traffic};
use crate::base::sync::{Mutex, rank};
use crate::base::table::Walk;
use crate::conn::about::Packed;
use crate::conn::access::Access;
use crate::conn::flow::Flow;
use crate::conn::subscription::{Subscription, Subscriptions};

pub use crate::conn::about::About;
pub(crate) use crate::conn::event::conn_event;
pub use crate::conn::flow::{Flushed, Progress, Sent, Wire};

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

/// What it subscribed to, and what its user may do.
#[derive(Default)]
struct State {
    subscriptions: Subscriptions,
    /// `None` may do everything.
    access: Option<Box<Access>>,
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

    /// Address of the other side; `None` within the process.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.map(SocketAddr::from)
    }

    /// Its number, if it is of that kind: the log has a word for that of each.
    pub(crate) fn number_as(&self, kind: Kind) -> Option<u64> {
        (self.kind == kind).then_some(self.cid.0)
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
        let access = permissions.map(|permissions| Box::new(Access::new(permissions)));
        let answers = access.as_ref().is_some_and(|access| access.answers());
        self.answers.store(answers, Ordering::Relaxed);
        self.state.lock().access = access;
    }

    /// What its user may do; `None` for everything.
    pub fn permissions(&self) -> Option<Arc<Permissions>> {
        self.state.lock().access.as_ref().map(|access| access.permissions())
    }

    /// Its user may answer to what it gets, so each delivery to it is looked at.
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// A message on `subject` may go to its subscription in `queue`.
    pub fn can_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let state = self.state.lock();
        state.access.as_ref().is_none_or(|access| access.can_deliver(self.kind, subject, queue))
    }

    /// Lets it answer to `reply`, if it may not publish there anyway.
    pub fn allow_reply(&self, reply: &[u8], now: Moment) {
        if let Some(access) = &mut self.state.lock().access {
            access.allow_reply(reply, now);
        }
    }

    /// Uses up one answer to `subject`; false if it is not allowed to answer there.
    pub fn take_reply(&self, subject: &[u8], now: Moment) -> bool {
        let mut state = self.state.lock();
        state.access.as_mut().is_some_and(|access| access.take_reply(subject, now))
    }
}

#[cfg(test)]
mod tests;
