//! Exports, imports and open requests in `/accountz?acc=`.
//!
//! nats: server/monitor.go `ExtExport`, `ExtImport`, `newExtImport`

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::Account;
use crate::account::responses::Response;
use crate::codec::info::is_default;
use crate::codec::service_latency::HeaderMap;
use crate::config::imports::{AccountImports, ServiceImport, StreamImport};
use crate::config::options::{AccountOptions, ExportKind, Importers, Latency, Sampling};
use crate::config::options::{Export, ResponseType};
use crate::monitor::LIMIT_DEFAULT;
use crate::monitor::subsz::text;

/// An export.
#[derive(Debug, Serialize)]
pub struct ExportDetail {
    pub subject: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    pub response_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_latency: Option<LatencyDetail>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved_accounts: Vec<String>,
}

/// An import.
#[derive(Debug, Serialize)]
pub struct ImportDetail {
    pub subject: String,
    pub account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    pub local_subject: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub invalid: bool,
    pub share: bool,
    pub tracking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyDetail>,
}

/// A request of another account that may be answered, as an import of the answer.
#[derive(Debug, Serialize)]
pub struct RequestDetail {
    pub subject: String,
    pub account: String,
    pub to: String,
    pub local_subject: String,
    /// The number of a service, where imports have the word.
    #[serde(rename = "type")]
    pub kind: u8,
    pub invalid: bool,
    pub share: bool,
    pub tracking: bool,
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub tracking_header: HeaderMap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyDetail>,
}

/// Measurements of a service.
#[derive(Debug, Serialize)]
pub struct LatencyDetail {
    pub sampling: SamplingDetail,
    pub results: String,
}

/// A number of a hundred, or a word.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum SamplingDetail {
    Percent(u8),
    Word(&'static str),
}

/// The exports of an account, in the order of the configuration.
pub(super) fn exports(account: &AccountOptions) -> Vec<ExportDetail> {
    account.exports.iter().map(ExportDetail::new).collect()
}

/// The imports of an account.
pub(super) fn imports(imports: &AccountImports) -> Vec<ImportDetail> {
    let streams = imports.streams.iter().map(|import| ImportDetail::stream(import));
    let services = imports.services.iter().map(|import| ImportDetail::service(import));
    streams.chain(services).collect()
}

/// Requests to the services of an account, by the subjects of their answers; as many as a list
/// shows.
///
/// nats-differs: there, it shows all.
pub(super) fn responses(account: &Account) -> BTreeMap<String, RequestDetail> {
    let responses = account.responses(LIMIT_DEFAULT).into_iter();
    let detail = |(subject, response): (Vec<u8>, Response)| {
        let subject = text(&subject);
        let detail = RequestDetail::new(&subject, response);
        (subject, detail)
    };
    responses.map(detail).collect()
}

impl ExportDetail {
    fn new(export: &Export) -> ExportDetail {
        let approved_accounts = match &export.importers {
            Importers::Listed(names) => names.clone(),
            Importers::All | Importers::Named(_) => Vec::new(),
        };
        let (kind, service) = match &export.kind {
            ExportKind::Stream => ("stream", None),
            ExportKind::Service(service) => ("service", Some(service)),
        };
        ExportDetail {
            subject: export.subject.clone(),
            kind,
            response_type: match service.map(|service| service.response) {
                None => "",
                Some(ResponseType::Singleton) => "Singleton",
                Some(ResponseType::Stream) => "Streamed",
                Some(ResponseType::Chunked) => "Chunked",
            },
            service_latency: service
                .and_then(|service| service.latency.as_ref())
                .map(LatencyDetail::new),
            approved_accounts,
        }
    }
}

impl ImportDetail {
    fn stream(import: &StreamImport) -> ImportDetail {
        ImportDetail {
            subject: text(import.subjects.remote()),
            account: import.exporter.to_string(),
            to: String::new(),
            local_subject: text(import.subjects.local()),
            kind: "stream",
            invalid: false,
            share: false,
            tracking: false,
            latency: None,
        }
    }

    fn service(import: &ServiceImport) -> ImportDetail {
        ImportDetail {
            subject: text(import.subjects.remote()),
            account: import.exporter.to_string(),
            to: text(import.subjects.local()),
            local_subject: text(import.subjects.local()),
            kind: "service",
            invalid: false,
            share: import.share,
            tracking: false,
            latency: import.export.latency.as_ref().map(LatencyDetail::new),
        }
    }
}

impl RequestDetail {
    fn new(answered_on: &str, response: Response) -> RequestDetail {
        let Response { importer, reply, export, sample, .. } = response;
        let latency = export.latency.as_ref().filter(|_| sample.is_some());
        RequestDetail {
            subject: text(&reply),
            account: importer.name.to_string(),
            to: answered_on.to_owned(),
            local_subject: answered_on.to_owned(),
            kind: 2,
            invalid: false,
            share: false,
            tracking: sample.is_some(),
            latency: latency.map(LatencyDetail::new),
            tracking_header: sample.map(|sample| sample.header).unwrap_or_default(),
        }
    }
}

impl LatencyDetail {
    fn new(latency: &Latency) -> LatencyDetail {
        LatencyDetail {
            sampling: match latency.sampling {
                Sampling::Percent(percent) => SamplingDetail::Percent(percent),
                Sampling::Headers => SamplingDetail::Word("headers"),
            },
            results: latency.subject.clone(),
        }
    }
}
