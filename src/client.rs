//! `Client`: the machine of one client connection. Ops and times in, frames into the staging.
//!
//! ```text
//!   ExpectConnect -- CONNECT ok, or another op where there is a no_auth_user --> Open
//!   Open           --  CONNECT ok: another user, other options                --> Open
//! ```
//!
//! A server without credentials admits each client at the start. Only `Open` holds a user and its
//! permissions, so no client without one can be open.
//!
//! Fatal errors are returned; others are sent as `-ERR` and the connection stays open.
//! nats: server/client.go `processSub`, `processUnsub`, `processInboundClientMsg`, `processPing`,
//! `processPingTimer`

mod events;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod imports;
mod login;
mod msg_trace;
mod pings;
mod publish;
mod reload;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::auth::permissions::{self, CompiledPermissions};
use crate::auth::{Check, Hash, Verdict};
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::{Denied, ProtoErr};
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::limits::FORGET_COUNT;
use crate::base::moment::Moment;
use crate::base::quoted::Quoted;
use crate::base::subject;
use crate::base::table::Walk;
use crate::codec::connect::{Connect, Credentials};
use crate::codec::encoder;
use crate::codec::info::Info;
use crate::config::options::{AccountLimits, ConnectionType, Options, WriteTimeout};
use crate::conn::subscription::{Subscription, Subscriptions};
use crate::conn::{Conn, conn_event};
use crate::deliver::{Delivery, listing_ns};
use crate::machine::{Machine, PendingLogin};
use crate::parser::{ClientRules, Op, Publish, Refused, Remaining, parse_size};
use crate::registry::settings::Settings;
use crate::registry::turns::Grace;
use crate::registry::{Closed, Registry};
use crate::sublist::Entry;

use imports::Renewal;
use pings::ClientPings;

/// One client connection.
pub struct Client {
    registry: Arc<Registry>,
    conn: Arc<Conn>,
    state: State,
    /// `None` while all of it is empty.
    rare: Option<Box<Rare>>,
    pings: ClientPings,
    asked: Asked,
    greeting: Greeting,
    connection_type: ConnectionType,
}

enum State {
    /// Waits for a user: from CONNECT, or from the first op without it.
    ExpectConnect,
    /// Accepts everything that this user may do.
    Open(Admitted),
}

/// The user of a client, as its ops need it.
struct Admitted {
    account: Arc<Account>,
    /// `None` if it may do everything, and none of its messages is mapped.
    permissions: Option<Arc<CompiledPermissions>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// CONNECT may still come.
    ExpectConnect,
    /// CONNECT has come, or the client became `no_auth_user` without it. After the first PING an
    /// INFO is due.
    ExpectPing,
    /// That INFO is out, too, or the client takes none.
    Done,
}

/// The options of CONNECT that are neither shown by the connection nor [`Rare`].
struct Asked {
    verbose: bool,
    pedantic: bool,
    echo: bool,
    headers: bool,
    no_responders: bool,
    /// Takes INFO at any time: `protocol` is 1.
    takes_info: bool,
}

/// State that most clients do not have, or only at their end.
#[derive(Default)]
struct Rare {
    /// Text that it has to sign; empty if no user has an nkey.
    nonce: Box<str>,
    /// Its last credentials; the next CONNECT overlays them.
    credentials: Option<Box<Credentials>>,
    /// The credentials of its upgrade to WebSocket, for a CONNECT without them.
    cookies: Option<Box<Credentials>>,
    /// Its subscriptions from before its end, or before another CONNECT.
    leaving: Option<Leaving>,
    /// Until it is over, messages may come for removed subscriptions.
    grace: Option<Grace>,
    /// The answer that waits.
    owed: Option<Answer>,
    /// The CONNECT whose credentials are being checked.
    login: Option<Box<PendingLogin<Connect>>>,
    /// That login was accepted before, by other settings.
    judged: bool,
    /// The hash that its password was compared with, once its login is accepted.
    proven: Option<Hash>,
    /// The place up to which its subscriptions are known to be allowed by new permissions.
    review: Option<Walk>,
    /// When its handshake was done, until it is taken in.
    encrypted_at: Option<Moment>,
    /// New imports of its account on their way to its subscriptions.
    renewal: Option<Box<Renewal>>,
}

/// Former subscriptions of a client that its account still lists.
struct Leaving {
    account: Arc<Account>,
    subscriptions: Subscriptions,
}

