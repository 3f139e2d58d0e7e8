//! Counters of messages and bytes, and their snapshot.
//!
//! Invariant: each [`Counters`] has one writer, so counting is a plain load and store: 2 ns, where
//! an atomic addition costs 5 and one that two threads share 28. Readers add up all of them.
//! nats: server/server.go `stats`, server/monitor.go `Varz`

use std::ops::{AddAssign, Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::ids::Kind;

/// A number that one thread at a time raises and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, for the single writer: of two additions at the same time one would be lost. Writers
    /// may take turns if a lock or a task hand-over orders them.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Sets the value, for the single writer: what it counts elsewhere, or what may sink again.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value at some moment not long ago.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one writer. Aligned to two cache lines, which processors fetch as a pair: beside
/// another writer's counters the addition would cost ten times as much.
///
/// Bytes are those of payload and headers, without the protocol line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Messages that arrived.
    pub in_msgs: Counter,
    /// Their bytes.
    pub in_bytes: Counter,
    /// Messages that were delivered, one for each receiver.
    pub out_msgs: Counter,
    /// Their bytes.
    pub out_bytes: Counter,
    /// Times that a connection did not read fast enough, whether it was closed for it or forgiven.
    pub slow_consumers: Counter,
    /// Those by kind; of routes, each counts once until it has caught up.
    pub slow: PerKind<Counter>,
    /// Connections closed because they did not answer PINGs.
    pub stale: PerKind<Counter>,
    /// Pauses of publishers ahead of their subscribers.
    pub stalled_clients: Counter,
    /// Results in the match cache, true or outdated; `num_cache` in `/subsz`.
    pub num_cache: Counter,
    /// Lookups in it; `num_matches` in `/subsz`.
    pub num_matches: Counter,
    /// Lookups that hit; their share is `cache_hit_rate` in `/subsz`.
    pub num_hits: Counter,
    /// Deliveries that a message to each of the cached subjects would take; what falls to one
    /// subject is `avg_fanout` in `/subsz`.
    pub fanout_total: Counter,
    /// Deliveries to the widest of them; `max_fanout` in `/subsz`.
    pub fanout_max: Counter,
}

impl Counters {
    /// Counts a slow consumer; it is one `still` if it was counted before and has not caught up.
    ///
    /// nats-differs: there, who has been closed may count once more, when the write that was under
    /// way misses its deadline.
    pub fn count_slow(&self, kind: Kind, still: bool) {
        self.slow_consumers.add(1);
        match kind {
            Kind::Client => self.slow[kind].add(1),
            Kind::Route => self.slow[kind].add(u64::from(!still)),
            Kind::System => {}
        }
    }

    /// Notes what the match cache has counted by itself.
    pub fn set_cache(&self, cache: &CacheStats) {
        self.num_cache.set(cache.num_cache);
        self.num_matches.set(cache.num_matches);
        self.num_hits.set(cache.num_hits);
        self.fanout_total.set(cache.fanout_total);
        self.fanout_max.set(cache.fanout_max);
    }

    /// The values now; fields may be some messages apart from each other.
    #[must_use]
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            in_msgs: self.in_msgs.load(),
            in_bytes: self.in_bytes.load(),
            out_msgs: self.out_msgs.load(),
            out_bytes: self.out_bytes.load(),
            slow_consumers: self.slow_consumers.load(),
            slow: self.slow.load(),
            stale: self.stale.load(),
            stalled_clients: self.stalled_clients.load(),
            cache: CacheStats {
                num_cache: self.num_cache.load(),
                num_matches: self.num_matches.load(),
                num_hits: self.num_hits.load(),
                fanout_total: self.fanout_total.load(),
                fanout_max: self.fanout_max.load(),
            },
        }
    }
}

/// A number for each kind of connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind<T>([T; Kind::COUNT]);

impl<T> Index<Kind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<Kind> for PerKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

impl PerKind<Counter> {
    fn load(&self) -> PerKind<u64> {
        PerKind(self.0.each_ref().map(Counter::load))
    }
}

impl PerKind<u64> {
    /// That of all kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for PerKind<u64> {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(one, other)| *one += other);
    }
}

/// Values of one or the sum of several [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
    pub slow_consumers: u64,
    pub slow: PerKind<u64>,
    pub stale: PerKind<u64>,
    pub stalled_clients: u64,
    pub cache: CacheStats,
}

/// The counters of one or several match caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub num_cache: u64,
    pub num_matches: u64,
    pub num_hits: u64,
    pub fanout_total: u64,
    pub fanout_max: u64,
}

/// The traffic of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
}

impl Snapshot {
    /// The traffic of all connections.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let Snapshot { in_msgs, in_bytes, out_msgs, out_bytes, .. } = *self;
        Traffic { in_msgs, in_bytes, out_msgs, out_bytes }
    }
}

impl Traffic {
    /// The difference, not below zero.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            in_msgs: self.in_msgs.saturating_sub(other.in_msgs),
            in_bytes: self.in_bytes.saturating_sub(other.in_bytes),
            out_msgs: self.out_msgs.saturating_sub(other.out_msgs),
            out_bytes: self.out_bytes.saturating_sub(other.out_bytes),
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.in_msgs += other.in_msgs;
        self.in_bytes += other.in_bytes;
        self.out_msgs += other.out_msgs;
        self.out_bytes += other.out_bytes;
    }
}

impl AddAssign for Snapshot {
    fn add_assign(&mut self, other: Self) {
        self.in_msgs += other.in_msgs;
        self.in_bytes += other.in_bytes;
        self.out_msgs += other.out_msgs;
        self.out_bytes += other.out_bytes;
        self.slow_consumers += other.slow_consumers;
        self.slow += other.slow;
        self.stale += other.stale;
        self.stalled_clients += other.stalled_clients;
        self.cache += other.cache;
    }
}

impl AddAssign for CacheStats {
    fn add_assign(&mut self, other: Self) {
        self.num_cache += other.num_cache;
        self.num_matches += other.num_matches;
        self.num_hits += other.num_hits;
        self.fanout_total += other.fanout_total;
        self.fanout_max = self.fanout_max.max(other.fanout_max);
    }
}

impl<'a> std::iter::Sum<&'a Counters> for Snapshot {
    fn sum<I: Iterator<Item = &'a Counters>>(counters: I) -> Self {
        let mut total = Self::default();
        counters.for_each(|counters| total += counters.snapshot());
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sums_all_writers() {
        let workers = [Counters::default(), Counters::default()];
        workers[0].in_msgs.add(2);
        workers[1].in_msgs.add(3);
        workers[1].out_bytes.add(40);
        let total: Snapshot = workers.iter().sum();
        assert_eq!(total, Snapshot { in_msgs: 5, out_bytes: 40, ..Snapshot::default() });
    }

    #[test]
    fn a_route_that_is_still_slow_counts_in_the_sum_only() {
        let counters = Counters::default();
        for kind in [Kind::Client, Kind::Route] {
            counters.count_slow(kind, false);
            counters.count_slow(kind, true);
        }
        let Snapshot { slow_consumers, slow, .. } = counters.snapshot();
        assert_eq!((slow_consumers, slow[Kind::Client], slow[Kind::Route]), (4, 2, 1));
        assert_eq!(slow.total(), 3);
    }

    #[test]
    fn two_writers_never_share_a_pair_of_cache_lines() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>(), 128);
    }
}
