//! The subjects of the system account that the server itself listens to, and their meaning.
//!
//! Not among them: `CLAIMS.UPDATE` of accounts, since there are no JWTs here.
//! nats: server/events.go `initEventTracking`

use crate::base::secrets;

/// The requests to one server, or to all of them.
const SERVER_SERVICES: [&str; 15] = [
    "IDZ",
    "STATSZ",
    "VARZ",
    "SUBSZ",
    "CONNZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "ACCOUNTZ",
    "JSZ",
    "HEALTHZ",
    "PROFILEZ",
    "EXPVARZ",
    "IPQUEUESZ",
    "RAFTZ",
];

/// The requests to one server alone.
const SERVER_ACTIONS: [&str; 3] = ["RELOAD", "KICK", "LDM"];

/// The requests about an account.
const ACCOUNT_SERVICES: [&str; 7] = ["SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"];

/// The subjects that are the same for all servers.
const COMMON: [&str; 8] = [
    "$SYS.SERVER.ACCOUNT.*.CONNS",
    "$SYS.SERVER.*.STATSZ",
    "$SYS.SERVER.*.SHUTDOWN",
    "$SYS.SERVER.*.LAMEDUCK",
    "$SYS.REQ.ACCOUNT.NSUBS",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.STATZ",
    "$SYS.ACCOUNT.*.LEAFNODE.CONNECT",
];

/// The subjects whose messages count only if they come from a client of this server.
pub(super) const LOCAL: [&str; 2] = ["$SYS.REQ.USER.*.INFO", "$SYS.DEBUG.SUBSCRIBERS"];

/// The subjects of messages from all servers, but for that of measurements.
pub(super) fn announced(server_id: &str, server_name: &str) -> Vec<String> {
    let hash = secrets::server_hash(server_name);
    let hash = String::from_utf8_lossy(&hash);
    let mut subjects = Vec::from(COMMON.map(str::to_owned));
    subjects.push(format!("$SYS._INBOX.{hash}.*"));
    subjects.push(format!("$SYS._INBOX_.{server_id}"));
    for service in SERVER_SERVICES {
        subjects.push(format!("$SYS.REQ.SERVER.PING.{service}"));
    }
    for service in SERVER_SERVICES.iter().chain(&SERVER_ACTIONS) {
        subjects.push(format!("$SYS.REQ.SERVER.{server_id}.{service}"));
    }
    for service in ACCOUNT_SERVICES {
        subjects.push(format!("$SYS.REQ.ACCOUNT.*.{service}"));
    }
    subjects
}

/// The meaning of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A request to this server, by its id or with all others.
    Server { service: &'a str },
    /// A request about an account; one named `PING` may mean all.
    Account { account: &'a str, service: &'a str },
    /// Another server asks for the number of subscriptions to a subject.
    SubscriptionCount,
    /// A client asks for the number of subscriptions to a subject.
    Subscribers,
    /// A client asks who it is.
    UserInfo,
    /// News of another server: `STATSZ`, `SHUTDOWN` or `LAMEDUCK`.
    News { server_id: &'a str, event: &'a str },
    /// The number of clients that an account has at another server.
    Conns,
    /// The answer of another server, to the last token.
    Answer { token: &'a str },
}

impl<'a> Meaning<'a> {
    pub(super) fn of(subject: &'a [u8]) -> Option<Meaning<'a>> {
        let subject = std::str::from_utf8(subject).ok()?;
        let tokens: Vec<&str> = subject.split('.').collect();
        Some(match tokens[1..] {
            ["REQ", "SERVER", "PING"] => Meaning::Server { service: "STATSZ" },
            ["REQ", "SERVER", _, service] => Meaning::Server { service },
            ["REQ", "ACCOUNT", "NSUBS"] => Meaning::SubscriptionCount,
            ["REQ", "ACCOUNT", account, service] => Meaning::Account { account, service },
            ["REQ", "USER", _, "INFO"] => Meaning::UserInfo,
            ["DEBUG", "SUBSCRIBERS"] => Meaning::Subscribers,
            ["SERVER", "ACCOUNT", _, "CONNS"] | ["_INBOX_", _] => Meaning::Conns,
            ["SERVER", server_id, event] => Meaning::News { server_id, event },
            ["_INBOX", _, token] => Meaning::Answer { token },
            _ => return None,
        })
    }
}
