//! `/connz`: the connections of clients, open and closed, sorted and in pages.
//!
//! Sorting reads one number of each connection; only the connections on the page get records, each
//! made when it is written.
//! nats: server/monitor.go `Connz`, `ConnInfo`, `fill`; server/monitor_sort_opts.go

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::auth::certificate::Certificate;
use crate::base::duration;
use crate::base::ids::Cid;
use crate::base::moment::Moment;
use crate::base::subject;
use crate::codec::date::Date;
use crate::codec::info::is_default;
use crate::codec::json::{JsonError, Reader};
use crate::conn::{Conn, Encryption};
use crate::monitor::json::Uptime;
use crate::monitor::params::{Params, Subs, overlay_above_zero};
use crate::monitor::subsz::{self, DetailList, Known, SubjectList};
use crate::monitor::{LIMIT_DEFAULT, QueryError, View, page_range};
use crate::registry::Closed;
use crate::sublist::Entry;

/// The parameters of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Order of the list, as a word.
    pub sort: String,
    /// Shows the users of the connections.
    pub auth: bool,
    /// Shows their subscriptions.
    pub subs: Subs,
    /// Connections to skip; none means 0.
    pub offset: Option<usize>,
    /// Connections to show; none means [`LIMIT_DEFAULT`].
    pub limit: Option<usize>,
    /// Only this connection.
    pub cid: Option<Cid>,
    /// Open ones, closed ones, or both.
    pub state: ConnState,
    /// Only those of this user, unless empty.
    pub user: String,
    /// Only those of this account, unless empty.
    pub account: String,
    /// Of the open ones only those with subscriptions that have subjects in common with this one,
    /// unless empty.
    pub filter_subject: String,
    /// Only those of an MQTT client, unless empty; so none at all.
    pub mqtt_client: String,
}

/// Order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Cid,
    Start,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Rtt,
    Stop,
    Reason,
}

/// The connections to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnState {
    #[default]
    Open,
    Closed,
    Any,
    /// A number that means none of these.
    Neither,
}

/// The document.
#[derive(Serialize)]
pub struct Connz<'a> {
    pub server_id: String,
    pub now: Date,
    pub num_connections: usize,
    pub total: usize,
    pub offset: usize,
    pub limit: usize,
    /// None for an account that does not exist.
    pub connections: Option<Connections<'a>>,
}

/// The connections on the page.
pub struct Connections<'a> {
    view: &'a View<'a>,
    query: Query,
    listed: Vec<Listed>,
}

impl Serialize for Connections<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let records = self.listed.iter().map(|listed| listed.record(self.view, &self.query));
        serializer.collect_seq(records)
    }
}

/// One connection.
#[derive(Serialize)]
pub struct ConnInfo {
    pub cid: u64,
    pub kind: &'static str,
    #[serde(rename = "type")]
    pub client_type: &'static str,
    pub ip: String,
    pub port: u16,
    pub start: Date,
    pub last_activity: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    pub rtt: String,
    pub uptime: Uptime,
    pub idle: Uptime,
    /// nats-differs: 0 when closed; there, the bytes about to be written at the end.
    pub pending_bytes: usize,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub stalls: u64,
    pub subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cipher_suite: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_peer_certs: Vec<TlsPeerCert>,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_first: bool,
    /// nats-differs: the proven user; there, a user that CONNECT merely names may win.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized_user: Option<Box<str>>,
    /// None for the global one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions_list: Option<SubjectList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions_list_detail: Option<DetailList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_tag: Option<String>,
}

/// A certificate that a client has shown.
#[derive(Serialize)]
pub struct TlsPeerCert {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    pub spki_sha256: String,
    pub cert_sha256: String,
}

/// A connection that may be listed.
enum Listed {
    Open(Arc<Conn>),
    Closed(Arc<Closed>),
}

