//! `MatchResult`: the subscriptions found by a match, first plain ones, then queue groups.
//!
//! Invariants: the groups beyond `group_count` are empty and kept for their allocations; `index`
//! holds every group as soon as there are more than [`INDEX_ABOVE`].

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::sublist::Entry;
use crate::sublist::cache::Cached;

/// With more groups than this a name is looked up by hash.
const INDEX_ABOVE: usize = 8;

/// Entries, and groups, that a cleared result keeps room for.
const KEPT_MAX: usize = 64;

/// Everything that matches one subject. Kept and filled again, it does not allocate.
#[derive(Debug)]
pub struct MatchResult<E> {
    plain: Vec<E>,
    groups: Vec<QueueGroup<E>>,
    group_count: usize,
    /// Branches of the trie that the match has visited.
    pub(super) branch_count: usize,
    /// Groups by queue name.
    index: HashTable<u32>,
    random: RandomState,
}

/// The members of one queue on all matching subjects: one of them gets the message.
#[derive(Debug)]
pub struct QueueGroup<E> {
    members: Vec<E>,
}

impl<E: Entry> MatchResult<E> {
    /// An empty result; it allocates when it is filled.
    pub fn new() -> Self {
        Self {
            plain: Vec::new(),
            groups: Vec::new(),
            group_count: 0,
            branch_count: 0,
            index: HashTable::new(),
            random: RandomState::default(),
        }
    }

    /// The matching subscriptions without queue, in no order.
    pub fn plain(&self) -> &[E] {
        &self.plain
    }

    /// The queue groups, each name once, in no order.
    pub fn groups(&self) -> &[QueueGroup<E>] {
        &self.groups[..self.group_count]
    }

    /// All of them, the plain ones first.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.plain.iter().chain(self.groups().iter().flat_map(|group| group.members()))
    }

    /// The number of branches of patterns visited by the match, dead ends included.
    pub fn branch_count(&self) -> usize {
        self.branch_count
    }

    /// Adds one entry, plain or of a queue.
    pub(super) fn push(&mut self, entry: &E) {
        match entry.queue() {
            None => self.plain.push(entry.clone()),
            Some(_) => self.extend_group(std::slice::from_ref(entry)),
        }
    }

    /// Adds plain entries.
    pub(super) fn extend_plain(&mut self, entries: &[E]) {
        self.plain.extend_from_slice(entries);
    }

    /// Adds entries of one queue, at least one.
    pub(super) fn extend_group(&mut self, members: &[E]) {
        let Some(queue) = members[0].queue() else { return };
        let at = self.group_at(queue);
        self.groups[at].members.extend_from_slice(members);
    }

    /// Position of the group of that name, which may be new.
    fn group_at(&mut self, queue: &[u8]) -> usize {
        let count = self.group_count;
        let hash = |queue: &[u8]| {
            let mut hasher = self.random.build_hasher();
            hasher.write(queue);
            hasher.finish()
        };
        if count <= INDEX_ABOVE {
            let mut groups = self.groups[..count].iter();
            if let Some(at) = groups.position(|group| group.queue() == queue) {
                return at;
            }
        } else {
            let named = |&at: &u32| self.groups[at as usize].queue() == queue;
            if let Some(&at) = self.index.find(hash(queue), named) {
                return at as usize;
            }
        }
        let rehash = |&at: &u32| hash(self.groups[at as usize].queue());
        if count == INDEX_ABOVE {
            for at in 0..count as u32 {
                self.index.insert_unique(rehash(&at), at, rehash);
            }
        }
        if count >= INDEX_ABOVE {
            self.index.reserve(1, rehash);
            // There is room now, so the new group, which has no name yet, is not hashed again.
            self.index.insert_unique(hash(queue), count as u32, |_| 0);
        }
        if count == self.groups.len() {
            self.groups.push(QueueGroup { members: Vec::new() });
        }
        self.group_count += 1;
        count
    }
}

impl<E: Entry> Default for MatchResult<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Entry> Cached for MatchResult<E> {
    fn clear(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(KEPT_MAX);
        self.groups.truncate(KEPT_MAX);
        for group in self.groups.iter_mut().take(self.group_count) {
            group.members.clear();
            group.members.shrink_to(KEPT_MAX);
        }
        self.group_count = 0;
        self.index.clear();
        self.index.shrink_to(KEPT_MAX, |_| 0);
    }

    fn heap_bytes(&self) -> usize {
        let members: usize = self.groups.iter().map(|group| group.members.capacity()).sum();
        (self.plain.capacity() + members) * size_of::<E>()
            + self.groups.capacity() * size_of::<QueueGroup<E>>()
            + self.index.allocation_size()
    }

    fn fanout(&self) -> usize {
        self.plain.len() + self.group_count
    }
}

impl<E: Entry> QueueGroup<E> {
    /// The name of the queue.
    pub fn queue(&self) -> &[u8] {
        self.members.first().and_then(Entry::queue).unwrap_or_default()
    }

    /// The members, at least one, in no order.
    pub fn members(&self) -> &[E] {
        &self.members
    }
}
