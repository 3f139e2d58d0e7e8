//! The subscriptions that share a subject with an earlier one.
//!
//! The first entry on a subject, its *head*, lives in the table or trie that finds the subject;
//! alone it costs nothing here. Those that follow go to a set, and the head's slot names that set.
//!
//! Invariants, by the slot of an entry: [`UNLISTED`] in no sublist; of a head [`ALONE`] or the
//! number of its set; of any other its position in `plain` or in its group. A set in use is not
//! empty, nor is any of its groups.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::base::table::{Table, Walk};
use crate::sublist::Entry;

/// Slot of an entry in no sublist; every entry begins with it.
pub const UNLISTED: u32 = u32::MAX;

/// Slot of a head without a set.
pub(super) const ALONE: u32 = u32::MAX - 1;

/// Vectors of at most this capacity are not worth shrinking.
const SHRINK_ABOVE: usize = 32;

/// All sets of one sublist.
#[derive(Debug)]
pub(super) struct Sets<E> {
    /// Sets by number; those named in `free` are empty.
    sets: Vec<Set<E>>,
    /// Numbers to be used again.
    free: Vec<u32>,
    /// Keys the hash of queue names.
    random: RandomState,
}

/// The entries of one subject, without the head.
#[derive(Debug)]
struct Set<E> {
    plain: Members<E>,
    /// Members by queue name, which is read from the first member.
    groups: Table<Members<E>>,
}

/// Entries without queue, or of one queue.
#[derive(Debug)]
struct Members<E> {
    entries: Vec<E>,
    /// The number of them that are announced on routes.
    announced_count: u32,
}

/// The result of removing an entry.
pub(super) enum Removed<E> {
    /// It was not there.
    Nothing,
    /// It was a member of the set.
    Member,
    /// It was the head, and was alone.
    LastHead,
    /// It was the head, and this one takes its place.
    Head(E),
}

impl<E: Entry> Sets<E> {
    pub(super) fn new() -> Self {
        Self { sets: Vec::new(), free: Vec::new(), random: RandomState::default() }
    }

    /// Puts `entry` beside `head`.
    pub(super) fn join(&mut self, head: &E, entry: E) {
        if head.slot() == ALONE {
            head.set_slot(self.take());
        }
        let Set { plain, groups } = &mut self.sets[head.slot() as usize];
        let Some(queue) = entry.queue() else { return plain.push(entry) };
        let hash = hash(&self.random, queue);
        match groups.find_mut(hash, |members| members.queue() == Some(queue)) {
            Some(group) => group.push(entry),
            None => {
                let mut group = Members::new();
                group.push(entry);
                groups.insert(hash, group, |members| members.hash(&self.random));
            }
        }
    }

    /// Takes `entry` away from the subject of `head`; the caller replaces or removes the head.
    pub(super) fn leave(&mut self, head: &E, entry: &E) -> Removed<E> {
        let number = head.slot();
        let removed = match (head.is_same(entry), number) {
            (true, ALONE) => Removed::LastHead,
            (true, _) => {
                let next = self.pop(number);
                next.set_slot(number);
                Removed::Head(next)
            }
            (false, ALONE) => Removed::Nothing,
            (false, _) if self.take_member(number, entry) => Removed::Member,
            (false, _) => Removed::Nothing,
        };
        if number != ALONE {
            let set = &self.sets[number as usize];
            if set.plain.entries.is_empty() && set.groups.is_empty() {
                self.release(number);
                if let Removed::Head(head) = &removed { head } else { head }.set_slot(ALONE);
            }
        }
        removed
    }

    /// The plain entries beside `head`, then its groups, each under one queue name.
    pub(super) fn beside(&self, head: &E) -> Option<(&[E], impl Iterator<Item = &[E]>)> {
        let set = self.sets.get(head.slot() as usize)?;
        Some((&set.plain.entries, set.groups.iter().map(|members| members.entries.as_slice())))
    }

    /// The number of announced entries of `queue` on the subject of `head`, with the head.
    pub(super) fn announced_count(&self, head: &E, queue: Option<&[u8]>) -> usize {
        let is_one = head.interest().is_announced() && head.queue() == queue;
        usize::from(is_one) + self.announced_count_beside(head, queue)
    }

