//! Matching, inserting and removing.
//!
//! The subjects are those of the design notes: `svc.<a>.node.<b>`, and 111 patterns among them. The
//! entry is the server's: one word that points to subject, queue and slot together.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use dialtone::internals::{
    Entry, Interest, Lookup, MatchCache, MatchResult, Moment, Sublist, UNLISTED,
};
use triomphe::ThinArc;

use super::{Prepared, stream};

/// A subscription without a connection.
#[derive(Clone)]
pub(crate) struct Sub(ThinArc<AtomicU32, u8>);

impl Sub {
    pub(crate) fn new(subject: &str) -> Self {
        Self(ThinArc::from_header_and_slice(AtomicU32::new(UNLISTED), subject.as_bytes()))
    }
}

impl Entry for Sub {
    fn subject(&self) -> &[u8] {
        &self.0.slice
    }

    fn queue(&self) -> Option<&[u8]> {
        None
    }

    fn slot(&self) -> u32 {
        self.0.header.header.load(Ordering::Relaxed)
    }

    fn set_slot(&self, slot: u32) {
        self.0.header.header.store(slot, Ordering::Relaxed);
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
    }

    fn interest(&self) -> Interest {
        Interest::Local
    }
}

pub(crate) fn literal(number: usize) -> String {
    format!("svc.{}.node.{}", number % 1000, number / 1000)
}

pub(crate) fn pattern(number: usize) -> String {
    format!("svc.{number}.*")
}

fn patterns() -> impl Iterator<Item = String> {
    let ten = (0..10).map(|n| format!("svc.{n}.>"));
    let hundred = (0..100).map(|n| format!("svc.*.node.{n}"));
    ten.chain(hundred).chain(["svc.*.*.*.x".into()])
}

fn filled(count: usize) -> Sublist<Sub> {
    let mut list = Sublist::new();
    for subject in (0..count).map(literal).chain(patterns()) {
        assert!(list.insert(Sub::new(&subject)));
    }
    list
}

/// Subjects that match, as many as the working set has.
fn subjects(count: usize, working_set: usize) -> Vec<String> {
    (0..working_set).map(|n| literal(stream::scattered(n, count))).collect()
}

/// Each subject matched once, without a cache.
pub(super) fn matches(count: usize, working_set: usize) -> Prepared {
    let (list, subjects) = (filled(count), subjects(count, working_set));
    let mut result = MatchResult::new();
    Prepared::new(working_set, move || {
        for subject in &subjects {
            list.match_into(subject.as_bytes(), &mut result);
            black_box(result.plain().len());
        }
    })
}

/// The same through a cache, which holds them all if the working set is small. `caches` differ in
/// the seeds of their hashes, which decide the evictions; one after the other is used.
pub(super) fn cached_matches(count: usize, working_set: usize, caches: usize) -> Prepared {
    let (list, subjects) = (filled(count), subjects(count, working_set));
    let rounds = (10_000 / working_set).max(1);
    let new_cache = |_| MatchCache::<MatchResult<Sub>>::new();
    let mut caches: Vec<_> = (0..caches).map(new_cache).collect();
    Prepared::new(working_set * rounds * caches.len(), move || {
        for cache in &mut caches {
            for subject in (0..rounds).flat_map(|_| &subjects) {
                let subject = subject.as_bytes();
                match cache.lookup(0, subject, &**list.epochs(), Moment::START) {
                    Lookup::Hit(result) => {
                        black_box(result.plain().len());
                    }
                    Lookup::Miss(result) => list.match_into(subject, result),
                }
            }
        }
    })
}

/// One operation is one subscription inserted among `count` and removed again.
pub(super) fn changes(count: usize, subject: fn(usize) -> String) -> Prepared {
    const OPS: usize = 1000;
    let mut list = filled(count);
    let subs: Vec<Sub> = (count..count + OPS).map(|n| Sub::new(&subject(n))).collect();
    Prepared::new(OPS, move || {
        for sub in &subs {
            assert!(list.insert(sub.clone()) && list.remove(sub));
        }
    })
}
