//! `Conn`: the shared part of a connection.
//!
//! Holds everything that several tasks use: the outbound queue and its flushing, the waker of the
//! owning task, counters, subscriptions, and facts for monitoring. The socket is behind [`Wire`],
//! so nothing here does I/O by itself. `conn/flow.rs` explains the writing.
//! nats: server/client.go `client`

mod about;
mod access;
mod encryption;
mod event;
mod flow;
mod flush;
pub mod frames;
pub mod outbound;
pub mod subscription;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod taken;

use core::net::{IpAddr, SocketAddr};
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::auth::permissions::CompiledPermissions;
use crate::base::ids::{Cid, Kind};
use crate::base::moment::Moment;
use crate::base::stats::{Counter, Traffic};
use crate::base::sync::{Mutex, rank};
use crate::base::table::Walk;
use crate::conn::about::Packed;
use crate::conn::access::Access;
use crate::conn::flow::Flow;
use crate::conn::subscription::{Subscription, Subscriptions};

pub use crate::conn::about::{About, Label};
pub use crate::conn::encryption::Encryption;
pub(crate) use crate::conn::event::conn_event;
pub use crate::conn::flow::{Flushed, Progress, Sent, Wire};

/// One connection, shared by its own task, publishers and monitoring.
pub struct Conn {
    /// Unique within the server's run.
    pub cid: Cid,
    /// The kind of its other side.
    pub kind: Kind,
    /// Position in the tables of staging; free again once the last reference to the `Conn` is
    /// dropped.
    pub slot: u32,
    free_slots: Arc<FreeSlots>,
    /// The time of its accept.
    pub start: Moment,
    /// Messages that it has published.
    pub in_msgs: Counter,
    /// The bytes of these messages.
    pub in_bytes: Counter,
    /// Address and port of the other side; a `SocketAddr` would take 12 bytes more.
    remote: Option<(IpAddr, u16)>,
    last_activity: AtomicU64,
    /// Nanoseconds; 0 while unknown.
    rtt: AtomicU64,
    /// True if it takes HMSG.
    headers: AtomicBool,
    /// True if its user has `allow_responses`.
    answers: AtomicBool,
    /// [`DEDICATED`], [`SILENT`] and [`TAKES_TRACES`], of a route.
    of_route: AtomicU8,
    /// `closed` of the flow, readable without its lock.
    is_closed: AtomicBool,
    /// [`RTT_WANTED`], [`NEWS`], [`WEBSOCKET`], [`RELOADED`], [`LAME_DUCK`] and [`TAKES_INFO`].
    flags: AtomicU8,
    /// Its encryption, as a code.
    encryption: AtomicU8,
    flow: Mutex<Flow, { rank::FLOW }>,
    state: Mutex<State, { rank::STATE }>,
}

/// Monitoring wants its RTT.
const RTT_WANTED: u8 = 1;
/// The client has to be told that INFO has changed.
const NEWS: u8 = 2;
/// It has come by WebSocket.
const WEBSOCKET: u8 = 4;
/// The settings have been replaced.
const RELOADED: u8 = 8;
/// Its next INFO says that the server is about to stop.
const LAME_DUCK: u8 = 16;
/// It takes INFO at any time: it has asked for that, and has had its first PONG.
const TAKES_INFO: u8 = 32;

// With the counts of its `Arc` and a word of the allocator 240 bytes: with glibc, just what fits
// between two tasks, which are aligned to 128. One word more costs some 130 for each connection.
const _: () = assert!(size_of::<Conn>() <= 216);

/// The bit of a route that carries one account only.
const DEDICATED: u8 = 1;
/// The bit of a route whose other side gives no sign of life.
const SILENT: u8 = 2;
/// The bit of a route to a server that traces messages.
const TAKES_TRACES: u8 = 4;

/// The subscriptions, and the permissions of the user.
#[derive(Default)]
struct State {
    subscriptions: Subscriptions,
    /// `None` for a user that may do everything.
    access: Option<Box<Access>>,
}

/// The output of a connection, for monitoring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Messages delivered to it.
    pub out_msgs: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Bytes that wait in its queue.
    pub pending_bytes: usize,
    /// Pauses of publishers because of it.
    pub stalls: u64,
}

/// A small number that no other living connection of the server has.
pub struct Slot {
    /// The number.
    pub number: u32,
    /// The list that takes it back.
    pub(crate) free: Arc<FreeSlots>,
}

/// Slots of ended connections.
pub(crate) type FreeSlots = Mutex<Vec<u32>, { rank::FREE_SLOTS }>;

impl Drop for Conn {
    fn drop(&mut self) {
        self.free_slots.lock().push(self.slot);
    }
}

