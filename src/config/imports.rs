//! The imports of all accounts, checked against their exports, and compiled.
//!
//! That is done once for a configuration, and never changed: the settings hold the imports of each
//! account. Accounts are known by name only.
//!
//! nats: server/opts.go `parseAccounts`; server/accounts.go `addMappedStreamImportWithClaim`,
//! `addServiceImportWithClaim`

mod by_first_token;
mod cycles;
mod digest;
mod exports;
mod fault;
mod of_system;
mod services;
#[cfg(test)]
mod tests;
mod translation;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::base::subject;
use crate::config::options::{
    AccountOptions, Import, ImportKind, Latency, LocalSubject, Options, ResponseType,
};

use cycles::{Chain, Link, Links};
use exports::Exports;
use of_system::{JETSTREAM_API, JETSTREAM_DIRECT};

pub use digest::Digest;
pub use exports::Grants;
pub use fault::{Cause, Fault, Kind};
pub use of_system::OfSystem;
pub use services::Services;
pub use translation::Translation;

/// The imports of checked options.
#[derive(Debug)]
pub struct Imports {
    /// Tells them from others.
    pub digest: Digest,
    /// Those of each account, in the order of the options; `None` if others with the same digest
    /// were known.
    pub compiled: Option<Vec<AccountImports>>,
}

/// The imports of one account.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AccountImports {
    /// Its subscriptions get messages of other accounts.
    pub streams: Vec<Arc<StreamImport>>,
    /// Its messages are requests to other accounts.
    pub services: Services,
}

/// Messages of another account.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamImport {
    /// The account that gets them.
    pub importer: Arc<str>,
    /// The account in which they are published.
    pub exporter: Arc<str>,
    /// Their subjects in both.
    pub subjects: Translation,
    /// May exclude some of them.
    pub grants: Grants,
    /// True if those with a trace keep it.
    pub allow_trace: bool,
}

/// A service of another account.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceImport {
    /// The account with the requesters.
    pub importer: Arc<str>,
    /// The account that answers.
    pub exporter: Arc<str>,
    /// The subjects of requests in both.
    pub subjects: Translation,
    /// May exclude some of them.
    pub grants: Grants,
    /// True if the service is told who asks.
    pub share: bool,
    /// The service; all its imports have the same value.
    pub export: Arc<ServiceExport>,
}

/// A service, as all accounts import it.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceExport {
    /// Its subject.
    pub subject: Box<str>,
    /// The form of its answers.
    pub response: ResponseType,
    /// Time to wait for the answer, or for the next one.
    pub threshold: Duration,
    /// Its measurements, if there are any.
    pub latency: Option<Latency>,
    /// True if requests with a trace keep it.
    pub allow_trace: bool,
}

/// Compiles the imports of all accounts, in the order of the options. Leaves out faulty ones and
/// returns their faults.
pub fn compile(options: &Options) -> (Vec<AccountImports>, Vec<Fault>) {
    let mut compiler = Compiler::new(options);
    for kind in [Kind::Stream, Kind::Service] {
        for at in 0..options.accounts.len() {
            compiler.import_all(kind, at);
        }
    }
    (compiler.imports, compiler.faults)
}

impl Imports {
    /// Those of these options, compiled unless they are the `known` ones; and the faults of those
    /// left out. Known ones have none.
    pub fn new(options: &Options, known: Option<Digest>) -> (Imports, Vec<Fault>) {
        let digest = Digest::new(options);
        if known == Some(digest) {
            return (Imports { digest, compiled: None }, Vec::new());
        }
        let (compiled, faults) = compile(options);
        (Imports { digest, compiled: Some(compiled) }, faults)
    }
}

impl AccountImports {
    /// These imports in place of those `before`: equal ones stay the same values.
    #[must_use]
    pub fn in_place_of(mut self, before: &Arc<AccountImports>) -> Arc<AccountImports> {
        if self == **before {
            return Arc::clone(before);
        }
        let key = |one: &StreamImport| (Arc::clone(&one.exporter), one.subjects.remote().to_vec());
        let known: BTreeMap<_, _> = before.streams.iter().map(|one| (key(one), one)).collect();
        for import in &mut self.streams {
            if let Some(same) = known.get(&key(import)).filter(|known| ***known == *import) {
                *import = Arc::clone(same);
            }
        }
        Arc::new(self)
    }

