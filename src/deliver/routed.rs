//! Delivery to and from other servers.
//!
//! A server with interest gets a message once, however many subscriptions it has: one RMSG that
//! names the queue groups whose member it is to choose. A message from another server is not passed
//! on, except for groups without a receiver here: the last member has just gone, or none may have
//! it. Such a message goes to a server with members, if need be back to the sender, which may have
//! chosen this one among its own members.
//!
//! A server whose last member is gone announces that before it passes a message on, so this ends
//! once all have announced it. A refusal is not announced: a message passed on after a refusal has
//! a leading zero in its size, and is not passed on for a refusal again. The digits of a size come
//! from the publisher; no server, nats-server included, rewrites them.
//!
//! nats: server/client.go `processMsgResults`; server/route.go `processInboundRoutedMsg`

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::account::Account;
use crate::account::samples;
use crate::codec::encoder;
use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::deliver::beyond::{Beyond, Choice};
use crate::deliver::matched::{Matched, Target};
use crate::deliver::offer::{self, Chosen, Offer, Picks};
use crate::deliver::row::{Groups, Publisher, Row, Scope};
use crate::deliver::sequel::Sequel;
use crate::parser::{Publish, Queues, RoutedMsg, Tail};
use crate::sublist::Entry;

impl Delivery {
    /// Stages a message from another server for local receivers: the plain ones, and one member of
    /// each group that it names. Like [`deliver`](Delivery::deliver), takes followers along, which
    /// name no groups.
    #[inline]
    pub fn deliver_routed<'a>(
        &mut self,
        account: &Arc<Account>,
        msg: &RoutedMsg<'a>,
        followers: impl Iterator<Item = Tail<'a>>,
        from: &Arc<Conn>,
    ) -> Row {
        if let [b'$' | b'_', ..] = msg.publish.reply {
            if let Some((ack, shown)) = jetstream_delivery(msg.publish.reply) {
                return self.deliver_from_stream(account, msg, ack, shown, from);
            }
            if samples::is_measured(msg.publish.reply) {
                account.note_arrival(msg.publish.reply, self.now);
            }
        }
        let publisher = Publisher { conn: from, echo: true };
        let groups = Groups::named(msg);
        let scope = Scope { plain: true, groups, shown: None, imports: true };
        self.deliver_row(account, &msg.publish, scope, None, followers, publisher)
    }

    /// As [`deliver_routed`](Delivery::deliver_routed), for one message of a stream: clients get it
    /// on the subject of its publication, and acknowledge it on `ack`.
    #[cold]
    fn deliver_from_stream<'a>(
        &mut self,
        account: &Arc<Account>,
        msg: &RoutedMsg<'a>,
        ack: &'a [u8],
        shown: &'a [u8],
        from: &Arc<Conn>,
    ) -> Row {
        let publish = Publish { reply: ack, tail: b"", ..msg.publish };
        let publisher = Publisher { conn: from, echo: true };
        let groups = Groups::named(msg);
        let scope = Scope { plain: true, groups, shown: Some(shown), imports: true };
        self.deliver_one(account, &publish, scope, publisher)
    }
}

/// The two parts of a reply subject by which a server with JetStream delivers to clients of other
/// servers: the subject to acknowledge the message on, and its subject in the stream. The names of
/// streams and consumers in it may have an `@`, but no dots.
///
/// nats: server/client.go `processMsgResults`, `jsAckDeliverIdx`
#[inline]
pub(super) fn jetstream_delivery(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    if !reply.starts_with(b"$JS.ACK.") {
        return None;
    }
    let (named_end, _) = reply.iter().enumerate().filter(|(_, byte)| **byte == b'.').nth(7)?;
    let at = named_end + memchr::memchr(b'@', &reply[named_end..])?;
    let (ack, subject) = (&reply[..at], &reply[at + 1..]);
    (!subject.is_empty()).then_some((ack, subject))
}

