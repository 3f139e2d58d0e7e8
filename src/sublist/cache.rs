//! Match cache: recent matches of one worker thread, by account and subject.
//!
//! Owned by one thread, so there is no lock. It knows nothing of sublists: a [stamp](Stamps), read
//! before the match, shows whether a value is still valid. Two slots per hash; the one used longer
//! ago is replaced in place: key and value keep their allocations, so that even a stream of misses
//! does not allocate. In a cache of full size a subject has to miss twice in a row to replace a
//! living one: with too many subjects for any cache, dropping the old values would cost more than
//! the match.
//!
//! Bounds: [`SLOTS_MAX`] slots, reached only if misses replace living slots more often than one in
//! [`MISS_SPAN_MAX`], and [`HEAP_BYTES_MAX`] of values, above which others are dropped. A subject
//! longer than [`SUBJECT_LEN_MAX`] always misses. Knows no clock: the time is an argument.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::base::moment::Moment;
use crate::base::stats::CacheStats;
use crate::sublist::epochs::Stamps;

/// Most slots of one cache: with more subjects, some of them cost a match of some 100 ns now and
/// then.
const SLOTS_MAX: usize = 8192;

/// Slots of a cache that has been used once.
const SLOTS_MIN: usize = 64;

/// Misses further apart than this do not make a cache grow. A match costs some 300 ns: more slots
/// would save less than a hundredth of a thread, and take 350 bytes for each subject.
const MISS_SPAN_MAX: Duration = Duration::from_micros(100);

/// Most bytes that the values may keep on the heap: a wide fan-out times many subjects adds up.
const HEAP_BYTES_MAX: usize = 32 << 20;

/// Longest subject that is kept.
const SUBJECT_LEN_MAX: usize = 512;

/// A value of a cache, to be filled again and again.
pub trait Cached: Default {
    /// Empties the value for its next use; keeps allocations, unless they have grown large.
    fn clear(&mut self);

    /// Its bytes on the heap, about.
    fn heap_bytes(&self) -> usize;

    /// Its deliveries per message: a queue group is one.
    fn fanout(&self) -> usize;
}

/// One stamp for all subjects.
#[derive(Debug, Clone, Copy)]
pub struct Version(pub u64);

impl Stamps for Version {
    #[inline]
    fn bucket(&self, _subject: &[u8]) -> u8 {
        0
    }

    #[inline]
    fn stamp_of(&self, _bucket: u8) -> u64 {
        self.0
    }
}

/// Values by (account, subject).
#[derive(Debug)]
pub struct MatchCache<V> {
    /// None before the first use, then a power of two; slots `2n` and `2n + 1` share a hash.
    slots: Vec<Slot<V>>,
    /// The slot used last: publishers repeat the same subject many times in a row.
    last: usize,
    /// The slot handed out to be filled and not measured since.
    unmeasured: Option<usize>,
    /// Sum of `heap_bytes` of the slots.
    heap_bytes: usize,
    /// The next slot whose value is dropped when the values have become too large.
    hand: usize,
    /// Living slots replaced since `counting_since`.
    crowded: usize,
    counting_since: Moment,
    /// Slots with a key.
    used: usize,
    /// Sum of `fanout` of the slots.
    fanout_total: u64,
    /// The largest `fanout` of a slot, or more if `fanout_max_outdated`.
    fanout_max: u32,
    /// The slot that had the largest fan-out has a smaller one now.
    fanout_max_outdated: bool,
    /// Misses at the last search of the slots for the largest fan-out.
    looked_through_at: u64,
    /// Stands in for a slot when the subject is too long.
    spare: V,
    random: RandomState,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Slot<V> {
    hash: u64,
    stamp: u64,
    /// The number of the miss that gave it its key and stamp; none while there is no key.
    filling: Option<NonZeroU64>,
    account: u32,
    /// The bucket of the subject, for its next stamp.
    bucket: u8,
    /// The value's heap bytes at the last measurement.
    heap_bytes: u32,
    /// The value's fan-out then.
    fanout: u32,
    /// Upper half of the hash of the key that missed last and would have taken this place.
    challenger: u32,
    /// True if it was used after the other slot of its pair.
    recent: bool,
    subject: Vec<u8>,
    value: V,
}

/// Leads to the value of one account and subject, after the first lookup of it: the numbers of a
/// slot and of the filling that it is good for.
#[derive(Debug, Clone, Default)]
pub struct Shortcut(Cell<Option<(usize, NonZeroU64)>>);

/// The result of [`MatchCache::lookup`].
#[derive(Debug)]
pub enum Lookup<'a, V> {
    /// The value filled under the same stamp.
    Hit(&'a mut V),
    /// A cleared value, kept from now on under account, subject and stamp: fill it.
    Miss(&'a mut V),
}

impl<V: Cached> MatchCache<V> {
    /// An empty cache, which allocates on first use.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            last: 0,
            unmeasured: None,
            heap_bytes: 0,
            hand: 0,
            crowded: 0,
            counting_since: Moment::START,
            used: 0,
            fanout_total: 0,
            fanout_max: 0,
            fanout_max_outdated: false,
            looked_through_at: 0,
            spare: V::default(),
            random: RandomState::default(),
            hits: 0,
            misses: 0,
        }
    }

