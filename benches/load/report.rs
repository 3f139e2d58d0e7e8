//! A record as text: a table with a line per scenario, and a summary.

use std::fmt::Write;

use crate::floors::Bound;
use crate::record::{Figure, Record, Row, Verdict};
use crate::scenario::Metric;

/// The heads over the lines of [`line`].
pub(crate) fn heads(targets: &[String]) -> String {
    let name = |index: usize| targets.get(index).map_or("", String::as_str);
    format!(
        "{:<36}{:^24}  {:^24}  {:^36}  {:^16}\n\
{:<36}{:>9}{:>9}{:>6}  {:>9}{:>9}{:>6}  {:>18}{:>18}  {:>8}{:>8}  floors",
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
    let verdicts = row.verdicts.iter().map(verdict).collect::<Vec<_>>();
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
    for target in targets {
        let drain = row.figure(target, Metric::Drain).map_or(0.0, |figure| figure.max);
        if drain > DRAIN_TOLD {
            let _ = write!(text, "\n    {target} took {drain:.1} s to deliver the rest");
        }
    }
    for failure in &row.failures {
        let _ = write!(text, "\n    FAILED {failure}");
    }
    text
}

fn verdict(verdict: &Verdict) -> String {
    let mark = if verdict.holds() { "holds" } else { "MISSED" };
    let metric = verdict.floor.metric.key().trim_end_matches("_us").trim_end_matches("_mb");
    match verdict.floor.bound {
        Bound::Times(times) => format!("{metric} {} of {times}x {mark}", factor(verdict.measured)),
        Bound::AtMost(most) => {
            format!("{metric} {} of {} {mark}", short(verdict.measured), short(most))
        }
    }
}

/// The number of floors that hold, the missed ones, and the geometric mean of the CPU ratios.
pub(crate) fn summary(record: &Record) -> String {
    let all = || record.rows.iter().flat_map(|row| row.verdicts.iter().map(move |v| (row, v)));
    let held = all().filter(|(_, verdict)| verdict.holds()).count();
    let mut text = format!("{held} of {} floors hold", all().count());
    for (row, missed) in all().filter(|(_, verdict)| !verdict.holds()) {
        let ranges = record.targets.iter().take(2).filter_map(|target| {
            let Figure { min, max, .. } = row.figure(target, missed.floor.metric)?;
            Some(format!("{target} {} to {}", short(min), short(max)))
        });
        let mut beside: Vec<String> = ranges.collect();
        beside.extend(missed.limit.map(|limit| format!("a bare relay {}", factor(limit))));
        let _ = write!(text, "\n  {}: {} ({})", row.title, verdict(missed), beside.join("; "));
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
