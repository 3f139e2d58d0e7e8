//! `Subscription`: one subject of one connection, shared by its connection, the sublist and caches.
//!
//! A thin pointer to one allocation: counters and owner, then the bytes of subject, queue and sid.
//! A million of them is the case this layout is made for.
//!
//! ```text
//! [ count | Head: conn delivered max slot lens | subject | queue | sid ]
//! ```
//! nats: server/client.go `subscription`

mod shadows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use foldhash::fast::RandomState;
use triomphe::ThinArc;

use crate::base::table::{Table, Walk};
use crate::config::imports::{AccountImports, StreamImport};
use crate::conn::Conn;
use crate::sublist::{Entry, Interest, UNLISTED};

use shadows::Shadows;

pub use shadows::Shadow;

/// `queue_len` of a plain subscription.
const PLAIN: u32 = u32::MAX;

/// A handle of one subscription; all clones show the same.
#[derive(Clone)]
pub struct Subscription(ThinArc<Head, u8>);

struct Head {
    conn: Arc<Conn>,
    /// Messages delivered by this server since SUB.
    delivered: AtomicU64,
    /// Messages after which it ends, 0 for never. Of a remote one, its weight.
    max: AtomicU64,
    /// Written by the sublist only.
    slot: AtomicU32,
    subject_len: u32,
    queue_len: u32,
    /// Number of rules checked for each delivery: none, unless a deny list of its connection is
    /// narrower than the subject.
    rules: AtomicU16,
    interest: Interest,
}

// A million subscriptions are a million of these.
const _: () = assert!(size_of::<Head>() <= 40);

/// The outcome of one delivery to a subscription with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Deliver it.
    Deliver,
    /// Deliver it, then remove the subscription: it was the last.
    DeliverLast,
    /// The limit was reached before.
    Spent,
}

impl Subscription {
    /// A subscription that is not listed yet.
    pub fn new(
        conn: &Arc<Conn>,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        rules: u16,
    ) -> Subscription {
        Subscription::with_head(conn, subject, queue, sid, |head| *head.rules.get_mut() = rules)
    }

    /// Interest in an account, announced by the server at the other end of the route `conn`.
    pub fn remote(
        conn: &Arc<Conn>,
        account: &[u8],
        subject: &[u8],
        queue: Option<&[u8]>,
        weight: u32,
        rules: u16,
    ) -> Subscription {
        Subscription::with_head(conn, subject, queue, account, |head| {
            head.interest = Interest::Route;
            *head.rules.get_mut() = rules;
            *head.max.get_mut() = weight.into();
        })
    }

    /// Interest of this server itself in messages of its own clients in an account, under its own
    /// connection. `number` is unique in the account.
    pub fn service(conn: &Arc<Conn>, account: &str, subject: &[u8], number: usize) -> Subscription {
        let sid = format!("{account} {number}");
        let change = |head: &mut Head| head.interest = Interest::Service;
        Subscription::with_head(conn, subject, None, sid.as_bytes(), change)
    }

    /// Interest of the same client in another account, from which its own one imports messages.
    fn shadow(original: &Subscription, subject: &[u8]) -> Subscription {
        let (queue, sid) = (original.queue(), original.sid());
        let change = |head: &mut Head| head.interest = Interest::Import;
        Subscription::with_head(original.conn(), subject, queue, sid, change)
    }

    /// Interest of this server itself in messages of all servers in an account, under its own
    /// connection.
    pub fn inline(conn: &Arc<Conn>, account: &str, subject: &[u8]) -> Subscription {
        let change = |head: &mut Head| head.interest = Interest::Inline;
        Subscription::with_head(conn, subject, None, account.as_bytes(), change)
    }

