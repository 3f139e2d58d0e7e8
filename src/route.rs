//! `Route`: the machine of one connection to another server of the cluster.
//!
//! ```text
//!   accepted:   ExpectConnect -- CONNECT --> ExpectInfo -- INFO --> Open
//!   solicited:                               ExpectInfo -- INFO --> Open
//! ```
//!
//! The accepting server sends INFO first. The dialling server sends CONNECT at once, and its INFO
//! after the other's. If they agree on compression, both exchange INFO again, compressed, before
//! `Open`. In `Open` both sides announce interest and send messages; a *spare* (see [`mesh`])
//! announces none. Interest and messages of the other side count from its CONNECT on. Every state
//! ends in `Leaving`, which removes the other server's interest in pieces.
//!
//! After it opens, the connection announces the local interest piece by piece; changes meanwhile
//! are announced as they happen ([`Account`]).
//! nats: server/route.go `createRoute`, `processRemoteSub`, `processInboundRoutedMsg`

mod dials;
mod gossip_sources;
mod handshake;
pub mod mesh;
pub mod other;
mod reload;
mod silence;
mod trace;
pub mod view;

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, Link};
use crate::auth::{Check, Hash, Verdict};
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::limits::{
    FORGET_COUNT, IMPLICIT_PATIENCE, ROUTE_CONTROL_LINE_FACTOR, ROUTE_PAYLOAD_MAX_MIN, SHUTDOWN_MAX,
};
use crate::base::moment::Moment;
use crate::base::quoted::Quoted;
use crate::base::subject;
use crate::base::table::Walk;
use crate::codec::connect::RouteConnect;
use crate::codec::encoder;
use crate::codec::info::Info;
use crate::config::compression::{Agreed, Level};
use crate::config::options::{Options, WriteTimeout};
use crate::conn::subscription::{Subscription, Subscriptions};
use crate::conn::{Conn, conn_event};
use crate::deliver::{Delivery, Fate, Row, listing_ns};
use crate::machine::pings::Pings;
use crate::machine::{Layer, Machine, PendingLogin};
use crate::parser::{Followers, Refused, Remaining, RouteOp, RouteRules, RoutedMsg};
use crate::registry::Registry;
use crate::registry::events::Event;
use crate::registry::settings::{RouteSettings, Settings};
use crate::registry::turns::Grace;
use crate::sublist::Entry;
use crate::sublist::cursor::Cursor;

use mesh::{Dial, Mesh, Place, Unregistered};
use silence::{Look, Silence};

/// The side that opened the connection.
#[derive(Debug, Clone)]
pub enum Role {
    /// The other server, on our cluster port.
    Accepted,
    /// This server, for a dial of [`Mesh::next_dial`].
    Solicited(Dial),
}

/// One connection to another server.
pub struct Route {
    registry: Arc<Registry>,
    mesh: Arc<Mesh>,
    conn: Arc<Conn>,
    role: Role,
    state: State,
    /// Time of the next required step of the handshake.
    handshake_due: Moment,
    /// True if the other server has to send credentials.
    auth_required: bool,
    /// PINGs go out even during traffic, to measure the round trip time.
    pings: Pings,
    silence: Silence,
    /// True if it wants `+OK`.
    verbose: bool,
    /// The agreed compression; none before.
    agreed: Option<Agreed>,
    /// The report to the mesh if it ends unregistered.
    end: Unregistered,
    /// Compression for the task to start.
    start_compression: Option<Level>,
    /// Until it is over, messages may go out for withdrawn interest.
    grace: Option<Grace>,
    /// True if a PONG waits for the end of the grace period.
    pong_owed: bool,
    /// The CONNECT whose credentials are being checked.
    login: Option<PendingLogin<RouteConnect>>,
    /// The CONNECT that was accepted; other settings may refuse it.
    accepted: Option<Box<RouteConnect>>,
    /// The hash that its password was compared with, once it is accepted.
    proven: Option<Hash>,
    unlisted: Unlisted,
    /// Account of the last line; none if the line did not count.
    account: Option<Arc<Account>>,
}

enum State {
    ExpectConnect,
    ExpectInfo,
    Open(Box<Open>),
    /// Ended. Holds the interest of the other server that is still listed here.
    Leaving(Subscriptions),
}

