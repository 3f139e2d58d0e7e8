//! The monitoring pages: from the registry to JSON text, with the real server's keys and types.
//!
//! Pure: what the machine knows better (the time, the process) comes in with a [`View`]. The pages
//! of absent features (gateways, leaf nodes, JetStream) keep their empty form, since tools ask for
//! them. Not here: `/stacksz` and `/debug/vars`, which show the insides of Go's runtime.
//! nats: server/monitor.go, server/server.go `startMonitoring`

pub mod accountz;
pub mod connz;
pub mod healthz;
pub mod json;
pub mod params;
pub mod routez;
pub mod subsz;
#[cfg(test)]
mod tests;
pub mod unused;
pub mod varz;

use std::time::SystemTime;

use serde::Serialize;

use crate::moment::Moment;
use crate::monitor::json::Date;
use crate::monitor::params::Params;
use crate::registry::Registry;
use crate::route::mesh::Mesh;

/// Entries of a list that one answer shows unless `limit` says otherwise.
const LIMIT_DEFAULT: usize = 1024;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const OK: u16 = 200;
const BAD_REQUEST: u16 = 400;
const NOT_FOUND: u16 = 404;

/// What an answer is made from.
pub struct View<'a> {
    /// What the server shares.
    pub registry: &'a Registry,
    /// The cluster; none for a server alone.
    pub mesh: Option<&'a Mesh>,
    /// The time of the answer.
    pub now: Moment,
    /// The date of [`Moment::START`].
    pub start: SystemTime,
    /// Port that the monitoring endpoint got.
    pub http_port: u16,
    /// What the process uses.
    pub process: Process,
}

/// What the process uses of the machine.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its header of that name.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// A request that cannot be answered: the text that goes out with status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// The pages by path, with what the root page calls them.
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

impl View<'_> {
    /// Answers a request for `path`, which is that of the URL, and `query`, what follows its `?`.
    pub fn answer(&self, path: &str, query: &str) -> Answer {
        let Some(page) = self.page(path) else {
            return Answer::text(NOT_FOUND, "404 page not found\n");
        };
        self.registry.count_http_request(page);
        let params = Params::read(query);
        self.page_answer(page, &params)
            .unwrap_or_else(|Refused(text)| Answer::text(BAD_REQUEST, text))
    }

    /// The page behind a path below `http_base_path`.
    fn page(&self, path: &str) -> Option<&'static str> {
        let base = self.base_path();
        match path.strip_prefix(base)? {
            "" => Some("/"),
            "/" => base.is_empty().then_some("/"),
            "/subscriptionsz" => Some("/subsz"),
            path => PAGES.iter().map(|(page, _)| *page).find(|page| *page == path),
        }
    }

    fn page_answer(&self, page: &str, params: &Params) -> Result<Answer, Refused> {
        Ok(match page {
            "/varz" => Answer::json(&varz::varz(self)),
            "/connz" => Answer::json(&connz::connz(self, &connz::Query::read(params)?)?),
            "/subsz" => Answer::json(&subsz::subsz(self, &subsz::Query::read(params)?)?),
            "/accountz" => Answer::json(&accountz::accountz(self, params.get("acc"))?),
            "/accstatz" => Answer::json(&accountz::accstatz(self, params.bool("unused")?)),
            "/routez" => Answer::json(&routez::routez(self, params.subs()?)),
            "/healthz" => healthz::healthz(self, params)?,
            "/gatewayz" => {
                params.bool("accs")?;
                Answer::json(&unused::gatewayz(self))
            }
            "/leafz" => {
                params.bool("subs")?;
                Answer::json(&unused::leafz(self))
            }
            "/jsz" => Answer::json(&unused::jsz(self, params)?),
            "/raftz" => Answer::text(NOT_FOUND, "No Raft nodes registered"),
            "/ipqueuesz" => Answer { status: OK, content_type: JSON, body: "{}".to_owned() },
            _ => Answer { status: OK, content_type: HTML, body: self.root() },
        })
    }

    /// Begins with a slash, or is empty.
    fn base_path(&self) -> &str {
        self.registry.options.http_base_path.trim_end_matches('/')
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

    fn date(&self, moment: Moment) -> Date {
        Date(self.start + moment.since(Moment::START))
    }
}

impl Answer {
    fn json(value: &impl Serialize) -> Answer {
        Answer { status: OK, content_type: JSON, body: json::pretty(value) }
    }

    fn text(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, content_type: TEXT, body: body.into() }
    }

    /// Scripts of any web page may read it.
    pub fn is_json(&self) -> bool {
        self.content_type == JSON
    }
}

/// The part of a list of `len` that `offset` and `limit` leave.
fn page_range(offset: usize, limit: usize, len: usize) -> std::ops::Range<usize> {
    let start = offset.min(len);
    start..start + limit.min(len - start)
}
