//! Delivery: from a publication to the frames of its receivers.
//!
//! Everything here belongs to one worker thread: the match cache, the staging of frames, the
//! counters. Frames are gathered per receiver over a whole read, then each receiver gets them in
//! one piece, under one lock. The tail of the publication (`[reply] size CRLF message CRLF`) goes
//! to the receiver as it came; only the head (`MSG subject sid `) is made, once per match. Messages
//! in a row on one subject share the match.
//!
//! Knows no socket; the time is an argument.
//! nats: server/client.go `processMsgResults`, `deliverMsg`

mod matched;
mod ongoing;
mod routed;
mod staging;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::account::Account;
use crate::auth::permissions::RULE_NS;
use crate::base::moment::Moment;
use crate::base::stats::Counters;
use crate::base::subject;
use crate::codec::encoder;
use crate::codec::headers;
use crate::conn::Conn;
use crate::conn::conn_event;
use crate::conn::subscription::{Counted, Subscription};
use crate::parser::{Publish, Queues, Tail};
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::registry::turns::Turn;
use crate::sublist::cache::{Cached, Lookup, MatchCache};
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, UNLISTED};

use matched::{Bundle, Matched, Target};
use routed::Chosen;
use staging::Receiver;

pub use ongoing::{Ongoing, Resumed};
pub use staging::{Budget, Staging, Unwritten};

/// What parts of a delivery take, in nanoseconds about: to match anew, and for each branch on the
/// way to the patterns and each target found; to stage a message for one target.
const MATCH_NS: usize = 300;
const BRANCH_NS: usize = 30;
const TARGET_NS: usize = 60;
const OFFER_NS: usize = 30;

/// To stage a message for one member of a group, in nanoseconds about: whom, is known only then.
const GROUP_NS: usize = 200;

/// What it takes to list a subscription to `subject`, or to remove it, in nanoseconds about: each
/// token of a pattern may be a branch of its own.
pub fn listing_ns(subject: &[u8]) -> usize {
    500 + 50 * subject.len()
}

/// Targets between two looks at how much is staged, of a message that is not long: one message can
/// go to any number.
const OFFERS_PER_LOOK: usize = 16;

/// A longer one is looked at for each target. Its copies go to memory that is new, which takes
/// about a nanosecond for each byte.
const LONG_LEN_MIN: usize = 16 * 1024;

/// Subscriptions among which a requester's own is looked for.
const REPLY_LOOKS_MAX: usize = 256;

/// What one worker thread needs to deliver.
pub struct Delivery {
    /// What the server runs by, for the whole of a turn.
    pub settings: Arc<Settings>,
    /// Frames on their way to their connections.
    pub staging: Staging,
    /// What this thread counts.
    pub counters: Arc<Counters>,
    /// The time of the read that is being handled.
    pub now: Moment,
    /// What is matched and staged is so within one of its turns, and committed by its end.
    pub turn: Arc<Turn>,
    /// Subscriptions removed since the memory that they had was put in order.
    pub removed: usize,
    cache: MatchCache<Matched>,
    /// Filled at a cache miss, then empty again.
    result: MatchResult<Subscription>,
    /// A tail that had to be made.
    rewritten: Vec<u8>,
    /// Subscriptions that got their last message.
    spent: Vec<Subscription>,
    picks: Picks,
    /// The message that this turn leaves to another one.
    ongoing: Option<Box<Ongoing>>,
}

/// What it takes to pick members of groups.
struct Picks {
    /// Empty between two messages.
    chosen: Chosen,
    /// Groups that got a message from another server, while it is delivered.
    served: Vec<u32>,
    random: fastrand::Rng,
}

/// Who publishes.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    /// Its connection.
    pub conn: &'a Arc<Conn>,
    /// It gets what it publishes, where it subscribed to it.
    pub echo: bool,
}

/// For whom a message is, of all that match its subject.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// The plain subscriptions.
    plain: bool,
    groups: Groups<'a>,
    /// The subject on which clients get it, if it is not its own.
    shown: Option<&'a [u8]>,
}

