//! `Account`: a subject space of its own, with the subscriptions in it.
//!
//! The routes that carry the account get each change of local interest. The change is appended to
//! their queues under the lock of the sublist, so that all of them see the same order. The caller
//! has to flush these queues: each route with a new line is handed to `announced`.
//!
//! Locks: a connection's subscriptions or queue may be locked while the sublist is held, never the
//! other way round.
//! nats: server/accounts.go `Account`; server/route.go `updateRouteSubscriptionMap`,
//! `sendSubsToRoute`

mod elsewhere;
pub mod listeners;
pub mod responses;
pub mod samples;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::account::responses::{Awaited, Responses};
use crate::account::samples::Samples;
use crate::auth::permissions::CompiledPermissions;
use crate::base::errors::ProtoErr;
use crate::base::ids::ServerId;
use crate::base::left::Left;
use crate::base::sync::{Mutex, RwLock, rank};
use crate::codec::encoder;
use crate::config::options::AccountLimits;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::sublist::cursor::Cursor;
use crate::sublist::epochs::Epochs;
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Sublist};

pub use crate::account::usage::Usage;

/// One account.
pub struct Account {
    /// Number that no other account of this server has ever had; keys the match caches.
    pub id: u32,
    /// `$G` or a configured name.
    pub name: Box<str>,
    listed: RwLock<Listed, { rank::LISTED }>,
    epochs: Arc<Epochs>,
    limits: RwLock<AccountLimits, { rank::LEAF }>,
    usage: Mutex<Usage, { rank::LEAF }>,
    /// Its clients at other servers, by these.
    elsewhere: Mutex<BTreeMap<ServerId, usize>, { rank::LEAF }>,
    /// Its events that somebody listens to: see [`listeners`].
    heard: AtomicU64,
    /// True while a change of its clients is queued to be published.
    conns_queued: AtomicBool,
    /// Begins the subjects of answers to requests of other accounts; none before the first one.
    response_prefix: OnceLock<Box<[u8]>>,
    responses: Mutex<Responses, { rank::RESPONSES }>,
    /// Requests of its clients to services of others; none before the first one.
    awaited: OnceLock<Mutex<Awaited, { rank::LEAF }>>,
    samples: Mutex<Option<Box<Samples>>, { rank::LEAF }>,
}

/// The subscriptions of an account, and the routes that get the local ones.
struct Listed {
    sublist: Sublist<Subscription>,
    links: Vec<Link>,
}

/// A route that carries an account.
#[derive(Clone)]
pub struct Link {
    /// The route.
    pub conn: Arc<Conn>,
    /// Limits the interest that it gets to subjects it may import.
    pub import: Option<Arc<CompiledPermissions>>,
    /// True if it carries this account alone, and so does not name it.
    pub dedicated: bool,
}

impl Account {
    /// An account without subscriptions.
    pub fn new(id: u32, name: &str) -> Account {
        let sublist = Sublist::new();
        let epochs = Arc::clone(sublist.epochs());
        let listed = RwLock::new(Listed { sublist, links: Vec::new() });
        Account {
            id,
            name: name.into(),
            listed,
            epochs,
            limits: RwLock::default(),
            usage: Mutex::default(),
            elsewhere: Mutex::default(),
            heard: AtomicU64::new(0),
            conns_queued: AtomicBool::new(false),
            response_prefix: OnceLock::new(),
            responses: Mutex::default(),
            awaited: OnceLock::new(),
            samples: Mutex::default(),
        }
    }

    /// Its limits.
    pub fn limits(&self) -> AccountLimits {
        *self.limits.read()
    }

    /// Sets its limits from now on.
    pub fn set_limits(&self, limits: AccountLimits) {
        *self.limits.write() = limits;
    }

    /// Takes a client over from the account that it was in.
    ///
    /// # Errors
    /// The account is at its limit of clients.
    pub fn admit(&self, client: &Conn, from: &Account) -> Result<(), ProtoErr> {
        if self.id == from.id {
            return Ok(());
        }
        let carried = client.traffic();
        let max_connections = self.limits().max_connections;
        let mut usage = self.usage.lock();
        if max_connections.is_some_and(|max| usage.client_count + usage.elsewhere >= max) {
            return Err(ProtoErr::MaxAccountConnections);
        }
        usage.come(client.kind, carried);
        drop(usage);
        from.usage.lock().go(client.kind, carried);
        Ok(())
    }

    /// Counts a connection in, regardless of the limits.
    pub fn join(&self, conn: &Conn) {
        let carried = conn.traffic();
        self.usage.lock().come(conn.kind, carried);
    }

    /// Counts an ended connection out.
    pub fn leave(&self, conn: &Conn) {
        let carried = conn.traffic();
        self.usage.lock().go(conn.kind, carried);
    }

    /// Counts a slow consumer among its clients.
    pub fn count_slow(&self) {
        self.usage.lock().slow_consumers += 1;
    }

    /// The clients and the traffic of the account.
    pub fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    /// Notes that a change of its clients is queued to be published; false if one was before.
    pub fn queue_conns(&self) -> bool {
        !self.conns_queued.swap(true, Ordering::AcqRel)
    }

    /// Notes that the change is taken out of the queue: later ones count again.
    pub fn take_conns(&self) {
        self.conns_queued.store(false, Ordering::Release);
    }

    /// The stamps of its matches. To be read before [`match_into`](Account::match_into) when the
    /// result is kept.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Fills `result` with the subscriptions that match `subject`.
    pub fn match_into(&self, subject: &[u8], result: &mut MatchResult<Subscription>) {
        self.listed.read().sublist.match_into(subject, result);
    }

