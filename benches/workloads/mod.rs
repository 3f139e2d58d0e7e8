//! Fixed pieces of work in process, shared by the timed benches and the instruction counts.
//!
//! A [`Workload`] is built once, then called again and again; each call does the same operations
//! on the same data and ends in the state it began in. There is no socket: it measures the server's
//! own part, from the bytes of a read to the slices of a write.

mod outbound;
mod parser;
mod server;
mod stream;
pub(crate) mod sublist;

use std::fmt;

/// Bytes of one read, as the server takes them from a socket.
const READ_LEN: usize = 256 * 1024;

/// Operations before those that count.
const WARM_OPS: u64 = 20_000;

/// A piece of work with a name.
pub(crate) struct Workload {
    /// `group/what-size`.
    pub(crate) name: &'static str,
    build: fn() -> Prepared,
}

/// A workload that is ready to be called.
pub(crate) struct Prepared {
    /// Operations of one call: messages read or delivered, matches, lines.
    pub(crate) ops: u64,
    /// Does them.
    pub(crate) call: Box<dyn FnMut()>,
}

impl Prepared {
    fn new(ops: usize, call: impl FnMut() + 'static) -> Prepared {
        Prepared { ops: ops as u64, call: Box::new(call) }
    }
}

impl Workload {
    /// Builds its data, and calls it until buffers and caches have their final size.
    pub(crate) fn prepare(&self) -> Prepared {
        let mut prepared = (self.build)();
        for _ in 0..WARM_OPS.div_ceil(prepared.ops) {
            (prepared.call)();
        }
        prepared
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.split_once('/').map_or(self.name, |(_, name)| name))
    }
}

/// The workloads whose name begins with `prefix`.
pub(crate) fn named(prefix: &str) -> impl Iterator<Item = &'static Workload> {
    ALL.iter().filter(move |workload| workload.name.starts_with(prefix))
}

const fn workload(name: &'static str, build: fn() -> Prepared) -> Workload {
    Workload { name, build }
}

static ALL: &[Workload] = &[
    workload("parser/pub-16", || parser::publications("", 16, READ_LEN)),
    workload("parser/pub-128", || parser::publications("", 128, READ_LEN)),
    workload("parser/pub-1k", || parser::publications("", 1024, READ_LEN)),
    workload("parser/pub-reply-128", || parser::publications(stream::INBOX, 128, READ_LEN)),
    workload("parser/pub-128-cut", || parser::publications("", 128, 1024)),
    workload("parser/hpub-128", || parser::with_headers(128)),
    workload("parser/rmsg-128", || parser::routed(128)),
    workload("parser/sub-unsub", parser::subscriptions),
    workload("sublist/match-100", || sublist::matches(100, 100)),
    workload("sublist/match-100k", || sublist::matches(100_000, 100_000)),
    workload("sublist/match-1m", || sublist::matches(1_000_000, 100_000)),
    workload("sublist/match-cached-100", || sublist::cached_matches(100, 100, 20)),
    workload("sublist/match-cached-100k", || sublist::cached_matches(100_000, 1_000, 5)),
    workload("sublist/match-cached-1m", || sublist::cached_matches(1_000_000, 1_000, 5)),
    workload("sublist/match-crowded-100k", || sublist::cached_matches(100_000, 100_000, 1)),
    workload("sublist/insert-remove-100", || sublist::changes(100, sublist::literal)),
    workload("sublist/insert-remove-100k", || sublist::changes(100_000, sublist::literal)),
    workload("sublist/insert-remove-1m", || sublist::changes(1_000_000, sublist::literal)),
    workload("sublist/insert-remove-wildcard-100k", || sublist::changes(100_000, sublist::pattern)),
    workload("outbound/append-16", || outbound::appends(48)),
    workload("outbound/append-128", || outbound::appends(160)),
    workload("outbound/append-1k", || outbound::appends(1056)),
    workload("outbound/batch-64k", || outbound::batches(64 * 1024)),
    workload("outbound/batch-1m", || outbound::batches(1024 * 1024)),
    workload("fanout/publish-16", || server::fan_out(0, 16, 1000)),
    workload("fanout/1-16", || server::fan_out(1, 16, 1000)),
    workload("fanout/1-128", || server::fan_out(1, 128, 1000)),
    workload("fanout/1-1k", || server::fan_out(1, 1024, 1000)),
    workload("fanout/1-sizes", server::sizes),
    workload("fanout/1-in-turns-128", server::in_turns),
    workload("fanout/mapped-128", server::mapped),
    workload("fanout/mapped-in-turns-128", server::mapped_in_turns),
    workload("fanout/10-128", || server::fan_out(10, 128, 1000)),
    workload("fanout/100-128", || server::fan_out(100, 128, 1000)),
    workload("fanout/1000-128", || server::fan_out(1000, 128, 100)),
    workload("fanout/import-1-128", || server::imported(1, 1000)),
    workload("fanout/import-1-per-read-128", || server::imported(1, 1)),
    workload("fanout/import-100-128", || server::imported(100, 1000)),
    workload("fanout/queue-10-128", server::queue_group),
    workload("fanout/headers-128", server::headers),
    workload("fanout/to-route-128", server::to_route),
    workload("fanout/from-route-1-128", || server::from_route(1)),
    workload("fanout/from-route-10-128", || server::from_route(10)),
    workload("fanout/subjects-100k-16", server::subjects),
    workload("fanout/one-per-read-128", server::one_per_read),
    workload("fanout/request-1", || server::requests(1)),
    workload("fanout/request-100", || server::requests(100)),
    workload("fanout/heartbeats", server::heartbeats),
    workload("fanout/churn", server::churn),
    workload("fanout/beside-churn", server::beside_churn),
];
