//! The tables of settings and flags in COMPAT.md: each example gets the verdict that stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

use dialtone::Options;
use dialtone::config::{self, Sources};
use tempfile::TempDir;

use crate::support::{Which, tls};

/// The last cell of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It has its effect, perhaps with a difference.
    Accepted,
    NoEffect,
    Refused,
}

/// A setting or a flag, under one of its names.
struct Example {
    /// The words of the command line behind `-t -c server.conf`.
    flags: Vec<String>,
    conf: String,
    verdict: Verdict,
}

/// The file for flags. Some of them need certificates.
const CONF: &str = "tls { cert_file: server.pem, key_file: server.key, ca_file: ca.pem }";

/// All examples in COMPAT.md.
fn examples() -> Vec<Example> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("COMPAT.md")).unwrap();
    let (_, section) = text.split_once("\n## Settings, one by one\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut template = None;
    let mut examples = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [names, value, here] = cells[..] else { panic!("three cells: {row}") };
        match value {
            "for example" => template = in_backticks(names).next(),
            // A signal would be sent.
            "–" => {}
            _ => {
                let value = in_backticks(value).next().unwrap_or_default();
                let of = |name| Example::new(template, name, value, verdict(here));
                examples.extend(in_backticks(names).map(of));
            }
        }
    }
    examples
}

fn in_backticks(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn verdict(cell: &str) -> Verdict {
    match cell.split(':').next().unwrap() {
        "same" | "different" => Verdict::Accepted,
        "no effect" => Verdict::NoEffect,
        "refused" => Verdict::Refused,
        other => panic!("no verdict: {other}"),
    }
}

impl Example {
    /// A setting in the place of the dots in a template, or a flag.
    fn new(template: Option<&str>, name: &str, value: &str, verdict: Verdict) -> Example {
        let (conf, flags) = match template {
            Some(template) => (template.replace("...", &format!("{name}: {value}")), vec![]),
            None => {
                let words = [name].into_iter().chain(value.split_whitespace());
                (CONF.to_owned(), words.map(str::to_owned).collect())
            }
        };
        Example { flags, conf, verdict }
    }

    /// Gives it to `-t`; returns true if it is accepted, and what is said.
    fn check(&self, which: Which, folder: &Path) -> (bool, String) {
        fs::write(folder.join("server.conf"), &self.conf).unwrap();
        let mut check = Command::new(which.executable());
        check.args(["-t", "-c", "server.conf"]).args(&self.flags).current_dir(folder);
        let output = check.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    /// True if the log would have a warning about the file.
    fn is_warned_of(&self) -> bool {
        let sources = Sources { file: &|_| Ok(self.conf.clone()), environment: &|_| None };
        let notices = config::load("server.conf".as_ref(), sources, &mut Options::default());
        notices.is_ok_and(|notices| !notices.is_empty())
    }
}

/// A folder with the files that examples name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["server.pem", "server.key", "ca.pem"] {
        fs::copy(tls::file(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("c.conf"), CONF).unwrap();
    folder
}

#[test]
fn each_setting_is_accepted_or_refused_as_compat_says() {
    let folder = folder();
    for example in examples() {
        let Example { flags, conf, verdict } = &example;
        let (accepted, said) = example.check(Which::Dialtone, folder.path());
        assert_eq!(accepted, *verdict != Verdict::Refused, "{conf} {flags:?}\n{said}");
        if flags.is_empty() {
            let is_warned_of = *verdict == Verdict::NoEffect;
            assert_eq!(example.is_warned_of(), is_warned_of, "{conf}");
        }
    }
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn the_real_server_has_each_setting_in_compat() {
    let folder = folder();
    for example in examples() {
        let Example { flags, conf, verdict } = &example;
        let (accepted, said) = example.check(Which::Real, folder.path());
        let is_known = !["unknown field", "flag provided"].iter().any(|no| said.contains(no));
        assert!(is_known, "{conf} {flags:?}\n{said}");
        if *verdict != Verdict::Refused {
            assert!(accepted, "{conf} {flags:?}\n{said}");
            // With the digest of the file.
            assert_eq!(example.check(Which::Dialtone, folder.path()).1, said, "{conf} {flags:?}");
        }
    }
}
