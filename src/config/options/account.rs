//! The accounts of the configuration: their limits, and the subjects that they share.

use std::time::Duration;

use crate::base::limits;
use crate::config::options::SubjectMapping;

/// An account besides `$G` and `$SYS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountOptions {
    /// Its name.
    pub name: String,
    /// Its limits, besides those of the server.
    pub limits: AccountLimits,
    /// Its mappings.
    pub mappings: Vec<SubjectMapping>,
    /// The subjects that other accounts may import.
    pub exports: Vec<Export>,
    /// The subjects of other accounts that it imports.
    pub imports: Vec<Import>,
    /// True if its clients reach the JetStream of other servers.
    pub jetstream: bool,
    /// Traces messages whose `traceparent` is sampled; none means that it traces none of them.
    pub msg_trace: Option<TraceDest>,
}

/// The destination for the traces of messages that only a `traceparent` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceDest {
    /// Subject for the traces, in the account of the messages.
    pub subject: String,
    /// So many of a hundred messages are traced.
    pub sampling: u8,
}

/// The limits of an account, besides those of the server; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountLimits {
    /// Clients of the account.
    pub max_connections: Option<usize>,
    /// Subscriptions of each of them.
    pub max_subscriptions: Option<usize>,
    /// Bytes of a message, headers included.
    pub max_payload: Option<usize>,
}

/// A subject that other accounts may import.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Export {
    /// The subject, perhaps with wildcards.
    pub subject: String,
    /// The accounts that may import it.
    pub importers: Importers,
    /// Its kind.
    pub kind: ExportKind,
}

/// The accounts that may import a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Importers {
    /// All.
    #[default]
    All,
    /// Those with these names.
    Listed(Vec<String>),
    /// Each one that has its name at this token of the subject, which is a `*`; the first is 1.
    Named(usize),
}

/// The kind of an export.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExportKind {
    /// Messages published in the exporting account go to subscriptions of the importing one.
    Stream,
    /// Messages published in the importing account are requests to the exporting one.
    Service(ServiceOptions),
}

/// The settings of an exported service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// The form of its answers.
    pub response: ResponseType,
    /// Time to wait for the answer, or for the next one.
    pub threshold: Duration,
    /// Measures how long requests take; none means that nobody does.
    pub latency: Option<Latency>,
    /// A traced request stays traced in the exporting account.
    pub allow_trace: bool,
}

/// The form of the answers of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseType {
    /// One message.
    #[default]
    Singleton,
    /// Any number of messages, the last one empty.
    Stream,
    /// One answer in several messages, the last one empty.
    Chunked,
}

/// Measurements of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Latency {
    /// Subject for the measurements, in the exporting account.
    pub subject: String,
    /// The requests that are measured.
    pub sampling: Sampling,
}

/// The requests that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// So many of a hundred.
    Percent(u8),
    /// Those with a header that asks for it.
    Headers,
}

/// A subject of another account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Import {
    /// The exporting account.
    pub account: String,
    /// The subject in that account, perhaps with wildcards.
    pub subject: String,
    /// The subject in the importing account.
    pub local: LocalSubject,
    /// Its kind.
    pub kind: ImportKind,
    /// A traced message stays traced in the importing account. Of streams only.
    pub allow_trace: bool,
}

/// The subject of an import in the importing account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum LocalSubject {
    /// The same subject.
    #[default]
    Same,
    /// The same subject behind this one, which has no wildcard. Of streams only.
    Prefix(String),
    /// This one: `$1` is the token of the first wildcard.
    To(String),
}

/// The kind of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImportKind {
    /// See [`ExportKind::Stream`].
    Stream,
    /// See [`ExportKind::Service`].
    Service {
        /// Tells the service who asks.
        share: bool,
    },
}

impl AccountOptions {
    /// An account without limits of its own.
    #[must_use]
    pub fn new(name: impl Into<String>) -> AccountOptions {
        AccountOptions { name: name.into(), ..AccountOptions::default() }
    }
}

impl Export {
    /// An export for all accounts.
    #[must_use]
    pub fn new(subject: impl Into<String>, kind: ExportKind) -> Export {
        Export { subject: subject.into(), importers: Importers::All, kind }
    }
}

impl Default for ServiceOptions {
    fn default() -> ServiceOptions {
        ServiceOptions {
            response: ResponseType::default(),
            threshold: limits::RESPONSE_THRESHOLD_DEFAULT,
            latency: None,
            allow_trace: false,
        }
    }
}

impl TraceDest {
    /// A destination for the traces of all these messages.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> TraceDest {
        TraceDest { subject: subject.into(), sampling: 100 }
    }

    /// True if a message is traced for which this number below 100 was drawn.
    ///
    /// nats: server/msgtrace.go `sample`: one of a hundred more than it is told.
    pub(crate) fn samples(&self, drawn: u8) -> bool {
        drawn <= self.sampling
    }
}

impl Latency {
    /// Measurements of these requests.
    #[must_use]
    pub fn new(subject: impl Into<String>, sampling: Sampling) -> Latency {
        Latency { subject: subject.into(), sampling }
    }
}

impl Import {
    /// An import under the subject that it has in the exporting account.
    #[must_use]
    pub fn new(account: impl Into<String>, subject: impl Into<String>, kind: ImportKind) -> Import {
        let (account, subject) = (account.into(), subject.into());
        let (local, allow_trace) = (LocalSubject::Same, false);
        Import { account, subject, local, kind, allow_trace }
    }
}
