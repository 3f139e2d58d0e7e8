//! `Offer`: one message on its way to its targets: chooses the receivers and their frames.
//!
//! `routed` chooses members of groups at other servers.
//! nats: server/client.go `processMsgResults`, `deliverMsg`

use crate::auth::permissions::RULE_NS;
use crate::base::ids::Kind;
use crate::base::moment::Moment;
use crate::base::stats::Counters;
use crate::codec::encoder;
use crate::conn::subscription::{Counted, Subscription};
use crate::conn::{Conn, conn_event};
use crate::deliver::matched::{
    Bundle, GROUP_NS, Matched, OFFER_NS, OFFERS_PER_LOOK, Target, frame_head, subject_of,
};
use crate::deliver::msg_trace::Traced;
use crate::deliver::row::{Groups, Publisher, Row};
use crate::deliver::sequel::Sequel;
use crate::deliver::staging::Staging;
use crate::deliver::staging::stage::Receiver;
use crate::deliver::tails::Tails;
use crate::parser::{Publish, Tail};
use crate::sublist::{Entry, Interest, UNLISTED};

/// A message longer than this checks the staged bytes for each target. Its copies go to fresh
/// memory, which takes about a nanosecond per byte.
const LONG_LEN_MIN: usize = 16 * 1024;

/// The state for choosing members of groups.
pub(super) struct Picks {
    /// Empty between two messages.
    pub(super) chosen: Chosen,
    /// Groups already served, while a message from another server is delivered.
    pub(super) served: Vec<u32>,
    pub(super) random: fastrand::Rng,
}

/// Positions of routes, each with the position of a group whose member that server chooses.
pub(super) type Chosen = Vec<(u32, u32)>;

/// One message on its way into the staging.
pub(super) struct Offer<'a> {
    pub(super) subject: &'a [u8],
    /// The subject that clients see, if it is another one.
    pub(super) shown: Option<&'a [u8]>,
    pub(super) reply: &'a [u8],
    pub(super) publisher: Publisher<'a>,
    pub(super) tails: Tails<'a>,
    pub(super) heads: &'a [u8],
    pub(super) staging: &'a mut Staging,
    pub(super) counters: &'a Counters,
    pub(super) sequels: &'a mut Vec<Sequel>,
    pub(super) now: Moment,
    /// The message, if it has a trace.
    pub(super) traced: &'a Option<Box<Traced>>,
    /// True if it has one, or its copies are logged.
    pub(super) watched: bool,
}

impl<'a> Offer<'a> {
    /// Takes the next message of a row, if there is one, the receivers are still the same, and
    /// there is room for it.
    #[inline(always)]
    pub(super) fn take_next<'t: 'a>(
        &mut self,
        followers: &mut impl Iterator<Item = Tail<'t>>,
        row: &mut Row,
    ) -> bool {
        if !self.sequels.is_empty() || self.staging.is_full() {
            return false;
        }
        let Some(tail) = followers.next() else { return false };
        row.add(tail);
        self.tails = Tails::passed_on(tail);
        true
    }

    /// Stages the message for all plain subscriptions, which are few. Returns their number.
    #[inline(always)]
    pub(super) fn offer_plain(&mut self, bundles: &mut [Bundle], targets: &[Target]) -> u64 {
        let mut delivered = 0;
        for bundle in bundles {
            delivered += self.offer_all(bundle);
        }
        for target in targets {
            delivered += u64::from(self.offer(target));
        }
        delivered
    }