impl Query {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`QueryError`] for the first one that cannot be read.
    pub fn read(params: &Params) -> Result<Query, QueryError> {
        let auth = params.bool("auth")?;
        let subs = params.subs()?;
        let offset = params.above_zero("offset")?;
        let limit = params.above_zero("limit")?;
        let cid = params.uint64("cid")?;
        let state = ConnState::read(params.get("state"))?;
        Ok(Query {
            sort: params.get("sort").to_owned(),
            auth,
            subs,
            offset,
            limit,
            cid: (cid > 0).then_some(Cid(cid)),
            state,
            user: params.get("user").to_owned(),
            account: params.get("acc").to_owned(),
            filter_subject: String::new(),
            mqtt_client: params.get("mqtt_client").to_owned(),
        })
    }

    /// Takes the value of an option in a JSON body.
    ///
    /// # Errors
    /// [`JsonError`] if it is of another type.
    pub fn overlay(&mut self, option: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match option {
            "sort" => reader.overlay_string(&mut self.sort, "server.SortOpt"),
            "auth" => reader.overlay_bool(&mut self.auth),
            "subscriptions" => self.subs.overlay(Subs::Subjects, reader),
            "subscriptions_detail" => self.subs.overlay(Subs::Detail, reader),
            "offset" => overlay_above_zero(&mut self.offset, reader),
            "limit" => overlay_above_zero(&mut self.limit, reader),
            "cid" => {
                let mut cid = 0;
                reader.overlay_number(&mut cid, "uint64")?;
                self.cid = (cid > 0).then_some(Cid(cid));
                Ok(())
            }
            "mqtt_client" => reader.overlay_string(&mut self.mqtt_client, "string"),
            "state" => {
                let mut number = 0;
                reader.overlay_number(&mut number, "server.ConnState")?;
                self.state = ConnState::of_number(number);
                Ok(())
            }
            "user" => reader.overlay_string(&mut self.user, "string"),
            "acc" => reader.overlay_string(&mut self.account, "string"),
            "filter_subject" => reader.overlay_string(&mut self.filter_subject, "string"),
            _ => reader.skip(),
        }
    }
}

impl Sort {
    fn read(word: &str) -> Result<Sort, QueryError> {
        Ok(match word {
            "" | "cid" => Sort::Cid,
            "start" => Sort::Start,
            "subs" => Sort::Subs,
            "pending" => Sort::Pending,
            "msgs_to" => Sort::MsgsTo,
            "msgs_from" => Sort::MsgsFrom,
            "bytes_to" => Sort::BytesTo,
            "bytes_from" => Sort::BytesFrom,
            "last" => Sort::Last,
            "idle" => Sort::Idle,
            "uptime" => Sort::Uptime,
            "rtt" => Sort::Rtt,
            "stop" => Sort::Stop,
            "reason" => Sort::Reason,
            _ => return Err(QueryError(format!("invalid sorting option: {word}"))),
        })
    }
}

impl ConnState {
    fn read(word: &str) -> Result<ConnState, QueryError> {
        Ok(match word.to_lowercase().as_str() {
            "" | "open" => ConnState::Open,
            "closed" => ConnState::Closed,
            "any" | "all" => ConnState::Any,
            _ => return Err(QueryError(format!("Error decoding state for {word}"))),
        })
    }

    fn of_number(number: i64) -> ConnState {
        match number {
            0 => ConnState::Open,
            1 => ConnState::Closed,
            2 => ConnState::Any,
            _ => ConnState::Neither,
        }
    }

    fn shows_open(self) -> bool {
        matches!(self, ConnState::Open | ConnState::Any)
    }

    fn shows_closed(self) -> bool {
        matches!(self, ConnState::Closed | ConnState::Any)
    }
}