impl Matched {
    /// The numbers of the groups with these names, each once: those with members elsewhere come
    /// last.
    fn groups_named(&self, queues: &Queues<'_>, numbers: &mut Vec<u32>) {
        numbers.clear();
        if queues.text().len() > FEW_NAMES_LEN {
            let wanted: HashSet<&[u8], RandomState> = queues.iter().collect();
            let is_wanted = |(_, name): &(u32, &[u8])| wanted.contains(name);
            numbers.extend(self.group_names().filter(is_wanted).map(|(number, _)| number));
            return;
        }
        for name in queues.iter() {
            let found = self.group_names().find(|(_, known)| *known == name);
            numbers.extend(found.map(|(number, _)| number).filter(|at| !numbers.contains(at)));
        }
    }

    fn group_names(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let locals =
            (0..self.groups.len()).map(|number| &self.local_members(number)[0].subscription);
        let mixed = self.beyond.iter().flat_map(|beyond| &beyond.groups).map(|group| &group.member);
        (0..).zip(locals.chain(mixed).map(|member| member.queue().unwrap_or_default()))
    }

    /// The local members of a group.
    fn members(&self, number: u32) -> &[Target] {
        let number = number as usize;
        match (number.checked_sub(self.groups.len()), &self.beyond) {
            (Some(at), Some(beyond)) => &self.targets[beyond.groups[at].locals.clone()],
            _ => self.local_members(number),
        }
    }

    fn local_members(&self, number: usize) -> &[Target] {
        let start = number.checked_sub(1).map_or(self.plain_count, |at| self.groups[at] as usize);
        &self.targets[start..self.groups[number] as usize]
    }
}

/// Names of groups that are searched one by one: more names, and as many groups, would take
/// millions of comparisons.
const FEW_NAMES_LEN: usize = 128;