/// An answer after which no message comes for a subscription removed before.
///
/// nats-differs: there, `+OK` is written before UNSUB takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// To a PING.
    Pong,
    /// To an UNSUB, or to a CONNECT that ended subscriptions.
    Ok,
}

impl Client {
    /// The machine of a new connection. `nonce` is the text to sign in INFO, or empty.
    pub fn new(
        registry: Arc<Registry>,
        conn: Arc<Conn>,
        connection_type: ConnectionType,
        nonce: Box<str>,
    ) -> Client {
        let rare = Rare { nonce, ..Rare::default() };
        let settings = registry.settings();
        let of_clients = settings.clients(connection_type);
        let global = settings.accounts.global();
        global.join(&conn);
        let mut client = Client {
            state: State::ExpectConnect,
            rare: (!rare.nonce.is_empty()).then(|| Box::new(rare)),
            pings: ClientPings::new(conn.start, of_clients.ping_interval),
            asked: Asked::of(&Connect::default()),
            greeting: Greeting::ExpectConnect,
            connection_type,
            registry,
            conn,
        };
        if let Some(anybody) = of_clients.authenticator.anybody() {
            client.open(Arc::clone(global), anybody.permissions, &settings);
        }
        client
    }

    /// The same with cookies, whose credentials count where CONNECT brings none.
    pub fn with_cookies(mut self, cookies: Option<Box<Credentials>>) -> Client {
        if cookies.is_some() {
            self.rare.get_or_insert_default().cookies = cookies;
        }
        self
    }
}

impl Machine for Client {
    type Rules = ClientRules;

    const STALLS: bool = true;
    const LINGER_MAX: Duration = Duration::from_secs(1);

    #[inline]
    fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    fn rules(&self, settings: &Settings) -> ClientRules {
        let options = &settings.options;
        let max_payload = usize::try_from(options.max_payload).unwrap_or(usize::MAX);
        ClientRules {
            max_control_line: options.max_control_line,
            max_payload: self.limits().max_payload.unwrap_or(max_payload).min(max_payload),
            headers: self.asked.headers,
            connect_first: matches!(self.state, State::ExpectConnect),
        }
    }

    #[inline]
    fn changes_rules(op: &Op<'_>) -> bool {
        matches!(op, Op::Connect(_) | Op::BeforeConnect)
    }

    fn start(&mut self, delivery: &mut Delivery) {
        conn_event!(DEBUG, &self.conn, "Client connection created");
        let mut info = self.info();
        // Whoever need not log in is told so first, but not by WebSocket; later INFOs tell what is
        // checked.
        if self.connection_type != ConnectionType::Websocket {
            let of_clients = delivery.settings.clients(self.connection_type);
            info.auth_required &= !of_clients.authenticator.has_no_auth_user();
        }
        delivery.staging.add_proto_with(&self.conn, |frames| info.write(frames));
    }

    fn handle_op(&mut self, op: &Op<'_>, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        trace::op(&self.conn, op);
        match op {
            Op::Publish(publish) => self.handle_msg(publish, None, delivery),
            Op::Sub { subject, queue, sid } => {
                self.pings.heard(delivery.now);
                self.conn.set_last_activity(delivery.now);
                self.handle_sub(subject, *queue, sid, delivery)
            }
            Op::Unsub { sid, max } => {
                self.pings.heard(delivery.now);
                self.conn.set_last_activity(delivery.now);
                self.handle_unsub(sid, *max, delivery)
            }
            Op::Ping => {
                self.pings.heard(delivery.now);
                self.answer(Answer::Pong, delivery)
            }
            Op::Pong => {
                if let Some(rtt) = self.pings.pong(delivery.now) {
                    self.conn.set_rtt(rtt);
                }
                Ok(())
            }
            Op::Connect(json) => self.handle_connect(json, delivery),
            Op::BeforeConnect => self.admit_without_connect(&delivery.settings),
            Op::Info(json) => match Info::read(json) {
                Ok(_) => Ok(()),
                Err(_) => Err(ProtoErr::Arguments("INFO")),
            },
            Op::Ok => Ok(()),
            Op::Err(text) => {
                conn_event!(ERROR, &self.conn, "Client Error {}", String::from_utf8_lossy(text));
                Err(ProtoErr::ErrReceived)
            }
        }
    }

