//! `Events`: what has happened to clients, accounts and other servers, on its way to the server's
//! own client, which publishes it in the system account.
//!
//! The task to which it happens leaves a few pointers here, and only if somebody listens; the text
//! is made later. The queue has a limit: events above it are dropped and counted. A change of an
//! account is never dropped, because the limits at other servers depend on it; the account is in
//! the queue once, however often it changes. Nor is the end of other servers: it is there once,
//! too, and the mesh knows which are left.
//! nats: server/events.go `accountConnectEvent`, `accountDisconnectEvent`, `sendAuthErrorEvent`,
//! `accConnsUpdate`, `sendShutdownEvent`

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use crate::account::Account;
use crate::account::listeners::Heard;
use crate::base::closed_reason::ClosedReason;
use crate::base::limits::MIB;
use crate::base::moment::Moment;
use crate::base::sync::{Mutex, rank};
use crate::codec::msg_trace::MsgTrace;
use crate::conn::Conn;

/// Events that wait, besides changes of accounts.
const EVENTS_MAX: usize = if cfg!(test) { 8 } else { 16_384 };

/// Bytes of the traces among them, about.
const TRACES_LEN_MAX: usize = if cfg!(test) { 8 * 1024 } else { 16 * MIB };

/// Something that the server's own client has to publish.
pub enum Event {
    /// An account has got a client, or lost one.
    Conns(Arc<Account>),
    /// A client has logged in.
    Connect(ClientEvent),
    /// The connection of a client has ended.
    Disconnect(ClientEvent, ClosedReason),
    /// A client was refused. The account is that of the user it claimed to be.
    AuthError(ClientEvent, ClosedReason),
    /// A message with a trace is delivered.
    MsgTrace(Box<MsgTrace>),
    /// The last connection to another server has ended: to one of them, or several.
    ServerGone,
    /// This server is about to stop, and sends its clients away.
    LameDuck,
    /// This server stops: nothing follows.
    Shutdown,
}

/// Something that has happened to a client.
pub struct ClientEvent {
    /// Its connection.
    pub conn: Arc<Conn>,
    /// Its account.
    pub account: Arc<Account>,
    /// The time.
    pub at: Moment,
}

// A storm of connects fills the queue.
const _: () = assert!(size_of::<Event>() <= 32);

/// The queue.
#[derive(Default)]
pub struct Events(Mutex<Queue, { rank::LEAF }>);

#[derive(Default)]
struct Queue {
    list: VecDeque<Event>,
    /// Changes of accounts among them.
    conns: usize,
    /// Bytes of traces among them, about.
    traces_len: usize,
    /// True if the end of other servers is among them.
    server_gone: bool,
    dropped: usize,
    /// True after the end of the server is noted.
    ended: bool,
}

impl Event {
    /// True if somebody listens to it in the system account, or it is for this server itself.
    pub(super) fn is_heard(&self, system_account: &Account) -> bool {
        let heard_by = |account: &Account, what| account.is_heard(what, system_account);
        match self {
            Event::Conns(account) => heard_by(account, Heard::CONNS),
            Event::Connect(event) => heard_by(&event.account, Heard::CONNECT),
            Event::Disconnect(event, _) => heard_by(&event.account, Heard::DISCONNECT),
            Event::AuthError(..)
            | Event::MsgTrace(_)
            | Event::ServerGone
            | Event::LameDuck
            | Event::Shutdown => true,
        }
    }
}

impl Events {
    /// Adds an event. True if the queue was empty: its reader has to be woken.
    pub(super) fn push(&self, event: Event) -> bool {
        let mut queue = self.0.lock();
        let was_empty = queue.list.is_empty();
        match &event {
            _ if queue.ended => return false,
            Event::Conns(account) => {
                if account.queue_conns() {
                    queue.conns += 1;
                } else {
                    return false;
                }
            }
            Event::ServerGone if mem::replace(&mut queue.server_gone, true) => return false,
            Event::ServerGone | Event::LameDuck => {}
            Event::Shutdown => queue.ended = true,
            _ if queue.list.len() - queue.conns >= EVENTS_MAX => {
                queue.dropped += 1;
                return false;
            }
            Event::MsgTrace(trace) => {
                let len = trace.heap_bytes();
                if queue.traces_len + len > TRACES_LEN_MAX {
                    queue.dropped += 1;
                    return false;
                }
                queue.traces_len += len;
            }
            _ => {}
        }
        queue.list.push_back(event);
        was_empty
    }

