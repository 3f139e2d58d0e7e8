//! Instructions and allocations per operation, counted by callgrind: figures that a busy machine
//! does not change.
//!
//! Each workload runs in a process of its own under `valgrind --tool=callgrind`, which counts only
//! inside [`run_counted`]: neither building nor the first call is in the figure. Hash maps are
//! seeded anew in each process, which moves it by some tenths of a percent.
//!
//! ```text
//! cargo bench --bench instructions                       all, compared with the record
//! cargo bench --bench instructions -- fanout/ parser/    by the beginnings of their names
//! cargo bench --bench instructions -- --record           writes benches/record/instructions.json
//! ```

mod workloads;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Map, Value, json};

use workloads::{Prepared, Workload};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Operations counted at least.
const OPS_MIN: u64 = 20_000;

/// Calls of these libc functions are allocations.
const ALLOCATORS: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];

/// Percent beyond which a change is marked: more than seeds move.
const CHANGE_MARKED: f64 = 1.0;

const INSTALL: &str = "valgrind did not start; install it (Debian: apt install valgrind)";

/// What one workload costs per operation.
struct Cost {
    instructions: f64,
    allocations: f64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--child", name] => child(name),
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

/// Callgrind counts from the entry of this function to its end, by its name.
#[inline(never)]
fn run_counted(prepared: &mut Prepared, calls: u64) {
    for _ in 0..calls {
        (prepared.call)();
    }
}

fn compare(args: &[String]) -> Outcome<()> {
    let (flags, prefixes): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with("--"));
    let record = match flags[..] {
        [] => false,
        [flag] if flag == "--record" => true,
        _ => return Err("usage: [--record] [NAME-PREFIX...]".into()),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/record/instructions.json");
    let mut kept: Value = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => json!({ "workloads": {} }),
    };
    // To fill a list of a million under callgrind takes minutes and tells nothing new.
    let selected = workloads::named("").filter(|workload| {
        let named = |prefix: &&String| workload.name.starts_with(prefix.as_str());
        (prefixes.is_empty() || prefixes.iter().any(named)) && !workload.name.ends_with("-1m")
    });
    println!(
        "per operation{:>33} {:>10} {:>8} {:>8}",
        "instructions", "record", "change", "allocs"
    );
    let mut costs = Map::new();
    for workload in selected {
        let cost = count(workload)?;
        print(workload.name, &cost, kept["workloads"][workload.name]["instructions"].as_f64());
        let rounded = |figure: f64, digits: i32| {
            let scale = 10_f64.powi(digits);
            (figure * scale).round() / scale
        };
        let kept = json!({
            "instructions": rounded(cost.instructions, 1),
            "allocations": rounded(cost.allocations, 3),
        });
        costs.insert(workload.name.into(), kept);
    }
    if record {
        let mut all = kept["workloads"].as_object().cloned().unwrap_or_default();
        all.extend(costs);
        kept = json!({
            "command": "cargo bench --bench instructions -- --record",
            "machine": machine(),
            "rustc": first_line("rustc", "--version"),
            "valgrind": first_line("valgrind", "--version"),
            "workloads": all,
        });
        fs::create_dir_all(path.parent().expect("it is in a folder"))?;
        fs::write(&path, serde_json::to_string_pretty(&kept)? + "\n")?;
        println!("recorded in {}", path.display());
    }
    Ok(())
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

/// Runs a workload under callgrind.
fn count(workload: &Workload) -> Outcome<Cost> {
    let kept = OutFile(std::env::temp_dir().join(format!("callgrind.{}", std::process::id())));
    let child = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no"])
        .arg("--toggle-collect=*run_counted*")
        .arg(format!("--callgrind-out-file={}", kept.0.display()))
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
    let (instructions, allocations) = read_counts(&fs::read_to_string(&kept.0)?)?;
    Ok(Cost { instructions: instructions as f64 / ops, allocations: allocations as f64 / ops })
}

/// What callgrind leaves behind; gone when it is read.
struct OutFile(PathBuf);

impl Drop for OutFile {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
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

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map(|(_, name)| name.to_owned()).unwrap_or_default()
}

fn first_line(program: &str, arg: &str) -> String {
    let output = Command::new(program).arg(arg).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}
