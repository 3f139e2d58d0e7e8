//! `Exports`: the exports of one account, and their decisions about imports.
//!
//! Exports of the same subject are one; once it is for certain accounts, it is for no others. Of
//! several exports that cover a subject, the most specific one decides who may import it. So a
//! subject exported to some accounts is kept from the others, even if they import a pattern around
//! it: the import has [`Grants`] then.
//! nats-differs: there, such an import gets it, and of several exports any one may decide.
//!
//! nats: server/accounts.go `setExportAuth`, `checkStreamExportApproved`,
//! `TrackServiceExportWithSampling`

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::subject;
use crate::config::imports::by_first_token::ByFirstToken;
use crate::config::imports::fault::{Cause, Fault, Kind};
use crate::config::imports::{Positions, ServiceExport};
use crate::config::options::{
    AccountOptions, Export, ExportKind, Importers, ResponseType, ServiceOptions,
};

/// The exports of one kind of one account.
pub(super) struct Exports<'a>(ByFirstToken<Exported<'a>>);

/// All exports of one subject.
struct Exported<'a> {
    subject: &'a str,
    importers: Importers,
    /// `None` of a stream.
    service: Option<Arc<ServiceExport>>,
}

/// The decisions of exports about subjects that are only a part of an import. Empty if none of them
/// refuses one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants(Box<[Grant]>);

/// The decision of one export about the subjects that it covers.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    subject: Box<[u8]>,
    decision: Decision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Allowed,
    Refused,
    /// Allowed if this token of the subject is the name of the importer; the first is 1.
    Named(usize),
}