    fn with_head(
        conn: &Arc<Conn>,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        change: impl FnOnce(&mut Head),
    ) -> Subscription {
        let mut head = Head {
            conn: Arc::clone(conn),
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
            slot: AtomicU32::new(UNLISTED),
            subject_len: subject.len() as u32,
            queue_len: queue.map_or(PLAIN, |queue| queue.len() as u32),
            rules: AtomicU16::new(0),
            interest: Interest::Local,
        };
        change(&mut head);
        let queue = queue.unwrap_or_default();
        let mut text = Vec::with_capacity(subject.len() + queue.len() + sid.len());
        text.extend_from_slice(subject);
        text.extend_from_slice(queue);
        text.extend_from_slice(sid);
        Subscription(ThinArc::from_header_and_slice(head, &text))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn sid_at(&self) -> usize {
        let head = self.head();
        let queue_len = if head.queue_len == PLAIN { 0 } else { head.queue_len };
        (head.subject_len + queue_len) as usize
    }

    /// The connection that it belongs to.
    pub fn conn(&self) -> &Arc<Conn> {
        &self.head().conn
    }

    /// The client's name for it; of a remote one, and of the server's own, its account; of a
    /// service account and number.
    pub fn sid(&self) -> &[u8] {
        &self.0.slice[self.sid_at()..]
    }

    /// Its account, unless that is the account of its connection.
    pub fn account(&self) -> Option<&[u8]> {
        match self.interest() {
            Interest::Local | Interest::Import => None,
            Interest::Route | Interest::Inline => Some(self.sid()),
            Interest::Service => memchr::memrchr(b' ', self.sid()).map(|end| &self.sid()[..end]),
        }
    }

    /// True if no sublist has it.
    pub fn is_unlisted(&self) -> bool {
        self.slot() == UNLISTED
    }

    /// True if each delivery has to be checked with [`can_deliver`](Self::can_deliver).
    pub fn is_filtered(&self) -> bool {
        self.rules() > 0
    }

    /// The number of rules checked for each delivery, about.
    pub fn rules(&self) -> usize {
        self.head().rules.load(Relaxed).into()
    }

    /// Sets that number, for new permissions of its connection; true if it was another one. Then
    /// the caller outdates cached matches.
    pub fn set_rules(&self, rules: u16) -> bool {
        self.head().rules.swap(rules, Relaxed) != rules
    }

    /// True if a message on `subject`, which it matches, may go to it.
    pub fn can_deliver(&self, subject: &[u8]) -> bool {
        !self.is_filtered() || self.conn().can_deliver(subject, self.queue())
    }

    /// Messages delivered since SUB.
    pub fn delivered(&self) -> u64 {
        self.head().delivered.load(Relaxed)
    }

    /// Messages after which it ends; 0 for never.
    pub fn max(&self) -> u64 {
        match self.interest() {
            Interest::Local => self.head().max.load(Relaxed),
            Interest::Import | Interest::Route | Interest::Service | Interest::Inline => 0,
        }
    }

    /// The number of members of its queue group that it stands for: the weight announced for a
    /// remote one, which may be 0, else 1.
    pub fn weight(&self) -> u64 {
        match self.interest() {
            Interest::Local | Interest::Import | Interest::Service | Interest::Inline => 1,
            Interest::Route => self.head().max.load(Relaxed),
        }
    }

    /// Sets the weight of a remote one. As with [`set_max`](Self::set_max), the caller outdates
    /// cached matches.
    pub fn set_weight(&self, weight: u32) {
        debug_assert_eq!(self.interest(), Interest::Route, "a local member counts as one");
        self.head().max.store(weight.into(), Relaxed);
    }

    /// Sets the limit. The caller outdates cached matches through the sublist's epochs.
    pub fn set_max(&self, max: u64) {
        self.head().max.store(max, Relaxed);
    }

    /// Counts deliveries of a subscription without a limit.
    pub fn add_delivered(&self, count: u64) {
        self.head().delivered.fetch_add(count, Relaxed);
    }

    /// Counts one delivery against the limit.
    pub fn count(&self) -> Counted {
        let delivered = self.head().delivered.fetch_add(1, Relaxed) + 1;
        match self.max() {
            0 => Counted::Deliver,
            max if delivered < max => Counted::Deliver,
            max if delivered == max => Counted::DeliverLast,
            _ => {
                self.head().delivered.fetch_sub(1, Relaxed);
                Counted::Spent
            }
        }
    }
}

impl Entry for Subscription {
    fn subject(&self) -> &[u8] {
        &self.0.slice[..self.head().subject_len as usize]
    }

    fn queue(&self) -> Option<&[u8]> {
        let head = self.head();
        let start = head.subject_len as usize;
        (head.queue_len != PLAIN).then(|| &self.0.slice[start..start + head.queue_len as usize])
    }

    fn slot(&self) -> u32 {
        self.head().slot.load(Relaxed)
    }

    fn set_slot(&self, slot: u32) {
        self.head().slot.store(slot, Relaxed);
    }

    fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.head(), other.head())
    }

    fn interest(&self) -> Interest {
        self.head().interest
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("cid", &self.conn().cid)
            .field("subject", &String::from_utf8_lossy(self.subject()))
            .finish_non_exhaustive()
    }
}

/// The subscriptions of one connection: a client's by sid, a route's by account, subject and queue.
/// Those of a client may have [shadows](Shadow).
#[derive(Default)]
pub struct Subscriptions(Held);

/// Most connections hold one subscription or none: these need no table.
#[derive(Default)]
enum Held {
    #[default]
    None,
    One(Subscription),
    Many(Box<ByKey>),
}

#[derive(Default)]
struct ByKey {
    table: Table<Subscription>,
    random: RandomState,
    /// `None` for an account without imports.
    shadows: Option<Box<Shadows>>,
}

impl Subscriptions {
    /// The number of them.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::None => 0,
            Held::One(_) => 1,
            Held::Many(by_key) => by_key.table.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one the client calls `sid`.
    pub fn find(&self, sid: &[u8]) -> Option<&Subscription> {
        match &self.0 {
            Held::None => None,
            Held::One(one) => (one.sid() == sid).then_some(one),
            Held::Many(by_key) => by_key.find(sid),
        }
    }

    /// The one announced by the other server.
    pub fn find_remote(
        &self,
        account: &[u8],
        subject: &[u8],
        queue: Option<&[u8]>,
    ) -> Option<&Subscription> {
        let is_it = |known: &Subscription| {
            known.subject() == subject && known.queue() == queue && known.sid() == account
        };
        match &self.0 {
            Held::None => None,
            Held::One(one) => is_it(one).then_some(one),
            Held::Many(by_key) => {
                let key = [subject, queue.unwrap_or_default(), account];
                by_key.table.find(hash(&by_key.random, &key), is_it)
            }
        }
    }

    /// Adds one whose key is not in use.
    pub fn insert(&mut self, subscription: Subscription) {
        match &mut self.0 {
            Held::None => self.0 = Held::One(subscription),
            Held::One(_) | Held::Many(_) => self.many().insert(subscription),
        }
    }

    /// The table, which is made if there is none.
    fn many(&mut self) -> &mut ByKey {
        if !matches!(self.0, Held::Many(_)) {
            let mut by_key = Box::<ByKey>::default();
            if let Held::One(one) = std::mem::take(&mut self.0) {
                by_key.insert(one);
            }
            self.0 = Held::Many(by_key);
        }
        match &mut self.0 {
            Held::Many(by_key) => by_key,
            Held::None | Held::One(_) => unreachable!("it has just been made"),
        }
    }

    /// Removes one; false if it is not here.
    pub fn remove(&mut self, subscription: &Subscription) -> bool {
        match &mut self.0 {
            Held::One(one) if one.is_same(subscription) => {
                self.0 = Held::None;
                true
            }
            Held::None | Held::One(_) => false,
            Held::Many(by_key) => by_key.remove(subscription),
        }
    }

    /// Removes one with its shadows, which are returned.
    pub fn take(&mut self, subscription: &Subscription) -> Vec<Shadow> {
        self.remove(subscription);
        self.take_shadows(subscription, |_| true)
    }

    /// Takes out some of them, at most `count_max`; none if none are left.
    pub fn take_some(&mut self, count_max: usize) -> Vec<Subscription> {
        match &mut self.0 {
            Held::Many(by_key) => by_key.table.take_some(count_max),
            held => match std::mem::take(held) {
                Held::One(one) => vec![one],
                Held::None | Held::Many(_) => Vec::new(),
            },
        }
    }

