//! `Table`: a hash table that grows and shrinks in pieces.
//!
//! A usual table moves all its entries when it is full: with millions of them under a lock, others
//! wait for half a second. This one begins as a usual one. Above [`FULL`] entries it becomes a row
//! of small tables. Insertions add one after the other, each by a split of the next in turn, and
//! removals take the last one away again (linear hashing). No call moves more than the entries of
//! two small tables.
//!
//! ```text
//!   numbers of the small tables, by the lower bits of a hash
//!     00    1   10              3 of them: the first is split, 1 is the next in turn
//!     00   01   10   11         4 of them: the next round begins with 00
//!    000   01   10   11   100   5 of them
//! ```
//!
//! Knows nothing of keys: as with hashbrown, the caller hashes and compares.
//! Invariant: an entry is in the small table that [`place`] gives for its hash.

use std::slice;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Entries of a small table, on average, when a round of splits begins. A table of 512 buckets has
/// room for 448, and few are so far above the average.
const FULL: usize = 400;

/// Insertions from one split of a round to the next: the last table is split before it fills up.
const INSERTIONS_PER_SPLIT: usize = 8;

/// Entries of a small table, on average, when a round of splits is undone.
const SPARSE: usize = 50;

/// A single table above this capacity shrinks when an eighth of it is used.
const SHRINK_ABOVE: usize = 64;

/// Lowest bit of a hash that chooses the small table; hashbrown uses the bits below, and the
/// highest ones.
const LOWEST_BIT: u32 = 20;

/// Entries by their hash.
#[derive(Debug)]
pub struct Table<T>(Held<T>);

#[derive(Debug)]
enum Held<T> {
    /// Most tables stay small, and cost no more than this.
    One(HashTable<T>),
    Many(Box<Row<T>>),
}

/// Small tables, at least two.
#[derive(Debug)]
struct Row<T> {
    tables: Vec<HashTable<T>>,
    /// The bits that choose a table, if that table exists; else one bit fewer.
    mask: usize,
    /// Entries of all.
    len: usize,
    /// With more entries the next table is split,
    len_max: usize,
    /// with fewer the last one is joined.
    len_min: usize,
}

/// A walk over a table that may change between two steps: the hash of the next step, none at the
/// end. Its bits are reversed, so that a small table is a stretch of the way, before and after a
/// split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk(Option<u64>);

impl Walk {
    /// A walk at its end.
    pub const OVER: Self = Self(None);

    /// A walk at its start.
    pub const fn new() -> Self {
        Self(Some(0))
    }

    /// True if all entries have been visited.
    pub fn is_over(self) -> bool {
        self.0.is_none()
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Table<T> {
    /// An empty table, which allocates nothing.
    pub const fn new() -> Self {
        Self(Held::One(HashTable::new()))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::One(table) => table.len(),
            Held::Many(row) => row.len,
        }
    }

    /// True if there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Held::One(table) if table.is_empty())
    }