    /// The `remaining` input is let be when each message takes more than to be delivered.
    #[inline]
    fn handle_msg<'a>(
        &mut self,
        publish: &Publish<'a>,
        remaining: Option<Remaining<'_, 'a>>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        let traced = trace::publish(&self.conn, publish, &delivery.settings.options.log);
        self.pings.heard(delivery.now);
        let Asked { verbose, pedantic, .. } = self.asked;
        let admitted = self.admitted()?;
        if pedantic && !subject::is_valid_publish(publish.subject) {
            self.refuse(&ProtoErr::InvalidPublishSubject, delivery);
        }
        let remaining = if verbose || pedantic || traced { None } else { remaining };
        if publish.header_len.is_some() && delivery.may_trace(&admitted.account, publish.header()) {
            self.handle_traced(admitted, publish, delivery);
        } else {
            self.handle_untraced(admitted, publish, remaining, delivery);
        }
        Ok(())
    }

    #[inline]
    fn handle_unreached(&mut self, msg: &Publish<'_>, delivery: &mut Delivery) {
        if let State::Open(admitted) = &self.state {
            self.no_responders(&admitted.account, msg, delivery);
        }
    }

    #[inline]
    fn heard_at(&self) -> Option<Moment> {
        Some(self.pings.heard_at())
    }

    #[inline]
    fn is_waiting(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| {
            rare.owed.is_some()
                || rare.leaving.is_some()
                || rare.login.is_some()
                || rare.review.is_some()
                || rare.renewal.is_some()
        })
    }

    fn take_check(&mut self) -> Option<Check> {
        self.rare.as_mut()?.login.as_mut()?.check.take()
    }

    fn handle_verdict(
        &mut self,
        verdict: Verdict,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        // A check that was not taken yet is of newer settings than the verdict.
        let is_due = |login: &mut Box<PendingLogin<_>>| login.check.is_none();
        match self.rare.as_mut().and_then(|rare| rare.login.take_if(is_due)) {
            Some(_) if self.rare.as_mut().is_some_and(|rare| std::mem::take(&mut rare.judged)) => {
                self.handle_judgement(verdict, delivery)
            }
            Some(login) => self.log_in(login.connect, verdict, delivery),
            None => Ok(()),
        }
    }

    #[inline]
    fn continue_work(&mut self, delivery: &mut Delivery) -> Result<Left, ProtoErr> {
        if self.rare.is_some() { self.go_on(delivery) } else { Ok(Left::Nothing) }
    }

    fn handle_encrypted(&mut self, delivery: &mut Delivery) {
        if matches!(self.state, State::ExpectConnect) {
            self.rare.get_or_insert_default().encrypted_at = Some(delivery.now);
        }
    }

    fn deadline(&self, settings: &Settings) -> Moment {
        self.auth_due(settings).min(self.pings.due())
    }

    fn handle_settings(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        if let State::Open(admitted) = &mut self.state {
            admitted.heed_mappings(&delivery.settings);
        }
        self.begin_renewal(&delivery.settings);
        self.judge_anew(delivery)
    }

    fn handle_news(&mut self, delivery: &mut Delivery) {
        if self.conn.takes_info() {
            let info = self.info();
            delivery.staging.add_proto_with(&self.conn, |frames| info.write(frames));
        }
    }

    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let now = delivery.now;
        if now >= self.auth_due(&delivery.settings) {
            return Err(ProtoErr::AuthenticationTimeout);
        }
        let rtt_wanted = self.conn.take_rtt_wanted() && self.greeting == Greeting::Done;
        if now >= self.pings.due() {
            conn_event!(DEBUG, &self.conn, "Client Ping Timer");
            let interval = delivery.settings.clients(self.connection_type).ping_interval;
            if self.pings.tick(now, interval, delivery.settings.options.ping_max)? {
                self.ping(delivery);
            }
        } else if rtt_wanted {
            self.pings.sent(now);
            self.ping(delivery);
        }
        Ok(())
    }

    fn fail(&self, refused: Refused<'_>, delivery: &mut Delivery) -> ClosedReason {
        let error = refused.error;
        if *error == ProtoErr::MaxPayload {
            self.trace_too_long(refused.op, delivery);
        }
        let counters = &delivery.counters;
        if *error == ProtoErr::StaleConnection {
            counters.stale[Kind::Client].add(1);
        }
        if !error.is_silent() {
            conn_event!(TRACE, &self.conn, "->> [-ERR {error}]");
        }
        match error {
            ProtoErr::AuthorizationViolation => {
                self.log_refusal();
                self.note_refusal(delivery);
            }
            ProtoErr::AuthenticationTimeout => conn_event!(DEBUG, &self.conn, "{error}"),
            // It was logged with the text of the client.
            ProtoErr::ErrReceived => {}
            ProtoErr::StaleConnection => {
                conn_event!(DEBUG, &self.conn, "Stale Client Connection - Closing");
            }
            ProtoErr::Refused(_) => conn_event!(DEBUG, &self.conn, "User or account is gone"),
            _ => {
                let max_payload = self.rules(&delivery.settings).max_payload;
                conn_event!(ERROR, &self.conn, "{}", refused.describe(Kind::Client, max_payload));
            }
        }
        delivery.staging.add_proto_with(&self.conn, |frames| error.write_err(frames));
        error.closes().unwrap_or(ClosedReason::ProtocolViolation)
    }

    /// No message goes to its subscriptions any more; [`forget`](Machine::forget) removes them.
    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery) {
        conn_event!(DEBUG, &self.conn, "Client connection closed: {}", reason.as_str());
        let account = Arc::clone(self.account(&delivery.settings));
        if reason == ClosedReason::SlowConsumerPendingBytes {
            account.count_slow();
        }
        let closed = Closed::new(&self.conn, delivery.now, reason);
        self.leave();
        self.registry.move_to_closed(closed);
        account.leave(&self.conn);
        self.note_end(&account, reason, delivery);
    }

    fn handle_slow_write(&self, settings: &Settings) {
        self.account(settings).count_slow();
    }

    fn forget(&mut self, delivery: &mut Delivery) -> Left {
        let Some(Rare { leaving, .. }) = self.rare.as_deref_mut() else { return Left::Nothing };
        let Some(Leaving { account, subscriptions }) = leaving else { return Left::Nothing };
        let shadows = subscriptions.take_some_shadows(FORGET_COUNT);
        if !shadows.is_empty() {
            delivery.remove_shadows(&shadows);
            return Left::More;
        }
        let some = subscriptions.take_some(FORGET_COUNT);
        delivery.remove_all(account, &some);
        trace::removed(&self.conn, &some);
        if subscriptions.is_empty() {
            *leaving = None;
            return Left::Nothing;
        }
        Left::More
    }

    fn write_deadline(options: &Options) -> Duration {
        options.write_deadline
    }

    fn forgives_slow_writes(options: &Options) -> bool {
        options.write_timeout == WriteTimeout::Retry
    }
}