/// A registered connection.
struct Open {
    server_id: Box<str>,
    name: Box<str>,
    place: Place,
    pooled: bool,
    /// True if another connection has the place.
    spare: bool,
    /// True if the next PONG confirms that the other server has accepted us.
    confirm: bool,
    /// Accounts with lower ids are linked, if it carries them.
    linked: u32,
    carried: Vec<Arc<Account>>,
    /// Accounts whose interest is still to be announced.
    announcing: Vec<Announcing>,
    /// The place up to which the other server's interest is known to fit new settings.
    review: Option<Walk>,
}

/// Interest of the other server in accounts that this one does not know, or not yet. It is kept
/// with the connection, and listed nowhere.
#[derive(Default)]
struct Unlisted {
    count: usize,
    /// The number of accounts when some was first forgotten.
    forgot_at: Option<u32>,
}

/// An account whose interest is being announced.
struct Announcing {
    account: Arc<Account>,
    link: Link,
    /// The place up to which it is announced.
    cursor: Cursor,
    /// Withdraws what the route may not import: it could before.
    withdraws: bool,
}

/// Pending bytes of a connection above which it announces no more of the initial interest.
const ANNOUNCE_PENDING_MAX: usize = 1024 * 1024;

impl Route {
    /// The machine of a new connection.
    pub fn new(registry: Arc<Registry>, mesh: Arc<Mesh>, conn: Arc<Conn>, role: Role) -> Route {
        let accepted = matches!(role, Role::Accepted);
        let settings = registry.settings();
        let routes = &settings.routes;
        conn.set_access(routes.permissions.clone());
        settings.accounts.global().join(&conn);
        if accepted {
            mesh.welcome(&conn);
        }
        let mut route = Route {
            state: if accepted { State::ExpectConnect } else { State::ExpectInfo },
            handshake_due: Moment::NEVER,
            auth_required: accepted && routes.authenticator.required(),
            pings: Pings::new(Moment::NEVER),
            silence: Silence::new(),
            verbose: false,
            agreed: None,
            end: Unregistered::Retry,
            start_compression: None,
            grace: None,
            pong_owed: false,
            login: None,
            accepted: None,
            proven: None,
            unlisted: Unlisted::default(),
            account: None,
            registry,
            mesh,
            conn,
            role,
        };
        route.expect_handshake(route.conn.start, routes);
        route
    }

    /// Gives the other server the time for the first step of its handshake.
    fn expect_handshake(&mut self, now: Moment, routes: &RouteSettings) {
        let patience = match &self.role {
            Role::Solicited(dial) if !dial.explicit => IMPLICIT_PATIENCE.min(routes.stale_after()),
            _ if self.auth_required => routes.cluster.auth_timeout(),
            _ => routes.stale_after(),
        };
        self.handshake_due = now + patience;
    }
}

impl Machine for Route {
    type Rules = RouteRules;

    /// One slow client would delay all others of this server.
    const STALLS: bool = false;

    /// Clients rely on the delivery of the pending bytes.
    const LINGER_MAX: Duration = SHUTDOWN_MAX;

    #[inline]
    fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    fn rules(&self, settings: &Settings) -> RouteRules {
        RouteRules {
            max_control_line: settings.options.max_control_line * ROUTE_CONTROL_LINE_FACTOR,
            max_payload: settings.options.max_pending.max(ROUTE_PAYLOAD_MAX_MIN),
            account_absent: self.conn.is_dedicated(),
            connect_first: matches!(self.state, State::ExpectConnect),
        }
    }

    #[inline]
    fn changes_rules(op: &RouteOp<'_>) -> bool {
        matches!(op, RouteOp::Connect(_) | RouteOp::Info(_) | RouteOp::Pong)
    }

    fn start(&mut self, delivery: &mut Delivery) {
        conn_event!(INFO, &self.conn, "Route connection created");
        match &self.role {
            Role::Accepted => {
                let compression = delivery.settings.routes.cluster.compression.as_str();
                self.send_info(compression, delivery);
            }
            Role::Solicited(dial) => self.send_connect(dial, delivery),
        }
    }

    #[inline]
    fn heard(&mut self, now: Moment) {
        if self.silence.heard(now) {
            self.conn.set_silent(false);
        }
    }

