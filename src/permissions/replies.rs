//! Reply subjects that one connection may publish to because it received them (`allow_responses`).
//!
//! Knows no clock: `now` is an argument.
//! Invariant: at most [`REPLY_COUNT_MAX`] subjects of together [`REPLY_BYTES_MAX`] bytes are open.
//! nats: server/client.go `deliverMsg`, `responseAllowed`, `pruneReplyPerms`

use hashbrown::HashMap;

use crate::options::AllowResponses;

/// Reply subjects open at the same time. The real server has no limit but time.
pub(super) const REPLY_COUNT_MAX: usize = 65_536;

/// Bytes of all reply subjects open at the same time.
pub(super) const REPLY_BYTES_MAX: usize = 8 * crate::limits::MIB;

/// Open subjects from which on the expired ones are looked for.
const PRUNE_COUNT_MIN: usize = 64;

/// The reply subjects that are open to one connection.
#[derive(Debug)]
pub struct Replies {
    rule: AllowResponses,
    open: HashMap<Box<[u8]>, Open, foldhash::fast::RandomState>,
    /// Sum of the lengths of the keys of `open`.
    bytes: usize,
    /// Counts the openings; tells which is older.
    opened_count: u64,
    /// Length of `open` at which the expired ones are looked for again.
    prune_count: usize,
}

/// One reply subject that may be published to.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Nanoseconds on the caller's clock.
    at: u64,
    /// Position among all openings.
    number: u64,
    /// Publications so far.
    used: i64,
}

impl Replies {
    /// Nothing is open yet.
    pub fn new(rule: AllowResponses) -> Self {
        Self {
            rule,
            open: HashMap::default(),
            bytes: 0,
            opened_count: 0,
            prune_count: PRUNE_COUNT_MIN,
        }
    }

    /// Opens `reply`, the reply subject of a message that was delivered. To be called only where
    /// the permissions do not let the user publish there anyway.
    ///
    /// When too many are open, the older half is closed.
    /// nats-differs: there, a message with a reply subject that is still open opens nothing and
    /// uses one of the publications up, so that nobody may answer two requests of one inbox. Here
    /// each message opens its reply subject anew.
    pub fn open(&mut self, reply: &[u8], now: u64) {
        let full = self.bytes + reply.len() > REPLY_BYTES_MAX;
        if full || self.open.len() >= self.prune_count {
            self.prune(now);
        }
        self.opened_count += 1;
        let opened = Open { at: now, number: self.opened_count, used: 0 };
        if self.open.insert(reply.into(), opened).is_none() {
            self.bytes += reply.len();
        }
    }

    /// Tells whether a message may be published on `subject` because it is an open reply, and
    /// counts that publication.
    pub fn take(&mut self, subject: &[u8], now: u64) -> bool {
        let Some(open) = self.open.get_mut(subject) else { return false };
        open.used += 1;
        let left = if self.rule.max < 0 { i64::MAX } else { self.rule.max - open.used };
        let allowed = left >= 0 && !expired(&self.rule, open, now);
        if left <= 0 || !allowed {
            self.open.remove(subject);
            self.bytes -= subject.len();
        }
        allowed
    }

    /// Closes what is expired, and the older half as long as more than half of a limit is in use:
    /// so the next pass is far away.
    fn prune(&mut self, now: u64) {
        let rule = self.rule;
        self.open.retain(|_, open| !expired(&rule, open, now));
        self.bytes = self.open.keys().map(|reply| reply.len()).sum();
        while self.open.len() > REPLY_COUNT_MAX / 2 || self.bytes > REPLY_BYTES_MAX / 2 {
            let mut numbers: Vec<u64> = self.open.values().map(|open| open.number).collect();
            let middle = (numbers.len() - 1) / 2;
            let (_, &mut last_closed, _) = numbers.select_nth_unstable(middle);
            self.open.retain(|_, open| open.number > last_closed);
            self.bytes = self.open.keys().map(|reply| reply.len()).sum();
        }
        self.prune_count = (2 * self.open.len()).clamp(PRUNE_COUNT_MIN, REPLY_COUNT_MAX);
    }
}

fn expired(rule: &AllowResponses, open: &Open, now: u64) -> bool {
    let age = u128::from(now.saturating_sub(open.at));
    rule.expires.is_some_and(|expires| age > expires.as_nanos())
}
