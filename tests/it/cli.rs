//! The command line from outside: what is printed where, and the exit code.

use std::ffi::OsStr;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use crate::support::{Client, PATIENCE, Server, Which};

fn run(which: Which, args: &[&str]) -> Output {
    let executable = which.executable();
    Command::new(executable).args(args).output().expect("it runs")
}

/// The text after the program's name.
fn message(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = text.trim_end();
    text.split_once(": ").map_or(text, |(_, message)| message).to_owned()
}

#[track_caller]
fn refused(which: Which, args: &[&str], expected: &str) {
    let output = run(which, args);
    assert_eq!((message(&output).as_str(), output.status.code()), (expected, Some(1)), "{args:?}");
}

for_both! {
    fn version(which) {
        for word in ["-v", "--version", "version"] {
            let output = run(which, &[word]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.starts_with("nats-server: v2."), "{word}: {text}");
            assert_eq!(output.status.code(), Some(0));
        }
    }

    fn help(which) {
        for word in ["-h", "--help", "help"] {
            let output = run(which, &[word]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("Usage: "), "{word}: {text}");
            assert!(text.contains("--port"), "{word}: {text}");
            assert_eq!(output.status.code(), Some(0));
        }
    }

    /// dialtone refused it, and named a file that a package may not bring.
    fn help_about_tls(which) {
        let output = run(which, &["--help_tls"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for name in ["cert_file:", "TLS_AES_128_GCM_SHA256\n", "X25519\n"] {
            assert!(text.contains(name), "{name}: {text}");
        }
        assert_eq!(output.status.code(), Some(0));
    }

    fn words_that_are_no_flags(which) {
        refused(which, &["foo"], "unrecognized command: \"foo\"");
    }

    fn a_check_needs_a_file(which) {
        let text = "must specify [-c, --config] option to check configuration file syntax";
        refused(which, &["-t"], text);
    }

    fn a_missing_file(which) {
        refused(which, &["-c", "/nonexistent"], "open /nonexistent: no such file or directory");
    }

    /// The runtime was dropped in an async context, which panicked before the reason was logged.
    fn a_port_that_is_taken(which) {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let output = run(which, &["-a", "127.0.0.1", "-p", &port]);
        let log = String::from_utf8_lossy(&output.stderr);
        let fatal = format!(
            "[FTL] Error listening on port: 127.0.0.1:{port}, \
             \"listen tcp 127.0.0.1:{port}: bind: address already in use\""
        );
        assert!(log.contains(&fatal), "{log}");
        assert_eq!(output.status.code(), Some(1));
    }

    /// The log named the port in other words than the real server.
    fn other_ports_that_are_taken(which) {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let cause = format!("listen tcp 127.0.0.1:{port}: bind: address already in use");
        let cluster = format!("nats://127.0.0.1:{port}");
        let monitor = "Can't start monitoring: can't listen to the monitor port";
        let cases = [
            (["-m", &port], format!("{monitor}: {cause}")),
            (["--cluster", &cluster], format!("Error listening on router port: {port} - {cause}")),
        ];
        for (args, fatal) in cases {
            let args = [&["-a", "127.0.0.1", "-p", "-1"][..], &args[..]].concat();
            let output = run(which, &args);
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(log.contains(&format!("[FTL] {fatal}\n")), "{log}");
            assert_eq!(output.status.code(), Some(1));
        }
    }

    /// The address was shown as `::1:4222`.
    fn a_port_that_is_taken_on_ipv6(which) {
        let taken = TcpListener::bind("[::1]:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let log = run(which, &["-a", "::1", "-p", &port]).stderr;
        let log = String::from_utf8_lossy(&log);
        let fatal = format!("[FTL] Error listening on port: [::1]:{port}, ");
        assert!(log.contains(&fatal), "{log}");
    }

    fn routes_need_a_cluster(which) {
        let text = "solicited routes require cluster capabilities, e.g. --cluster";
        refused(which, &["--routes", "nats://127.0.0.1:1"], text);
    }

    fn an_unknown_signal(which) {
        refused(which, &["--signal", "foo=1"], "unknown signal \"foo\"");
    }

    fn signals_that_cannot_be_sent(which) {
        refused(which, &["--signal", "ldm=1=2=3"], "invalid signal parameters: [2 3]");
        refused(which, &["--signal", "quit=abc"], "invalid pid: abc");
        refused(which, &["--signal", "quit=abc*"], "invalid pid: abc");
        // Above the largest process id of Linux. The real server begins with an empty line.
        let output = run(which, &["--signal", "reload=2147483647"]);
        let text = "signal \"reload\" 2147483647: no such process";
        assert_eq!((message(&output).trim_start(), output.status.code()), (text, Some(1)));
    }

    fn a_valid_file(which) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("good.conf");
        std::fs::write(&path, "port: -1\nmax_payload: 100\n").unwrap();
        let output = run(which, &["-t", "-c", path.to_str().unwrap()]);
        let digest = "6558c15e5c8e65395526a611906f2709d2d239f4072eddfe3c1b66c797f4847f";
        let path = path.display();
        let expected = format!("configuration file {path} is valid (sha256:{digest})");
        assert_eq!((message(&output), output.status.code()), (expected, Some(0)));
    }

    fn an_unknown_field(which) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.conf");
        std::fs::write(&path, "port: -1\nbogus: 100\n").unwrap();
        let path = path.to_str().unwrap();
        for args in [&["-t", "-c", path][..], &["-c", path]] {
            refused(which, args, &format!("{path}:2:1: unknown field \"bogus\""));
        }
    }
}

/// The real server prints its usage and exits with 0 (COMPAT.md).
#[test]
fn an_unknown_flag_is_refused() {
    for args in [&["--nonsense"][..], &["-p", "abc"]] {
        let output = run(Which::Dialtone, args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(args[0].trim_start_matches('-')), "{text}");
        assert!(text.contains("--help"), "{text}");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// Starts dialtone under this name; `--signal` of that name finds it.
fn start_as(program: &Path) -> Server {
    Server::with().start_executable(Which::Dialtone, program)
}

/// What `--signal` says of processes under a name that no others have.
#[test]
fn a_signal_finds_the_process_of_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("dt{}", std::process::id());
    let program = dir.path().join(&name);
    std::os::unix::fs::symlink(Which::Dialtone.executable(), &program).unwrap();
    let signal = |written: &str| {
        let output = Command::new(&program).args(["--signal", written]).output().unwrap();
        (message(&output), output.status.code())
    };
    assert_eq!(signal("quit"), (format!("no {name} processes running"), Some(1)));
    assert_eq!(signal("quit=*"), (format!("no {name} processes running"), Some(1)));

    let mut first = start_as(&program);
    assert_eq!(signal("reopen"), (String::new(), Some(0)));
    first.wait_log("Trapped \"user defined signal 1\" signal");
    let mut second = start_as(&program);
    let mut pids = [first.pid(), second.pid()];
    pids.sort_unstable();
    let [one, other] = pids;
    let several = format!("multiple {name} processes running:\n{one}\n{other}");
    assert_eq!(signal("quit"), (several.clone(), Some(1)));
    assert_eq!(signal("quit="), (several, Some(1)));

    // Nobody has such a number, and then the whole of one.
    assert_eq!(signal("quit=9999999*"), (String::new(), Some(0)));
    assert_eq!(signal(&format!("quit={}*", second.pid())), (String::new(), Some(0)));
    assert_eq!(second.wait_exit().code(), Some(0));
    let mut third = start_as(&program);
    assert_eq!(signal("ldm=*"), (String::new(), Some(0)));
    for server in [&mut first, &mut third] {
        assert_eq!(server.wait_exit().code(), Some(0));
        server.wait_log("Entering lame duck mode");
    }
}

/// Another server's tools would take the files for those of one that runs.
#[test]
fn a_failed_start_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let (pid_file, folder) = (pid_file.to_str().unwrap(), dir.path().to_str().unwrap());
    for files in [
        ["-P", pid_file, "--ports_file_dir", "/nonexistent"],
        ["-P", "/nonexistent/pid", "--ports_file_dir", folder],
    ] {
        let output = run(Which::Dialtone, &[&["-a", "127.0.0.1", "-p", "-1"][..], &files].concat());
        assert_eq!(output.status.code(), Some(1));
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn run_with_input(args: &[&OsStr], input: &[u8]) -> Output {
    let mut command = Command::new(Which::Dialtone.executable());
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// 0 bytes were published, with success; and each byte that is no UTF-8 became three others.
#[test]
fn what_is_published_is_what_was_given() {
    let bytes = OsStr::from_bytes;
    let server = Server::start(Which::Dialtone);
    let url = server.url();
    let to = |word: &'static str| [bytes(word.as_bytes()), bytes(b"-s"), bytes(url.as_bytes())];
    let mut subscriber = Client::subscribed(&server, ">");

    let output = run_with_input(&[&to("pub")[..], &[bytes(b"a")]].concat(), b"a\0\xff\r\nb");
    assert_eq!(output.stdout, b"Published 6 bytes to \"a\"\n");
    subscriber.expect_bytes(b"MSG a 1 6\r\na\0\xff\r\nb\r\n");

    let given = [bytes(b"s.\xff"), bytes(b"\xfe")];
    let output = run_with_input(&[&to("pub")[..], &given].concat(), b"not this");
    assert_eq!(output.stdout, b"Published 1 bytes to \"s.\\xff\"\n");
    subscriber.expect_bytes(b"MSG s.\xff 1 1\r\n\xfe\r\n");

    let header = [bytes(b"-H"), bytes(b"A:\xff"), bytes(b"a")];
    let output = run_with_input(&[&to("pub")[..], &header].concat(), b"");
    let invalid = "invalid value \"A:\u{fffd}\" for flag -H: parse error\n";
    assert!(message(&output).starts_with(invalid), "{}", message(&output));
    assert_eq!(output.status.code(), Some(1));
    subscriber.fence();
}

#[test]
fn payloads_are_shown_as_they_came() {
    let bytes = OsStr::from_bytes;
    let server = Server::start(Which::Dialtone);
    let url = server.url();
    let url = [bytes(b"-s"), bytes(url.as_bytes())];
    let count = [bytes(b"--count"), bytes(b"1")];
    let ours = [bytes(b"reply"), bytes(b"s.\xff"), bytes(b"\xfd")];
    let mut asks = Client::connect(&server, r#""headers":true,"no_responders":true"#);
    asks.send("SUB in 1\r\n");
    asks.fence();
    let shown = thread::scope(|scope| {
        let replies = scope.spawn(|| run_with_input(&[&ours, &url[..], &count].concat(), b""));
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nobody subscribes");
            asks.send_bytes(b"PUB s.\xff in 1\r\n\xfe\r\n");
            let answer = asks.frame();
            if !answer.starts_with(b"HMSG") {
                assert_eq!(answer, b"MSG in 1 1\r\n\xfd\r\n");
                return replies.join().unwrap().stdout;
            }
        }
    });
    let wanted =
        b"Subscribing on \"s.\\xff\"\n[#1] Received on \"s.\\xff\" with reply \"in\"\n\xfe\n";
    assert_eq!(shown.escape_ascii().to_string(), wanted.escape_ascii().to_string());
}

/// The terminal of whoever ran the command obeyed the server.
#[test]
fn no_server_reaches_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    for (said, wanted) in [
        ("INFO {}\r\n-ERR '\x1b[2Jno'\r\n", "the server refused: \\u{1b}[2Jno\n"),
        ("INFO {\"tls_required\":true}\r\n", "the server has closed the connection\n"),
        ("", "the server has closed the connection\n"),
    ] {
        let output = thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(said.as_bytes()).unwrap());
            run(Which::Dialtone, &["pub", "-s", &url, "a", "b"])
        });
        assert!(message(&output).ends_with(wanted.trim_end()), "{}", message(&output));
    }
}