/// The groups that a message is for.
#[derive(Clone, Copy)]
enum Groups<'a> {
    All,
    /// Those that another server named, in a message with this reply and size.
    Named {
        queues: Queues<'a>,
        reply: &'a [u8],
        size_text: &'a [u8],
    },
}

/// Messages in a row, delivered together.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// How many.
    pub msgs: u64,
    /// Their header blocks and payloads, in bytes.
    pub bytes: u64,
    /// Whether the last one reached anybody.
    pub reached: bool,
}

impl Row {
    /// One message, which has reached nobody yet.
    #[inline]
    pub fn new(first: &Publish<'_>) -> Row {
        Row { msgs: 1, bytes: first.len() as u64, reached: false }
    }

    /// All that there are, which reach nobody.
    #[inline]
    fn extend<'a>(&mut self, followers: impl Iterator<Item = Tail<'a>>) {
        followers.for_each(|tail| self.add(tail));
    }

    #[inline]
    fn add(&mut self, tail: Tail<'_>) {
        self.msgs += 1;
        self.bytes += tail.len as u64;
    }
}

/// The parts of frames that all receivers share.
struct Tails<'a> {
    /// Behind the head of MSG; of HMSG if `with_header`.
    tail: &'a [u8],
    with_header: bool,
    bytes: u64,
    /// Behind the head of MSG for receivers that take no headers, and its bytes.
    headless: Option<(&'a [u8], u64)>,
}

impl Delivery {
    /// The delivery of one worker.
    pub fn new(registry: &Registry) -> Delivery {
        let settings = registry.settings();
        Delivery {
            staging: Staging::new(settings.policy),
            settings,
            counters: registry.new_counters(),
            now: Moment::START,
            turn: Arc::new(registry.turns.join()),
            removed: 0,
            cache: MatchCache::new(),
            result: MatchResult::new(),
            rewritten: Vec::new(),
            spent: Vec::new(),
            picks: Picks {
                chosen: Chosen::new(),
                served: Vec::new(),
                random: fastrand::Rng::new(),
            },
            ongoing: None,
        }
    }

