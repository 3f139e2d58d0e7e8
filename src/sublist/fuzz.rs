//! Fuzz body of the sublist: operations from bytes, compared with a list of patterns.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::moment::Moment;
use crate::subject::{is_valid_subscription, matches};
use crate::sublist::cache::{Lookup, MatchCache};
use crate::sublist::cursor::Cursor;
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Sublist, UNLISTED};

#[derive(Debug, Clone)]
pub(super) struct Sub(pub(super) Rc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) id: u32,
    subject: Vec<u8>,
    queue: Option<Vec<u8>>,
    remote: bool,
    slot: Cell<u32>,
}

impl Sub {
    pub(super) fn new(id: u32, subject: &[u8], queue: Option<&[u8]>) -> Self {
        let (subject, queue) = (subject.to_vec(), queue.map(<[u8]>::to_vec));
        Self(Rc::new(Inner {
            id,
            subject,
            queue,
            remote: id.is_multiple_of(3),
            slot: Cell::new(UNLISTED),
        }))
    }
}

impl Entry for Sub {
    fn subject(&self) -> &[u8] {
        &self.0.subject
    }

    fn queue(&self) -> Option<&[u8]> {
        self.0.queue.as_deref()
    }

    fn slot(&self) -> u32 {
        self.0.slot.get()
    }

    fn set_slot(&self, slot: u32) {
        self.0.slot.set(slot);
    }

    fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    fn is_remote(&self) -> bool {
        self.0.remote
    }
}

/// Ids of the plain ones, and those of each group.
pub(super) type Found = (BTreeSet<u32>, BTreeMap<Vec<u8>, BTreeSet<u32>>);

/// What a result says; nothing may be in it twice.
pub(super) fn found(result: &MatchResult<Sub>) -> Found {
    let ids = |subs: &[Sub]| -> BTreeSet<u32> { subs.iter().map(|sub| sub.0.id).collect() };
    let plain = ids(result.plain());
    assert_eq!(plain.len(), result.plain().len(), "a subscription twice");
    let mut groups = BTreeMap::new();
    for group in result.groups() {
        let members = ids(group.members());
        assert_eq!(members.len(), group.members().len(), "a member twice");
        assert!(groups.insert(group.queue().to_vec(), members).is_none(), "a group twice");
    }
    (plain, groups)
}

/// What the list of all subscriptions says.
pub(super) fn expected(subs: &[Sub], subject: &[u8]) -> Found {
    let mut all = Found::default();
    for sub in subs.iter().filter(|sub| matches(sub.subject(), subject)) {
        match sub.queue() {
            None => all.0.insert(sub.0.id),
            Some(queue) => all.1.entry(queue.to_vec()).or_default().insert(sub.0.id),
        };
    }
    all
}

pub(super) fn matched(list: &Sublist<Sub>, subject: &[u8]) -> Found {
    let mut result = MatchResult::new();
    list.match_into(subject, &mut result);
    assert_eq!(result.is_empty(), !list.has_interest(subject));
    found(&result)
}

/// Subject and queue.
type Key = (Vec<u8>, Option<Vec<u8>>);

/// How many local entries the list of all subscriptions has by subject and queue.
fn local_counts(subs: &[Sub]) -> BTreeMap<Key, usize> {
    let mut counts = BTreeMap::new();
    for sub in subs.iter().filter(|sub| !sub.is_remote()) {
        *counts.entry(key_of(sub)).or_insert(0) += 1;
    }
    counts
}

fn key_of(sub: &Sub) -> Key {
    (sub.subject().to_vec(), sub.queue().map(<[u8]>::to_vec))
}

/// A cursor on its way, what it has visited, and what it must visit because it was there all the
/// time.
#[derive(Default)]
struct Round {
    cursor: Cursor,
    visited: BTreeSet<Key>,
    steady: BTreeSet<Key>,
}

impl Round {
    fn new(subs: &[Sub]) -> Self {
        Self { steady: local_counts(subs).into_keys().collect(), ..Self::default() }
    }

    /// Goes some steps; true at the end.
    fn step(&mut self, list: &Sublist<Sub>, subs: &[Sub], steps: usize) -> bool {
        let counts = local_counts(subs);
        let done = list.visit_locals(&mut self.cursor, steps, |subject, queue, count| {
            let key = (subject.to_vec(), queue.map(<[u8]>::to_vec));
            assert_eq!(counts.get(&key), Some(&count), "{key:?}");
            assert_eq!(list.local_count(subject, queue), count);
            self.visited.insert(key);
        });
        assert!(!done || self.steady.is_subset(&self.visited), "a subject was left out");
        done
    }
}

