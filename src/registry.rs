//! `Registry`: the state shared by the whole server. Connections by slot, the ring of closed ones,
//! counters of the workers, and the settings in force, with the accounts.
//!
//! Locks here are held for a few lines; the only one taken under another is that of the free slots,
//! which is a leaf.
//! nats: server/server.go `Server`, `closedRingBuffer`

pub mod accounts;
pub mod events;
pub mod settings;
pub mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::account::responses::Requester;
use crate::base::closed_reason::ClosedReason;
use crate::base::ids::{Cid, Kind, ServerId};
use crate::base::moment::Moment;
use crate::base::secrets::{self, Secrets};
use crate::base::stats::{Counters, Snapshot, Traffic};
use crate::base::sync::{Mutex, RwLock, rank};
use crate::codec::client_info::ClientInfo;
use crate::codec::date::Date;
use crate::codec::info::Info;
use crate::config::check::Checked;
#[cfg(test)]
use crate::config::options::Options;
use crate::conn::subscription::Subscription;
use crate::conn::{Conn, FreeSlots, Slot};
use crate::registry::events::{Event, Events};
use crate::registry::settings::Settings;
use crate::registry::turns::Turns;
use crate::sublist::Entry;

/// Everything the tasks of one server share.
pub struct Registry {
    /// Public nkey of this run.
    pub server_id: ServerId,
    /// The turns of the workers.
    pub turns: Arc<Turns>,
    /// Events on their way to the server's own client.
    pub events: Events,
    settings: RwLock<Arc<Settings>, { rank::SETTINGS }>,
    /// The version of the settings, readable without the lock.
    settings_version: AtomicU64,
    info: RwLock<Info, { rank::INFO }>,
    birth: OnceLock<Birth>,
    /// True while the server's own client looks after open requests.
    requests_watched: AtomicBool,
    /// Sequences of secrets handed out.
    sequences: AtomicU64,
    conns: Mutex<Conns, { rank::CONNS }>,
    /// Slots of ended connections.
    free_slots: Arc<FreeSlots>,
    closed: Mutex<ClosedRing, { rank::LEAF }>,
    counters: Mutex<Vec<Arc<Counters>>, { rank::LEAF }>,
    total_connections: AtomicU64,
    http_requests: Mutex<BTreeMap<&'static str, u64>, { rank::LEAF }>,
}

/// What a server gets from outside when it starts.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// The date of [`Moment::START`].
    pub date: SystemTime,
    /// The key of its secrets: random bytes.
    pub key: secrets::Key,
}

/// The open connections.
#[derive(Default)]
struct Conns {
    /// Slots are small numbers: a table of them is smaller than a map by cid.
    by_slot: Vec<Option<Arc<Conn>>>,
    count: usize,
    client_count: usize,
    routes: Vec<Arc<Conn>>,
    /// That of the server's own client.
    system: Option<Arc<Conn>>,
    /// Traffic of routes that have ended.
    ended_routes: Traffic,
    cids: u64,
    /// True once the server stops: no connection is added any more.
    stopped: bool,
}

impl Conns {
    /// True if `conn` is one of them, and not one that had its slot before.
    fn holds(&self, conn: &Conn) -> bool {
        self.by_slot[conn.slot as usize].as_ref().is_some_and(|held| held.cid == conn.cid)
    }
}

/// Slots visited under one lock, to list connections.
const SLOTS_PER_LOCK: usize = 1024;

/// A connection that has ended, as monitoring shows it.
pub struct Closed {
    /// The connection, without its subscriptions.
    pub conn: Arc<Conn>,
    /// The time of its end.
    pub stop: Moment,
    /// The reason of its end.
    pub reason: ClosedReason,
    /// The number of its subscriptions.
    pub subscription_count: usize,
    /// The first of them, up to [`CLOSED_BYTES_MAX`].
    pub subscriptions: Box<[ClosedSubscription]>,
    /// Bytes that they take, about.
    bytes: usize,
}