    /// Stages a message for everybody it reaches, and as many of its `followers` as fit: they are
    /// on the same subject, and have neither reply nor headers.
    #[inline]
    pub fn deliver<'a>(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'a>,
        followers: impl Iterator<Item = Tail<'a>>,
        publisher: Publisher<'_>,
    ) -> Row {
        let scope = Scope { plain: true, groups: Groups::All, shown: None };
        self.deliver_row(account, publish, scope, followers, publisher)
    }

    /// Stages each message of a row for those in `scope`. One that takes too long is left
    /// [ongoing](Ongoing), as if it had reached somebody.
    #[inline(always)]
    fn deliver_row<'a>(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'a>,
        scope: Scope<'a>,
        mut followers: impl Iterator<Item = Tail<'a>>,
        publisher: Publisher<'_>,
    ) -> Row {
        let mut row = Row::new(publish);
        let subject = publish.subject;
        let Delivery { cache, result, staging, .. } = self;
        let mut uncached;
        let matched = match scope.shown {
            None => lookup(cache, result, staging, account, subject, self.now),
            Some(shown) => {
                uncached = Matched::default();
                find(&mut uncached, result, staging, account, subject, shown);
                &mut uncached
            }
        };
        if matched.is_empty() {
            if !matched.is_taken {
                row.extend(followers);
                return row;
            }
            find(matched, result, staging, account, subject, subject);
        }
        let wide = matched.is_wide;
        if wide && staging.is_too_long(matched.offers_ns(publish.len())) {
            let whole = Ongoing::new(account, publish, scope.groups, publisher);
            return self.leave(whole, row);
        }
        let mut offer = Offer {
            subject,
            shown: scope.shown,
            reply: publish.reply,
            publisher,
            tails: Tails::new(publish, &mut self.rewritten),
            heads: &matched.heads,
            staging,
            counters: &self.counters,
            spent: &mut self.spent,
            now: self.now,
            traced: tracing::enabled!(tracing::Level::TRACE),
        };
        loop {
            let plain = &matched.targets[..matched.plain_count];
            let mut delivered = match scope.plain {
                true if wide => {
                    let (got, count) = offer.offer_many(&mut matched.bundles, plain);
                    if count < matched.bundles.len() + plain.len() {
                        let publish = if row.msgs == 1 { *publish } else { offer.follower() };
                        let mut part = Ongoing::new(account, &publish, scope.groups, publisher);
                        part.begin(matched, count, got > 0);
                        return self.leave(part, row);
                    }
                    got
                }
                true => offer.offer_plain(&mut matched.bundles, plain),
                false => 0,
            };
            delivered += offer.offer_groups(matched, scope.groups, &mut self.picks);
            if wide {
                offer.staging.add_work(GROUP_NS * matched.group_count());
            }
            row.reached = delivered > 0;
            if !offer.turn_to(&mut followers, &mut row) {
                break;
            }
            if let Some(target) = matched.only()
                && row.reached
                && !offer.traced
            {
                offer.offer_run(target, &mut followers, &mut row);
                break;
            }
        }
        matched.handle_row(row.msgs);
        if !self.spent.is_empty() {
            self.retire(account);
        }
        row
    }

    /// Ends the turn with a message that is not delivered to everybody.
    #[cold]
    fn leave(&mut self, ongoing: Box<Ongoing>, row: Row) -> Row {
        self.retire(ongoing.account());
        self.ongoing = Some(ongoing);
        self.staging.end_turn();
        Row { reached: true, ..row }
    }

    /// The turn has left something to another one.
    pub fn has_left(&self) -> bool {
        self.ongoing.is_some() || self.staging.has_unwritten()
    }

    /// The message that the turn which has just ended did not deliver to everybody. It has to be
    /// [resumed](Delivery::resume) before anything else of its publisher is handled.
    pub fn take_ongoing(&mut self) -> Option<Box<Ongoing>> {
        self.ongoing.take()
    }

    /// Takes over the settings in force, at the start of a turn.
    #[inline]
    pub fn renew_settings(&mut self, registry: &Registry) {
        if !registry.is_in_force(&self.settings) {
            self.settings = registry.settings();
            self.staging.set_policy(self.settings.policy);
        }
    }

    /// Counts messages that came in, for their connection and for the server.
    #[inline]
    pub fn count_in(&self, conn: &Conn, row: Row) {
        conn.in_msgs.add(row.msgs);
        conn.in_bytes.add(row.bytes);
        conn.set_last_activity(self.now);
        self.counters.in_msgs.add(row.msgs);
        self.counters.in_bytes.add(row.bytes);
    }

    /// Tells `publisher` that nobody got its request: a 503 on its own subscription to the reply.
    pub fn no_responders(&mut self, account: &Account, publish: &Publish<'_>, conn: &Arc<Conn>) {
        self.staging.add_work(MATCH_NS);
        if let Some(own) = own_subscription(account, publish.reply, conn) {
            let len = headers::no_responders_len(publish.subject);
            self.staging.tell_with(conn, |frames| {
                encoder::write_hmsg(frames, publish.reply, own.sid(), None, len, len);
                headers::write_no_responders(publish.subject, frames);
                frames.extend_from_slice(encoder::CRLF);
            });
        }
    }

    /// Hands all staged frames to their connections, those of `last` at the end.
    pub fn commit(&mut self, last: &Arc<Conn>) {
        // First, so that who has its PONG sees its messages counted.
        if self.cache.num_matches() != self.counters.num_matches.load() {
            self.counters.set_cache(&self.cache.stats());
        }
        self.staging.commit(&self.counters, last, self.now);
    }

    /// Removes subscriptions from their account, and stages what others are to be told.
    pub fn remove_all(&mut self, account: &Account, subscriptions: &[Subscription]) {
        self.removed += subscriptions.len();
        account.remove_all(subscriptions, |route| self.staging.mark(route));
    }

    /// Removes the subscriptions that got their last message.
    fn retire(&mut self, account: &Account) {
        self.removed += self.spent.len();
        for subscription in self.spent.drain(..) {
            account.remove(&subscription, |route| self.staging.mark(route));
            subscription.conn().subscriptions().remove(&subscription);
            let (conn, max) = (subscription.conn(), subscription.max());
            let sid = String::from_utf8_lossy(subscription.sid());
            conn_event!(DEBUG, conn, "Auto-unsubscribe limit of {max} reached for sid '{sid}'");
            conn_event!(TRACE, conn, "<-> [DELSUB {sid}]");
        }
    }
}

