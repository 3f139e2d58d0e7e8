//! Queue groups, limits and ends of subscriptions over stream imports.

use std::collections::BTreeMap;

use crate::support::{Client, Server, Which, http};

const CONF: &str = "http: \"127.0.0.1:-1\"
accounts {
  A { users: [{user: a}], exports: [{stream: \"pub.>\"}] }
  B {
    users: [{user: b}]
    imports: [{stream: {account: A, subject: \"pub.>\"}, prefix: fromA}]
  }
}\n";

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(server, &format!(r#""user":"{user}","headers":true"#))
}

fn publish(client: &mut Client, count: usize) {
    for number in 0..count {
        client.send(&format!("PUB pub.mq {}\r\n{number}\r\n", number.to_string().len()));
    }
    client.fence();
}

for_both! {
    /// The names of groups are compared in the account of the exporter.
    fn one_group_spans_both_accounts(which) {
        let server = Server::with().conf(CONF).start(which);
        let [mut publisher, mut a] = ["a", "a"].map(|user| connect(&server, user));
        let mut b = connect(&server, "b");
        a.send("SUB pub.mq q 1\r\nSUB end 9\r\n");
        b.send("SUB fromA.pub.mq q 1\r\nSUB fromA.> q2 2\r\nSUB end 9\r\n");
        a.fence();
        b.fence();
        publish(&mut publisher, 40);
        let mut counts = BTreeMap::new();
        for (client, name) in [(&mut a, "a"), (&mut b, "b")] {
            client.send("PUB end 0\r\n\r\n");
            loop {
                let frame = String::from_utf8(client.frame()).unwrap();
                let head = frame.split(' ').take(3).collect::<Vec<_>>().join(" ");
                if head == "MSG end 9" {
                    break;
                }
                *counts.entry(format!("{name} {head}")).or_insert(0) += 1;
            }
        }
        let a = counts.remove("a MSG pub.mq 1").unwrap_or_default();
        let b = counts.remove("b MSG fromA.pub.mq 1").unwrap_or_default();
        assert_eq!((a + b, a > 0, b > 0), (40, true, true));
        assert_eq!(counts, BTreeMap::from([("b MSG fromA.pub.mq 2".to_owned(), 40)]));
    }

    /// Draining: messages published before UNSUB come before the PONG.
    fn nothing_comes_after_the_end(which) {
        let server = Server::with().conf(CONF).start(which);
        let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
        b.send("SUB fromA.pub.mq 1\r\n");
        b.fence();
        for number in 0..20 {
            a.send("PUB pub.mq 2\r\nhi\r\n");
            if number == 10 {
                a.fence();
                b.send("UNSUB 1\r\nPING\r\n");
            }
        }
        a.fence();
        let mut count = 0;
        loop {
            match &*b.frame() {
                b"PONG\r\n" => break,
                frame => assert_eq!(frame, b"MSG fromA.pub.mq 1 2\r\nhi\r\n"),
            }
            count += 1;
        }
        assert!((11..=20).contains(&count), "{count}");
        publish(&mut a, 3);
        b.fence();
        assert_eq!(shadows(&server), 0);
    }

    fn the_end_of_a_client_takes_its_shadows_away(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut b = connect(&server, "b");
        for sid in 0..1000 {
            b.send(&format!("SUB fromA.pub.{sid} {sid}\r\n"));
        }
        b.fence();
        assert_eq!(shadows(&server), 1000);
        drop(b);
        while shadows(&server) != 0 {}
    }
}

/// In nats-server a limit does not count there.
#[test]
fn a_limit_counts_messages_of_other_accounts() {
    let server = Server::with().conf(CONF).start(Which::Dialtone);
    let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
    b.send("SUB fromA.pub.> 1\r\nUNSUB 1 3\r\n");
    b.fence();
    b.send("PUB fromA.pub.own 1\r\nx\r\n");
    b.expect("MSG fromA.pub.own 1 1\r\nx\r\n");
    publish(&mut a, 4);
    b.expect("MSG fromA.pub.mq 1 1\r\n0\r\nMSG fromA.pub.mq 1 1\r\n1\r\n");
    b.fence();
    assert_eq!(shadows(&server), 0);
    // The same with a limit that comes after the first messages.
    b.send("SUB fromA.pub.> 1\r\n");
    b.fence();
    publish(&mut a, 2);
    b.send("UNSUB 1 3\r\n");
    b.expect("MSG fromA.pub.mq 1 1\r\n0\r\nMSG fromA.pub.mq 1 1\r\n1\r\n");
    b.fence();
    publish(&mut a, 2);
    b.expect("MSG fromA.pub.mq 1 1\r\n0\r\n");
    b.fence();
    assert_eq!(shadows(&server), 0);
    let page = http::json(&server, "/subsz?acc=B&subs=1");
    assert!(!page.to_string().contains("fromA"), "{page}");
}

/// Several threads reach limits at the same time, while new imports come: each subscription gets as
/// much as it may, and nothing of it stays.
#[test]
fn limits_hold_for_several_publishers_and_over_reloads() {
    const SIDS: usize = 50;
    const LIMIT: usize = 5;
    let conf = |imports: &str| format!("{}workers: 3\n", CONF.replace("imports: [", imports));
    let second = "imports: [{stream: {account: A, subject: \"pub.mq\"}, to: unheard}, ";
    let server = Server::with().conf(conf("imports: [")).start(Which::Dialtone);
    let mut b = connect(&server, "b");
    let mut publishers = [(); 3].map(|()| connect(&server, "a"));
    for round in 0..20 {
        for sid in 0..SIDS {
            b.send(&format!("SUB fromA.pub.* {sid}\r\nUNSUB {sid} {LIMIT}\r\n"));
        }
        b.fence();
        std::thread::scope(|scope| {
            for a in &mut publishers {
                scope.spawn(|| publish(a, LIMIT));
            }
            let imports = if round % 2 == 0 { second } else { "imports: [" };
            server.reload(&conf(imports)).unwrap();
        });
        let mut counts = BTreeMap::new();
        b.send("PING\r\n");
        loop {
            let frame = String::from_utf8(b.frame()).unwrap();
            let Some(rest) = frame.strip_prefix("MSG fromA.pub.mq ") else { break };
            let sid = rest.split(' ').next().unwrap();
            *counts.entry(sid.to_owned()).or_insert(0) += 1;
        }
        assert!(counts.len() == SIDS && counts.values().all(|&n| n == LIMIT), "{counts:?}");
        assert_eq!(shadows(&server), 0);
        assert_eq!(http::json(&server, "/subsz?acc=B")["num_subscriptions"], 4);
    }
}

/// The number of shadows in A.
fn shadows(server: &Server) -> u64 {
    let services = 4;
    http::json(server, "/subsz?acc=A")["num_subscriptions"].as_u64().unwrap() - services
}