    fn handle_op(&mut self, op: &RouteOp<'_>, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        trace::op(&self.conn, op);
        match op {
            RouteOp::Msg(msg) => self.handle_msg(msg, None, delivery),
            RouteOp::Sub { account, subject, queue } => {
                self.conn.set_last_activity(delivery.now);
                self.handle_sub(account, subject, *queue, delivery);
                Ok(())
            }
            RouteOp::Unsub { account, subject, queue } => {
                self.conn.set_last_activity(delivery.now);
                self.handle_unsub(account, subject, *queue, delivery);
                Ok(())
            }
            RouteOp::Ping => {
                self.handle_ping(delivery);
                Ok(())
            }
            RouteOp::Pong => {
                self.handle_pong(delivery.now, &delivery.settings);
                Ok(())
            }
            RouteOp::Connect(json) => self.handle_connect(json, delivery),
            RouteOp::Info(json) => {
                let info = Info::read(json).map_err(|_| ProtoErr::Arguments("INFO"))?;
                self.handle_info(&info, delivery)
            }
            RouteOp::Ok | RouteOp::Ignored => Ok(()),
            RouteOp::Err(text) => {
                conn_event!(ERROR, &self.conn, "Route Error {}", String::from_utf8_lossy(text));
                Err(ProtoErr::ErrReceived)
            }
        }
    }

