//! `System`: the machine behind the server's own client, which answers as its services.
//!
//! Its connection is a loop: it reads the messages delivered to it. Requests have the form of
//! messages on a route, with a header that names the requester; answers go out like any message.
//! Its interest is not announced to other servers, which have services of their own. No client
//! waits for it: above `REQUESTS_PENDING_MAX` it drops requests.
//!
//! nats: server/events.go `initEventTracking`, `internalSendLoop`, `sendInternalResponse`

mod request;
#[cfg(test)]
mod tests;
mod user_info;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::iter;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::account::Account;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::limits::{REQUESTS_PENDING_MAX, ROUTE_CONTROL_LINE_FACTOR};
use crate::codec::headers::Requester;
use crate::config::options::Options;
use crate::conn::subscription::{Subscription, Subscriptions};
use crate::conn::{Conn, conn_event};
use crate::deliver::{Delivery, Publisher};
use crate::machine::Machine;
use crate::monitor::View;
use crate::monitor::json::{Date, Document};
use crate::monitor::varz::FEATURE_FLAGS;
use crate::parser::{Publish, Refused, Remaining, RouteOp, RouteRules, RoutedMsg};
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::system::request::Request;

/// The services, by the subject of their requests.
const SERVICES: [Service; 1] =
    [Service { subject: "$SYS.REQ.USER.INFO", answer: user_info::user_info }];

/// Time to make an answer, nanoseconds, about.
const ANSWER_NS: usize = 20_000;

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
    interest: Vec<(Arc<Account>, Subscription)>,
    /// The accounts with lower ids have the services.
    served: u32,
    /// The number of messages that it has sent.
    seq: u64,
}

impl System {
    /// The machine of the connection `conn`, which offers its services in all accounts.
    pub fn new(registry: Arc<Registry>, conn: Arc<Conn>, look: Look) -> System {
        let settings = registry.settings();
        let mut system = System { registry, conn, look, interest: Vec::new(), served: 0, seq: 0 };
        system.serve_all(&settings);
        system
    }

    /// Offers the services in all accounts where they are not offered yet.
    fn serve_all(&mut self, settings: &Settings) {
        let served = self.served;
        settings.accounts.iter().filter(|one| one.id >= served).for_each(|one| self.serve(one));
        self.served = settings.accounts.count();
    }

    /// Offers the services in an account.
    fn serve(&mut self, account: &Arc<Account>) {
        for (at, Service { subject, .. }) in SERVICES.iter().enumerate() {
            let subject = subject.as_bytes();
            let interest = Subscription::service(&self.conn, &account.name, subject, at + 1);
            self.conn.subscriptions().insert(interest.clone());
            account.insert(interest.clone(), |_| {});
            self.interest.push((Arc::clone(account), interest));
        }
    }

    /// Answers a request, if it has a reply subject and the requester is still connected.
    fn answer(&mut self, msg: &RoutedMsg<'_>, delivery: &mut Delivery) -> Option<()> {
        let Publish { subject, reply, header_len, message, .. } = msg.publish;
        let service = SERVICES.iter().find(|service| service.subject.as_bytes() == subject)?;
        let account = Arc::clone(delivery.settings.accounts.find(msg.account)?);
        let requester = Requester::read(&message[..header_len?])?;
        let conn = self.registry.conn_in(requester.slot)?;
        if reply.is_empty() || conn.cid != requester.cid {
            return None;
        }
        let request = Request { account: &account, conn: &conn };
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
        let publisher = Publisher { conn: &self.conn, echo: false };
        delivery.deliver(&account, &publish, iter::empty(), publisher);
        Some(())
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

    fn handle_settings(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.serve_all(&delivery.settings);
        Ok(())
    }

    fn fail(&self, refused: Refused<'_>, delivery: &mut Delivery) -> ClosedReason {
        let max_payload = self.rules(&delivery.settings).max_payload;
        conn_event!(ERROR, &self.conn, "{}", refused.describe(Kind::System, max_payload));
        ClosedReason::ProtocolViolation
    }

    fn close(&mut self, _reason: ClosedReason, delivery: &mut Delivery) {
        *self.conn.subscriptions() = Subscriptions::default();
        for (account, interest) in self.interest.drain(..) {
            delivery.remove_all(&account, slice::from_ref(&interest));
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
