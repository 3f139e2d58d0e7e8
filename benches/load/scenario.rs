//! A scenario: a name, a load, and the figures it yields.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::target::Server;
use crate::transport::Transport;

/// A figure of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Metric {
    /// Deliveries, operations, round trips or connects per second.
    Rate,
    /// CPU seconds of the server per million of them, which is microseconds for each.
    Cpu,
    /// Median latency in microseconds.
    P50,
    /// 99 of 100 are faster, in microseconds.
    P99,
    /// 999 of 1,000 are faster, in microseconds.
    P999,
    /// Resident memory at the end of the load, in megabytes.
    Rss,
    /// The most resident memory there ever was, in megabytes.
    Peak,
    /// Resident memory some seconds after the load, in megabytes.
    After,
    /// Anonymous memory per idle connection or per subscription, in bytes.
    Each,
    /// Messages that a healthy subscriber did not get.
    Lost,
    /// Seconds from the end of the publishers until everything had arrived.
    Drain,
}

impl Metric {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 11] = [
        Self::Rate,
        Self::Cpu,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Rss,
        Self::Peak,
        Self::After,
        Self::Each,
        Self::Lost,
        Self::Drain,
    ];

    /// Key in the record.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Rate => "per_second",
            Self::Cpu => "cpu_us",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::P999 => "p999_us",
            Self::Rss => "rss_mb",
            Self::Peak => "rss_peak_mb",
            Self::After => "rss_after_mb",
            Self::Each => "bytes_each",
            Self::Lost => "lost",
            Self::Drain => "drain_s",
        }
    }

    /// The figure with this key.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.key() == key)
    }

    /// More is better only for this one.
    pub(crate) fn more_is_better(self) -> bool {
        self == Self::Rate
    }
}

/// The figures of one run.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// The environment of a scenario's run.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// Freshly started; of a cluster the first.
    pub(crate) server: &'a Server,
    /// The length of the measured stretch.
    pub(crate) stretch: Duration,
}

/// Runs a load once.
type Script = Box<dyn Fn(&Stage<'_>) -> io::Result<Sample>>;

/// One load.
pub(crate) struct Scenario {
    /// For `--only`, and key in the record.
    pub(crate) name: String,
    /// As in the table.
    pub(crate) title: String,
    /// Its suite, for `--suite`.
    pub(crate) suite: &'static str,
    /// The relay can stand in for a server.
    pub(crate) relay: bool,
    /// Servers of a cluster, or one.
    pub(crate) servers: usize,
    /// The transport of its clients; of one server alone.
    pub(crate) transport: Transport,
    /// The server's monitoring port is open.
    pub(crate) monitor: bool,
    /// Rounds for each that is asked for.
    pub(crate) rounds_each: u32,
    /// More rounds than this show nothing new.
    pub(crate) rounds_max: u32,
    /// The load itself.
    pub(crate) run: Script,
}

impl Scenario {
    /// A scenario of one server.
    pub(crate) fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        run: impl Fn(&Stage<'_>) -> io::Result<Sample> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            suite: "",
            relay: false,
            servers: 1,
            transport: Transport::Bare,
            monitor: false,
            rounds_each: 1,
            rounds_max: u32::MAX,
            run: Box::new(run),
        }
    }

    /// Also runs against the relay.
    pub(crate) fn with_relay(mut self) -> Self {
        self.relay = true;
        self
    }

    /// Runs against a cluster.
    pub(crate) fn with_servers(mut self, servers: usize) -> Self {
        self.servers = servers;
        self
    }

    /// Runs with clients of that transport, of which the relay knows none but the bare one.
    pub(crate) fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self.relay = false;
        self
    }

    /// Runs against a server whose monitoring gives the number of subscriptions.
    pub(crate) fn with_monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Limits the rounds.
    pub(crate) fn at_most_rounds(mut self, rounds: u32) -> Self {
        self.rounds_max = rounds;
        self
    }

    /// Multiplies the rounds: on one machine the tails differ more from round to round than those
    /// of two servers do.
    pub(crate) fn times_the_rounds(mut self, times: u32) -> Self {
        self.rounds_each = times;
        self
    }

    /// The number of rounds, if `asked` were requested.
    pub(crate) fn rounds(&self, asked: u32) -> u32 {
        asked.saturating_mul(self.rounds_each).min(self.rounds_max)
    }
}
