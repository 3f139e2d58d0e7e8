//! The results of a run: as CSV, and against the floors.
//!
//! A record has one line per figure, `scenario,target,metric,median,min,max`, below comments about
//! the run. Titles and suites are those of today's scenarios.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use crate::floors::{Bound, Floor, Floors};
use crate::scenario::{Metric, Sample, Scenario};

/// The head of the figures.
const COLUMNS: &str = "scenario,target,metric,median,min,max";

/// A whole run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Start of the run, UTC.
    pub(crate) date: String,
    /// Its command line.
    pub(crate) command: String,
    /// Its machine.
    pub(crate) machine: Machine,
    /// The output of `--version`, by target.
    pub(crate) versions: BTreeMap<String, String>,
    /// The TLS that each target agreed on with the load, if it was used.
    pub(crate) tls: BTreeMap<String, String>,
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
#[derive(Debug, Default)]
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

/// A figure over the rounds of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One scenario.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Name for `--only`.
    pub(crate) name: String,
    /// As printed.
    pub(crate) title: String,
    /// The suite it belongs to.
    pub(crate) suite: String,
    /// By target.
    pub(crate) figures: BTreeMap<String, BTreeMap<Metric, Figure>>,
    /// Its floors and figures.
    pub(crate) verdicts: Vec<Verdict>,
    /// Runs that failed, with the reason; a row with any does not hold.
    pub(crate) failures: Vec<String>,
}

/// A floor and the figure for it.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The floor.
    pub(crate) floor: Floor,
    /// The median, in the unit of the bound.
    pub(crate) measured: f64,
    /// The relay's figure, if it ran: hardly a server can do better on this machine.
    pub(crate) limit: Option<f64>,
}

impl Verdict {
    /// True if the median keeps the bound.
    pub(crate) fn holds(&self) -> bool {
        match self.floor.bound {
            Bound::Times(times) => self.measured >= times,
            Bound::AtMost(most) => self.measured <= most,
        }
    }
}

impl Record {
    /// The text that is kept.
    pub(crate) fn to_csv(&self) -> String {
        let Machine { cpu, cores, memory_gb, kernel } = &self.machine;
        let mut csv = format!(
            "# date: {}\n# command: {}\n# cpu: {cpu}\n# cores: {cores}\n\
# memory_gb: {memory_gb}\n# kernel: {kernel}\n# rounds: {}\n# seconds: {}\n",
            self.date, self.command, self.rounds, self.seconds
        );
        for target in &self.targets {
            let _ = writeln!(csv, "# target: {target}, {}", self.versions[target]);
        }
        for (target, agreed) in &self.tls {
            let _ = writeln!(csv, "# tls: {target}, {agreed}");
        }
        for row in &self.rows {
            for failure in &row.failures {
                let _ = writeln!(csv, "# failed: {}, {failure}", row.name);
            }
        }
        csv.push_str(COLUMNS);
        csv.push('\n');
        for row in &self.rows {
            for target in &self.targets {
                for (metric, figure) in row.figures.get(target).into_iter().flatten() {
                    let [median, min, max] = [figure.median, figure.min, figure.max].map(rounded);
                    let _ = write!(csv, "{},{target},{}", row.name, metric.key());
                    let _ = writeln!(csv, ",{median},{min},{max}");
                }
            }
        }
        csv
    }

    /// Reads the text of [`to_csv`](Self::to_csv); `scenarios` are the known ones.
    ///
    /// # Errors
    /// The first line that is not one of a record.
    pub(crate) fn from_csv(text: &str, scenarios: &[Scenario]) -> Result<Self, String> {
        let mut record = Self::default();
        let mut failures = Vec::new();
        for line in text.lines().filter(|line| *line != COLUMNS) {
            let read = match line.strip_prefix("# ").and_then(|comment| comment.split_once(": ")) {
                Some(("failed", failure)) => failure.split_once(", ").map(|f| failures.push(f)),
                Some((key, value)) => record.read_comment(key, value),
                None => record.read_figure(line, scenarios),
            };
            read.ok_or_else(|| format!("no line of a record: {line}"))?;
        }
        for (name, failure) in failures {
            record.row(name, scenarios).failures.push(failure.to_owned());
        }
        Ok(record)
    }

