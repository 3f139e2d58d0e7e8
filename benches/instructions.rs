//! Instructions and allocations per operation, counted by callgrind: figures that a busy machine
//! does not change.
//!
//! Each workload runs in a process of its own under `valgrind --tool=callgrind`, of which only what
//! happens inside [`run_counted`] is kept: neither building nor warming up is in the figure. Hash
//! maps are seeded anew in each process, which moves it by some tenths of a percent.
//!
//! ```text
//! cargo bench -F internals --bench instructions                       all, beside the record
//! cargo bench -F internals --bench instructions -- fanout/ parser/    by the beginnings of names
//! cargo bench -F internals --bench instructions -- --record           keeps it in the record
//! ```

mod workloads;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Map, Value, json};

use workloads::{Prepared, Workload};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Operations counted at least.
const OPS_MIN: u64 = 20_000;

/// Calls of these libc functions are allocations.
const ALLOCATORS: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];

/// Percent beyond which a change is marked: more than seeds move.
const CHANGE_MARKED: f64 = 2.0;

/// Processes of which the median counts, for workloads whose result depends on the hash seed.
const SEEDS: usize = 5;

/// The file of the baseline, in the package.
const RECORD: &str = "benches/record/instructions.json";

const INSTALL: &str = "valgrind did not start; install it (Debian: apt install valgrind)";

/// The cost of one workload per operation.
struct Cost {
    instructions: f64,
    allocations: f64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--child", name] => child(name),
        [] => {
            // `cargo test --all-targets` starts every bench without an argument.
            println!("to count: cargo bench -F internals --bench instructions");
            Ok(())
        }
        _ => compare(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a workload, in the process that is counted.
fn child(name: &str) -> Outcome<()> {
    let workload = workloads::named(name).find(|workload| workload.name == name);
    let mut prepared = workload.ok_or("no such workload")?.prepare();
    let calls = OPS_MIN.div_ceil(prepared.ops);
    run_counted(&mut prepared, calls);
    println!("{}", calls * prepared.ops);
    Ok(())
}

/// Callgrind starts anew when this function is entered, and writes when it is left.
#[inline(never)]
fn run_counted(prepared: &mut Prepared, calls: u64) {
    for _ in 0..calls {
        (prepared.call)();
    }
}

fn compare(args: &[String]) -> Outcome<()> {
    let args = args.iter().filter(|arg| *arg != "--bench");
    let (flags, prefixes): (Vec<_>, Vec<_>) = args.partition(|arg| arg.starts_with("--"));
    let record = match flags[..] {
        [] => false,
        [flag] if flag == "--record" => true,
        _ => return Err("usage: [--record] [NAME-PREFIX...]".into()),
    };
    // To fill a list of a million under callgrind takes minutes and tells nothing new.
    let selected = workloads::named("").filter(|workload| {
        let named = |prefix: &&String| workload.name.starts_with(prefix.as_str());
        (prefixes.is_empty() || prefixes.iter().any(named)) && !workload.name.ends_with("-1m")
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD);
    let mut kept: Map<String, Value> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Map::new(),
    };
    let place = place();
    for (what, here) in &place {
        if let Some(there) = kept.get(what).filter(|there| *there != here) {
            println!("the record is of another {what}: {there}, here {here}");
        }
    }
    let before = kept.remove("workloads").unwrap_or_default();
    let mut costs = match &before {
        Value::Object(before) if !prefixes.is_empty() => before.clone(),
        _ => Map::new(),
    };
    println!(
        "per operation{:>33} {:>10} {:>8} {:>8}",
        "instructions", "record", "change", "allocs"
    );
    for workload in selected {
        let cost = count(workload)?;
        print(workload.name, &cost, before[workload.name]["instructions"].as_f64());
        costs.insert(workload.name.into(), cost.to_json());
    }
    if record {
        let mut all = place;
        all.insert("workloads".into(), costs.into());
        fs::create_dir_all(path.parent().expect("it is in a folder"))?;
        fs::write(&path, serde_json::to_string_pretty(&all)? + "\n")?;
        println!("recorded in {}", path.display());
    }
    Ok(())
}

/// The influences on the figures besides the code.
fn place() -> Map<String, Value> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    };
    [
        ("processor", model.map_or(String::new(), |(_, name)| name.to_owned())),
        ("compiler", version("rustc")),
        ("C library", version("ldd")),
        ("valgrind", version("valgrind")),
    ]
    .map(|(what, value)| (what.to_owned(), value.into()))
    .into_iter()
    .collect()
}

impl Cost {
    /// Rounded to the digits that do not depend on seeds.
    fn to_json(&self) -> Value {
        let rounded = |figure: f64, scale: f64| (figure * scale).round() / scale;
        json!({
            "instructions": rounded(self.instructions, 10.0),
            "allocations": rounded(self.allocations, 1000.0),
        })
    }
}

fn print(name: &str, cost: &Cost, before: Option<f64>) {
    let Cost { instructions, allocations } = cost;
    let change = before.map(|before| (instructions / before - 1.0) * 100.0);
    let known = |figure: Option<String>| figure.unwrap_or_else(|| "-".into());
    let mark = match change {
        Some(change) if change > CHANGE_MARKED => " MORE",
        Some(change) if change < -CHANGE_MARKED => " less",
        _ => "",
    };
    println!(
        "{name:<34} {instructions:>11.1} {:>10} {:>8} {allocations:>8.3}{mark}",
        known(before.map(|before| format!("{before:.1}"))),
        known(change.map(|change| format!("{change:+.1}%"))),
    );
}

/// The median cost of a workload.
fn count(workload: &Workload) -> Outcome<Cost> {
    let seeds = if workload.name.starts_with("sublist/") { SEEDS } else { 1 };
    let mut costs = (0..seeds).map(|_| count_once(workload)).collect::<Outcome<Vec<Cost>>>()?;
    costs.sort_by(|a, b| a.instructions.total_cmp(&b.instructions));
    Ok(costs.swap_remove(seeds / 2))
}

/// Runs a workload under callgrind.
fn count_once(workload: &Workload) -> Outcome<Cost> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let child = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no"])
        .arg("--zero-before=instructions::run_counted")
        .arg("--dump-after=instructions::run_counted")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["--child", workload.name])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{INSTALL}: {error}"))?;
    if !child.status.success() {
        let said = String::from_utf8_lossy(&child.stderr);
        return Err(format!("{} failed: {said}", workload.name).into());
    }
    let ops: f64 = String::from_utf8(child.stdout)?.trim().parse()?;
    // The first dump; what came after it is in `out` itself.
    let counted = fs::read_to_string(out.with_extension("1"))?;
    let (instructions, allocations) = read_counts(&counted)?;
    Ok(Cost { instructions: instructions as f64 / ops, allocations: allocations as f64 / ops })
}

/// Instructions and allocations in an out file of callgrind: `totals: N`, and `calls=N` behind the
/// `cfn=` of the function that is called.
fn read_counts(text: &str) -> Outcome<(u64, u64)> {
    let (mut instructions, mut allocations) = (None, 0);
    let mut called = "";
    for line in text.lines() {
        if let Some(total) = line.strip_prefix("totals: ") {
            instructions = Some(total.trim().parse()?);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && ALLOCATORS.contains(&called)
        {
            allocations += calls.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok((instructions.ok_or("callgrind wrote no totals")?, allocations))
}
