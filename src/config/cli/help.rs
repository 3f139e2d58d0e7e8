//! The texts that `--help` and `--help_tls` print: a few lines of usage, then every flag of the
//! tables; and the manual of blocks `tls`, with the names that their lists may have.

use std::fmt::Write;

use crate::config::cli::client;
use crate::config::cli::flag::Flag;
use crate::config::cli::flags::{LAST, SECTIONS};
use crate::config::options::{CipherSuite, Curve};

/// The program in one line.
pub(super) const TITLE: &str =
    "dialtone: a subject bus that speaks the NATS protocol, without JetStream";

/// The ways to call it, with the effect of each.
pub(super) const USAGE: [(&str, &str); 6] = [
    ("dialtone [flags]", "run a server"),
    ("dialtone pub SUBJECT [BODY]", "publish one message"),
    ("dialtone sub SUBJECT", "print what arrives"),
    ("dialtone req SUBJECT [BODY]", "ask, print the answer"),
    ("dialtone reply SUBJECT [BODY]", "answer each request"),
    ("dialtone help | version", ""),
];

/// Syntax of flags.
pub(super) const SYNTAX: &str =
    "Flags take one or two dashes, and their value as the next word or after `=`.";

/// Start of the second column.
const COLUMN: usize = 40;

/// Every flag and word, one line each. Ends without newline.
pub fn help() -> String {
    let mut text = format!("{TITLE}\n\n");
    for (index, (call, does)) in USAGE.iter().enumerate() {
        let label = if index == 0 { "Usage: " } else { "       " };
        text.push_str(format!("{label}{call:<33}{does}").trim_end());
        text.push('\n');
    }
    for section in &SECTIONS {
        let _ = write!(text, "\n{}:\n", section.title);
        text.push_str(&lines(section.flags));
    }
    let _ = write!(text, "\n{}:\n{}", client::FLAGS.title, lines(client::FLAGS.flags));
    let _ = write!(text, "\n{}\n{SYNTAX}", lines(LAST.flags));
    text
}

/// The settings of a block `tls`, and the suites and curves there are. Ends without newline.
pub fn help_tls() -> String {
    let suites = CipherSuite::NAMES.map(|(name, _)| name).join("\n    ");
    let curves = Curve::NAMES.map(|(name, _)| name).join("\n    ");
    format!(
        "{}\nAvailable cipher suites:\n    {suites}\n\nAvailable curve preferences:\n    {curves}",
        include_str!("../../../conf/tls.conf")
    )
}

fn lines<A>(flags: &[Flag<A>]) -> String {
    let mut text = String::new();
    for (calls, help) in entries(flags) {
        // A long name without a short one stands below the other long ones.
        let margin = if calls.starts_with("--") { 6 } else { 2 };
        let mut calls = format!("{:margin$}{calls}", "");
        for line in help.lines() {
            let _ = writeln!(text, "{calls:<COLUMN$}{line}");
            calls.clear();
        }
    }
    text
}

/// The flags as entries of the help: flags that share a text are one entry, with their values.
pub(super) fn entries<A>(flags: &[Flag<A>]) -> Vec<(String, &'static str)> {
    let mut entries = Vec::new();
    let mut calls = String::new();
    for flag in flags {
        calls.push_str(&call(flag));
        if flag.help.is_empty() {
            calls.push_str(", ");
        } else {
            entries.push((std::mem::take(&mut calls), flag.help));
        }
    }
    entries
}

/// Names and value.
fn call<A>(flag: &Flag<A>) -> String {
    let blank = if matches!(flag.argument.as_bytes(), [] | [b'[', ..]) { "" } else { " " };
    format!("{}{blank}{}", flag.names.join(", "), flag.argument)
}