    /// The same without the head.
    pub(super) fn announced_count_beside(&self, head: &E, queue: Option<&[u8]>) -> usize {
        let members = self.sets.get(head.slot() as usize).and_then(|set| match queue {
            None => Some(&set.plain),
            Some(queue) => {
                let named = |members: &Members<E>| members.queue() == Some(queue);
                set.groups.find(hash(&self.random, queue), named)
            }
        });
        members.map_or(0, |members| members.announced_count as usize)
    }

    /// One more than the highest number of a set; some numbers may be unused.
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// The next groups on a walk over those of a set with announced members: one member of each.
    pub(super) fn step_groups(&self, number: usize, walk: &mut Walk) -> impl Iterator<Item = &E> {
        let groups = self.sets[number].groups.step(walk);
        groups.filter(|members| members.announced_count > 0).map(|members| &members.entries[0])
    }

    /// Takes any member out of a set.
    fn pop(&mut self, number: u32) -> E {
        let Set { plain, groups } = &mut self.sets[number as usize];
        let member = plain.entries.last().or_else(|| groups.iter().next()?.entries.last());
        let member = member.expect("a set in use is not empty").clone();
        self.take_member(number, &member);
        member
    }

    /// Takes `entry` out of a set; false if it is not there.
    fn take_member(&mut self, number: u32, entry: &E) -> bool {
        let Set { plain, groups } = &mut self.sets[number as usize];
        let Some(queue) = entry.queue() else { return plain.take(entry) };
        let hash = hash(&self.random, queue);
        let named = |members: &Members<E>| members.queue() == Some(queue);
        let Some(group) = groups.find_mut(hash, named) else { return false };
        let taken = group.take(entry);
        if group.entries.is_empty() {
            let is_empty = |members: &Members<E>| members.entries.is_empty();
            groups.remove(hash, is_empty, |members| members.hash(&self.random));
        }
        taken
    }

    /// Gives the number of an empty set.
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.sets.push(Set::new());
            (self.sets.len() - 1) as u32
        })
    }

    /// Gives back a set that has become empty, and its memory.
    fn release(&mut self, number: u32) {
        self.sets[number as usize] = Set::new();
        self.free.push(number);
        if self.free.len() == self.sets.len() {
            self.free = Vec::new();
            self.sets = Vec::new();
        }
    }
}

impl<E: Entry> Set<E> {
    fn new() -> Self {
        Self { plain: Members::new(), groups: Table::new() }
    }
}

impl<E: Entry> Members<E> {
    fn new() -> Self {
        Self { entries: Vec::new(), announced_count: 0 }
    }

    fn queue(&self) -> Option<&[u8]> {
        self.entries[0].queue()
    }

    fn push(&mut self, entry: E) {
        entry.set_slot(self.entries.len() as u32);
        self.announced_count += u32::from(entry.interest().is_announced());
        // Most groups stay alone on their subject.
        if self.entries.is_empty() {
            self.entries.reserve_exact(1);
        }
        self.entries.push(entry);
    }

    /// Takes `entry` from the place in its slot; false if it is not there.
    fn take(&mut self, entry: &E) -> bool {
        let Self { entries, announced_count } = self;
        let at = entry.slot() as usize;
        if !entries.get(at).is_some_and(|member| member.is_same(entry)) {
            return false;
        }
        entries.swap_remove(at);
        *announced_count -= u32::from(entry.interest().is_announced());
        if let Some(moved) = entries.get(at) {
            moved.set_slot(at as u32);
        }
        if entries.capacity() > SHRINK_ABOVE && entries.len() < entries.capacity() / 4 {
            entries.shrink_to(entries.len() * 2);
        }
        true
    }

    fn hash(&self, random: &RandomState) -> u64 {
        hash(random, self.queue().unwrap_or_default())
    }
}

fn hash(random: &RandomState, queue: &[u8]) -> u64 {
    let mut hasher = random.build_hasher();
    hasher.write(queue);
    hasher.finish()
}
