//! The monitoring pages: from the registry to JSON text, with the real server's keys and types.
//!
//! Pure: the time and facts about the process come in with a [`View`]. The pages of absent features
//! (gateways, leaf nodes, JetStream) keep their empty form, since tools ask for them. Not here:
//! `/stacksz` and `/debug/vars`, which show the internals of Go's runtime.
//! nats: server/monitor.go, server/server.go `startMonitoring`

pub mod accountz;
pub mod connz;
pub mod healthz;
pub mod json;
pub mod params;
pub mod paths;
pub mod query;
pub mod routez;
pub mod statsz;
pub mod subsz;
#[cfg(test)]
mod tests;
pub mod unused;
pub mod varz;

use std::fmt;
use std::time::SystemTime;

use crate::account::Account;
use crate::base::moment::Moment;
use crate::codec::date::Date;
use crate::codec::http_head::{AnswerHead, Method, RequestHead};
use crate::monitor::json::Document;
use crate::monitor::params::Params;
use crate::monitor::query::Query;
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::route::mesh::Mesh;
use crate::sublist::SublistStats;

/// Entries of a list that one answer shows unless `limit` says otherwise.
const LIMIT_DEFAULT: usize = 1024;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const OK: u16 = 200;
const TEMPORARY_REDIRECT: u16 = 307;
const BAD_REQUEST: u16 = 400;
const NOT_FOUND: u16 = 404;

/// The sources of an answer.
pub struct View<'a> {
    /// The state shared by the whole server.
    pub registry: &'a Registry,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The cluster; none for a server alone.
    pub mesh: Option<&'a Mesh>,
    /// The time of the answer.
    pub now: Moment,
    /// The date of [`Moment::START`].
    pub start: SystemTime,
    /// The ends of the lives of certificates.
    pub cert_ends: CertEnds,
    /// Port of the monitoring endpoint.
    pub monitor_port: u16,
    /// Port for clients that come by WebSocket.
    pub websocket_port: u16,
    /// Measures the resources of the process.
    pub process: &'a dyn Fn() -> Process,
}

/// The ends of the lives of certificates, of the ports that have one.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertEnds {
    /// Of the port for clients.
    pub clients: Option<SystemTime>,
    /// Of the port for other servers.
    pub routes: Option<SystemTime>,
    /// Of the port for clients that come by WebSocket.
    pub websocket: Option<SystemTime>,
}

/// Resources of the machine in use by the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Resident memory, bytes.
    pub mem: u64,
    /// Percent of one core, lately.
    pub cpu: f64,
    /// Cores of the machine that it may use.
    pub cores: usize,
}

/// One HTTP answer.
pub struct Answer<'a> {
    /// The head.
    pub head: AnswerHead,
    /// The body.
    pub body: Body<'a>,
}

/// The body of an answer.
pub enum Body<'a> {
    /// Text to be sent as it is.
    Text(String),
    /// Values, which become text while they are written.
    Document(Box<dyn Document + 'a>),
}

/// A query that cannot be answered, as [`Server::connz`](crate::Server::connz) reports it: the text
/// that goes out with status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError(pub(crate) String);

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QueryError {}

/// The pages by path, with their names on the root page.
const PAGES: [(&str, &str); 13] = [
    ("/varz", "General"),
    ("/jsz", "JetStream"),
    ("/connz", "Connections"),
    ("/accountz", "Accounts"),
    ("/accstatz", "Account Stats"),
    ("/subsz", "Subscriptions"),
    ("/subscriptionsz", ""),
    ("/routez", "Routes"),
    ("/leafz", "LeafNodes"),
    ("/gatewayz", "Gateways"),
    ("/raftz", "Raft Groups"),
    ("/healthz", "Health Probe"),
    ("/ipqueuesz", ""),
];

/// One of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page(&'static str);

