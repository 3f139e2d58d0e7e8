//! The load bench: dialtone and nats-server in turn under the same load, in one run.
//!
//! `cargo bench --bench load -- --help` lists its options, benches/README.md explains the columns.
//! Linux only: CPU and memory come from /proc.
//!
//! - `args`: the command line; `target`: a server process; `wire`: frames and connections.
//! - `transport`: the layer between frames and sockets; `tls`, `websocket`: two such layers.
//! - `flow`, `request`: the two kinds of load; `pieces`: parts of flows; `relay`: the machine's own
//!   limit.
//! - `scenario`: the type of a scenario; `table`, `routed`, `layered`, `untuned`, `growth`,
//!   `clients`: the scenarios.
//! - `record`: results; `floors`: their bounds; `report`, `plot`: text and drawings.

mod args;
mod clients;
mod floors;
mod flow;
mod growth;
mod layered;
mod pieces;
mod plot;
mod record;
mod relay;
mod report;
mod request;
mod routed;
mod scenario;
mod table;
mod target;
mod tls;
mod transport;
mod untuned;
mod websocket;
mod wire;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use fastrand::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{Args, HELP};
use crate::floors::Floors;
use crate::record::{Machine, Record, Row, Verdict};
use crate::scenario::{Sample, Scenario, Stage};
use crate::target::Target;
use crate::transport::Transport;
use crate::wire::Dialect;