    /// Looks up the value filled for `subject` under its present stamp. Account numbers must not be
    /// used again for another account while the cache holds results of the old one.
    /// `now` measures the time between misses.
    // As a call, its many arguments would cost each message.
    #[inline(always)]
    pub fn lookup(
        &mut self,
        account: u32,
        subject: &[u8],
        stamps: &impl Stamps,
        now: Moment,
    ) -> Lookup<'_, V> {
        if let Some(slot) = self.slots.get(self.last)
            // Most other subjects differ here, without a call.
            && slot.subject.last() == subject.last()
            && slot.subject.len() == subject.len()
            && slot.is_of(account, subject)
            && slot.is_valid(stamps)
        {
            self.hits += 1;
            return Lookup::Hit(&mut self.slots[self.last].value);
        }
        self.lookup_hashed(account, subject, stamps, now)
    }

    /// The same for an account and subject with a shortcut of their own: while the value stays, no
    /// bytes are compared.
    #[inline(always)]
    pub fn lookup_by(
        &mut self,
        shortcut: &Shortcut,
        account: u32,
        subject: &[u8],
        stamps: &impl Stamps,
        now: Moment,
    ) -> Lookup<'_, V> {
        if let Some((at, filling)) = shortcut.0.get()
            && let Some(slot) = self.slots.get(at)
            && slot.filling == Some(filling)
            && slot.is_valid(stamps)
        {
            debug_assert!(slot.is_of(account, subject), "a shortcut is for one subject");
            self.hits += 1;
            return Lookup::Hit(&mut self.touch(at).value);
        }
        self.find_shortcut(shortcut, account, subject, stamps, now)
    }

    /// Looks up without the shortcut, which leads to the value from now on, if that is kept.
    fn find_shortcut(
        &mut self,
        shortcut: &Shortcut,
        account: u32,
        subject: &[u8],
        stamps: &impl Stamps,
        now: Moment,
    ) -> Lookup<'_, V> {
        let is_hit = matches!(self.lookup(account, subject, stamps, now), Lookup::Hit(_));
        let kept = self.slots.get_mut(self.last).filter(|slot| slot.is_of(account, subject));
        shortcut.0.set(kept.as_ref().and_then(|slot| Some((self.last, slot.filling?))));
        let value = kept.map_or(&mut self.spare, |slot| &mut slot.value);
        if is_hit { Lookup::Hit(value) } else { Lookup::Miss(value) }
    }

    fn lookup_hashed(
        &mut self,
        account: u32,
        subject: &[u8],
        stamps: &impl Stamps,
        now: Moment,
    ) -> Lookup<'_, V> {
        let hash = self.hash(account, subject);
        match self.find(hash, account, subject) {
            Some(at) if self.slots[at].is_valid(stamps) => {
                self.hits += 1;
                Lookup::Hit(&mut self.touch(at).value)
            }
            _ => Lookup::Miss(self.miss(hash, account, subject, stamps, now)),
        }
    }

    /// Drops every value and all memory.
    pub fn clear(&mut self) {
        let random = self.random.clone();
        *self = Self { random, hits: self.hits, misses: self.misses, ..Self::new() };
    }

    /// The number of lookups.
    pub fn num_matches(&self) -> u64 {
        self.hits + self.misses
    }

    /// The counters for monitoring. The largest fan-out may be that of a dropped value: the slots
    /// are searched for it only once in as many misses as there are slots.
    pub fn stats(&mut self) -> CacheStats {
        self.measure();
        let looked_long_ago = self.misses - self.looked_through_at >= self.slots.len() as u64;
        if self.fanout_max_outdated && looked_long_ago {
            self.fanout_max = self.slots.iter().map(|slot| slot.fanout).max().unwrap_or(0);
            self.fanout_max_outdated = false;
            self.looked_through_at = self.misses;
        }
        CacheStats {
            num_cache: self.used as u64,
            num_matches: self.num_matches(),
            num_hits: self.hits,
            fanout_total: self.fanout_total,
            fanout_max: u64::from(self.fanout_max),
        }
    }

    #[inline]
    fn hash(&self, account: u32, subject: &[u8]) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u32(account);
        hasher.write(subject);
        hasher.finish()
    }

    /// Position of the first slot of the pair of a hash.
    #[inline]
    fn pair(&self, hash: u64) -> usize {
        // The high bits of the hash are as good as the low ones; slots are compared by all.
        (hash as usize & (self.slots.len() - 1)) & !1
    }

    #[inline]
    fn find(&self, hash: u64, account: u32, subject: &[u8]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let pair = self.pair(hash);
        (pair..pair + 2).find(|&at| {
            let slot = &self.slots[at];
            slot.hash == hash && slot.is_of(account, subject)
        })
    }

    /// Prepares a slot, the key's own if it has one, to be filled under a new stamp.
    fn miss(
        &mut self,
        hash: u64,
        account: u32,
        subject: &[u8],
        stamps: &impl Stamps,
        now: Moment,
    ) -> &mut V {
        self.misses += 1;
        if subject.len() > SUBJECT_LEN_MAX {
            self.spare.clear();
            return &mut self.spare;
        }
        self.measure();
        self.grow(now);
        let own = self.find(hash, account, subject);
        let Some(at) = own.or_else(|| self.claim(hash)) else {
            self.spare.clear();
            return &mut self.spare;
        };
        self.used += usize::from(!self.slots[at].is_used());
        let filling = NonZeroU64::new(self.misses);
        let slot = self.touch(at);
        slot.filling = filling;
        (slot.hash, slot.account) = (hash, account);
        slot.bucket = stamps.bucket(subject);
        slot.stamp = stamps.stamp_of(slot.bucket);
        slot.subject.clear();
        slot.subject.extend_from_slice(subject);
        slot.value.clear();
        self.unmeasured = Some(at);
        &mut self.slots[at].value
    }

    /// The slot, which is used now: the other one of its pair goes first.
    #[inline]
    fn touch(&mut self, at: usize) -> &mut Slot<V> {
        self.last = at;
        self.slots[at ^ 1].recent = false;
        let slot = &mut self.slots[at];
        slot.recent = true;
        slot
    }

    /// Measures the value filled last; drops others if they have become too large.
    fn measure(&mut self) {
        let unmeasured = self.unmeasured.take().and_then(|at| self.slots.get_mut(at));
        let Some(slot) = unmeasured else { return };
        self.heap_bytes -= slot.heap_bytes as usize;
        slot.heap_bytes = slot.value.heap_bytes().try_into().unwrap_or(u32::MAX);
        self.heap_bytes += slot.heap_bytes as usize;
        let before = slot.fanout;
        slot.fanout = slot.value.fanout().try_into().unwrap_or(u32::MAX);
        self.fanout_total = self.fanout_total - u64::from(before) + u64::from(slot.fanout);
        if slot.fanout >= self.fanout_max {
            (self.fanout_max, self.fanout_max_outdated) = (slot.fanout, false);
        } else {
            self.fanout_max_outdated |= before == self.fanout_max;
        }
        // No more than has been added: dropping a wide value takes as long as filling it.
        while self.heap_bytes > HEAP_BYTES_MAX {
            self.let_go();
        }
    }

    /// Drops the value at the hand.
    fn let_go(&mut self) {
        let slot = std::mem::replace(&mut self.slots[self.hand], Slot::new());
        self.hand = (self.hand + 1) % self.slots.len();
        self.heap_bytes -= slot.heap_bytes as usize;
        self.used -= usize::from(slot.is_used());
        self.fanout_total -= u64::from(slot.fanout);
        self.fanout_max_outdated |= slot.fanout == self.fanout_max;
    }

    /// Doubles the slots when as many as half of them have been replaced in a short time.
    fn grow(&mut self, now: Moment) {
        let count = self.slots.len();
        if count == SLOTS_MAX || self.crowded < count / 2 {
            return;
        }
        let seldom = now.since(self.counting_since) > MISS_SPAN_MAX * self.crowded as u32;
        (self.crowded, self.counting_since) = (0, now);
        if seldom && count > 0 {
            return;
        }
        let mut wider = Vec::new();
        wider.resize_with((count * 2).max(SLOTS_MIN), Slot::new);
        let old = std::mem::replace(&mut self.slots, wider);
        for slot in old.into_iter().filter(|slot| slot.is_used()) {
            // Two slots of an old pair go to one of two new pairs, where there is room for both.
            let pair = self.pair(slot.hash);
            let at = pair + usize::from(self.slots[pair].is_used());
            self.slots[at] = slot;
        }
    }

    /// The slot for a new key, if the key is to be kept: an unused one, or else the one used longer
    /// ago.
    fn claim(&mut self, hash: u64) -> Option<usize> {
        let pair = self.pair(hash);
        let at = pair + usize::from(self.slots[pair].is_used() && self.slots[pair].recent);
        let full = self.slots.len() == SLOTS_MAX;
        let slot = &mut self.slots[at];
        if slot.is_used() {
            self.crowded += 1;
            let before = std::mem::replace(&mut slot.challenger, (hash >> 32) as u32);
            if full && before != slot.challenger {
                return None;
            }
        }
        Some(at)
    }
}

