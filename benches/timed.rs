//! The workloads, timed, and the memory of a subscription in the sublist.
//!
//! The time is that of a call of `workloads/mod.rs`; the second line is operations per second. The
//! memory table comes first, from `/proc/self/statm`, unless only some benches are asked for.
//!
//! ```text
//! cargo bench -F internals --bench timed                 all
//! cargo bench -F internals --bench timed -- fanout       one group
//! cargo bench -F internals --bench timed -- 1000         by a part of the name
//! ```

mod workloads;

use std::time::Instant;

use dialtone::internals::Sublist;
use divan::Bencher;
use divan::counter::ItemsCount;

use workloads::sublist::{Sub, literal, pattern};
use workloads::{Workload, named};

#[divan::bench(args = named("parser/"))]
fn parser(bencher: Bencher<'_, '_>, workload: &Workload) {
    time(bencher, workload);
}

#[divan::bench(args = named("sublist/"))]
fn sublist(bencher: Bencher<'_, '_>, workload: &Workload) {
    time(bencher, workload);
}

#[divan::bench(args = named("outbound/"))]
fn outbound(bencher: Bencher<'_, '_>, workload: &Workload) {
    time(bencher, workload);
}

#[divan::bench(args = named("fanout/"))]
fn fanout(bencher: Bencher<'_, '_>, workload: &Workload) {
    time(bencher, workload);
}

fn time(bencher: Bencher<'_, '_>, workload: &Workload) {
    let mut prepared = workload.prepare();
    bencher.counter(ItemsCount::new(prepared.ops)).bench_local(|| (prepared.call)());
}

fn main() {
    if std::env::args().len() == 1 {
        // `cargo test --all-targets` starts every bench without an argument.
        println!("to time: cargo bench -F internals --bench timed");
        return;
    }
    if std::env::args().skip(1).all(|arg| arg.starts_with('-')) {
        print_memories();
    }
    divan::main();
}

/// Resident bytes of this process.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

/// Prints the bytes and nanoseconds of inserting each of these, and returns the list: its memory
/// must not be freed and used again before the last one is measured.
fn print_memory(what: &str, subs: &[Sub]) -> Sublist<Sub> {
    let (before, start) = (resident_bytes(), Instant::now());
    let mut list = Sublist::new();
    for sub in subs {
        assert!(list.insert(sub.clone()));
    }
    let ns = start.elapsed().as_nanos() as f64 / subs.len() as f64;
    let bytes = resident_bytes().saturating_sub(before) as f64 / subs.len() as f64;
    println!("{what:<44} {bytes:6.1} bytes {ns:6.0} ns");
    list
}

/// Name of a kind of subscriptions, and the subject of each by its number.
type Kind = (&'static str, fn(usize) -> String);

fn print_memories() {
    let kinds: [Kind; 5] = [
        ("distinct literals, svc.<a>.node.<b>", literal),
        ("distinct patterns, svc.<n>.*", pattern),
        ("pairs of patterns, svc.<n>.* and svc.<n>.>", |n| {
            format!("svc.{}.{}", n / 2, if n % 2 == 0 { '*' } else { '>' })
        }),
        ("two on each literal", |n| literal(n / 2)),
        ("all on one literal", |_| literal(0)),
    ];
    let million = |subject: fn(usize) -> String| (0..1_000_000).map(move |n| Sub::new(&subject(n)));
    let subs = kinds.map(|(what, subject)| (what, million(subject).collect::<Vec<_>>()));
    println!("1,000,000 subscriptions, per subscription beside the entry itself:");
    let lists = subs.each_ref().map(|(what, subs)| print_memory(what, subs));
    drop(lists);
}