/// Bytes of subscriptions kept of one closed connection, about: some 3,000 subscriptions, which
/// take about a millisecond.
const CLOSED_BYTES_MAX: usize = 256 * 1024;

/// The same of all closed connections: above it, those that closed first are forgotten.
const CLOSED_BYTES_MAX_OF_ALL: usize = 16 * 1024 * 1024;

/// Connections that have closed, the oldest first.
#[derive(Default)]
struct ClosedRing {
    list: VecDeque<Arc<Closed>>,
    bytes: usize,
}

/// A subscription of a connection that has ended.
pub struct ClosedSubscription {
    /// Subject.
    pub subject: Box<[u8]>,
    /// Queue group, if it was in one.
    pub queue: Option<Box<[u8]>>,
    /// The client's name for it.
    pub sid: Box<[u8]>,
    /// Messages delivered.
    pub delivered: u64,
}

impl ClosedSubscription {
    fn of(subscription: &Subscription) -> ClosedSubscription {
        ClosedSubscription {
            subject: subscription.subject().into(),
            queue: subscription.queue().map(Into::into),
            sid: subscription.sid().into(),
            delivered: subscription.delivered(),
        }
    }

    fn bytes(&self) -> usize {
        let queue_len = self.queue.as_ref().map_or(0, |queue| queue.len());
        size_of::<ClosedSubscription>() + self.subject.len() + queue_len + self.sid.len()
    }
}

impl ClosedRing {
    /// Adds one, and returns those forgotten for it: dropping them takes longer than taking them
    /// out.
    fn push(&mut self, closed: Closed, count_max: usize) -> Vec<Arc<Closed>> {
        self.bytes += closed.bytes;
        self.list.push_back(Arc::new(closed));
        let mut forgotten = Vec::new();
        while self.list.len() > count_max || self.bytes > CLOSED_BYTES_MAX_OF_ALL {
            let Some(oldest) = self.list.pop_front() else { break };
            self.bytes -= oldest.bytes;
            forgotten.push(oldest);
        }
        forgotten
    }
}