impl<V: Cached> Default for MatchCache<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Slot<V> {
    /// True if there is a key. An empty subject may be one.
    #[inline]
    fn is_used(&self) -> bool {
        self.filling.is_some()
    }

    #[inline]
    fn is_of(&self, account: u32, subject: &[u8]) -> bool {
        self.is_used() && self.account == account && self.subject.as_slice() == subject
    }

    #[inline]
    fn is_valid(&self, stamps: &impl Stamps) -> bool {
        self.stamp == stamps.stamp_of(self.bucket)
    }
}

impl<V: Cached> Slot<V> {
    fn new() -> Self {
        Self {
            hash: 0,
            stamp: 0,
            filling: None,
            account: 0,
            bucket: 0,
            heap_bytes: 0,
            fanout: 0,
            challenger: 0,
            recent: false,
            subject: Vec::new(),
            value: V::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        Cached, HEAP_BYTES_MAX, Lookup, MISS_SPAN_MAX, MatchCache, SLOTS_MAX, SLOTS_MIN,
        SUBJECT_LEN_MAX, Shortcut, Version,
    };
    use crate::base::moment::Moment;

    impl Cached for Vec<u8> {
        fn clear(&mut self) {
            self.clear();
        }

        fn heap_bytes(&self) -> usize {
            self.capacity()
        }

        fn fanout(&self) -> usize {
            self.len()
        }
    }

    impl<V: Cached> MatchCache<V> {
        fn values(&self) -> impl Iterator<Item = &V> {
            self.slots.iter().filter(|slot| slot.is_used()).map(|slot| &slot.value)
        }
    }

    /// Looks up, and fills on a miss. True for a hit. No time passes.
    fn hit(cache: &mut MatchCache<Vec<u8>>, account: u32, subject: &[u8], stamp: u64) -> bool {
        hit_at(Moment::START, cache, account, subject, stamp)
    }

    fn hit_at(
        now: Moment,
        cache: &mut MatchCache<Vec<u8>>,
        account: u32,
        subject: &[u8],
        stamp: u64,
    ) -> bool {
        match cache.lookup(account, subject, &Version(stamp), now) {
            Lookup::Hit(value) => {
                assert_eq!(value, subject);
                true
            }
            Lookup::Miss(value) => {
                assert!(value.is_empty());
                value.extend_from_slice(subject);
                false
            }
        }
    }

    #[test]
    fn a_value_holds_for_its_account_and_stamp() {
        let mut cache = MatchCache::new();
        assert!(!hit(&mut cache, 0, b"a", 1));
        assert!(hit(&mut cache, 0, b"a", 1));
        assert!(!hit(&mut cache, 1, b"a", 1));
        assert!(hit(&mut cache, 1, b"a", 1));
        assert!(!hit(&mut cache, 0, b"a", 2));
        assert!(hit(&mut cache, 0, b"a", 2));
        assert!(!hit(&mut cache, 0, b"", 0));
        assert!(hit(&mut cache, 0, b"", 0));
        let stats = cache.stats();
        assert_eq!((stats.num_cache, stats.num_matches, stats.num_hits), (3, 8, 4));
        assert_eq!(cache.values().count(), 3);
        cache.clear();
        assert_eq!(cache.values().count(), 0);
        assert!(!hit(&mut cache, 0, b"a", 2));
    }

    #[test]
    fn it_grows_to_its_bound_only_under_pressure() {
        let mut cache = MatchCache::new();
        for stamp in 0..1000 {
            assert!(!hit(&mut cache, 0, b"one subject that keeps changing", stamp));
        }
        assert_eq!(cache.slots.len(), SLOTS_MIN);
        for round in 0..4 {
            for number in 0..20_000u32 {
                hit(&mut cache, 0, &number.to_le_bytes(), round);
            }
        }
        assert_eq!(cache.slots.len(), SLOTS_MAX);
        for number in (0..100u32).flat_map(|number| [number; 2]) {
            hit(&mut cache, 0, &number.to_le_bytes(), 9);
        }
        let hits = (0..100u32).filter(|n| hit(&mut cache, 0, &n.to_le_bytes(), 9)).count();
        assert!(hits > 95, "{hits} of a working set of 100 stayed");
    }

    #[test]
    fn it_stays_small_while_misses_are_seldom() {
        let mut cache = MatchCache::new();
        let mut now = Moment::START;
        let mut miss_all = |cache: &mut MatchCache<_>, span: Duration| {
            for number in 0..20_000_u32 {
                now = now + span;
                hit_at(now, cache, 0, &number.to_le_bytes(), 0);
            }
            cache.slots.len()
        };
        assert_eq!(miss_all(&mut cache, 2 * MISS_SPAN_MAX), SLOTS_MIN);
        assert_eq!(miss_all(&mut cache, MISS_SPAN_MAX / 2), SLOTS_MAX);
    }

    #[test]
    fn a_full_cache_keeps_what_is_used_beside_a_stream_of_misses() {
        let mut cache = MatchCache::new();
        for number in 0..100_000u32 {
            hit(&mut cache, 0, &number.to_le_bytes(), 0);
        }
        assert_eq!(cache.slots.len(), SLOTS_MAX);
        for _ in 0..2 {
            hit(&mut cache, 0, b"used", 0);
        }
        for number in 0..100_000u32 {
            hit(&mut cache, 0, &number.to_le_bytes(), 1);
            assert!(hit(&mut cache, 0, b"used", 0), "crowded out by {number}");
        }
    }

    #[test]
    fn what_is_used_by_a_shortcut_is_used() {
        let (mut cache, shortcut) = (MatchCache::new(), Shortcut::default());
        for number in 0..100_000u32 {
            hit(&mut cache, 0, &number.to_le_bytes(), 0);
        }
        for _ in 0..2 {
            hit_by(&shortcut, &mut cache, b"used", 0);
        }
        // Who misses twice in a row takes a place.
        for number in (100_000..200_000u32).flat_map(|number| [number; 2]) {
            hit(&mut cache, 0, &number.to_le_bytes(), 0);
            assert!(hit_by(&shortcut, &mut cache, b"used", 0), "crowded out by {number}");
        }
    }

    #[test]
    fn wide_values_do_not_add_up_without_limit() {
        let mut cache = MatchCache::<Vec<u8>>::new();
        for number in 0..200u32 {
            if let Lookup::Miss(value) =
                cache.lookup(0, &number.to_le_bytes(), &Version(0), Moment::START)
            {
                value.resize(1 << 20, 0);
            }
            let held: usize = cache.values().map(Cached::heap_bytes).sum();
            assert!(held <= HEAP_BYTES_MAX + (1 << 20));
            // No more is dropped than is added.
            assert!(number < 150 || held >= HEAP_BYTES_MAX - (1 << 20), "{held} held");
        }
    }

    #[test]
    fn a_long_subject_always_misses() {
        let mut cache = MatchCache::new();
        let long = vec![b'a'; SUBJECT_LEN_MAX + 1];
        assert!(!hit(&mut cache, 0, &long, 0));
        assert!(!hit(&mut cache, 0, &long, 0));
        assert!(!hit(&mut cache, 0, &long[1..], 0));
        assert!(hit(&mut cache, 0, &long[1..], 0));
    }

    /// Looks up by a shortcut, and fills on a miss with subject and stamp. True for a hit.
    fn hit_by(
        shortcut: &Shortcut,
        cache: &mut MatchCache<Vec<u8>>,
        subject: &[u8],
        stamp: u64,
    ) -> bool {
        let filled = [subject, &stamp.to_le_bytes()].concat();
        match cache.lookup_by(shortcut, 0, subject, &Version(stamp), Moment::START) {
            Lookup::Hit(value) => {
                assert_eq!(*value, filled);
                true
            }
            Lookup::Miss(value) => {
                assert!(value.is_empty());
                *value = filled;
                false
            }
        }
    }

    #[test]
    fn a_shortcut_leads_to_its_own_value_or_nowhere() {
        let mut cache = MatchCache::new();
        let mut random = fastrand::Rng::with_seed(7);
        let shortcuts: Vec<Shortcut> = (0..3 * SLOTS_MAX).map(|_| Shortcut::default()).collect();
        let mut hits = 0;
        for round in 0..200_000 {
            // At first few subjects, so that the cache grows while shortcuts are in use.
            let number = random.usize(..shortcuts.len().min(10 + round / 4));
            let stamp = round as u64 / 20_000;
            let is_hit = hit_by(&shortcuts[number], &mut cache, &number.to_le_bytes(), stamp);
            hits += usize::from(is_hit);
            if round % 30_000 == 0 {
                cache.clear();
            }
        }
        assert_eq!(cache.slots.len(), SLOTS_MAX);
        assert!((20_000..180_000).contains(&hits), "{hits}");
    }

    #[test]
    fn a_shortcut_to_a_value_that_is_not_kept_leads_nowhere() {
        let mut cache = MatchCache::new();
        let shortcut = Shortcut::default();
        assert!(!hit(&mut cache, 0, b"another one", 0));
        for _ in 0..2 {
            assert!(!hit_by(&shortcut, &mut cache, &[b'a'; SUBJECT_LEN_MAX + 1], 0));
            assert!(shortcut.0.get().is_none());
        }
    }

    #[test]
    fn the_fanout_is_that_of_the_values_held() {
        let mut cache = MatchCache::<Vec<u8>>::new();
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..20_000_u64 {
            let (subject, stamp) = (random.u32(..300).to_le_bytes(), round / 1000);
            let widest = if round < 10_000 { 90 } else { 30 };
            if let Lookup::Miss(value) = cache.lookup(0, &subject, &Version(stamp), Moment::START) {
                value.resize(random.usize(..widest), 0);
            }
            let stats = cache.stats();
            assert_eq!(stats.num_cache, cache.values().count() as u64);
            assert_eq!(stats.fanout_total, cache.values().map(|v| v.len() as u64).sum::<u64>());
            let max = cache.values().map(|value| value.len() as u64).max().unwrap_or(0);
            assert!(stats.fanout_max >= max);
        }
        // After as many misses as there are slots, the slots are searched for the widest value.
        for number in 0..SLOTS_MAX as u64 {
            hit(&mut cache, 1, &number.to_le_bytes(), 0);
        }
        let max = cache.values().map(|value| value.len() as u64).max();
        assert_eq!(Some(cache.stats().fanout_max), max);
    }
}