/// The subscription of `conn` itself, without queue, that matches `reply`. It is looked for among
/// its own if these are few, else among all that match: nobody else subscribes to an inbox.
fn own_subscription(account: &Account, reply: &[u8], conn: &Arc<Conn>) -> Option<Subscription> {
    let own = conn.subscriptions();
    if own.len() <= REPLY_LOOKS_MAX {
        let is_it =
            |own: &&Subscription| own.queue().is_none() && subject::matches(own.subject(), reply);
        return own.iter().find(is_it).cloned();
    }
    drop(own);
    account.find_plain(reply, REPLY_LOOKS_MAX, |one| Arc::ptr_eq(one.conn(), conn))
}

/// What matches a subject, from the cache or else from the account.
// A call with all that goes in and out of it would show in each message.
#[inline(always)]
fn lookup<'a>(
    cache: &'a mut MatchCache<Matched>,
    result: &mut MatchResult<Subscription>,
    staging: &mut Staging,
    account: &Account,
    subject: &[u8],
    now: Moment,
) -> &'a mut Matched {
    let stamp = account.stamp(subject);
    match cache.lookup(account.id, subject, stamp, now) {
        Lookup::Hit(matched) => matched,
        Lookup::Miss(matched) => {
            find(matched, result, staging, account, subject, subject);
            matched
        }
    }
}

/// Fills an empty match with what matches `subject`. Clients get the message on `shown`.
fn find(
    matched: &mut Matched,
    result: &mut MatchResult<Subscription>,
    staging: &mut Staging,
    account: &Account,
    subject: &[u8],
    shown: &[u8],
) {
    account.match_into(subject, result);
    staging.add_work(match_ns(result));
    matched.fill(account, subject, shown, result);
    result.clear();
}

/// What it takes to find this, and to make it ready for delivery, in nanoseconds about.
fn match_ns(result: &MatchResult<Subscription>) -> usize {
    let members = result.groups().iter().map(|group| group.members().len());
    let found = result.plain().len() + members.sum::<usize>();
    MATCH_NS + BRANCH_NS * result.branch_count() + TARGET_NS * found
}

/// One message on its way into the staging.
struct Offer<'a> {
    subject: &'a [u8],
    /// The subject that clients see, if it is another one.
    shown: Option<&'a [u8]>,
    reply: &'a [u8],
    publisher: Publisher<'a>,
    tails: Tails<'a>,
    heads: &'a [u8],
    staging: &'a mut Staging,
    counters: &'a Counters,
    spent: &'a mut Vec<Subscription>,
    now: Moment,
    traced: bool,
}

impl<'a> Offer<'a> {
    /// Turns to the next message of a row, if there is one, the receivers are still the same, and
    /// there is room for it.
    #[inline(always)]
    fn turn_to<'t: 'a>(
        &mut self,
        followers: &mut impl Iterator<Item = Tail<'t>>,
        row: &mut Row,
    ) -> bool {
        if !self.spent.is_empty() || self.staging.is_full() {
            return false;
        }
        let Some(tail) = followers.next() else { return false };
        row.add(tail);
        self.tails = Tails::passed_on(tail);
        true
    }

