//! Epochs: stamps by which caches outside a sublist's lock find that their results are outdated.
//!
//! Lock-free; shared by `Arc` between a sublist, which bumps, and the caches, which read stamps.
//!
//! The protocol. A writer holds the sublist for itself (its lock), changes it, and bumps before it
//! releases it. A reader that misses takes the stamp *before* it takes the lock for reading,
//! matches, and keeps the result under that stamp. Then no result is kept that is older than its
//! stamp: a reader that saw a bump gets the lock after the writer that made it and so sees the
//! change; a reader that did not see it keeps a stamp that the next lookup finds outdated, whether
//! or not its result has the change already. The counters only grow, hence equal sums mean equal
//! parts.
//! `tests/models` plays all orders of the steps.

use std::array;
use std::sync::OnceLock;

use crate::base::sync::{AtomicU64, Ordering};
use crate::sublist::token::{BUCKETS, bucket};

/// Change counters of one sublist: one for wildcard first tokens, the others by first token.
#[derive(Debug)]
pub struct Epochs {
    /// Changes of subscriptions whose first token is a wildcard: they concern every subject.
    all: AtomicU64,
    /// Changes of subscriptions by the hash of their literal first token; none before
    /// the first one.
    buckets: OnceLock<Box<[AtomicU64; BUCKETS]>>,
}

/// The stamps of a cache's values. Subjects with the same bucket have the same one.
pub trait Stamps {
    /// The bucket of a subject, always the same.
    fn bucket(&self, subject: &[u8]) -> u8;

    /// The stamp of everything that a match of a subject in `bucket` depends on; it only grows.
    fn stamp_of(&self, bucket: u8) -> u64;

    /// The stamp of a subject.
    fn stamp(&self, subject: &[u8]) -> u64 {
        self.stamp_of(self.bucket(subject))
    }
}

impl Epochs {
    /// All counters at zero.
    pub fn new() -> Self {
        Self { all: AtomicU64::new(0), buckets: OnceLock::new() }
    }

    /// Outdates the stamps of every subject that `pattern` could match. To be called before the
    /// sublist is released.
    #[inline]
    pub(super) fn bump(&self, pattern: &[u8]) {
        let counter = match pattern {
            [b'*' | b'>'] | [b'*', b'.', ..] => &self.all,
            _ => &self.buckets.get_or_init(zeros)[usize::from(bucket(pattern))],
        };
        counter.fetch_add(1, Ordering::Release);
    }
}

impl Stamps for Epochs {
    #[inline]
    fn bucket(&self, subject: &[u8]) -> u8 {
        bucket(subject)
    }

    #[inline]
    fn stamp_of(&self, bucket: u8) -> u64 {
        // The sum may wrap after 2^64 changes.
        let counter = self.buckets.get().map(|buckets| &buckets[usize::from(bucket)]);
        let bucket = counter.map_or(0, |counter| counter.load(Ordering::Acquire));
        self.all.load(Ordering::Acquire).wrapping_add(bucket)
    }
}

fn zeros() -> Box<[AtomicU64; BUCKETS]> {
    Box::new(array::from_fn(|_| AtomicU64::new(0)))
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}
