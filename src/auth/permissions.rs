//! Permissions of one user to publish and subscribe: allow and deny lists, compiled once per user.
//!
//! Knows no connection and no account. A connection holds its user's [`CompiledPermissions`] in an
//! `Arc` and, if the user may answer requests, [`Replies`] of its own. Invariant: a subject in both
//! lists is denied. The lists fail closed: the allow list must *cover* a subscription, wildcards
//! understood, while the deny list takes the subscription's wildcards as bytes and so refuses more.
//! nats: server/client.go `setPermissions`, `canSubscribe`, `pubAllowed`, `checkDenySub`

use hashbrown::HashMap;

use crate::base::subject::{
    covers, has_empty_token, is_literal, is_open_ended, matches_from, overlaps, tokens,
};
use crate::config::options;

pub use replies::Replies;

mod replies;
#[cfg(test)]
mod tests;

/// Patterns up to which a list is scanned; a longer one gets an index by prefix.
const SCANNED_COUNT_MAX: usize = 8;

/// The compiled permissions of one user, shared by its connections. The default ones allow
/// everything.
#[derive(Debug, Default)]
pub struct CompiledPermissions {
    /// Subjects to publish to.
    publish: Rules,
    /// Subjects to subscribe to.
    subscribe: Rules,
    /// The limits of answers to a request that the user received.
    allow_responses: Option<options::AllowResponses>,
}

/// Time to check one rule, in nanoseconds about.
pub const RULE_NS: usize = 30;

/// Both lists for one direction.
#[derive(Debug, Default)]
struct Rules {
    /// None allows everything.
    allow: Option<List>,
    /// Wins over `allow`.
    deny: List,
}

/// One list: entries for a subject, and entries for a subject in a queue.
#[derive(Debug, Default)]
struct List {
    plain: Patterns,
    queued: Box<[Queued]>,
}

/// An entry `subject queue`; both are patterns.
#[derive(Debug)]
struct Queued {
    subject: Box<[u8]>,
    queue: Box<[u8]>,
}

/// Subject patterns, to find one in a relation to a subject.
#[derive(Debug, Default)]
struct Patterns {
    list: Box<[Box<[u8]>]>,
    /// Positions in `list` by literal prefix; none while the list is short.
    by_prefix: Option<HashMap<Box<[u8]>, Vec<u32>, foldhash::fast::RandomState>>,
    /// The number of patterns checked for one subject, about.
    looks: usize,
}

impl CompiledPermissions {
    /// Compiles the options of a user.
    pub fn new(permissions: &options::Permissions) -> Self {
        let options::Permissions { publish, subscribe, allow_responses } = permissions;
        Self {
            publish: Rules::new(publish, List::without_queues),
            subscribe: Rules::new(subscribe, List::new),
            allow_responses: *allow_responses,
        }
    }

    /// Time for [`can_publish`](CompiledPermissions::can_publish), in nanoseconds about.
    pub fn publish_ns(&self) -> usize {
        RULE_NS * self.publish.looks()
    }

    /// Time to decide on a subscription and on its [filters](CompiledPermissions::filters), in
    /// nanoseconds about.
    pub fn subscribe_ns(&self) -> usize {
        RULE_NS * (self.subscribe.looks() + self.subscribe.deny.len())
    }

    /// True if a message may be published on `subject`, whose bytes are taken literally. If not,
    /// the connection's [`Replies`] are to be checked: they win over the deny list too.
    pub fn can_publish(&self, subject: &[u8]) -> bool {
        let allowed =
            |allow: &List| !has_empty_token(subject) && allow.plain.any(subject, tokens_match);
        self.publish.allow.as_ref().is_none_or(allowed) && !self.denies_publish(subject)
    }

    /// True if the deny list forbids to publish on `subject`; the allow list does not count.
    pub fn denies_publish(&self, subject: &[u8]) -> bool {
        let deny = &self.publish.deny.plain;
        !deny.list.is_empty() && !has_empty_token(subject) && deny.any(subject, tokens_match)
    }

