//! The log: the lines of a start, what -D and -V add, and a log file.

use serde_json::json;

use crate::support::client::quiet_connect;
use crate::support::remote::connect_line;
use crate::support::{Client, Remote, Server, Which};

/// The part after time and process id.
fn texts(lines: &[String]) -> Vec<String> {
    lines.iter().filter_map(|line| line.find('[').and_then(|_| after_stamp(line))).collect()
}

/// From the level on: `[INF] Server is ready`.
fn after_stamp(line: &str) -> Option<String> {
    let levels = ["[INF]", "[WRN]", "[ERR]", "[DBG]", "[TRC]", "[FTL]"];
    let at = levels.iter().filter_map(|level| line.find(level)).min()?;
    Some(line[at..].to_owned())
}

for_both! {
    fn a_start_in_order(which) {
        let server = Server::with().flags(["--name", "n1"]).monitored().start(which);
        let lines = texts(&server.log_lines());
        let port = server.port();
        let monitor_port = server.monitor_port();
        let expected = [
            "[INF] Starting ".to_owned(),
            "[INF]   Version:  ".into(),
            "[INF]   Name:     n1".into(),
            "[INF]   ID:       N".into(),
            format!("[INF] Starting http monitor on 127.0.0.1:{monitor_port}"),
            format!("[INF] Listening for client connections on 127.0.0.1:{port}"),
            "[INF] Server is ready".into(),
        ];
        let mut rest = lines.iter();
        for start in expected {
            assert!(rest.any(|line| line.starts_with(&start)), "{start}, in order, in {lines:#?}");
        }
    }

    fn a_line_has_pid_and_time(which) {
        let server = Server::start(which);
        let line = server.wait_log("Server is ready");
        let (pid, rest) = line.split_once("] ").unwrap();
        assert_eq!(pid, format!("[{}", server.pid()));
        let nine = |c: char| if c.is_ascii_digit() { '9' } else { c };
        let stamp: String = rest.chars().map(nine).collect();
        assert_eq!(stamp, "9999/99/99 99:99:99.999999 [INF] Server is ready");
    }

    fn no_time_if_asked(which) {
        let server = Server::with().flags(["--logtime=false"]).start(which);
        let line = server.wait_log("Server is ready");
        assert_eq!(line, format!("[{}] [INF] Server is ready", server.pid()));
        // What the log was asked to be is no reason for a warning.
        assert!(!server.log_lines().iter().any(|line| line.contains("[WRN]")));
    }

    fn protocol_lines(which) {
        let flags = ["-DV", "--user", "a", "--pass", "sekret"];
        let server = Server::with().flags(flags).start(which);
        let members = r#""user":"a","pass":"sekret","name":"cli","lang":"x","version":"9""#;
        let mut client = Client::connect(&server, members);
        client.send("SUB foo q 1\r\nPUB foo r 2\r\nhi\r\nUNSUB 1\r\n");
        client.expect("MSG foo 1 r 2\r\nhi\r\n");
        client.fence();
        for text in [
            "[DBG] 127.0.0.1:{port} - cid:",
            "Client connection created",
            r#"<<- [CONNECT {"verbose":false"#,
            r#""pass":"[REDACTED]""#,
            r#""v9:x:cli""#,
            "<<- [SUB foo q 1]",
            "<<- [PUB foo r 2]",
            "->> [MSG foo 1 r 2]",
            "<<- [UNSUB 1]",
            "<<- [PING]",
            "->> [PONG]",
        ] {
            server.wait_log(&text.replace("{port}", &client.local_port().to_string()));
        }
        drop(client);
        server.wait_log("Client connection closed: Client Closed");
        let secret = server.log_lines().into_iter().find(|line| line.contains("sekret"));
        assert_eq!(secret, None);
    }

    /// Without payload there is no line for it, and a cut one ends inside its quotes.
    fn traced_payloads(which) {
        let server = Server::with().flags(["-V", "--max_traced_msg_len", "3"]).start(which);
        let mut client = Client::connect(&server, "");
        client.send("PUB a 0\r\n\r\nPUB a 3\r\n\0\"x\r\nPUB a 4\r\nabcd\r\n");
        client.fence();
        server.wait_log(r#"<<- MSG_PAYLOAD: ["abc..."]"#);
        let lines = server.log_lines();
        let payloads: Vec<_> =
            lines.iter().filter_map(|line| line.split_once("<<- MSG_PAYLOAD: ")).collect();
        assert_eq!(payloads.len(), 2, "{lines:#?}");
        assert_eq!(payloads[0].1, r#"["\x00\"x"]"#);
    }

    fn what_was_refused_is_an_error(which) {
        let conf = "max_sub_tokens: 2\nauthorization { users = [ { user: u, password: p,\n\
                    permissions { publish: a, subscribe: [\"a.>\", \"a.b.c\"] } } ] }\n";
        let server = Server::with().conf(conf).start(which);
        let mut client = Client::connect(&server, r#""user":"u","pass":"p""#);
        client.send("SUB b q 1\r\nPUB b 0\r\n\r\nSUB a.b.c 2\r\n-ERR 'x'\r\n");
        for text in [
            r#""$G/user:u" - Subscription Violation - Subject "b", Queue: "q", SID 1"#,
            r#"Publish Violation - Subject "b""#,
            r#"Subscription Violation Too Many Tokens - Subject "a.b.c", SID 2"#,
            "Client Error 'x'",
        ] {
            let line = server.wait_log(text);
            assert!(line.contains("[ERR]"), "{line}");
        }
    }

    fn a_subscription_that_reached_its_limit(which) {
        let server = Server::with().flags(["-DV"]).start(which);
        let mut client = Client::connect(&server, r#""name":"cli""#);
        client.send("SUB a 7\r\nUNSUB 7 1\r\nSUB b 8\r\nPUB a 0\r\n\r\n");
        client.expect("MSG a 7 0\r\n\r\n");
        drop(client);
        for text in [
            r#""cli" - Auto-unsubscribe limit of 1 reached for sid '7'"#,
            r#""cli" - <-> [DELSUB 7]"#,
            r#""cli" - <-> [DELSUB 8]"#,
        ] {
            server.wait_log(text);
        }
    }

    /// What a client sent is quoted, as far as it tells what is wrong.
    fn what_broke_the_protocol_is_quoted(which) {
        let server = Server::with().conf("max_payload: 10").start(which);
        for (sent, text) in [
            ("PUB a 11\r\nhello world\r\n", "maximum payload exceeded: 11 vs 10"),
            ("PUB a x\r\n", r#"processPub Bad or Missing Size: "a x""#),
            ("PUB a\r\n", r#"processPub Parse Error: "a""#),
            ("HPUB a 0 1\r\n", "message headers not supported"),
            ("SUB a\r\n", r#"processSub Parse Error: "a""#),
            ("UNSUB a b c\r\n", r#"processUnsub Parse Error: "a b c""#),
            ("FOO bar\r\n", r#"proto='"FOO bar\r"#),
        ] {
            let mut client = Client::open(&server);
            client.send(sent);
            client.read_to_end();
            let line = server.wait_log(text);
            assert!(line.contains("[ERR]") && line.contains("cid:"), "{line}");
        }
        server.wait_log("Client parser ERROR");
        let mut client = Client::connect(&server, r#""headers":true"#);
        client.send("HPUB a 7 5\r\n");
        client.read_to_end();
        server.wait_log(r#"processHeaderPub Header Size larger then TotalSize: "a 7 5""#);
    }

    /// The line names both clusters; a route's own complaint is one line.
    fn what_ends_a_route_is_an_error(which) {
        let conf = "cluster { name: mesh, listen: \"127.0.0.1:-1\" }";
        let server = Server::with().conf(conf).start(which);
        let mut remote = Remote::open(&server);
        remote.send(&connect_line("r", &json!({"cluster": "other"})));
        remote.read_to_end();
        let mut remote = Remote::join(&server, "r");
        remote.line.send("-ERR 'no room'\r\n");
        remote.read_to_end();
        for text in [
            r#"Rejecting connection, cluster name "other" does not match "mesh""#,
            "Route Error 'no room'",
        ] {
            let line = server.wait_log(text);
            assert!(line.contains("[ERR]") && line.contains("rid:"), "{line}");
        }
        server.wait_log("Router connection closed: Parse Error");
        let errors = server.log_lines().into_iter().filter(|line| line.contains("-ERR"));
        assert_eq!(errors.collect::<Vec<_>>(), [""; 0]);
    }

    fn lines_of_another_server(which) {
        let conf = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }";
        let server = Server::with().conf(conf).flags(["-DV"]).start(which);
        let mut other = Remote::join(&server, "r");
        other.send(
            "RS+ $G foo\r\nRS+ $G bar q 2\r\nRS- $G bar q\r\nRMSG $G foo in 2\r\nhi\r\n\
             RMSG $G foo | q 0\r\n\r\nHMSG $G foo + in q 12 14\r\nNATS/1.0\r\n\r\nho\r\n",
        );
        other.fence();
        for text in [
            r#"<<- [CONNECT {"#,
            "<<- [PING]",
            "->> [PONG]",
            "<<- [RS+ $G foo]",
            "<<- [RS+ $G bar q 2]",
            "<<- [RS- $G bar q]",
            "<<- [RMSG $G foo in 2]",
            r#"<<- MSG_PAYLOAD: ["hi"]"#,
            "<<- [RMSG $G foo | q 0]",
            "<<- [HMSG $G foo + in q 12 14]",
            r#"<<- MSG_PAYLOAD: ["NATS/1.0\r\n\r\nho"]"#,
        ] {
            let line = server.wait_log(text);
            assert!(line.contains("[TRC] 127.0.0.1:") && line.contains(" - rid:"), "{line}");
        }
    }

    fn the_servers_own_messages_are_traced_if_asked_for(which) {
        let conf = "accounts { $SYS { users: [ { user: s, password: s } ] } }";
        for flag in ["-V", "-VV"] {
            let server = Server::with().conf(conf).flags([flag]).start(which);
            let mut listener = Client::connect(&server, r#""user":"s","pass":"s""#);
            listener.send("SUB $SYS.ACCOUNT.$G.CONNECT 1\r\n");
            listener.fence();
            Client::connect(&server, "");
            let told = listener.frame();
            assert!(told.starts_with(b"MSG $SYS.ACCOUNT.$G.CONNECT 1 "), "{}", told.escape_ascii());
            match flag {
                "-VV" => {
                    server.wait_log("[TRC] SYSTEM - <<- [PUB $SYS.ACCOUNT.$G.CONNECT  ");
                    server.wait_log("[TRC] SYSTEM - <<- MSG_PAYLOAD: [\"{");
                }
                _ => assert!(!server.log_lines().iter().any(|line| line.contains("SYSTEM - "))),
            }
        }
    }

    /// Of messages without headers there is nothing to show then.
    fn traced_headers(which) {
        let server = Server::with().conf("trace_headers: true").start(which);
        let mut client = Client::connect(&server, r#""headers":true"#);
        client.send("PUB a 2\r\nno\r\nHPUB a 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nyes\r\n");
        client.fence();
        server.wait_log(r#"<<- MSG_PAYLOAD: ["NATS/1.0\r\nA: b"]"#);
        let lines = server.log_lines();
        let payloads = lines.iter().filter(|line| line.contains("<<- MSG_PAYLOAD"));
        assert_eq!(payloads.count(), 1, "{lines:#?}");
    }

    /// So all lines of a connection are found by one name, whoever it becomes.
    fn a_connection_keeps_the_name_of_its_first_connect(which) {
        let users = "authorization { users = [ { user: a, password: x },\n\
                     { user: b, password: y } ] }";
        for (conf, first, second, label) in [
            (users, r#""user":"a","pass":"x","name":"n","lang":"l""#, r#""user":"b","pass":"y""#,
                r#" - "l:n" - "$G/user:a""#),
            (users, r#""user":"a","pass":"x""#, r#""user":"b","pass":"y","name":"n""#,
                r#" - "$G/user:a""#),
            ("debug: true", r#""name":"n""#, r#""name":"m","version":"2""#, r#" - "n""#),
            ("debug: true", "", r#""user":"u","name":"m""#, ""),
        ] {
            let server = Server::with().conf(conf).flags(["-D"]).start(which);
            let mut client = Client::connect(&server, first);
            for _ in 0..2 {
                client.send(&quiet_connect(second));
                client.fence();
            }
            drop(client);
            let line = server.wait_log("Client connection closed");
            let (_, behind) = line.split_once("cid:").unwrap();
            let named = behind.trim_start_matches(|c: char| c.is_ascii_digit());
            assert_eq!(named, format!("{label} - Client connection closed: Client Closed"));
        }
    }

    fn failed_logins_are_errors(which) {
        let server = Server::with().flags(["--user", "a", "--pass", "b"]).start(which);
        let mut client = Client::open(&server);
        client.send("CONNECT {\"user\":\"a\",\"pass\":\"x\"}\r\n");
        client.expect("-ERR 'Authorization Violation'\r\n");
        client.expect_closed();
        let line = server.wait_log("authentication error - User \"a\"");
        assert!(line.contains("[ERR]"), "{line}");
    }

    fn a_quiet_server_tells_nothing_of_clients(which) {
        let server = Server::start(which);
        let mut client = Client::connect(&server, "");
        client.fence();
        let traced = server.log_lines().into_iter().find(|l| l.contains("cid:"));
        assert_eq!(traced, None);
    }

    fn a_log_file(which) {
        let flags = ["-l", "server.log"];
        let mut server = Server::with().flags(flags).log_to_file().start(which);
        Client::connect(&server, "").fence();
        let path = server.dir().join("server.log");
        server.signal("TERM");
        server.wait_exit();
        let text = std::fs::read_to_string(path).unwrap();
        for line in ["[INF] Server is ready", "[INF] Server Exiting.."] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(server.log_lines(), Vec::<String>::new(), "nothing on standard error");
    }

    /// After SIGUSR1 the server writes to a new file under the old name, for log rotation.
    fn reopened_by_a_signal(which) {
        let flags = ["-l", "server.log"];
        let mut server = Server::with().flags(flags).log_to_file().start(which);
        let path = server.dir().join("server.log");
        let moved = server.dir().join("moved.log");
        std::fs::rename(&path, &moved).unwrap();
        server.signal("USR1");
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        while !path.exists() {
            assert!(std::time::Instant::now() < deadline, "no new file");
            std::thread::yield_now();
        }
        server.signal("TERM");
        server.wait_exit();
        assert!(std::fs::read_to_string(&path).unwrap().contains("Server Exiting.."));
        assert!(!std::fs::read_to_string(&moved).unwrap().contains("Server Exiting.."));
    }
}

/// A client that was refused again and again wrote 47 MB of log a second.
#[test]
fn repeated_lines_of_a_connection_are_gathered() {
    let conf = "authorization { users = [ { user: u, password: p, permissions { publish: a } } ] }";
    let server = Server::with().conf(conf).start(Which::Dialtone);
    let mut client = Client::connect(&server, r#""user":"u","pass":"p""#);
    for _ in 0..100 {
        client.send(&"PUB b 0\r\n\r\n".repeat(100));
        for _ in 0..100 {
            client.expect("-ERR 'Permissions Violation for Publish to \"b\"'\r\n");
        }
    }
    let line = server.wait_log("... repeated ");
    assert!(
        line.contains(r#""$G/user:u" - Publish Violation - Subject "b" ... repeated "#),
        "{line}"
    );
    let mut server = server;
    server.signal("TERM");
    server.wait_exit();
    let lines = server.log_lines();
    let told = lines.iter().filter(|line| line.contains("Publish Violation"));
    let counts = told.map(|line| match line.split_once("... repeated ") {
        Some((_, count)) => count.trim_end_matches(" times").parse().unwrap(),
        None => 1,
    });
    assert_eq!(counts.sum::<u64>(), 10_000);
    assert!(lines.len() < 1000, "{} lines", lines.len());
}

/// The real server stands still when the pipe is full.
#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let mut server = Server::with().flags(["-DV"]).log_unread().start(Which::Dialtone);
    let mut client = Client::connect(&server, "");
    let payload = "x".repeat(1000);
    for _ in 0..3000 {
        client.send(&format!("PUB a 1000\r\n{payload}\r\n"));
    }
    client.fence();
    server.signal("TERM");
    server.wait_exit();
}

#[test]
fn a_line_shows_no_character_that_turns_or_breaks_it() {
    let server = Server::start(Which::Dialtone);
    let mut client = Client::connect(&server, "");
    client.send("-ERR 'a\u{202e}b\u{2028}c'\r\n");
    client.expect_closed();
    let line = server.wait_log("Client Error");
    assert!(line.ends_with(r"Client Error 'a\u{202e}b\u{2028}c'"), "{line}");
}
