//! Tells the compiler which commit it compiles, for INFO and `/varz`: as the variable
//! `DIALTONE_COMMIT`, seven digits. Without git, or within another repository, there is none.
//!
//! In this repository it also tells the tests, as `cfg(nats_server)`, whether the real server is
//! there: without it those that need it are ignored, by name.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(nats_server)");
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
    if nats_server_is_there() {
        println!("cargo::rustc-cfg=nats_server");
    }
}

/// The tests look for it in the same places.
fn nats_server_is_there() -> bool {
    let installed = ["target/interop/nats-server", "target/interop/server/bin/nats-server"];
    if let Some(path) = installed.iter().find(|path| Path::new(path).is_file()) {
        println!("cargo::rerun-if-changed={path}");
        return true;
    }
    let variables = ["NATS_SERVER", "DIALTONE_REQUIRE_NATS_SERVER", "PATH"];
    for name in variables {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let [named, required, path] = variables.map(|name| std::env::var_os(name).unwrap_or_default());
    let mut folders = std::env::split_paths(&path);
    !named.is_empty()
        || required == "1"
        || folders.any(|folder| folder.join("nats-server").is_file())
}

/// The output of a command of git, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
