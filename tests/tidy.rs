//! The house rules that can be checked in text. Each message names the remedy.
//!
//! Reads the sources as lines; knows no Rust beyond comments, `use`, `mod` and `#[cfg(test)]`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The seven floors, bottom first, and their rooms: a module at the top, or one in a folder of
/// several rooms. A file may import only from rooms that stand before its own.
const FLOORS: [&[&str]; 7] = [
    &[
        "base::ids",
        "base::subject",
        "base::duration",
        "base::limits",
        "base::closed_reason",
        "base::quoted",
        "base::errors",
        "base::stats",
        "base::moment",
        "base::table",
        "base::os_error",
        "base::fuzzing",
        "base::sync",
        "config::compression",
        "config::route_url",
        "config::options",
    ],
    &[
        "codec::headers",
        "codec::escaping",
        "codec::info",
        "codec::connect",
        "codec::http_head",
        "parser",
        "codec::encoder",
    ],
    &[
        "config::conf",
        "config::cli",
        "sublist",
        "conn::outbound",
        "auth::permissions",
        "machine::pings",
        "auth",
    ],
    &["conn", "account", "registry::turns", "registry::accounts", "registry::settings", "registry"],
    &["deliver", "machine", "machine::session", "client", "route", "monitor", "system"],
    &["clock", "logging", "tool::line_client", "tool::commands", "net"],
    &["server", "program", "internals", "lib", "main"],
];

/// Floors 1 to 5 decide and do no I/O.
const CORE_FLOORS: usize = 5;

/// Words that the core never uses, and their replacements.
const BANNED_IN_CORE: [(&str, &str); 9] = [
    ("tokio", "give work out as a value and let `net` do it"),
    ("socket2", "sockets belong to `net`"),
    ("rustls", "TLS belongs to `net`"),
    ("std::net", "take addresses as plain data"),
    ("std::fs", "take a loader as an argument, or do it in `net` or `server`"),
    ("std::thread", "threads belong to `net` and `server`"),
    ("Instant::now", "take `now` as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("std::process", "processes belong to `program`"),
];

const COLUMNS_MAX: usize = 100;

/// The folders of this package; `tests/interop` holds packages of its own.
const FOLDERS: [&str; 4] = ["src", "tests", "benches", "examples"];

/// One file below `src/`.
struct Source {
    /// As in `conf/lex.rs`.
    path: String,
    text: String,
    /// Lines with numbers, without comments, up to the start of the tests.
    code: Vec<(usize, String)>,
    test_only: bool,
}

impl Source {
    /// The room that it belongs to.
    fn room(&self) -> String {
        room(&self.path.trim_end_matches(".rs").replace('/', "::"))
    }

    /// It only declares the rooms of its folder.
    fn is_front(&self) -> bool {
        let prefix = format!("{}::", self.room());
        place(&self.room()).is_none() && rooms().any(|(_, name)| name.starts_with(&prefix))
    }
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.ends_with("tests/interop") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut sources: Vec<Source> = rust_files(&src)
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let test_only = path.ends_with("/tests.rs") || path.contains("/tests/");
            let code = code_lines(&text);
            Source { path, text, code, test_only }
        })
        .collect();
    let for_tests: BTreeSet<String> = sources.iter().flat_map(test_children).collect();
    for source in &mut sources {
        source.test_only |= for_tests.contains(&source.path);
    }
    sources
}

/// Lines of code proper: comments cut, and ended by the tests, which stand last in a file.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let all: Vec<&str> = text.lines().collect();
    for (index, line) in all.iter().enumerate() {
        let next = all.get(index + 1).map_or("", |line| line.trim());
        if line.trim() == "#[cfg(test)]" && next.contains("mod ") && next.ends_with('{') {
            break;
        }
        let code = line.split("//").next().unwrap();
        lines.push((index + 1, code.to_owned()));
    }
    lines
}

