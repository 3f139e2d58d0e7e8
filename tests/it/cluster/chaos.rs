//! A cluster whose connections between servers fail, and the same one after they are whole again.
//!
//! Tests that wait for a timeout of the kernel, or start a herd of clients, are ignored; `.ci/run`
//! runs them by themselves.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use crate::support::machines::Machines;
use crate::support::random::seed_from_env;
use crate::support::{
    ANNOUNCED_SUBSCRIPTIONS, Client, Cluster, Flavor, OWN_SUBSCRIPTIONS, PATIENCE, Server, Which,
    http,
};

use Which::{Dialtone, Real};

/// Waits until each server holds its own subscriptions and one of each subject of the others.
///
/// Only for clusters of dialtone: the real server has more subscriptions of its own.
#[track_caller]
fn wait_interest(cluster: &Cluster, subjects: &[Vec<String>]) {
    for (at, server) in cluster.servers().iter().enumerate() {
        // Each server also has the inbox of the harness's own client there.
        let others = subjects.iter().enumerate().filter(|&(other, _)| other != at);
        let others = others.map(|(_, all)| all.len() + 1 + ANNOUNCED_SUBSCRIPTIONS).sum::<usize>();
        // In a cluster `$G` imports the interface of JetStream.
        let wanted = OWN_SUBSCRIPTIONS + 1 + subjects[at].len() + 1 + others;
        http::json_until(server, "/subsz", |page| page["num_subscriptions"] == wanted);
    }
}