    /// The same for many, or for as many of them as the turn has time for. Returns the number of
    /// receivers, and the number of bundles and targets handled.
    // Few messages have so many targets: the others must not pay for them.
    #[cold]
    #[inline(never)]
    pub(super) fn offer_many(
        &mut self,
        bundles: &mut [Bundle],
        targets: &[Target],
    ) -> (u64, usize) {
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
    /// Returns their number.
    #[inline(always)]
    pub(super) fn offer_groups(
        &mut self,
        matched: &Matched,
        groups: Groups<'_>,
        picks: &mut Picks,
    ) -> u64 {
        if let Groups::Named { queues, .. } = groups
            && queues.is_empty()
        {
            return 0;
        }
        if matched.is_wide {
            self.staging.add_work(GROUP_NS * matched.group_count());
        }
        match groups {
            Groups::All => self.offer_all_groups(matched, picks),
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

    /// Targets between two checks of the staged bytes.
    #[inline]
    pub(super) fn offers_per_look(&self) -> usize {
        if self.tails.tail.len() < LONG_LEN_MIN { OFFERS_PER_LOOK } else { 1 }
    }

    #[inline]
    pub(super) fn count_offers(&mut self, count: usize) {
        let len = self.tails.tail.len();
        let copy_ns = if len < LONG_LEN_MIN { 0 } else { len };
        self.staging.add_work(count * (OFFER_NS + copy_ns));
    }

    /// In the middle of a message: commits the staged frames if they are many; true if the other
    /// targets have to wait for another turn.
    #[inline]
    pub(super) fn is_turn_over(&mut self) -> bool {
        self.make_room();
        self.staging.must_split()
    }

    /// In the middle of a message: commits the staged frames if they are many.
    #[inline]
    fn make_room(&mut self) {
        if self.staging.holds_much() {
            self.commit();
        }
    }

    /// Commits in the middle of a message, and ends the turn if a receiver is lagging.
    #[cold]
    #[inline(never)]
    fn commit(&mut self) {
        self.staging.commit(self.counters, self.publisher.conn, self.now);
        if self.staging.has_stalled() {
            self.staging.end_turn();
        }
    }

    /// The present message of a row, which is not its first one.
    #[cold]
    pub(super) fn follower(&self) -> Publish<'a> {
        let Tails { tail, bytes, .. } = self.tails;
        let message = &tail[tail.len() - encoder::CRLF.len() - bytes as usize..];
        let message = &message[..bytes as usize];
        let (reply, size_text, header_len) = (&b""[..], &b""[..], None);
        Publish { subject: self.subject, reply, header_len, size_text, message, tail }
    }

    /// Stages the message for one member of a group, chosen at random, or the next one that can
    /// take it. The group is not empty.
    #[inline]
    pub(super) fn offer_one(&mut self, members: &[Target], random: &mut fastrand::Rng) -> bool {
        self.make_room();
        let first = if members.len() == 1 { 0 } else { random.usize(..members.len()) };
        self.offer_from(members, first)
    }

    /// Stages the message for the member at `first`, or the next one that can take it.
    #[inline]
    pub(super) fn offer_from(&mut self, members: &[Target], first: usize) -> bool {
        self.offer_open(&members[first])
            || (members[first + 1..].iter().chain(&members[..first]))
                .any(|target| self.offer_open(target))
    }

    #[inline]
    fn offer_open(&mut self, target: &Target) -> bool {
        // A trace tells why it does not get the message.
        let is_told = || self.watched && self.traced.is_some();
        (!target.subscription.conn().is_closed() || is_told()) && self.offer(target)
    }

    /// Stages the message for all of a bundle; one by one if the publisher is among them and wants
    /// no echo. Returns the number of receivers.
    fn offer_all(&mut self, bundle: &mut Bundle) -> u64 {
        let Bundle { receivers, head, own_sids, headers, plan } = bundle;
        let own = self.publisher.conn.slot;
        let all_get_it = self.publisher.echo || receivers.iter().all(|one| one.slot != own);
        if all_get_it && !self.watched {
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

    /// Stages the message for one subscription; false if it cannot take it.
    #[inline(always)]
    fn offer(&mut self, target: &Target) -> bool {
        self.offer_to(&target.subscription, target.slot, target.head, target.special)
    }

    /// The same in a later turn than the match: the subscription may be removed, or special by now.
    pub(super) fn offer_anew(&mut self, Target { subscription, slot, head, .. }: &Target) -> bool {
        subscription.slot() != UNLISTED
            && self.offer_to(subscription, *slot, *head, Target::is_special(subscription))
    }

    /// Stages the message for all of a bundle, in a later turn than the match.
    pub(super) fn offer_all_anew(&mut self, bundle: &mut Bundle) -> u64 {
        let is_as_before = |one: &Receiver| {
            one.subscription.slot() != UNLISTED && !Target::is_special(&one.subscription)
        };
        if bundle.receivers.iter().all(is_as_before) {
            return self.offer_all(bundle);
        }
        let each = bundle.receivers.iter().map(|one| u64::from(self.offer_anew(&one.target())));
        each.sum()
    }

    // As a call, its many arguments would cost each message.
    #[inline(always)]
    fn offer_to(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        special: bool,
    ) -> bool {
        match self.watched {
            true => self.offer_watched(subscription, slot, head, special),
            false => self.offer_untraced(subscription, slot, head, special),
        }
    }

    #[cold]
    fn offer_watched(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        special: bool,
    ) -> bool {
        match self.traced {
            Some(traced) => self.offer_traced(traced, subscription, slot, head, special),
            None => self.offer_untraced(subscription, slot, head, special),
        }
    }

    #[inline(always)]
    fn offer_untraced(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        special: bool,
    ) -> bool {
        if self.is_echo(slot) || special && !self.claim(subscription, head) {
            return false;
        }
        self.stage(subscription, slot, head, special);
        true
    }

    /// True for the publisher's own subscription, if it wants none of its messages.
    #[inline]
    pub(super) fn is_echo(&self, slot: u32) -> bool {
        slot == self.publisher.conn.slot && !self.publisher.echo
    }

    #[inline]
    pub(super) fn stage(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        special: bool,
    ) {
        let (head, tail, bytes) = self.frame(head, || subscription.conn().headers());
        if self.watched {
            log(subscription.conn(), head, tail);
        }
        self.staging.stage(subscription, slot, special, head, tail, bytes);
    }

    /// Head and tail of the frame for a receiver with or without headers, and the bytes of its
    /// message.
    #[inline]
    fn frame(
        &self,
        head: (u32, u32),
        takes_headers: impl FnOnce() -> bool,
    ) -> (&'a [u8], &'a [u8], u64) {
        let tails = &self.tails;
        let (with_header, tail, bytes) = match tails.headless {
            Some((tail, bytes)) if !takes_headers() => (false, tail, bytes),
            _ => (tails.with_header, tails.tail, tails.bytes),
        };
        (frame_head(self.heads, head, with_header), tail, bytes)
    }

    /// Counts the message for a subscription and allows it the reply; false if a filter or a limit
    /// is in the way.
    pub(super) fn claim(&mut self, subscription: &Subscription, head: (u32, u32)) -> bool {
        self.passes_filters(subscription, head) && self.count(subscription)
    }

    /// False if a filter is in the way, or if this server itself gets the message.
    pub(super) fn passes_filters(&mut self, subscription: &Subscription, head: (u32, u32)) -> bool {
        let conn = subscription.conn();
        let is_own = match subscription.interest() {
            Interest::Inline => true,
            Interest::Service => self.publisher.conn.kind != Kind::Route,
            Interest::Local | Interest::Import | Interest::Route => false,
        };
        if is_own && !self.sequels.iter().any(|sequel| matches!(sequel, Sequel::Inline)) {
            self.sequels.push(Sequel::Inline);
        }
        if conn.kind == Kind::System {
            return false;
        }
        self.staging.add_work(RULE_NS * subscription.rules());
        // The subject that it sees, which another account may call by another name.
        let seen = subject_of(self.heads, head, subscription.sid());
        subscription.can_deliver(seen)
            && (self.shown.is_none() || subscription.can_deliver(self.subject))
    }

    /// Counts the message for a subscription and allows it the reply; false if a limit is in the
    /// way.
    pub(super) fn count(&mut self, subscription: &Subscription) -> bool {
        match subscription.count() {
            Counted::Spent => {
                // Usually it is already removed; not if its limit was set while another worker had
                // more staged for it.
                self.sequels.push(Sequel::Spent(subscription.clone()));
                return false;
            }
            Counted::Deliver => {}
            Counted::DeliverLast => self.sequels.push(Sequel::Spent(subscription.clone())),
        }
        let conn = subscription.conn();
        if conn.answers() && !self.reply.is_empty() {
            conn.allow_reply(self.reply, self.now);
        }
        true
    }
}

/// Logs a copy of a message, if copies are logged.
#[cold]
pub(super) fn log(conn: &Conn, head: &[u8], tail: &[u8]) {
    if !tracing::enabled!(tracing::Level::TRACE) {
        return;
    }
    let line_len = memchr::memchr(b'\r', tail).unwrap_or(tail.len());
    let line = [head, &tail[..line_len]].concat();
    conn_event!(TRACE, conn, "->> [{}]", String::from_utf8_lossy(&line));
}
