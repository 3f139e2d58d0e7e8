//! Cycles of imports: a message must not come back to its account.
//!
//! As in the real server, the names of subjects are compared without the renaming by the imports
//! on the way. So some imports are refused that could not pass a message on for ever, and none that
//! nats-server accepts.
//! nats: server/accounts.go `checkStreamImportsForCycles`, `checkServiceImportsForCycles`

use std::collections::HashSet;

use crate::base::subject;
use crate::config::imports::by_first_token::ByFirstToken;

/// Accounts in a chain of imports.
const CHAIN_MAX: usize = 1024;

/// The imports of one kind, for the search for cycles. Accounts are known by position.
pub(super) struct Links(Vec<ByFirstToken<Link>>);

/// One import.
pub(super) struct Link {
    exporter: usize,
    /// The subjects that it takes.
    takes: Box<[u8]>,
    /// The subjects on which it goes on.
    gives: Box<[u8]>,
}

/// A chain of imports that is refused.
pub(super) enum Chain {
    /// The accounts of a cycle: the first one is the last, too.
    Cycle(Vec<usize>),
    TooLong,
}

impl Link {
    pub(super) fn new(exporter: usize, takes: &[u8], gives: &[u8]) -> Link {
        Link { exporter, takes: takes.into(), gives: gives.into() }
    }
}

impl Links {
    pub(super) fn new(accounts: usize) -> Links {
        Links((0..accounts).map(|_| ByFirstToken::new()).collect())
    }

    pub(super) fn add(&mut self, importer: usize, link: Link) {
        let takes = link.takes.clone();
        self.0[importer].push(&takes, link);
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
        Search { links: self, goes_on, path: vec![importer], seen }.visit(exporter, subject)
    }
}

struct Search<'a, F> {
    links: &'a Links,
    goes_on: F,
    /// The accounts on the way.
    path: Vec<usize>,
    /// Accounts that have been visited, each with the subject.
    seen: HashSet<(usize, &'a [u8])>,
}

impl<'a, F: Fn(usize, &[u8]) -> bool> Search<'a, F> {
    fn visit(&mut self, account: usize, subject: &'a [u8]) -> Result<(), Chain> {
        if self.path.len() >= CHAIN_MAX {
            return Err(Chain::TooLong);
        }
        let links: &'a Links = self.links;
        let takes = |link: &&Link| subject::overlaps(subject, &link.takes);
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
            let is_narrower = subject::covers(subject, &link.gives);
            self.visit(link.exporter, if is_narrower { &link.gives } else { subject })?;
        }
        self.path.pop();
        Ok(())
    }
}
