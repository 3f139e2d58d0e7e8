//! Fuzz body of the sublist: operations from bytes, compared with a list of patterns.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::base::subject::{is_valid_subscription, matches};
use crate::sublist::cache::{Lookup, MatchCache};
use crate::sublist::cursor::Cursor;
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Interest, Sublist, UNLISTED};

#[derive(Debug, Clone)]
pub(super) struct Sub(pub(super) Rc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) id: u32,
    subject: Vec<u8>,
    queue: Option<Vec<u8>>,
    interest: Interest,
    slot: Cell<u32>,
}

impl Sub {
    pub(super) fn new(id: u32, subject: &[u8], queue: Option<&[u8]>) -> Self {
        let (subject, queue) = (subject.to_vec(), queue.map(<[u8]>::to_vec));
        Self(Rc::new(Inner {
            id,
            subject,
            queue,
            interest: if id.is_multiple_of(3) { Interest::Route } else { Interest::Local },
            slot: Cell::new(UNLISTED),
        }))
    }
}

thread_local! {
    /// The number of reads of an entry's subject or queue on this thread.
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// The number of such reads since the last call.
#[cfg(test)]
pub(super) fn take_looks() -> u64 {
    LOOKS.take()
}

impl Entry for Sub {
    fn subject(&self) -> &[u8] {
        LOOKS.set(LOOKS.get() + 1);
        &self.0.subject
    }

    fn queue(&self) -> Option<&[u8]> {
        LOOKS.set(LOOKS.get() + 1);
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

    fn interest(&self) -> Interest {
        self.0.interest
    }
}

/// Ids of the plain ones, and those of each group.
pub(super) type Found = (BTreeSet<u32>, BTreeMap<Vec<u8>, BTreeSet<u32>>);

/// The ids in a result; asserts that none is in it twice.
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

/// The ids expected from the list of all subscriptions.
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
    found(&result)
}

/// Subject and queue.
type Key = (Vec<u8>, Option<Vec<u8>>);

/// The number of announced entries in the list of all subscriptions, by subject and queue.
fn announced_counts(subs: &[Sub]) -> BTreeMap<Key, usize> {
    let mut counts = BTreeMap::new();
    for sub in subs.iter().filter(|sub| sub.interest().is_announced()) {
        *counts.entry(key_of(sub)).or_insert(0) += 1;
    }
    counts
}

fn key_of(sub: &Sub) -> Key {
    (sub.subject().to_vec(), sub.queue().map(<[u8]>::to_vec))
}

/// A cursor on its way, the entries it has visited, and those it must visit because they were there
/// all the time: of a queue, because their number stayed the same.
#[derive(Default)]
struct Round {
    cursor: Cursor,
    visited: BTreeSet<Key>,
    steady: BTreeSet<Key>,
}

impl Round {
    fn new(subs: &[Sub]) -> Self {
        Self { steady: announced_counts(subs).into_keys().collect(), ..Self::default() }
    }

    /// Goes some steps.
    fn step(&mut self, list: &Sublist<Sub>, subs: &[Sub], steps: usize) -> Left {
        let counts = announced_counts(subs);
        let left = list.visit_announced(&mut self.cursor, steps, |subject, queue, count| {
            let key = (subject.to_vec(), queue.map(<[u8]>::to_vec));
            assert_eq!(counts.get(&key), Some(&count), "{key:?}");
            assert_eq!(list.announced_count(subject, queue), count);
            self.visited.insert(key);
        });
        let done = left == Left::Nothing;
        assert!(!done || self.steady.is_subset(&self.visited), "a subject was left out");
        left
    }
}

/// A subject from four bytes: few short tokens, so that operations hit the same ones. May be
/// invalid.
fn subject_from(bytes: &[u8]) -> Vec<u8> {
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

/// One of a crowd: all have a subject, or a queue, of their own.
fn one_of_crowd(kind: u8, id: u32) -> Sub {
    let number = id.to_string();
    match kind % 4 {
        0 => Sub::new(id, format!("n.{number}").as_bytes(), None),
        1 => Sub::new(id, format!("a.{number}.*").as_bytes(), None),
        2 => Sub::new(id, b"a.b", Some(number.as_bytes())),
        _ => Sub::new(id, b"a.*", Some(number.as_bytes())),
    }
}

/// A sublist, the list of all subscriptions, and a cursor on its way.
#[derive(Default)]
struct Play {
    list: Sublist<Sub>,
    subs: Vec<Sub>,
    round: Round,
    ids: u32,
}

impl Play {
    fn next_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    fn insert(&mut self, sub: Sub) {
        let valid = is_valid_subscription(sub.subject());
        assert_eq!(self.list.insert(sub.clone()), valid);
        if valid {
            assert!(!self.list.insert(sub.clone()), "inserted twice");
            if sub.queue().is_some() {
                self.round.steady.remove(&key_of(&sub));
            }
            self.subs.push(sub);
        }
    }

    fn remove(&mut self, at: usize) -> Sub {
        let sub = self.subs.swap_remove(at);
        assert!(self.list.remove(&sub));
        assert_eq!(sub.slot(), UNLISTED);
        assert!(!self.list.remove(&sub), "removed twice");
        let same = |other: &Sub| other.subject() == sub.subject() && other.queue().is_none();
        let others = self.subs.iter().any(|other| other.interest().is_announced() && same(other));
        if sub.queue().is_some() || !others {
            self.round.steady.remove(&key_of(&sub));
        }
        sub
    }

    /// Walks over all, removes all, and asserts that nothing is left.
    fn finish(self, mut cache: MatchCache<MatchResult<Sub>>) {
        let Play { mut list, subs, mut round, .. } = self;
        let listed: BTreeSet<u32> = list.iter().map(|sub| sub.0.id).collect();
        assert_eq!(list.iter().count(), subs.len());
        assert_eq!(listed, subs.iter().map(|sub| sub.0.id).collect());
        while round.step(&list, &subs, 3) == Left::More {}
        let mut all = Round::new(&subs);
        while all.step(&list, &subs, 5) == Left::More {}
        assert_eq!(all.visited, all.steady);
        let key = (b"no such subject".to_vec(), None);
        assert_eq!(list.announced_count(&key.0, key.1), 0);
        for sub in &subs {
            assert!(list.remove(sub));
        }
        cache.clear();
        for sub in &subs {
            assert_eq!(Rc::strong_count(&sub.0), 1, "an entry is still held");
        }
        assert_eq!(list.count(), 0);
        list.assert_bare();
    }
}

/// Applies operations of five bytes each to a sublist and to a list; ends in assertions.
///
/// The first byte chooses: insert, remove, insert again, remove twice, add or remove a crowd, move
/// a cursor, or match, once directly and once through a small cache.
pub fn fuzz_sublist_ops(data: &[u8]) {
    let mut cache = MatchCache::<MatchResult<Sub>>::new();
    let mut play = Play::default();
    let mut gone: Option<Sub> = None;
    for op in data.chunks_exact(5) {
        let subject = subject_from(&op[1..]);
        match op[0] % 8 {
            0..=2 => {
                let queue = [None, None, Some(&b"q"[..]), Some(b"r"), Some(b"")];
                let queue = match op[0] / 8 {
                    number @ 16.. => Some(vec![b'n', number]),
                    number => queue[usize::from(number % 5)].map(<[u8]>::to_vec),
                };
                let id = play.next_id();
                play.insert(Sub::new(id, &subject, queue.as_deref()));
            }
            3 | 4 if !play.subs.is_empty() => {
                gone = Some(play.remove(usize::from(op[1]) % play.subs.len()));
            }
            5 => gone.take().into_iter().for_each(|sub| play.insert(sub)),
            7 if op[0] == 255 && op[1] < 16 && play.subs.len() < 1_000 => {
                for _ in 0..500 {
                    let id = play.next_id();
                    play.insert(one_of_crowd(op[1], id));
                }
            }
            7 if op[0] == 247 && op[1] < 16 => {
                for _ in 0..play.subs.len().min(1_000) {
                    play.remove(play.subs.len() - 1);
                }
            }
            6 if op[0] > 100 => {
                let Play { list, subs, round, .. } = &mut play;
                if round.step(list, subs, 1 + usize::from(op[1])) == Left::Nothing {
                    *round = Round::new(subs);
                }
            }
            _ => {
                let expected = expected(&play.subs, &subject);
                assert_eq!(matched(&play.list, &subject), expected);
                match cache.lookup(7, &subject, &**play.list.epochs(), Moment::START) {
                    Lookup::Hit(result) => assert_eq!(found(result), expected, "stale"),
                    Lookup::Miss(result) => {
                        play.list.match_into(&subject, result);
                        assert_eq!(found(result), expected);
                    }
                }
            }
        }
        assert_eq!(play.list.count(), play.subs.len());
    }
    play.finish(cache);
}

impl Sublist<Sub> {
    /// Asserts that nothing of former subscriptions is left.
    pub(super) fn assert_bare(&self) {
        assert!(self.literals.is_empty());
        self.patterns.assert_bare();
        assert_eq!(self.iter().count(), 0);
    }
}