impl Client {
    /// Ends all its subscriptions. The account lists them until they are
    /// [forgotten](Machine::forget).
    fn leave(&mut self) {
        let subscriptions = std::mem::take(&mut *self.conn.subscriptions());
        if let State::Open(Admitted { account, .. }) = &self.state
            && !subscriptions.is_empty()
        {
            let account = Arc::clone(account);
            self.rare.get_or_insert_default().leaving = Some(Leaving { account, subscriptions });
        }
    }

    /// Removes a batch of the subscriptions that a second CONNECT has ended.
    fn forget_on(&mut self, delivery: &mut Delivery) -> Left {
        let left = self.forget(delivery);
        if left == Left::Nothing {
            self.begin_grace(delivery);
        }
        left
    }

    /// Goes on with the work that it waits for.
    #[cold]
    fn go_on(&mut self, delivery: &mut Delivery) -> Result<Left, ProtoErr> {
        let Some(rare) = &mut self.rare else { return Ok(Left::Nothing) };
        if rare.leaving.is_some() && self.forget_on(delivery) == Left::More {
            return Ok(Left::More);
        }
        if self.review_on(delivery) == Left::More || self.renew_on(delivery) == Left::More {
            return Ok(Left::More);
        }
        if let Some(answer) = self.rare.as_mut().and_then(|rare| rare.owed.take()) {
            self.answer(answer, delivery)?;
        }
        Ok(Left::Nothing)
    }

    /// The account in which it is counted: the global one until it has logged in.
    fn account<'a>(&'a self, settings: &'a Settings) -> &'a Arc<Account> {
        match &self.state {
            State::Open(admitted) => &admitted.account,
            State::ExpectConnect => settings.accounts.global(),
        }
    }

    /// The limits of its account.
    fn limits(&self) -> AccountLimits {
        match &self.state {
            State::Open(admitted) => admitted.account.limits(),
            State::ExpectConnect => AccountLimits::default(),
        }
    }