    /// The next of them on a walk; see [`Table::step`].
    pub fn step(&self, walk: &mut Walk) -> impl Iterator<Item = &Subscription> {
        let (one, many) = match &self.0 {
            Held::Many(by_key) => (None, Some(by_key.table.step(walk))),
            held => {
                *walk = Walk::OVER;
                (if let Held::One(one) = held { Some(one) } else { None }, None)
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        let (one, many) = match &self.0 {
            Held::None => (None, None),
            Held::One(one) => (Some(one), None),
            Held::Many(by_key) => (None, Some(by_key.table.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// The shadows of the subscriptions.
impl Subscriptions {
    fn all_shadows(&self) -> Option<&Shadows> {
        match &self.0 {
            Held::Many(by_key) => by_key.shadows.as_deref(),
            Held::None | Held::One(_) => None,
        }
    }

    fn all_shadows_mut(&mut self) -> Option<&mut Shadows> {
        match &mut self.0 {
            Held::Many(by_key) => by_key.shadows.as_deref_mut(),
            Held::None | Held::One(_) => None,
        }
    }

    /// Makes the shadows of a new subscription for these imports.
    pub fn import(
        &mut self,
        original: &Subscription,
        imports: &Arc<AccountImports>,
    ) -> Vec<Shadow> {
        if imports.streams.is_empty() {
            return Vec::new();
        }
        let made = Shadow::all(original, imports);
        if self.all_shadows().is_none() {
            // The others have none yet, and will be renewed.
            let imports = if self.len() == 1 { Arc::clone(imports) } else { Arc::default() };
            self.many().shadows = Some(Box::new(Shadows::new(imports)));
        }
        self.add_shadows(original, made.clone());
        made
    }

    /// Notes the imports that all of them are to have shadows for; true if these are others than
    /// before.
    pub fn renew_imports(&mut self, imports: &Arc<AccountImports>) -> bool {
        let imports = Arc::clone(imports);
        if let Some(shadows) = self.all_shadows_mut() {
            return shadows.set_imports(imports);
        }
        let has_work = !imports.streams.is_empty() && !self.is_empty();
        if has_work {
            self.many().shadows = Some(Box::new(Shadows::new(imports)));
        }
        has_work
    }

    /// True if this one is here.
    pub fn holds(&self, subscription: &Subscription) -> bool {
        self.find(subscription.sid()).is_some_and(|known| known.is_same(subscription))
    }

    /// Those of one subscription.
    pub fn shadows(&self, original: &Subscription) -> &[Shadow] {
        self.all_shadows().map_or(&[], |shadows| shadows.of(original))
    }

    /// The subscription that gets what is delivered to a shadow, and the import.
    pub fn original(&self, shadow: &Subscription) -> Option<(&Subscription, &Arc<StreamImport>)> {
        self.all_shadows()?.original(shadow)
    }

    /// Adds shadows to a subscription, unless it is no longer here.
    pub fn add_shadows(&mut self, original: &Subscription, more: Vec<Shadow>) {
        let is_here = self.holds(original);
        if let Some(shadows) = self.all_shadows_mut().filter(|_| is_here) {
            shadows.add(original, more);
        }
    }

    /// Takes out those of a subscription for which `goes` is true.
    pub fn take_shadows(
        &mut self,
        original: &Subscription,
        goes: impl Fn(&Shadow) -> bool,
    ) -> Vec<Shadow> {
        let shadows = self.all_shadows_mut();
        shadows.map(|shadows| shadows.take(original, goes)).unwrap_or_default()
    }

    /// Takes out some of all, about `count_max`; none if none are left.
    pub fn take_some_shadows(&mut self, count_max: usize) -> Vec<Shadow> {
        let shadows = self.all_shadows_mut();
        shadows.map(|shadows| shadows.take_some(count_max)).unwrap_or_default()
    }
}

impl ByKey {
    fn find(&self, sid: &[u8]) -> Option<&Subscription> {
        let hash = hash(&self.random, &[sid]);
        self.table.find(hash, |subscription| subscription.sid() == sid)
    }

    fn insert(&mut self, subscription: Subscription) {
        let Self { table, random, .. } = self;
        let hash = hash_of(random, &subscription);
        table.insert(hash, subscription, |other| hash_of(random, other));
    }

    fn remove(&mut self, subscription: &Subscription) -> bool {
        let Self { table, random, .. } = self;
        let is_it = |other: &Subscription| other.is_same(subscription);
        let hash = hash_of(random, subscription);
        table.remove(hash, is_it, |other| hash_of(random, other)).is_some()
    }
}

fn hash_of(random: &RandomState, subscription: &Subscription) -> u64 {
    let sid = subscription.sid();
    match subscription.interest() {
        Interest::Local | Interest::Import | Interest::Service => hash(random, &[sid]),
        Interest::Route | Interest::Inline => {
            let queue = subscription.queue().unwrap_or_default();
            hash(random, &[subscription.subject(), queue, sid])
        }
    }
}

fn hash(random: &RandomState, key: &[&[u8]]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = random.build_hasher();
    key.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}