/// A request takes its body from a pipe, too.
#[test]
fn a_request_is_what_was_given() {
    let server = Server::start(Which::Dialtone);
    let mut answers = Client::subscribed(&server, "ask");
    let url = server.url();
    let asked =
        thread::spawn(move || run_with_input(&["req", "-s", &url, "ask"].map(OsStr::new), b"\xfe"));
    let request = answers.frame();
    let words: Vec<&[u8]> = request.split(|&byte| byte == b' ').collect();
    assert!(request.ends_with(b" 1\r\n\xfe\r\n"), "{}", request.escape_ascii());
    answers.send_bytes(&[b"PUB ", words[3], b" 1\r\n\xfd\r\n"].concat());
    assert!(asked.join().unwrap().stdout.ends_with(b"\n\xfd\n"));
}

/// They said `nats-server: `, and knew no `--help`.
#[test]
fn client_words_speak_for_themselves() {
    for word in ["pub", "sub", "req", "reply"] {
        for args in [&[word, "--help"][..], &[word, "a", "-h"]] {
            let output = run(Which::Dialtone, args);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains(&format!("dialtone {word} SUBJECT")), "{args:?}: {text}");
            assert_eq!(output.status.code(), Some(0));
        }
        let help = "Run with --help for the flags and commands there are.\n";
        for (args, told) in [
            (&[word][..], "needs a subject without blanks\n".to_owned()),
            (&[word, "a", "--what"], format!("flag provided but not defined: -what\n{help}")),
            (&[word, "-s", "127.0.0.1:1", "a"], "cannot connect to 127.0.0.1:1".to_owned()),
        ] {
            let output = run(Which::Dialtone, args);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.starts_with(&format!("{word}: {told}")), "{args:?}: {text}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}