    /// Stages the message for `target`, which was given the one before, and those behind it, as
    /// many as there are and there is room for.
    #[inline(always)]
    fn offer_run<'t>(
        &mut self,
        target: &Target,
        followers: &mut impl Iterator<Item = Tail<'t>>,
        row: &mut Row,
    ) {
        let (head, text, bytes) = self.frame(target.head, || false);
        let first = Tail { text, len: bytes as usize };
        let Target { subscription, slot, .. } = target;
        let (msgs, bytes) = self.staging.stage_run(subscription, *slot, head, first, followers);
        row.msgs += msgs;
        row.bytes += bytes;
    }

    /// Stages the message for all plain subscriptions, which are few. Tells for how many.
    #[inline(always)]
    fn offer_plain(&mut self, bundles: &mut [Bundle], targets: &[Target]) -> u64 {
        let mut delivered = 0;
        for bundle in bundles {
            delivered += self.offer_all(bundle);
        }
        for target in targets {
            delivered += u64::from(self.offer(target));
        }
        delivered
    }

    /// The same for many, or for as many of them as the turn has time for. Tells how many got it,
    /// and how many of bundles and targets had their chance.
    // Few messages go to so many: what they take is not to show in the others.
    #[cold]
    #[inline(never)]
    fn offer_many(&mut self, bundles: &mut [Bundle], targets: &[Target]) -> (u64, usize) {
        let mut delivered = 0;
        let mut count = 0;
        for bundle in bundles {
            if count > 0 && self.is_turn_over() {
                return (delivered, count);
            }
            delivered += self.offer_all(bundle);
            count += 1;
        }
        for some in targets.chunks(self.offers_per_look()) {
            if count > 0 && self.is_turn_over() {
                break;
            }
            for target in some {
                delivered += u64::from(self.offer(target));
            }
            self.count_offers(some.len());
            count += some.len();
        }
        (delivered, count)
    }

    /// Stages the message for one member of each group, or of those that another server named.
    /// Tells for how many.
    #[inline(always)]
    fn offer_groups(&mut self, matched: &Matched, groups: Groups<'_>, picks: &mut Picks) -> u64 {
        match groups {
            Groups::All => self.offer_all_groups(matched, picks),
            Groups::Named { queues, .. } if queues.is_empty() => 0,
            Groups::Named { queues, reply, size_text } => {
                self.offer_named(matched, &queues, (reply, size_text), picks)
            }
        }
    }

    #[inline(always)]
    fn offer_all_groups(&mut self, matched: &Matched, picks: &mut Picks) -> u64 {
        let mut delivered = 0;
        let mut start = matched.plain_count;
        for &end in &matched.groups {
            let members = &matched.targets[start..end as usize];
            start = end as usize;
            delivered += u64::from(self.offer_one(members, &mut picks.random));
        }
        if let Some(beyond) = &matched.beyond {
            delivered += self.offer_beyond(matched, beyond, picks);
        }
        delivered
    }

    /// Targets between two looks.
    #[inline]
    fn offers_per_look(&self) -> usize {
        if self.tails.tail.len() < LONG_LEN_MIN { OFFERS_PER_LOOK } else { 1 }
    }

    #[inline]
    fn count_offers(&mut self, count: usize) {
        let len = self.tails.tail.len();
        let copy_ns = if len < LONG_LEN_MIN { 0 } else { len };
        self.staging.add_work(count * (OFFER_NS + copy_ns));
    }

    /// In the middle of a message: commits what is staged if that is much, and tells whether the
    /// rest has to be left to another turn.
    #[inline]
    fn is_turn_over(&mut self) -> bool {
        self.make_room();
        self.staging.must_split()
    }

    /// In the middle of a message: commits what is staged if that is much.
    #[inline]
    fn make_room(&mut self) {
        if self.staging.holds_much() {
            self.commit();
        }
    }

    /// Commits in the middle of a message, and ends the turn if somebody is far behind.
    #[cold]
    #[inline(never)]
    fn commit(&mut self) {
        self.staging.commit(self.counters, self.publisher.conn, self.now);
        if self.staging.has_stalled() {
            self.staging.end_turn();
        }
    }

    /// The message of a row that is being offered, which is not its first one.
    #[cold]
    fn follower(&self) -> Publish<'a> {
        let Tails { tail, bytes, .. } = self.tails;
        let message = &tail[tail.len() - encoder::CRLF.len() - bytes as usize..];
        let message = &message[..bytes as usize];
        let (reply, size_text, header_len) = (&b""[..], &b""[..], None);
        Publish { subject: self.subject, reply, header_len, size_text, message, tail }
    }

    /// Stages the message for one member of a group, chosen at random, or the next one that can
    /// take it. The group is not empty.
    #[inline]
    fn offer_one(&mut self, members: &[Target], random: &mut fastrand::Rng) -> bool {
        self.make_room();
        let first = if members.len() == 1 { 0 } else { random.usize(..members.len()) };
        self.offer_from(members, first)
    }

    /// Stages the message for the member at `first`, or the next one that can take it.
    #[inline]
    fn offer_from(&mut self, members: &[Target], first: usize) -> bool {
        self.offer_open(&members[first])
            || (members[first + 1..].iter().chain(&members[..first]))
                .any(|target| self.offer_open(target))
    }

    #[inline]
    fn offer_open(&mut self, target: &Target) -> bool {
        !target.subscription.conn().is_closed() && self.offer(target)
    }

    /// Stages the message for all of a bundle, at once unless one of them is the publisher, who
    /// does not want it. Tells for how many.
    fn offer_all(&mut self, bundle: &mut Bundle) -> u64 {
        let Bundle { receivers, head, own_sids, headers, plan } = bundle;
        let own = self.publisher.conn.slot;
        let all_get_it = self.publisher.echo || receivers.iter().all(|one| one.slot != own);
        if all_get_it && !self.traced {
            let (head, tail, bytes) = self.frame(*head, || *headers);
            if self.staging.stage_alike(receivers, plan, head, *own_sids, tail, bytes) {
                return receivers.len() as u64;
            }
        }
        let each = receivers
            .iter()
            .map(|one| u64::from(self.offer_to(&one.subscription, one.slot, one.head, false)));
        each.sum()
    }

    /// Stages the message for one subscription, or tells that it cannot take it.
    #[inline(always)]
    fn offer(&mut self, target: &Target) -> bool {
        self.offer_to(&target.subscription, target.slot, target.head, target.special)
    }

    /// The same in a later turn than that of the match: it may be listed no more, and what is
    /// special about it may have changed.
    fn offer_anew(&mut self, Target { subscription, slot, head, .. }: &Target) -> bool {
        subscription.slot() != UNLISTED
            && self.offer_to(subscription, *slot, *head, Target::is_special(subscription))
    }

    /// Stages the message for all of a bundle, in a later turn than that of the match.
    fn offer_all_anew(&mut self, bundle: &mut Bundle) -> u64 {
        let is_as_before = |one: &Receiver| {
            one.subscription.slot() != UNLISTED && !Target::is_special(&one.subscription)
        };
        if bundle.receivers.iter().all(is_as_before) {
            return self.offer_all(bundle);
        }
        let each = bundle.receivers.iter().map(|one| u64::from(self.offer_anew(&one.target())));
        each.sum()
    }

    // A call with all that goes in would show in each message.
    #[inline(always)]
    fn offer_to(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        special: bool,
    ) -> bool {
        if slot == self.publisher.conn.slot && !self.publisher.echo {
            return false;
        }
        if special && !self.admit(subscription) {
            return false;
        }
        let (head, tail, bytes) = self.frame(head, || subscription.conn().headers());
        if self.traced {
            trace(subscription.conn(), head, tail);
        }
        self.staging.stage(subscription, slot, special, head, tail, bytes);
        true
    }

    /// Head and tail of the frame for who takes headers or does not, and the bytes of its message.
    #[inline]
    fn frame(
        &self,
        head: (u32, u32),
        takes_headers: impl FnOnce() -> bool,
    ) -> (&'a [u8], &'a [u8], u64) {
        let head = &self.heads[head.0 as usize..head.1 as usize];
        let tails = &self.tails;
        match tails.headless {
            None => (&head[usize::from(!tails.with_header)..], tails.tail, tails.bytes),
            Some(_) if takes_headers() => (head, tails.tail, tails.bytes),
            Some((tail, bytes)) => (&head[1..], tail, bytes),
        }
    }

    /// Filters, limits and reply allowances.
    fn admit(&mut self, subscription: &Subscription) -> bool {
        let conn = subscription.conn();
        self.staging.add_work(RULE_NS * subscription.rules());
        if !subscription.can_deliver(self.subject)
            || self.shown.is_some_and(|shown| !subscription.can_deliver(shown))
        {
            return false;
        }
        match subscription.count() {
            Counted::Spent => {
                // Usually it is gone already; not if its limit was set while another worker had
                // more staged for it.
                self.spent.push(subscription.clone());
                return false;
            }
            Counted::Deliver => {}
            Counted::DeliverLast => self.spent.push(subscription.clone()),
        }
        if conn.answers() && !self.reply.is_empty() {
            conn.allow_reply(self.reply, self.now);
        }
        true
    }
}

