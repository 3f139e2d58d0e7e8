//! The house rules that can be checked in text. Each message names the remedy.
//!
//! Reads the sources as lines, as rustfmt leaves them; knows no Rust beyond comments, paths, `mod`,
//! `#[cfg(test)]` and the heads of functions. The map of the rooms is the one in ARCHITECTURE.md.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

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

const FUNCTION_LINES_MAX: usize = 70;

/// One flat literal each: a list of cases, and the members of a page.
const LONG_FUNCTIONS: [(&str, &str); 2] = [
    ("src/config/conf/tests.rs", "refusals_have_the_real_servers_texts"),
    ("src/monitor/varz.rs", "varz"),
];

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

/// The rooms, the lowest first: files, with the numbers of their floors. A file may import only
/// from rooms that stand before its own.
struct Map(Vec<(usize, String)>);

impl Map {
    /// As the table in ARCHITECTURE.md has it. A file of a folder whose front stands before it
    /// belongs to the room of that front.
    fn read() -> Map {
        let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let (_, section) = text.split_once("\n## 3. ").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        Map::of(section)
    }

    fn of(table: &str) -> Map {
        let mut map = Map(Vec::new());
        let mut floor = 0;
        for row in table.lines().filter(|line| line.starts_with('|')) {
            let named = row.split('|').nth(1).unwrap();
            floor += usize::from(named.contains("**"));
            for file in named_files(named).into_iter().filter(|name| name.ends_with(".rs")) {
                if map.place(&file).is_none() {
                    map.0.push((floor, file));
                }
            }
        }
        map
    }

    /// The rank of the room that a file belongs to, and its floor.
    fn place(&self, file: &str) -> Option<(usize, usize)> {
        let is_in = |room: &str| file == room || is_below(file, room);
        let place = |(rank, (floor, room)): (usize, &(usize, String))| {
            is_in(room).then_some((rank, *floor))
        };
        self.0.iter().enumerate().find_map(place)
    }

    /// It only declares the rooms of its folder.
    fn is_front(&self, file: &str) -> bool {
        self.place(file).is_none() && self.0.iter().any(|(_, room)| is_below(room, file))
    }
}

/// The file `front` declares the folder that a file is in.
fn is_below(file: &str, front: &str) -> bool {
    file.strip_prefix(front.trim_end_matches(".rs")).is_some_and(|rest| rest.starts_with('/'))
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

/// A path of modules that a file names, as far as it leads to a file.
struct Import {
    line: usize,
    path: String,
    /// In `src/`; none if the path does not begin with a module.
    file: Option<String>,
}

/// What a file names as `crate::path` or `super::path`, or in `{a, b::{c, d}}` behind that.
fn imports(source: &Source, files: &BTreeSet<&str>) -> Vec<Import> {
    let parent = source.path.rsplit_once('/').map_or("", |(folder, _)| folder).replace('/', "::");
    let mut found = Vec::new();
    for (index, (line, code)) in source.code.iter().enumerate() {
        for (root, base) in [("crate::", ""), ("super::", parent.as_str())] {
            for (at, _) in code.match_indices(root) {
                let behind = source.code[index + 1..].iter().take(IMPORT_LINES_MAX);
                let text: Vec<&str> = iter::once(&code[at + root.len()..])
                    .chain(behind.map(|(_, line)| line.as_str()))
                    .collect();
                found.extend(paths(&text.join(" "), PATH_WORDS_MAX).into_iter().map(|path| {
                    let path = if base.is_empty() { path } else { format!("{base}::{path}") };
                    Import { line: *line, file: file_of(&path, files), path }
                }));
            }
        }
    }
    found
}

/// The file of the longest part of a path that has one.
fn file_of(path: &str, files: &BTreeSet<&str>) -> Option<String> {
    let words: Vec<&str> = path.split("::").collect();
    let file = |count: usize| format!("{}.rs", words[..count].join("/"));
    (1..=words.len()).rev().map(file).find(|file| files.contains(file.as_str()))
}

/// Lines that one `use` takes at most.
const IMPORT_LINES_MAX: usize = 20;

/// Words of a path that are looked at: no module lies deeper.
const PATH_WORDS_MAX: usize = 5;

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
fn every_file_is_in_the_map() {
    let map = Map::read();
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<String> = named_files(&text).into_iter().collect();
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.test_only) {
        let path = &source.path;
        if !named.contains(path) || map.place(path).is_none() && !map.is_front(path) {
            problems.push(format!(
                "src/{path}: say in ARCHITECTURE.md, section 3, what lives there, below what it \
                 imports"
            ));
        }
    }
    report(&problems);
}

