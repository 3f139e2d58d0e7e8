//! `Delivery`: turns publications into frames for their receivers.
//!
//! Everything here belongs to one worker thread: the match cache, the staging of frames, the
//! counters. It gathers frames per receiver over a whole read, then gives them to each receiver in
//! one piece, under one lock. The tail of the publication (`[reply] size CRLF message CRLF`) is
//! passed on unchanged; only the head (`MSG subject sid `) is made, once per match. Messages in a
//! row on one subject share the match.
//!
//! Knows no socket; the time is an argument.
//! nats: server/client.go `processMsgResults`, `deliverMsg`

mod beyond;
mod finder;
mod imported;
pub mod latency;
mod mapper;
mod matched;
mod msg_trace;
mod offer;
mod ongoing;
mod requests;
mod routed;
mod row;
mod sequel;
mod staging;
mod tails;
#[cfg(test)]
mod tests;
mod traced;

use std::iter;
use std::slice;
use std::sync::Arc;

use crate::account::Account;
use crate::base::moment::Moment;
use crate::base::secrets::Secrets;
use crate::base::stats::Counters;
use crate::base::subject;
use crate::codec::encoder;
use crate::codec::headers;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::parser::{Publish, Tail};
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::registry::turns::Turn;
use crate::sublist::cache::Shortcut;
use crate::sublist::{Entry, Interest};

use finder::{Finder, MATCH_NS};
use mapper::Mapper;
use matched::{Target, frame_head};
use msg_trace::Traced;
use offer::{Chosen, Offer, Picks};
use requests::Way;
use row::Scope;
use sequel::Sequel;
use tails::Tails;

pub use msg_trace::Fate;
pub use ongoing::{Ongoing, Resumed};
pub use row::{Publisher, Row};
pub use staging::{Budget, Staging, Unwritten};

/// Time to add or remove a subscription to `subject`, nanoseconds, about: each token of a pattern
/// may be a branch of its own.
pub fn listing_ns(subject: &[u8]) -> usize {
    500 + 50 * subject.len()
}

/// Subscriptions searched for the requester's own.
const REPLY_LOOKS_MAX: usize = 256;

/// The delivery state of one worker thread.
pub struct Delivery {
    /// The settings in force, the same for a whole turn.
    pub settings: Arc<Settings>,
    /// Frames on their way to their connections.
    pub staging: Staging,
    /// The counters of this thread.
    pub counters: Arc<Counters>,
    /// The time of the read that is being handled.
    pub now: Moment,
    /// The turns of this worker: messages are matched and staged within one, and committed by its
    /// end.
    pub turn: Arc<Turn>,
    /// Subscriptions removed since their memory was last consolidated.
    pub removed: usize,
    finder: Finder,
    mapper: Mapper,
    /// A tail that had to be made.
    rewritten: Vec<u8>,
    /// Work that follows the message that is being delivered.
    sequels: Vec<Sequel>,
    way: Way,
    /// The message that is being delivered, if it has a trace.
    traced: Option<Box<Traced>>,
    /// True if it has one, or if copies of messages are logged.
    watched: bool,
    picks: Picks,
    registry: Arc<Registry>,
    secrets: Secrets,
    /// The message that this turn leaves to another one.
    ongoing: Option<Box<Ongoing>>,
}

impl Delivery {
    /// The delivery of one worker.
    pub fn new(registry: &Arc<Registry>) -> Delivery {
        let settings = registry.settings();
        Delivery {
            staging: Staging::new(settings.policy),
            settings,
            counters: registry.new_counters(),
            now: Moment::START,
            turn: Arc::new(registry.turns.join()),
            removed: 0,
            finder: Finder::default(),
            mapper: Mapper::default(),
            rewritten: Vec::new(),
            sequels: Vec::new(),
            way: Way::default(),
            traced: None,
            watched: false,
            registry: Arc::clone(registry),
            secrets: registry.new_secrets(),
            picks: Picks {
                chosen: Chosen::new(),
                served: Vec::new(),
                random: fastrand::Rng::new(),
            },
            ongoing: None,
        }
    }