    /// True if it is one of these, and not of other settings.
    pub fn holds(&self, import: &Arc<StreamImport>) -> bool {
        self.streams.iter().any(|one| Arc::ptr_eq(one, import))
    }
}

impl ServiceImport {
    /// The subject in the exporting account for a request on this one, if it is one.
    pub fn remote(&self, local: &[u8]) -> Option<Box<[u8]>> {
        if !subject::matches(self.subjects.local(), local) || self.leaves_to_streams(local) {
            return None;
        }
        let mut room = Vec::new();
        let remote = self.subjects.to_remote(local, &mut room);
        self.grants.allow(remote, &self.importer).then(|| remote.into())
    }

    /// True for requests that go to one stream, which are not imported.
    fn leaves_to_streams(&self, local: &[u8]) -> bool {
        let is_direct = || JETSTREAM_DIRECT.iter().any(|one| local.starts_with(one.as_bytes()));
        self.subjects.remote() == JETSTREAM_API.as_bytes() && is_direct()
    }
}

/// The positions of accounts, by name.
type Positions<'a> = HashMap<&'a str, usize, RandomState>;

struct Compiler<'a> {
    accounts: &'a [AccountOptions],
    names: Vec<Arc<str>>,
    by_name: Positions<'a>,
    stream_exports: Vec<Exports<'a>>,
    service_exports: Vec<Exports<'a>>,
    stream_links: Links,
    service_links: Links,
    imports: Vec<AccountImports>,
    faults: Vec<Fault>,
}