#[test]
fn imports_follow_the_map() {
    let (map, sources) = (Map::read(), sources());
    let files = sources.iter().map(|source| source.path.as_str()).collect();
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| !source.test_only) {
        let Some((own, _)) = map.place(&source.path) else { continue };
        if ["internals.rs", "lib.rs", "main.rs"].contains(&source.path.as_str()) {
            continue;
        }
        for Import { line, path, file } in imports(source, &files) {
            let here = format!("src/{}:{line}", source.path);
            match file.as_deref().and_then(|file| map.place(file)) {
                Some((rank, _)) if rank <= own => {}
                Some((rank, _)) => problems.push(format!(
                    "{here}: `{}` stands after `{}` in ARCHITECTURE.md, section 3; move what is \
                     needed down to a room before both, or hand it in as an argument",
                    map.0[rank].1, map.0[own].1
                )),
                None => problems.push(format!(
                    "{here}: import `{path}` from the module that defines it, not through lib.rs"
                )),
            }
        }
    }
    report(&problems);
}

/// A file and those of its folder may name each other; two files of one folder may not, neither
/// through others.
#[test]
fn no_files_of_a_room_import_each_other() {
    let (map, sources) = (Map::read(), sources());
    let files = sources.iter().map(|source| source.path.as_str()).collect();
    let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.test_only) {
        for import in imports(source, &files) {
            let own = map.place(&source.path);
            let Some(file) = import.file.filter(|file| map.place(file) == own) else { continue };
            if let Some((from, to)) = siblings(&source.path, &file) {
                let here = format!("src/{}:{}", source.path, import.line);
                arrows.entry(from).or_default().entry(to).or_insert(here);
            }
        }
    }
    let mut problems = Vec::new();
    for (from, targets) in &arrows {
        for (to, here) in targets {
            if leads_to(&arrows, to, from) {
                problems.push(format!(
                    "{here}: `{from}` imports `{to}`, which imports it too; move what both need to \
                     a file of its own"
                ));
            }
        }
    }
    report(&problems);
}

/// The modules of one folder that two files are in, unless one file declares the other's folder.
fn siblings(one: &str, other: &str) -> Option<(String, String)> {
    let (one, other) = (one.trim_end_matches(".rs"), other.trim_end_matches(".rs"));
    let words = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (words(one), words(other));
    let common = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    let module = |path: &[String]| path.get(..=common).map(|words| words.join("/"));
    module(&one).zip(module(&other))
}

fn leads_to<V>(arrows: &BTreeMap<String, BTreeMap<String, V>>, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            open.extend(arrows.get(at).into_iter().flat_map(|to| to.keys().map(String::as_str)));
        }
    }
    false
}

#[test]
fn the_core_does_no_io() {
    let map = Map::read();
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.test_only) {
        if map.place(&source.path).is_none_or(|(_, floor)| floor > CORE_FLOORS) {
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
fn functions_are_short() {
    let mut problems = Vec::new();
    for file in FOLDERS.iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        for (number, name, len) in functions(&text) {
            if len > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.contains(&(path.as_str(), name)) {
                problems.push(format!(
                    "{path}:{number}: `{name}` has {len} lines; give a part of it a name, so that \
                     {FUNCTION_LINES_MAX} are enough"
                ));
            }
        }
    }
    report(&problems);
}

/// The functions of a formatted text: first line, name, count of lines.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(("fn", name)) = declared(line) else { continue };
        let blanks = &line[..line.len() - line.trim_start().len()];
        let is_end = |rest: &str| rest == "}" || rest.starts_with(')') && rest.ends_with(';');
        let is_last = |line: &&str| line.strip_prefix(blanks).is_some_and(is_end);
        let is_whole = line.ends_with('}') || line.ends_with(';');
        let more = lines[index..].iter().position(is_last);
        let len = if is_whole { 1 } else { more.map_or(1, |more| more + 1) };
        functions.push((index + 1, name, len));
    }
    functions
}

/// The kind and the name of what a line declares.
fn declared(line: &str) -> Option<(&str, &str)> {
    let mut line = line.trim_start();
    if let Some(rest) = line.strip_prefix("pub") {
        line = match rest.split_once(") ") {
            Some((scope, rest)) if scope.starts_with('(') => rest,
            _ => rest.trim_start(),
        };
    }
    for word in ["default ", "async ", "unsafe ", "const fn "] {
        if let Some(rest) = line.strip_prefix(word) {
            line = if word == "const fn " { &line["const ".len()..] } else { rest };
        }
    }
    let (kind, rest) = line.split_once(' ')?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let known = ["fn", "const", "static", "trait"].contains(&kind);
    (known && end > 0).then_some((kind, &rest[..end]))
}