/// The dialtone that cargo built for this bench.
const DIALTONE: &str = env!("CARGO_BIN_EXE_dialtone");

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.is_empty() {
        // `cargo test --all-targets` starts every bench without an argument.
        println!("to measure: cargo bench --bench load");
        return ExitCode::SUCCESS;
    }
    match start(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("load: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; false if a scenario failed or a floor was missed.
fn start(words: Vec<String>) -> Result<bool, Box<dyn Error>> {
    if words[0] == relay::FLAG {
        let port = words.last().map_or(Ok(0), |word| word.parse())?;
        relay::serve(port)?;
        return Ok(true);
    }
    let own: Vec<&str> = words.iter().map(String::as_str).filter(|w| *w != "--bench").collect();
    let command = format!("cargo bench --bench load -- {}", own.join(" "));
    let Some(args) = Args::parse(words.into_iter())? else {
        print!("{HELP}");
        return Ok(true);
    };
    let all = all();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floors.csv");
    let known = |name: &str| all.iter().any(|scenario| scenario.name == name);
    let floors = Floors::read(&fs::read_to_string(file)?, known)?;
    let record = match &args.from {
        Some(file) => {
            let mut record = Record::from_csv(&fs::read_to_string(file)?, &all)?;
            println!("{}", report::heads(&record.targets));
            for row in &mut record.rows {
                row.judge(&floors, &record.targets);
                println!("{}", report::line(row, &record.targets));
            }
            record
        }
        None => {
            let mut scenarios = chosen(&args, all)?;
            if args.list {
                for scenario in scenarios {
                    println!("{:<24}{}", scenario.name, scenario.title);
                }
                return Ok(true);
            }
            let runs_clients = scenarios.iter().any(|scenario| scenario.suite == clients::SUITE);
            if runs_clients && !clients::install()? {
                println!("skipped {}: no Go on this machine, to build nats bench", clients::SUITE);
                scenarios.retain(|scenario| scenario.suite != clients::SUITE);
            }
            compare(&args, &scenarios, &floors, command)?
        }
    };
    println!("\n{}", report::summary(&record));
    if let Some(file) = &args.csv {
        fs::write(file, record.to_csv())?;
    }
    if let Some(file) = &args.svg {
        fs::write(file, plot::ratios(&record).or(plot::growth(&record)).unwrap_or_default())?;
    }
    if args.record {
        keep(&record, &args)?;
    }
    Ok(record
        .rows
        .iter()
        .all(|row| row.failures.is_empty() && row.verdicts.iter().all(Verdict::holds)))
}

/// Keeps a run by its date, and the drawings of the latest, which the README shows.
fn keep(record: &Record, args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/record");
    let day = record.date.split(' ').next().unwrap_or_default();
    let noise = if args.same_twice { "-aa" } else { "" };
    fs::write(folder.join(format!("{day}{noise}.csv")), record.to_csv())?;
    if args.same_twice || args.before.is_some() {
        return Ok(());
    }
    for (name, drawing) in [("ratios", plot::ratios(record)), ("growth", plot::growth(record))] {
        if let Some(drawing) = drawing {
            fs::write(folder.join(format!("{name}.svg")), drawing)?;
        }
    }
    Ok(())
}

/// Every scenario of every suite.
fn all() -> Vec<Scenario> {
    let suites = [
        ("table", table::scenarios()),
        ("untuned", untuned::scenarios()),
        ("tls", layered::tls()),
        ("websocket", layered::websocket()),
        ("growth", growth::scenarios()),
        (clients::SUITE, clients::scenarios()),
    ];
    let suites = suites.into_iter().map(|(suite, scenarios)| {
        scenarios.into_iter().map(move |scenario| Scenario { suite, ..scenario })
    });
    suites.flatten().collect()
}

/// The scenarios of the suite, or those named by `--only` from all suites.
fn chosen(args: &Args, mut scenarios: Vec<Scenario>) -> Result<Vec<Scenario>, String> {
    if args.only.is_empty() {
        scenarios.retain(|scenario| args.suite == "all" || args.suite == scenario.suite);
    } else {
        let exact = |name: &str| args.only.iter().any(|only| only == name);
        let begins = |name: &str| {
            let known = |only: &String| scenarios.iter().any(|scenario| scenario.name == *only);
            args.only.iter().any(|only| !known(only) && name.starts_with(only.as_str()))
        };
        let keep: Vec<bool> = scenarios.iter().map(|s| exact(&s.name) || begins(&s.name)).collect();
        let mut keep = keep.into_iter();
        scenarios.retain(|_| keep.next().unwrap_or(false));
    }
    if scenarios.is_empty() {
        return Err("no such scenario or suite; --list shows them".to_owned());
    }
    Ok(scenarios)
}

/// The reference, the programs to compare, and the relay if requested.
fn targets(args: &Args) -> Result<Vec<Target>, Box<dyn Error>> {
    let server = |name, program: &PathBuf| Target {
        name,
        program: program.clone(),
        args: Vec::new(),
        dialect: Dialect::Server,
    };
    let reference = match &args.before {
        Some(before) => server("before", before),
        None => server("nats-server", &nats_server(args)?),
    };
    let measured = match args.same_twice {
        true => server("again", &reference.program),
        false => server("dialtone", args.dialtone.as_ref().unwrap_or(&DIALTONE.into())),
    };
    let mut targets = vec![reference, measured];
    if args.relay {
        targets.push(Target {
            name: "relay",
            program: env::current_exe()?,
            args: vec![relay::FLAG.to_owned()],
            dialect: Dialect::Relay,
        });
    }
    Ok(targets)
}

/// The executable to compare with.
fn nats_server(args: &Args) -> Result<PathBuf, String> {
    let given = args.nats.clone().or_else(|| env::var_os("NATS_SERVER").map(PathBuf::from));
    let found = given.or_else(|| target::find_in_path("nats-server"));
    found.ok_or_else(|| "nats-server is not in PATH: see benches/README.md".to_owned())
}

/// Version and commit of this package.
fn own_version() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = Command::new("git").args(["-C", folder, "describe", "--always", "--dirty"]).output();
    let commit = git.map(|output| output.stdout).unwrap_or_default();
    let commit = String::from_utf8_lossy(&commit);
    format!("dialtone: v{} {}", env!("CARGO_PKG_VERSION"), commit.trim())
}

/// Runs every scenario, the targets in turn, and prints its line when it is done.
fn compare(
    args: &Args,
    scenarios: &[Scenario],
    floors: &Floors,
    command: String,
) -> Result<Record, Box<dyn Error>> {
    raise_open_files();
    let targets = targets(args)?;
    let names: Vec<String> = targets.iter().map(|target| target.name.to_owned()).collect();
    let version = |target: &Target| match target.dialect {
        // To the outside dialtone has the version of the server it replaces.
        Dialect::Server if target.program == Path::new(DIALTONE) => own_version(),
        Dialect::Server => target.version(),
        Dialect::Relay => "of this bench".to_owned(),
    };
    let mut record = Record {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string(),
        command,
        machine: Machine::here(),
        versions: targets.iter().map(|t| (t.name.to_owned(), version(t))).collect(),
        tls: BTreeMap::new(),
        rounds: args.rounds,
        seconds: args.stretch.as_secs_f64(),
        targets: names,
        rows: Vec::new(),
    };
    for target in &targets {
        println!("{:<16}{}", target.name, record.versions[target.name]);
    }
    if scenarios.iter().any(|scenario| matches!(scenario.transport, Transport::Tls(_))) {
        for target in targets.iter().filter(|target| target.dialect == Dialect::Server) {
            // Who does not encrypt fails in these scenarios, not in the others.
            let agreed = layered::agreed(target).unwrap_or_else(|err| format!("none: {err}"));
            println!("{:<16}TLS: {agreed}", target.name);
            record.tls.insert(target.name.to_owned(), agreed);
        }
    }
    println!("\n{}", report::heads(&record.targets));
    let start = Instant::now();
    let mut random = Rng::with_seed(1);
    for (index, scenario) in scenarios.iter().enumerate() {
        let place = format!("{} of {}", index + 1, scenarios.len());
        let mut row =
            rounds(args, scenario, &targets, &record.targets, &mut random, &|now: &str| {
                progress(&format!("{place}, {:.0} s: {now}", start.elapsed().as_secs_f64()));
            });
        progress("");
        row.judge(floors, &record.targets);
        println!("{}", report::line(&row, &record.targets));
        record.rows.push(row);
    }
    Ok(record)
}

/// One scenario. A failed run is reported and does not end the bench.
fn rounds(
    args: &Args,
    scenario: &Scenario,
    targets: &[Target],
    names: &[String],
    random: &mut Rng,
    tell: &dyn Fn(&str),
) -> Row {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); targets.len()];
    let mut failures = Vec::new();
    let rounds = scenario.rounds(args.rounds);
    let takes_part = |&index: &usize| scenario.relay || targets[index].dialect != Dialect::Relay;
    let mut order: Vec<usize> = (0..targets.len()).filter(takes_part).collect();
    for round in 1..=rounds {
        // Drawn anew in each round: else periodic activity of the machine would keep step with the
        // rounds and meet the same target each time.
        random.shuffle(&mut order);
        for &index in &order {
            let (target, samples) = (&targets[index], &mut samples[index]);
            tell(&format!("{}, round {round} of {rounds}, {}", scenario.title, target.name));
            let started = match scenario.servers {
                1 if scenario.monitor => target.start_with_monitor(),
                1 => target.start_for(&scenario.transport),
                servers => target.start_cluster(servers),
            };
            let result = started.and_then(|server| {
                (scenario.run)(&Stage { server: &server, stretch: args.stretch })
            });
            match result {
                Ok(sample) => samples.push(sample),
                Err(err) => failures.push(format!("{}, round {round}: {err}", target.name)),
            }
        }
    }
    Row::new(scenario, names, &samples, failures)
}

/// The line that tells where a long run is; only for a person who watches.
fn progress(text: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r\x1b[K{text}");
    }
}

/// Ten thousand connections need as many open files, here and in the servers, which inherit it.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit is lower than the soft one, which cannot be.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
