//! Reply subjects that one connection may publish to because it received them (`allow_responses`).
//!
//! They are kept in two generations. When the younger one holds half of the limit, or the older one
//! has expired as a whole, the older one is closed and the younger one takes its place: nothing
//! searches for old ones.
//!
//! Knows no clock: `now` is an argument.
//! Invariant: a generation holds at most half of [`REPLY_COUNT_MAX`] subjects and of
//! [`REPLY_BYTES_MAX`], or a single one.
//! nats: server/client.go `deliverMsg`, `responseAllowed`, `pruneReplyPerms`

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::base::table::Table;
use crate::config::options::AllowResponses;

/// Reply subjects open at the same time. The real server has no limit but time.
pub(super) const REPLY_COUNT_MAX: usize = 65_536;

/// Bytes of all reply subjects open at the same time.
pub(super) const REPLY_BYTES_MAX: usize = 8 * crate::base::limits::MIB;

/// Closed subjects whose memory is given back at each opening: more than come.
const FREED_PER_OPENING: usize = 4;

/// The reply subjects that are open to one connection.
#[derive(Debug)]
pub struct Replies {
    rule: AllowResponses,
    young: Generation,
    old: Generation,
    /// Closed generations whose memory is still to be given back.
    closed: Vec<Table<Open>>,
    random: RandomState,
}

/// Reply subjects that were opened after each other.
#[derive(Debug, Default)]
struct Generation {
    open: Table<Open>,
    /// Sum of the lengths of the subjects.
    bytes: usize,
    /// The time when the first one was opened.
    since: u64,
}

/// One reply subject that may be published to.
#[derive(Debug)]
struct Open {
    subject: Box<[u8]>,
    /// Nanoseconds on the caller's clock.
    at: u64,
    /// Publications so far.
    used: i64,
}

impl Replies {
    /// Nothing is open yet.
    pub fn new(rule: AllowResponses) -> Self {
        Self {
            rule,
            young: Generation::default(),
            old: Generation::default(),
            closed: Vec::new(),
            random: RandomState::default(),
        }
    }

    /// Opens `reply`, the reply subject of a delivered message. To be called only if the
    /// permissions do not let the user publish there anyway.
    ///
    /// When too many are open, the older half is closed.
    /// nats-differs: there, a message with a reply subject that is still open opens nothing and
    /// uses one of the publications up, so two requests of one inbox cannot both be answered. Here
    /// each message opens its reply subject anew.
    pub fn open(&mut self, reply: &[u8], now: u64) {
        self.free_some();
        if self.young.is_full(reply.len()) || expired(&self.rule, self.young.since, now) {
            let young = std::mem::take(&mut self.young);
            let old = std::mem::replace(&mut self.old, young);
            self.closed.push(old.open);
        }
        if self.young.open.is_empty() {
            self.young.since = now;
        }
        let hash = hash(&self.random, reply);
        self.old.remove(hash, reply, &self.random);
        self.young.remove(hash, reply, &self.random);
        let opened = Open { subject: reply.into(), at: now, used: 0 };
        self.young.bytes += reply.len();
        self.young.open.insert(hash, opened, |open| self::hash(&self.random, &open.subject));
    }

    /// True if a message may be published on `subject` because it is an open reply. Counts that
    /// publication.
    pub fn take(&mut self, subject: &[u8], now: u64) -> bool {
        let hash = hash(&self.random, subject);
        let is_it = |open: &Open| *open.subject == *subject;
        for generation in [&mut self.young, &mut self.old] {
            let Some(open) = generation.open.find_mut(hash, is_it) else { continue };
            open.used += 1;
            let left = if self.rule.max < 0 { i64::MAX } else { self.rule.max - open.used };
            let allowed = left >= 0 && !expired(&self.rule, open.at, now);
            if left <= 0 || !allowed {
                generation.remove(hash, subject, &self.random);
            }
            return allowed;
        }
        false
    }

    fn free_some(&mut self) {
        if let Some(closed) = self.closed.last_mut()
            && closed.take_some(FREED_PER_OPENING).is_empty()
        {
            self.closed.pop();
        }
    }
}

impl Generation {
    /// True if there is no room for a subject of that length.
    fn is_full(&self, len: usize) -> bool {
        !self.open.is_empty()
            && (self.open.len() >= REPLY_COUNT_MAX / 2 || self.bytes + len > REPLY_BYTES_MAX / 2)
    }

    fn remove(&mut self, hash: u64, subject: &[u8], random: &RandomState) {
        let is_it = |open: &Open| *open.subject == *subject;
        let hash_of = |open: &Open| self::hash(random, &open.subject);
        if self.open.remove(hash, is_it, hash_of).is_some() {
            self.bytes -= subject.len();
        }
    }
}

fn expired(rule: &AllowResponses, at: u64, now: u64) -> bool {
    let age = u128::from(now.saturating_sub(at));
    rule.expires.is_some_and(|expires| age > expires.as_nanos())
}

fn hash(random: &RandomState, subject: &[u8]) -> u64 {
    let mut hasher = random.build_hasher();
    hasher.write(subject);
    hasher.finish()
}
