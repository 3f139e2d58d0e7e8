//! `System`: the machine behind the server's own client, which answers as its services.
//!
//! Its connection is a loop: it reads the messages delivered to it, which have the form of messages
//! on a route; its own ones go out like any message, in one order. Its services are those of the
//! system account, for clients of all servers; other accounts import some. Most answers are made in
//! its turn, and those that may be long outside of it (`Lists`). No client waits for it: above
//! `REQUESTS_PENDING_MAX` it drops requests.
//!
//! It also looks for requests between accounts whose time is over, as long as some are open.
//!
//! nats: server/events.go `initEventTracking`, `internalSendLoop`, `sendInternalResponse`

mod events;
mod evictions;
mod filter;
mod lists;
mod request;
mod server_info;
mod servers;
mod services;
mod subjects;
mod subscribers;
#[cfg(test)]
mod tests;
mod user_info;

use std::io;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::limits::{REQUESTS_PENDING_MAX, ROUTE_CONTROL_LINE_FACTOR};
use crate::base::moment::Moment;
use crate::base::secrets::Secrets;
use crate::codec::content_encoding::ContentEncoding;
use crate::config::options::Options;
use crate::conn::subscription::{Subscription, Subscriptions};
use crate::conn::{Conn, conn_event};
use crate::deliver::latency::{self, Failure};
use crate::deliver::{Delivery, Publisher};
use crate::machine::{Machine, traced};
use crate::monitor::View;
use crate::monitor::json::Document;
use crate::parser::{Publish, Refused, Remaining, RouteOp, RouteRules, RoutedMsg};
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::system::events::Schedule;
use crate::system::evictions::Evictions;
use crate::system::lists::Lists;
use crate::system::request::Answer;
use crate::system::server_info::ServerInfo;
use crate::system::servers::Servers;
use crate::system::subscribers::Sums;

/// Time to send a message, nanoseconds, about.
const MESSAGE_NS: usize = 20_000;

/// Time between two looks at the open requests, and the number of them forgotten in one turn.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const CLOSE_COUNT: usize = 256;