impl<'a> Tails<'a> {
    /// The tails of a publication, made in `rewritten` where what came cannot be passed on.
    #[inline(always)]
    fn new(publish: &'a Publish<'a>, rewritten: &'a mut Vec<u8>) -> Tails<'a> {
        if !publish.tail.is_empty() && publish.header_len.is_none() {
            return Tails::passed_on(Tail { text: publish.tail, len: publish.len() });
        }
        Tails::made(publish, rewritten)
    }

    /// The tail of a publication without headers, as it came.
    #[inline(always)]
    fn passed_on(tail: Tail<'a>) -> Tails<'a> {
        Tails { tail: tail.text, with_header: false, bytes: tail.len as u64, headless: None }
    }

    /// Those of a publication with headers, or whose tail cannot be passed on.
    fn made(publish: &'a Publish<'a>, rewritten: &'a mut Vec<u8>) -> Tails<'a> {
        let with_header = publish.header_len.is_some();
        let bytes = publish.len() as u64;
        rewritten.clear();
        if publish.tail.is_empty() {
            write_reply(rewritten, publish.reply);
            if let Some(len) = publish.header_len {
                encoder::write_decimal(rewritten, len as u64);
                rewritten.push(b' ');
            }
            rewritten.extend_from_slice(publish.size_text);
            for part in [encoder::CRLF, publish.message, encoder::CRLF] {
                rewritten.extend_from_slice(part);
            }
        }
        let split = rewritten.len();
        if with_header {
            let payload = publish.payload();
            write_reply(rewritten, publish.reply);
            encoder::write_decimal(rewritten, payload.len() as u64);
            for part in [encoder::CRLF, payload, encoder::CRLF] {
                rewritten.extend_from_slice(part);
            }
        }
        let (made, headless) = rewritten.split_at(split);
        Tails {
            tail: if made.is_empty() { publish.tail } else { made },
            with_header,
            bytes,
            headless: with_header.then_some((headless, publish.payload().len() as u64)),
        }
    }
}

#[cold]
fn trace(conn: &Conn, head: &[u8], tail: &[u8]) {
    let line_len = memchr::memchr(b'\r', tail).unwrap_or(tail.len());
    let line = [head, &tail[..line_len]].concat();
    conn_event!(TRACE, conn, "->> [{}]", String::from_utf8_lossy(&line));
}

fn write_reply(out: &mut Vec<u8>, reply: &[u8]) {
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
}