impl Offer<'_> {
    /// Stages a message that came `from` another server for one member of each group that it names,
    /// here or behind a route. Returns the number of deliveries.
    pub(super) fn offer_named(
        &mut self,
        matched: &Matched,
        queues: &Queues<'_>,
        (reply, size_text): (&[u8], &[u8]),
        picks: &mut Picks,
    ) -> u64 {
        let from = self.publisher.conn;
        let Picks { chosen, served, random } = picks;
        let mut local_count = 0;
        let mut mark = Mark::None;
        matched.groups_named(queues, served);
        for &number in &*served {
            let members = matched.members(number);
            if !members.is_empty() {
                if self.offer_one(members, random) {
                    local_count += 1;
                    continue;
                }
                if is_marked(size_text) {
                    continue;
                }
                mark = Mark::Refused;
            }
            if let Some(beyond) = &matched.beyond
                && let Some(at) = (number as usize).checked_sub(matched.groups.len())
                && let remotes = &beyond.groups[at].remotes
                && let Some(Choice::Remote(route)) = (beyond.choose(0, remotes, Some(from), random))
                    .or_else(|| beyond.choose(0, remotes, None, random))
            {
                chosen.push((route, at as u32));
            }
        }
        match &matched.beyond {
            Some(beyond) if !chosen.is_empty() => {
                let onward = Onward { plain: false, mark, reply };
                local_count + self.offer_routes(beyond, chosen, &onward)
            }
            _ => local_count,
        }
    }

    /// Stages a publication for one member of each group with members elsewhere, for all other
    /// servers with interest; services of other accounts get it later.
    /// Returns the number of deliveries.
    pub(super) fn offer_beyond(
        &mut self,
        matched: &Matched,
        beyond: &Beyond,
        picks: &mut Picks,
    ) -> u64 {
        let Picks { chosen, random, .. } = picks;
        let mut local_count = 0;
        for (number, group) in (0..).zip(&beyond.groups) {
            let members = &matched.targets[group.locals.clone()];
            let mut choice = beyond.choose(members.len(), &group.remotes, None, random);
            if let Some(Choice::Local(at)) = choice {
                if self.offer_from(members, at) {
                    local_count += 1;
                    continue;
                }
                choice = beyond.choose(0, &group.remotes, None, random);
            }
            if let Some(Choice::Remote(route)) = choice {
                chosen.push((route, number));
            }
        }
        let onward = Onward { plain: true, mark: Mark::None, reply: self.reply };
        let routed_count = self.offer_routes(beyond, chosen, &onward);
        if !beyond.requests.is_empty() {
            self.sequels.extend(beyond.requests.iter().cloned().map(Sequel::Request));
        }
        local_count + routed_count
    }

    /// Stages the message for other servers: those with plain interest, if that counts, and those
    /// of `chosen`, which is emptied. Returns their number.
    fn offer_routes(&mut self, beyond: &Beyond, chosen: &mut Chosen, onward: &Onward<'_>) -> u64 {
        let mut count = 0;
        chosen.sort_unstable();
        for (number, route) in (0..).zip(&beyond.routes) {
            let groups = chosen.iter().filter(|(at, _)| *at == number).map(|(_, group)| *group);
            let named = !chosen.is_empty() && groups.clone().next().is_some();
            let wanted = named || onward.plain && route.plain && !route.conn.is_closed();
            if !wanted {
                continue;
            }
            let hop = match self.traced {
                _ if !self.watched => None,
                Some(traced) => match self.note_hop(traced, &route.conn) {
                    Some(hop) => self.tails.with_hop(self.reply, &hop),
                    None => continue,
                },
                None => None,
            };
            count += 1;
            let tails = &self.tails;
            let (with_header, tail, bytes) = match (tails.headless, &hop) {
                (Some((tail, bytes)), _) if !route.conn.headers() => (false, tail, bytes),
                (_, Some(hop)) => (true, hop.text().0, hop.text().1),
                _ => (tails.with_header, tails.tail, tails.bytes),
            };
            let head = &beyond.heads[route.head.clone()];
            let (verb, head) = (if with_header { b"H" } else { b"R" }, &head[1..]);
            if self.watched {
                offer::log(&route.conn, &[verb, head].concat(), tail);
            }
            if !named {
                self.staging.stage_routed(&route.conn, [verb, head, tail], bytes);
                continue;
            }
            // The reply moves to the place between the sign and the groups.
            let tail = if self.reply.is_empty() { tail } else { &tail[self.reply.len() + 1..] };
            let names = groups.map(|at| beyond.groups[at as usize].member.queue());
            let mut line = Vec::with_capacity(head.len() + onward.reply.len() + LINE_ROOM);
            line.extend_from_slice(head);
            encoder::write_reply_and_queues(&mut line, onward.reply, names.flatten());
            let tail = onward.mark.put_before_size(&mut line, tail, with_header);
            self.staging.stage_routed(&route.conn, [verb, &line, tail], bytes);
        }
        chosen.clear();
        count
    }
}

/// The form of a message to other servers.
struct Onward<'a> {
    /// True if their interest without a queue counts.
    plain: bool,
    mark: Mark,
    reply: &'a [u8],
}

/// The mark of a message that is passed on.
#[derive(Clone, Copy)]
enum Mark {
    None,
    /// The members of a group here may not have it.
    Refused,
}

/// True if a message with this size was passed on after a refusal.
fn is_marked(size_text: &[u8]) -> bool {
    size_text.len() > 1 && size_text[0] == b'0'
}

impl Mark {
    /// Appends the part of `tail` before the size, then the mark, to a line. Returns the rest of
    /// `tail`.
    fn put_before_size<'a>(
        self,
        line: &mut Vec<u8>,
        tail: &'a [u8],
        with_header: bool,
    ) -> &'a [u8] {
        let Mark::Refused = self else { return tail };
        let header_size = if with_header { memchr::memchr(b' ', tail) } else { None };
        let (before, rest) = tail.split_at(header_size.map_or(0, |blank| blank + 1));
        line.extend_from_slice(before);
        line.push(b'0');
        rest
    }
}

/// Room for the names of a few groups.
const LINE_ROOM: usize = 64;
