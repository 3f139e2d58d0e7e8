//! The official `nats bench` as the load: the figures of an operator who compares two servers.
//!
//! Its subscribers are there before its publishers begin. The CPU is the server's, from then until
//! all have ended; rate and latencies are printed by `nats bench`. It is the `nats` command of
//! tests/interop, built with Go.

use std::io::{self, ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::scenario::Metric::{Cpu, P50, P99, P999, Peak, Rate, Rss};
use crate::scenario::{Sample, Scenario, Stage};
use crate::target::Server;
use crate::wire::{PATIENCE, SCRATCH_LEN, connect, fault};

/// The suite's name.
pub(crate) const SUITE: &str = "clients";

/// The `nats` command, and the script that builds it.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/interop/go/nats");
const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/install");

/// The exit code of the script without Go.
const NO_TOOLCHAIN: i32 = 3;

/// Longest run; without it `nats bench` waits endlessly for a lost message.
const RUN_PATIENCE: Duration = Duration::from_secs(60);

/// Publishers, subscribers, true for a subject per message; name and title.
const SHAPES: [(usize, usize, bool, &str, &str); 6] = [
    (1, 0, false, "pub", "publish only"),
    (1, 1, false, "1-1", "1:1"),
    (1, 4, false, "1-4", "1:4"),
    (4, 4, false, "4-4", "4:4"),
    (8, 1, false, "8-1", "8:1"),
    (1, 1, true, "subjects", "1:1, many subjects"),
];

/// Payloads in bytes.
const SIZES: [(usize, &str); 4] =
    [(16, "16 B"), (128, "128 B"), (4096, "4 KiB"), (65_536, "64 KiB")];

/// Every shape with every size, then requests.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (publishers, subscribers, many_subjects, name, title) in SHAPES {
        for (size, size_title) in SIZES {
            let load = Messages { publishers, subscribers, many_subjects, size };
            let (name, title) =
                (format!("bench-{name}-{size}"), format!("nats bench {title}, {size_title}"));
            all.push(Scenario::new(name, title, move |stage| load.run(stage)));
        }
    }
    for clients in [1, 10] {
        let (name, title) = (
            format!("bench-request-{clients}"),
            format!("nats bench request, {clients} at a time"),
        );
        all.push(Scenario::new(name, title, move |stage| requests(stage, clients)));
    }
    all.into_iter().map(|scenario| scenario.with_monitor().at_most_rounds(3)).collect()
}

/// Builds the command unless it is there; false if this machine has no Go.
///
/// # Errors
/// It could not be built.
pub(crate) fn install() -> io::Result<bool> {
    let status = Command::new(INSTALL).arg("cli").stdout(Stdio::null()).status()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(NO_TOOLCHAIN) => Ok(false),
        _ => Err(fault(ErrorKind::Other, "the nats command could not be built")),
    }
}

/// Publishers and subscribers of one size.
#[derive(Clone, Copy, Debug)]
struct Messages {
    publishers: usize,
    subscribers: usize,
    many_subjects: bool,
    size: usize,
}

impl Messages {
    fn run(self, stage: &Stage<'_>) -> io::Result<Sample> {
        /// Deliveries that clients and server manage in about a second, and their bytes.
        const DELIVERIES: f64 = 1e6;
        const BYTES: f64 = 1e9;
        let copies = self.subscribers.max(1);
        let deliveries = DELIVERIES.min(BYTES / self.size as f64) * stage.stretch.as_secs_f64();
        let each = (deliveries as usize / copies / self.publishers).max(1);
        let (size, messages) = (self.size.to_string(), (each * self.publishers).to_string());
        let words = |action, clients: usize| {
            let mut words = vec!["bench", action, "bench", "--size", &size, "--msgs", &messages];
            words.extend(self.many_subjects.then_some("--multisubject"));
            let words = words.into_iter().map(str::to_owned);
            words.chain(["--clients".to_owned(), clients.to_string()]).collect::<Vec<_>>()
        };
        let server = stage.server;
        let present = server.subscriptions()?;
        let subscriber = match self.subscribers {
            0 => None,
            count => Some(Bench::start(server, &words("sub", count))?),
        };
        until(|| Ok(server.subscriptions()? >= present + self.subscribers as u64))?;
        let cpu_ns = server.cpu_ns()?;
        let mut told = Bench::start(server, &words("pub", self.publishers))?.finish()?;
        if let Some(subscriber) = subscriber {
            told = subscriber.finish()?;
        }
        let count = each * self.publishers * copies;
        figures(server, server.cpu_ns()? - cpu_ns, count, &told)
    }
}

