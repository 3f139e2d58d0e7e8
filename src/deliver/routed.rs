//! Delivery to and from other servers.
//!
//! A server that has any interest gets a message once, however many subscriptions it has: one RMSG
//! that names the queue groups of which it is to choose a member. What came from another server
//! stays here, with one exception: a group that has lost its last member here meanwhile.
//! nats: server/client.go `processMsgResults`; server/route.go `processInboundRoutedMsg`

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::account::Account;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::deliver::{Delivery, Matched, Publisher, Stage, Tails, Target, lookup};
use crate::encoder;
use crate::parser::RoutedMsg;

/// A route to a server with interest in a subject.
pub(super) struct RouteTarget {
    conn: Arc<Conn>,
    /// `HMSG account subject ` in the heads; RMSG is the same but for its first byte.
    head: (u32, u32),
    /// It has interest without a queue.
    pub(super) plain: bool,
}

/// The members of one group at another server.
pub(super) struct Remote {
    /// Position in the routes.
    route: u32,
    /// How many there are.
    weight: u64,
}

/// Routes, by their position, and the groups, by theirs, of which they are to choose a member.
pub(super) type Chosen = Vec<(u32, u32)>;

/// A member of a group.
pub(super) enum Choice {
    /// The local one at this position.
    Local(usize),
    /// One that the server at the end of the route at this position chooses.
    Remote(u32),
}

impl Matched {
    /// Position of a route, which may be new.
    pub(super) fn route_at(&mut self, account: &Account, subject: &[u8], conn: &Arc<Conn>) -> u32 {
        // Subscriptions of one route often stand together.
        let known = self.routes.iter().rposition(|route| Arc::ptr_eq(&route.conn, conn));
        let at = known.unwrap_or_else(|| {
            let start = self.heads.len() as u32;
            let account = (!conn.is_dedicated()).then_some(account.name.as_bytes());
            encoder::write_routed_head(&mut self.heads, true, account, subject);
            let head = (start, self.heads.len() as u32);
            self.routes.push(RouteTarget { conn: Arc::clone(conn), head, plain: false });
            self.routes.len() - 1
        });
        at as u32
    }

    /// Adds what another server has of the group that is being filled.
    pub(super) fn push_remote(
        &mut self,
        account: &Account,
        subject: &[u8],
        subscription: &Subscription,
    ) {
        let weight = subscription.weight();
        if weight > 0 {
            let route = self.route_at(account, subject, subscription.conn());
            self.remotes.push(Remote { route, weight });
        }
    }
}

/// Chooses a member of a group, all with the same chance. Closed routes and `except` are left out.
pub(super) fn choose(
    members: &[Target],
    remotes: &[Remote],
    routes: &[RouteTarget],
    except: Option<&Arc<Conn>>,
    random: &mut fastrand::Rng,
) -> Option<Choice> {
    let weight_of = |remote: &Remote| {
        let conn = &routes[remote.route as usize].conn;
        let left_out = conn.is_closed() || except.is_some_and(|except| Arc::ptr_eq(conn, except));
        if left_out { 0 } else { remote.weight }
    };
    let local_weight = members.len() as u64;
    let weight = local_weight + remotes.iter().map(weight_of).sum::<u64>();
    if weight == 0 {
        return None;
    }
    let point = random.u64(..weight);
    if point < local_weight {
        return Some(Choice::Local(point as usize));
    }
    let mut left = point - local_weight;
    let chosen = remotes.iter().find(|remote| {
        let weight = weight_of(remote);
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    });
    chosen.map(|remote| Choice::Remote(remote.route))
}

