//! Clients that keep the server busy, and how long others wait meanwhile.
//!
//! Tests that take long are ignored; `.ci/run` runs them by themselves.

use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::support::client::Arrived;
use crate::support::probe::Probe;
use crate::support::{Client, Cluster, Flavor, OWN_SUBSCRIPTIONS, PATIENCE, Server, Which, http};

use Which::Dialtone;

/// Subscriptions of one client.
const COUNT: usize = 200_000;

/// Sends so many lines.
fn send_all(client: &mut Client, count: usize, line: impl Fn(usize) -> String) {
    for first in (0..count).step_by(10_000) {
        let lines: String = (first..count.min(first + 10_000)).map(&line).collect();
        client.send(&lines);
        client.fence();
    }
}

/// A client with so many subscriptions.
fn subscribed(server: &Server, count: usize) -> Client {
    let mut client = Client::connect(server, "");
    send_all(&mut client, count, |n| format!("SUB many.{n} {n}\r\n"));
    client
}

/// Others got what they waited for. How long that took is told, and judged in a release build on a
/// machine of its own.
#[track_caller]
fn check(probe: Probe) {
    println!("others waited for {:?} at most", probe.stop());
}

for_both! {
    /// What follows a CONNECT waits until the subscriptions before it are gone.
    fn a_second_connect_leaves_nothing_behind(which) {
        let server = Server::start(which);
        let mut client = subscribed(&server, 5_000);
        let messages: String = (0..5_000).map(|n| format!("PUB many.{n} 0\r\n\r\n")).collect();
        let behind = format!("{messages}SUB many.7 7\r\nPING\r\n");
        client.send(&format!("CONNECT {{\"verbose\":false}}\r\n{behind}"));
        client.expect("PONG\r\n");
        client.send("PUB many.7 0\r\n\r\nPING\r\n");
        client.expect("MSG many.7 7 0\r\n\r\nPONG\r\n");
    }
}

/// A table that was full was moved at once.
#[test]
#[ignore = "makes hundreds of thousands of subscriptions"]
fn many_subscriptions_come_and_go() {
    let kinds: [fn(usize) -> String; 3] = [
        |n| format!("SUB many.{n} {n}\r\n"),
        |n| format!("SUB many.{n}.* {n}\r\n"),
        |n| format!("SUB many {n} {n}\r\n"),
    ];
    for line in kinds {
        let server = Server::start(Dialtone);
        let mut client = Client::connect(&server, "");
        let probe = Probe::start(&server);
        send_all(&mut client, COUNT, line);
        send_all(&mut client, COUNT, |n| format!("UNSUB {n}\r\n"));
        check(probe);
    }
}

/// All subscriptions were removed before anything else.
#[test]
#[ignore = "makes hundreds of thousands of subscriptions"]
fn a_second_connect_lets_go_of_many() {
    let server = Server::with().monitored().start(Dialtone);
    let mut client = subscribed(&server, COUNT);
    let probe = Probe::start(&server);
    client.send("CONNECT {\"verbose\":true}\r\n");
    client.expect("+OK\r\n");
    check(probe);
    http::json_until(&server, "/subsz", |page| page["num_subscriptions"] == OWN_SUBSCRIPTIONS);
}

/// Each subscription got its trace line, traced or not, before anything else.
#[test]
#[ignore = "makes hundreds of thousands of subscriptions"]
fn a_connection_with_many_ends() {
    let server = Server::with().monitored().start(Dialtone);
    let client = subscribed(&server, COUNT);
    let probe = Probe::start(&server);
    drop(client);
    http::json_until(&server, "/subsz", |page| page["num_subscriptions"] == OWN_SUBSCRIPTIONS + 1);
    check(probe);
}

/// All queues of one subject were announced at once.
#[test]
#[ignore = "makes hundreds of thousands of subscriptions"]
fn a_subject_with_many_queues_is_announced() {
    let mut cluster = Cluster::start(&[Dialtone], Flavor::Default);
    let mut client = Client::connect(&cluster.servers()[0], "");
    send_all(&mut client, COUNT, |n| format!("SUB many {n} {n}\r\n"));
    let probe = Probe::start(&cluster.servers()[0]);
    cluster.add(Dialtone, |setup| setup);
    let here = http::json(&cluster.servers()[0], "/subsz")["num_subscriptions"].as_u64();
    http::json_until(&cluster.servers()[1], "/subsz", |page| {
        page["num_subscriptions"].as_u64() >= here
    });
    check(probe);
}

/// Runs `work` on as many threads.
fn on_threads(count: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for at in 0..count {
            let work = &work;
            scope.spawn(move || work(at));
        }
    });
}

/// Reads and forgets until the server closes.
fn drop_all(mut client: Client) {
    thread::spawn(move || {
        while client.read_some(Instant::now() + PATIENCE) == Arrived::Bytes {
            client.take_received();
        }
    });
}

