//! Sublist: the subscriptions of one account, found by the subject of a message.
//!
//! Subjects without wildcard are in one flat table, patterns in a [trie]; both keep the first entry
//! of a subject and no copy of its text; the [sets] keep the other entries. In production an entry
//! is a thin pointer, so that one more literal subject costs one slot of 8 bytes and its control
//! byte. A change moves some hundred entries at most, however many there are: the tables grow and
//! shrink in pieces ([`Table`]).
//!
//! Knows nothing of clients, routes and locks: a shared sublist needs a lock around it. Caches
//! beside it learn of changes through its [`Epochs`]; the protocol is written there.
//! nats: server/sublist.go `Sublist`

pub mod cache;
pub mod cursor;
pub mod epochs;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod result;
mod sets;
#[cfg(test)]
mod tests;
mod token;
mod trie;

use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::subject::{is_literal, is_valid_subscription};
use crate::base::table::Table;
use crate::sublist::cache::Cached;
use crate::sublist::epochs::Epochs;
use crate::sublist::result::MatchResult;
use crate::sublist::sets::{ALONE, Removed, Sets};
use crate::sublist::trie::Trie;

pub use crate::sublist::sets::UNLISTED;

/// A handle of one subscription, cheap to clone; all clones show the same subscription.
pub trait Entry: Clone {
    /// The subject, never changed while listed.
    fn subject(&self) -> &[u8];

    /// The name of the queue group, never changed while listed.
    fn queue(&self) -> Option<&[u8]>;

    /// The last value of [`set_slot`](Self::set_slot) in any clone; [`UNLISTED`] at first.
    fn slot(&self) -> u32;

    /// Stores the place of the entry in the sublist. Only the sublist that it is in calls this.
    fn set_slot(&self, slot: u32);

    /// True if both are handles of the same subscription.
    fn is_same(&self, other: &Self) -> bool;

    /// The origin of the interest, never changed while listed.
    fn interest(&self) -> Interest;
}

/// The origin of the interest of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// A client of this server.
    Local,
    /// A client of this server, in an account that imports messages from here.
    Import,
    /// Another server of the cluster, which has announced it on a route.
    Route,
    /// This server itself, for messages of its own clients only.
    Service,
    /// This server itself, for messages of all servers.
    Inline,
}

impl Interest {
    /// True if it is announced on routes.
    #[must_use]
    pub fn is_announced(self) -> bool {
        match self {
            Self::Local | Self::Import | Self::Inline => true,
            Self::Route | Self::Service => false,
        }
    }
}

/// Subscriptions by subject.
#[derive(Debug)]
pub struct Sublist<E> {
    /// Heads of the subjects without wildcard, hashed by their subject.
    literals: Table<E>,
    /// Heads of the subjects with wildcard.
    patterns: Trie<E>,
    /// The other entries of each subject.
    sets: Sets<E>,
    /// Keys the hash of `literals`.
    random: RandomState,
    epochs: Arc<Epochs>,
    inserts: u64,
    removes: u64,
}

/// Counters of one sublist, named as in `/subsz`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SublistStats {
    /// Subscriptions now.
    pub num_subscriptions: u64,
    /// Subscriptions ever inserted.
    pub num_inserts: u64,
    /// Subscriptions ever removed.
    pub num_removes: u64,
}

impl<E: Entry> Sublist<E> {
    /// An empty sublist.
    pub fn new() -> Self {
        Self {
            literals: Table::new(),
            patterns: Trie::new(),
            sets: Sets::new(),
            random: RandomState::default(),
            epochs: Arc::new(Epochs::new()),
            inserts: 0,
            removes: 0,
        }
    }

    /// The counters by which a cache finds that a result is outdated.
    pub fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    /// The number of subscriptions.
    pub fn count(&self) -> usize {
        (self.inserts - self.removes) as usize
    }

    /// The counters for monitoring.
    pub fn stats(&self) -> SublistStats {
        SublistStats {
            num_subscriptions: self.inserts - self.removes,
            num_inserts: self.inserts,
            num_removes: self.removes,
        }
    }

    /// Adds a subscription. Changes nothing and returns `false` if it is already in a sublist or
    /// its subject is not [valid](is_valid_subscription).
    pub fn insert(&mut self, entry: E) -> bool {
        if entry.slot() != UNLISTED || !is_valid_subscription(entry.subject()) {
            return false;
        }
        self.bump(&entry);
        self.inserts += 1;
        let Self { literals, patterns, sets, random, .. } = self;
        if !is_literal(entry.subject()) {
            match patterns.add(&entry) {
                Some(head) => sets.join(head, entry),
                None => entry.set_slot(ALONE),
            }
            return true;
        }
        entry.set_slot(ALONE);
        let hash_of = |head: &E| hash(random, head.subject());
        let is_like = |head: &E, entry: &E| head.subject() == entry.subject();
        let join = |head: &mut E, entry| sets.join(head, entry);
        literals.insert_or(hash_of(&entry), entry, is_like, join, hash_of);
        true
    }