/// Makes the document, and asks for a PING of each listed client without a known round trip time.
///
/// # Errors
/// [`QueryError`] for an order that does not exist, or that the listed connections do not have.
pub fn connz<'a>(view: &'a View<'a>, query: Query) -> Result<Connz<'a>, QueryError> {
    let sort = Sort::read(&query.sort)?;
    if query.state != ConnState::Closed {
        let word = match sort {
            Sort::Stop => Some("stop"),
            Sort::Reason => Some("reason"),
            _ => None,
        };
        if let Some(word) = word {
            return Err(QueryError(format!("sort by {word} only valid on closed connections")));
        }
    }
    let filter_subject = query.filter_subject.as_bytes();
    let filtered = !matches!(filter_subject, b"" | b">");
    if filtered && query.account.is_empty() {
        let text = "filter by subject only valid with account filtering";
        return Err(QueryError(text.to_owned()));
    }
    let limit = if query.cid.is_some() { 1 } else { query.limit.unwrap_or(LIMIT_DEFAULT) };
    let mut connz = Connz {
        server_id: String::new(),
        now: view.date(view.now),
        num_connections: 0,
        total: 0,
        offset: query.offset.unwrap_or(0),
        limit,
        connections: None,
    };
    let account = query.account.as_str();
    if !account.is_empty() && view.settings.accounts.find(account.as_bytes()).is_none() {
        return Ok(connz);
    }
    connz.server_id = view.server_id().to_owned();
    let mut listed = candidates(view, query.state);
    if !account.is_empty() {
        listed.retain(|listed| listed.conn().about().account() == account);
    }
    connz.total = listed.len();
    if let Some(cid) = query.cid {
        listed.retain(|listed| listed.conn().cid == cid);
    } else if !query.mqtt_client.is_empty() {
        listed.clear();
    } else if !query.user.is_empty() {
        listed.retain(|listed| listed.conn().about().user.as_deref() == Some(&query.user));
    }
    if filtered {
        listed.retain(|listed| match listed {
            Listed::Open(conn) => has_overlapping(conn, filter_subject),
            Listed::Closed(_) => true,
        });
    }
    sort_by(&mut listed, sort, view.now);
    let range = page_range(connz.offset, limit, listed.len());
    listed.truncate(range.end);
    listed.drain(..range.start);
    connz.num_connections = listed.len();
    connz.connections = Some(Connections { view, query, listed });
    Ok(connz)
}

/// The connections of clients in that state.
fn candidates(view: &View<'_>, state: ConnState) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::new();
    if state.shows_open() {
        listed.extend(view.registry.clients().into_iter().map(Listed::Open));
    }
    if state.shows_closed() {
        listed.extend(view.registry.closed().into_iter().map(Listed::Closed));
    }
    listed.retain(|listed| listed.conn().kind.is_client());
    listed
}

/// True if a subscription of the connection has subjects in common with this one.
fn has_overlapping(conn: &Conn, filter_subject: &[u8]) -> bool {
    conn.list_subscriptions().any(|one| subject::overlaps(one.subject(), filter_subject))
}

/// Sorts; equal ones by their cid.
fn sort_by(listed: &mut [Listed], sort: Sort, now: Moment) {
    listed.sort_unstable_by_key(|listed| listed.conn().cid);
    match sort {
        Sort::Cid | Sort::Start => {}
        Sort::Reason => listed.sort_by_key(Listed::reason),
        Sort::Uptime => listed.sort_by_cached_key(|listed| listed.until(now) - listed.conn().start),
        _ => listed.sort_by_cached_key(|listed| Reverse(listed.sort_number(sort))),
    }
}

impl Listed {
    fn conn(&self) -> &Arc<Conn> {
        match self {
            Listed::Open(conn) => conn,
            Listed::Closed(closed) => &closed.conn,
        }
    }

    /// The time of its end, or now.
    fn until(&self, now: Moment) -> Moment {
        match self {
            Listed::Open(_) => now,
            Listed::Closed(closed) => closed.stop,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Listed::Open(_) => None,
            Listed::Closed(closed) => Some(closed.reason.as_str()),
        }
    }

    fn subscription_count(&self) -> usize {
        match self {
            Listed::Open(conn) => conn.subscriptions().len(),
            Listed::Closed(closed) => closed.subscription_count,
        }
    }

