//! `Hearsay`: servers known only by gossip, the *tellers* that named them, and the rate of dials.
//!
//! A teller may name any number of servers, which need not exist. So both the number of remembered
//! servers and the rate of dials have a limit; and tellers take turns, so that the servers of one
//! do not wait behind the thousand servers of another. Of one teller, the newest server comes
//! first, and the oldest is forgotten.
//!
//! Knows no address: it holds the numbers of targets.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{HEARD_OF_BURST, HEARD_OF_MAX, HEARD_OF_PAUSE};
use crate::base::moment::Moment;

/// All tellers and their targets.
#[derive(Default)]
pub(super) struct Hearsay {
    tellers: BTreeMap<Box<str>, Teller>,
    count: usize,
    /// Turns so far.
    turns: u64,
    /// The virtual time when all dials so far would have begun, with the pause between them.
    spent: Moment,
}

/// A server that named others.
struct Teller {
    targets: BTreeSet<u64>,
    /// Its last turn. A new teller comes last, so that it is no use to be new again and again.
    turn: u64,
}

impl Hearsay {
    /// Adds a target, which is newer than all others.
    pub(super) fn add(&mut self, teller: &str, target: u64) {
        self.count += 1;
        let teller = self.tellers.entry(teller.into()).or_insert_with(|| {
            self.turns += 1;
            Teller { targets: BTreeSet::new(), turn: self.turns }
        });
        teller.targets.insert(target);
    }

    /// Forgets a target.
    pub(super) fn remove(&mut self, teller: &str, target: u64) {
        let Some(its) = self.tellers.get_mut(teller) else { return };
        self.count -= usize::from(its.targets.remove(&target));
        if its.targets.is_empty() {
            self.tellers.remove(teller);
        }
    }

    /// Targets of which one has to go before another is added: those of the largest teller, the
    /// oldest first.
    pub(super) fn surplus(&self) -> impl Iterator<Item = u64> {
        let full = self.count >= HEARD_OF_MAX;
        let most = self.tellers.values().max_by_key(|teller| teller.targets.len());
        most.filter(|_| full).into_iter().flat_map(|teller| teller.targets.iter().copied())
    }

    /// The time when the next one may be dialled.
    pub(super) fn ready_at(&self) -> Moment {
        Moment::START + self.spent.since(Moment::START + HEARD_OF_PAUSE * (HEARD_OF_BURST - 1))
    }

    /// The turn of a teller; the smallest one is next.
    pub(super) fn turn(&self, teller: &str) -> u64 {
        self.tellers.get(teller).map_or(u64::MAX, |teller| teller.turn)
    }

    /// Takes the turn of a teller for a dial.
    pub(super) fn take_turn(&mut self, teller: &str, now: Moment) {
        self.spent = self.spent.max(now) + HEARD_OF_PAUSE;
        self.turns += 1;
        if let Some(teller) = self.tellers.get_mut(teller) {
            teller.turn = self.turns;
        }
    }
}
