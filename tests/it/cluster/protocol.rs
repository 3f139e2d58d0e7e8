//! The conversation of connected servers: interest, messages, and faulty ones. A test plays the
//! other server; the same lines go to both kinds.

use serde_json::json;

use super::handshake::alone;
use crate::support::{Client, Remote, Server, Which};

/// A server, another one that a test plays, and a client of the first.
fn trio(which: Which) -> (Server, Remote, Client) {
    let server = alone("pool_size: -1").start(which);
    let mut remote = Remote::join(&server, "r");
    let mut client = Client::connect(&server, r#""headers":true,"no_responders":true"#);
    // What is announced of interest that was there before comes in any order, so there is none.
    client.send("SUB ready 1\r\n");
    remote.expect("RS+ $G ready\r\n");
    client.send("UNSUB 1\r\n");
    client.fence();
    // Announced once more if the announcement at the join was under way.
    let last = remote.fence().pop();
    assert_eq!(last.as_deref(), Some("RS- $G ready\r\n"));
    (server, remote, client)
}

/// The lines to the other server before it is left after this line.
#[track_caller]
fn left_after(which: Which, line: &[u8]) -> String {
    let (_server, mut remote, _client) = trio(which);
    remote.line.send_anyway(line);
    remote.read_to_end()
}

for_both! {
    /// The first subscription to a subject is announced and the last one that goes; of groups each
    /// change.
    fn interest_is_announced_at_its_turns(which) {
        let (server, mut remote, mut client) = trio(which);
        for (says, hears) in [
            ("SUB a.* 1\r\n", "RS+ $G a.*\r\n"),
            ("SUB a.* 2\r\n", ""),
            ("SUB a.* q 3\r\n", "RS+ $G a.* q 1\r\n"),
            ("SUB a.* q 4\r\n", "RS+ $G a.* q 2\r\n"),
            ("SUB a.* p 5\r\n", "RS+ $G a.* p 1\r\n"),
            ("UNSUB 1\r\n", ""),
            ("UNSUB 4\r\n", "RS+ $G a.* q 1\r\n"),
            ("UNSUB 2\r\n", "RS- $G a.*\r\n"),
            ("UNSUB 3\r\n", "RS- $G a.* q\r\n"),
            ("UNSUB 5 2\r\n", ""),
            ("PUB a.b 0\r\n\r\nPUB a.b 0\r\n\r\n", "RS- $G a.* p\r\n"),
            ("SUB end 6\r\n", "RS+ $G end\r\n"),
        ] {
            client.send(says);
            if says.starts_with("PUB") {
                client.expect("MSG a.b 5 0\r\n\r\nMSG a.b 5 0\r\n\r\n");
            }
            client.fence();
            if !hears.is_empty() {
                remote.expect(hears);
            }
        }
        // Who joins later hears what is there now.
        drop(client);
        remote.expect("RS- $G end\r\n");
        let mut client = Client::connect(&server, "");
        client.send("SUB x 1\r\nSUB x 2\r\nSUB y g 3\r\nSUB y g 4\r\n");
        client.fence();
        let mut later = Remote::open(&server);
        later.send(&crate::support::remote::connect_line("later", &json!({})));
        later.send(&crate::support::remote::info_line("later", &json!({})));
        assert_eq!(later.read_sorted(2), ["RS+ $G x\r\n", "RS+ $G y g 2\r\n"]);
    }

    /// All that a client leaves behind is taken back.
    fn a_client_that_goes_takes_its_interest_along(which) {
        let (_server, mut remote, mut client) = trio(which);
        client.send("SUB a 1\r\nSUB b q 2\r\nSUB c.> 3\r\n");
        client.fence();
        remote.expect("RS+ $G a\r\nRS+ $G b q 1\r\nRS+ $G c.>\r\n");
        drop(client);
        let gone = ["RS- $G a\r\n", "RS- $G b q\r\n", "RS- $G c.>\r\n"];
        assert_eq!(remote.read_sorted(gone.len()), gone);
    }

    /// One message goes to a server whatever it is interested for; the groups chosen are named.
    fn messages_leave_once(which) {
        let (_server, mut remote, mut client) = trio(which);
        remote.send("RS+ $G a\r\nRS+ $G *\r\nRS+ $G a g 1\r\nRS+ $G * h 2\r\nRS+ $G h.*\r\n");
        remote.fence();
        client.send("PUB a 2\r\nhi\r\n");
        let frame = text(remote.line.frame());
        let groups = ["RMSG $G a | g h 2\r\nhi\r\n", "RMSG $G a | h g 2\r\nhi\r\n"];
        assert!(groups.contains(&&*frame), "{frame:?}");
        client.send("PUB a back 2\r\nhi\r\n");
        let frame = text(remote.line.frame());
        let groups = ["RMSG $G a + back g h 2\r\nhi\r\n", "RMSG $G a + back h g 2\r\nhi\r\n"];
        assert!(groups.contains(&&*frame), "{frame:?}");
        client.send("PUB b 0\r\n\r\n");
        remote.expect("RMSG $G b | h 0\r\n\r\n");
        let block = "NATS/1.0\r\n\r\n";
        client.send(&format!("HPUB h.x 12 13\r\n{block}x\r\n"));
        remote.expect(&format!("HMSG $G h.x 12 13\r\n{block}x\r\n"));
        client.send(&format!("HPUB h.x back 12 13\r\n{block}x\r\n"));
        remote.expect(&format!("HMSG $G h.x back 12 13\r\n{block}x\r\n"));
        remote.send("RS- $G a\r\nRS- $G *\r\nRS- $G a g\r\n");
        remote.fence();
        client.send(&format!("HPUB c back 12 13\r\n{block}x\r\n"));
        remote.expect(&format!("HMSG $G c + back h 12 13\r\n{block}x\r\n"));
        remote.send("RS- $G * h\r\n");
        remote.fence();
        client.send("PUB a 0\r\n\r\n");
        client.fence();
        assert!(remote.fence().is_empty());
    }

    /// A server with JetStream names the subject of the stream behind the subject of the acks.
    fn messages_of_streams_arrive(which) {
        let (_server, mut remote, mut client) = trio(which);
        client.send("SUB dlv.* 1\r\nSUB dlv.q g 2\r\n");
        client.fence();
        remote.fence();
        let ack = "$JS.ACK.ORD.PUSH.1.1.1.1795981291498041798.0";
        let block = "NATS/1.0\r\n\r\n";
        for (routed, seen) in [
            (format!("{ack}@ord.a"), format!("ord.a {{}} {ack}")),
            (format!("{ack}@a@b"), format!("a@b {{}} {ack}")),
            ("$JS.ACK.O@D.P@.1.1.1.1.0@o".into(), "o {} $JS.ACK.O@D.P@.1.1.1.1.0".into()),
            // Eight dots are enough for a name before the last of them.
            ("$JS.ACK.1.2.3.4.5.6.@x".into(), "x {} $JS.ACK.1.2.3.4.5.6.".into()),
            ("$JS.ACK.1.2.3.4.5.6@x".into(), "dlv.q {} $JS.ACK.1.2.3.4.5.6@x".into()),
            (format!("{ack}@"), format!("dlv.q {{}} {ack}@")),
            (ack.into(), format!("dlv.q {{}} {ack}")),
            ("$JS.FC.1.2.3.4.5.6.7@x".into(), "dlv.q {} $JS.FC.1.2.3.4.5.6.7@x".into()),
        ] {
            let seen = |sid: &str| seen.replace("{}", sid);
            remote.send(&format!("RMSG $G dlv.q {routed} 2\r\nhi\r\n"));
            client.expect(&format!("MSG {} 2\r\nhi\r\n", seen("1")));
            remote.send(&format!("HMSG $G dlv.q {routed} 12 14\r\n{block}hi\r\n"));
            client.expect(&format!("HMSG {} 12 14\r\n{block}hi\r\n", seen("1")));
            remote.send(&format!("RMSG $G dlv.q + {routed} g 2\r\nhi\r\n"));
            client.expect(&format!("MSG {} 2\r\nhi\r\n", seen("1")));
            client.expect(&format!("MSG {} 2\r\nhi\r\n", seen("2")));
            remote.send(&format!("HMSG $G dlv.q + {routed} g 12 14\r\n{block}hi\r\n"));
            client.expect(&format!("HMSG {} 12 14\r\n{block}hi\r\n", seen("1")));
            client.expect(&format!("HMSG {} 12 14\r\n{block}hi\r\n", seen("2")));
        }
        // Passed on it is what it was.
        client.send("UNSUB 2\r\n");
        remote.expect("RS- $G dlv.q g\r\n");
        remote.send("RS+ $G dlv.q g 1\r\n");
        remote.fence();
        for line in [
            format!("RMSG $G dlv.q + {ack}@ord.a g 2\r\nhi\r\n"),
            format!("HMSG $G dlv.q + {ack}@ord.a g 12 14\r\n{block}hi\r\n"),
        ] {
            remote.send(&line);
            remote.expect(&line);
        }
        // The client may answer where it is asked to.
        client.frame();
        client.frame();
        remote.send(&format!("RS+ $G {ack}\r\n"));
        remote.fence();
        client.send(&format!("PUB {ack} 4\r\n+ACK\r\n"));
        remote.expect(&format!("RMSG $G {ack} 4\r\n+ACK\r\n"));
    }

    /// The subject that a client sees counts for what it may have, and that of the acks for what it
    /// may answer.
    fn permissions_hold_for_messages_of_streams(which) {
        const USER: &str = "authorization { users: [ { user: u, password: x, permissions {
            publish { allow: none }, subscribe { deny: ord.secret }, allow_responses: true
        } } ] }";
        let server = alone("pool_size: -1").more_conf(USER).start(which);
        let mut remote = Remote::join(&server, "r");
        let mut client = Client::connect(&server, r#""user":"u","pass":"x""#);
        client.send("SUB > 1\r\n");
        remote.expect("RS+ $G >\r\n");
        let ack = "$JS.ACK.ORD.PUSH.1.1.1.1795981291498041798.0";
        remote.send(&format!("RS+ $G {ack}\r\nRMSG $G q {ack}@ord.secret 1\r\nx\r\n"));
        remote.send(&format!("RMSG $G q {ack}@ord.a 1\r\ny\r\n"));
        client.expect(&format!("MSG ord.a 1 {ack} 1\r\ny\r\n"));
        client.send(&format!("PUB {ack} 1\r\n+\r\n"));
        remote.expect(&format!("RMSG $G {ack} 1\r\n+\r\n"));
        client.expect(&format!("MSG {ack} 1 1\r\n+\r\n"));
        client.send(&format!("PUB {ack} 1\r\n+\r\n"));
        client.expect(&format!("-ERR 'Permissions Violation for Publish to \"{ack}\"'\r\n"));
    }

    /// Plain subscriptions get what arrives; groups only what names them, once each.
    fn messages_arrive(which) {
        let (_server, mut remote, mut client) = trio(which);
        client.send("SUB a 1\r\nSUB a g 2\r\nSUB a g 3\r\nSUB b h 4\r\nSUB c 5\r\n");
        client.fence();
        remote.fence();
        let block = "NATS/1.0\r\n\r\n";
        for (says, hears) in [
            ("RMSG $G b 1\r\nx\r\n".to_owned(), String::new()),
            ("RMSG $G b | h 1\r\nx\r\n".to_owned(), "MSG b 4 1\r\nx\r\n".to_owned()),
            ("RMSG $G b | h h none 1\r\nx\r\n".to_owned(), "MSG b 4 1\r\nx\r\n".to_owned()),
            ("RMSG $G b + r h 1\r\nx\r\n".to_owned(), "MSG b 4 r 1\r\nx\r\n".to_owned()),
            ("RMSG $G a 1\r\nx\r\n".to_owned(), "MSG a 1 1\r\nx\r\n".to_owned()),
            ("rmsg $G a r 1\r\nx\r\n".to_owned(), "MSG a 1 r 1\r\nx\r\n".to_owned()),
            ("RMSG $G a | other 0\r\n\r\n".to_owned(), "MSG a 1 0\r\n\r\n".to_owned()),
            (format!("HMSG $G c 12 13\r\n{block}x\r\n"), format!("HMSG c 5 12 13\r\n{block}x\r\n")),
            (
                format!("HMSG $G c r 12 13\r\n{block}x\r\n"),
                format!("HMSG c 5 r 12 13\r\n{block}x\r\n"),
            ),
            (
                format!("HMSG $G b | h 12 13\r\n{block}x\r\n"),
                format!("HMSG b 4 12 13\r\n{block}x\r\n"),
            ),
            (
                format!("HMSG $G b + r h 12 13\r\n{block}x\r\n"),
                format!("HMSG b 4 r 12 13\r\n{block}x\r\n"),
            ),
            ("RMSG NONE a 1\r\nx\r\n".to_owned(), String::new()),
            ("RMSG $G nobody 1\r\nx\r\n".to_owned(), String::new()),
        ] {
            remote.send(&says);
            remote.fence();
            client.expect(&hears);
            client.fence();
        }
        remote.send("RMSG $G a | g 1\r\nx\r\n");
        remote.fence();
        let mut sids = [client.frame(), client.frame()].map(|frame| frame[6]);
        sids.sort_unstable();
        assert!(sids == *b"12" || sids == *b"13", "{sids:?}");
        client.fence();
    }

    /// What came from a server goes to no other.
    fn one_hop_only(which) {
        let (server, mut remote, mut client) = trio(which);
        let mut other = Remote::join(&server, "other");
        remote.fence();
        other.send("RS+ $G a\r\nRS+ $G a g 1\r\n");
        other.fence();
        remote.send("RMSG $G a 1\r\nx\r\nRMSG $G a | h 1\r\nx\r\n");
        remote.fence();
        client.fence();
        assert!(other.fence().is_empty());
    }

    /// But a group that has just lost its last member here is served by another server.
    fn a_group_without_members_is_served_elsewhere(which) {
        let (server, mut remote, _client) = trio(which);
        let mut other = Remote::join(&server, "other");
        remote.fence();
        other.send("RS+ $G a g 1\r\n");
        other.fence();
        remote.send("RMSG $G a | g 1\r\nx\r\n");
        remote.fence();
        other.expect("RMSG $G a | g 1\r\nx\r\n");
    }

    /// A request is answered with 503 at once if no server has interest, and not if one has.
    fn interest_elsewhere_is_somebody(which) {
        let (server, mut remote, mut client) = trio(which);
        client.send("SUB in 1\r\n");
        assert!(!client.is_reached("svc"));
        remote.send("RS+ $G svc g 1\r\n");
        remote.fence();
        assert!(client.is_reached("svc"));
        remote.send("RS- $G svc g\r\nRS+ $G svc\r\n");
        remote.fence();
        assert!(client.is_reached("svc"));
        // All that a server had announced goes with it.
        drop(remote);
        server.wait_log("Router connection closed");
        assert!(!client.is_reached("svc"));
    }

    /// A group is chosen from by members, wherever they are.
    fn members_elsewhere_weigh_as_much(which) {
        const COUNT: usize = 400;
        let (_server, mut remote, mut client) = trio(which);
        client.send("SUB a g 1\r\n");
        client.fence();
        for (weight, share) in [(3, 0.75), (1, 0.5), (0, 0.0)] {
            remote.send(&format!("RS+ $G a g {weight}\r\n"));
            remote.fence();
            client.send(&"PUB a 0\r\n\r\n".repeat(COUNT));
            client.send("PING\r\n");
            let mut here = 0;
            while client.frame() != b"PONG\r\n" {
                here += 1;
            }
            let there = remote.fence().len();
            assert_eq!(here + there, COUNT);
            // Four standard deviations of the fairest coin.
            let wanted = share * COUNT as f64;
            assert!((there as f64 - wanted).abs() <= 40.0, "{there} of {COUNT} at {weight}");
            assert!(share > 0.0 || there == 0);
        }
    }

    fn a_server_without_headers(which) {
        let server = alone("pool_size: -1").start(which);
        let mut remote = Remote::join_with(&server, "r", &json!({"headers": false}));
        remote.send("RS+ $G a\r\n");
        remote.fence();
        let mut client = Client::connect(&server, r#""headers":true"#);
        client.send("HPUB a back 12 13\r\nNATS/1.0\r\n\r\nx\r\n");
        remote.expect("RMSG $G a back 1\r\nx\r\n");
    }

    /// A server that asks for it is told `+OK`.
    fn verbose(which) {
        let server = alone("pool_size: -1").start(which);
        let mut remote = Remote::open(&server);
        remote.send(&crate::support::remote::connect_line("r", &json!({"verbose": true})));
        remote.send(&crate::support::remote::info_line("r", &json!({})));
        remote.send("PING\r\n");
        assert_eq!(remote.read_oks(), 0);
        for line in ["RS+ $G a\r\n", "RS+ $G a q 1\r\n", "RS- $G a\r\n", "RMSG $G b 0\r\n\r\n"] {
            remote.send(line);
            remote.send("PING\r\n");
            assert_eq!(remote.read_oks(), 1, "{line:?}");
        }
    }

    /// Lines without sense: the connection ends without a word.
    fn malformed_lines(which) {
        for line in [
            "RS+ foo", "RS+ ", "RS+ $G foo q", "RS- $G", "RS- ", "RMSG $G foo", "RMSG $G foo x",
            "RMSG $G foo ? a 1", "RMSG $G", "HMSG $G foo 12", "HMSG $G foo 14 12", "UNSUB 1",
            "INFO x", "LMSG a",
        ] {
            assert_eq!(left_after(which, format!("{line}\r\n").as_bytes()), "", "{line}");
        }
        assert_eq!(left_after(which, b"-ERR 'no'\r\n"), "");
    }

    fn unknown_ops(which) {
        let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
        for line in ["NONSENSE", "RS+", "RS-", "RMSG", "HMSG"] {
            assert_eq!(left_after(which, format!("{line}\r\n").as_bytes()), unknown, "{line}");
        }
        assert_eq!(left_after(which, b"RMSG $G a 2\r\nabcd\r\n"), unknown);
        assert_eq!(left_after(which, &[0xff, 0x06, 0, 0]), unknown);
    }

    fn a_control_line_without_end(which) {
        let line = format!("RS+ $G {}", "x".repeat(70_000));
        let exceeded = "-ERR 'maximum control line exceeded'\r\n";
        assert_eq!(left_after(which, line.as_bytes()), exceeded);
    }

    /// Lines that are ignored, and leave everything as it was.
    fn lines_without_effect(which) {
        let (_server, mut remote, mut client) = trio(which);
        for line in [
            "+OK", "A+ foo", "A- foo", "RS- $G nothing", "RS- $G nothing q", "RS+ NONE foo",
            "SUB foo 1", "PUB foo 0\r\n",
        ] {
            remote.send(&format!("{line}\r\n"));
            assert_eq!(remote.fence(), Vec::<String>::new(), "{line}");
        }
        remote.send("RS+ $G a..b\r\n");
        assert_eq!(remote.fence(), ["-ERR 'Invalid Subscription'\r\n"]);
        let long = "x".repeat(60_000);
        remote.send(&format!("RS+ $G {long}\r\n"));
        assert!(remote.fence().is_empty());
        client.send("PUB foo 0\r\n\r\n");
        client.fence();
        assert!(remote.fence().is_empty());
    }

    /// Addresses of other servers' clients come and go with them.
    fn clients_hear_of_other_servers(which) {
        let server = alone("pool_size: -1").start(which);
        let own = format!("127.0.0.1:{}", server.port());
        let mut client = Client::connect(&server, r#""protocol":1,"lang":"x","version":"1""#);
        let told = |client: &mut Client| {
            loop {
                let frame = text(client.frame());
                let Some(json) = frame.strip_prefix("INFO ") else {
                    assert_eq!(frame, "PING\r\n");
                    client.send("PONG\r\n");
                    continue;
                };
                let info: serde_json::Value = serde_json::from_str(json).unwrap();
                let urls = info["connect_urls"].as_array().cloned().unwrap_or_default();
                let mut urls: Vec<String> =
                    urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect();
                urls.sort();
                return urls;
            }
        };
        // The first PONG brings an INFO of its own.
        assert_eq!(told(&mut client), Vec::<String>::new());
        let urls = |name: &str| json!({"connect_urls": [format!("{name}:1"), "shared:1"]});
        let mut first = Remote::join_with(&server, "first", &urls("first"));
        let mut sorted = vec![own.clone(), "first:1".to_owned(), "shared:1".to_owned()];
        sorted.sort();
        assert_eq!(told(&mut client), sorted);
        let second = Remote::join_with(&server, "second", &urls("second"));
        first.fence();
        sorted.push("second:1".to_owned());
        sorted.sort();
        assert_eq!(told(&mut client), sorted);
        drop(second);
        sorted.retain(|url| url != "second:1");
        assert_eq!(told(&mut client), sorted);
        // Lame duck: still there, but no clients please.
        first.send(&crate::support::remote::info_line("first", &json!({"ldm": true})));
        assert_eq!(told(&mut client), [own]);
    }
}

fn text(frame: Vec<u8>) -> String {
    String::from_utf8(frame).unwrap()
}
