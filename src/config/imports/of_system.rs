//! `OfSystem`: the services of the system account that other accounts import without saying so.
//!
//! nats: server/events.go `addSystemAccountExports`, `registerSystemImports`; server/jetstream.go
//! `enableAllJetStreamServiceImportsAndMappings`

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::limits::RESPONSE_THRESHOLD_DEFAULT;
use crate::config::imports::{Grants, Kind, ServiceExport, ServiceImport, Services, Translation};
use crate::config::options::ResponseType;

/// The services for all: the subject in the system account, around the name of the importer; the
/// importer's own; the form of the answers.
const FOR_ALL: [((&str, &str), &str, ResponseType); 4] = [
    (("$SYS.REQ.USER.", ".INFO"), "$SYS.REQ.USER.INFO", ResponseType::Singleton),
    (("$SYS.REQ.ACCOUNT.", ".CONNZ"), "$SYS.REQ.ACCOUNT.PING.CONNZ", ResponseType::Stream),
    (("$SYS.REQ.ACCOUNT.", ".CONNZ"), "$SYS.REQ.SERVER.PING.CONNZ", ResponseType::Stream),
    (("$SYS.REQ.ACCOUNT.", ".STATZ"), "$SYS.REQ.ACCOUNT.PING.STATZ", ResponseType::Stream),
];

/// Requests to JetStream.
pub(super) const JETSTREAM_API: &str = "$JS.API.>";

/// Begin requests to one consumer or stream: the server that stores it has interest in them, in the
/// account of its clients.
pub(super) const JETSTREAM_DIRECT: [&str; 2] = ["$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.DIRECT.GET"];

/// The imports of services for all.
type ForAll = SmallVec<[Arc<ServiceImport>; FOR_ALL.len()]>;

/// The services of the system account, as other accounts import them.
pub struct OfSystem {
    system_account: Arc<str>,
    for_all: [Arc<ServiceExport>; FOR_ALL.len()],
    jetstream: Arc<ServiceExport>,
}

impl OfSystem {
    /// Those of this account.
    #[must_use]
    pub fn new(system_account: &str) -> OfSystem {
        OfSystem {
            system_account: system_account.into(),
            for_all: FOR_ALL
                .map(|((front, end), _, response)| export(&format!("{front}*{end}"), response)),
            jetstream: export(JETSTREAM_API, ResponseType::Singleton),
        }
    }

    /// True if these are those of this account.
    #[must_use]
    pub fn are_of(&self, system_account: &str) -> bool {
        *self.system_account == *system_account
    }

    /// The imports that each account has; the system account itself has only the first. No service
    /// is for an account whose name is not a token. Those that it had `before` stay the same
    /// values.
    pub fn imports(&self, importer: &str, before: Option<&Services>) -> ForAll {
        let is_for_all = |known: &&Arc<ServiceImport>| {
            self.for_all.iter().any(|export| Arc::ptr_eq(export, &known.export))
        };
        let before = before.into_iter().flat_map(Services::iter);
        let known: ForAll = before.filter(is_for_all).cloned().collect();
        if !known.is_empty() {
            return known;
        }
        let importer: Arc<str> = importer.into();
        let count = if importer == self.system_account { 1 } else { FOR_ALL.len() };
        let services = FOR_ALL[..count].iter().zip(&self.for_all);
        let new = services.filter_map(|(((front, end), local, _), export)| {
            self.import(&importer, &format!("{front}{importer}{end}"), local, export)
        });
        new.map(Arc::new).collect()
    }

    /// The import by which the clients of an account reach the JetStream of other servers.
    #[must_use]
    pub fn jetstream(&self, importer: &str) -> Option<ServiceImport> {
        self.import(&importer.into(), JETSTREAM_API, JETSTREAM_API, &self.jetstream)
    }

    /// Those who answer once are told who asks.
    fn import(
        &self,
        importer: &Arc<str>,
        remote: &str,
        local: &str,
        export: &Arc<ServiceExport>,
    ) -> Option<ServiceImport> {
        Some(ServiceImport {
            importer: Arc::clone(importer),
            exporter: Arc::clone(&self.system_account),
            subjects: Translation::new(Kind::Service, remote, local).ok()?,
            grants: Grants::default(),
            share: export.response == ResponseType::Singleton,
            export: Arc::clone(export),
        })
    }
}

fn export(subject: &str, response: ResponseType) -> Arc<ServiceExport> {
    Arc::new(ServiceExport {
        subject: subject.into(),
        response,
        threshold: RESPONSE_THRESHOLD_DEFAULT,
        latency: None,
        allow_trace: false,
    })
}