impl Registry {
    /// A server without connections.
    pub fn new(server_id: ServerId, checked: Checked<'_>) -> Registry {
        Registry {
            server_id,
            turns: Arc::default(),
            events: Events::default(),
            settings: RwLock::new(Arc::new(Settings::new(checked))),
            settings_version: AtomicU64::new(0),
            info: RwLock::default(),
            birth: OnceLock::new(),
            requests_watched: AtomicBool::new(false),
            sequences: AtomicU64::new(0),
            conns: Mutex::default(),
            free_slots: Arc::default(),
            closed: Mutex::default(),
            counters: Mutex::default(),
            total_connections: AtomicU64::new(0),
            http_requests: Mutex::default(),
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// True if these are the settings in force.
    #[inline]
    pub fn is_in_force(&self, settings: &Settings) -> bool {
        self.settings_version.load(Relaxed) == settings.version
    }

    /// Replaces the settings as a whole; [`bring_settings`](Registry::bring_settings) follows. Of
    /// two callers at the same time one would be forgotten.
    pub fn replace_settings(&self, checked: Checked<'_>, now: Moment) {
        // Not under the lock: there may be a hundred thousand users.
        let new = Arc::new(self.settings().replaced(checked, now));
        let mut settings = self.settings.write();
        self.settings_version.store(new.version, Relaxed);
        *settings = new;
    }

    /// Wakes all connections to judge themselves by new settings.
    pub fn bring_settings(&self) {
        self.conns().iter().for_each(|conn| conn.bring_settings());
    }

    /// Both.
    #[cfg(test)]
    pub(crate) fn change_settings(&self, mut options: Options) {
        let checked = Checked::new(&mut options, None).expect("they can be started");
        self.replace_settings(checked, Moment::START);
        self.bring_settings();
    }

    /// The INFO of the server, without the fields that differ from client to client.
    pub fn info(&self) -> Info {
        self.info.read().clone()
    }

    /// Sets the INFO of the server.
    pub fn set_info(&self, info: Info) {
        *self.info.write() = info;
    }

    /// Changes the INFO of the server for clients that come from now on.
    pub fn amend_info(&self, amend: impl FnOnce(&mut Info)) {
        amend(&mut self.info.write());
    }

    /// Sets date and key of a server that starts.
    pub fn set_birth(&self, birth: Birth) {
        self.birth.get_or_init(|| birth);
    }

    /// The date of a moment.
    pub fn date(&self, moment: Moment) -> SystemTime {
        let start = self.birth.get().map_or(SystemTime::UNIX_EPOCH, |birth| birth.date);
        start + moment.since(Moment::START)
    }

    /// The facts about a client that its account may share; not the account.
    pub fn client_info(&self, conn: &Conn) -> ClientInfo<'static> {
        let text = |text: Option<Box<str>>| text.map(String::from).unwrap_or_default().into();
        let about = conn.about();
        let websocket = conn.is_websocket();
        ClientInfo {
            start: Date(self.date(conn.start)).to_string().into(),
            host: conn.remote().map(|remote| remote.ip().to_string()).unwrap_or_default().into(),
            id: conn.cid.0,
            user: text(about.user),
            name: text(about.name),
            lang: text(about.lang),
            ver: text(about.version),
            kind: "Client".into(),
            client_type: if websocket { "websocket" } else { "nats" }.into(),
            ..ClientInfo::default()
        }
    }

    /// Secrets for one more worker.
    pub fn new_secrets(&self) -> Secrets {
        let key = self.birth.get().map(|birth| birth.key).unwrap_or_default();
        Secrets::new(key, self.sequences.fetch_add(1, Relaxed))
    }

    /// Adds a connection; `make` builds it for a new cid and a free slot. Once the registry is
    /// [stopped](Registry::stop) the connection is closed from the start, and never served.
    pub fn add(&self, make: impl FnOnce(Cid, Slot) -> Conn) -> Arc<Conn> {
        let mut conns = self.conns.lock();
        conns.cids += 1;
        let cid = Cid(conns.cids);
        let number = self.free_slots.lock().pop().unwrap_or_else(|| {
            conns.by_slot.push(None);
            (conns.by_slot.len() - 1) as u32
        });
        let conn = Arc::new(make(cid, Slot { number, free: Arc::clone(&self.free_slots) }));
        conns.by_slot[number as usize] = Some(Arc::clone(&conn));
        conns.count += 1;
        match conn.kind {
            Kind::Client => {
                conns.client_count += 1;
                self.total_connections.fetch_add(1, Relaxed);
            }
            Kind::Route => conns.routes.push(Arc::clone(&conn)),
            Kind::System => conns.system = Some(Arc::clone(&conn)),
        }
        let stopped = conns.stopped;
        drop(conns);
        if stopped {
            conn.close(ClosedReason::ServerShutdown, false);
        }
        conn
    }

    /// Refuses every later connection. Returns the open ones, in no order.
    pub fn stop(&self) -> Vec<Arc<Conn>> {
        self.conns.lock().stopped = true;
        self.conns()
    }

    /// True once later connections are refused.
    pub fn is_stopped(&self) -> bool {
        self.conns.lock().stopped
    }

    /// Forgets a connection that has ended; false if that was done before.
    pub fn remove(&self, conn: &Conn) -> bool {
        let traffic = conn.traffic();
        let mut conns = self.conns.lock();
        if !conns.holds(conn) {
            return false;
        }
        conns.by_slot[conn.slot as usize] = None;
        conns.count -= 1;
        match conn.kind {
            Kind::Client => conns.client_count -= 1,
            Kind::Route => {
                conns.routes.retain(|route| route.cid != conn.cid);
                conns.ended_routes += traffic;
            }
            Kind::System => conns.system = None,
        }
        true
    }

    /// Moves a connection from the open ones to the ring of closed clients.
    pub fn move_to_closed(&self, closed: Closed) {
        self.remove(&closed.conn);
        let count_max = self.settings().options.max_closed_clients;
        if count_max == 0 || !closed.conn.kind.is_client() {
            return;
        }
        let forgotten = self.closed.lock().push(closed, count_max);
        drop(forgotten);
    }

    /// The number of connected clients.
    pub fn client_count(&self) -> usize {
        self.conns.lock().client_count
    }

    /// The number of clients so far.
    pub fn total_connections(&self) -> u64 {
        self.total_connections.load(Relaxed)
    }

    /// The connection of the server's own client.
    pub fn system(&self) -> Option<Arc<Conn>> {
        self.conns.lock().system.clone()
    }

    /// A request is open: makes the server's own client look for those whose time is over.
    pub fn watch_requests(&self) {
        if !self.requests_watched.load(Relaxed)
            && !self.requests_watched.swap(true, Relaxed)
            && let Some(system) = self.system()
        {
            system.bring_news();
        }
    }

    /// The server's own client looks after open requests from now on, or until now: then the next
    /// one that is opened wakes it.
    pub fn set_requests_watched(&self, watched: bool) {
        self.requests_watched.store(watched, Relaxed);
    }

    /// True while requests are open that the server's own client looks after.
    pub fn are_requests_watched(&self) -> bool {
        self.requests_watched.load(Relaxed)
    }

    /// Queues an event for the server's own client, if somebody listens to it.
    pub fn note(&self, event: Event, settings: &Settings) {
        let is_heard = match settings.system_account() {
            Some(system_account) => event.is_heard(system_account),
            None => matches!(event, Event::MsgTrace(_)),
        };
        if is_heard
            && let Some(system) = self.system()
            && self.events.push(event)
        {
            system.bring_news();
        }
    }

    /// The open connection in that slot.
    pub fn conn_in(&self, slot: u32) -> Option<Arc<Conn>> {
        self.conns.lock().by_slot.get(slot as usize)?.clone()
    }

    /// The connection of a requester, if it is still open.
    pub fn conn_of(&self, requester: Requester) -> Option<Arc<Conn>> {
        self.conn_in(requester.slot).filter(|conn| conn.cid == requester.cid)
    }

    /// All open connections, in no order. One that comes or goes meanwhile may be missing.
    pub fn conns(&self) -> Vec<Arc<Conn>> {
        self.select(|_| true)
    }

    /// The connections of all clients, in no order.
    pub fn clients(&self) -> Vec<Arc<Conn>> {
        self.select(|conn| conn.kind.is_client())
    }

    /// The client with that number.
    pub fn find_client(&self, cid: Cid) -> Option<Arc<Conn>> {
        self.select(|conn| conn.kind.is_client() && conn.cid == cid).pop()
    }

    /// Releases the lock now and then: there may be many.
    fn select(&self, is_wanted: impl Fn(&Conn) -> bool) -> Vec<Arc<Conn>> {
        let mut selected = Vec::new();
        let mut next_slot = Some(0);
        while let Some(first) = next_slot {
            next_slot = self.select_from(first, &is_wanted, &mut selected);
        }
        selected
    }

    /// The open connections in some slots, from that one on; and the next slot, if there is one.
    pub fn conns_from(&self, slot: usize) -> (Vec<Arc<Conn>>, Option<usize>) {
        let mut conns = Vec::new();
        let next_slot = self.select_from(slot, |_| true, &mut conns);
        (conns, next_slot)
    }

    fn select_from(
        &self,
        first: usize,
        is_wanted: impl Fn(&Conn) -> bool,
        selected: &mut Vec<Arc<Conn>>,
    ) -> Option<usize> {
        let conns = self.conns.lock();
        let rest = conns.by_slot.get(first..).unwrap_or_default();
        let some = rest.iter().take(SLOTS_PER_LOCK).flatten();
        selected.extend(some.filter(|conn| is_wanted(conn)).cloned());
        (rest.len() > SLOTS_PER_LOCK).then_some(first + SLOTS_PER_LOCK)
    }

    /// Traffic of all routes, ended ones included.
    pub fn route_traffic(&self) -> Traffic {
        let conns = self.conns.lock();
        let (mut traffic, routes) = (conns.ended_routes, conns.routes.clone());
        drop(conns);
        routes.iter().for_each(|route| traffic += route.traffic());
        traffic
    }

    /// Changes the INFO of the server, and makes those clients get it for whom it has changed.
    pub fn change_info(&self, change: impl FnOnce(&mut Info)) {
        let mut info = self.info.write();
        let before = info.clone();
        change(&mut info);
        let for_clients = |by| (before.clone().for_clients(by), info.clone().for_clients(by));
        let [news, websocket_news] = [false, true].map(for_clients).map(|(old, new)| old != new);
        drop(info);
        for conn in self.clients() {
            if if conn.is_websocket() { websocket_news } else { news } {
                conn.bring_news();
            }
        }
    }

    /// Enters lame duck mode: all clients are told, each of them once.
    pub fn enter_lame_duck(&self) {
        self.info.write().ldm = true;
        self.clients().iter().for_each(|client| client.bring_lame_duck());
    }

    /// True in lame duck mode.
    pub fn is_lame_duck(&self) -> bool {
        self.info.read().ldm
    }

    /// The closed connections in the ring, oldest first.
    pub fn closed(&self) -> Vec<Arc<Closed>> {
        self.closed.lock().list.iter().cloned().collect()
    }

    /// New counters for one more writer.
    pub fn new_counters(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.counters.lock().push(Arc::clone(&counters));
        counters
    }

    /// The global account.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn global(&self) -> Arc<crate::account::Account> {
        Arc::clone(self.settings().accounts.global())
    }