/// A subject from four bytes: few short tokens, so that operations meet. May be invalid.
pub(super) fn subject_from(bytes: &[u8]) -> Vec<u8> {
    const TOKENS: [&[u8]; 16] = [
        b"a",
        b"b",
        b"c",
        b"a",
        b"b",
        b"*",
        b"*",
        b">",
        b"aa",
        b"*a",
        b">>",
        b"a",
        b"b",
        b"c",
        b"",
        b"a token that is too long to be inline",
    ];
    let count = usize::from(bytes[0] % 5);
    let picks = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).skip(2);
    let tokens: Vec<&[u8]> = picks.take(count + 1).map(|pick| TOKENS[usize::from(pick)]).collect();
    tokens.join(&b'.')
}

/// Applies operations of five bytes each to a sublist and to a list; ends in assertions.
///
/// The first byte chooses: insert, remove, insert again, remove what is gone, move a cursor, or
/// match, once directly and once through a small cache.
pub fn fuzz_sublist_ops(data: &[u8]) {
    let mut list = Sublist::new();
    let mut cache = MatchCache::<MatchResult<Sub>>::new();
    let mut subs: Vec<Sub> = Vec::new();
    let mut gone: Option<Sub> = None;
    let mut round = Round::default();
    for (id, op) in (0..).zip(data.chunks_exact(5)) {
        let subject = subject_from(&op[1..]);
        match op[0] % 8 {
            0..=2 => {
                let queue = [None, None, Some(&b"q"[..]), Some(b"r"), Some(b"")];
                let queue = match op[0] / 8 {
                    number @ 16.. => Some(vec![b'n', number]),
                    number => queue[usize::from(number % 5)].map(<[u8]>::to_vec),
                };
                let sub = Sub::new(id, &subject, queue.as_deref());
                assert_eq!(list.insert(sub.clone()), is_valid_subscription(&subject));
                if is_valid_subscription(&subject) {
                    assert!(!list.insert(sub.clone()), "inserted twice");
                    subs.push(sub);
                }
            }
            3 | 4 if !subs.is_empty() => {
                let at = usize::from(op[1]) % subs.len();
                let sub = subs.swap_remove(at);
                assert!(list.remove(&sub));
                assert_eq!(sub.slot(), UNLISTED);
                let same =
                    |other: &Sub| other.subject() == sub.subject() && other.queue() == sub.queue();
                if !subs.iter().any(|other| !other.is_remote() && same(other)) {
                    round.steady.remove(&key_of(&sub));
                }
                assert!(!list.remove(&sub), "removed twice");
                gone = Some(sub);
            }
            5 => {
                if let Some(sub) = gone.take() {
                    assert!(list.insert(sub.clone()));
                    subs.push(sub);
                }
            }
            6 if op[0] > 100 => {
                if round.step(&list, &subs, 1 + usize::from(op[1])) {
                    round = Round::new(&subs);
                }
            }
            _ => {
                let expected = expected(&subs, &subject);
                assert_eq!(matched(&list, &subject), expected);
                let stamp = list.epochs().stamp(&subject);
                match cache.lookup(7, &subject, stamp, Moment::START) {
                    Lookup::Hit(result) => assert_eq!(found(result), expected, "stale"),
                    Lookup::Miss(result) => {
                        list.match_into(&subject, result);
                        assert_eq!(found(result), expected);
                    }
                }
            }
        }
        assert_eq!(list.count(), subs.len());
    }
    let listed: BTreeSet<u32> = list.iter().map(|sub| sub.0.id).collect();
    assert_eq!(list.iter().count(), subs.len());
    assert_eq!(listed, subs.iter().map(|sub| sub.0.id).collect());
    while !round.step(&list, &subs, 3) {}
    let mut all = Round::new(&subs);
    while !all.step(&list, &subs, 5) {}
    assert_eq!(all.visited, all.steady);
    let key = (b"no such subject".to_vec(), None);
    assert_eq!(list.local_count(&key.0, key.1), 0);
    for sub in &subs {
        assert!(list.remove(sub));
    }
    cache.clear();
    for sub in &subs {
        assert_eq!(Rc::strong_count(&sub.0), 1, "an entry is still held");
    }
    assert!(list.is_empty());
    list.assert_bare();
}

impl Sublist<Sub> {
    /// Asserts that nothing of former subscriptions is left.
    pub(super) fn assert_bare(&self) {
        assert!(self.literals.is_empty());
        self.patterns.assert_bare();
        assert_eq!(self.iter().count(), 0);
    }
}
