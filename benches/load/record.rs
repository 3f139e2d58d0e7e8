//! The results of a run: what is kept as JSON, compared with the floors, and printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::scenario::{Floor, Metric, Sample, Scenario};

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it began, UTC.
    pub(crate) date: String,
    /// How it was started.
    pub(crate) command: String,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// What `--version` said, by target.
    pub(crate) versions: BTreeMap<String, String>,
    /// Rounds of most scenarios.
    pub(crate) rounds: u32,
    /// The measured stretch of most scenarios.
    pub(crate) seconds: f64,
    /// Names of the targets: the reference, then the one it is compared with, then the relay.
    pub(crate) targets: Vec<String>,
    /// One per scenario.
    pub(crate) rows: Vec<Row>,
}

/// The machine of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Model, from /proc/cpuinfo.
    pub(crate) cpu: String,
    /// Processors that this process may use.
    pub(crate) cores: usize,
    /// Main memory in gigabytes.
    pub(crate) memory_gb: f64,
    /// Release of the kernel.
    pub(crate) kernel: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes = memory.trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0);
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gb: (kilobytes * 1024.0 / 1e8).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// One scenario: figures by target, then by [`Metric::key`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Name for `--only`.
    pub(crate) name: String,
    /// As printed.
    pub(crate) title: String,
    /// The suite it belongs to.
    pub(crate) suite: String,
    /// Medians over the rounds.
    pub(crate) medians: BTreeMap<String, BTreeMap<String, f64>>,
    /// Every round.
    pub(crate) rounds: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    /// What was owed, and whether it holds.
    pub(crate) floors: Vec<Verdict>,
    /// Runs that failed, with the reason; a row with any does not hold.
    pub(crate) failures: Vec<String>,
}

/// A floor and what became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// [`Metric::key`].
    pub(crate) metric: String,
    /// `times` better than the reference, or `at_most`.
    pub(crate) kind: String,
    /// The bound.
    pub(crate) owed: f64,
    /// What was measured, in the unit of the bound.
    pub(crate) measured: f64,
    /// Lowest and highest of the single rounds, reference and other paired as they ran.
    pub(crate) range: (f64, f64),
    /// Whether the median keeps the bound.
    pub(crate) holds: bool,
    /// What the relay reached, where it ran: hardly a server can do better on this machine.
    pub(crate) limit: Option<f64>,
}

impl Row {
    /// Medians and verdicts from the samples, of which there is a list per target.
    pub(crate) fn new(
        scenario: &Scenario,
        targets: &[String],
        samples: &[Vec<Sample>],
        failures: Vec<String>,
    ) -> Self {
        let mut row = Self {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            suite: scenario.suite.to_owned(),
            failures,
            ..Self::default()
        };
        for (target, samples) in targets.iter().zip(samples) {
            let keyed = |sample: &Sample| {
                sample.iter().map(|(metric, value)| (metric.key().to_owned(), *value)).collect()
            };
            row.rounds.insert(target.clone(), samples.iter().map(keyed).collect());
            let medians = Metric::ALL.iter().filter_map(|&metric| {
                let values = samples.iter().filter_map(|sample| sample.get(&metric).copied());
                Some((metric.key().to_owned(), median(values.collect())?))
            });
            row.medians.insert(target.clone(), medians.collect());
        }
        for &floor in &scenario.floors {
            row.floors.extend(row.verdict(floor, targets));
        }
        row
    }

    /// The median of one figure.
    pub(crate) fn median(&self, target: &str, metric: Metric) -> Option<f64> {
        self.medians.get(target)?.get(metric.key()).copied()
    }

    /// How many times better the second target is than the first, by the medians.
    pub(crate) fn times_better(&self, targets: &[String], metric: Metric) -> Option<f64> {
        self.times_better_of(1, targets, metric)
    }

    fn times_better_of(&self, of: usize, targets: &[String], metric: Metric) -> Option<f64> {
        let reference = self.median(targets.first()?, metric)?;
        let measured = self.median(targets.get(of)?, metric)?;
        Some(times(metric, reference, measured))
    }

    fn verdict(&self, floor: Floor, targets: &[String]) -> Option<Verdict> {
        let metric = floor.metric();
        let round = |target: &String| -> Vec<f64> {
            let rounds = self.rounds.get(target).map(Vec::as_slice).unwrap_or_default();
            rounds.iter().filter_map(|round| round.get(metric.key()).copied()).collect()
        };
        let mut limit = None;
        let (kind, owed, measured, singles) = match floor {
            Floor::Times(_, owed) => {
                let measured = self.times_better(targets, metric)?;
                limit = self.times_better_of(2, targets, metric);
                let pairs = round(targets.first()?).into_iter().zip(round(targets.get(1)?));
                let singles = pairs.map(|(a, b)| times(metric, a, b)).collect();
                ("times", owed, measured, singles)
            }
            Floor::AtMost(_, owed) => {
                let target = targets.get(1)?;
                ("at_most", owed, self.median(target, metric)?, round(target))
            }
        };
        let singles: Vec<f64> = singles;
        Some(Verdict {
            metric: metric.key().to_owned(),
            kind: kind.to_owned(),
            owed,
            measured,
            range: (
                singles.iter().copied().fold(f64::INFINITY, f64::min),
                singles.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ),
            holds: if kind == "times" { measured >= owed } else { measured <= owed },
            limit,
        })
    }
}

