//! Lines as they end up in a log file.

use std::fs;
use std::path::Path;

use tracing::{debug, error, info, trace, warn};

use super::*;

fn options(path: &Path) -> options::Log {
    options::Log { logtime: false, log_file: Some(path.to_owned()), ..options::Log::default() }
}

/// The lines that `logged` writes, without the process id.
fn lines(set: impl FnOnce(&mut options::Log), logged: impl FnOnce()) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut options = options(&path);
    set(&mut options);
    let logger = Logger::new(&options).unwrap();
    tracing::subscriber::with_default(Registry::default().with(logger), logged);
    let pid = format!("[{}] ", std::process::id());
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.strip_prefix(&pid).unwrap().to_owned()).collect()
}

#[test]
fn each_level_has_its_label() {
    let everything = |log: &mut options::Log| (log.debug, log.trace) = (true, true);
    let written = lines(everything, || {
        error!(fatal = true, "f");
        error!("e");
        warn!("w");
        info!("i");
        debug!("d");
        trace!("t");
    });
    assert_eq!(written, ["[FTL] f", "[ERR] e", "[WRN] w", "[INF] i", "[DBG] d", "[TRC] t"]);
}

#[test]
fn debug_and_trace_are_switched_alone() {
    let logged = || {
        debug!("d");
        trace!("t");
    };
    assert_eq!(lines(|_| {}, logged), [""; 0]);
    assert_eq!(lines(|log| log.debug = true, logged), ["[DBG] d"]);
    assert_eq!(lines(|log| log.trace = true, logged), ["[TRC] t"]);
}

/// Regression: code that asks before composing a costly line got no, although the level was on.
#[test]
fn asking_for_a_level_gives_the_same_answer() {
    let ask = || {
        if tracing::enabled!(Level::TRACE) {
            trace!("t");
        }
    };
    assert_eq!(lines(|log| log.trace = true, ask), ["[TRC] t"]);
    assert_eq!(lines(|log| log.debug = true, ask), [""; 0]);
}

#[test]
fn the_connection_stands_first() {
    let written = lines(
        |_| {},
        || {
            let remote = "127.0.0.1:5";
            info!(remote, cid = 5u64, client = "v1:go:\"n\"\n", account = %"A/b", "text {}", 1);
            info!(%remote, cid = 6u64, client = "", reason = "unseen", pending_bytes = 7, "bare");
        },
    );
    let first = r#"[INF] 127.0.0.1:5 - cid:5 - "v1:go:\"n\"\n" - "A/b" - text 1"#;
    assert_eq!(written, [first, "[INF] 127.0.0.1:5 - cid:6 - bare"]);
}

#[test]
fn an_event_is_one_line() {
    let written = lines(|_| {}, || info!("a\r\n[1] [INF] forged\x1b[31m\tb\u{202e}\u{2028}\u{e9}"));
    assert_eq!(written, ["[INF] a\\r\\n[1] [INF] forged\\u{1b}[31m\tb\\u{202e}\\u{2028}\u{e9}"]);
}

#[test]
fn other_crates_are_not_shown() {
    let written = lines(
        |_| {},
        || {
            info!(target: "hyper::proto", "a");
            info!(target: "dialtones", "b");
            info!(target: "dialtone::net", "c");
        },
    );
    assert_eq!(written, ["[INF] c"]);
}

#[test]
fn the_time_has_microseconds() {
    for utc in [false, true] {
        let set = |log: &mut options::Log| (log.logtime, log.logtime_utc) = (true, utc);
        let written = lines(set, || info!("x"));
        let shape = written[0].replace(|c: char| c.is_ascii_digit(), "9");
        assert_eq!(shape, "9999/99/99 99:99:99.999999 [INF] x");
    }
}

#[test]
fn reopening_makes_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("log"), dir.path().join("moved"));
    let logger = Logger::new(&options(&path)).unwrap();
    tracing::subscriber::with_default(Registry::default().with(logger.clone()), || {
        info!("before");
        fs::rename(&path, &moved).unwrap();
        logger.reopen();
    });
    logger.flush();
    assert!(fs::read_to_string(moved).unwrap().ends_with("[INF] before\n"));
    assert!(fs::read_to_string(path).unwrap().ends_with("[INF] File log re-opened\n"));
}

#[test]
fn a_large_file_is_moved_and_the_oldest_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let stranger = dir.path().join("log.2026.notes");
    fs::write(&stranger, "").unwrap();
    let options = options::Log { log_size_limit: 100, log_max_num: 3, ..options(&path) };
    let logger = Logger::new(&options).unwrap();
    tracing::subscriber::with_default(Registry::default().with(logger), || {
        for round in 0..5 {
            info!("{round} {}", "x".repeat(100));
        }
    });
    let mut names: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!((&names[0], &names[3]), (&path, &stranger));
    // Each file but the first begins with the word of the rotation.
    let newest = fs::read_to_string(&names[2]).unwrap();
    assert!(newest.contains("Rotated log, backup saved as \""), "{newest}");
    assert!(newest.contains("[INF] 4 x"), "{newest}");
    assert!(fs::read_to_string(&path).unwrap().contains("Purged log file \""));
}

#[test]
fn a_missing_folder_is_told() {
    let error = Logger::new(&options(Path::new("/nonexistent/log"))).err().unwrap();
    let text = "error opening file: open /nonexistent/log: no such file or directory";
    assert_eq!(error.to_string(), text);
}
