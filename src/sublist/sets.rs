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
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use crate::sublist::Entry;

/// Slot of an entry that is in no sublist; every entry begins with it.
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
    plain: Vec<E>,
    /// Members by queue name, which is the one of the first member.
    groups: HashTable<Vec<E>>,
}

/// What became of an entry that was to leave.
pub(super) enum Left<E> {
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
        let members = match entry.queue() {
            None => plain,
            Some(queue) => {
                let hash = hash(&self.random, queue);
                let named = |members: &Vec<E>| members[0].queue() == Some(queue);
                let rehash = |members: &Vec<E>| hash_of(&self.random, members);
                match groups.entry(hash, named, rehash) {
                    TableEntry::Occupied(group) => group.into_mut(),
                    TableEntry::Vacant(place) => place.insert(Vec::with_capacity(1)).into_mut(),
                }
            }
        };
        entry.set_slot(members.len() as u32);
        members.push(entry);
    }

    /// Takes `entry` away from the subject of `head`; the caller replaces or removes the head.
    pub(super) fn leave(&mut self, head: &E, entry: &E) -> Left<E> {
        let number = head.slot();
        let left = match (head.is_same(entry), number) {
            (true, ALONE) => Left::LastHead,
            (true, _) => {
                let next = self.pop(number);
                next.set_slot(number);
                Left::Head(next)
            }
            (false, ALONE) => Left::Nothing,
            (false, _) if self.take_member(number, entry) => Left::Member,
            (false, _) => Left::Nothing,
        };
        if number != ALONE {
            let set = &self.sets[number as usize];
            if set.plain.is_empty() && set.groups.is_empty() {
                self.release(number);
                if let Left::Head(head) = &left { head } else { head }.set_slot(ALONE);
            }
        }
        left
    }

    /// The plain entries beside `head`, then its groups, each under one queue name.
    pub(super) fn beside(&self, head: &E) -> Option<(&[E], impl Iterator<Item = &[E]>)> {
        let set = self.sets.get(head.slot() as usize)?;
        Some((&set.plain, set.groups.iter().map(Vec::as_slice)))
    }

    /// Takes any member out of a set.
    fn pop(&mut self, number: u32) -> E {
        let Set { plain, groups } = &mut self.sets[number as usize];
        let member = plain.last().or_else(|| groups.iter().next()?.last());
        let member = member.expect("a set in use is not empty").clone();
        self.take_member(number, &member);
        member
    }

    /// Takes `entry` out of a set, or tells that it is not there.
    fn take_member(&mut self, number: u32, entry: &E) -> bool {
        let Set { plain, groups } = &mut self.sets[number as usize];
        let Some(queue) = entry.queue() else { return take_from(plain, entry) };
        let hash = hash(&self.random, queue);
        let named = |members: &Vec<E>| members[0].queue() == Some(queue);
        let Ok(mut group) = groups.find_entry(hash, named) else { return false };
        let taken = take_from(group.get_mut(), entry);
        if group.get().is_empty() {
            group.remove();
            if groups.capacity() > SHRINK_ABOVE && groups.len() < groups.capacity() / 8 {
                groups.shrink_to(groups.len() * 2, |members| hash_of(&self.random, members));
            }
        }
        taken
    }

    /// Gives the number of an empty set.
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.sets.push(Set { plain: Vec::new(), groups: HashTable::new() });
            (self.sets.len() - 1) as u32
        })
    }

    /// Gives back a set that has become empty, and its memory.
    fn release(&mut self, number: u32) {
        self.sets[number as usize] = Set { plain: Vec::new(), groups: HashTable::new() };
        self.free.push(number);
        if self.free.len() == self.sets.len() {
            self.free = Vec::new();
            self.sets = Vec::new();
        }
    }
}

/// Takes `entry` from where its slot says it is, and tells whether it was there.
fn take_from<E: Entry>(members: &mut Vec<E>, entry: &E) -> bool {
    let at = entry.slot() as usize;
    if !members.get(at).is_some_and(|member| member.is_same(entry)) {
        return false;
    }
    members.swap_remove(at);
    if let Some(moved) = members.get(at) {
        moved.set_slot(at as u32);
    }
    if members.capacity() > SHRINK_ABOVE && members.len() < members.capacity() / 4 {
        members.shrink_to(members.len() * 2);
    }
    true
}

fn hash(random: &RandomState, queue: &[u8]) -> u64 {
    let mut hasher = random.build_hasher();
    hasher.write(queue);
    hasher.finish()
}

fn hash_of<E: Entry>(random: &RandomState, members: &[E]) -> u64 {
    hash(random, members[0].queue().unwrap_or_default())
}
