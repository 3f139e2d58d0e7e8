//! What the server publishes in the system account by itself.

use serde_json::{Value, json};

use crate::support::skeleton::names;
use crate::support::{Client, Server, Which};

const CONF: &str = r#"server_name: S1, accounts {
    $SYS: { users: [{ user: sys, password: p }] }
    A: { users: [{ user: a, password: p }] }
    B: { users: [{ user: b, password: p }] }
}
"#;

const SYS: &str = r#""user":"sys","pass":"p""#;
const A: &str = r#""user":"a","pass":"p","name":"cn","lang":"py","version":"9""#;

/// A system user that hears these subjects, each as a subscription of its own.
fn listener(server: &Server, subjects: &[&str]) -> Client {
    let mut listener = Client::connect(server, SYS);
    for (subject, sid) in subjects.iter().zip(1..) {
        listener.send(&format!("SUB {subject} {sid}\r\n"));
    }
    listener.send("PING\r\n");
    // It may hear of itself meanwhile.
    while listener.frame() != b"PONG\r\n" {}
    listener
}

/// The subject and the document of the next message, but for those about the listener itself, which
/// may come late.
#[track_caller]
fn event(client: &mut Client) -> (String, Value) {
    loop {
        let frame = String::from_utf8(client.frame()).unwrap();
        let (line, body) = frame.split_once("\r\n").unwrap();
        let subject = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line}"));
        let document: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{frame}"));
        if document["acc"] != "$SYS" && document["client"]["acc"] != "$SYS" {
            return (subject.to_owned(), document);
        }
    }
}

/// The next message with what varies left out, once it is there; and the number of the message.
#[track_caller]
fn masked(client: &mut Client) -> (String, Value, u64) {
    let (subject, mut document) = event(client);
    let seq = document["server"]["seq"].as_u64().unwrap();
    for varies in [
        "/id",
        "/timestamp",
        "/server/id",
        "/server/seq",
        "/server/time",
        "/server/feature_flags",
        "/client/id",
        "/client/start",
        "/client/stop",
        "/client/rtt",
    ] {
        if let Some(value) = document.pointer_mut(varies) {
            assert!(!value.is_null(), "{varies}");
            *value = json!("*");
        }
    }
    (subject, document, seq)
}

fn server_info() -> Value {
    json!({
        "name": "S1", "host": "127.0.0.1", "id": "*", "ver": "2.15.1", "feature_flags": "*",
        "jetstream": false, "flags": 0, "seq": "*", "time": "*"
    })
}

/// The client object of `a`, with these members more.
fn client(more: Value) -> Value {
    let mut client = json!({
        "start": "*", "host": "127.0.0.1", "id": "*", "acc": "A", "user": "a", "name": "cn",
        "lang": "py", "ver": "9", "name_tag": "A", "kind": "Client", "client_type": "nats"
    });
    let members = more.as_object().unwrap().clone();
    client.as_object_mut().unwrap().extend(members);
    client
}

fn counts(conns: usize, subscriptions: usize, msgs: u64, bytes: u64) -> Value {
    let none = json!({ "msgs": 0, "bytes": 0 });
    let data = json!({
        "msgs": msgs, "bytes": bytes, "gateways": none, "routes": none, "leafs": none
    });
    json!({
        "type": "io.nats.server.advisory.v1.account_connections", "id": "*", "timestamp": "*",
        "server": server_info(), "acc": "A", "name": "A", "conns": conns, "leafnodes": 0,
        "total_conns": conns, "num_subscriptions": subscriptions, "sent": data, "received": data,
        "slow_consumers": 0
    })
}

const CONNS: [&str; 2] = ["$SYS.SERVER.ACCOUNT.A.CONNS", "$SYS.ACCOUNT.A.SERVER.CONNS"];