impl<'a> Exports<'a> {
    /// The exports of an account, except for faulty ones.
    pub(super) fn new(
        account: &'a AccountOptions,
        kind: Kind,
        accounts: &Positions<'_>,
        faults: &mut Vec<Fault>,
    ) -> Exports<'a> {
        let mut by_subject = BTreeMap::new();
        for export in account.exports.iter().filter(|export| Kind::of(&export.kind) == kind) {
            if let Importers::Listed(names) = &export.importers {
                let unknown = names.iter().filter(|name| !accounts.contains_key(name.as_str()));
                faults.extend(unknown.map(|name| Fault::AccountUnknown {
                    account: name.clone(),
                    of: kind.export(),
                }));
            }
            if !is_valid(export) {
                let (subject, cause) = (export.subject.clone(), Cause::InvalidSubject);
                faults.push(Fault::Export { kind, subject, cause });
                continue;
            }
            let subject = export.subject.as_str();
            by_subject
                .entry(subject)
                .and_modify(|known: &mut Exported<'_>| known.add(export))
                .or_insert_with(|| Exported::new(export));
        }
        let mut exports = ByFirstToken::new(|one: &Exported<'_>| one.subject.as_bytes());
        by_subject.into_values().for_each(|exported| exports.push(exported));
        Exports(exports)
    }

    /// Reports measurements that cannot be made.
    pub(super) fn check_latency(&self, no_system_account: bool, faults: &mut Vec<Fault>) {
        for Exported { subject, service, .. } in self.0.iter() {
            let Some(service) = service else { continue };
            let Some(latency) = &service.latency else { continue };
            let results = latency.subject.as_bytes();
            let cause = if no_system_account {
                Cause::NoSystemAccount
            } else if !subject::is_valid_publish(results) || self.covers(results) {
                Cause::InvalidPublishSubject
            } else if service.response != ResponseType::Singleton {
                Cause::ResponseType
            } else {
                continue;
            };
            let (subject, results) = ((*subject).to_owned(), latency.subject.clone());
            faults.push(Fault::Latency { subject, results, cause });
        }
    }

    /// True if all of this pattern is exported to somebody.
    pub(super) fn covers(&self, pattern: &[u8]) -> bool {
        self.0.near(pattern).any(|one| one.covers(pattern))
    }

    /// Decides on an import of `pattern` as a whole: the service, and the decisions about parts of
    /// it. `None` if it is refused.
    pub(super) fn approve(
        &self,
        pattern: &[u8],
        importer: &str,
    ) -> Option<(Option<&Arc<ServiceExport>>, Grants)> {
        if !subject::is_valid_subscription(pattern) {
            return None;
        }
        let overlaps = |one: &&Exported<'_>| subject::overlaps(one.subject.as_bytes(), pattern);
        let near: SmallVec<[_; 4]> = self.0.near(pattern).filter(overlaps).collect();
        let mut grants = Vec::new();
        if near.iter().any(|one| one.importers != Importers::All) {
            grants.extend(near.iter().map(|one| one.grant(importer)));
            if !is_allowed(&grants, subject::covers, pattern, importer) {
                return None;
            }
        }
        let around = near.into_iter().filter(|one| one.covers(pattern));
        let narrowest = around.reduce(|best, one| match best.covers(one.subject.as_bytes()) {
            true => one,
            false => best,
        })?;
        let is_open = |grant: &Grant| {
            grant.decision == Decision::Allowed || subject::covers(&grant.subject, pattern)
        };
        if grants.iter().all(is_open) {
            grants.clear();
        }
        Some((narrowest.service.as_ref(), Grants(grants.into())))
    }
}

impl<'a> Exported<'a> {
    fn new(export: &'a Export) -> Exported<'a> {
        let service = match &export.kind {
            ExportKind::Stream => None,
            ExportKind::Service(options) => Some(service(&export.subject, options)),
        };
        Exported { subject: &export.subject, importers: export.importers.clone(), service }
    }

    fn covers(&self, pattern: &[u8]) -> bool {
        subject::covers(self.subject.as_bytes(), pattern)
    }

    /// Adds another export of the same subject.
    fn add(&mut self, export: &'a Export) {
        match (&mut self.importers, &export.importers) {
            (_, Importers::All) => {}
            (Importers::Listed(known), Importers::Listed(more)) => known.extend_from_slice(more),
            (known, more) => known.clone_from(more),
        }
        let (Some(known), ExportKind::Service(options)) = (&self.service, &export.kind) else {
            return;
        };
        let mut options = options.clone();
        if options.response == ResponseType::Singleton {
            options.response = known.response;
        }
        options.allow_trace |= known.allow_trace;
        if options.latency.is_none() {
            options.latency.clone_from(&known.latency);
        }
        self.service = Some(service(&export.subject, &options));
    }

    fn grant(&self, importer: &str) -> Grant {
        let decision = match &self.importers {
            Importers::Named(token) => Decision::Named(*token),
            Importers::Listed(names) if !names.iter().any(|name| name == importer) => {
                Decision::Refused
            }
            Importers::All | Importers::Listed(_) => Decision::Allowed,
        };
        Grant { subject: self.subject.as_bytes().into(), decision }
    }
}

fn service(subject: &str, options: &ServiceOptions) -> Arc<ServiceExport> {
    let ServiceOptions { response, threshold, latency, allow_trace } = options.clone();
    Arc::new(ServiceExport { subject: subject.into(), response, threshold, latency, allow_trace })
}

/// True if the export can be imported by somebody.
///
/// nats-differs: there, any text may be exported.
fn is_valid(export: &Export) -> bool {
    let subject = export.subject.as_bytes();
    let has_place = match export.importers {
        Importers::Named(token) => {
            token.checked_sub(1).and_then(|at| subject::tokens(subject).nth(at)) == Some(b"*")
        }
        _ => true,
    };
    subject::is_valid_subscription(subject) && has_place
}

impl Grants {
    /// True if the importer may have this subject, which its import matches.
    pub fn allow(&self, subject: &[u8], importer: &str) -> bool {
        self.0.is_empty() || is_allowed(&self.0, subject::matches, subject, importer)
    }
}

impl Grant {
    fn allows(&self, subject: &[u8], importer: &str) -> bool {
        match self.decision {
            Decision::Allowed => true,
            Decision::Refused => false,
            Decision::Named(token) => {
                subject::tokens(subject).nth(token - 1) == Some(importer.as_bytes())
            }
        }
    }
}

/// True if one of those in `relation` to the subject allows it, and none refuses it that is not
/// around a narrower one that allows it.
fn is_allowed(
    grants: &[Grant],
    relation: fn(&[u8], &[u8]) -> bool,
    subject: &[u8],
    importer: &str,
) -> bool {
    let concerned = grants.iter().filter(|grant| relation(&grant.subject, subject));
    let (allowing, refusing): (Vec<_>, Vec<_>) =
        concerned.partition(|grant| grant.allows(subject, importer));
    let is_overruled = |refusing: &&Grant| {
        let is_narrower = |one: &&Grant| subject::covers(&refusing.subject, &one.subject);
        allowing.iter().any(is_narrower)
    };
    !allowing.is_empty() && refusing.iter().all(is_overruled)
}