/// The parts of the server outside of the core.
pub trait Outside: Send {
    /// Lends a view of the server in its present state.
    fn look(&self, look: &mut dyn FnMut(&View<'_>));

    /// Has long work done, by a thread that no connection waits for.
    fn work(&self, work: Work);

    /// Has the configuration read again.
    fn reload(&self, done: Reloaded);
}

/// Work with a view of the server.
pub type Work = Box<dyn FnOnce(&View<'_>) + Send>;

/// Takes the result of a reload.
pub type Reloaded = Box<dyn FnOnce(Result<(), String>) + Send>;

/// The server's own client.
pub struct System {
    registry: Arc<Registry>,
    conn: Arc<Conn>,
    outside: Box<dyn Outside>,
    /// Its subscriptions in the system account.
    interest: Vec<Subscription>,
    lists: Lists,
    sums: Sums,
    secrets: Secrets,
    /// The time of the next look at the open requests.
    look_at: Moment,
    schedule: Schedule,
    servers: Servers,
    evictions: Evictions,
    /// The number of messages that it has sent.
    seq: u64,
}

impl System {
    /// The machine of the connection `conn`, which offers its services in the system account.
    pub fn new(registry: Arc<Registry>, conn: Arc<Conn>, outside: Box<dyn Outside>) -> System {
        let settings = registry.settings();
        let mut system = System {
            interest: Vec::new(),
            lists: Lists::new(),
            sums: Sums::default(),
            secrets: registry.new_secrets(),
            look_at: Moment::NEVER,
            schedule: Schedule::new(conn.start),
            servers: Servers::default(),
            evictions: Evictions::default(),
            seq: 0,
            registry,
            conn,
            outside,
        };
        if let Some(account) = settings.system_account() {
            system.listen(account);
        }
        system
    }

    fn listen(&mut self, account: &Account) {
        let local = subjects::LOCAL.iter().zip(1..).map(|(subject, number)| {
            Subscription::service(&self.conn, &account.name, subject.as_bytes(), number)
        });
        let server_name = self.registry.info().server_name;
        let announced = subjects::announced(self.registry.server_id.as_str(), &server_name);
        let announced = announced.into_iter().map(String::into_bytes);
        let announced = announced.chain([latency::remote_subject(&server_name)]);
        let announced =
            announced.map(|subject| Subscription::inline(&self.conn, &account.name, &subject));
        for interest in local.chain(announced).collect::<Vec<_>>() {
            self.conn.subscriptions().insert(interest.clone());
            account.insert(interest.clone(), |_| {});
            self.interest.push(interest);
        }
    }

    /// Looks at the server in its present state.
    fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let (mut look, mut seen) = (Some(look), None);
        self.outside.look(&mut |view| seen = look.take().map(|look| look(view)));
        seen.expect("the view is lent once")
    }

    /// Writes something that names this server, as its next message does.
    fn name_server(&mut self, write: impl FnOnce(&View<'_>, ServerInfo<'_>) -> io::Result<()>) {
        self.seq += 1;
        self.look(|view| write(view, ServerInfo::new(view, self.seq))).expect("memory takes it");
    }

    /// Sends an answer.
    fn send(&mut self, answer: &Answer, delivery: &mut Delivery) {
        let mut begin = Vec::new();
        if answer.names_server {
            begin.extend_from_slice(b"{\"server\":");
            self.name_server(|_, server| server.write_compact(&mut begin));
        }
        let Some(account) = delivery.settings.system_account().cloned() else { return };
        let parts = (&*begin, &*answer.text);
        self.publish_encoded(&account, &answer.reply, answer.encoding, parts, delivery);
    }

    /// Publishes a text in an encoding, with the header that names it. Its end is encoded already.
    fn publish_encoded(
        &self,
        account: &Arc<Account>,
        subject: &[u8],
        encoding: Option<ContentEncoding>,
        (text, end): (&[u8], &[u8]),
        delivery: &mut Delivery,
    ) {
        let mut message = Vec::new();
        encoding.inspect(|encoding| encoding.write_block(&mut message));
        let header_len = encoding.map(|_| message.len());
        match encoding {
            Some(encoding) => encoding.encode(text, &mut message),
            None => message.extend_from_slice(text),
        }
        message.extend_from_slice(end);
        self.publish(account, (subject, b""), header_len, &message, delivery);
    }

    /// Publishes a document that names this server.
    fn tell(
        &mut self,
        account: &Arc<Account>,
        subject: &[u8],
        delivery: &mut Delivery,
        write: impl FnOnce(&View<'_>, ServerInfo<'_>, &mut Vec<u8>) -> io::Result<()>,
    ) {
        let mut text = Vec::new();
        self.name_server(|view, server| write(view, server, &mut text));
        self.publish(account, (subject, b""), None, &text, delivery);
    }

    /// Publishes a message, with a reply subject unless that is empty. A header block of that
    /// length is its start.
    fn publish(
        &self,
        account: &Arc<Account>,
        (subject, reply): (&[u8], &[u8]),
        header_len: Option<usize>,
        message: &[u8],
        delivery: &mut Delivery,
    ) {
        delivery.staging.add_work(MESSAGE_NS + message.len());
        let size_text = message.len().to_string();
        let publish = Publish {
            subject,
            reply,
            header_len,
            size_text: size_text.as_bytes(),
            message,
            tail: b"",
        };
        traced::own_message(&publish, &delivery.settings.options.log);
        let publisher = Publisher { conn: &self.conn, echo: true };
        delivery.deliver(account, &publish, None, iter::empty(), publisher);
    }

    /// The subject of a message about this server.
    fn own_subject(&self, end: &str) -> String {
        format!("$SYS.SERVER.{}.{end}", self.registry.server_id)
    }

    /// Forgets requests whose time is over, or as many of them as a turn has time for.
    fn close_due(&mut self, delivery: &mut Delivery) {
        self.registry.set_requests_watched(false);
        let (now, mut left) = (delivery.now, CLOSE_COUNT);
        let mut open = false;
        let settings = Arc::clone(&delivery.settings);
        for account in settings.accounts.iter_any() {
            let due = account.close_due(now, left);
            left -= due.len();
            due.iter().for_each(|one| delivery.report(account, one, Failure::ServiceTimeout));
            open |= account.response_count() > 0;
            let dropped = account.take_dropped();
            if dropped > 0 {
                let account = &account.name;
                tracing::warn!("{dropped} requests to services of account {account} forgotten");
            }
        }
        self.look_at = match (left, open) {
            (0, _) => now,
            (_, true) => now + LOOK_INTERVAL,
            (_, false) => Moment::NEVER,
        };
        if open {
            self.registry.set_requests_watched(true);
        }
    }
}

impl Machine for System {
    type Rules = RouteRules;

    const STALLS: bool = false;
    const LINGER_MAX: Duration = Duration::ZERO;

    fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    fn rules(&self, settings: &Settings) -> RouteRules {
        RouteRules {
            max_control_line: settings.options.max_control_line * ROUTE_CONTROL_LINE_FACTOR,
            max_payload: REQUESTS_PENDING_MAX,
            account_absent: false,
            connect_first: false,
        }
    }

    fn changes_rules(_op: &RouteOp<'_>) -> bool {
        false
    }

    fn start(&mut self, _delivery: &mut Delivery) {}

    fn handle_op(&mut self, op: &RouteOp<'_>, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        match op {
            RouteOp::Msg(msg) => self.handle_msg(msg, None, delivery),
            _ => Ok(()),
        }
    }

    fn handle_msg<'a>(
        &mut self,
        msg: &RoutedMsg<'a>,
        _remaining: Option<Remaining<'_, 'a, RouteRules>>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        self.hear(&msg.publish, delivery);
        Ok(())
    }

