//! `Query`: a request for one of the documents, with its options from a URL or from a JSON body.
//!
//! nats: server/events.go `initEventTracking`; server/monitor.go `ConnzOptions` and its like

use crate::codec::json::{JsonError, Reader};
use crate::monitor::json::Document;
use crate::monitor::params::{Params, Subs};
use crate::monitor::{QueryError, View, accountz, connz, healthz, routez, subsz, unused, varz};

/// A request for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    Varz,
    Connz(connz::Query),
    Subsz(subsz::Query),
    /// With the name of one account, or empty.
    Accountz(String),
    /// One account, by its name.
    AccountInfo(String),
    Accstatz(accountz::StatzQuery),
    Routez(Subs),
    Healthz(healthz::Query),
    Gatewayz,
    Leafz,
    Jsz {
        /// Only the leader of JetStream answers.
        leader_only: bool,
    },
    /// JetStream of one account.
    AccountJsz,
    Raftz,
    Ipqueuesz,
    Expvarz,
    /// With the name of a profile.
    Profilez(String),
}

impl Query {
    /// Reads the parameters of a page.
    ///
    /// # Errors
    /// [`QueryError`] for the first one that cannot be read.
    pub fn read(page: &str, params: &Params) -> Result<Query, QueryError> {
        Ok(match page {
            "/connz" => Query::Connz(connz::Query::read(params)?),
            "/subsz" => Query::Subsz(subsz::Query::read(params)?),
            "/accountz" => Query::Accountz(params.get("acc").to_owned()),
            "/accstatz" => {
                let unused = params.bool("unused")?;
                Query::Accstatz(accountz::StatzQuery { unused, ..Default::default() })
            }
            "/routez" => Query::Routez(params.subs()?),
            "/gatewayz" => {
                params.bool("accs")?;
                Query::Gatewayz
            }
            "/leafz" => {
                params.bool("subs")?;
                Query::Leafz
            }
            "/jsz" => {
                unused::check_jsz(params)?;
                Query::Jsz { leader_only: false }
            }
            "/ipqueuesz" => Query::Ipqueuesz,
            _ => Query::Varz,
        })
    }

    /// The query of a service of that name, without options.
    pub fn of_service(name: &str) -> Option<Query> {
        Some(match name {
            "VARZ" => Query::Varz,
            "CONNZ" => Query::Connz(connz::Query::default()),
            "SUBSZ" => Query::Subsz(subsz::Query::default()),
            "ACCOUNTZ" => Query::Accountz(String::new()),
            "ROUTEZ" => Query::Routez(Subs::None),
            "HEALTHZ" => Query::Healthz(healthz::Query::default()),
            "GATEWAYZ" => Query::Gatewayz,
            "LEAFZ" => Query::Leafz,
            "JSZ" => Query::Jsz { leader_only: false },
            "RAFTZ" => Query::Raftz,
            "IPQUEUESZ" => Query::Ipqueuesz,
            "EXPVARZ" => Query::Expvarz,
            "PROFILEZ" => Query::Profilez(String::new()),
            _ => return None,
        })
    }

    /// The query of a service for accounts of that name, without options.
    pub fn of_account_service(name: &str) -> Option<Query> {
        Some(match name {
            "INFO" => Query::AccountInfo(String::new()),
            "STATZ" => Query::Accstatz(accountz::StatzQuery::default()),
            "JSZ" => Query::AccountJsz,
            "CONNZ" | "SUBSZ" | "LEAFZ" => return Query::of_service(name),
            _ => return None,
        })
    }

    /// Makes the document that of one account.
    pub fn limit_to(&mut self, account: &str) {
        match self {
            Query::Connz(query) => query.account = account.to_owned(),
            Query::Subsz(query) => {
                query.account = account.to_owned();
                query.subs = true;
            }
            Query::AccountInfo(name) => *name = account.to_owned(),
            Query::Accstatz(query) => query.accounts = vec![account.to_owned()],
            _ => {}
        }
    }

