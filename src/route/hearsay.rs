//! `Hearsay`: the servers that were only heard of, by whom, and how fast they are dialled.
//!
//! A server may be told of any number of others, which need not exist. So there is a limit to how
//! many it remembers and to how many it dials in a time; and those who tell have their turns one
//! after the other, so that nobody's word waits behind the thousand words of somebody else. Of one
//! who tells, the newest word counts first, and the oldest is forgotten.
//!
//! Knows no address: a server that was heard of is the number of its target.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{HEARD_OF_BURST, HEARD_OF_MAX, HEARD_OF_PAUSE};
use crate::base::moment::Moment;

/// What others told of.
#[derive(Default)]
pub(super) struct Hearsay {
    tellers: BTreeMap<Box<str>, Teller>,
    count: usize,
    /// Turns so far.
    turns: u64,
    /// When all dials so far would have begun, one after the other with the pause between them.
    spent: Moment,
}

/// A server that told of others.
struct Teller {
    targets: BTreeSet<u64>,
    /// Its last turn. Who is new comes last, so that it is no use to be new again and again.
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

    /// One more has no room unless one of these goes: those of who told of most, the oldest first.
    pub(super) fn surplus(&self) -> impl Iterator<Item = u64> {
        let full = self.count >= HEARD_OF_MAX;
        let most = self.tellers.values().max_by_key(|teller| teller.targets.len());
        most.filter(|_| full).into_iter().flat_map(|teller| teller.targets.iter().copied())
    }

    /// When the next one may be dialled.
    pub(super) fn ready_at(&self) -> Moment {
        Moment::START + self.spent.since(Moment::START + HEARD_OF_PAUSE * (HEARD_OF_BURST - 1))
    }

    /// The smaller, the earlier it is the turn of who told.
    pub(super) fn turn(&self, teller: &str) -> u64 {
        self.tellers.get(teller).map_or(u64::MAX, |teller| teller.turn)
    }

    /// One of who told is dialled.
    pub(super) fn take_turn(&mut self, teller: &str, now: Moment) {
        self.spent = self.spent.max(now) + HEARD_OF_PAUSE;
        self.turns += 1;
        if let Some(teller) = self.tellers.get_mut(teller) {
            teller.turn = self.turns;
        }
    }
}