for_both! {
    fn a_client_comes_and_goes(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut heard = listener(&server, &["$SYS.ACCOUNT.A.>", "$SYS.SERVER.ACCOUNT.A.>"]);
        let mut a = Client::connect(&server, A);
        let mut last = None;
        for subject in CONNS {
            let (heard_on, document, seq) = masked(&mut heard);
            let subscriptions = document["num_subscriptions"].as_u64().unwrap() as usize;
            assert_eq!((&*heard_on, &document), (subject, &counts(1, subscriptions, 0, 0)));
            assert!(last.is_none_or(|last| last + 1 == seq));
            last = Some(seq);
        }
        let (heard_on, document, _) = masked(&mut heard);
        assert_eq!(heard_on, "$SYS.ACCOUNT.A.CONNECT");
        assert_eq!(document, json!({
            "type": "io.nats.server.advisory.v1.client_connect", "id": "*", "timestamp": "*",
            "server": server_info(), "client": client(json!({}))
        }));
        a.send("SUB x 1\r\nPUB x 3\r\nabc\r\n");
        a.expect("MSG x 1 3\r\nabc\r\n");
        a.fence();
        drop(a);
        for subject in CONNS {
            let (heard_on, document, _) = masked(&mut heard);
            assert_eq!((&*heard_on, &document["conns"]), (subject, &json!(0)));
            assert_eq!(document["sent"]["msgs"], 1);
            assert_eq!(document["received"]["bytes"], 3);
        }
        let (heard_on, document, _) = masked(&mut heard);
        assert_eq!(heard_on, "$SYS.ACCOUNT.A.DISCONNECT");
        let traffic = json!({ "msgs": 1, "bytes": 3 });
        assert_eq!(document, json!({
            "type": "io.nats.server.advisory.v1.client_disconnect", "id": "*", "timestamp": "*",
            "server": server_info(), "client": client(json!({ "rtt": "*", "stop": "*" })),
            "sent": traffic, "received": traffic, "reason": "Client Closed"
        }));
    }

    fn the_members_stand_in_order(which) {
        let server = Server::with().conf(CONF).start(which);
        let subjects = ["$SYS.ACCOUNT.A.DISCONNECT", "$SYS.ACCOUNT.A.SERVER.CONNS"];
        let mut heard = listener(&server, &subjects);
        drop(Client::connect(&server, A));
        let head = "type id timestamp server name host id ver feature_flags js_ack_fc_v2 \
                    js_api_reply_v2 js_raft_delete_range js_snapshot_sources jetstream flags seq \
                    time ";
        let data = "msgs bytes gateways msgs bytes routes msgs bytes leafs msgs bytes ";
        let conns = format!(
            "{head}acc name conns leafnodes total_conns num_subscriptions sent {data}received \
             {data}slow_consumers"
        );
        let disconnect = format!(
            "{head}client start host id acc user name lang ver rtt stop name_tag kind client_type \
             sent msgs bytes received msgs bytes reason"
        );
        let mut read = || {
            let frame = String::from_utf8(heard.frame()).unwrap();
            names(frame.split_once("\r\n").unwrap().1).join(" ")
        };
        let mut events = [read(), read(), read()];
        events.sort();
        assert_eq!(events, [conns.clone(), conns, disconnect]);
    }

    fn a_failed_login_is_told(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut heard = listener(&server, &["$SYS.SERVER.*.CLIENT.AUTH.ERR", "$SYS.ACCOUNT.$G.>"]);
        for (given, user) in [
            (r#""user":"a","pass":"wrong","#, Some("a")),
            (r#""user":"nobody","#, Some("nobody")),
            (r#""auth_token":"t","#, Some("[REDACTED]")),
            ("", None),
        ] {
            let mut refused = Client::open(&server);
            refused.send(&format!("CONNECT {{{given}\"verbose\":false,\"name\":\"bad\"}}\r\n"));
            refused.expect("-ERR 'Authorization Violation'\r\n");
            let (subject, first, _) = masked(&mut heard);
            let mut client = json!({
                "start": "*", "host": "127.0.0.1", "id": "*", "acc": "$G", "user": user,
                "name": "bad", "rtt": "*", "stop": "*", "name_tag": "$G", "kind": "Client",
                "client_type": "nats"
            });
            client.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let none = json!({ "msgs": 0, "bytes": 0 });
            assert_eq!(first, json!({
                "type": "io.nats.server.advisory.v1.client_disconnect", "id": "*",
                "timestamp": "*", "server": server_info(), "client": client, "sent": none,
                "received": none, "reason": "Authentication Failure"
            }));
            assert!(subject.starts_with("$SYS.SERVER.N"), "{subject}");
            let (subject, second, _) = masked(&mut heard);
            assert_eq!((&*subject, second), ("$SYS.ACCOUNT.$G.DISCONNECT", first));
        }
    }

    fn who_says_nothing_leaves_the_global_account(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut heard = listener(&server, &["$SYS.SERVER.*.CLIENT.AUTH.ERR", "$SYS.ACCOUNT.$G.>"]);
        drop(Client::open(&server));
        let (subject, document, _) = masked(&mut heard);
        assert_eq!(subject, "$SYS.ACCOUNT.$G.DISCONNECT");
        assert_eq!(document["reason"], "Client Closed");
        assert_eq!(document["client"], json!({
            "start": "*", "host": "127.0.0.1", "id": "*", "acc": "$G", "stop": "*",
            "name_tag": "$G", "kind": "Client", "client_type": "nats"
        }));
    }

    fn anonymous_clients_are_told(which) {
        let conf = "accounts { $SYS: { users: [{ user: sys, password: p }] } }";
        let server = Server::with().conf(conf).start(which);
        let mut heard = listener(&server, &["$SYS.ACCOUNT.$G.>"]);
        drop(Client::connect(&server, ""));
        let [connect, disconnect] = [0, 1].map(|_| masked(&mut heard));
        assert_eq!(connect.0, "$SYS.ACCOUNT.$G.CONNECT");
        assert_eq!(disconnect.0, "$SYS.ACCOUNT.$G.DISCONNECT");
        assert_eq!(connect.1["client"]["acc"], "$G");
    }

    /// It may change the account.
    fn another_connect_is_another_event(which) {
        let server = Server::with().conf(CONF).start(which);
        let of = |account| format!("$SYS.SERVER.ACCOUNT.{account}.CONNS");
        let mut heard = listener(&server, &["$SYS.ACCOUNT.*.CONNECT", &of("A"), &of("B")]);
        let mut client = Client::connect(&server, A);
        let mut told = || {
            let (_, document, _) = masked(&mut heard);
            match document.get("conns") {
                Some(conns) => format!("{} {conns}", document["acc"]),
                None => format!("{} {}", document["client"]["acc"], document["client"]["user"]),
            }
        };
        // Changes that wait for each other may be told as one.
        assert_eq!([told(), told()], [r#""A" 1"#, r#""A" "a""#]);
        client.send("CONNECT {\"user\":\"b\",\"pass\":\"p\",\"verbose\":false}\r\n");
        assert_eq!([told(), told(), told()], [r#""A" 0"#, r#""B" 1"#, r#""B" "b""#]);
    }

    fn a_lame_duck_says_so(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut heard = listener(&server, &["$SYS.SERVER.*.LAMEDUCK"]);
        server.signal("USR2");
        let (subject, document) = event(&mut heard);
        assert!(subject.ends_with(".LAMEDUCK"), "{subject}");
        assert_eq!(document["name"], "S1");
    }

    fn the_end_of_a_server_is_its_last_word(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut heard = listener(&server, &["$SYS.SERVER.*.SHUTDOWN", "$SYS.ACCOUNT.>"]);
        let _client = Client::connect(&server, A);
        for _ in 0..2 {
            masked(&mut heard);
        }
        server.signal("TERM");
        let (subject, mut document) = event(&mut heard);
        assert!(subject.ends_with(".SHUTDOWN"), "{subject}");
        for varies in ["id", "feature_flags", "seq", "time"] {
            assert!(!document[varies].is_null());
            document[varies] = json!("*");
        }
        assert_eq!(document, server_info());
        heard.expect_closed();
    }

    fn statistics_come_from_the_start(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut heard = listener(&server, &["$SYS.SERVER.*.STATSZ"]);
        for _ in 0..2 {
            let frame = String::from_utf8(heard.frame()).unwrap();
            let (_, body) = frame.split_once("\r\n").unwrap();
            let expected = "server name host id ver feature_flags js_ack_fc_v2 js_api_reply_v2 \
                js_raft_delete_range js_snapshot_sources jetstream flags seq time statsz start mem \
                cores cpu connections total_connections active_accounts subscriptions sent msgs \
                bytes sent_to_clients msgs bytes received msgs bytes received_from_clients msgs \
                bytes slow_consumers active_servers gomaxprocs";
            assert_eq!(names(body).join(" "), expected);
            let document: Value = serde_json::from_str(body).unwrap();
            let statsz = &document["statsz"];
            assert_eq!([&statsz["connections"], &statsz["active_servers"]], [1, 1]);
        }
    }
}

/// An account that may hear of failed logins does so: nats-server tells only the global one.
#[test]
fn a_failed_login_is_told_in_the_account_of_the_user() {
    let server = Server::with().conf(CONF).start(Which::Dialtone);
    let mut owner = Client::connect(&server, A);
    owner.send("SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 1\r\n");
    owner.fence();
    for (user, account) in [("b", None), ("a", Some("A")), ("nobody", None)] {
        let mut refused = Client::open(&server);
        refused.send(&format!("CONNECT {{\"user\":\"{user}\",\"pass\":\"no\"}}\r\n"));
        refused.read_to_end();
        if let Some(account) = account {
            let (_, document, _) = masked(&mut owner);
            assert_eq!([&document["client"]["acc"], &document["client"]["user"]], [account, user]);
        }
    }
    owner.fence();
}

/// In nats-server, nobody hears of it any more.
#[test]
fn a_lame_duck_goes_on_telling() {
    let server = Server::with().conf(CONF).start(Which::Dialtone);
    let mut heard = listener(&server, &["$SYS.SERVER.*.LAMEDUCK", "$SYS.ACCOUNT.A.>", "in"]);
    let a = Client::connect(&server, A);
    for _ in 0..2 {
        masked(&mut heard);
    }
    server.signal("USR2");
    event(&mut heard);
    drop(a);
    for told in ["$SYS.ACCOUNT.A.SERVER.CONNS", "$SYS.ACCOUNT.A.DISCONNECT"] {
        assert_eq!(masked(&mut heard).0, told);
    }
    heard.send("PUB $SYS.REQ.SERVER.PING in 0\r\n\r\n");
    assert_eq!(masked(&mut heard).1["statsz"]["connections"], 1);
}
