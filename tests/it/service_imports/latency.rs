//! Measurements of services.

use serde_json::{Value, json};

use super::{Client, client, message, request};
use crate::support::{Cluster, Flavor, Server, Which};

use Which::{Dialtone, Real};

const CONF: &str = r#"
    accounts {
        A {
            users: [ { user: a, password: p } ]
            exports: [ { service: q.full, latency: lat.full }
                       { service: q.open, latency: lat.open }
                       { service: q.short, latency: lat.short, threshold: "500ms" }
                       { service: q.half, latency: { subject: lat.half, sampling: 50 } }
                       { service: q.head, latency: { subject: lat.head, sampling: headers } } ]
        }
        B {
            users: [ { user: b, password: p } ]
            imports: [ { service: { account: A, subject: q.full } }
                       { service: { account: A, subject: q.open }, share: true }
                       { service: { account: A, subject: q.short } }
                       { service: { account: A, subject: q.half } }
                       { service: { account: A, subject: q.head } } ]
        }
    }
"#;

/// A client without a login is in `$G`.
const OTHERS: &str = "authorization { users: [{user: g}] }\nno_auth_user: g\n";

/// The next measurement, and its members in their order.
#[track_caller]
fn measurement(client: &mut Client) -> (Value, Vec<String>) {
    let frame = String::from_utf8(client.frame()).unwrap();
    let (line, json) = frame.split_once("\r\n").unwrap();
    assert!(line.starts_with("MSG lat."), "{frame}");
    let value: Value = serde_json::from_str(json).unwrap();
    let mut order: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    // The responder has a `start` of its own.
    let place = |key: &str| match key {
        "start" => json.rfind("\"start\":"),
        _ => json.find(&format!("\"{key}\":")),
    };
    order.sort_by_key(|key| place(key));
    assert_eq!(value["type"], "io.nats.server.metric.v1.service_latency");
    assert_eq!(value["id"].as_str().unwrap().len(), 22);
    (value, order)
}

/// The measurement of a failure, without its times.
#[track_caller]
fn failure(client: &mut Client) -> (Value, Value) {
    let (mut value, order) = measurement(client);
    let members = [
        "type",
        "id",
        "timestamp",
        "status",
        "description",
        "requestor",
        "start",
        "service",
        "system",
        "total",
    ];
    assert_eq!(order, members);
    assert_eq!(value["requestor"]["acc"], "B", "{value}");
    (value["status"].take(), value["description"].take())
}

