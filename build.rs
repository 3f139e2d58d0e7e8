//! Tells the compiler which commit it compiles, for INFO and `/varz`: as the variable
//! `DIALTONE_COMMIT`, seven digits. Without git, or within another repository, there is none.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let here = std::env::var("CARGO_MANIFEST_DIR").ok();
    if here.is_none() || git(&["rev-parse", "--show-toplevel"]) != here {
        return;
    }
    // Git writes a line there whenever another commit is checked out.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["rev-parse", "HEAD"]).and_then(|id| Some(id.get(..7)?.to_owned())) {
        println!("cargo::rustc-env=DIALTONE_COMMIT={commit}");
    }
}

/// The output of a command of git, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
