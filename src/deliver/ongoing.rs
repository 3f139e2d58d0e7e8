//! `Ongoing`: a message whose delivery takes more than one turn of its task.
//!
//! Only a task whose turn may [end in the middle of a message](crate::deliver::Budget) begins with
//! such a message, and keeps its match from one turn to the next. Any other task keeps the message
//! alone, and begins when it has such a turn. So the memory for matches is bounded by the number of
//! tasks that have long turns at the same time, and by the targets that a pausing publisher may
//! hold.
//!
//! A subscription removed meanwhile gets nothing more: each one in the match is checked for being
//! still listed, and the groups are looked up anew.

use std::sync::Arc;

use crate::account::Account;
use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::deliver::matched::Matched;
use crate::deliver::msg_trace::Traced;
use crate::deliver::offer::Offer;
use crate::deliver::requests::Hop;
use crate::deliver::routed::jetstream_delivery;
use crate::deliver::row::{Groups, Publisher, Row, Scope};
use crate::deliver::tails::Tails;
use crate::parser::{Publish, Queues};

/// A message that is not yet delivered to all its receivers.
pub struct Ongoing {
    account: Arc<Account>,
    conn: Arc<Conn>,
    echo: bool,
    message: Message,
    /// Names of its groups, if it came from another server.
    named: Option<Vec<u8>>,
    /// True if subscriptions in other accounts get it, too.
    imports: bool,
    /// The services that it has passed.
    pub(super) hops: Vec<Hop>,
    /// The message, if it has a trace.
    pub(super) traced: Option<Box<Traced>>,
    /// `None` until a first receiver has got it.
    begun: Option<Begun>,
    reached: bool,
    /// Another message that the same publication has become.
    next: Option<Box<Ongoing>>,
}

/// The match of a message, and the number of its bundles, and then of its plain targets, that are
/// handled.
struct Begun {
    matched: Matched,
    count: usize,
}

/// The outcome of one more turn for an ongoing message.
pub enum Resumed {
    /// Not yet delivered to all its receivers.
    Part(Box<Ongoing>),
    /// Delivered to all of them.
    All(Box<Ongoing>),
}

/// A publication in memory of its own: subject, reply, size, and the tail, or the message if there
/// is no tail.
struct Message {
    text: Vec<u8>,
    subject_len: usize,
    reply_len: usize,
    size_len: usize,
    header_len: Option<usize>,
    message_len: usize,
    has_tail: bool,
}

impl Ongoing {
    /// A message without a receiver so far.
    #[cold]
    #[inline(never)]
    pub(super) fn new(
        account: &Arc<Account>,
        publish: &Publish<'_>,
        scope: Scope<'_>,
        publisher: Publisher<'_>,
    ) -> Box<Ongoing> {
        Box::new(Ongoing {
            account: Arc::clone(account),
            conn: Arc::clone(publisher.conn),
            echo: publisher.echo,
            message: Message::new(&match scope.groups {
                Groups::All => *publish,
                Groups::Named { reply, .. } => Publish { reply, ..*publish },
            }),
            named: match scope.groups {
                Groups::All => None,
                Groups::Named { queues, .. } => Some(queues.text().to_vec()),
            },
            imports: scope.imports,
            hops: Vec::new(),
            traced: None,
            begun: None,
            reached: false,
            next: None,
        })
    }

    /// The same with others after it.
    pub fn before(mut self: Box<Self>, others: Option<Box<Ongoing>>) -> Box<Ongoing> {
        let mut end = &mut self.next;
        while let Some(ongoing) = end {
            end = &mut ongoing.next;
        }
        *end = others;
        self
    }

    /// The one after it.
    pub fn take_next(&mut self) -> Option<Box<Ongoing>> {
        self.next.take()
    }

    /// Begins with the first `count` of the bundles and plain targets handled, and takes over the
    /// match.
    #[cold]
    #[inline(never)]
    pub(super) fn begin(&mut self, matched: &mut Matched, count: usize, reached: bool) {
        self.begun = Some(Begun { matched: matched.take(), count });
        self.reached = reached;
    }

    /// The account of the publication.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// True if it has begun, and holds its match.
    pub fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The number of bundles and targets that it holds.
    pub fn held_count(&self) -> usize {
        let held = |begun: &Begun| begun.matched.bundles.len() + begun.matched.targets.len();
        self.begun.as_ref().map_or(0, held)
    }

