//! Cycles of imports: a message must not come back to its account.
//!
//! As in the real server, the names of subjects are compared without the renaming by the imports
//! on the way. So some imports are refused that could not pass a message on for ever, and none that
//! nats-server accepts.
//! nats: server/accounts.go `checkStreamImportsForCycles`, `checkServiceImportsForCycles`

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::base::subject;
use crate::config::imports::by_first_token::ByFirstToken;
use crate::config::imports::{ServiceImport, StreamImport};

/// Accounts in a chain of imports.
const CHAIN_MAX: usize = 1024;

/// The imports of one kind, for the search for cycles. Accounts are known by position.
pub(super) struct Links(Vec<ByFirstToken<Link>>);

/// One import, and the position of its exporter.
pub(super) struct Link {
    exporter: usize,
    import: Import,
}

/// An import of either kind.
pub(super) enum Import {
    Stream(Arc<StreamImport>),
    Service(Arc<ServiceImport>),
}

/// A chain of imports that is refused.
pub(super) enum Chain {
    /// The accounts of a cycle: the first one is the last, too.
    Cycle(Vec<usize>),
    TooLong,
}

impl Link {
    pub(super) fn new(exporter: usize, import: Import) -> Link {
        Link { exporter, import }
    }

    /// The subjects that it takes.
    fn takes(&self) -> &[u8] {
        match &self.import {
            Import::Stream(import) => import.subjects.local(),
            Import::Service(import) => import.subjects.remote(),
        }
    }

    /// The subjects on which it goes on.
    fn gives(&self) -> &[u8] {
        match &self.import {
            Import::Stream(import) => import.subjects.local(),
            Import::Service(import) => import.subjects.local(),
        }
    }
}

impl Links {
    pub(super) fn new(accounts: usize) -> Links {
        Links((0..accounts).map(|_| ByFirstToken::new(Link::takes)).collect())
    }

    pub(super) fn add(&mut self, importer: usize, link: Link) {
        self.0[importer].push(link);
    }

    /// Checks an import of `subject` that is not added yet. The imports of an account count for a
    /// subject if it `goes_on` there.
    pub(super) fn check<'a>(
        &'a self,
        importer: usize,
        exporter: usize,
        subject: &'a [u8],
        goes_on: impl Fn(usize, &[u8]) -> bool,
    ) -> Result<(), Chain> {
        let seen = HashSet::new();
        Search { links: self, goes_on, path: smallvec![importer], seen }.visit(exporter, subject)
    }
}

struct Search<'a, F> {
    links: &'a Links,
    goes_on: F,
    /// The accounts on the way.
    path: SmallVec<[usize; 8]>,
    /// Accounts that have been visited, each with the subject.
    seen: HashSet<(usize, &'a [u8])>,
}

impl<'a, F: Fn(usize, &[u8]) -> bool> Search<'a, F> {
    fn visit(&mut self, account: usize, subject: &'a [u8]) -> Result<(), Chain> {
        if self.path.len() >= CHAIN_MAX {
            return Err(Chain::TooLong);
        }
        let links: &'a Links = self.links;
        let takes = |link: &&Link| subject::overlaps(subject, link.takes());
        let mut next = links.0[account].near(subject).filter(takes).peekable();
        if next.peek().is_none()
            || !(self.goes_on)(account, subject)
            || !self.seen.insert((account, subject))
        {
            return Ok(());
        }
        self.path.push(account);
        for link in next {
            if let Some(start) = self.path.iter().position(|&known| known == link.exporter) {
                let mut cycle = self.path[start..].to_vec();
                cycle.push(link.exporter);
                return Err(Chain::Cycle(cycle));
            }
            let gives = link.gives();
            let is_narrower = subject::covers(subject, gives);
            self.visit(link.exporter, if is_narrower { gives } else { subject })?;
        }
        self.path.pop();
        Ok(())
    }
}
