//! Empty mappings, kept for the next connection that falls behind.
//!
//! A receiver as fast as its publisher still falls behind and catches up many times a second. New
//! pages for its queue cost more than the write: so an empty mapping is used again. All threads
//! share the mappings, since the thread that appends is rarely the one that writes. Mappings not
//! needed from one [`trim`] to the next go back to the system.

use memmap2::MmapMut;
use parking_lot::Mutex;

use crate::base::left::Left;

/// Bytes of a mapping: enough that a lock and a few system calls cost little beside the write to a
/// socket, and no more, since a thousand receivers may be that far behind at once.
pub(super) const MAPPED_LEN: usize = 64 * 1024;

/// Mappings that are kept: 16 MiB.
const SPARES_MAX: usize = 16 * 1024 * 1024 / MAPPED_LEN;

/// Mappings that one [`trim`] gives back: less than a millisecond of work.
const TRIM_MAX: usize = 64;

static SPARES: Mutex<Spares> = Mutex::new(Spares::new());

/// A mapping that was used before, its bytes not cleared.
pub(super) fn take() -> Option<MmapMut> {
    SPARES.lock().take()
}

/// Keeps a mapping, or gives it back to the system if there are enough.
pub(super) fn keep(map: MmapMut) {
    // The lock is released before the system is called.
    let beyond = SPARES.lock().keep(map);
    drop(beyond);
}

/// Gives back to the system the mappings not needed since the last call, as far as one call does.
/// While some mappings are left, another call is due.
pub fn trim() -> Left {
    let (idle, left) = {
        let mut spares = SPARES.lock();
        let idle = spares.trim();
        (idle, if spares.maps.is_empty() { Left::Nothing } else { Left::More })
    };
    drop(idle);
    left
}

/// Mappings, the last one used last.
struct Spares {
    maps: Vec<MmapMut>,
    /// The smallest number since the last trim.
    fewest: usize,
}

impl Spares {
    const fn new() -> Spares {
        Spares { maps: Vec::new(), fewest: 0 }
    }

    fn take(&mut self) -> Option<MmapMut> {
        let map = self.maps.pop();
        self.fewest = self.fewest.min(self.maps.len());
        map
    }

    /// Returns the mapping if there is no room for it.
    fn keep(&mut self, map: MmapMut) -> Option<MmapMut> {
        if self.maps.len() == SPARES_MAX {
            return Some(map);
        }
        self.maps.push(map);
        None
    }

    fn trim(&mut self) -> Vec<MmapMut> {
        let idle = self.maps.drain(..self.fewest.min(TRIM_MAX)).collect();
        self.fewest = self.maps.len();
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> MmapMut {
        MmapMut::map_anon(MAPPED_LEN).expect("a mapping")
    }

    #[test]
    fn what_nobody_needs_is_given_back() {
        let mut spares = Spares::new();
        for _ in 0..6 {
            assert!(spares.keep(map()).is_none());
        }
        assert_eq!(spares.trim().len(), 0, "they have just come");
        let used: Vec<_> = (0..2).map_while(|_| spares.take()).collect();
        used.into_iter().for_each(|map| assert!(spares.keep(map).is_none()));
        assert_eq!(spares.trim().len(), 4, "two were needed");
        assert_eq!(spares.trim().len(), 2, "and then no more");
        assert!(spares.take().is_none());
    }

    #[test]
    fn a_bound_holds_and_a_trim_is_short() {
        let mut spares = Spares::new();
        let beyond = (0..SPARES_MAX + 3).filter_map(|_| spares.keep(map())).count();
        assert_eq!(beyond, 3);
        assert_eq!(spares.trim().len(), 0);
        assert_eq!(spares.trim().len(), TRIM_MAX);
        assert_eq!(spares.maps.len(), SPARES_MAX - TRIM_MAX);
    }
}