    /// True if a subscription on `subject` may be made, in `queue` if there is one.
    ///
    /// nats-differs: there, allow `a.*` admits a subscription on `a.>`, which then receives
    /// `a.b.c`: a user sees more than was allowed. Here it is refused.
    pub fn can_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let allow = self.subscribe.allow.as_ref();
        allow.is_none_or(|allow| allow.allows(subject, queue)) && self.can_deliver(subject, queue)
    }

    /// The number of rules, about, that [`CompiledPermissions::can_deliver`] must check at each
    /// delivery to this permitted subscription, because it is wider than a denied subject; else 0.
    ///
    /// nats: server/client.go `loadMsgDenyFilterIfNeeded`
    pub fn filters(&self, subject: &[u8], queue: Option<&[u8]>) -> u16 {
        let deny = &self.subscribe.deny;
        let is_wider = !is_literal(subject)
            && (deny.plain.list.iter().any(|pattern| overlaps(pattern, subject))
                || queue.is_some_and(|queue| {
                    deny.queued.iter().any(|entry| {
                        queue_matches(&entry.queue, queue) && overlaps(&entry.subject, subject)
                    })
                }));
        if is_wider { at_most_u16(deny.looks()) } else { 0 }
    }

    /// True if a message on `subject` may go to a subscription of this user in `queue`.
    pub fn can_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        has_empty_token(subject) || !self.subscribe.deny.denies(subject, queue)
    }

    /// True if a message on `subject` may go to another server, or its interest in `subject`
    /// counts. Such interest may be wider than the permission: see
    /// [`export_rules`](CompiledPermissions::export_rules).
    ///
    /// nats: server/route.go `canExport`
    pub fn can_export(&self, subject: &[u8]) -> bool {
        let names = |allow: &List| allow.plain.any(subject, tokens_match);
        self.subscribe.allow.as_ref().is_none_or(names) && self.can_deliver(subject, None)
    }

    /// The number of rules, about, that [`can_export`](CompiledPermissions::can_export) must check
    /// for each message for such interest: 0 if all matching messages may go there.
    pub fn export_rules(&self, subject: &[u8]) -> u16 {
        let covered = |allow: &List| allow.plain.any(subject, covers);
        if self.subscribe.allow.as_ref().is_none_or(covered) {
            return self.filters(subject, None);
        }
        at_most_u16(self.subscribe.looks())
    }

    /// The user's options; entries with a queue come last.
    pub fn to_options(&self) -> options::Permissions {
        options::Permissions {
            publish: self.publish.to_options(),
            subscribe: self.subscribe.to_options(),
            allow_responses: self.allow_responses,
        }
    }

    /// Reply allowance for a new connection of this user; none if its answers need a permission to
    /// publish.
    pub fn replies(&self) -> Option<Replies> {
        self.allow_responses.map(Replies::new)
    }
}

fn at_most_u16(count: usize) -> u16 {
    count.try_into().unwrap_or(u16::MAX)
}

/// True if no client may publish here: the subjects of gateways and of Raft.
///
/// nats: server/client.go `processInboundClientMsg`; server/gateway.go `hasGWRoutedReplyPrefix`
pub fn is_reserved_subject(subject: &[u8]) -> bool {
    subject.starts_with(b"$NRG.") || is_gateway_reply(subject)
}

/// True if no trace of a message goes here; those of the system account may concern Raft.
///
/// nats: server/msgtrace.go `allowedToPublishOnMsgTraceDest`
pub fn is_reserved_dest(subject: &[u8], is_system: bool) -> bool {
    if is_system { is_gateway_reply(subject) } else { is_reserved_subject(subject) }
}

/// True if no client may name this as reply subject: it belongs to service imports, JetStream
/// or gateways.
///
/// nats: server/client.go `isReservedReply`
pub fn is_reserved_reply(reply: &[u8]) -> bool {
    reply.starts_with(b"_R_.") || is_longer_than(reply, b"$JS.ACK.") || is_gateway_reply(reply)
}

/// True if no client may subscribe in this queue: the server's own.
///
/// nats: server/client.go `sysGroup`
pub fn is_reserved_queue(queue: &[u8]) -> bool {
    queue == b"_sys_"
}

fn is_gateway_reply(subject: &[u8]) -> bool {
    is_longer_than(subject, b"_GR_.") || is_longer_than(subject, b"$GR.")
}

fn is_longer_than(subject: &[u8], prefix: &[u8]) -> bool {
    subject.len() > prefix.len() && subject.starts_with(prefix)
}

impl Rules {
    fn new(permission: &options::SubjectPermission, list: fn(&[String]) -> List) -> Self {
        Self { allow: permission.allow.as_deref().map(list), deny: list(&permission.deny) }
    }

    fn to_options(&self) -> options::SubjectPermission {
        let allow = self.allow.as_ref().map(List::to_options);
        options::SubjectPermission { allow, deny: self.deny.to_options() }
    }