impl Conn {
    /// A new connection.
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
            of_route: AtomicU8::new(0),
            is_closed: AtomicBool::new(false),
            flags: AtomicU8::new(0),
            encryption: AtomicU8::new(0),
            flow: Mutex::new(Flow { wire: Some(wire), ..Flow::default() }),
            state: Mutex::default(),
        }
    }

    /// Address of the other side; `None` within the process.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.map(SocketAddr::from)
    }

    /// Its number, if it is of that kind: the log shows a client's as `cid`, or `wid` if it came by
    /// WebSocket, and a route's as `rid`.
    pub(crate) fn number_as(&self, kind: Kind, websocket: bool) -> Option<u64> {
        (self.kind == kind && self.is_websocket() == websocket).then_some(self.cid.0)
    }

    /// True for a route whose other side gives no sign of life: others are preferred.
    pub fn is_silent(&self) -> bool {
        self.of_route.load(Ordering::Relaxed) & SILENT != 0
    }

    /// Stores whether its other side gives no sign of life.
    pub fn set_silent(&self, silent: bool) {
        if silent {
            self.of_route.fetch_or(SILENT, Ordering::Relaxed);
        } else {
            self.of_route.fetch_and(!SILENT, Ordering::Relaxed);
        }
    }

    /// Its output so far.
    pub fn received(&self) -> Received {
        let flow = self.flow.lock();
        Received {
            out_msgs: flow.out_msgs,
            out_bytes: flow.out_bytes,
            pending_bytes: flow.outbound.pending_bytes(),
            stalls: flow.stalls.into(),
        }
    }

    /// Its traffic in both directions so far.
    pub fn traffic(&self) -> Traffic {
        let Received { out_msgs, out_bytes, .. } = self.received();
        let (in_msgs, in_bytes) = (self.in_msgs.load(), self.in_bytes.load());
        Traffic { in_msgs, in_bytes, out_msgs, out_bytes }
    }

    /// Its encryption, if it has any.
    pub fn encryption(&self) -> Option<Encryption> {
        Encryption::of_code(self.encryption.load(Ordering::Relaxed))
    }

    /// Stores its encryption.
    pub fn set_encryption(&self, encryption: Encryption) {
        self.encryption.store(encryption.code(), Ordering::Relaxed);
    }

    /// The certificates that the other side has shown, in DER and its own first; none after the
    /// end. The layer that encrypts keeps them.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        let wire = self.flow.lock().wire.clone();
        wire.map(|wire| wire.certificates()).unwrap_or_default()
    }

    /// True if it takes HMSG.
    pub fn headers(&self) -> bool {
        self.headers.load(Ordering::Relaxed)
    }

    /// Stores whether it takes HMSG.
    pub fn set_headers(&self, headers: bool) {
        self.headers.store(headers, Ordering::Relaxed);
    }

    /// True for a route that carries one account only, which its lines do not name.
    pub fn is_dedicated(&self) -> bool {
        self.of_route.load(Ordering::Relaxed) & DEDICATED != 0
    }

    /// Marks a route that carries one account only.
    pub fn set_dedicated(&self) {
        self.of_route.fetch_or(DEDICATED, Ordering::Relaxed);
    }

    /// True for a route to a server that traces messages.
    pub fn takes_traces(&self) -> bool {
        self.of_route.load(Ordering::Relaxed) & TAKES_TRACES != 0
    }

    /// Marks a route to a server that traces messages.
    pub fn set_takes_traces(&self) {
        self.of_route.fetch_or(TAKES_TRACES, Ordering::Relaxed);
    }

    /// The time of its last message in either direction, or change of interest.
    pub fn last_activity(&self) -> Moment {
        Moment(self.last_activity.load(Ordering::Relaxed))
    }

    /// Stores the time of a message or a change of interest.
    pub fn set_last_activity(&self, now: Moment) {
        self.last_activity.store(now.0, Ordering::Relaxed);
    }

    /// Round trip time in nanoseconds; 0 while unknown.
    pub fn rtt(&self) -> u64 {
        self.rtt.load(Ordering::Relaxed)
    }

    /// Stores a measured round trip time.
    pub fn set_rtt(&self, nanos: u64) {
        self.rtt.store(nanos.max(1), Ordering::Relaxed);
    }

    /// Asks the owning task for a PING, if the round trip time is not known yet.
    pub fn want_rtt(&self) {
        if self.rtt() == 0 && !self.set_flag(RTT_WANTED) {
            self.wake();
        }
    }

    /// For the owning task: true if a PING was requested since the last call.
    pub fn take_rtt_wanted(&self) -> bool {
        self.take_flag(RTT_WANTED)
    }

    /// Wakes the owning task because INFO has changed.
    pub fn bring_news(&self) {
        if !self.set_flag(NEWS) {
            self.wake();
        }
    }

    /// For the owning task: true if INFO has changed since the last call.
    pub fn take_news(&self) -> bool {
        self.take_flag(NEWS)
    }

    /// True if the client takes INFO at any time, from now on.
    pub fn takes_info(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & TAKES_INFO != 0
    }

    /// Stores whether the client takes INFO at any time.
    pub fn set_takes_info(&self, takes: bool) {
        if takes {
            self.set_flag(TAKES_INFO);
        } else {
            self.take_flag(TAKES_INFO);
        }
    }

    /// Makes the next INFO say that the server is about to stop: at once if the client
    /// [takes it](Conn::takes_info), else with the first one that it gets.
    pub fn bring_lame_duck(&self) {
        self.set_flag(LAME_DUCK);
        self.bring_news();
    }

    /// For the owning task: true if this INFO says that the server is about to stop.
    pub fn take_lame_duck(&self) -> bool {
        self.take_flag(LAME_DUCK)
    }

    /// For the owning task: true if there are settings or news to [take](Conn::take_settings).
    pub fn is_called(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (RELOADED | NEWS) != 0
    }

    /// Wakes the owning task because the settings have been replaced.
    pub fn bring_settings(&self) {
        if !self.set_flag(RELOADED) {
            self.wake();
        }
    }

    /// For the owning task: true if the settings have been replaced since the last call.
    pub fn take_settings(&self) -> bool {
        self.take_flag(RELOADED)
    }

    /// It has come by WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & WEBSOCKET != 0
    }

    /// Notes that it has come by WebSocket.
    pub fn set_websocket(&self) {
        self.set_flag(WEBSOCKET);
    }

    /// Sets a flag, and tells whether it was set. Who takes it sees all that was done before.
    fn set_flag(&self, flag: u8) -> bool {
        self.flags.fetch_or(flag, Ordering::Release) & flag != 0
    }

    /// Clears a flag, and tells whether it was set.
    fn take_flag(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
            && self.flags.fetch_and(!flag, Ordering::Acquire) & flag != 0
    }

    /// Its subscriptions, locked. Lock the account's sublist first if both are needed.
    pub fn subscriptions(&self) -> impl DerefMut<Target = Subscriptions> {
        self.state.lock().map(|state| &mut state.subscriptions)
    }

    /// Its subscriptions, in no order. They are read in pieces, because there may be many; so if
    /// some are removed meanwhile, another one may be listed twice.
    pub fn list_subscriptions(&self) -> impl Iterator<Item = Subscription> {
        let mut walk = Walk::new();
        let next_piece = move || {
            let more = !walk.is_over();
            more.then(|| self.subscriptions().step(&mut walk).cloned().collect::<Vec<_>>())
        };
        std::iter::from_fn(next_piece).flatten()
    }

    /// The options of its CONNECT, for monitoring and logs.
    pub fn about(&self) -> About {
        self.flow.lock().about.as_ref().map_or_else(About::default, Packed::about)
    }

    /// Stores the options of its CONNECT, for monitoring and logs.
    pub fn set_about(&self, about: &About) {
        self.flow.lock().about = Packed::new(about);
    }

    /// Sets the permissions of its user; `None` for everything.
    pub fn set_access(&self, permissions: Option<Arc<CompiledPermissions>>) {
        let access = permissions.map(|permissions| Box::new(Access::new(permissions)));
        let answers = access.as_ref().is_some_and(|access| access.answers());
        self.answers.store(answers, Ordering::Relaxed);
        self.state.lock().access = access;
    }

    /// The permissions of its user; `None` for everything.
    pub fn permissions(&self) -> Option<Arc<CompiledPermissions>> {
        self.state.lock().access.as_ref().map(|access| access.permissions())
    }

    /// True if its user has `allow_responses`, so that each delivery to it may allow a reply.
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// True if a message on `subject` may go to its subscription in `queue`.
    pub fn can_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let state = self.state.lock();
        state.access.as_ref().is_none_or(|access| access.can_deliver(self.kind, subject, queue))
    }

    /// Allows it to publish to `reply`, unless it may do so anyway.
    pub fn allow_reply(&self, reply: &[u8], now: Moment) {
        if let Some(access) = &mut self.state.lock().access {
            access.allow_reply(reply, now);
        }
    }

    /// Uses up one reply to `subject`; false if none is allowed.
    pub fn take_reply(&self, subject: &[u8], now: Moment) -> bool {
        let mut state = self.state.lock();
        state.access.as_mut().is_some_and(|access| access.take_reply(subject, now))
    }
}

#[cfg(test)]
mod tests;