fn requests(stage: &Stage<'_>, clients: usize) -> io::Result<Sample> {
    /// Requests of one client that are answered in about a second.
    const REQUESTS: f64 = 5000.0;
    let server = stage.server;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let _service = Bench::start(server, &words(&["bench", "service", "serve", "bench"]))?;
    until(|| is_served(server, "bench"))?;
    let each = ((REQUESTS * stage.stretch.as_secs_f64()) as usize).max(1);
    let (count, clients) = ((each * clients).to_string(), clients.to_string());
    let load = ["bench", "service", "request", "bench", "--msgs", &count, "--clients", &clients];
    let cpu_ns = server.cpu_ns()?;
    let told = Bench::start(server, &words(&load))?.finish()?;
    let used_ns = server.cpu_ns()? - cpu_ns;
    let mut sample = figures(server, used_ns, each * clients.parse::<usize>().unwrap_or(1), &told)?;
    for (metric, name) in [(P50, "P50"), (P99, "P99"), (P999, "P99.9")] {
        sample.insert(metric, number_after(&told, &format!("{name}:"), &format!("{name} "))?);
    }
    Ok(sample)
}

/// True if requests to `subject` get an answer other than the server's 503.
fn is_served(server: &Server, subject: &str) -> io::Result<bool> {
    let mut requestor = connect(&server.endpoint, "SUB load.inbox 1\r\n")?;
    requestor.write(format!("PUB {subject} load.inbox 0\r\n\r\n").as_bytes())?;
    let mut served = None;
    while served.is_none() {
        requestor.read(&mut vec![0; SCRATCH_LEN], |head, _| {
            served = Some(!head.starts_with(b"HMSG"));
        })?;
    }
    Ok(served == Some(true))
}

fn until(mut holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(fault(ErrorKind::TimedOut, "nats bench does not begin"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn figures(server: &Server, cpu_ns: u64, count: usize, told: &str) -> io::Result<Sample> {
    let mut sample = Sample::new();
    sample.insert(Rate, number_after(told, "stats: ", "stats: ")?);
    sample.insert(Cpu, cpu_ns as f64 / 1e3 / count as f64);
    sample.insert(Rss, server.memory("VmRSS")? as f64 / 1e6);
    sample.insert(Peak, server.memory("VmHWM")? as f64 / 1e6);
    Ok(sample)
}

/// The number behind the last of a label, which is written in one of two ways.
fn number_after(told: &str, label: &str, other: &str) -> io::Result<f64> {
    let after = told.rsplit_once(label).or_else(|| told.rsplit_once(other));
    let digits = after.map(|(_, text)| {
        let text = text.trim_start();
        let end = text.find(|c: char| !matches!(c, '0'..='9' | ',' | '.')).unwrap_or(text.len());
        text[..end].replace(',', "")
    });
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        fault(ErrorKind::InvalidData, &format!("nats bench tells no {label}: {told}"))
    })
}

/// A running `nats` command; killed when dropped.
struct Bench(Child);

impl Bench {
    fn start(server: &Server, words: &[String]) -> io::Result<Self> {
        let child = Command::new(PROGRAM)
            .args(["--no-context", "--server", &format!("nats://{}", server.endpoint.addr)])
            .args(words)
            .arg("--no-progress")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|err| fault(err.kind(), &format!("{PROGRAM}: {err}")))?;
        Ok(Self(child))
    }

    /// Waits for the end, and returns its output, which is far less than a pipe holds.
    fn finish(mut self) -> io::Result<String> {
        let deadline = Instant::now() + RUN_PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(fault(
                    ErrorKind::TimedOut,
                    "nats bench does not end: a message is lost",
                ));
            }
            thread::sleep(Duration::from_millis(5));
        };
        let mut told = String::new();
        if let Some(stdout) = &mut self.0.stdout {
            stdout.read_to_string(&mut told)?;
        }
        if status.success() {
            Ok(told)
        } else {
            Err(fault(ErrorKind::Other, &format!("nats bench failed ({status}): {told}")))
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