    /// The number of writers.
    #[cfg(test)]
    pub(crate) fn writer_count(&self) -> usize {
        self.counters.lock().len()
    }

    /// The sum over all writers.
    pub fn totals(&self) -> Snapshot {
        self.counters.lock().iter().map(|counters| counters.as_ref()).sum()
    }

    /// Counts a request for a monitoring page.
    pub fn count_http_request(&self, page: &'static str) {
        *self.http_requests.lock().entry(page).or_default() += 1;
    }

    /// Requests for monitoring pages by their path.
    pub fn http_requests(&self) -> BTreeMap<&'static str, u64> {
        self.http_requests.lock().clone()
    }
}

impl Closed {
    /// An ended connection with copies of its subscriptions: these hold no connection.
    pub fn new(conn: &Arc<Conn>, stop: Moment, reason: ClosedReason) -> Closed {
        let subscriptions = conn.subscriptions();
        let mut bytes = 0;
        let kept = subscriptions.iter().map(ClosedSubscription::of).take_while(|kept| {
            bytes += kept.bytes();
            bytes <= CLOSED_BYTES_MAX
        });
        let kept = kept.collect();
        Closed {
            stop,
            reason,
            subscription_count: subscriptions.len(),
            subscriptions: kept,
            bytes: bytes.min(CLOSED_BYTES_MAX),
            conn: Arc::clone(conn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::taken::Taken;

    #[test]
    fn who_comes_after_the_stop_is_closed_from_the_start() {
        let id = ServerId::new(&"N".repeat(ServerId::LEN)).unwrap();
        let registry = Registry::new(id, Checked::new(&mut Options::default(), None).unwrap());
        let add = |kind| {
            let wire = Arc::new(Taken::default());
            registry.add(|cid, slot| Conn::new(cid, kind, slot, None, Moment::START, wire))
        };
        let before = add(Kind::Client);
        let stopped = registry.stop();
        assert!(stopped.len() == 1 && Arc::ptr_eq(&stopped[0], &before));
        assert_eq!(before.closed(), None, "its last turn is for its owner");
        for kind in [Kind::Client, Kind::Route] {
            assert_eq!(add(kind).closed(), Some(ClosedReason::ServerShutdown));
        }
    }
}
