//! The table against a set, and the work of one call.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::base::table::{FULL, Held, Table, Walk};

/// The most entries that one call may move: those of two small tables, whose size is random.
const MOVED_MAX: u64 = 2 * (FULL as u64 + FULL as u64 / 2);

/// A table of numbers, hashed by their digits, that counts the calls for hashes.
struct Numbers {
    table: Table<u32>,
    random: FixedState,
    hashed: Cell<u64>,
}

impl Numbers {
    fn new() -> Self {
        Self { table: Table::new(), random: FixedState::with_seed(14), hashed: Cell::new(0) }
    }

    fn hash(random: &FixedState, number: u32) -> u64 {
        let mut hasher = random.build_hasher();
        hasher.write(number.to_string().as_bytes());
        hasher.finish()
    }

    fn contains(&self, number: u32) -> bool {
        self.table.find(Self::hash(&self.random, number), |&other| other == number).is_some()
    }

    fn insert(&mut self, number: u32) {
        let Self { table, random, hashed } = self;
        table.insert(Self::hash(random, number), number, |&other| {
            hashed.set(hashed.get() + 1);
            Self::hash(random, other)
        });
    }

    fn remove(&mut self, number: u32) -> bool {
        let Self { table, random, hashed } = self;
        let hash = Self::hash(random, number);
        let removed = table.remove(
            hash,
            |&other| other == number,
            |&other| {
                hashed.set(hashed.get() + 1);
                Self::hash(random, other)
            },
        );
        assert!(removed.is_none_or(|removed| removed == number));
        removed.is_some()
    }

    /// The number of entries moved since the last call.
    fn take_moved(&self) -> u64 {
        self.hashed.take()
    }

    fn table_count(&self) -> usize {
        self.table.tables().len()
    }
}

#[test]
fn no_call_moves_many_entries() {
    let mut numbers = Numbers::new();
    let mut moved = 0;
    for number in 0..300_000 {
        numbers.insert(number);
        let now = numbers.take_moved();
        assert!(now <= MOVED_MAX, "{now} moved at {number}");
        moved += now;
    }
    assert_eq!(numbers.table.len(), 300_000);
    // No more in all than a table moves that doubles.
    assert!(moved < 2 * 300_000, "{moved} moved");
    assert!((0..300_000).all(|number| numbers.contains(number)));
    for number in 0..300_000 {
        assert!(numbers.remove(number));
        let now = numbers.take_moved();
        assert!(now <= MOVED_MAX, "{now} moved at {number}");
    }
    assert!(numbers.table.is_empty());
    assert_eq!(numbers.table_count(), 1);
    assert!(numbers.table.tables()[0].capacity() < 100);
}

#[test]
fn it_takes_no_more_than_a_table_that_doubles() {
    for count in [450, 5_000, 100_000, 300_000] {
        let mut numbers = Numbers::new();
        let mut usual = hashbrown::HashTable::new();
        for number in 0..count {
            numbers.insert(number);
            let random = &numbers.random;
            let hash_of = |&other: &u32| Numbers::hash(random, other);
            usual.insert_unique(hash_of(&number), number, hash_of);
        }
        let bytes: usize = numbers.table.tables().iter().map(|table| table.allocation_size()).sum();
        let usual = usual.allocation_size();
        assert!(bytes <= usual + usual / 20, "{bytes} of {usual} for {count}");
    }
}

#[test]
fn it_agrees_with_a_set() {
    let mut random = fastrand::Rng::with_seed(14);
    let mut numbers = Numbers::new();
    let mut set = BTreeSet::new();
    // The set grows to some thousands and shrinks again, beyond several splits and joins.
    for round in 0..40_000_u32 {
        let grows = (round / 8_000).is_multiple_of(2);
        let number = random.u32(..6_000);
        if random.u32(..100) < if grows { 75 } else { 25 } {
            if set.insert(number) {
                numbers.insert(number);
            }
        } else {
            assert_eq!(numbers.remove(number), set.remove(&number));
        }
        assert_eq!(numbers.table.len(), set.len());
        if round % 1_000 == 0 {
            assert!((0..6_000).all(|number| numbers.contains(number) == set.contains(&number)));
            let listed: BTreeSet<u32> = numbers.table.iter().copied().collect();
            assert_eq!(listed, set);
        }
    }
}

#[test]
fn a_walk_visits_what_is_there_all_the_time() {
    let mut random = fastrand::Rng::with_seed(15);
    for round in 0..200 {
        let mut numbers = Numbers::new();
        let (from, to) = [(100, 20_000), (20_000, 100), (3_000, 3_000)][round % 3];
        // Every seventh stays.
        (0..from).for_each(|number| numbers.insert(number));
        let mut now = from;
        let mut walk = Walk::new();
        let mut visited = BTreeSet::new();
        let mut steps = 0;
        while !walk.is_over() {
            visited.extend(numbers.table.step(&mut walk).copied());
            steps += 1;
            for _ in 0..random.u32(..2_000) {
                if now < to {
                    numbers.insert(now);
                    now += 1;
                } else if now > to {
                    now -= 1;
                    numbers.remove(now);
                }
            }
        }
        assert_eq!(numbers.table.step(&mut walk).count(), 0);
        let steady = 0..from.min(to);
        assert!(steady.into_iter().all(|number| visited.contains(&number)), "round {round}");
        assert!(steps <= 1 + 20_000 / 100, "{steps} steps");
    }
}

#[test]
fn taken_in_pieces_the_others_stay_where_they_are() {
    let mut numbers = Numbers::new();
    (0..10_000).for_each(|number| numbers.insert(number));
    numbers.take_moved();
    let mut left: BTreeSet<u32> = (0..10_000).collect();
    loop {
        let some = numbers.table.take_some(100);
        assert!(some.len() <= 100);
        assert!(some.iter().all(|number| left.remove(number)));
        assert_eq!(numbers.table.len(), left.len());
        assert!(left.iter().take(100).all(|&number| numbers.contains(number)));
        if some.is_empty() {
            break;
        }
    }
    assert!(left.is_empty());
    assert_eq!(numbers.take_moved(), 0);
    assert!(matches!(&numbers.table.0, Held::One(table) if table.capacity() == 0));
}
