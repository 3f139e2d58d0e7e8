//! Atomics, and locks that have ranks. `tests/models` puts loom's in their stead.
//!
//! A thread that holds a lock takes only locks of higher ranks, so no two threads wait for each
//! other. Debug builds assert it whenever a lock is taken; release builds pay nothing.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use parking_lot::{MappedMutexGuard, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The ranks of the locks, in the order in which they may be taken.
pub(crate) mod rank {
    /// `Mesh.state`.
    pub(crate) const MESH: u8 = 0;
    /// `Registry.conns`.
    pub(crate) const CONNS: u8 = 1;
    /// `Registry.info`.
    pub(crate) const INFO: u8 = 2;
    /// `Account.listed`.
    pub(crate) const LISTED: u8 = 3;
    /// `Conn.state`. Never those of two connections.
    pub(crate) const STATE: u8 = 4;
    /// `Turns.marks`.
    pub(crate) const MARKS: u8 = 5;
    /// `Mark.waiting`.
    pub(crate) const WAITING: u8 = 6;
    /// `Conn.flow`. Never those of two connections.
    pub(crate) const FLOW: u8 = 7;
    /// `Compressed.outflow`.
    pub(crate) const COMPRESSED: u8 = 8;
    /// `Framed.held`, above what is encrypted.
    pub(crate) const FRAMED: u8 = 9;
    /// `Encrypted.session`, below what is compressed.
    pub(crate) const ENCRYPTED: u8 = 10;
    /// `Registry.settings`: the limits of accounts change with them.
    pub(crate) const SETTINGS: u8 = 11;
    /// `Account.responses`, above `awaited` of another account.
    pub(crate) const RESPONSES: u8 = 12;
    /// `Registry.closed`, `counters` and `http_requests`, and locks whose holder takes no other.
    pub(crate) const LEAF: u8 = 13;
    /// `Conn.free_slots`, taken when the last reference to a connection is dropped.
    pub(crate) const FREE_SLOTS: u8 = 14;
}

/// A lock of that rank.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T, const RANK: u8>(parking_lot::Mutex<T>);

impl<T, const RANK: u8> Mutex<T, RANK> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }

    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self) -> Guard<MutexGuard<'_, T>, RANK> {
        let held = Held::begin();
        Guard { guard: self.0.lock(), held }
    }
}

/// A lock of that rank for several readers or one writer.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T, const RANK: u8>(parking_lot::RwLock<T>);

impl<T, const RANK: u8> RwLock<T, RANK> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }

    #[inline]
    #[track_caller]
    pub(crate) fn read(&self) -> Guard<RwLockReadGuard<'_, T>, RANK> {
        let held = Held::begin();
        Guard { guard: self.0.read(), held }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn write(&self) -> Guard<RwLockWriteGuard<'_, T>, RANK> {
        let held = Held::begin();
        Guard { guard: self.0.write(), held }
    }
}

/// Holds a [`Mutex`].
pub(crate) type Locked<'a, T, const RANK: u8> = Guard<MutexGuard<'a, T>, RANK>;

/// Holds a lock until it is dropped.
pub(crate) struct Guard<G, const RANK: u8> {
    guard: G,
    held: Held<RANK>,
}

impl<'a, T, const RANK: u8> Guard<MutexGuard<'a, T>, RANK> {
    /// The same lock, held for a part of the guarded value.
    pub(crate) fn map<U>(
        self,
        part: impl FnOnce(&mut T) -> &mut U,
    ) -> Guard<MappedMutexGuard<'a, U>, RANK> {
        Guard { guard: MutexGuard::map(self.guard, part), held: self.held }
    }
}

impl<G: Deref, const RANK: u8> Deref for Guard<G, RANK> {
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut, const RANK: u8> DerefMut for Guard<G, RANK> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// This thread holds a lock of that rank.
struct Held<const RANK: u8>;

thread_local! {
    /// A bit for each rank of which this thread holds a lock.
    static RANKS: Cell<u32> = const { Cell::new(0) };
}

impl<const RANK: u8> Held<RANK> {
    #[inline]
    #[track_caller]
    fn begin() -> Self {
        if cfg!(debug_assertions) {
            let ranks = RANKS.get();
            assert!(ranks >> RANK == 0, "a lock of rank {RANK} under others: {ranks:#b}");
            RANKS.set(ranks | 1 << RANK);
        }
        Self
    }
}

impl<const RANK: u8> Drop for Held<RANK> {
    #[inline]
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            RANKS.set(RANKS.get() & !(1 << RANK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_the_order_of_their_ranks() {
        let (low, high) = (Mutex::<u32, 1>::new(1), RwLock::<u32, 2>::new(2));
        let one = low.lock();
        let two = high.read();
        // Released in any order.
        drop(one);
        assert_eq!(*two, 2);
        drop(two);
        assert_eq!(*low.lock().map(|one| one), 1);
    }

    #[test]
    #[should_panic(expected = "a lock of rank 1 under others: 0b100")]
    fn a_lower_lock_is_not_taken_under_a_higher_one() {
        let (low, high) = (Mutex::<u32, 1>::new(1), RwLock::<u32, 2>::new(2));
        let _two = high.write();
        let _one = low.lock();
    }

    #[test]
    #[should_panic(expected = "a lock of rank 1 under others: 0b10")]
    fn two_locks_of_one_rank_are_not_taken() {
        let [one, two] = [(); 2].map(|()| Mutex::<u32, 1>::new(1));
        let _one = one.lock();
        let _two = two.lock();
    }
}