/// Waits until a request to `subject` finds a subscriber, or none.
#[track_caller]
fn wait_reached(client: &mut Client, subject: &str, reached: bool) {
    let deadline = Instant::now() + PATIENCE;
    while client.is_reached(subject) != reached {
        assert!(Instant::now() < deadline, "{subject} is not {reached}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A client that asks, with an inbox for 503.
fn asking(server: &Server) -> Client {
    let mut client = Client::connect(server, r#""headers":true,"no_responders":true"#);
    client.send("SUB in 1\r\n");
    client.fence();
    client
}

/// Connections between servers come and go while subscriptions do; in the end all know all.
#[test]
fn flapping_leaves_no_ghost() {
    flap(Flavor::Default);
}

#[test]
fn flapping_of_encrypted_routes_leaves_no_ghost() {
    flap(Flavor::Encrypted);
}

fn flap(flavor: Flavor) {
    let seed = seed_from_env("DIALTONE_CHAOS_SEED");
    println!("DIALTONE_CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut cluster = Cluster::relayed(&[Dialtone; 3], flavor);
    let mut clients = cluster.clients("");
    let mut subjects = vec![Vec::new(); 3];
    for round in 0..60 {
        let at = random.usize(..3);
        let subject = format!("s{}", random.usize(..20));
        match subjects[at].iter().position(|known| *known == subject) {
            Some(known) => {
                subjects[at].swap_remove(known);
                clients[at].send(&format!("UNSUB {subject}\r\n"));
            }
            None => {
                clients[at].send(&format!("SUB {subject} {subject}\r\n"));
                subjects[at].push(subject);
            }
        }
        clients[at].fence();
        if round % 6 == 0 {
            cluster.proxy(random.usize(..3)).cut();
        }
        thread::sleep(Duration::from_millis(10));
    }
    cluster.settle();
    wait_interest(&cluster, &subjects);
}

/// Everybody knows the first server only, and all but that one start at once: whatever they are,
/// all find each other.
#[test]
#[ignore = "starts some hundred servers"]
fn all_mixtures_start_around_the_first() {
    let seed = seed_from_env("DIALTONE_CHAOS_SEED");
    println!("DIALTONE_CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let starts = std::env::var("DIALTONE_STARTS").map_or(24, |text| text.parse().unwrap());
    for start in 0..starts {
        let count = 3 + start % 4;
        let mixture = random.usize(..1 << count);
        let kinds = [Dialtone, Real];
        let kinds: Vec<Which> = (0..count).map(|at| kinds[mixture >> at & 1]).collect();
        println!("start {start}: {kinds:?}");
        let mut cluster = Cluster::start_around_first(&kinds, &mut random);
        cluster.wait_routes();
        cluster.settle();
    }
}

/// Two halves live on their own and grow together again.
#[test]
fn a_partition_heals() {
    let mut cluster = Cluster::relayed(&[Dialtone; 5], Flavor::Single);
    let ids: Vec<String> = cluster
        .servers()
        .iter()
        .map(|server| http::json(server, "/varz")["server_id"].as_str().unwrap().to_owned())
        .collect();
    let halves = [&[0, 1][..], &[2, 3, 4][..]];
    let mut asks: Vec<Client> = cluster.servers().iter().map(asking).collect();
    let mut answers: Vec<Client> = cluster
        .servers()
        .iter()
        .enumerate()
        .map(|(at, server)| Client::subscribed(server, &format!("svc.{at}")))
        .collect();
    cluster.settle();
    for [half, other] in [halves, [halves[1], halves[0]]] {
        for &at in half {
            cluster.proxy(at).keep_out(other.iter().map(|&id| &*ids[id]));
        }
    }
    for [half, other] in [halves, [halves[1], halves[0]]] {
        for (&at, &away) in half.iter().flat_map(|at| other.iter().map(move |away| (at, away))) {
            wait_reached(&mut asks[at], &format!("svc.{away}"), false);
        }
        cluster.settle_among(half);
    }
    // What changes meanwhile is known everywhere later.
    answers[0].send("UNSUB 1\r\n");
    answers[0].fence();
    answers[4].send("SUB new 2\r\n");
    answers[4].fence();
    for at in 0..5 {
        cluster.proxy(at).keep_out([]);
    }
    cluster.settle();
    assert!(!asks[3].is_reached("svc.0"));
    assert!(asks[0].is_reached("new"));
    let mut subjects: Vec<Vec<String>> =
        (0..5).map(|at| vec!["in".to_owned(), format!("svc.{at}")]).collect();
    subjects[0].pop();
    subjects[4].push("new".to_owned());
    wait_interest(&cluster, &subjects);
}

/// A server that is killed is forgotten at once, and known again when it is back.
#[test]
fn a_killed_server_comes_back() {
    let mut cluster = Cluster::start(&[Dialtone; 3], Flavor::Default);
    let _answers = Client::subscribed(&cluster.servers()[2], "svc");
    let mut asks = asking(&cluster.servers()[0]);
    cluster.settle();
    assert!(asks.is_reached("svc"));
    cluster.servers()[2].signal("KILL");
    wait_reached(&mut asks, "svc", false);
    cluster.restart(2);
    let _answers = Client::subscribed(&cluster.servers()[2], "svc");
    cluster.settle();
    assert!(asks.is_reached("svc"));
}

/// What is published while another server stands still arrives when it goes on.
#[test]
fn a_pause_loses_nothing() {
    const COUNT: usize = 20_000;
    let mut cluster = Cluster::start(&[Dialtone; 2], Flavor::Default);
    let mut subscriber = Client::subscribed(&cluster.servers()[1], "a");
    cluster.settle();
    cluster.servers()[1].signal("STOP");
    let mut publisher = Client::connect(&cluster.servers()[0], "");
    publisher.send(&format!("PUB a 100\r\n{}\r\n", "x".repeat(100)).repeat(COUNT));
    publisher.fence();
    cluster.servers()[1].signal("CONT");
    for _ in 0..COUNT {
        subscriber.frame();
    }
    subscriber.fence();
}

/// A slow connection between servers delays nobody but those behind it: all others have everything
/// while it is as slow as it can be.
#[test]
fn a_slow_link_holds_up_nobody_else() {
    const COUNT: usize = 3_000;
    let mut cluster = Cluster::relayed(&[Dialtone; 2], Flavor::Single);
    let mut far = Client::subscribed(&cluster.servers()[1], "a");
    let mut near = Client::subscribed(&cluster.servers()[0], "a");
    cluster.settle();
    for at in 0..2 {
        cluster.proxy(at).throttle(1);
    }
    let mut publisher = Client::connect(&cluster.servers()[0], "");
    publisher.send(&format!("PUB a 100\r\n{}\r\n", "x".repeat(100)).repeat(COUNT));
    for _ in 0..COUNT {
        near.frame();
    }
    (0..2).for_each(|at| cluster.proxy(at).throttle(0));
    for _ in 0..COUNT {
        far.frame();
    }
}

/// Whoever is not there is asked about once a second: a few times until a client that comes now
/// gets its first PING, two seconds later by the clock of the same server.
#[test]
fn attempts_are_bounded() {
    let mut cluster = Cluster::relayed(&[Dialtone; 2], Flavor::Default);
    let before = cluster.proxy(1).accepted();
    cluster.servers()[1].signal("KILL");
    Client::connect(&cluster.servers()[0], "").unsteady().expect("PING\r\n");
    let attempts = || cluster.proxy(1).accepted() - before;
    // The first one at once, then every second, for the pool and for `$SYS`.
    assert!(attempts() <= 12, "{}", attempts());
    let deadline = Instant::now() + PATIENCE;
    while attempts() < 2 {
        assert!(Instant::now() < deadline, "it is not asked about again");
        thread::sleep(Duration::from_millis(10));
    }
    cluster.restart(1);
    cluster.settle();
}

/// A server that is not heard of any more, with the connection still there, is given up in time,
/// and no group chooses its members any more.
#[test]
#[ignore = "waits for a timeout of the kernel"]
fn a_blackhole_is_noticed() {
    let mut cluster = Cluster::relayed(&[Dialtone; 2], Flavor::Default);
    let mut answers = Client::subscribed(&cluster.servers()[1], "svc");
    answers.send("SUB work q 2\r\n");
    answers.fence();
    let mut near = Client::subscribed(&cluster.servers()[0], "work q");
    let mut asks = asking(&cluster.servers()[0]);
    cluster.settle();
    for at in 0..2 {
        cluster.proxy(at).freeze(true);
    }
    let deadline = Instant::now() + PATIENCE;
    let burst = format!("PUB svc 1000\r\n{}\r\n", "x".repeat(1000)).repeat(1000);
    while asks.is_reached("svc") {
        asks.send(&burst);
        assert!(Instant::now() < deadline, "not noticed");
        thread::sleep(Duration::from_millis(50));
    }
    for n in 0..50 {
        asks.send(&format!("PUB work 2\r\n{n:02}\r\n"));
        near.expect(&format!("MSG work 1 2\r\n{n:02}\r\n"));
    }
    for at in 0..2 {
        cluster.proxy(at).freeze(false);
    }
    cluster.settle();
}

/// A process that stands still, with a kernel that goes on to acknowledge what it is sent, kept
/// half of a group's messages for 88 seconds.
#[test]
#[ignore = "waits until a silence is long enough"]
fn a_frozen_server_is_noticed() {
    notices_a_frozen(Dialtone);
}

#[test]
#[ignore = "waits until a silence is long enough"]
fn a_frozen_real_server_is_noticed() {
    notices_a_frozen(Real);
}

fn notices_a_frozen(which: Which) {
    let mut cluster = Cluster::start(&[Dialtone, which], Flavor::Default);
    let mut near = Client::subscribed(&cluster.servers()[0], "work q");
    let _far = Client::subscribed(&cluster.servers()[1], "work q");
    let mut publisher = asking(&cluster.servers()[0]);
    cluster.settle();
    cluster.servers()[1].signal("STOP");
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while !has_closed(&cluster.servers()[0]) {
        assert!(Instant::now() < deadline, "{which:?} is not noticed");
        publisher.send("PUB work 0\r\n\r\n");
        publisher.fence();
        near.send("PING\r\n");
        if near.frame() == b"PONG\r\n" {
            in_a_row = 0;
        } else {
            near.expect("PONG\r\n");
            in_a_row += 1;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // It was passed over before it was given up, and not for as long as chance would have it.
    assert!(in_a_row > 20, "{which:?} was preferred {in_a_row} messages ago");
    for n in 0..50 {
        publisher.send(&format!("PUB work 2\r\n{n:02}\r\n"));
        near.expect(&format!("MSG work 1 2\r\n{n:02}\r\n"));
    }
    cluster.servers()[1].signal("CONT");
    cluster.settle();
}

/// A route was lost, for whatever reason but that of the test's own clients.
fn has_closed(server: &Server) -> bool {
    server.log_lines().iter().any(|line| line.contains("Router connection closed"))
}

/// A server behind a slow connection, which has nothing to say itself, is not taken for a frozen
/// one, however much waits for it.
#[test]
#[ignore = "waits until a silence would have been too long"]
fn a_slow_link_is_no_silence() {
    bears_with_a_slow(Dialtone);
}

#[test]
#[ignore = "waits until a silence would have been too long"]
fn a_slow_link_to_the_real_server_is_no_silence() {
    bears_with_a_slow(Real);
}

fn bears_with_a_slow(which: Which) {
    let mut cluster = Cluster::relayed(&[Dialtone, which], Flavor::Single);
    let mut far = Client::subscribed(&cluster.servers()[1], "a");
    cluster.settle();
    (0..2).for_each(|at| cluster.proxy(at).throttle(1_000));
    let mut publisher = Client::connect(&cluster.servers()[0], "");
    let closed = |cluster: &Cluster| cluster.servers().iter().any(has_closed);
    let before = closed(&cluster);
    let frame = format!("PUB a 10000\r\n{}\r\n", "x".repeat(10_000));
    for _ in 0..60 {
        publisher.send(&frame.repeat(50));
        publisher.fence();
        far.frame();
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(closed(&cluster), before, "{:?}", cluster.servers()[0].log_lines());
}

/// The other machine is gone, and nobody has anything to send to it. Who waits for less notices it
/// first.
#[test]
#[ignore = "makes network namespaces, and waits for a timeout of the kernel"]
fn a_lost_machine_is_noticed() {
    let Some(machines) = Machines::new() else { return };
    let pair = |name: &str, port: u16, setting: &str| {
        let start = |side: usize, routes: &str| {
            let listen = format!("{name}, listen: \"{}:{port}\"", machines.address(side));
            let conf = format!("{setting}name: {listen}, pool_size: -1, routes: [{routes}]");
            let setup = Server::with().conf(format!("cluster {{ {conf} }}"));
            setup.inside(machines.name(side)).start(Dialtone)
        };
        let left = start(0, "");
        let lost = start(1, &format!("\"nats://{}:{port}\"", machines.address(0)));
        left.wait_log("Route connection created");
        (left, lost)
    };
    let (patient, _lost) = pair("patient", 6222, "");
    let (hasty, _lost_too) = pair("hasty", 6223, "silence_max: \"2s\", ");
    machines.unplug();
    hasty.wait_log("Router connection closed");
    assert!(!has_closed(&patient));
    patient.wait_log("Router connection closed");
}

/// All servers are killed at once under two thousand clients, who come back at once.
#[test]
#[ignore = "starts two thousand clients"]
fn a_herd_comes_back() {
    const COUNT: usize = 2_000;
    let mut cluster = Cluster::start(&[Dialtone; 3], Flavor::Default);
    let herd = |cluster: &Cluster| -> Vec<Client> {
        let server = |at: usize| &cluster.servers()[at % 3];
        (0..COUNT).map(|at| Client::subscribed(server(at), &format!("herd.{at}"))).collect()
    };
    let before = herd(&cluster);
    cluster.settle();
    cluster.restart_all();
    drop(before);
    let mut after = herd(&cluster);
    cluster.settle();
    for (at, publisher) in cluster.clients("").iter_mut().enumerate() {
        for n in 0..COUNT {
            publisher.send(&format!("PUB herd.{n} 1\r\n{at}\r\n"));
        }
        publisher.fence();
    }
    for (n, client) in after.iter_mut().enumerate() {
        let mut came: Vec<Vec<u8>> = (0..3).map(|_| client.frame()).collect();
        came.sort();
        for (at, frame) in came.into_iter().enumerate() {
            assert_eq!(frame, format!("MSG herd.{n} 1 1\r\n{at}\r\n").into_bytes());
        }
        client.fence();
    }
}

/// Hours of coming and going in a minute: the real server has nothing to complain of but that
/// servers were gone when they were.
#[test]
#[ignore = "takes as long as an hour of coming and going is worth"]
fn the_real_server_does_not_mind() {
    let mut cluster = Cluster::start(&[Real, Dialtone, Real], Flavor::Default);
    for round in 0..60 {
        let mut clients = cluster.clients("");
        for (at, client) in clients.iter_mut().enumerate() {
            for n in 0..200 {
                client.send(&format!("SUB churn.{at}.{n} {n}\r\nSUB work.{n} q q{n}\r\n"));
            }
            client.fence();
        }
        cluster.settle();
        drop(clients);
        cluster.settle();
        if round % 10 == 9 {
            cluster.replace(1, Dialtone);
            cluster.settle();
        }
    }
    let mut complaints = cluster.complaints();
    // What it also says of its own kind when a server is replaced.
    complaints.retain(|line| !line.contains("connection refused"));
    assert_eq!(complaints, Vec::<String>::new());
    let routes: Vec<Value> = crate::support::cluster::routes(&cluster.servers()[0]);
    assert_eq!(routes.len(), 8);
}

/// All the interest of a full server reaches a newcomer while messages go on, and is forgotten when
/// that server is lost, while they go on there.
#[test]
#[ignore = "makes a million subscriptions"]
fn a_million_subscriptions_come_and_go() {
    const COUNT: usize = 1_000_000;
    let mut cluster = Cluster::start(&[Dialtone], Flavor::Default);
    let mut owner = Client::connect(&cluster.servers()[0], "");
    for first in (0..COUNT).step_by(10_000) {
        let lines = (first..first + 10_000).map(|n| format!("SUB million.{n} {n}\r\n"));
        owner.send(&lines.collect::<String>());
        owner.fence();
    }
    let mut bystander = Client::subscribed(&cluster.servers()[0], "bystander");
    let mut publisher = Client::connect(&cluster.servers()[0], "");
    cluster.add(Dialtone, |setup| setup);
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut slowest = Duration::ZERO;
    loop {
        let sent = Instant::now();
        publisher.send("PUB bystander 0\r\n\r\n");
        bystander.expect("MSG bystander 1 0\r\n\r\n");
        slowest = slowest.max(sent.elapsed());
        let page = http::json(&cluster.servers()[1], "/subsz");
        if page["num_subscriptions"].as_u64() > Some(COUNT as u64) {
            break;
        }
        assert!(Instant::now() < deadline, "{page:#}");
        thread::sleep(Duration::from_millis(20));
    }
    println!("the slowest message came after {slowest:?}");
    cluster.settle();
    let mut asks = asking(&cluster.servers()[1]);
    assert!(asks.is_reached("million.7"));
    cluster.servers()[0].signal("KILL");
    let deadline = Instant::now() + PATIENCE;
    let mut slowest = Duration::ZERO;
    loop {
        let sent = Instant::now();
        let reached = asks.is_reached("million.7");
        slowest = slowest.max(sent.elapsed());
        if reached {
            continue;
        }
        let page = http::json(&cluster.servers()[1], "/subsz");
        if page["num_subscriptions"].as_u64() < Some(OWN_SUBSCRIPTIONS as u64 + 10) {
            break;
        }
        assert!(Instant::now() < deadline, "{page:#}");
    }
    println!("the slowest answer came after {slowest:?}");
}
