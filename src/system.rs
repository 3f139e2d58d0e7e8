//! `System`: the machine behind the server's own client, which answers as its services.
//!
//! Its connection is a loop: it reads the messages delivered to it, which have the form of messages
//! on a route; its answers go out like any message. Its services are those of the system account,
//! which all accounts import. Their interest is not announced to other servers, which have services
//! of their own. No client waits for it: above `REQUESTS_PENDING_MAX` it drops requests.
//!
//! It also looks for requests between accounts whose time is over, as long as some are open.
//!
//! nats: server/events.go `initEventTracking`, `internalSendLoop`, `sendInternalResponse`

mod request;
#[cfg(test)]
mod tests;
mod user_info;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::account::Account;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::limits::{REQUESTS_PENDING_MAX, ROUTE_CONTROL_LINE_FACTOR};
use crate::base::moment::Moment;
use crate::base::subject;
use crate::codec::date::Date;
use crate::config::options::Options;
use crate::conn::subscription::{Subscription, Subscriptions};
use crate::conn::{Conn, conn_event};
use crate::deliver::latency::{self, Failure};
use crate::deliver::{Delivery, Publisher};
use crate::machine::Machine;
use crate::monitor::View;
use crate::monitor::json::Document;
use crate::monitor::varz::FEATURE_FLAGS;
use crate::parser::{Publish, Refused, Remaining, RouteOp, RouteRules, RoutedMsg};
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::system::request::{Importer, Request};

/// The services, by the subjects of their requests in the system account.
const SERVICES: [Service; 1] =
    [Service { subject: "$SYS.REQ.USER.*.INFO", answer: user_info::user_info }];

/// Time to make an answer, nanoseconds, about.
const ANSWER_NS: usize = 20_000;

/// Time between two looks at the open requests, and the number of them forgotten in one turn.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const CLOSE_COUNT: usize = 256;

/// One of the services.
struct Service {
    subject: &'static str,
    answer: for<'a> fn(&Request<'a>, &View<'_>) -> Box<dyn Document + 'a>,
}

/// Lends a view of the server in its present state.
pub type Look = Box<dyn Fn(&mut dyn FnMut(&View<'_>)) + Send>;

/// The server's own client.
pub struct System {
    registry: Arc<Registry>,
    conn: Arc<Conn>,
    look: Look,
    /// The subscriptions of its services.
    interest: Vec<Subscription>,
    /// The time of the next look at the open requests.
    look_at: Moment,
    /// The number of messages that it has sent.
    seq: u64,
}

impl System {
    /// The machine of the connection `conn`, which offers its services in the system account.
    pub fn new(registry: Arc<Registry>, conn: Arc<Conn>, look: Look) -> System {
        let settings = registry.settings();
        let (interest, look_at) = (Vec::new(), Moment::NEVER);
        let mut system = System { registry, conn, look, interest, look_at, seq: 0 };
        if let Some(account) = settings.system_account() {
            system.serve(account);
        }
        system
    }

    fn serve(&mut self, account: &Account) {
        let services = SERVICES.iter().zip(1..).map(|(service, number)| {
            Subscription::service(&self.conn, &account.name, service.subject.as_bytes(), number)
        });
        let measurements = latency::remote_subject(&self.registry.info().server_name);
        let measurements = Subscription::inline(&self.conn, &account.name, &measurements);
        for interest in services.chain([measurements]) {
            self.conn.subscriptions().insert(interest.clone());
            account.insert(interest.clone(), |_| {});
            self.interest.push(interest);
        }
    }

    /// Answers a request, if it has a reply subject and the requester is still connected.
    fn answer(&mut self, msg: &RoutedMsg<'_>, delivery: &mut Delivery) -> Option<()> {
        let Publish { subject, reply, .. } = msg.publish;
        let is_asked = |service: &&Service| subject::matches(service.subject.as_bytes(), subject);
        let service = SERVICES.iter().find(is_asked).filter(|_| !reply.is_empty())?;
        let account = Arc::clone(delivery.settings.system_account()?);
        let by_import = account.find_response(reply);
        let conn = match &by_import {
            Some(response) => Some(self.registry.conn_of(response.requester)?),
            None => None,
        };
        let importer = (by_import.as_ref().zip(conn.as_ref()))
            .map(|(response, conn)| Importer { account: &response.importer, conn });
        let request = Request { importer };
        delivery.staging.add_work(ANSWER_NS);
        self.seq += 1;
        let mut text = Vec::new();
        (self.look)(&mut |view| {
            let data = (service.answer)(&request, view);
            write_answer(&ServerInfo::new(view, self.seq), &*data, &mut text)
                .expect("memory takes it");
        });
        let size_text = text.len().to_string();
        let publish = Publish {
            subject: reply,
            reply: b"",
            header_len: None,
            size_text: size_text.as_bytes(),
            message: &text,
            tail: b"",
        };
        let publisher = Publisher { conn: &self.conn, echo: true };
        delivery.deliver(&account, &publish, iter::empty(), publisher);
        Some(())
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

/// Appends an answer: the server that gives it, and its data.
fn write_answer(
    server: &ServerInfo<'_>,
    data: &dyn Document,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    into.write_all(b"{\"server\":")?;
    server.write_compact(into)?;
    into.write_all(b",\"data\":")?;
    data.write_compact(into)?;
    into.write_all(b"}")
}

/// The server that answers, in the real server's order.
#[derive(Serialize)]
struct ServerInfo<'a> {
    name: String,
    host: String,
    id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster: String,
    ver: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: Date,
}

impl ServerInfo<'_> {
    fn new<'a>(view: &View<'a>, seq: u64) -> ServerInfo<'a> {
        let info = view.registry.info();
        let options = &view.settings.options;
        ServerInfo {
            name: info.server_name,
            host: info.host,
            id: view.registry.server_id.as_str(),
            cluster: view.mesh.map(|mesh| mesh.cluster_name().0).unwrap_or_default(),
            ver: info.version,
            tags: &options.server_tags,
            metadata: &options.server_metadata,
            feature_flags: BTreeMap::from(FEATURE_FLAGS),
            jetstream: false,
            flags: 0,
            seq,
            time: Date(view.wall()),
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
        self.answer(msg, delivery);
        Ok(())
    }

    fn deadline(&self, _settings: &Settings) -> Moment {
        self.look_at
    }

    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        if delivery.now >= self.look_at {
            self.close_due(delivery);
        }
        Ok(())
    }

    /// Requests are open.
    fn handle_news(&mut self, delivery: &mut Delivery) {
        self.look_at = self.look_at.min(delivery.now + LOOK_INTERVAL);
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