    /// The publication.
    pub fn publish(&self) -> Publish<'_> {
        self.message.publish()
    }

    /// The publisher.
    pub(super) fn publisher(&self) -> Publisher<'_> {
        Publisher { conn: &self.conn, echo: self.echo }
    }

    /// True if a receiver has got it. A request counts as received before it is delivered to all.
    pub fn reached(&self) -> bool {
        self.reached || !self.hops.is_empty()
    }

    /// The publication and its scope: the groups, and the `plain` subscriptions if they have not
    /// got it.
    fn parts(&self, plain: bool) -> (Publish<'_>, Scope<'_>) {
        let publish = self.publish();
        let Publish { reply, size_text, .. } = publish;
        let scope = Scope { plain, groups: Groups::All, shown: None, imports: self.imports };
        let Some(named) = &self.named else { return (publish, scope) };
        let groups = Groups::Named { queues: Queues::new(named), reply, size_text };
        match jetstream_delivery(reply) {
            None => (publish, Scope { groups, ..scope }),
            Some((reply, shown)) => {
                let publish = Publish { reply, tail: b"", ..publish };
                (publish, Scope { groups, shown: Some(shown), ..scope })
            }
        }
    }
}

impl Delivery {
    /// Goes on with a message [left](Delivery::take_ongoing) by an earlier turn.
    pub fn resume(&mut self, ongoing: Box<Ongoing>) -> Resumed {
        self.way.hops.clone_from(&ongoing.hops);
        let trace = ongoing.traced.as_ref().map(|traced| Arc::clone(&traced.trace));
        self.set_traced(ongoing.traced.clone());
        let mut resumed = self.resume_part(ongoing);
        self.way.hops.clear();
        self.set_traced(None);
        if let Resumed::All(delivered) = &mut resumed {
            delivered.traced = None;
        }
        self.publish_trace(trace);
        resumed
    }

    fn resume_part(&mut self, mut ongoing: Box<Ongoing>) -> Resumed {
        if let Some(mut begun) = ongoing.begun.take() {
            ongoing.reached |= self.go_on(&ongoing, &mut begun) > 0;
            ongoing.reached |=
                self.follow_up(&ongoing.account, &ongoing.publish(), ongoing.publisher());
            if begun.count < begun.matched.bundles.len() + begun.matched.plain_count {
                ongoing.begun = Some(begun);
                return Resumed::Part(ongoing.before(self.ongoing.take()));
            }
            if begun.matched.has_groups() {
                ongoing.reached |= self.deliver_rest(&ongoing, false).reached;
            }
        } else {
            ongoing.reached = self.deliver_rest(&ongoing, true).reached;
        }
        match self.ongoing.take() {
            // It has begun, or has become a request that has: either counts as received.
            Some(left) => Resumed::Part(left.before(ongoing.take_next())),
            None => Resumed::All(ongoing),
        }
    }

    /// Delivers to all, or only to the groups if the `plain` targets have got it.
    fn deliver_rest(&mut self, ongoing: &Ongoing, plain: bool) -> Row {
        let (publish, scope) = ongoing.parts(plain);
        self.deliver_one(&ongoing.account, &publish, scope, ongoing.publisher())
    }

    /// Stages a message for as many of the plain targets as the turn has time for.
    fn go_on(&mut self, ongoing: &Ongoing, Begun { matched, count }: &mut Begun) -> u64 {
        let (publish, Scope { shown, .. }) = ongoing.parts(true);
        let mut offer = Offer {
            subject: publish.subject,
            shown,
            reply: publish.reply,
            publisher: ongoing.publisher(),
            tails: Tails::new(&publish, &mut self.rewritten),
            heads: &matched.heads,
            staging: &mut self.staging,
            counters: &self.counters,
            sequels: &mut self.sequels,
            now: self.now,
            traced: &self.traced,
            watched: self.watched,
        };
        let mut delivered = 0;
        let Matched { bundles, targets, plain_count, .. } = matched;
        while let Some(bundle) = bundles.get_mut(*count)
            && !offer.is_turn_over()
        {
            delivered += offer.offer_all_anew(bundle);
            *count += 1;
        }
        while let Some(done) = count.checked_sub(bundles.len())
            && done < *plain_count
            && !offer.is_turn_over()
        {
            let some = &targets[done..*plain_count.min(&mut (done + offer.offers_per_look()))];
            delivered += some.iter().map(|target| u64::from(offer.offer_anew(target))).sum::<u64>();
            offer.count_offers(some.len());
            *count += some.len();
        }
        delivered
    }
}

impl Message {
    fn new(publish: &Publish<'_>) -> Message {
        let Publish { subject, reply, header_len, size_text, message, tail } = *publish;
        let has_tail = !tail.is_empty();
        let text = [subject, reply, size_text, if has_tail { tail } else { message }].concat();
        Message {
            text,
            subject_len: subject.len(),
            reply_len: reply.len(),
            size_len: size_text.len(),
            header_len,
            message_len: message.len(),
            has_tail,
        }
    }

    fn publish(&self) -> Publish<'_> {
        let (subject, rest) = self.text.split_at(self.subject_len);
        let (reply, rest) = rest.split_at(self.reply_len);
        let (size_text, rest) = rest.split_at(self.size_len);
        let (message, tail) = match self.has_tail {
            true => (&rest[rest.len() - 2 - self.message_len..rest.len() - 2], rest),
            false => (rest, &b""[..]),
        };
        Publish { subject, reply, header_len: self.header_len, size_text, message, tail }
    }
}
