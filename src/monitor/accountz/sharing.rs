//! Exports and imports in `/accountz?acc=`.
//!
//! nats: server/monitor.go `ExtExport`, `ExtImport`, `newExtImport`

use serde::Serialize;

use crate::codec::info::is_default;
use crate::config::imports::{AccountImports, ServiceImport, StreamImport};
use crate::config::options::{AccountOptions, ExportKind, Importers, Latency, Sampling};
use crate::config::options::{Export, ResponseType};
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
