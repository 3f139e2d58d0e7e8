//! Limits as counters and reasons; what the client sees of them stands in the transcripts.

use crate::liveness::closed_by_port;
use crate::support::{Client, Server, Which, http};

/// Sends to a server with this configuration and gives the reason of the close.
fn reason(which: Which, conf: &str, sent: &str) -> String {
    let server = Server::with().conf(conf).monitored().start(which);
    let mut client = Client::open(&server);
    client.send_anyway(sent.as_bytes());
    client.read_to_end();
    let closed = closed_by_port(&server, client.local_port());
    closed["reason"].as_str().unwrap().to_owned()
}

const VIOLATION: &str = "-ERR 'Maximum Payload Violation'\r\n";

fn too_large(len: usize) -> String {
    format!("PUB a {len}\r\n{}\r\n", "x".repeat(len))
}

/// With nats-server, whose reset comes at once, its write fails.
#[test]
fn who_reads_only_after_a_message_too_large_gets_the_error() {
    let server = Server::with().conf("max_payload: 1000").start(Which::Dialtone);
    let mut client = Client::connect(&server, "");
    client.send(&too_large(20_000_000));
    client.expect(VIOLATION);
    client.expect_reset();
}

for_both! {
    fn reasons_of_closes(which) {
        let auth = "authorization: { user: a, pass: b, timeout: 0.2 }";
        let cases = [
            ("max_payload: 10", "PUB a 11\r\n", "Maximum Message Payload Exceeded"),
            ("max_control_line: 32", "SUB abcdefghijklmnopqrstuvwxyzabcdefgh 1\r\n",
                "Maximum Control Line Exceeded"),
            ("debug: false", "FOO\r\n", "Protocol Violation"),
            ("debug: false", "SUB foo\r\n", "Protocol Violation"),
            ("debug: false", "CONNECT {x}\r\n", "Protocol Violation"),
            ("debug: false", "-ERR 'x'\r\n", "Parse Error"),
            ("debug: false", "CONNECT {\"protocol\":5}\r\n", "Bad Client Protocol Version"),
            ("debug: false", "CONNECT {\"no_responders\":true}\r\n",
                "No Responders Requires Headers"),
            ("debug: false", "CONNECT {\"account\":\"X\"}\r\n", "Authentication Failure"),
            (auth, "CONNECT {\"user\":\"a\",\"pass\":\"x\"}\r\n", "Authentication Failure"),
            (auth, "PING\r\n", "Authentication Failure"),
            (auth, "", "Authentication Timeout"),
            ("max_connections: 0", "", "Maximum Connections Exceeded"),
        ];
        for (conf, sent, expected) in cases {
            assert_eq!(reason(which, conf, sent), expected, "{conf} {sent:?}");
        }
    }

    /// Clients tell a reset from an end: jnats reports another exception.
    fn a_message_too_large_ends_in_a_reset_behind_its_error(which) {
        let server = Server::with().conf("max_payload: 1000").start(which);
        let mut client = Client::connect(&server, "");
        client.send(&too_large(1_001));
        client.expect(VIOLATION);
        client.expect_reset();
    }

    fn a_client_that_leaves(which) {
        let server = Server::with().monitored().start(which);
        let client = Client::connect(&server, r#""name":"leaver""#);
        let port = client.local_port();
        drop(client);
        let closed = closed_by_port(&server, port);
        assert_eq!(closed["reason"], "Client Closed");
        assert_eq!(closed["name"], "leaver");
    }

    fn a_place_is_free_after_a_close(which) {
        let server = Server::with().conf("max_connections: 1").monitored().start(which);
        let first = Client::connect(&server, "");
        let mut second = Client::open(&server);
        second.expect("-ERR 'maximum connections exceeded'\r\n");
        second.expect_closed();
        let port = first.local_port();
        drop(first);
        closed_by_port(&server, port);
        Client::connect(&server, "").fence();
    }

    /// A permission to answer ends with its time, used or not.
    fn a_reply_comes_too_late(which) {
        let conf = r#"authorization { users = [
            { user: all, password: p }
            { user: resp, password: p, permissions: {
                subscribe: "req", allow_responses: { max: 1000000, expires: "300ms" } } }
        ] }"#;
        let server = Server::with().conf(conf).start(which);
        let mut requester = Client::connect(&server, r#""user":"all","pass":"p""#);
        let mut responder = Client::connect(&server, r#""user":"resp","pass":"p""#);
        requester.send("SUB in.* 1\r\n");
        requester.fence();
        responder.send("SUB req 1\r\n");
        responder.fence();
        requester.send("PUB req in.1 0\r\n\r\n");
        responder.expect("MSG req 1 in.1 0\r\n\r\n");
        responder.send("PUB in.1 1\r\na\r\n");
        requester.expect("MSG in.1 1 1\r\na\r\n");
        let mut answer = b"PONG\r\n".to_vec();
        while answer == b"PONG\r\n" {
            responder.send("PUB in.1 1\r\nb\r\nPING\r\n");
            answer = responder.frame();
        }
        assert_eq!(answer, b"-ERR 'Permissions Violation for Publish to \"in.1\"'\r\n");
        responder.expect("PONG\r\n");
    }

    fn the_closed_ring_has_a_limit(which) {
        let server = Server::with().conf("max_closed_clients: 3").monitored().start(which);
        let mut last = 0;
        for _ in 0..6 {
            let client = Client::connect(&server, "");
            last = client.local_port();
            drop(client);
            closed_by_port(&server, last);
        }
        let connz = http::json(&server, "/connz?state=closed");
        assert_eq!(connz["num_connections"], 3);
        assert_eq!(closed_by_port(&server, last)["reason"], "Client Closed");
    }
}