/// A message of a million bytes.
fn large(subject: &str) -> String {
    const LEN: usize = 1_000_000;
    format!("PUB {subject} {LEN}\r\n{}\r\n", "x".repeat(LEN))
}

/// A read of messages that led through thousands of branches each, and staged nothing, was one
/// turn.
#[test]
#[ignore = "keeps the processors busy"]
fn patterns_that_branch() {
    const TOKENS: u32 = 13;
    let server = Server::start(Dialtone);
    let mut owner = Client::connect(&server, "");
    send_all(&mut owner, 1 << TOKENS, |n| {
        let tokens: Vec<_> = (0..TOKENS).map(|at| ["a", "*"][n >> at & 1]).collect();
        format!("SUB {}.b {n}\r\n", tokens.join("."))
    });
    let probe = Probe::start(&server);
    let subject = ["a"; TOKENS as usize].join(".");
    on_threads(2, |at| {
        let mut attacker = Client::connect(&server, "");
        let lines = (0..300).map(|n| format!("PUB {subject}.{at}.{n} 0\r\n\r\n"));
        attacker.send(&lines.collect::<String>());
        attacker.fence();
    });
    check(probe);
}

/// One message was delivered to all in one turn, and many publishers had theirs before others.
#[test]
#[ignore = "keeps the processors busy"]
fn many_subscriptions_of_one_client() {
    for (subscriptions, publishers, messages) in [(10_000, 2, 100), (1_000, 30, 100)] {
        let server = Server::start(Dialtone);
        let mut owner = Client::connect(&server, "");
        send_all(&mut owner, subscriptions, |n| format!("SUB many {n}\r\n"));
        drop_all(owner);
        let probe = Probe::start(&server);
        on_threads(publishers, |_| {
            let mut attacker = Client::connect(&server, "");
            attacker.send(&"PUB many 2\r\nhi\r\n".repeat(messages));
            attacker.fence();
        });
        check(probe);
    }
}

/// Each of the receivers got a copy of its own before anybody else had a turn, and a message to
/// many subscriptions of one client was in memory as often.
#[test]
#[ignore = "takes hundreds of megabytes"]
fn large_messages_to_many() {
    let peak_max = 512 << 20;
    let server = Server::start(Dialtone);
    let receivers: Vec<_> = (0..300).map(|_| Client::subscribed(&server, "large")).collect();
    let mut attacker = Client::connect(&server, "");
    let probe = Probe::start(&server);
    for _ in 0..8 {
        attacker.send(&large("large"));
        attacker.fence();
    }
    check(probe);
    drop(receivers);

    let mut owner = Client::connect(&server, "");
    send_all(&mut owner, 2_000, |n| format!("SUB many {n}\r\n"));
    let probe = Probe::start(&server);
    attacker.send(&large("many"));
    attacker.fence();
    check(probe);
    assert!(server.memory_peak() < peak_max, "{} bytes", server.memory_peak());
}

/// Thousands of connections that ended at once were all ended before anything else.
#[test]
#[ignore = "makes thousands of connections"]
fn thousands_come_and_go() {
    const CONNECTIONS: usize = 4_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let server = Server::with().monitored().start(Dialtone);
    let probe = Probe::start(&server);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::silent(server.port())).collect();
    clients.iter_mut().for_each(|client| client.send("CONNECT {}\r\nSUB gone q 1\r\n"));
    let count = |n| move |page: &Value| page["num_subscriptions"] == OWN_SUBSCRIPTIONS + n;
    http::json_until(&server, "/subsz", count(CONNECTIONS + 1));
    drop(clients);
    http::json_until(&server, "/subsz", count(1));
    check(probe);
}

/// Lists in the system account are made apart from deliveries.
#[test]
#[ignore = "makes thousands of connections"]
fn lists_of_thousands_hold_up_nobody() {
    const CONNECTIONS: usize = 4_000;
    const REQUESTS: usize = 20;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let conf = "accounts { $SYS { users: [{user: s, password: p}] } }";
    let server = Server::with().conf(conf).start(Dialtone);
    let _clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(&server, "")).collect();
    let mut system = Client::connect(&server, r#""user":"s","pass":"p""#);
    let probe = Probe::start(&server);
    let body = r#"{"limit":4000,"sort":"idle"}"#;
    let request = format!("PUB $SYS.REQ.SERVER.PING.CONNZ in {}\r\n{body}\r\n", body.len());
    system.send(&format!("SUB in 1\r\n{}", request.repeat(REQUESTS)));
    for _ in 0..REQUESTS {
        let frame = system.frame();
        assert!(frame.starts_with(b"MSG in 1 ") && frame.len() > CONNECTIONS * 200);
    }
    check(probe);
}