    /// Removes a subscription; false if it is not here.
    pub fn remove(&mut self, entry: &E) -> bool {
        if entry.slot() == UNLISTED {
            return false;
        }
        let removed = if is_literal(entry.subject()) {
            self.remove_literal(entry)
        } else {
            self.remove_pattern(entry)
        };
        if removed {
            entry.set_slot(UNLISTED);
            self.bump(entry);
            self.removes += 1;
        }
        removed
    }

    /// Outdates the cached results that hold `entry`, which has changed.
    ///
    /// nats: server/sublist.go `UpdateRemoteQSub`
    pub fn outdate(&self, entry: &E) {
        self.bump(entry);
    }

    /// Outdates all cached results.
    pub fn outdate_all(&self) {
        self.epochs.bump(b">");
    }

    /// The number of announced entries with exactly this subject and queue.
    pub fn announced_count(&self, subject: &[u8], queue: Option<&[u8]>) -> usize {
        let head =
            if is_literal(subject) { self.literal(subject) } else { self.patterns.head(subject) };
        head.map_or(0, |head| self.sets.announced_count(head, queue))
    }

    /// Fills `result` with everything that matches a published subject, which is opaque: tokens `*`
    /// and `>` in it are bytes. A subject with an empty token matches nothing.
    pub fn match_into(&self, subject: &[u8], result: &mut MatchResult<E>) {
        result.clear();
        if let Some(head) = self.literal(subject) {
            self.collect(head, result);
        }
        let mut branch_count = 0;
        let _ = self.patterns.walk(subject, &mut branch_count, |head| {
            self.collect(head, result);
            ControlFlow::Continue(())
        });
        result.branch_count = branch_count;
    }

    /// The first of the plain entries that matches `subject` and for which `is_it` holds; visits at
    /// most `looks_max`.
    pub fn find_plain(
        &self,
        subject: &[u8],
        looks_max: usize,
        is_it: impl Fn(&E) -> bool,
    ) -> Option<E> {
        let mut looks = 0..looks_max;
        let mut found = None;
        let mut visit = |head: &E| {
            let beside = self.sets.beside(head).map_or(&[][..], |(plain, _)| plain);
            for entry in std::iter::once(head).chain(beside) {
                if looks.next().is_none() {
                    return ControlFlow::Break(());
                }
                if entry.queue().is_none() && is_it(entry) {
                    found = Some(entry.clone());
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let literal = self.literal(subject).map_or(ControlFlow::Continue(()), &mut visit);
        if literal.is_continue() {
            let _ = self.patterns.walk(subject, &mut 0, &mut visit);
        }
        found
    }

    /// True if a subscription matches `subject`.
    pub fn has_match(&self, subject: &[u8]) -> bool {
        let found = |_: &E| ControlFlow::Break(());
        self.literal(subject).is_some() || self.patterns.walk(subject, &mut 0, found).is_break()
    }

    /// All subscriptions, in no order.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.literals.iter().chain(self.patterns.heads()).flat_map(|head| {
            let beside = self.sets.beside(head).into_iter();
            let beside = beside.flat_map(|(plain, groups)| plain.iter().chain(groups.flatten()));
            std::iter::once(head).chain(beside)
        })
    }

    fn literal(&self, subject: &[u8]) -> Option<&E> {
        if self.literals.is_empty() {
            return None;
        }
        self.literals.find(hash(&self.random, subject), |head| head.subject() == subject)
    }

    /// Adds a head and the other entries of its subject.
    fn collect(&self, head: &E, result: &mut MatchResult<E>) {
        result.push(head);
        if let Some((plain, groups)) = self.sets.beside(head) {
            result.extend_plain(plain);
            for members in groups {
                result.extend_group(members);
            }
        }
    }

    fn remove_literal(&mut self, entry: &E) -> bool {
        let Self { literals, sets, random, .. } = self;
        let hash_of = |head: &E| hash(random, head.subject());
        let same = |head: &E| head.subject() == entry.subject();
        let mut removed = Removed::Nothing;
        let leaves = |head: &mut E| {
            removed = sets.leave(head, entry);
            if let Removed::Head(next) = &removed {
                *head = next.clone();
            }
            matches!(removed, Removed::LastHead)
        };
        literals.remove_if(hash_of(entry), same, leaves, hash_of);
        !matches!(removed, Removed::Nothing)
    }

    fn remove_pattern(&mut self, entry: &E) -> bool {
        let Some(head) = self.patterns.head_mut(entry.subject()) else { return false };
        match self.sets.leave(head, entry) {
            Removed::Nothing => return false,
            Removed::Member => {}
            Removed::Head(next) => *head = next,
            Removed::LastHead => self.patterns.remove(entry.subject()),
        }
        true
    }

    fn bump(&self, entry: &E) {
        self.epochs.bump(entry.subject());
    }
}

impl<E: Entry> Default for Sublist<E> {
    fn default() -> Self {
        Self::new()
    }
}

fn hash(random: &RandomState, subject: &[u8]) -> u64 {
    let mut hasher = random.build_hasher();
    hasher.write(subject);
    hasher.finish()
}