    fn deadline(&self, _settings: &Settings) -> Moment {
        let due = [self.look_at, self.schedule.due(), self.servers.due(), self.sums.due()];
        due.into_iter().min().unwrap_or(Moment::NEVER)
    }

    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        if delivery.now >= self.look_at {
            self.close_due(delivery);
        }
        self.publish_due(delivery);
        if delivery.now >= self.servers.due() {
            self.forget_silent(delivery);
        }
        self.send_due_sums(delivery);
        Ok(())
    }

    fn continue_work(&mut self, delivery: &mut Delivery) -> Result<Left, ProtoErr> {
        let evicted = self.evictions.go_on(&self.registry, &delivery.settings);
        Ok(self.publish_events(delivery).and(evicted))
    }

    /// Requests are open, a long answer is made, or events wait.
    fn handle_news(&mut self, delivery: &mut Delivery) {
        if self.registry.are_requests_watched() {
            self.look_at = self.look_at.min(delivery.now + LOOK_INTERVAL);
        }
        self.send_made(delivery);
    }

    fn fail(&self, refused: Refused<'_>, delivery: &mut Delivery) -> ClosedReason {
        let max_payload = self.rules(&delivery.settings).max_payload;
        conn_event!(ERROR, &self.conn, "{}", refused.describe(Kind::System, max_payload));
        ClosedReason::ProtocolViolation
    }

    fn close(&mut self, _reason: ClosedReason, delivery: &mut Delivery) {
        *self.conn.subscriptions() = Subscriptions::default();
        if let Some(account) = self.registry.settings().system_account() {
            delivery.remove_all(account, &self.interest);
        }
        self.registry.remove(&self.conn);
    }

    fn forget(&mut self, _delivery: &mut Delivery) -> Left {
        Left::Nothing
    }

    /// It reads its pending bytes at once, so no deadline is needed.
    fn write_deadline(_options: &Options) -> Duration {
        Duration::MAX
    }

    fn forgives_slow_writes(_options: &Options) -> bool {
        true
    }
}