    /// The name of its options in the real server, without `EventOptions`.
    pub fn options_name(&self) -> &'static str {
        match self {
            Query::Varz => "Varz",
            Query::Connz(_) => "Connz",
            Query::Subsz(_) => "Subsz",
            Query::Accountz(_) => "Accountz",
            Query::AccountInfo(_) => "AccInfo",
            Query::Accstatz(_) => "AccountStatz",
            Query::Routez(_) => "Routez",
            Query::Healthz(_) => "Healthz",
            Query::Gatewayz => "Gatewayz",
            Query::Leafz => "Leafz",
            Query::Jsz { .. } | Query::AccountJsz => "Jsz",
            Query::Raftz => "Raftz",
            Query::Ipqueuesz => "Ipqueuesz",
            Query::Expvarz => "Expvarz",
            Query::Profilez(_) => "Profilez",
        }
    }

    /// Takes the value of an option in a JSON body.
    ///
    /// # Errors
    /// [`JsonError`] if it is of another type.
    pub fn overlay(&mut self, option: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match self {
            Query::Connz(query) => query.overlay(option, reader),
            Query::Subsz(query) => query.overlay(option, reader),
            Query::Accountz(name) if option == "account" => reader.overlay_string(name, "string"),
            Query::Accstatz(query) => query.overlay(option, reader),
            Query::Routez(subs) => match option {
                "subscriptions" => subs.overlay(Subs::Subjects, reader),
                "subscriptions_detail" => subs.overlay(Subs::Detail, reader),
                _ => reader.skip(),
            },
            Query::Healthz(query) => query.overlay(option, reader),
            Query::Gatewayz => unused::overlay(option, unused::GATEWAYZ, reader),
            Query::Leafz => unused::overlay(option, unused::LEAFZ, reader),
            Query::Jsz { leader_only } if option == "leader_only" => {
                reader.overlay_bool(leader_only)
            }
            Query::Jsz { .. } | Query::AccountJsz => unused::overlay(option, unused::JSZ, reader),
            Query::Raftz => unused::overlay(option, unused::RAFTZ, reader),
            Query::Ipqueuesz => unused::overlay(option, unused::IPQUEUESZ, reader),
            Query::Profilez(name) if option == "name" => reader.overlay_string(name, "string"),
            Query::Profilez(_) => unused::overlay(option, unused::PROFILEZ, reader),
            Query::Varz | Query::Accountz(_) | Query::AccountInfo(_) | Query::Expvarz => {
                reader.skip()
            }
        }
    }

    /// True if the document lists items, and so may be long.
    pub fn is_list(&self) -> bool {
        match self {
            Query::Connz(_) | Query::Subsz(_) | Query::AccountInfo(_) | Query::Accstatz(_) => true,
            Query::Accountz(_) => true,
            Query::Routez(subs) => *subs != Subs::None,
            _ => false,
        }
    }

    /// True if a service keeps silent in place of that document.
    pub fn is_silent(&self, view: &View<'_>) -> bool {
        match self {
            Query::Accstatz(query) => !query.unused && query.is_empty(view),
            Query::Jsz { leader_only } => *leader_only,
            _ => false,
        }
    }

    /// Makes the document.
    ///
    /// # Errors
    /// [`QueryError`] if there is none for these options.
    pub fn document<'a>(self, view: &'a View<'a>) -> Result<Box<dyn Document + 'a>, QueryError> {
        Ok(match self {
            Query::Varz => Box::new(varz::varz(view)),
            Query::Connz(query) => Box::new(connz::connz(view, query)?),
            Query::Subsz(query) => Box::new(subsz::subsz(view, &query)?),
            Query::Accountz(name) => Box::new(accountz::accountz(view, &name)?),
            Query::AccountInfo(name) => Box::new(accountz::account_info(view, &name)?),
            Query::Accstatz(query) => Box::new(accountz::accstatz(view, &query)),
            Query::Routez(subs) => Box::new(routez::routez(view, subs)),
            Query::Healthz(query) => Box::new(healthz::healthz(view, &query)),
            Query::Gatewayz => Box::new(unused::gatewayz(view)),
            Query::Leafz => Box::new(unused::leafz(view)),
            Query::Jsz { .. } => Box::new(unused::jsz(view)),
            Query::AccountJsz => return Err(QueryError("jetstream not enabled".to_owned())),
            Query::Raftz | Query::Ipqueuesz => Box::new(unused::Empty {}),
            Query::Expvarz => Box::new(unused::Expvarz::default()),
            Query::Profilez(name) => Box::new(unused::profilez(&name)),
        })
    }
}