for_both! {
    fn a_request_is_measured(which) {
        let server = Server::with().conf(CONF.to_owned() + "server_name: S1\n").start(which);
        let mut listener = client(&server, "a", "SUB lat.> 1\r\n");
        let mut stranger = client(&server, "b", "SUB lat.> 1\r\n");
        let mut a = client(&server, "a", "SUB q.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&request("q.full", "in"));
        let asked = message(&mut a);
        let parts: Vec<&str> = asked.reply.split('.').collect();
        assert!(matches!(parts[..], ["_R_", _, _, "sQnRv29R", "T"]), "{asked:?}");
        a.send(&asked.answer("ok"));
        b.expect("MSG in 8 2\r\nok\r\n");
        let (value, order) = measurement(&mut listener);
        let members = [
            "type", "id", "timestamp", "status", "requestor", "responder", "start", "service",
            "system", "total",
        ];
        assert_eq!((order, &value["status"]), (members.map(Into::into).into(), &200.into()));
        let keys = |of: &str| value[of].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("requestor"), ["acc", "rtt"]);
        let full =
            ["acc", "client_type", "host", "id", "kind", "rtt", "server", "start", "user"];
        assert_eq!(keys("responder"), full);
        let number = |name: &str| value[name].as_i64().unwrap();
        assert!(number("service") >= 0 && number("total") >= number("service"), "{value}");
        // The requester's account shares more.
        b.send(&request("q.open", "in"));
        let asked = message(&mut a);
        a.send(&asked.answer("ok"));
        let (value, _) = measurement(&mut listener);
        let keys: Vec<_> = value["requestor"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, full);
        stranger.fence();
    }

    fn failures_are_measured(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut listener = client(&server, "a", "SUB lat.> 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&request("q.full", "in"));
        assert_eq!(failure(&mut listener), (503.into(), "Service Unavailable".into()));
        let mut a = client(&server, "a", "SUB q.* 1\r\n");
        b.send("PUB q.full 2\r\nhi\r\n");
        assert_eq!(failure(&mut listener), (400.into(), "Bad Request".into()));
        message(&mut a);
        b.send(&request("q.full", "in"));
        message(&mut a);
        b.send("UNSUB 8\r\n");
        assert_eq!(failure(&mut listener), (408.into(), "Request Timeout".into()));
        b.send("SUB in 8\r\n");
        b.send(&request("q.short", "in"));
        message(&mut a);
        assert_eq!(failure(&mut listener), (504.into(), "Service Timeout".into()));
    }

    fn some_are_measured(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut listener = client(&server, "a", "SUB lat.> 1\r\n");
        let mut a = client(&server, "a", "SUB q.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let mut count = 0;
        for _ in 0..60 {
            b.send(&request("q.half", "in"));
            let asked = message(&mut a);
            count += usize::from(asked.reply.ends_with(".T"));
            a.send(&asked.answer("ok"));
        }
        assert!((10..50).contains(&count), "{count}");
        for _ in 0..count {
            measurement(&mut listener);
        }
        // By a header, which is shown.
        for (lines, shown) in [
            ("x-b3-traceid: 3\r\n", json!({ "X-B3-Traceid": ["3"] })),
            ("x-b3-traceid: 3\r\nx-b3-sampled: 0\r\n", Value::Null),
        ] {
            let block = format!("NATS/1.0\r\n{lines}\r\n");
            let len = block.len();
            b.send(&format!("HPUB q.head in {len} {len}\r\n{block}\r\n"));
            let asked = message(&mut a);
            a.send(&asked.answer("ok"));
            if !shown.is_null() {
                let (value, order) = measurement(&mut listener);
                assert_eq!((&value["header"], &*order[6]), (&shown, "header"));
            }
        }
        a.fence();
        listener.fence();
    }
}

/// The client that answers is at another server, of either kind.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn two_servers_measure_together() {
    for kinds in [[Dialtone, Dialtone], [Dialtone, Real], [Real, Dialtone]] {
        let conf = CONF.to_owned() + OTHERS;
        let cluster = Cluster::start_with(&kinds, Flavor::Default, &conf);
        let [here, there] = cluster.servers() else { panic!("two") };
        let mut a = client(there, "a", "SUB q.* 1\r\nSUB ready 2\r\n");
        let mut other = client(here, "a", "SUB in 1\r\n");
        while !other.is_reached("ready") {}
        let mut listener = client(there, "a", "SUB lat.> 1\r\nSUB heard 2\r\n");
        while !other.is_reached("heard") {}
        for client in [&mut a, &mut listener] {
            message(client);
        }
        let mut b = client(here, "b", "SUB in 8\r\n");
        for _ in 0..3 {
            b.send(&request("q.full", "in"));
            let asked = message(&mut a);
            a.send(&asked.answer("ok"));
            b.expect("MSG in 8 2\r\nok\r\n");
            let (value, _) = measurement(&mut listener);
            let (requestor, responder) = (&value["requestor"], &value["responder"]);
            assert_eq!(
                (&requestor["acc"], &value["status"]),
                (&"B".into(), &200.into()),
                "{value}"
            );
            assert_eq!((&responder["acc"], &responder["user"]), (&"A".into(), &"a".into()));
            let number = |name: &str| value[name].as_i64().unwrap();
            assert!(number("service") >= 0 && number("system") >= 0, "{value}");
        }
        listener.fence();
    }
}
