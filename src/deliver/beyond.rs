//! `Beyond`: the part of a match at other servers, or with the services of other accounts.
//!
//! A match keeps all targets here that are no local clients, so that a server without routes, or a
//! subject with local interest only, pays one test of a pointer.

use std::ops::Range;
use std::sync::Arc;

use crate::account::Account;
use crate::codec::encoder;
use crate::config::imports::ServiceImport;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;

/// The part of a match with services of other accounts, and at other servers, except servers that
/// must not get the subject.
#[derive(Default)]
pub(super) struct Beyond {
    /// Routes to the servers with interest.
    pub(super) routes: Vec<RouteTarget>,
    /// The groups with members elsewhere.
    pub(super) groups: Vec<MixedGroup>,
    /// Their members elsewhere.
    pub(super) remotes: Vec<Remote>,
    /// `HMSG account subject ` of the routes; RMSG is the same but for its first byte.
    pub(super) heads: Vec<u8>,
    pub(super) requests: Vec<Request>,
}

/// A route to a server with interest in a subject.
pub(super) struct RouteTarget {
    pub(super) conn: Arc<Conn>,
    /// In the heads.
    pub(super) head: Range<usize>,
    /// True if it has interest without a queue.
    pub(super) plain: bool,
}

/// An import of a service, by which a message becomes a request in another account.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) import: Arc<ServiceImport>,
    /// The account with the service.
    pub(super) exporter: Arc<Account>,
    /// The subject there.
    pub(super) subject: Arc<[u8]>,
}

/// A group with members elsewhere, and perhaps here.
pub(super) struct MixedGroup {
    /// One of its members, which knows the name.
    pub(super) member: Subscription,
    /// The local ones, in the targets of the match.
    pub(super) locals: Range<usize>,
    pub(super) remotes: Range<usize>,
}

/// The members of one group at another server.
pub(super) struct Remote {
    /// Position in the routes.
    route: u32,
    /// The number of members.
    weight: u64,
}

/// A member of a group.
pub(super) enum Choice {
    /// The local one at this position.
    Local(usize),
    /// One chosen by the server behind the route at this position.
    Remote(u32),
}

impl Beyond {
    /// Adds interest without a queue.
    #[cold]
    pub(super) fn push_plain(
        &mut self,
        account: &Account,
        subject: &[u8],
        subscription: &Subscription,
    ) {
        let route = self.route_at(account, subject, subscription.conn());
        self.routes[route as usize].plain = true;
    }

    /// Adds another server's members of the group being filled.
    pub(super) fn push_member(
        &mut self,
        account: &Account,
        subject: &[u8],
        subscription: &Subscription,
    ) {
        let weight = subscription.weight();
        if weight > 0 && subscription.can_deliver(subject) {
            let route = self.route_at(account, subject, subscription.conn());
            self.remotes.push(Remote { route, weight });
        }
    }

    /// Position of a route, which may be new.
    fn route_at(&mut self, account: &Account, subject: &[u8], conn: &Arc<Conn>) -> u32 {
        // Subscriptions of one route often stand together.
        let known = self.routes.iter().rposition(|route| Arc::ptr_eq(&route.conn, conn));
        let at = known.unwrap_or_else(|| {
            let start = self.heads.len();
            let account = (!conn.is_dedicated()).then_some(account.name.as_bytes());
            encoder::write_routed_head(&mut self.heads, true, account, subject);
            let head = start..self.heads.len();
            self.routes.push(RouteTarget { conn: Arc::clone(conn), head, plain: false });
            self.routes.len() - 1
        });
        at as u32
    }

    /// The number of deliveries of a message, besides those to local subscriptions.
    pub(super) fn fanout(&self) -> usize {
        let plain = self.routes.iter().filter(|route| route.plain).count();
        plain + self.groups.len() + self.requests.len()
    }

    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Bytes on the heap, about.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.routes.capacity() * size_of::<RouteTarget>()
            + self.groups.capacity() * size_of::<MixedGroup>()
            + self.remotes.capacity() * size_of::<Remote>()
            + self.requests.capacity() * size_of::<Request>()
            + self.heads.capacity()
    }

    /// Chooses a member of a group, all with the same chance. Closed routes and `except` are left
    /// out, and silent ones as long as there is another choice.
    pub(super) fn choose(
        &self,
        local_count: usize,
        remotes: &Range<usize>,
        except: Option<&Arc<Conn>>,
        random: &mut fastrand::Rng,
    ) -> Option<Choice> {
        let is_there = |conn: &Arc<Conn>| {
            !conn.is_closed() && except.is_none_or(|except| !Arc::ptr_eq(conn, except))
        };
        let speaks = |conn: &Arc<Conn>| is_there(conn) && !conn.is_silent();
        self.choose_of(local_count, remotes, speaks, random)
            .or_else(|| self.choose_of(local_count, remotes, is_there, random))
    }

    /// Chooses among the local members and those behind usable routes.
    fn choose_of(
        &self,
        local_count: usize,
        remotes: &Range<usize>,
        may_be_used: impl Fn(&Arc<Conn>) -> bool,
        random: &mut fastrand::Rng,
    ) -> Option<Choice> {
        let remotes = &self.remotes[remotes.clone()];
        let weight_of = |remote: &Remote| {
            let conn = &self.routes[remote.route as usize].conn;
            if may_be_used(conn) { remote.weight } else { 0 }
        };
        let local_weight = local_count as u64;
        let weight = local_weight + remotes.iter().map(weight_of).sum::<u64>();
        if weight == 0 {
            return None;
        }
        let mut point = random.u64(..weight);
        if point < local_weight {
            return Some(Choice::Local(point as usize));
        }
        point -= local_weight;
        let chosen = remotes.iter().find(|remote| {
            let weight = weight_of(remote);
            let is_here = point < weight;
            point = point.saturating_sub(weight);
            is_here
        });
        chosen.map(|remote| Choice::Remote(remote.route))
    }
}