    /// The entry with this hash for which `is_it` is true.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        let table = match &self.0 {
            Held::One(table) => table,
            Held::Many(row) => &row.tables[row.place(hash)],
        };
        table.find(hash, is_it)
    }

    /// See [`find`](Self::find).
    #[inline]
    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.table_of(hash).find_mut(hash, is_it)
    }

    /// Adds a new entry. `hash_of` gives the hashes of entries that move.
    #[inline]
    pub fn insert(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        self.table_of(hash).insert_unique(hash, entry, &hash_of);
        self.grow(hash_of);
    }

    /// Adds an entry, or lets it `join` an entry with this hash for which `is_like` is true.
    #[inline]
    pub fn insert_or(
        &mut self,
        hash: u64,
        entry: T,
        is_like: impl Fn(&T, &T) -> bool,
        join: impl FnOnce(&mut T, T),
        hash_of: impl Fn(&T) -> u64,
    ) {
        match self.table_of(hash).entry(hash, |other| is_like(other, &entry), &hash_of) {
            Entry::Occupied(like) => join(like.into_mut(), entry),
            Entry::Vacant(vacant) => {
                vacant.insert(entry);
                self.grow(hash_of);
            }
        }
    }

    /// Adjusts the table after an insertion.
    #[inline]
    fn grow(&mut self, hash_of: impl Fn(&T) -> u64) {
        match &mut self.0 {
            Held::One(table) if table.len() <= FULL => {}
            Held::One(table) => {
                let row = Row::new(std::mem::take(table), hash_of);
                self.0 = Held::Many(Box::new(row));
            }
            Held::Many(row) => {
                row.len += 1;
                if row.len > row.len_max {
                    row.split(hash_of);
                }
            }
        }
    }

    /// Removes the entry with this hash for which `is_it` is true. `hash_of` gives the hashes of
    /// entries that move.
    #[inline]
    pub fn remove(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Option<T> {
        self.remove_if(hash, is_it, |_| true, hash_of)
    }

    /// The same, but `goes` sees the entry first, and may change it if it stays.
    #[inline]
    pub fn remove_if(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        goes: impl FnOnce(&mut T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let mut found = self.table_of(hash).find_entry(hash, is_it).ok()?;
        if !goes(found.get_mut()) {
            return None;
        }
        let (entry, _) = found.remove();
        match &mut self.0 {
            Held::One(table) => {
                if table.capacity() > SHRINK_ABOVE && table.len() < table.capacity() / 8 {
                    table.shrink_to(table.len() * 2, hash_of);
                }
            }
            Held::Many(row) => {
                row.len -= 1;
                if row.len < row.len_min {
                    row.join(hash_of);
                    self.unite();
                }
            }
        }
        Some(entry)
    }

    /// Removes some entries, at most `count_max`; none if none are left. No other one moves.
    pub fn take_some(&mut self, count_max: usize) -> Vec<T> {
        while let Held::Many(row) = &mut self.0 {
            let last = row.tables.last_mut().expect("a row has two tables");
            let some: Vec<T> = last.extract_if(|_| true).take(count_max).collect();
            row.len -= some.len();
            if last.is_empty() {
                row.tables.pop();
                row.set_bounds();
                self.unite();
            }
            if !some.is_empty() {
                return some;
            }
        }
        let Held::One(table) = &mut self.0 else { return Vec::new() };
        let some = table.extract_if(|_| true).take(count_max).collect();
        if table.is_empty() {
            *table = HashTable::new();
        }
        some
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.tables().iter().flatten()
    }

    /// The next entries on a walk, those of one small table. Entries present all the time are
    /// visited at least once; other entries may be left out, and one may be visited twice.
    pub fn step(&self, walk: &mut Walk) -> impl Iterator<Item = &T> {
        let tables = self.tables();
        let table = walk.0.map(|from| {
            let place = place(from.reverse_bits(), mask(tables.len()), tables.len());
            walk.0 = (from | u64::MAX >> bit_count(place, tables.len())).checked_add(1);
            &tables[place]
        });
        table.into_iter().flatten()
    }

    fn tables(&self) -> &[HashTable<T>] {
        match &self.0 {
            Held::One(table) => slice::from_ref(table),
            Held::Many(row) => &row.tables,
        }
    }

    /// The small table for entries of that hash.
    #[inline]
    fn table_of(&mut self, hash: u64) -> &mut HashTable<T> {
        match &mut self.0 {
            Held::One(table) => table,
            Held::Many(row) => {
                let place = row.place(hash);
                &mut row.tables[place]
            }
        }
    }

    /// Goes back to a single table when the row has become one.
    fn unite(&mut self) {
        if let Held::Many(row) = &mut self.0
            && let [last] = &mut *row.tables
        {
            self.0 = Held::One(std::mem::take(last));
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Row<T> {
    fn new(table: HashTable<T>, hash_of: impl Fn(&T) -> u64) -> Self {
        let (len, tables) = (table.len(), vec![table]);
        let mut row = Self { tables, mask: 0, len, len_max: 0, len_min: 0 };
        row.split(hash_of);
        row
    }

    /// The number of the small table for entries of that hash.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        place(choice(hash), self.mask, self.tables.len())
    }

    /// Splits the next table in turn.
    #[cold]
    fn split(&mut self, hash_of: impl Fn(&T) -> u64) {
        let (at_start, split) = round(self.tables.len());
        // Each has room for as many as the old one: it will have as many when it is split. The old
        // one keeps its memory, since holes between subscriptions would stay.
        let mut leave = HashTable::with_capacity(FULL);
        let stay = &mut self.tables[split];
        let all: Vec<(u64, T)> = stay.drain().map(|entry| (hash_of(&entry), entry)).collect();
        if stay.num_buckets() > leave.num_buckets() {
            *stay = HashTable::with_capacity(FULL);
        }
        for (hash, entry) in all {
            let leaves = choice(hash) & at_start as u64 != 0;
            let part = if leaves { &mut leave } else { &mut *stay };
            part.insert_unique(hash, entry, &hash_of);
        }
        self.tables.push(leave);
        self.set_bounds();
    }

    /// Joins the last table with the one that it came from.
    #[cold]
    fn join(&mut self, hash_of: impl Fn(&T) -> u64) {
        let (_, split) = round(self.tables.len() - 1);
        for entry in self.tables.pop().into_iter().flatten() {
            self.tables[split].insert_unique(hash_of(&entry), entry, &hash_of);
        }
        self.set_bounds();
    }

    /// Sets the bounds that depend on the number of tables.
    fn set_bounds(&mut self) {
        let count = self.tables.len();
        self.mask = mask(count);
        let (at_start, split) = round(count);
        self.len_max = at_start * FULL + split * INSERTIONS_PER_SPLIT;
        let (at_start, split) = round((count - 1).max(1));
        self.len_min = at_start * SPARSE + split * INSERTIONS_PER_SPLIT;
    }
}

/// The tables at the start of this round of splits, and the number of those already split.
fn round(table_count: usize) -> (usize, usize) {
    let at_start = 1 << table_count.ilog2();
    (at_start, table_count - at_start)
}

/// The bits of a hash that choose the small table.
#[inline]
fn choice(hash: u64) -> u64 {
    hash >> LOWEST_BIT
}

/// All bits that may choose one of so many small tables.
fn mask(table_count: usize) -> usize {
    table_count.next_power_of_two() - 1
}

/// The number of the chosen small table, of so many.
#[inline]
fn place(choice: u64, mask: usize, table_count: usize) -> usize {
    let place = choice as usize & mask;
    if place < table_count { place } else { place & (mask >> 1) }
}

/// The number of bits that choose the small table at that place.
fn bit_count(place: usize, table_count: usize) -> u32 {
    let all = table_count.next_power_of_two();
    let waits_for_split = place < all / 2 && place + all / 2 >= table_count;
    all.ilog2() - u32::from(waits_for_split)
}

#[cfg(test)]
mod tests;