/// Types are left to the compiler: who uses one need not name it.
#[test]
fn what_is_public_is_used_elsewhere() {
    let texts = [&FOLDERS[..], &["fuzz/fuzz_targets"]].concat();
    let texts = texts.iter().flat_map(|folder| rust_files(&root().join(folder)));
    let words: BTreeMap<PathBuf, BTreeSet<String>> = texts
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            let words = words.map(str::to_owned).collect();
            (file, words)
        })
        .collect();
    let mut problems = Vec::new();
    for source in sources() {
        let own = root().join("src").join(&source.path);
        for (number, line) in &source.code {
            let Some((_, name)) = declared(line).filter(|_| line.trim_start().starts_with("pub"))
            else {
                continue;
            };
            if !words.iter().any(|(file, words)| *file != own && words.contains(name)) {
                problems.push(format!(
                    "src/{}:{number}: no other file names `{name}`: without `pub` the compiler \
                     tells when nobody uses it any more",
                    source.path
                ));
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

/// What must not take long is waited for with patience; what must is told by a clock that the test
/// moves. Else a busy machine decides.
#[test]
fn tests_assert_no_times() {
    let mut problems = Vec::new();
    for file in ["src", "tests"].iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        for (index, line) in text.lines().enumerate() {
            let asks = ["assert", "while ", "if "].iter().any(|word| line.contains(word));
            if asks && line.contains(ELAPSED) {
                problems.push(format!(
                    "{}:{}: wait for an event, count, or move a clock by hand",
                    file.strip_prefix(root()).unwrap().display(),
                    index + 1
                ));
            }
        }
    }
    report(&problems);
}

/// The time since a moment of the machine's clock.
const ELAPSED: &str = concat!(".elapsed", "()");

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

/// The paths a text names, in order, with `conf/{lex,parse}.rs` spelt out.
fn named_files(text: &str) -> Vec<String> {
    let mut named = Vec::new();
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
        assert!(named.iter().any(|name| name == path), "{path} in {named:?}");
    }
}

#[test]
fn grouped_imports_are_read() {
    let text = "{ parser, base::{ids::{Cid, Kind}, limits}, codec::info::Info };";
    assert_eq!(paths(text, 2), ["parser", "base::ids", "base::limits", "codec::info"]);
    assert_eq!(paths("conn::Conn;", 2), ["conn::Conn"]);
}

#[test]
fn a_room_is_a_file_with_its_folder() {
    let map = Map::of(
        "| **1 base** |\n| `base/ids.rs` |\n| **2 shared** |\n| `conn/{queue,piece}.rs` |\n\
         | `conn.rs`, `conn/{flow,lag}.rs` |",
    );
    assert_eq!(map.place("base/ids.rs"), Some((0, 1)));
    assert_eq!(map.place("conn/piece.rs"), Some((2, 2)));
    assert_eq!(map.place("conn/flow.rs"), map.place("conn.rs"));
    assert!(map.is_front("base.rs") && !map.is_front("conn.rs"));
    let files = BTreeSet::from(["base.rs", "base/ids.rs", "conn.rs"]);
    assert_eq!(file_of("base::ids::Cid", &files).as_deref(), Some("base/ids.rs"));
    assert_eq!(file_of("Server", &files), None);
}

#[test]
fn circles_are_found_between_siblings() {
    let both = |one: &str, other: &str| Some((one.to_owned(), other.to_owned()));
    assert_eq!(siblings("net/drive/shared.rs", "net/http.rs"), both("net/drive", "net/http"));
    assert_eq!(siblings("net/drive.rs", "net/drive/shared.rs"), None);
    let arrow = |to: &str| BTreeMap::from([(to.to_owned(), ())]);
    let arrows = BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), arrow("c"))));
    assert!(leads_to(&arrows, "a", "c") && !leads_to(&arrows, "c", "b"));
}

#[test]
fn functions_are_measured() {
    let text = "fn one() {}\nimpl A {\n    pub(super) const fn two(\n    ) {\n    }\n}\n";
    assert_eq!(functions(text), [(1, "one", 1), (3, "two", 3)]);
    assert_eq!(declared("pub const LEN: usize = 3;"), Some(("const", "LEN")));
    assert_eq!(declared("    pub(crate) async fn go<T>("), Some(("fn", "go")));
    assert_eq!(declared("pub struct Fn {"), None);
}