    /// The first of the subscriptions without queue that matches `subject` and for which `is_it`
    /// holds; visits at most `looks_max`.
    pub fn find_plain(
        &self,
        subject: &[u8],
        looks_max: usize,
        is_it: impl Fn(&Subscription) -> bool,
    ) -> Option<Subscription> {
        self.listed.read().sublist.find_plain(subject, looks_max, is_it)
    }

    /// Adds a subscription; false if its subject is invalid.
    pub fn insert(&self, subscription: Subscription, announced: impl FnMut(&Arc<Conn>)) -> bool {
        let mut listed = self.listed.write();
        if listed.links.is_empty() || !subscription.interest().is_announced() {
            return listed.sublist.insert(subscription);
        }
        let inserted = listed.sublist.insert(subscription.clone());
        if inserted {
            listed.announce_change(&self.name, &subscription, true, announced);
        }
        inserted
    }

    /// Removes subscriptions, as far as they are here, and releases the lock now and then.
    pub fn remove_all(
        &self,
        subscriptions: &[Subscription],
        mut announced: impl FnMut(&Arc<Conn>),
    ) {
        for some in subscriptions.chunks(REMOVE_CHUNK) {
            let mut listed = self.listed.write();
            for subscription in some {
                listed.remove(&self.name, subscription, &mut announced);
            }
        }
    }

    /// Outdates the cached matches of a subscription whose limit or weight changed.
    pub fn outdate(&self, subscription: &Subscription) {
        self.listed.write().sublist.outdate(subscription);
    }

    /// Outdates all cached matches: any number of subscriptions may have changed.
    pub fn outdate_all(&self) {
        self.listed.write().sublist.outdate_all();
    }

    /// Adds a route: from now on it gets each change of local interest.
    /// [`announce`](Account::announce) sends the present interest; false if there is none.
    pub fn link(&self, link: Link) -> bool {
        let mut listed = self.listed.write();
        listed.links.push(link);
        listed.sublist.count() > 0
    }

    /// Removes a route.
    pub fn unlink(&self, conn: &Arc<Conn>) {
        self.listed.write().links.retain(|link| !Arc::ptr_eq(&link.conn, conn));
    }

    /// Replaces a route that may import other subjects now. [`announce`](Account::announce) sends
    /// the difference.
    pub fn relink(&self, link: Link) {
        let mut listed = self.listed.write();
        let mut links = listed.links.iter_mut();
        if let Some(before) = links.find(|before| Arc::ptr_eq(&before.conn, &link.conn)) {
            *before = link;
        }
    }

    /// Sends a linked route a bounded piece of the local interest, from `cursor` on; and
    /// `withdraws` that which it may not import.
    pub fn announce(&self, cursor: &mut Cursor, link: &Link, withdraws: bool) -> Left {
        let mut lines = Vec::new();
        let listed = self.listed.read();
        let left =
            listed.sublist.visit_announced(cursor, ANNOUNCE_STEPS, |subject, queue, count| {
                if link.imports(subject) {
                    link.write_interest(&mut lines, &self.name, subject, queue, count);
                } else if withdraws {
                    link.write_interest(&mut lines, &self.name, subject, queue, 0);
                }
            });
        link.conn.append(&lines);
        left
    }

    /// Reads the sublist, for monitoring.
    pub fn with_sublist<T>(&self, read: impl FnOnce(&Sublist<Subscription>) -> T) -> T {
        read(&self.listed.read().sublist)
    }
}

impl Listed {
    fn remove(&mut self, account: &str, entry: &Subscription, announced: impl FnMut(&Arc<Conn>)) {
        if self.sublist.remove(entry) && !self.links.is_empty() && entry.interest().is_announced() {
            self.announce_change(account, entry, false, announced);
        }
    }

    /// Sends the routes the change made by a local subscription that came or went.
    fn announce_change(
        &self,
        account: &str,
        entry: &Subscription,
        came: bool,
        mut announced: impl FnMut(&Arc<Conn>),
    ) {
        let (subject, queue) = (entry.subject(), entry.queue());
        let count = self.sublist.announced_count(subject, queue);
        // Of plain subscriptions only the first and the last matter.
        if queue.is_none() && count != usize::from(came) {
            return;
        }
        let mut line = Vec::with_capacity(LINE_LEN);
        // A route may have imported more when the interest came.
        for link in self.links.iter().filter(|link| count == 0 || link.imports(subject)) {
            line.clear();
            link.write_interest(&mut line, account, subject, queue, count);
            link.conn.append(&line);
            announced(&link.conn);
        }
    }
}

impl Link {
    /// The link of a route.
    pub fn new(conn: &Arc<Conn>, import: &Option<Arc<CompiledPermissions>>) -> Link {
        let dedicated = conn.is_dedicated();
        Link { conn: Arc::clone(conn), import: import.clone(), dedicated }
    }

    fn imports(&self, subject: &[u8]) -> bool {
        self.import.as_ref().is_none_or(|import| import.can_publish(subject))
    }

    /// Appends RS+ for `count` local subscriptions, or RS- for none.
    fn write_interest(
        &self,
        out: &mut Vec<u8>,
        account: &str,
        subject: &[u8],
        queue: Option<&[u8]>,
        count: usize,
    ) {
        let account = (!self.dedicated).then_some(account.as_bytes());
        match u32::try_from(count).unwrap_or(u32::MAX) {
            0 => encoder::write_rs_minus(out, account, subject, queue),
            count => {
                encoder::write_rs_plus(out, account, subject, queue.map(|queue| (queue, count)));
            }
        }
    }
}

/// Subscriptions removed under one lock.
const REMOVE_CHUNK: usize = 256;

/// Subjects visited under one lock when a route gets all interest; some 100 ns each.
const ANNOUNCE_STEPS: usize = if cfg!(test) { 7 } else { 1024 };

/// Room for a usual line.
const LINE_LEN: usize = 64;