    /// Takes the first event. The memory of a long queue is given back with the last one.
    pub fn pop(&self) -> Option<Event> {
        let mut queue = self.0.lock();
        let event = queue.list.pop_front()?;
        match &event {
            Event::Conns(account) => {
                account.take_conns();
                queue.conns -= 1;
            }
            Event::MsgTrace(trace) => queue.traces_len -= trace.heap_bytes(),
            Event::ServerGone => queue.server_gone = false,
            _ => {}
        }
        if queue.list.is_empty() {
            queue.list = VecDeque::new();
        }
        Some(event)
    }

    /// The number of events dropped since the last call.
    pub fn take_dropped(&self) -> usize {
        mem::take(&mut self.0.lock().dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::base::ids::{Cid, Kind};
    use crate::codec::date::Date;
    use crate::codec::msg_trace::{Asked, Ingress};
    use crate::conn::Slot;
    use crate::conn::taken::Taken;

    fn connect(account: &Arc<Account>) -> Event {
        let slot = Slot { number: 0, free: Arc::default() };
        let wire = Arc::new(Taken::default());
        let conn = Conn::new(Cid(1), Kind::Client, slot, None, Moment::START, wire);
        let (conn, account) = (Arc::new(conn), Arc::clone(account));
        Event::Connect(ClientEvent { conn, account, at: Moment::START })
    }

    #[test]
    fn a_changed_account_waits_once() {
        let events = Events::default();
        let account = Arc::new(Account::new(1, "A"));
        assert!(events.push(Event::Conns(Arc::clone(&account))));
        assert!(!events.push(Event::Conns(Arc::clone(&account))));
        assert!(!events.push(connect(&account)));
        assert!(!events.push(Event::Conns(Arc::clone(&account))));
        assert!(matches!(events.pop(), Some(Event::Conns(_))));
        assert!(!events.push(Event::Conns(Arc::clone(&account))), "it may have changed again");
        assert!(matches!(events.pop(), Some(Event::Connect(_))));
        assert!(matches!(events.pop(), Some(Event::Conns(_))));
        assert!(events.pop().is_none());
    }

    #[test]
    fn a_storm_is_dropped_and_counted_but_no_account_no_server_and_no_last_word() {
        let events = Events::default();
        let account = Arc::new(Account::new(1, "A"));
        for _ in 0..EVENTS_MAX + 5 {
            events.push(connect(&account));
        }
        events.push(Event::Conns(Arc::clone(&account)));
        events.push(Event::ServerGone);
        events.push(Event::ServerGone);
        events.push(Event::LameDuck);
        assert_eq!((events.take_dropped(), events.take_dropped()), (5, 0));
        let kept: Vec<Event> = std::iter::from_fn(|| events.pop()).collect();
        assert_eq!(kept.len(), EVENTS_MAX + 3);
        let last = &kept[EVENTS_MAX..];
        assert!(matches!(last, [Event::Conns(_), Event::ServerGone, Event::LameDuck]));
        assert!(events.push(connect(&account)), "there is room again");
        assert!(!events.push(Event::ServerGone) && events.pop().is_some());
        assert!(matches!(events.pop(), Some(Event::ServerGone)), "another server may be gone");
    }

    #[test]
    fn traces_have_room_of_their_own() {
        let trace = || {
            let block =
                format!("NATS/1.0\r\nNats-Trace-Dest: d\r\nA: {}\r\n\r\n", "x".repeat(1000));
            let asked = Asked::read(block.as_bytes()).unwrap();
            let (name, account, subject) = (String::new(), String::new(), String::new());
            let from = Ingress { kind: Kind::Client, cid: 1, name, account, subject };
            Box::new(MsgTrace::new(&asked, b"d", 1, from, Date(SystemTime::UNIX_EPOCH)))
        };
        let (events, account) = (Events::default(), Arc::new(Account::new(1, "A")));
        let mut count = 0;
        while events.take_dropped() == 0 {
            events.push(Event::MsgTrace(trace()));
            count += 1;
        }
        assert!((2..=EVENTS_MAX).contains(&count), "{count}");
        events.push(connect(&account));
        assert_eq!(events.take_dropped(), 0, "other events still have room");
        while events.pop().is_some() {}
        events.push(Event::MsgTrace(trace()));
        assert_eq!(events.take_dropped(), 0, "there is room again");
    }

    #[test]
    fn nothing_follows_the_end() {
        let events = Events::default();
        let account = Arc::new(Account::new(1, "A"));
        events.push(connect(&account));
        events.push(Event::Shutdown);
        assert!(!events.push(connect(&account)) && !events.push(Event::Conns(account)));
        assert!(matches!(events.pop(), Some(Event::Connect(_))));
        assert!(matches!(events.pop(), Some(Event::Shutdown)));
        assert!(events.pop().is_none() && !events.push(Event::LameDuck));
    }
}