impl Delivery {
    /// Stages a message from another server for local receivers: the plain ones, and one member of
    /// each group that it names.
    pub fn deliver_routed(&mut self, account: &Account, msg: &RoutedMsg<'_>, from: &Arc<Conn>) {
        let publish = &msg.publish;
        let matched = lookup(&mut self.cache, &mut self.result, account, publish.subject);
        if matched.is_empty() {
            return;
        }
        let mut stage = Stage {
            publish,
            publisher: Publisher { conn: from, echo: true },
            tails: Tails::new(publish, &mut self.rewritten),
            heads: &matched.heads,
            staging: &mut self.staging,
            spent: &mut self.spent,
            now: self.now,
            traced: tracing::enabled!(tracing::Level::TRACE),
        };
        for target in &matched.plain {
            stage.offer(target);
        }
        if !msg.queues.is_empty() {
            self.served.clear();
            for name in msg.queues.iter() {
                let found = matched.groups.iter().position(|group| {
                    matched.heads[group.name.0 as usize..group.name.1 as usize - 1] == *name
                });
                let Some(at) = found else { continue };
                // A name may stand there twice.
                if self.served.contains(&(at as u32)) {
                    continue;
                }
                self.served.push(at as u32);
                let (members, remotes) = matched.group_at(at);
                let taken = !members.is_empty() && stage.offer_one(members, &mut self.random);
                let routes = &matched.routes;
                if !taken
                    && let Some(Choice::Remote(route)) =
                        choose(&[], remotes, routes, Some(from), &mut self.random)
                {
                    self.chosen.push((route, at as u32));
                }
            }
            if !self.chosen.is_empty() {
                stage.offer_routes(matched, &mut self.chosen, false);
            }
        }
        if !self.spent.is_empty() {
            self.retire(account);
        }
    }
}

impl Matched {
    /// The local and the other members of a group.
    fn group_at(&self, at: usize) -> (&[Target], &[Remote]) {
        let (start, remote_start) = match at.checked_sub(1).map(|before| &self.groups[before]) {
            Some(before) => (before.member_end, before.remote_end),
            None => (0, 0),
        };
        let group = &self.groups[at];
        (&self.members[start..group.member_end], &self.remotes[remote_start..group.remote_end])
    }
}

impl Stage<'_> {
    /// Stages the message for other servers: those with plain interest, if that counts, and those
    /// of `chosen`, which is emptied. Tells how many.
    pub(super) fn offer_routes(
        &mut self,
        matched: &Matched,
        chosen: &mut Chosen,
        plain: bool,
    ) -> u64 {
        let mut count = 0;
        chosen.sort_unstable();
        for (number, route) in (0..).zip(&matched.routes) {
            let groups = chosen.iter().filter(|(at, _)| *at == number).map(|(_, group)| *group);
            let named = groups.clone().next().is_some();
            let wanted = named || plain && route.plain && !route.conn.is_closed();
            if !wanted {
                continue;
            }
            let (with_header, tail, bytes) = self.tails.of(|| &route.conn);
            let head = &matched.heads[route.head.0 as usize..route.head.1 as usize];
            let (verb, head) = (if with_header { b"H" } else { b"R" }, &head[1..]);
            if self.traced {
                super::trace(&route.conn, &[verb, head].concat(), tail);
            }
            count += 1;
            if !named {
                self.staging.stage_routed(&route.conn, [verb, head, tail], bytes);
                continue;
            }
            // The reply moves to the place between the sign and the groups.
            let reply = self.publish.reply;
            let tail = if reply.is_empty() { tail } else { &tail[reply.len() + 1..] };
            let names = groups.map(|group| {
                let (start, end) = matched.groups[group as usize].name;
                &matched.heads[start as usize..end as usize - 1]
            });
            let mut line = Vec::with_capacity(head.len() + reply.len() + LINE_ROOM);
            line.extend_from_slice(head);
            encoder::write_reply_and_queues(&mut line, reply, names);
            self.staging.stage_routed(&route.conn, [verb, &line, tail], bytes);
        }
        chosen.clear();
        count
    }
}

/// Room for the names of a few groups.
const LINE_ROOM: usize = 64;