    /// Stages a message for all its receivers, and as many of its `followers` as fit: they are on
    /// the same subject, and have neither reply nor headers. The subject may have a `shortcut`.
    // As a call, its many arguments would cost each message.
    #[inline(always)]
    pub fn deliver<'a, 'f: 'a>(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'a>,
        shortcut: Option<&Shortcut>,
        followers: impl Iterator<Item = Tail<'f>>,
        publisher: Publisher<'_>,
    ) -> Row {
        self.deliver_row(account, publish, Scope::ALL, shortcut, followers, publisher)
    }

    /// Stages one message for those in `scope`.
    fn deliver_one(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'_>,
        scope: Scope<'_>,
        publisher: Publisher<'_>,
    ) -> Row {
        self.deliver_row(account, publish, scope, None, iter::empty(), publisher)
    }

    /// Stages each message of a row for those in `scope`. One that takes too long is left
    /// [ongoing](Ongoing), as if it had reached a receiver.
    #[inline(always)]
    fn deliver_row<'a, 'f: 'a>(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'a>,
        scope: Scope<'a>,
        shortcut: Option<&Shortcut>,
        mut followers: impl Iterator<Item = Tail<'f>>,
        publisher: Publisher<'_>,
    ) -> Row {
        let mut row = Row::new(publish);
        let Delivery { finder, staging, settings, rewritten, .. } = self;
        let search = scope.search(&settings.accounts, account, publish.subject);
        let mut apart = None;
        let matched = finder.find(staging, search, shortcut, self.now, &mut apart);
        let only = matched.only_for(publisher).filter(|_| scope.plain && !self.watched);
        if let Some(Target { subscription, slot, head, .. }) = only {
            let (with_header, first) = tails::for_one(publish, subscription.conn(), rewritten);
            let head = frame_head(&matched.heads, *head, with_header);
            let (msgs, bytes) = staging.stage_run(subscription, *slot, head, first, &mut followers);
            return Row { msgs: row.msgs + msgs, bytes: row.bytes + bytes, reached: true };
        }
        if matched.is_empty() {
            row.extend(followers);
            return row;
        }
        if matched.is_wide && staging.is_too_long(matched.offers_ns(publish.len())) {
            return self.leave(Ongoing::new(account, publish, scope, publisher), row);
        }
        let mut offer = Offer {
            subject: publish.subject,
            shown: scope.shown,
            reply: publish.reply,
            publisher,
            tails: Tails::new(publish, rewritten),
            heads: &matched.heads,
            staging,
            counters: &self.counters,
            sequels: &mut self.sequels,
            now: self.now,
            traced: &self.traced,
            watched: self.watched,
        };
        loop {
            let plain = &matched.targets[..matched.plain_count];
            let mut delivered = match scope.plain {
                true if matched.is_wide => {
                    let (got, count) = offer.offer_many(&mut matched.bundles, plain);
                    if count < matched.bundles.len() + plain.len() {
                        let publish = if row.msgs == 1 { *publish } else { offer.follower() };
                        let mut part = Ongoing::new(account, &publish, scope, publisher);
                        part.begin(matched, count, got > 0);
                        return self.leave(part, row);
                    }
                    got
                }
                true => offer.offer_plain(&mut matched.bundles, plain),
                false => 0,
            };
            delivered += offer.offer_groups(matched, scope.groups, &mut self.picks);
            row.reached = delivered > 0;
            if !offer.take_next(&mut followers, &mut row) {
                break;
            }
        }
        matched.handle_row(row.msgs);
        if !self.sequels.is_empty() {
            row.reached |= self.follow_up(account, publish, publisher);
        }
        row
    }

    /// Ends the turn with a message that is not yet delivered to all its receivers.
    #[cold]
    fn leave(&mut self, mut ongoing: Box<Ongoing>, row: Row) -> Row {
        ongoing.hops.clone_from(&self.way.hops);
        ongoing.traced.clone_from(&self.traced);
        self.follow_up(ongoing.account(), &ongoing.publish(), ongoing.publisher());
        self.ongoing = Some(ongoing.before(self.ongoing.take()));
        self.staging.end_turn();
        Row { reached: true, ..row }
    }

    /// True if the turn has left a message to the next one.
    pub fn has_left(&self) -> bool {
        self.ongoing.is_some() || self.staging.has_unwritten()
    }

    /// The message that the last turn did not deliver to all its receivers. The caller has to
    /// [resume](Delivery::resume) it before it handles more of the publisher's input.
    pub fn take_ongoing(&mut self) -> Option<Box<Ongoing>> {
        self.ongoing.take()
    }

    /// Takes over the settings in force, at the start of a turn.
    #[inline]
    pub fn renew_settings(&mut self, registry: &Registry) {
        self.watch();
        if !registry.is_in_force(&self.settings) {
            let before = std::mem::replace(&mut self.settings, registry.settings());
            self.staging.set_policy(self.settings.policy);
            if !self.settings.accounts.import_as(&before.accounts) {
                self.finder.cache.clear();
            }
        }
    }

    /// True if the message has a trace, or copies of messages are logged.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Takes notice of messages to be watched.
    #[inline]
    fn watch(&mut self) {
        self.watched = self.traced.is_some() || tracing::enabled!(tracing::Level::TRACE);
    }

    /// Counts inbound messages, for their connection and for the server.
    #[inline]
    pub fn count_in(&self, conn: &Conn, row: Row) {
        conn.in_msgs.add(row.msgs);
        conn.in_bytes.add(row.bytes);
        conn.set_last_activity(self.now);
        self.counters.in_msgs.add(row.msgs);
        self.counters.in_bytes.add(row.bytes);
    }

    /// Reports to a requester that its request has no responders: a 503 on its own subscription to
    /// the reply.
    pub fn no_responders(&mut self, account: &Account, publish: &Publish<'_>, conn: &Arc<Conn>) {
        self.staging.add_work(MATCH_NS);
        if let Some(own) = own_subscription(account, publish.reply, conn) {
            let len = headers::no_responders_len(publish.subject);
            self.staging.add_proto_with(conn, |frames| {
                encoder::write_hmsg(frames, publish.reply, own.sid(), None, len, len);
                headers::write_no_responders(publish.subject, frames);
                frames.extend_from_slice(encoder::CRLF);
            });
        }
    }

    /// Hands all staged frames to their connections, those of `last` at the end.
    pub fn commit(&mut self, last: &Arc<Conn>) {
        // First, so that a client with its PONG sees its messages counted.
        if self.finder.cache.num_matches() != self.counters.num_matches.load() {
            self.counters.set_cache(&self.finder.cache.stats());
        }
        self.staging.commit(&self.counters, last, self.now);
    }

    /// Removes subscriptions from their account, and stages the changes for routes.
    /// Requests whose replies only they waited for are over.
    pub fn remove_all(&mut self, account: &Account, subscriptions: &[Subscription]) {
        self.removed += subscriptions.len();
        account.remove_all(subscriptions, |route| self.staging.mark(route));
        if account.has_asked() {
            self.close_unwanted(account, subscriptions);
        }
    }

    /// Removes a subscription from its connection and its account, with its shadows.
    pub fn remove(&mut self, account: &Account, subscription: &Subscription) {
        let shadows = subscription.conn().subscriptions().take(subscription);
        self.remove_shadows(&shadows);
        self.remove_all(account, slice::from_ref(subscription));
    }
}

/// The subscription of `conn` itself, without queue, that matches `reply`. The search covers its
/// own subscriptions if these are few, else all that match: an inbox has one subscriber.
fn own_subscription(account: &Account, reply: &[u8], conn: &Arc<Conn>) -> Option<Subscription> {
    let own = conn.subscriptions();
    if own.len() <= REPLY_LOOKS_MAX {
        let is_it =
            |own: &&Subscription| own.queue().is_none() && subject::matches(own.subject(), reply);
        return own.iter().find(is_it).cloned();
    }
    drop(own);
    account.find_plain(reply, REPLY_LOOKS_MAX, |one| {
        one.interest() == Interest::Local && Arc::ptr_eq(one.conn(), conn)
    })
}
