//! The list `exports` of an account.
//!
//! nats: server/opts.go `parseExportStreamOrService`, `parseServiceLatency`

use std::time::Duration;

use super::item_list::{self, Item, Of};
use super::unknown_field;
use crate::base::{duration, limits};
use crate::config::conf::value::{Field, Node, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::{
    Export, ExportKind, Importers, Latency, ResponseType, Sampling, ServiceOptions,
};

/// Reads the list. Faults inside go to `problems`.
///
/// # Errors
/// The value is no list.
pub(super) fn exports(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Export>, Problem> {
    item_list::read::<Settings<'_>>(field, problems)
}

/// The settings of one export.
#[derive(Default)]
struct Settings<'a> {
    /// The subject, and what it is of.
    subject: Option<(&'a str, Of)>,
    accounts: Vec<String>,
    token_position: usize,
    response: Option<ResponseType>,
    threshold: Option<Duration>,
    latency: Option<Latency>,
    allow_trace: bool,
    /// Settings that only a service has.
    of_service: Vec<(Field<'a>, &'static str)>,
}

impl<'a> Item<'a> for Settings<'a> {
    type Made = Export;

    const NAME: &'static str = "Export";

    fn setting(&mut self, field: Field<'a>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        match &*field.key() {
            "stream" => self.set_subject(field, Of::Stream)?,
            "service" => self.set_subject(field, Of::Service)?,
            "response" | "response_type" => {
                self.of_service.push((field, "response"));
                if self.response.is_some() {
                    return Err(field.error("Duplicate response type definition"));
                }
                self.response = Some(response_type(field)?);
            }
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                self.of_service.push((field, "response"));
                if self.threshold.is_some() {
                    return Err(field.error("Duplicate response threshold detected"));
                }
                self.threshold = Some(threshold(field)?);
            }
            "accounts" => self.accounts = accounts(field)?,
            "account_token_position" => self.token_position = field.count()?,
            "latency" => {
                self.of_service.push((field, "latency"));
                self.latency = Some(latency(field, problems)?);
            }
            "allow_trace" => {
                self.of_service.push((field, "allow_trace"));
                self.allow_trace = field.bool()?;
            }
            _ => unknown_field(field, problems),
        }
        Ok(())
    }

    fn make(
        self,
        node: &Node<'_>,
        _others: &[Export],
        _problems: &mut Vec<Problem>,
    ) -> Result<Export, Problem> {
        let Some((subject, of)) = self.subject else {
            return Err(node.error("an export needs a stream or a service"));
        };
        let kind = match of {
            Of::Stream => ExportKind::Stream,
            Of::Service => {
                let mut service = ServiceOptions::default();
                service.response = self.response.unwrap_or_default();
                service.threshold = self.threshold.unwrap_or(service.threshold);
                service.latency = self.latency;
                service.allow_trace = self.allow_trace;
                ExportKind::Service(service)
            }
        };
        if of == Of::Stream
            && let Some((field, setting)) = self.of_service.first()
        {
            return Err(field.error(format!("Detected {setting} directive on non-service")));
        }
        let mut export = Export::new(subject, kind);
        if self.token_position > 0 {
            export.importers = Importers::Named(self.token_position);
        } else if !self.accounts.is_empty() {
            export.importers = Importers::Listed(self.accounts);
        }
        Ok(export)
    }
}

impl<'a> Settings<'a> {
    fn set_subject(&mut self, field: Field<'a>, of: Of) -> Result<(), Problem> {
        let (name, other) = match of {
            Of::Stream => ("stream", "service"),
            Of::Service => ("service", "stream"),
        };
        let Value::Text(subject) = &field.node.value else {
            let kind = field.node.value.kind();
            return Err(field.error(format!("Expected {name} name to be string, got {kind}")));
        };
        if self.subject.is_some_and(|(_, known)| known != of) {
            let text = format!("Detected {name} {subject:?} but already saw a {other}");
            return Err(field.error(text));
        }
        self.subject = Some((subject, of));
        Ok(())
    }
}

fn response_type(field: Field<'_>) -> Result<ResponseType, Problem> {
    let Value::Text(text) = &field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("Expected response type to be string, got {kind}")));
    };
    match text.to_ascii_lowercase().as_str() {
        "single" | "singleton" => Ok(ResponseType::Singleton),
        "stream" => Ok(ResponseType::Stream),
        "chunk" | "chunked" => Ok(ResponseType::Chunked),
        _ => Err(field.error(format!("Unknown response type: {text:?}"))),
    }
}

/// nats-differs: there, a negative threshold is accepted.
fn threshold(field: Field<'_>) -> Result<Duration, Problem> {
    let wrong = |got: String| {
        let text = "Expected response threshold to be a parseable time duration";
        field.error(format!("{text}, got {got}"))
    };
    let Value::Text(text) = &field.node.value else {
        return Err(wrong(field.node.value.kind().to_owned()));
    };
    match duration::parse_ns(text).map(u64::try_from) {
        Ok(Ok(0)) => Ok(limits::RESPONSE_THRESHOLD_DEFAULT),
        Ok(Ok(ns)) => Ok(Duration::from_nanos(ns)),
        _ => Err(wrong(format!("{text:?}"))),
    }
}

fn accounts(field: Field<'_>) -> Result<Vec<String>, Problem> {
    let name = |node| Ok(Field { node, ..field }.text()?.to_owned());
    field.array()?.iter().map(name).collect()
}

/// A subject, or a map with it.
fn latency(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Latency, Problem> {
    let map = match field.node.value {
        Value::Text(subject) => return Ok(Latency::new(subject, Sampling::Percent(100))),
        Value::Map(map) => map,
        value => {
            let text = "Expected latency entry to be a map/struct or string";
            return Err(field.error(format!("{text}, got {}", value.kind())));
        }
    };
    let (mut subject, mut sampling) = (None, Sampling::Percent(100));
    for entry in map.fields() {
        match entry.name {
            "sampling" => sampling = read_sampling(entry)?,
            "subject" => match entry.node.value {
                Value::Text(text) => subject = Some(text),
                value => {
                    let text = "Expected latency subject to be a string";
                    return Err(entry.error(format!("{text}, got {}", value.kind())));
                }
            },
            name => {
                let text = format!("{name} of latency has no effect");
                problems.push(entry.node.problem(Severity::Notice, text));
            }
        }
    }
    let subject = subject.ok_or_else(|| field.error("Latency subject required, but missing"))?;
    Ok(Latency::new(subject, sampling))
}

fn read_sampling(field: Field<'_>) -> Result<Sampling, Problem> {
    let percent = match &field.node.value {
        Value::Integer(percent) => *percent,
        Value::Text(text) if text.trim().eq_ignore_ascii_case("headers") => {
            return Ok(Sampling::Headers);
        }
        Value::Text(text) => {
            let number = text.strip_suffix('%').unwrap_or(text);
            number.parse().map_err(|_| {
                let why = format!("strconv.Atoi: parsing {number:?}: invalid syntax");
                field.error(format!("Failed to parse latency sample: {why}"))
            })?
        }
        value => {
            let text = "Expected latency sample to be a string or map/struct";
            return Err(field.error(format!("{text}, got {}", value.kind())));
        }
    };
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => Ok(Sampling::Percent(percent)),
        _ => Err(field.error("bad sampling percentage, should be 1-100")),
    }
}
