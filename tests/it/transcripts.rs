//! Conversations with a server, written down in `transcripts/*.txt` and played to both servers.
//!
//! The file is the specification: dialtone has to answer as written, and the real server, where it
//! is installed, has to agree. `transcripts/README.md` explains the format. Each case is played
//! whole, in random pieces, and byte by byte, unless it is marked `[whole]`; to dialtone over TLS,
//! unless it shows INFO; and by WebSocket, in frames and compressed messages, to dialtone also over
//! TLS. There the real server often loses what it says before it closes, and where messages are cut
//! it says some errors twice.
//!
//! `TRANSCRIPTS_RECORD=1` rewrites the answers from the real server; `TRANSCRIPTS_ONLY=words` plays
//! the cases whose name contains the words; `TRANSCRIPTS_SEED=n` repeats a cutting.

mod format;
mod play;
mod record;
mod text;

use std::fmt::Write as _;
use std::path::PathBuf;

use fastrand::Rng;
use format::{Case, Group, Script};
use play::Cut;

use crate::support::Which;
use crate::support::random::seed_from_env;
use crate::support::server::Setup;
use crate::support::{tls, websocket};

/// Names the files; each becomes a module with a test per server.
macro_rules! transcripts {
    ($($name:ident)*) => {
        const FILES: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[test]
            fn dialtone() {
                super::check(stringify!($name), crate::support::Which::Dialtone);
            }
            #[test]
            #[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
            fn real() {
                super::check(stringify!($name), crate::support::Which::Real);
            }
        })*
    };
}

transcripts! {
    accounts
    connect
    delivery
    first_op
    imports
    limits
    mappings
    parser
    password
    permissions
    publish
    subscribe
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/transcripts"))
}

fn load(name: &str) -> Script {
    let path = folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Script::parse(name, &text).unwrap_or_else(|error| panic!("{name}.txt:{error}"))
}

fn check(name: &str, which: Which) {
    let script = load(name);
    if which == Which::Real && std::env::var("TRANSCRIPTS_RECORD").is_ok_and(|v| v == "1") {
        let path = folder().join(format!("{name}.txt"));
        std::fs::write(&path, record::record(&script)).unwrap();
        return;
    }
    let seed = seed_from_env("TRANSCRIPTS_SEED");
    let failures: Vec<String> = std::thread::scope(|scope| {
        let play = |group| scope.spawn(move || play_group(group, which, seed));
        let groups: Vec<_> = script.groups.iter().map(play).collect();
        groups.into_iter().flat_map(|group| group.join().expect("no panic")).collect()
    });
    let mut report = String::new();
    for failure in failures.iter().take(20) {
        writeln!(report, "{name}.txt:{failure}").unwrap();
    }
    let count = failures.len();
    assert!(count == 0, "{count} failures with {which:?}, TRANSCRIPTS_SEED={seed}\n{report}");
}

fn setup(group: &Group) -> Setup {
    let setup = Setup::default().flags(group.flags.iter().cloned());
    match &group.conf {
        Some(conf) => setup.conf(conf.clone()),
        None => setup,
    }
}

/// Plays the cases of one group to one server, pass by pass, and returns the failures.
fn play_group(group: &Group, which: Which, seed: u64) -> Vec<String> {
    let only = std::env::var("TRANSCRIPTS_ONLY").unwrap_or_default();
    let wanted = |case: &&Case| case.is_for(which) && case.name.contains(&only);
    let (fresh, shared): (Vec<_>, Vec<_>) =
        group.cases.iter().filter(wanted).partition(|case| case.fresh);
    let mut failures = Vec::new();
    for case in fresh {
        let server = setup(group).start(which);
        failures.extend(play::play(group, case, &server, &mut Cut::Whole).err());
    }
    if shared.is_empty() {
        return failures;
    }
    let server = setup(group).start(which);
    for mut cut in [Cut::Whole, Cut::Pieces(Rng::with_seed(seed)), Cut::Bytes] {
        for case in &shared {
            if !case.may_be_cut(which) && !matches!(cut, Cut::Whole) {
                continue;
            }
            failures.extend(play::play(group, case, &server, &mut cut).err());
        }
        if !failures.is_empty() {
            // The other passes would repeat them.
            return failures;
        }
    }
    if which == Which::Dialtone {
        let server = setup(group).more_conf(&tls::conf("handshake_first: true")).start(which);
        let alike = shared.iter().filter(|case| !case.shows_info());
        failures.extend(
            alike.filter_map(|case| play::play(group, case, &server, &mut Cut::Encrypted).err()),
        );
    }
    let is_real = which == Which::Real;
    let mut ports = vec![(websocket::conf("compression: true"), false)];
    if !is_real {
        ports.push((websocket::wss_conf("compression: true", ""), true));
    }
    for (conf, encrypted) in ports {
        let server = setup(group).more_conf(&conf).start(which);
        let lost = |case: &Case| is_real && case.closes();
        let other = |case: &Case| group.tells_ways_apart(case) || encrypted && case.shows_info();
        let alike = shared.iter().filter(|case| !other(case) && !lost(case));
        let mut cut = Cut::Framed((!is_real).then(|| Rng::with_seed(seed)));
        failures.extend(alike.filter_map(|case| play::play(group, case, &server, &mut cut).err()));
    }
    failures
}

#[test]
fn every_file_is_played() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|end| end == "txt") {
            assert!(FILES.contains(&name), "add `{name}` to the list in tests/it/transcripts.rs");
        }
    }
}

#[test]
fn names_are_unique_and_cases_differ() {
    let mut seen = std::collections::HashMap::new();
    for name in FILES {
        for group in &load(name).groups {
            for case in &group.cases {
                let input = (group.flags.clone(), group.conf.clone(), case.input(), case.only());
                let here = format!("{name}.txt: {}", case.name);
                if let Some(there) = seen.insert(input, here.clone()) {
                    panic!("`{here}` sends the same as `{there}`");
                }
            }
            let mut names: Vec<_> = group.cases.iter().map(|c| (&c.name, c.only())).collect();
            names.sort();
            for pair in names.windows(2) {
                assert!(pair[0] != pair[1], "{name}.txt: two cases named {:?}", pair[0].0);
            }
        }
    }
}

#[test]
fn differences_are_listed_in_compat() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COMPAT.md");
    let compat = std::fs::read_to_string(path).unwrap_or_default();
    for name in FILES {
        for group in &load(name).groups {
            for case in &group.cases {
                let Some((which, id)) = &case.differs else { continue };
                let here = format!("{name}.txt: {}", case.name);
                assert!(compat.contains(&format!("`{id}`")), "{here}: COMPAT.md has no `{id}`");
                let other = group.cases.iter().find(|other| {
                    other.name == case.name
                        && other.differs.as_ref().is_some_and(|(w, i)| w != which && i == id)
                });
                assert!(other.is_some(), "{here}: what does the other server answer?");
            }
        }
    }
}