/// `mod name;` in this file, with true if it is for tests only.
fn children(source: &Source) -> Vec<(String, bool)> {
    let mut children = Vec::new();
    let mut test = false;
    for line in source.text.lines().map(str::trim) {
        let declared = line.strip_suffix(';').and_then(|line| {
            let (before, name) = line.split_once("mod ").unwrap_or(("?", ""));
            let visible = before.is_empty() || before.starts_with("pub");
            (visible && !name.contains(' ')).then(|| name.to_owned())
        });
        if let Some(name) = declared.filter(|name| !name.is_empty()) {
            children.push((name, test));
        }
        test = line == "#[cfg(test)]" || test && line.starts_with("#[");
    }
    children
}

/// The file of a child module.
fn child_path(source: &Source, name: &str) -> String {
    match source.path.as_str() {
        "lib.rs" | "main.rs" => format!("{name}.rs"),
        path => format!("{}/{name}.rs", path.trim_end_matches(".rs")),
    }
}

fn test_children(source: &Source) -> Vec<String> {
    let tests = children(source).into_iter().filter(|(_, test)| *test);
    tests.map(|(name, _)| child_path(source, &name)).collect()
}

/// All rooms, with their floors, bottom first.
fn rooms() -> impl Iterator<Item = (usize, &'static str)> {
    (1..).zip(FLOORS).flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)))
}

/// Place of a room in the map: floor from 1, and rank over all floors.
fn place(room: &str) -> Option<(usize, usize)> {
    rooms().enumerate().find(|(_, (_, name))| *name == room).map(|(rank, (floor, _))| (floor, rank))
}

/// The room of a path such as `base::ids::Cid` or `parser::line`.
fn room(path: &str) -> String {
    let mut parts = path.split("::");
    let first = parts.next().unwrap_or_default();
    let inner = parts.next().map(|second| format!("{first}::{second}"));
    inner.filter(|name| place(name).is_some()).unwrap_or_else(|| first.to_owned())
}

/// The rooms named as `crate::path` or in `crate::{a, b::{c, d}}`, with the line.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, (number, line)) in source.code.iter().enumerate() {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let behind = source.code[index + 1..].iter().take(IMPORT_LINES_MAX);
            let text: Vec<&str> =
                std::iter::once(rest).chain(behind.map(|(_, line)| line.as_str())).collect();
            found.extend(paths(&text.join(" "), 2).iter().map(|path| (*number, room(path))));
        }
    }
    found
}

/// Lines that one `use` takes at most.
const IMPORT_LINES_MAX: usize = 20;

/// The paths at the start of a text, braces spelt out, of so many words at most.
fn paths(text: &str, words_max: usize) -> Vec<String> {
    let text = text.trim_start();
    if text.starts_with('{') {
        return items(text).iter().flat_map(|item| paths(item, words_max)).collect();
    }
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    match text[word.len()..].strip_prefix("::") {
        Some(rest) if words_max > 1 => {
            let rest = paths(rest, words_max - 1);
            rest.iter().map(|rest| format!("{word}::{rest}")).collect()
        }
        _ if word.is_empty() => Vec::new(),
        _ => vec![word],
    }
}

/// The texts between the commas of the first braces.
fn items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            ',' | '}' if depth == 1 => {
                items.push(&text[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items
}

#[track_caller]
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_module_is_in_the_map() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.is_front()) {
        if place(&source.room()).is_none() {
            problems.push(format!(
                "src/{}: add `{}` to FLOORS in tests/tidy.rs, above what it imports, and to \
                 ARCHITECTURE.md",
                source.path,
                source.room()
            ));
        }
    }
    report(&problems);
}

#[test]
fn imports_follow_the_map() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.test_only) {
        let own_room = source.room();
        let Some((_, own)) = place(&own_room) else { continue };
        if matches!(own_room.as_str(), "internals" | "lib" | "main") {
            continue;
        }
        for (line, name) in imports(source) {
            let here = format!("src/{}:{line}", source.path);
            match place(&name) {
                _ if name == own_room => {}
                Some((_, rank)) if rank < own => {}
                Some(_) => problems.push(format!(
                    "{here}: `{name}` stands after `{own_room}` in the map; move what is needed \
                     down to a room before both, or hand it in as an argument"
                )),
                None => problems.push(format!(
                    "{here}: import `{name}` from the module that defines it, not through lib.rs"
                )),
            }
        }
    }
    report(&problems);
}