    /// The number of rules checked for one subject.
    fn looks(&self) -> usize {
        self.allow.as_ref().map_or(0, List::looks) + self.deny.looks()
    }
}

impl List {
    /// Entries of the form `subject` or `subject queue`.
    fn new(entries: &[String]) -> Self {
        let (mut plain, mut queued) = (Vec::new(), Vec::new());
        for entry in entries {
            let entry = entry.trim_ascii();
            match entry.split_once(|c: char| c.is_ascii_whitespace()) {
                None => plain.push(entry.as_bytes().into()),
                Some((subject, queue)) => queued.push(Queued {
                    subject: subject.as_bytes().into(),
                    queue: queue.trim_ascii_start().as_bytes().into(),
                }),
            }
        }
        Self { plain: Patterns::new(plain), queued: queued.into() }
    }

    /// Entries of the form `subject`.
    fn without_queues(entries: &[String]) -> Self {
        let plain = entries.iter().map(|entry| entry.as_bytes().into()).collect();
        Self { plain: Patterns::new(plain), queued: Box::default() }
    }

    fn to_options(&self) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let plain = self.plain.list.iter().map(|subject| text(subject));
        let queued = self
            .queued
            .iter()
            .map(|Queued { subject, queue }| format!("{} {}", text(subject), text(queue)));
        plain.chain(queued).collect()
    }

    fn len(&self) -> usize {
        self.plain.list.len() + self.queued.len()
    }

    /// The number of entries checked for one subject.
    fn looks(&self) -> usize {
        self.plain.looks + self.queued.len()
    }

    /// As allow list: entries with a queue decide alone on the queues of their subject.
    fn allows(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let Some(queue) = queue else { return self.plain.any(subject, covers) };
        let mut of_subject =
            self.queued.iter().filter(|entry| covers(&entry.subject, subject)).peekable();
        if of_subject.peek().is_none() {
            return self.plain.any(subject, covers);
        }
        of_subject.any(|entry| queue_matches(&entry.queue, queue))
    }

    /// As deny list: one entry of either form suffices. `subject` has no empty token.
    fn denies(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.plain.any(subject, tokens_match)
            || queue.is_some_and(|queue| {
                self.queued.iter().any(|entry| {
                    tokens_match(&entry.subject, subject) && queue_matches(&entry.queue, queue)
                })
            })
    }
}

impl Patterns {
    fn new(list: Vec<Box<[u8]>>) -> Self {
        let by_prefix = (list.len() > SCANNED_COUNT_MAX).then(|| {
            let mut by_prefix = HashMap::<Box<[u8]>, Vec<u32>, _>::default();
            for (at, pattern) in (0..).zip(&list) {
                by_prefix.entry(literal_prefix(pattern).into()).or_default().push(at);
            }
            by_prefix
        });
        let largest = |by_prefix: &HashMap<_, Vec<u32>, _>| by_prefix.values().map(Vec::len).max();
        let looks = by_prefix.as_ref().and_then(largest).unwrap_or(list.len());
        Self { list: list.into(), by_prefix, looks }
    }

    /// True if a pattern stands in `relation` to `subject`. In that relation the tokens before the
    /// pattern's first wildcard must be those of the subject, as for matching and covering.
    fn any(&self, subject: &[u8], relation: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let Some(by_prefix) = &self.by_prefix else {
            return self.list.iter().any(|pattern| relation(pattern, subject));
        };
        let dots = memchr::memchr_iter(b'.', subject);
        std::iter::once(0).chain(dots).chain([subject.len()]).any(|prefix_len| {
            let found = by_prefix.get(&subject[..prefix_len]);
            found.is_some_and(|found| {
                found.iter().any(|&at| relation(&self.list[at as usize], subject))
            })
        })
    }
}

/// Matches a subject without empty token, its bytes taken literally.
fn tokens_match(pattern: &[u8], subject: &[u8]) -> bool {
    matches_from(Some(pattern), Some(subject))
}

/// Matches a queue name. It need not have the form of a subject: a final `>` may stand for any
/// bytes.
///
/// nats: server/client.go `queueMatches`
fn queue_matches(pattern: &[u8], queue: &[u8]) -> bool {
    if is_open_ended(pattern) { tokens_match(pattern, queue) } else { covers(pattern, queue) }
}

/// The tokens before the first wildcard, without the dot that follows them.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let mut start = 0_usize;
    for token in tokens(pattern) {
        if token == b"*" || token == b">" {
            return &pattern[..start.saturating_sub(1)];
        }
        start += token.len() + 1;
    }
    pattern
}