fn times(metric: Metric, reference: f64, measured: f64) -> f64 {
    if metric.more_is_better() { measured / reference } else { reference / measured }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The heads over the lines of [`line`].
pub(crate) fn heads(targets: &[String]) -> String {
    let name = |index: usize| targets.get(index).map_or("", String::as_str);
    format!(
        "{:<36}{:^24}  {:^24}  {:^36}  {:^16}\n\
{:<36}{:>9}{:>9}{:>6}  {:>9}{:>9}{:>6}  {:>18}{:>18}  {:>8}{:>8}  owed",
        format!("{} | {}", name(0), name(1)),
        "CPU µs per message",
        "messages per second",
        "p50/p99/p99.9 µs",
        "resident MB",
        "",
        "first",
        "second",
        "less",
        "first",
        "second",
        "more",
        "first",
        "second",
        "first",
        "second",
    )
}

/// Seconds after which a drain is worth a line; the windows hold far less than a second of work.
const DRAIN_TOLD: f64 = 3.0;

/// One scenario in one line, and one more for each of its figures that has no column.
pub(crate) fn line(row: &Row, targets: &[String]) -> String {
    let cell = |index: usize, metric: Metric| -> String {
        let value = targets.get(index).and_then(|target| row.median(target, metric));
        value.map_or("-".to_owned(), short)
    };
    let better = |metric| row.times_better(targets, metric).map_or("-".to_owned(), factor);
    let latency = |index| {
        [Metric::P50, Metric::P99, Metric::P999].map(|metric| cell(index, metric)).join("/")
    };
    let mut text = format!(
        "{:<36}{:>9}{:>9}{:>6}  {:>9}{:>9}{:>6}  {:>18}{:>18}  {:>8}{:>8}  ",
        row.title,
        cell(0, Metric::Cpu),
        cell(1, Metric::Cpu),
        better(Metric::Cpu),
        cell(0, Metric::Rate),
        cell(1, Metric::Rate),
        better(Metric::Rate),
        latency(0).replace("-/-/-", "-"),
        latency(1).replace("-/-/-", "-"),
        cell(0, Metric::Rss),
        cell(1, Metric::Rss),
    );
    let verdicts = row.floors.iter().map(Verdict::text).collect::<Vec<_>>();
    text.push_str(&verdicts.join(", "));
    for metric in [Metric::Each, Metric::Peak, Metric::After, Metric::Lost] {
        let told = metric != Metric::Peak || row.name == "slow-reader";
        if told && cell(0, metric) != "-" {
            let (first, second) = (cell(0, metric), cell(1, metric));
            let _ = write!(text, "\n    {:<32}{first:>9}{second:>9}", metric.key());
        }
    }
    if targets.get(2).is_some_and(|relay| row.median(relay, Metric::Cpu).is_some()) {
        let (cpu, rate) = (cell(2, Metric::Cpu), cell(2, Metric::Rate));
        let _ = write!(text, "\n    {:<32}{:>9}{cpu:>9}{:>8}{:>9}{rate:>9}", "relay", "", "", "");
    }
    for (target, rounds) in &row.rounds {
        let drains = rounds.iter().filter_map(|round| round.get(Metric::Drain.key()));
        let longest = drains.copied().fold(0.0, f64::max);
        if longest > DRAIN_TOLD {
            let _ = write!(text, "\n    {target} took {longest:.1} s to deliver the rest");
        }
    }
    for failure in &row.failures {
        let _ = write!(text, "\n    FAILED {failure}");
    }
    text
}

impl Verdict {
    fn text(&self) -> String {
        let mark = if self.holds { "holds" } else { "MISSED" };
        let metric = self.metric.trim_end_matches("_us").trim_end_matches("_mb");
        if self.kind == "times" {
            format!("{metric} {} of {}x {mark}", factor(self.measured), self.owed)
        } else {
            format!("{metric} {} of {} {mark}", short(self.measured), short(self.owed))
        }
    }
}

/// How many floors hold, which do not, and the geometric mean of the CPU ratios.
pub(crate) fn summary(record: &Record) -> String {
    let all = || record.rows.iter().flat_map(|row| row.floors.iter().map(move |v| (row, v)));
    let held = all().filter(|(_, verdict)| verdict.holds).count();
    let mut text = format!("{held} of {} floors hold", all().count());
    for (row, verdict) in all().filter(|(_, verdict)| !verdict.holds) {
        let (low, high) = verdict.range;
        let mut range = format!("rounds {} to {}", short(low), short(high));
        if let Some(limit) = verdict.limit {
            let _ = write!(range, "; a bare relay {}", factor(limit));
        }
        let _ = write!(text, "\n  {}: {} ({range})", row.title, verdict.text());
    }
    for rows in record.rows.chunk_by(|a, b| a.suite == b.suite) {
        let ratios = rows.iter().filter_map(|row| row.times_better(&record.targets, Metric::Cpu));
        let logs: Vec<f64> = ratios.map(f64::ln).collect();
        if !logs.is_empty() {
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            let of = format!("geometric mean of {} scenarios of {}", logs.len(), rows[0].suite);
            let _ = write!(text, "\nCPU, {of}: {mean:.1}x less");
        }
    }
    text
}

/// Three significant digits, with k and M.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 999_500.0 => (value / 1e6, "M"),
        v if v >= 9_995.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}{unit}")
}

/// A ratio.
pub(crate) fn factor(value: f64) -> String {
    if value >= 9.95 { format!("{value:.0}x") } else { format!("{value:.1}x") }
}