#[test]
fn the_core_does_no_io() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.test_only) {
        if place(&source.room()).is_none_or(|(floor, _)| floor > CORE_FLOORS) {
            continue;
        }
        for (number, line) in &source.code {
            for (word, instead) in BANNED_IN_CORE {
                if line.contains(word) {
                    problems.push(format!(
                        "src/{}:{number}: `{word}` has no place in floors 1 to 5: {instead}",
                        source.path
                    ));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn every_file_has_a_head() {
    let mut problems = Vec::new();
    for file in FOLDERS.iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        // The head of `foo.rs` speaks for `foo/tests.rs` too.
        if !text.starts_with("//! ") && !file.ends_with("tests.rs") {
            problems.push(format!(
                "{}: begin with `//!` and say in a sentence what the file holds",
                file.strip_prefix(root()).unwrap().display()
            ));
        }
    }
    report(&problems);
}

#[test]
fn every_file_is_reached() {
    let sources = sources();
    let by_path: BTreeMap<&str, &Source> = sources.iter().map(|s| (s.path.as_str(), s)).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open = vec!["lib.rs".to_owned(), "main.rs".to_owned()];
    while let Some(path) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        if reached.insert(path) {
            open.extend(children(source).into_iter().map(|(name, _)| child_path(source, &name)));
        }
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    let problems: Vec<String> = lost
        .map(|source| format!("src/{}: no `mod` leads here; declare it or remove it", source.path))
        .collect();
    report(&problems);
}

#[test]
fn lines_are_short() {
    let mut problems = Vec::new();
    for file in FOLDERS.iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                let path = file.strip_prefix(root()).unwrap().display();
                let number = index + 1;
                problems.push(format!(
                    "{path}:{number}: {columns} columns; break the line before {COLUMNS_MAX}"
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.test_only) {
        for (number, line) in &source.code {
            if line.contains(".unwrap()") {
                problems.push(format!(
                    "src/{}:{number}: `expect(\"why this holds\")`, or hand the error on",
                    source.path
                ));
            }
            if line.contains("use super::*") {
                problems.push(format!(
                    "src/{}:{number}: name what is imported instead of `super::*`",
                    source.path
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn architecture_names_every_file() {
    let Ok(text) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        return;
    };
    let named = named_files(&text);
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.test_only) {
        if !named.contains(&source.path) {
            problems.push(format!(
                "src/{}: say in ARCHITECTURE.md, section 3, what lives there",
                source.path
            ));
        }
    }
    report(&problems);
}

/// The paths a text names, with `conf/{lex,parse}.rs` spelt out.
fn named_files(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let part = |c: char| c.is_ascii_alphanumeric() || "_/.{,}".contains(c);
    // A blank after a comma inside braces does not end the name.
    for word in text.replace(", ", ",").split(|c| !part(c)) {
        let word = word.trim_start_matches("src/");
        if let (Some((before, rest)), true) = (word.split_once('{'), word.contains('}')) {
            let (inside, after) = rest.split_once('}').unwrap();
            named.extend(inside.split(',').map(|name| format!("{before}{name}{after}")));
        } else {
            named.extend(word.split(',').map(str::to_owned));
        }
    }
    named
}

#[test]
fn names_in_braces_are_spelt_out() {
    let named = named_files("`conf.rs`, `conf/{lex,parse}.rs`, `src/net/{a, b}.rs`");
    for path in ["conf.rs", "conf/lex.rs", "conf/parse.rs", "net/a.rs", "net/b.rs"] {
        assert!(named.contains(path), "{path} in {named:?}");
    }
}

#[test]
fn grouped_imports_are_read() {
    let text = "{ parser, base::{ids::{Cid, Kind}, limits}, codec::info::Info };";
    assert_eq!(paths(text, 2), ["parser", "base::ids", "base::limits", "codec::info"]);
    assert_eq!(paths("conn::Conn;", 2), ["conn::Conn"]);
    assert_eq!(room("conn::Conn"), "conn");
    assert_eq!(room("base::ids::Cid"), "base::ids");
}