    /// The number to sort by, highest first.
    fn sort_number(&self, sort: Sort) -> u64 {
        let conn = self.conn();
        match sort {
            Sort::Subs => self.subscription_count() as u64,
            Sort::Pending => conn.received().pending_bytes as u64,
            Sort::MsgsTo => conn.received().out_msgs,
            Sort::MsgsFrom => conn.in_msgs.load(),
            Sort::BytesTo => conn.received().out_bytes,
            Sort::BytesFrom => conn.in_bytes.load(),
            Sort::Last => conn.last_activity().0,
            Sort::Idle => u64::MAX - conn.last_activity().0,
            Sort::Rtt => conn.rtt(),
            Sort::Stop => self.until(Moment::NEVER).0,
            Sort::Cid | Sort::Start | Sort::Uptime | Sort::Reason => 0,
        }
    }

    fn record(&self, view: &View<'_>, query: &Query) -> ConnInfo {
        let conn = self.conn();
        let about = conn.about();
        let received = conn.received();
        let encryption = conn.encryption();
        let until = self.until(view.now);
        let is_open = matches!(self, Listed::Open(_));
        // Of closed ones, only configured accounts are shown.
        let tagged = query.auth && (is_open || about.account.is_some());
        if is_open && about.lang.is_some() {
            conn.want_rtt();
        }
        let (subscriptions_list, subscriptions_list_detail) =
            subsz::lists(query.subs, || self.subscriptions());
        ConnInfo {
            cid: conn.cid.0,
            kind: "Client",
            client_type: if conn.is_websocket() { "websocket" } else { "nats" },
            ip: conn.remote().map_or_else(String::new, |remote| remote.ip().to_string()),
            port: conn.remote().map_or(0, |remote| remote.port()),
            start: view.date(conn.start),
            last_activity: view.date(conn.last_activity()),
            stop: (!is_open).then(|| view.date(until)),
            reason: self.reason(),
            rtt: rtt(conn.rtt()),
            uptime: Uptime(until - conn.start),
            idle: Uptime(until - conn.last_activity()),
            pending_bytes: received.pending_bytes,
            in_msgs: conn.in_msgs.load(),
            out_msgs: received.out_msgs,
            in_bytes: conn.in_bytes.load(),
            out_bytes: received.out_bytes,
            stalls: received.stalls,
            subscriptions: self.subscription_count(),
            name_tag: tagged.then(|| about.account().to_owned()),
            name: about.name,
            lang: about.lang,
            version: about.version,
            tls_version: encryption.map(Encryption::version),
            tls_cipher_suite: encryption.map(Encryption::suite),
            tls_peer_certs: if query.auth { peer_certs(conn) } else { Vec::new() },
            tls_first: encryption.is_some_and(|encryption| encryption.first),
            authorized_user: about.user.filter(|_| query.auth),
            account: about.account.filter(|_| query.auth),
            subscriptions_list,
            subscriptions_list_detail,
        }
    }

    fn subscriptions(&self) -> Known {
        match self {
            Listed::Open(conn) => Known::Open(Arc::clone(conn)),
            Listed::Closed(closed) => Known::Closed(Arc::clone(closed)),
        }
    }
}

/// The certificates that a client has shown, its own first.
///
/// nats: server/monitor.go `makePeerCerts`
fn peer_certs(conn: &Conn) -> Vec<TlsPeerCert> {
    let shown = conn.certificates().into_iter().filter_map(|der| {
        let certificate = Certificate::read(&der)?;
        Some(TlsPeerCert {
            subject: certificate.subject(),
            spki_sha256: HEXLOWER.encode(&certificate.public_key_hash()),
            cert_sha256: HEXLOWER.encode(&Sha256::digest(&der)),
        })
    });
    shown.collect()
}

/// A round trip time; below a millisecond in whole microseconds.
///
/// nats: server/client.go `getRTT`
pub(super) fn rtt(nanos: u64) -> String {
    let shown = if (1000..1_000_000).contains(&nanos) { nanos / 1000 * 1000 } else { nanos };
    duration::Display(Duration::from_nanos(shown)).to_string()
}