impl View<'_> {
    /// The page for a request, or the answer that there is none, or that it is elsewhere.
    ///
    /// # Errors
    /// That answer.
    pub fn page(&self, request: &RequestHead) -> Result<Page, Answer<'static>> {
        let path = &*request.path;
        if path == "*" {
            return Err(Answer::of(OK, None, String::new()));
        }
        let clean = paths::clean(path);
        if clean != path && request.method != Method::Connect {
            return Err(paths::redirect(request, &clean));
        }
        let base = self.base_path();
        let is_root = paths::is_at(path, if base.is_empty() { "/" } else { base });
        let page = if is_root {
            Some("/")
        } else {
            let mut pages = PAGES.iter().map(|(page, _)| *page);
            pages.find(|page| paths::is_at(path, &format!("{base}{page}")))
        };
        match page {
            Some("/subscriptionsz") => Ok(Page("/subsz")),
            Some(page) => Ok(Page(page)),
            None => Err(Answer::not_found()),
        }
    }

    /// Answers a request for a page with this query.
    pub fn answer(&self, Page(page): Page, query: &str) -> Answer<'_> {
        self.registry.count_http_request(page);
        let params = Params::read(query);
        self.page_answer(page, &params)
            .unwrap_or_else(|QueryError(text)| Answer::text(BAD_REQUEST, text))
    }

    fn page_answer(&self, page: &str, params: &Params) -> Result<Answer<'_>, QueryError> {
        Ok(match page {
            "/" => Answer::of(OK, Some(HTML), self.root()),
            "/healthz" => self.health(params)?,
            "/raftz" => Answer::text(NOT_FOUND, "No Raft nodes registered"),
            _ => {
                let document = Query::read(page, params)?.document(self)?;
                Answer { body: Body::Document(document), ..Answer::json(OK, "") }
            }
        })
    }

    /// The page `/healthz`: one line, whose status is that of the answer.
    fn health(&self, params: &Params) -> Result<Answer<'static>, QueryError> {
        let mut health = healthz::healthz(self, &healthz::Query::read(params)?);
        let status = std::mem::take(&mut health.status_code);
        let mut line = Vec::new();
        health.write_compact(&mut line).expect("memory takes it");
        Ok(Answer::json(status, String::from_utf8_lossy(&line)))
    }

    /// The configured prefix of all paths: begins with a slash, or is empty.
    fn base_path(&self) -> &str {
        self.settings.options.http_base_path.trim_end_matches('/')
    }

    /// Links to the pages.
    fn root(&self) -> String {
        let base = self.base_path();
        let links: String = PAGES
            .iter()
            .filter(|(_, name)| !name.is_empty())
            .map(|(path, name)| {
                format!("<li><a href=\"{base}{path}\">{name}</a> <code>{path}</code></li>\n")
            })
            .collect();
        let name = env!("CARGO_PKG_NAME");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>{name}</title></head>\n<body>\n\
             <h1>{name} {}</h1>\n<ul>\n{links}</ul>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        )
    }

    fn server_id(&self) -> &str {
        self.registry.server_id.as_str()
    }

    /// The name of the cluster; empty without one.
    pub fn cluster_name(&self) -> String {
        self.mesh.map(|mesh| mesh.cluster_name().0).unwrap_or_default()
    }

    /// The number of subscriptions in all accounts.
    fn subscription_count(&self) -> usize {
        let stats = self.settings.accounts.iter().map(|account| self.sublist_stats(account));
        stats.map(|stats| stats.num_subscriptions as usize).sum()
    }

    /// The counters of an account, whose imports of services count as subscriptions.
    fn sublist_stats(&self, account: &Account) -> SublistStats {
        let mut stats = account.with_sublist(|sublist| sublist.stats());
        let imported = self.settings.accounts.imports(account).services.len() as u64;
        stats.num_subscriptions += imported;
        stats.num_inserts += imported;
        stats
    }

    /// The date of the answer.
    pub fn wall(&self) -> SystemTime {
        self.date(self.now).0
    }

    fn date(&self, moment: Moment) -> Date {
        Date(self.start + moment.since(Moment::START))
    }
}

impl Page {
    /// True if it lists items of clients for this query, and so may be long.
    pub fn is_list(self, query: &str) -> bool {
        match self.0 {
            "/connz" => true,
            "/subsz" | "/routez" => !query.is_empty(),
            _ => false,
        }
    }
}

impl<'a> Answer<'a> {
    fn of(status: u16, content_type: Option<&'static str>, body: impl Into<String>) -> Answer<'a> {
        let headers = content_type.map(|content_type| ("Content-Type", content_type.into()));
        let head = AnswerHead { status, headers: headers.into_iter().collect() };
        Answer { head, body: Body::Text(body.into()) }
    }

    fn text(status: u16, body: impl Into<String>) -> Answer<'a> {
        Answer::of(status, Some(TEXT), body)
    }

    /// A JSON answer, which scripts of any web page may read.
    fn json(status: u16, body: impl Into<String>) -> Answer<'a> {
        let mut answer = Answer::of(status, Some(JSON), body);
        answer.head.headers.push(("Access-Control-Allow-Origin", "*".into()));
        answer
    }

    fn not_found() -> Answer<'a> {
        let mut answer = Answer::text(NOT_FOUND, "404 page not found\n");
        answer.head.headers.push(("X-Content-Type-Options", "nosniff".into()));
        answer
    }
}

impl Body<'_> {
    /// The whole text, made at once.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Body::Text(text) => text.into_bytes(),
            Body::Document(document) => {
                let mut bytes = Vec::new();
                document.write_json(&mut bytes).expect("memory takes it");
                bytes
            }
        }
    }
}

/// The part of a list of `len` that `offset` and `limit` select.
fn page_range(offset: usize, limit: usize, len: usize) -> std::ops::Range<usize> {
    let start = offset.min(len);
    start..start + limit.min(len - start)
}