    /// The user of the client. The parser returns [`Op::BeforeConnect`] before any op that needs
    /// it.
    #[inline]
    fn admitted(&self) -> Result<&Admitted, ProtoErr> {
        match &self.state {
            State::Open(admitted) => Ok(admitted),
            State::ExpectConnect => Err(ProtoErr::AuthorizationViolation),
        }
    }

    /// Begins a grace period: a subscription is removed or has a new limit, and other workers may
    /// have matched it before.
    fn begin_grace(&mut self, delivery: &Delivery) {
        match delivery.turn.grace() {
            Some(grace) => self.rare.get_or_insert_default().grace = Some(grace),
            None => self.end_grace(),
        }
    }

    fn end_grace(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.grace = None;
            if rare.is_over() {
                self.rare = None;
            }
        }
    }

    /// Writes an answer, now or once the former subscriptions are removed and the grace period is
    /// over.
    fn answer(&mut self, answer: Answer, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        if let Some(rare) = &mut self.rare
            && (rare.leaving.is_some() || rare.review.is_some())
        {
            rare.owed = Some(answer);
            return Ok(());
        }
        if let Some(rare) = &mut self.rare
            && let Some(grace) = rare.grace
        {
            if !delivery.turn.is_over(grace, &self.conn) {
                rare.owed = Some(answer);
                return Ok(());
            }
            self.end_grace();
        }
        match answer {
            Answer::Pong => self.pong(delivery),
            Answer::Ok => {
                self.write_ok(delivery);
                Ok(())
            }
        }
    }

    fn pong(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let account = &self.admitted()?.account;
        conn_event!(TRACE, &self.conn, "->> [PONG]");
        delivery.staging.add_proto(&self.conn, encoder::PONG);
        if self.greeting == Greeting::ExpectPing {
            if self.asked.takes_info {
                let mut info = self.info();
                info.connect_info = true;
                info.remote_account = account.name.to_string();
                let options = &delivery.settings.options;
                info.acc_is_sys = options.system_account() == Some(&account.name);
                delivery.staging.add_proto_with(&self.conn, |frames| info.write(frames));
            }
            self.greeting = Greeting::Done;
            self.conn.set_takes_info(self.asked.takes_info);
        }
        Ok(())
    }

    fn handle_sub(
        &mut self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        delivery.staging.add_work(listing_ns(subject));
        match self.subscribe(subject, queue, sid, delivery) {
            Ok(()) => self.ok(delivery),
            Err(error) => self.refuse(&error, delivery),
        }
        Ok(())
    }

    fn subscribe(
        &self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        let Admitted { account, permissions } = self.admitted()?;
        let permissions = permissions.as_deref();
        delivery.staging.add_work(permissions.map_or(0, CompiledPermissions::subscribe_ns));
        if permissions.is_some_and(|permissions| !permissions.can_subscribe(subject, queue))
            || queue.is_some_and(permissions::is_reserved_queue)
        {
            let in_queue = queue.map(|queue| format!(", Queue: {}", Quoted(queue)));
            conn_event!(
                ERROR,
                &self.conn,
                "Subscription Violation - Subject {}{}, SID {}",
                Quoted(subject),
                in_queue.unwrap_or_default(),
                String::from_utf8_lossy(sid)
            );
            return Err(Denied::Subscribe {
                subject: subject.into(),
                queue: queue.map(Into::into),
            }
            .into());
        }
        let (options, limits) = (&delivery.settings.options, account.limits());
        if options.max_sub_tokens > 0 && subject::token_count(subject) > options.max_sub_tokens {
            conn_event!(
                ERROR,
                &self.conn,
                "Subscription Violation Too Many Tokens - Subject {}, SID {}",
                Quoted(subject),
                String::from_utf8_lossy(sid)
            );
            return Err(Denied::TooManyTokens { subject: subject.into() }.into());
        }
        let max_subscriptions = Some(options.max_subscriptions).filter(|&max| max > 0);
        let max_subscriptions = max_subscriptions.into_iter().chain(limits.max_subscriptions).min();
        let mut own = self.conn.subscriptions();
        if max_subscriptions.is_some_and(|max| own.len() >= max) {
            conn_event!(ERROR, &self.conn, "{}", ProtoErr::MaxSubscriptions);
            return Err(ProtoErr::MaxSubscriptions);
        }
        if own.find(sid).is_some() {
            return Ok(());
        }
        let rules = permissions.map_or(0, |permissions| permissions.filters(subject, queue));
        let subscription = Subscription::new(&self.conn, subject, queue, sid, rules);
        own.insert(subscription.clone());
        drop(own);
        let has_imports = !delivery.settings.accounts.imports(account).streams.is_empty();
        // Other servers hear of shadows first, as from the real server.
        if has_imports && subject::is_valid_subscription(subject) {
            self.import(account, &subscription, delivery);
        }
        if !account.insert(subscription.clone(), |route| delivery.staging.mark(route)) {
            self.conn.subscriptions().remove(&subscription);
            return Err(ProtoErr::InvalidSubject);
        }
        Ok(())
    }

    fn handle_unsub(
        &mut self,
        sid: &[u8],
        max: Option<&[u8]>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        let account = &self.admitted()?.account;
        let max = max.and_then(parse_size).unwrap_or(0) as u64;
        let found = self.conn.subscriptions().find(sid).cloned();
        if let Some(subscription) = found {
            delivery.staging.add_work(listing_ns(subscription.subject()));
            delivery.staging.settle(&self.conn);
            if max > subscription.delivered() {
                subscription.set_max(max);
                delivery.outdate(account, &subscription);
            } else {
                delivery.remove(account, &subscription);
                conn_event!(TRACE, &self.conn, "<-> [DELSUB {}]", String::from_utf8_lossy(sid));
            }
        }
        // Also for a subscription at its limit: other workers may have counted earlier messages for
        // it.
        self.begin_grace(delivery);
        self.vouch(delivery)
    }

    /// Writes an error that does not end the connection.
    fn refuse(&self, error: &ProtoErr, delivery: &mut Delivery) {
        conn_event!(TRACE, &self.conn, "->> [-ERR {error}]");
        delivery.staging.add_proto_with(&self.conn, |frames| error.write_err(frames));
    }

    #[inline]
    fn ok(&self, delivery: &mut Delivery) {
        if self.asked.verbose {
            self.write_ok(delivery);
        }
    }

    /// Writes the `+OK` of an op that has begun a grace period.
    fn vouch(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        if self.asked.verbose {
            self.answer(Answer::Ok, delivery)?;
        }
        Ok(())
    }

    #[cold]
    fn write_ok(&self, delivery: &mut Delivery) {
        conn_event!(TRACE, &self.conn, "->> [OK]");
        delivery.staging.add_proto(&self.conn, encoder::OK);
    }

    fn ping(&self, delivery: &mut Delivery) {
        conn_event!(TRACE, &self.conn, "->> [PING]");
        delivery.staging.add_proto(&self.conn, encoder::PING);
    }

    fn info(&self) -> Info {
        let by_websocket = self.connection_type == ConnectionType::Websocket;
        let mut info = self.registry.info().for_clients(by_websocket);
        info.client_id = self.conn.cid.0;
        info.ldm = self.conn.take_lame_duck();
        if info.tls_required && self.connection_type == ConnectionType::InProcess {
            (info.tls_required, info.tls_available) = (false, true);
        }
        info.client_ip =
            self.conn.remote().map(|remote| remote.ip().to_string()).unwrap_or_default();
        info.nonce = self.rare.as_ref().map(|rare| rare.nonce.to_string()).unwrap_or_default();
        if let Some(max) = self.limits().max_payload.and_then(|max| i32::try_from(max).ok()) {
            info.max_payload = if info.max_payload < 0 { max } else { info.max_payload.min(max) };
        }
        info
    }
}

impl Rare {
    /// True if all of it is empty.
    fn is_over(&self) -> bool {
        let Rare { nonce, credentials, cookies, leaving, grace, owed, login, .. } = self;
        let Rare { proven, review, encrypted_at, renewal, .. } = self;
        nonce.is_empty()
            && credentials.is_none()
            && cookies.is_none()
            && leaving.is_none()
            && grace.is_none()
            && owed.is_none()
            && login.is_none()
            && proven.is_none()
            && review.is_none()
            && encrypted_at.is_none()
            && renewal.is_none()
    }
}

impl Asked {
    fn of(connect: &Connect) -> Asked {
        let &Connect { verbose, pedantic, echo, headers, no_responders, protocol, .. } = connect;
        Asked { verbose, pedantic, echo, headers, no_responders, takes_info: protocol >= 1 }
    }
}
