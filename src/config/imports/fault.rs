//! `Fault`: a fault of exports and imports, in the real server's words.

use std::fmt;

use crate::base::subject_transform::TransformError;
use crate::config::options::ExportKind;

/// The kind of an export or import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages.
    Stream,
    /// Requests.
    Service,
}

/// A fault of one export or import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An account that does not exist is named in an export or import.
    AccountUnknown {
        /// Its name.
        account: String,
        /// The place, as in `stream export`.
        of: &'static str,
    },
    /// An export.
    Export {
        /// Its kind.
        kind: Kind,
        /// Its subject.
        subject: String,
        /// The reason.
        cause: Cause,
    },
    /// Measurements of a service.
    Latency {
        /// The subject of the service.
        subject: String,
        /// The subject of the results.
        results: String,
        /// The reason.
        cause: Cause,
    },
    /// An import.
    Import {
        /// Its kind.
        kind: Kind,
        /// Its subject in the exporting account.
        subject: String,
        /// The reason.
        cause: Cause,
    },
}

/// The reason for a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A subject is none, or has no `*` at the place for an account's name.
    InvalidSubject,
    /// The subject of measurements is none, has wildcards, or is that of a service.
    InvalidPublishSubject,
    /// Measurements of a service with several answers.
    ResponseType,
    /// Measurements without a system account.
    NoSystemAccount,
    /// The other account does not export it, or not to this one.
    NotAuthorized(Kind),
    /// A prefix with wildcards.
    Prefix,
    /// The subjects of both sides do not go together.
    Transform {
        /// The kind of the import.
        kind: Kind,
        /// The subject on the one side.
        from: String,
        /// The subject on the other.
        to: String,
        /// The reason.
        error: TransformError,
    },
    /// The same messages are imported twice.
    StreamTwice,
    /// Two services of one account have the same local subject.
    ServiceTwice {
        /// The local subject.
        local: String,
        /// The exporting account.
        account: String,
        /// The other subject.
        subject: String,
    },
    /// It would come back to its account, over these ones.
    Cycle(Vec<String>),
    /// It goes over too many accounts.
    ChainTooLong,
}

impl Kind {
    pub(super) fn of(kind: &ExportKind) -> Kind {
        match kind {
            ExportKind::Stream => Kind::Stream,
            ExportKind::Service(_) => Kind::Service,
        }
    }

    pub(super) fn export(self) -> &'static str {
        match self {
            Kind::Stream => "stream export",
            Kind::Service => "service export",
        }
    }

    pub(super) fn import(self) -> &'static str {
        match self {
            Kind::Stream => "stream import",
            Kind::Service => "service import",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountUnknown { account, of } => {
                write!(f, "{account:?} account not defined for {of}")
            }
            Self::Export { kind, subject, cause } => {
                write!(f, "Error adding {} {subject:?}: {cause}", kind.export())
            }
            Self::Latency { subject, results, cause } => {
                write!(f, "Error adding service latency sampling for {subject:?}")?;
                match cause {
                    Cause::NoSystemAccount => write!(f, ": {cause}"),
                    _ => write!(f, " on subject {results:?}: {cause}"),
                }
            }
            Self::Import { kind, subject, cause } => {
                write!(f, "Error adding {} {subject:?}: {cause}", kind.import())
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSubject => f.write_str("sublist: invalid subject"),
            Self::InvalidPublishSubject => f.write_str("invalid publish subject"),
            Self::ResponseType => f.write_str("bad service response type"),
            Self::NoSystemAccount => f.write_str("system account not setup"),
            Self::NotAuthorized(kind) => write!(f, "{} not authorized", kind.import()),
            Self::Prefix => f.write_str("stream import prefix can not contain wildcard tokens"),
            Self::Transform { kind, from, to, error } => write!(
                f,
                "failed to create mapping transform for {} subject from {from:?} to {to:?}: \
                 {error}",
                kind.import()
            ),
            Self::StreamTwice => f.write_str("stream import already exists"),
            Self::ServiceTwice { local, account, subject } => write!(
                f,
                "duplicate service import subject {local:?}, previously used in import for account \
                 {account:?}, subject {subject:?}"
            ),
            Self::Cycle(accounts) => {
                write!(f, "import forms a cycle: {}", accounts.join(", "))
            }
            Self::ChainTooLong => f.write_str("search cycle depth exhausted"),
        }
    }
}

impl std::error::Error for Fault {}
