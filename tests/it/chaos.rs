//! Clients that keep the server busy, and how long others wait meanwhile.
//!
//! Tests that take long are ignored; `.ci/run` runs them by themselves.

use std::time::Duration;

use crate::support::probe::Probe;
use crate::support::{Client, Cluster, Flavor, Server, Which, http};

use Which::Dialtone;

/// Others who wait for so long stand still. How long they wait is told, and judged in a release
/// build on a machine of its own; here a debug build shares the processors with the tests.
const WAIT_MAX: Duration = Duration::from_secs(5);

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
    let mut client = Client::connect(server, "").steady();
    send_all(&mut client, count, |n| format!("SUB many.{n} {n}\r\n"));
    client
}

#[track_caller]
fn check(probe: Probe) {
    let worst = probe.stop();
    println!("others waited for {worst:?} at most");
    assert!(worst < WAIT_MAX, "others waited for {worst:?}");
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
        let mut client = Client::connect(&server, "").steady();
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
    http::json_until(&server, "/subsz", |page| page["num_subscriptions"] == 0);
}

/// Each subscription got its trace line, traced or not, before anything else.
#[test]
#[ignore = "makes hundreds of thousands of subscriptions"]
fn a_connection_with_many_ends() {
    let server = Server::with().monitored().start(Dialtone);
    let client = subscribed(&server, COUNT);
    let probe = Probe::start(&server);
    drop(client);
    http::json_until(&server, "/subsz", |page| page["num_subscriptions"] == 1);
    check(probe);
}

/// All queues of one subject were announced at once.
#[test]
#[ignore = "makes hundreds of thousands of subscriptions"]
fn a_subject_with_many_queues_is_announced() {
    let mut cluster = Cluster::start(&[Dialtone], Flavor::Default);
    let mut client = Client::connect(&cluster.servers()[0], "").steady();
    send_all(&mut client, COUNT, |n| format!("SUB many {n} {n}\r\n"));
    let probe = Probe::start(&cluster.servers()[0]);
    cluster.add(Dialtone, |setup| setup);
    let here = http::json(&cluster.servers()[0], "/subsz")["num_subscriptions"].as_u64();
    http::json_until(&cluster.servers()[1], "/subsz", |page| {
        page["num_subscriptions"].as_u64() >= here
    });
    check(probe);
}
