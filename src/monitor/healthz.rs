//! `/healthz`: shows whether the server accepts clients.
//!
//! Options about JetStream change nothing, but for those that contradict each other.
//! nats: server/monitor.go `HandleHealthz`, `healthz`

use serde::Serialize;

use crate::codec::info::is_default;
use crate::codec::json::{JsonError, Reader};
use crate::monitor::params::Params;
use crate::monitor::{BAD_REQUEST, OK, QueryError, View};

const UNHEALTHY: u16 = 500;

const FLAGS: [&str; 4] = ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"];

/// The options of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Names of a stream, and of its account.
    pub account: String,
    pub stream: String,
    /// Name of a consumer of that stream.
    pub consumer: String,
    /// Lists all faults.
    pub details: bool,
}

/// The document.
#[derive(Debug, Serialize)]
pub struct HealthStatus {
    pub status: &'static str,
    /// 0 where the answer has it already.
    #[serde(skip_serializing_if = "is_default")]
    pub status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<HealthError>,
}

/// One of the faults.
#[derive(Debug, Serialize)]
pub struct HealthError {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub error: &'static str,
}

impl Query {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`QueryError`] for a parameter that is no flag.
    pub fn read(params: &Params) -> Result<Query, QueryError> {
        for flag in FLAGS {
            params.bool(flag)?;
        }
        Ok(Query {
            account: params.get("account").to_owned(),
            stream: params.get("stream").to_owned(),
            consumer: params.get("consumer").to_owned(),
            details: params.bool("details")?,
        })
    }

    /// Takes the value of an option in a JSON body.
    ///
    /// # Errors
    /// [`JsonError`] if it is of another type.
    pub fn overlay(&mut self, option: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match option {
            flag if FLAGS.contains(&flag) => reader.overlay_bool(&mut false),
            "account" => reader.overlay_string(&mut self.account, "string"),
            "stream" => reader.overlay_string(&mut self.stream, "string"),
            "consumer" => reader.overlay_string(&mut self.consumer, "string"),
            "details" => reader.overlay_bool(&mut self.details),
            _ => reader.skip(),
        }
    }
}

/// Reports good health, lame duck mode, or a contradiction in the request.
pub fn healthz(view: &View<'_>, query: &Query) -> HealthStatus {
    let fault = if query.account.is_empty() && !query.stream.is_empty() {
        let error = "\"account\" must not be empty when checking stream health";
        Some((BAD_REQUEST, "BAD_REQUEST", error))
    } else if query.stream.is_empty() && !query.consumer.is_empty() {
        let error = "\"stream\" must not be empty when checking consumer health";
        Some((BAD_REQUEST, "BAD_REQUEST", error))
    } else if view.registry.info().ldm {
        let error = "failed to be ready for connections after 1ms: server";
        Some((UNHEALTHY, "CONNECTION", error))
    } else {
        None
    };
    let Some((status_code, kind, error)) = fault else {
        return HealthStatus { status: "ok", status_code: OK, error: None, errors: Vec::new() };
    };
    HealthStatus {
        status: "error",
        status_code,
        error: (!query.details).then_some(error),
        errors: if query.details { vec![HealthError { kind, error }] } else { Vec::new() },
    }
}
