//! Loom's atomics and locks under the names of `base/sync.rs`.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

pub(crate) mod rank {
    pub(crate) const MARKS: u8 = 0;
    pub(crate) const WAITING: u8 = 0;
    pub(crate) const FLOW: u8 = 0;
}

#[derive(Default)]
pub(crate) struct Mutex<T, const RANK: u8>(loom::sync::Mutex<T>);

pub(crate) type Locked<'a, T, const RANK: u8> = MutexGuard<'a, T>;

impl<T, const RANK: u8> Mutex<T, RANK> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

#[derive(Default)]
pub(crate) struct RwLock<T, const RANK: u8>(loom::sync::RwLock<T>);

impl<T, const RANK: u8> RwLock<T, RANK> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap()
    }
}