    #[inline]
    fn handle_msg<'a>(
        &mut self,
        msg: &RoutedMsg<'a>,
        mut remaining: Option<Remaining<'_, 'a, RouteRules>>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        let traced = trace::message(&self.conn, msg, &delivery.settings.options.log);
        if self.verbose || traced {
            remaining = None;
        }
        self.set_account(msg.account, &delivery.settings);
        if let (Some(_), Some(account)) = (msg.publish.header_len, &self.account)
            && delivery.may_trace(account, msg.publish.header())
        {
            self.handle_traced(account, msg, delivery);
        } else {
            self.handle_untraced(msg, remaining, delivery);
        }
        self.ok(delivery);
        Ok(())
    }

    fn take_layer(&mut self) -> Option<Layer> {
        self.start_compression.take().map(Layer::Compression)
    }

    fn handle_layer(&mut self, delivery: &mut Delivery) {
        if matches!(self.role, Role::Accepted) {
            self.send_info(self.compression(&delivery.settings), delivery);
        }
    }

    fn handle_encrypted(&mut self, delivery: &mut Delivery) {
        self.expect_handshake(delivery.now, &delivery.settings.routes);
    }

    fn deadline(&self, _settings: &Settings) -> Moment {
        self.handshake_due.min(self.pings.due).min(self.silence.due)
    }

    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let now = delivery.now;
        if now >= self.handshake_due {
            return match &self.state {
                State::Open(open) if open.spare => {
                    Err(ProtoErr::Refused(ClosedReason::DuplicateRoute))
                }
                State::Open(_) => {
                    self.handshake_due = Moment::NEVER;
                    Ok(())
                }
                State::ExpectConnect if self.auth_required => Err(ProtoErr::AuthenticationTimeout),
                State::ExpectConnect | State::ExpectInfo => Err(ProtoErr::StaleConnection),
                State::Leaving(_) => Ok(()),
            };
        }
        if now >= self.pings.due {
            let routes = &delivery.settings.routes;
            conn_event!(DEBUG, &self.conn, "Router Ping Timer");
            self.pings.tick(now, routes.ping_interval(), routes.cluster.ping_max)?;
            write_ping(&self.conn, delivery);
        }
        if now >= self.silence.due {
            self.look(delivery)?;
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        self.pong_owed || self.login.is_some()
    }

    fn handle_settings(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.judge_anew(delivery)
    }

    fn take_check(&mut self) -> Option<Check> {
        self.login.as_mut()?.check.take()
    }

    fn handle_verdict(
        &mut self,
        verdict: Verdict,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        // A check that was not taken yet is of newer settings than the verdict.
        match self.login.take_if(|login| login.check.is_none()) {
            Some(login) => self.log_in(login.connect, verdict, delivery),
            None => Ok(()),
        }
    }

    /// Goes on announcing local interest while the connection's queue is short; a full one wakes
    /// the task once it has drained.
    fn continue_work(&mut self, delivery: &mut Delivery) -> Result<Left, ProtoErr> {
        if std::mem::take(&mut self.pong_owed) {
            self.handle_ping(delivery);
        }
        let reviewed = self.review_on(delivery);
        let State::Open(open) = &mut self.state else { return Ok(Left::Nothing) };
        if open.spare && self.mesh.is_member(&self.conn, &open.server_id) {
            open.spare = false;
            self.handshake_due = Moment::NEVER;
            // Connections that should have followed the ended one may be missing.
            open.confirm = open.pooled && matches!(self.role, Role::Solicited(_));
            if open.confirm {
                self.pings.sent(delivery.now);
                write_ping(&self.conn, delivery);
            }
        }
        if !open.spare {
            open.link_new(&delivery.settings, &self.conn);
        }
        let Some(Announcing { account, link, cursor, withdraws }) = open.announcing.last_mut()
        else {
            return Ok(reviewed);
        };
        let progress = self.conn.progress();
        if progress.pending_bytes > ANNOUNCE_PENDING_MAX {
            return Ok(if progress.blocked { Left::Nothing } else { Left::More });
        }
        if account.announce(cursor, link, *withdraws) == Left::Nothing {
            open.announcing.pop();
        }
        delivery.staging.mark(&self.conn);
        Ok(Left::More)
    }

    fn fail(&self, refused: Refused<'_>, delivery: &mut Delivery) -> ClosedReason {
        let error = refused.error;
        match error {
            ProtoErr::StaleConnection => {
                delivery.counters.stale[Kind::Route].add(1);
                conn_event!(DEBUG, &self.conn, "Stale Client Connection - Closing");
            }
            ProtoErr::AuthenticationTimeout => conn_event!(DEBUG, &self.conn, "{error}"),
            // It was logged with the text of the other server.
            ProtoErr::ErrReceived => {}
            ProtoErr::Refused(reason) => conn_event!(DEBUG, &self.conn, "{}", reason.as_str()),
            _ => {
                let max_payload = self.rules(&delivery.settings).max_payload;
                conn_event!(ERROR, &self.conn, "{}", refused.describe(Kind::Route, max_payload));
            }
        }
        delivery.staging.add_proto_with(&self.conn, |frames| error.write_err(frames));
        error.closes().unwrap_or(ClosedReason::ProtocolViolation)
    }

    /// Leaves the mesh. The other server may connect again at once: its interest on this connection
    /// has no effect any more, because no message goes to a closed connection;
    /// [`forget`](Machine::forget) removes it.
    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery) {
        let now = delivery.now;
        let known = std::mem::take(&mut *self.conn.subscriptions());
        let ended = std::mem::replace(&mut self.state, State::Leaving(known));
        let mut remote = String::new();
        match (ended, &self.role) {
            (State::Open(open), _) => {
                for account in &open.carried {
                    account.unlink(&self.conn);
                }
                remote = format!(" - Remote: {}", open.name);
                for (conn, line) in self.mesh.closed(&self.conn, &open.server_id, now) {
                    delivery.staging.add_proto(&conn, &line);
                }
                if !self.mesh.knows(&open.server_id) {
                    self.registry.note(Event::ServerGone, &delivery.settings);
                }
            }
            (_, Role::Solicited(dial)) => self.mesh.failed(&self.conn, dial, self.end, now),
            (_, Role::Accepted) => self.mesh.turned_away(&self.conn),
        }
        conn_event!(INFO, &self.conn, "Router connection closed: {}{remote}", reason.as_str());
    }

    fn forget(&mut self, delivery: &mut Delivery) -> Left {
        let State::Leaving(known) = &mut self.state else { return Left::Nothing };
        let mut some = known.take_some(FORGET_COUNT);
        some.sort_unstable_by(|one, other| one.sid().cmp(other.sid()));
        let settings = Arc::clone(&delivery.settings);
        for its in some.chunk_by(|one, other| one.sid() == other.sid()) {
            if let Some(account) = settings.accounts.find_any(its[0].sid()) {
                delivery.remove_all(account, its);
            }
        }
        if known.is_empty() {
            if self.registry.remove(&self.conn) {
                self.counted_by(&settings).leave(&self.conn);
            }
            return Left::Nothing;
        }
        Left::More
    }

    fn write_deadline(options: &Options) -> Duration {
        let cluster = options.cluster.as_ref();
        cluster.map_or(options.write_deadline, |cluster| cluster.write_deadline)
    }

    fn forgives_slow_writes(options: &Options) -> bool {
        let cluster = options.cluster.as_ref();
        cluster.is_none_or(|cluster| cluster.write_timeout != WriteTimeout::Close)
    }
}

