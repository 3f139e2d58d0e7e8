//! `GossipSources`: the servers whose gossip named others, and the rate of dials to those.
//!
//! A source may name any number of servers, which need not exist. So both the number of remembered
//! servers and the rate of dials have a limit; and dials go round robin among the sources, so that
//! the servers of one do not wait behind the thousand servers of another. Of one source, the newest
//! server comes first, and the oldest is forgotten.
//!
//! Knows no address: it holds the numbers of targets.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{IMPLICIT_BURST, IMPLICIT_MAX, IMPLICIT_PAUSE};
use crate::base::moment::Moment;

/// All sources and their targets.
#[derive(Default)]
pub(super) struct GossipSources {
    sources: BTreeMap<Box<str>, Source>,
    count: usize,
    /// Dials so far; a new source counts as one.
    dial_count: u64,
    /// The virtual time when all dials so far would have begun, with the pause between them.
    spent: Moment,
}

/// A server that named others.
struct Source {
    targets: BTreeSet<u64>,
    /// The number of the last dial for it. A new source comes last, so that it is no use to be new
    /// again and again.
    last_dial: u64,
}

impl GossipSources {
    /// Adds a target, which is newer than all others.
    pub(super) fn add(&mut self, source: &str, target: u64) {
        self.count += 1;
        let source = self.sources.entry(source.into()).or_insert_with(|| {
            self.dial_count += 1;
            Source { targets: BTreeSet::new(), last_dial: self.dial_count }
        });
        source.targets.insert(target);
    }

    /// Forgets a target.
    pub(super) fn remove(&mut self, source: &str, target: u64) {
        let Some(its) = self.sources.get_mut(source) else { return };
        self.count -= usize::from(its.targets.remove(&target));
        if its.targets.is_empty() {
            self.sources.remove(source);
        }
    }

    /// Targets of which one has to go before another is added: those of the largest source, the
    /// oldest first.
    pub(super) fn surplus(&self) -> impl Iterator<Item = u64> {
        let full = self.count >= IMPLICIT_MAX;
        let most = self.sources.values().max_by_key(|source| source.targets.len());
        most.filter(|_| full).into_iter().flat_map(|source| source.targets.iter().copied())
    }

    /// The time when the next one may be dialled.
    pub(super) fn ready_at(&self) -> Moment {
        Moment::START + self.spent.since(Moment::START + IMPLICIT_PAUSE * (IMPLICIT_BURST - 1))
    }

    /// The number of the last dial for a source; the source with the smallest is next.
    pub(super) fn last_dial(&self, source: &str) -> u64 {
        self.sources.get(source).map_or(u64::MAX, |source| source.last_dial)
    }

    /// Counts a dial for a source.
    pub(super) fn count_dial(&mut self, source: &str, now: Moment) {
        self.spent = self.spent.max(now) + IMPLICIT_PAUSE;
        self.dial_count += 1;
        if let Some(source) = self.sources.get_mut(source) {
            source.last_dial = self.dial_count;
        }
    }
}