impl<'a> Compiler<'a> {
    fn new(options: &'a Options) -> Compiler<'a> {
        let accounts = &*options.accounts;
        let by_name: Positions<'_> = accounts.iter().map(|one| &*one.name).zip(0..).collect();
        let mut faults = Vec::new();
        let mut exports = |kind| {
            let mut exports = Vec::with_capacity(accounts.len());
            for account in accounts {
                let of_account = Exports::new(account, kind, &by_name, &mut faults);
                of_account.check_latency(options.no_system_account, &mut faults);
                exports.push(of_account);
            }
            exports
        };
        Compiler {
            stream_exports: exports(Kind::Stream),
            service_exports: exports(Kind::Service),
            stream_links: Links::new(accounts.len()),
            service_links: Links::new(accounts.len()),
            names: accounts.iter().map(|one| one.name.as_str().into()).collect(),
            imports: accounts.iter().map(|_| AccountImports::default()).collect(),
            accounts,
            by_name,
            faults,
        }
    }

    /// Adds the imports of that kind to the account at that position.
    fn import_all(&mut self, kind: Kind, importer: usize) {
        for import in &self.accounts[importer].imports {
            let added = match (kind, import.kind) {
                (Kind::Stream, ImportKind::Stream) => self.import_stream(importer, import),
                (Kind::Service, ImportKind::Service { share }) => {
                    self.import_service(importer, import, share)
                }
                _ => continue,
            };
            self.faults.extend(added.err().map(|fault| *fault));
        }
    }

    fn import_stream(&mut self, importer: usize, import: &Import) -> Result<(), Box<Fault>> {
        let exporter = self.exporter(Kind::Stream, import)?;
        let (kind, subject) = (Kind::Stream, &import.subject);
        let fault = |cause| Box::new(Fault::Import { kind, subject: subject.clone(), cause });
        let remote = import.subject.as_str();
        let exports = &self.stream_exports[exporter];
        let (_, grants) = exports
            .approve(remote.as_bytes(), &self.names[importer])
            .ok_or_else(|| fault(Cause::NotAuthorized(Kind::Stream)))?;
        let to = match &import.local {
            LocalSubject::Same => Cow::Borrowed(remote),
            LocalSubject::Prefix(prefix) if !subject::is_literal(prefix.as_bytes()) => {
                return Err(fault(Cause::Prefix));
            }
            LocalSubject::Prefix(prefix) => {
                [prefix.strip_suffix('.').unwrap_or(prefix), ".", remote].concat().into()
            }
            LocalSubject::To(to) => to.into(),
        };
        // nats: server/accounts.go `streamImportFormsCycle`: placeholders are text there.
        for subject in [&*to, remote] {
            let goes_on = |at: usize, subject: &[u8]| self.stream_exports[at].covers(subject);
            let links = &self.stream_links;
            links
                .check(importer, exporter, subject.as_bytes(), goes_on)
                .map_err(|chain| fault(self.cycle(chain)))?;
        }
        let subjects = Translation::new(Kind::Stream, remote, &to).map_err(|error| {
            let (from, to) = (remote.to_owned(), to.to_string());
            fault(Cause::Transform { kind: Kind::Stream, from, to, error })
        })?;
        let streams = &mut self.imports[importer].streams;
        let exporter_name = &self.names[exporter];
        let is_twice = |known: &Arc<StreamImport>| {
            Arc::ptr_eq(&known.exporter, exporter_name)
                && known.subjects.remote() == remote.as_bytes()
        };
        if streams.iter().any(is_twice) {
            return Err(fault(Cause::StreamTwice));
        }
        let import = Arc::new(StreamImport {
            importer: Arc::clone(&self.names[importer]),
            exporter: Arc::clone(exporter_name),
            subjects,
            grants,
            allow_trace: import.allow_trace,
        });
        let link = Link::new(exporter, cycles::Import::Stream(Arc::clone(&import)));
        self.stream_links.add(importer, link);
        streams.push(import);
        Ok(())
    }

    fn import_service(
        &mut self,
        importer: usize,
        import: &Import,
        share: bool,
    ) -> Result<(), Box<Fault>> {
        let exporter = self.exporter(Kind::Service, import)?;
        let (kind, subject) = (Kind::Service, &import.subject);
        let fault = |cause| Box::new(Fault::Import { kind, subject: subject.clone(), cause });
        let remote = import.subject.as_str();
        let to = match &import.local {
            LocalSubject::To(to) => to,
            LocalSubject::Same | LocalSubject::Prefix(_) => remote,
        };
        if [to, remote].iter().any(|one| !subject::is_valid_subscription(one.as_bytes())) {
            return Err(fault(Cause::InvalidSubject));
        }
        let exports = &self.service_exports[exporter];
        let (export, grants) = exports
            .approve(remote.as_bytes(), &self.names[importer])
            .ok_or_else(|| fault(Cause::NotAuthorized(Kind::Service)))?;
        let export = Arc::clone(export.expect("it is the export of a service"));
        let subjects = Translation::new(Kind::Service, remote, to).map_err(|error| {
            let (from, to) = (to.to_owned(), remote.to_owned());
            fault(Cause::Transform { kind: Kind::Service, from, to, error })
        })?;
        self.service_links
            .check(importer, exporter, subjects.local(), |_, _| true)
            .map_err(|chain| fault(self.cycle(chain)))?;
        let services = &mut self.imports[importer].services;
        let exporter_name = &self.names[exporter];
        let is_twice = |known: &&Arc<ServiceImport>| {
            Arc::ptr_eq(&known.exporter, exporter_name)
                && known.subjects.local() == subjects.local()
        };
        if let Some(known) = services.near(subjects.local()).find(is_twice) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Err(fault(Cause::ServiceTwice {
                local: to.to_owned(),
                account: import.account.clone(),
                subject: text(known.subjects.remote()),
            }));
        }
        let import = Arc::new(ServiceImport {
            importer: Arc::clone(&self.names[importer]),
            exporter: Arc::clone(exporter_name),
            subjects,
            grants,
            share,
            export,
        });
        let link = Link::new(exporter, cycles::Import::Service(Arc::clone(&import)));
        self.service_links.add(importer, link);
        services.push(import);
        Ok(())
    }

    fn cycle(&self, chain: Chain) -> Cause {
        match chain {
            Chain::Cycle(accounts) => {
                Cause::Cycle(accounts.iter().map(|&at| self.names[at].to_string()).collect())
            }
            Chain::TooLong => Cause::ChainTooLong,
        }
    }

    /// Position of the account that exports an import.
    fn exporter(&self, kind: Kind, import: &Import) -> Result<usize, Box<Fault>> {
        let account = &import.account;
        let of = kind.import();
        let unknown = || Box::new(Fault::AccountUnknown { account: account.clone(), of });
        self.by_name.get(account.as_str()).copied().ok_or_else(unknown)
    }
}