impl Route {
    /// PONG promises that no message follows for interest withdrawn by the other server.
    fn handle_ping(&mut self, delivery: &mut Delivery) {
        self.pong_owed = self.grace.is_some_and(|grace| !delivery.turn.is_over(grace, &self.conn));
        if !self.pong_owed {
            self.grace = None;
            conn_event!(TRACE, &self.conn, "->> [PONG]");
            delivery.staging.add_proto(&self.conn, encoder::PONG);
        }
    }

    /// Checks that the other server still gives a sign of life, if messages went to it.
    fn look(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let now = delivery.now;
        let (sent, progress) = (self.conn.received().out_msgs, self.conn.progress());
        match self.silence.look(now, delivery.settings.routes.cluster.silence_max, sent, progress) {
            Look::Alive => self.conn.set_silent(false),
            Look::Ask if self.pings.is_asking() => {}
            Look::Ask => {
                self.pings.sent(now);
                write_ping(&self.conn, delivery);
            }
            Look::PassOver => self.conn.set_silent(true),
            Look::GiveUp => return Err(ProtoErr::StaleConnection),
        }
        Ok(())
    }

    fn handle_pong(&mut self, now: Moment, settings: &Settings) {
        if let Some(rtt) = self.pings.pong(now) {
            self.conn.set_rtt(rtt);
            self.adapt_compression(Duration::from_nanos(rtt), settings);
        }
        if let (State::Open(open), Role::Solicited(dial)) = (&mut self.state, &self.role)
            && open.confirm
        {
            open.confirm = false;
            self.mesh.confirmed(dial, &open.server_id, now);
        }
    }

    /// Adapts the compression to the round trip time, if so configured.
    fn adapt_compression(&mut self, rtt: Duration, settings: &Settings) {
        if let Some(Agreed::S2(now)) = self.agreed
            && let Some(level) = settings.routes.cluster.compression.level(rtt)
            && level != now
        {
            self.agreed = Some(Agreed::S2(level));
            self.start_compression = Some(level);
            if let State::Open(open) = &self.state {
                self.mesh.compresses(&self.conn, &open.server_id, level.as_str());
            }
        }
    }

    fn handle_sub(
        &mut self,
        account: &[u8],
        subject: &[u8],
        queue: Option<(&[u8], u32)>,
        delivery: &mut Delivery,
    ) {
        self.set_account(account, &delivery.settings);
        delivery.staging.add_work(listing_ns(subject));
        let (name, weight) = queue.unzip();
        let weight = weight.unwrap_or(1);
        if !subject::is_valid_subscription(subject) {
            let error = ProtoErr::InvalidSubscription;
            conn_event!(ERROR, &self.conn, "{error}");
            return delivery.staging.add_proto_with(&self.conn, |frames| error.write_err(frames));
        }
        let export = delivery.settings.routes.permissions.as_ref();
        if export.is_some_and(|export| !export.can_export(subject)) {
            return;
        }
        let rules = export.map_or(0, |export| export.export_rules(subject));
        let Some(account) = &self.account else {
            return self.keep_unlisted(account, subject, (name, weight), rules, &delivery.settings);
        };
        let id = account.name.as_bytes();
        let known = self.conn.subscriptions().find_remote(id, subject, name).cloned();
        if let Some(known) = known {
            if known.queue().is_some() && known.weight() != u64::from(weight) {
                known.set_weight(weight);
                account.outdate(&known);
            }
        } else {
            let subscription = Subscription::remote(&self.conn, id, subject, name, weight, rules);
            self.conn.subscriptions().insert(subscription.clone());
            account.insert(subscription, |_| {});
        }
        self.ok(delivery);
    }

    fn handle_unsub(
        &mut self,
        account: &[u8],
        subject: &[u8],
        queue: Option<&[u8]>,
        delivery: &mut Delivery,
    ) {
        self.set_account(account, &delivery.settings);
        delivery.staging.add_work(listing_ns(subject));
        let name = self.account.as_ref().map_or(account, |account| account.name.as_bytes());
        let mut known = self.conn.subscriptions();
        let found = known.find_remote(name, subject, queue).cloned();
        if let Some(subscription) = found {
            known.remove(&subscription);
            drop(known);
            if subscription.is_unlisted() {
                self.unlisted.count -= 1;
            } else if let Some(account) = &self.account {
                delivery.remove_all(account, slice::from_ref(&subscription));
                self.grace = delivery.turn.grace();
            }
        }
        self.ok(delivery);
    }

