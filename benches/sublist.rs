//! Matching, inserting and removing, in process, and what a subscription costs in memory.
//!
//! The subjects are those of the design notes: `svc.<a>.node.<b>`, and 111 patterns among them. The
//! entry is what the server uses: one word that points to subject, queue and slot together.
//! Run: `cargo bench --bench sublist`. The memory table comes first, from `/proc/self/statm`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use dialtone::sublist::cache::{Lookup, MatchCache};
use dialtone::sublist::result::MatchResult;
use dialtone::sublist::{Entry, Sublist, UNLISTED};
use divan::Bencher;
use triomphe::ThinArc;

const SIZES: [u32; 3] = [100, 100_000, 1_000_000];

#[derive(Clone)]
struct Sub(ThinArc<Head, u8>);

struct Head {
    slot: AtomicU32,
    /// Whether the queue `q` has it.
    queued: bool,
}

impl Sub {
    fn new(subject: &str) -> Self {
        let head = Head { slot: AtomicU32::new(UNLISTED), queued: false };
        Self(ThinArc::from_header_and_slice(head, subject.as_bytes()))
    }
}

impl Entry for Sub {
    fn subject(&self) -> &[u8] {
        &self.0.slice
    }

    fn queue(&self) -> Option<&[u8]> {
        self.0.header.header.queued.then_some(b"q")
    }

    fn slot(&self) -> u32 {
        self.0.header.header.slot.load(Ordering::Relaxed)
    }

    fn set_slot(&self, slot: u32) {
        self.0.header.header.slot.store(slot, Ordering::Relaxed);
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
    }

    fn is_remote(&self) -> bool {
        false
    }
}

fn literal(number: u32) -> String {
    format!("svc.{}.node.{}", number % 1000, number / 1000)
}

fn patterns() -> impl Iterator<Item = Sub> {
    let ten = (0..10).map(|n| format!("svc.{n}.>"));
    let hundred = (0..100).map(|n| format!("svc.*.node.{n}"));
    ten.chain(hundred).chain(["svc.*.*.*.x".into()]).map(|subject| Sub::new(&subject))
}

fn filled(count: u32) -> Sublist<Sub> {
    let mut list = Sublist::new();
    for sub in (0..count).map(|n| Sub::new(&literal(n))).chain(patterns()) {
        assert!(list.insert(sub));
    }
    list
}

/// Subjects that match, in an order that defeats the prefetcher; as many as fit the working set.
fn subjects(count: u32, working_set: u32) -> Vec<String> {
    let step = 7_919;
    (0..working_set.min(count)).map(|n| literal((n * step) % count)).collect()
}

/// Calls `work` with one subject after the other.
fn each_subject(bencher: Bencher<'_, '_>, subjects: &[String], mut work: impl FnMut(&[u8])) {
    let mut at = 0;
    bencher.bench_local(|| {
        at = if at + 1 == subjects.len() { 0 } else { at + 1 };
        work(black_box(subjects[at].as_bytes()));
    });
}

#[divan::bench(sample_size = 100_000, sample_count = 10, args = SIZES, consts = [1000, 100_000])]
fn uncached<const WORKING_SET: u32>(bencher: Bencher<'_, '_>, count: u32) {
    let list = filled(count);
    let mut result = MatchResult::new();
    each_subject(bencher, &subjects(count, WORKING_SET), |subject| {
        list.match_into(subject, &mut result);
        black_box(result.plain().len());
    });
}

#[divan::bench(sample_size = 100_000, sample_count = 10, args = SIZES, consts = [1000, 100_000])]
fn cached<const WORKING_SET: u32>(bencher: Bencher<'_, '_>, count: u32) {
    let list = filled(count);
    let mut cache = MatchCache::<MatchResult<Sub>>::new();
    each_subject(bencher, &subjects(count, WORKING_SET), |subject| {
        let stamp = list.epochs().stamp(subject);
        match cache.lookup(0, subject, stamp) {
            Lookup::Hit(result) => {
                black_box(result.plain().len());
            }
            Lookup::Miss(result) => list.match_into(subject, result),
        }
    });
}

#[divan::bench(sample_size = 100_000, sample_count = 10, args = SIZES)]
fn has_interest(bencher: Bencher<'_, '_>, count: u32) {
    let list = filled(count);
    each_subject(bencher, &subjects(count, 1000), |subject| {
        black_box(list.has_interest(subject));
    });
}

#[divan::bench(sample_size = 100_000, sample_count = 10, args = SIZES, consts = [false, true])]
fn insert_and_remove<const WILDCARD: bool>(bencher: Bencher<'_, '_>, count: u32) {
    let mut list = filled(count);
    let subs: Vec<Sub> = (count..count + 1000)
        .map(|n| Sub::new(&if WILDCARD { format!("svc.{n}.*") } else { literal(n) }))
        .collect();
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % subs.len();
        black_box(list.insert(subs[at].clone()) && list.remove(&subs[at]));
    });
}

/// Resident bytes of this process.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

/// Prints the bytes and nanoseconds that inserting each of these takes, and gives the list: what
/// it holds must not be freed and used again before the last one is measured.
fn print_memory(what: &str, subs: &[Sub]) -> Sublist<Sub> {
    let (before, start) = (resident_bytes(), std::time::Instant::now());
    let mut list = Sublist::new();
    for sub in subs {
        assert!(list.insert(sub.clone()));
    }
    let ns = start.elapsed().as_nanos() as f64 / subs.len() as f64;
    let bytes = resident_bytes().saturating_sub(before) as f64 / subs.len() as f64;
    println!("{what:<44} {bytes:6.1} bytes {ns:6.0} ns");
    list
}

/// What is measured, and the subject of each subscription by its number.
type Kind = (&'static str, fn(u32) -> String);

fn print_memories() {
    let kinds: [Kind; 5] = [
        ("distinct literals, svc.<a>.node.<b>", literal),
        ("distinct patterns, svc.<n>.*", |n| format!("svc.{n}.*")),
        ("pairs of patterns, svc.<n>.* and svc.<n>.>", |n| {
            format!("svc.{}.{}", n / 2, if n % 2 == 0 { '*' } else { '>' })
        }),
        ("two on each literal", |n| literal(n / 2)),
        ("all on one literal", |_| literal(0)),
    ];
    let million = |subject: fn(u32) -> String| (0..1_000_000).map(move |n| Sub::new(&subject(n)));
    let subs = kinds.map(|(what, subject)| (what, million(subject).collect::<Vec<_>>()));
    println!("1,000,000 subscriptions, per subscription beside the entry itself:");
    let lists = subs.each_ref().map(|(what, subs)| print_memory(what, subs));
    drop(lists);
}

fn main() {
    print_memories();
    divan::main();
}
