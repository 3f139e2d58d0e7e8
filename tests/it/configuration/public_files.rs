//! Files like those that people publish: both servers start with them, and mean the same.
//!
//! Each file in `public_files/` says what it is like. Those that others include stand beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Server, Which, http};

/// Files that only stand in others.
const INCLUDED: [&str; 3] = ["compose_accounts.conf", "limits.conf", "limits_last.conf"];

/// The variables of the environment that files use.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("SERVER_NAME", "nats-0"),
    ("CLUSTER_NAME", "c"),
    ("CLUSTER_ADVERTISE", "nats-0.nats.default.svc.cluster.local"),
    ("CLUSTER_ROUTE_1", "nats://nats-1:6222"),
    ("CLUSTER_ROUTE_2", "nats://nats-2:6222"),
    ("ADMIN_USER", "admin"),
    ("ADMIN_PASSWORD", "changed"),
    ("APP_USER", "app"),
    ("APP_PASSWORD", "s3cret"),
];

/// Members of `/varz` that are no settings: identity, time, ports that were free, counters that
/// are not 0, and features that are not here.
const NO_SETTINGS: [&str; 23] = [
    "server_id",
    "start",
    "now",
    "uptime",
    "config_load_time",
    "go",
    "git_commit",
    "mem",
    "cores",
    "gomaxprocs",
    "cpu",
    "port",
    "http_port",
    "https_port",
    "cluster/cluster_port",
    "websocket/port",
    "connect_urls",
    "routes",
    "subscriptions",
    "http_req_stats",
    "jetstream",
    "leaf",
    "mqtt",
];

/// The files in a folder of this run, with its own paths in place of those they were written for.
fn files(folder: &Path) -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut files = Vec::new();
    for entry in fs::read_dir(tests.join("configuration/public_files")).unwrap() {
        let entry = entry.unwrap();
        let mut text = fs::read_to_string(entry.path()).unwrap();
        for (written, here) in
            [("/etc/tls", &*tests.join("tls")), ("/var/run", folder), ("/data", folder)]
        {
            text = text.replace(written, here.to_str().unwrap());
        }
        let path = folder.join(entry.file_name());
        fs::write(&path, text).unwrap();
        files.push(path);
    }
    files.retain(|path| !INCLUDED.contains(&path.file_name().unwrap().to_str().unwrap()));
    files.sort();
    files
}

/// The words of `-t`.
fn check(which: Which, file: &Path) -> String {
    let mut check = Command::new(which.executable());
    let output = check.args(["-t", "-c"]).arg(file).envs(ENVIRONMENT).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

/// The settings that a server shows.
fn settings(which: Which, file: &Path) -> Value {
    let mut setup = Server::with().flags(["-c", file.to_str().unwrap()]);
    for (name, value) in ENVIRONMENT {
        setup = setup.environment(name, value.into());
    }
    let server = setup.start(which);
    let text = fs::read_to_string(file).unwrap();
    let page = if text.contains("http_base_path") { "/nats/varz" } else { "/varz" };
    let mut varz = http::json(&server, page);
    if varz["server_name"] == varz["server_id"] {
        varz["server_name"].take();
    }
    // Its default is another one.
    let handshake_timeout =
        (!text.contains("handshake_timeout")).then_some("websocket/handshake_timeout");
    for path in NO_SETTINGS.into_iter().chain(handshake_timeout) {
        let (block, name) = path.split_once('/').unwrap_or(("", path));
        let pointer = if block.is_empty() { String::new() } else { format!("/{block}") };
        varz.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(name);
    }
    varz
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn both_servers_mean_the_same_by_public_files() {
    let folder = TempDir::new().unwrap();
    let files = files(folder.path());
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let [real, ours] = [Which::Real, Which::Dialtone].map(|which| check(which, &file));
        assert!(real.contains(" is valid (sha256:"), "{real}");
        // With the digest.
        assert_eq!(ours, real);
        let [real, ours] = [Which::Real, Which::Dialtone].map(|which| settings(which, &file));
        assert_eq!(ours, real, "{}", file.display());
    }
}