    /// The account that counts its traffic: the one that it carries alone, else the global one.
    fn counted_by<'a>(&self, settings: &'a Settings) -> &'a Account {
        let about = self.conn.about();
        let account = settings.accounts.find_any(about.account().as_bytes());
        account.unwrap_or(settings.accounts.global())
    }

    /// Sets the account of an op. Nothing counts before CONNECT.
    ///
    /// nats-differs: the real server does not keep interest in an unknown account.
    #[inline]
    fn set_account(&mut self, named: &[u8], settings: &Settings) {
        let name = match &self.state {
            State::Open(open) => open.place.account().map_or(named, str::as_bytes),
            State::ExpectInfo => named,
            State::ExpectConnect | State::Leaving(_) => return self.account = None,
        };
        if self.account.as_ref().is_none_or(|last| *last.name.as_bytes() != *name) {
            self.account = settings.accounts.find_any(name).cloned();
            if self.account.is_none() {
                conn_event!(DEBUG, &self.conn, "Unknown account {}", Quoted(name));
            }
        }
    }

    /// True if a message on `subject` may come in. All announced interest is allowed, but may be
    /// wider than a denied subject.
    ///
    /// nats-differs: the real server delivers denied subjects to wider subscriptions.
    #[inline]
    fn imports(subject: &[u8], settings: &Settings) -> bool {
        settings.routes.permissions.as_ref().is_none_or(|import| !import.denies_publish(subject))
    }

    /// Delivers a message that asks for no trace, or whose trace has begun, and its followers.
    #[inline(always)]
    fn handle_untraced<'a>(
        &self,
        msg: &RoutedMsg<'a>,
        remaining: Option<Remaining<'_, 'a, RouteRules>>,
        delivery: &mut Delivery,
    ) {
        let followers = Followers::new(remaining, msg);
        let row = match &self.account {
            Some(account) if Route::imports(msg.publish.subject, &delivery.settings) => {
                delivery.deliver_routed(account, msg, followers, &self.conn)
            }
            _ => Row::new(&msg.publish),
        };
        delivery.count_in(&self.conn, row);
    }

    /// Handles a message that may ask for a trace. One that goes nowhere is not counted.
    #[cold]
    fn handle_traced(&self, account: &Arc<Account>, msg: &RoutedMsg<'_>, delivery: &mut Delivery) {
        let publish = &msg.publish;
        let settings = Arc::clone(&delivery.settings);
        let import = settings.routes.permissions.as_ref();
        let may_publish = |dest: &[u8]| import.is_none_or(|import| import.can_publish(dest));
        match delivery.begin_trace(account, (publish, publish.len()), &self.conn, may_publish) {
            Fate::Delivered => self.handle_untraced(msg, None, delivery),
            Fate::Untraced(tail) => {
                let publish = tail.publish(publish.subject, publish.reply);
                let msg = RoutedMsg { publish, ..*msg };
                self.handle_untraced(&msg, None, delivery);
            }
            Fate::Lost => {}
            Fate::Denied(dest) => {
                conn_event!(ERROR, &self.conn, "Publish Violation - Subject {}", Quoted(&dest));
            }
        }
        delivery.end_trace();
    }

    fn ok(&self, delivery: &mut Delivery) {
        if self.verbose {
            delivery.staging.add_proto(&self.conn, encoder::OK);
        }
    }
}

impl Open {
    /// Links accounts that it carries and has not linked yet, and begins to announce their
    /// interest.
    fn link_new(&mut self, settings: &Settings, conn: &Arc<Conn>) {
        let count = settings.accounts.count();
        if self.linked == count {
            return;
        }
        for account in settings.accounts.iter_any().filter(|account| account.id >= self.linked) {
            if !mesh::carries(&self.place, self.pooled, &account.name, &settings.routes) {
                continue;
            }
            let link = Link::new(conn, &settings.routes.permissions);
            self.carried.push(Arc::clone(account));
            if account.link(link.clone()) {
                self.announcing.push(Announcing::new(account, link, false));
            }
        }
        self.linked = count;
    }
}

impl Announcing {
    fn new(account: &Arc<Account>, link: Link, withdraws: bool) -> Announcing {
        Announcing { account: Arc::clone(account), link, cursor: Cursor::new(), withdraws }
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
/// Writes a PING, which the caller counts.
fn write_ping(conn: &Arc<Conn>, delivery: &mut Delivery) {
    conn_event!(TRACE, conn, "->> [PING]");
    delivery.staging.add_proto(conn, encoder::PING);
}

#[cfg(test)]
mod tests;