    fn read_comment(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "date" => self.date = value.to_owned(),
            "command" => self.command = value.to_owned(),
            "cpu" => self.machine.cpu = value.to_owned(),
            "cores" => self.machine.cores = value.parse().ok()?,
            "memory_gb" => self.machine.memory_gb = value.parse().ok()?,
            "kernel" => self.machine.kernel = value.to_owned(),
            "rounds" => self.rounds = value.parse().ok()?,
            "seconds" => self.seconds = value.parse().ok()?,
            "target" => {
                let (target, version) = value.split_once(", ")?;
                self.targets.push(target.to_owned());
                self.versions.insert(target.to_owned(), version.to_owned());
            }
            "tls" => {
                let (target, agreed) = value.split_once(", ")?;
                self.tls.insert(target.to_owned(), agreed.to_owned());
            }
            _ => return None,
        }
        Some(())
    }

    fn read_figure(&mut self, line: &str, scenarios: &[Scenario]) -> Option<()> {
        let mut fields = line.split(',');
        let (name, target) = (fields.next()?, fields.next()?.to_owned());
        let metric = Metric::from_key(fields.next()?)?;
        let mut number = || fields.next()?.parse().ok();
        let figure = Figure { median: number()?, min: number()?, max: number()? };
        let figures = &mut self.row(name, scenarios).figures;
        figures.entry(target).or_default().insert(metric, figure);
        Some(())
    }

    /// The row of a scenario, made where it is missing.
    fn row(&mut self, name: &str, scenarios: &[Scenario]) -> &mut Row {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            let scenario = scenarios.iter().find(|scenario| scenario.name == name);
            self.rows.push(Row {
                name: name.to_owned(),
                title: scenario.map_or(name, |scenario| &scenario.title).to_owned(),
                suite: scenario.map_or("", |scenario| scenario.suite).to_owned(),
                ..Row::default()
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }
}

impl Row {
    /// The figures of the samples, of which there is a list per target.
    pub(crate) fn new(
        scenario: &Scenario,
        targets: &[String],
        samples: &[Vec<Sample>],
        failures: Vec<String>,
    ) -> Self {
        let figures = targets.iter().zip(samples).map(|(target, samples)| {
            let figures = Metric::ALL.iter().filter_map(|metric| {
                let values = samples.iter().filter_map(|sample| sample.get(metric).copied());
                Some((*metric, figure(values.collect())?))
            });
            (target.clone(), figures.collect())
        });
        Self {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            suite: scenario.suite.to_owned(),
            figures: figures.collect(),
            verdicts: Vec::new(),
            failures,
        }
    }

    /// Compares the figures with the floors, which are about dialtone beside nats-server only.
    pub(crate) fn judge(&mut self, floors: &Floors, targets: &[String]) {
        if matches!(targets, [first, second, ..] if first == "nats-server" && second == "dialtone")
        {
            let floors = floors.of(&self.name);
            self.verdicts = floors.filter_map(|floor| self.verdict(floor, targets)).collect();
        }
    }

    fn verdict(&self, floor: Floor, targets: &[String]) -> Option<Verdict> {
        let Floor { metric, bound } = floor;
        Some(match bound {
            Bound::Times(_) => Verdict {
                floor,
                measured: self.times_better(targets, metric)?,
                limit: self.times_better_of(2, targets, metric),
            },
            Bound::AtMost(_) => {
                Verdict { floor, measured: self.median(targets.get(1)?, metric)?, limit: None }
            }
        })
    }

    /// One figure.
    pub(crate) fn figure(&self, target: &str, metric: Metric) -> Option<Figure> {
        self.figures.get(target)?.get(&metric).copied()
    }

    /// The median of one figure.
    pub(crate) fn median(&self, target: &str, metric: Metric) -> Option<f64> {
        Some(self.figure(target, metric)?.median)
    }

    /// The factor by which the second target is better than the first, by the medians.
    pub(crate) fn times_better(&self, targets: &[String], metric: Metric) -> Option<f64> {
        self.times_better_of(1, targets, metric)
    }

    fn times_better_of(&self, of: usize, targets: &[String], metric: Metric) -> Option<f64> {
        let reference = self.median(targets.first()?, metric)?;
        let measured = self.median(targets.get(of)?, metric)?;
        Some(if metric.more_is_better() { measured / reference } else { reference / measured })
    }
}

fn figure(mut values: Vec<f64>) -> Option<Figure> {
    values.sort_by(f64::total_cmp);
    let (&min, &max) = (values.first()?, values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    };
    Some(Figure { median, min, max })
}

/// Five significant digits: the rounds differ in the second.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}
