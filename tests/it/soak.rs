//! Minutes of coming and going: in the end a server is as it was after the first quarter.
//!
//! `SOAK_CONNECTS` tells how many connects there are, `SOAK_SEED` repeats a run.

mod storm;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use fastrand::Rng;

use crate::support::client::quiet_connect;
use crate::support::random::seed_from_env;
use crate::support::{Client, PATIENCE, Server, Which, http};

use Which::Dialtone;

const CONNECTS: usize = 200_000;
/// Threads of clients, one connection each at a time.
const CLIENTS: usize = 8;

/// The hash is one of the test vectors of crypt_blowfish.
const CONF: &str = "server_name: steady
max_closed_clients: 1000
no_auth_user: free
authorization { users: [
  { user: free, password: x }
  { user: plain, password: secret }
  { user: bound, password: secret, permissions { publish: \"churn.>\", subscribe: \"churn.>\" } }
  { user: hashed, password: \"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\" }
] }
cluster { name: mesh, listen: \"127.0.0.1:-1\" }\n";

const PLAIN: &str = "\"user\":\"plain\",\"pass\":\"secret\"";
const BOUND: &str = "\"user\":\"bound\",\"pass\":\"secret\"";
const WRONG: &str = "\"user\":\"plain\",\"pass\":\"guess\"";
const HASHED: &str = "\"user\":\"hashed\",\"pass\":\"U*U\"";
const HASHED_WRONG: &str = "\"user\":\"hashed\",\"pass\":\"U*V\"";

const PAGES: [&str; 7] =
    ["/varz", "/connz?subs=1", "/connz?state=closed&auth=1", "/routez", "/subsz", "/", "/unknown"];

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    memory: u64,
}

impl Held {
    fn by(server: &Server) -> Held {
        let count = |what| fs::read_dir(format!("/proc/{}/{what}", server.pid())).unwrap().count();
        Held { descriptors: count("fd"), threads: count("task"), memory: server.memory() }
    }

    /// No more than before; of memory, what an allocator may keep here or there.
    fn fits(self, before: Held) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.memory <= before.memory + before.memory / 10 + (2 << 20)
    }
}

/// The number of connects, unless the environment says another one.
fn connects_from_env(default: usize) -> usize {
    std::env::var("SOAK_CONNECTS").map_or(default, |text| text.parse().unwrap())
}

/// Waits until everybody has gone. The server has so many subscriptions of its own.
fn wait_alone(server: &Server, own: u64) {
    http::json_until(server, "/varz", |page| {
        page["connections"] == 0 && page["routes"] == 0 && page["slow_consumers"] == 0
    });
    http::json_until(server, "/subsz", |page| page["num_subscriptions"] == own);
}

/// One connection of a client that subscribes, publishes and leaves, or may not come in.
fn come_and_go(server: &Server, random: &mut Rng) {
    let (members, may) = match random.u8(..100) {
        0..10 => ("", true),
        10..55 => (PLAIN, true),
        55..80 => (BOUND, true),
        80..95 => (WRONG, false),
        95..98 => (HASHED, true),
        _ => (HASHED_WRONG, false),
    };
    let mut client = Client::open(server).steady();
    client.send(&quiet_connect(members));
    if !may {
        client.expect("-ERR 'Authorization Violation'\r\n");
        client.expect_closed();
        return;
    }
    let (subject, sid) = (random.u32(..), random.u16(..));
    client.send(&format!("SUB churn.{subject} {sid}\r\nSUB churn.*.all group 1\r\n"));
    client.send(&format!("PUB churn.{subject} 5\r\nhello\r\nPUB churn.{subject}.all 0\r\n\r\n"));
    if random.bool() {
        client.send(&format!("UNSUB {sid}\r\n"));
    }
    if random.u8(..4) > 0 {
        client.send("PING\r\n");
        while client.frame() != b"PONG\r\n" {}
    }
}

/// So many connections come and go, while another server comes and goes, and pages are read.
fn churn(server: &Server, connects: usize, seed: u64) {
    let (begun, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|at| {
                let (begun, mut random) = (&begun, Rng::with_seed(seed + at as u64));
                scope.spawn(move || {
                    while begun.fetch_add(1, Relaxed) < connects {
                        come_and_go(server, &mut random);
                    }
                })
            })
            .collect();
        let over = &over;
        scope.spawn(move || {
            while !over.load(Relaxed) {
                let route = format!("nats://127.0.0.1:{}", server.route_port());
                let conf = format!(
                    "server_name: fleeting\n\
                     cluster {{ name: mesh, listen: \"127.0.0.1:-1\", routes: [\"{route}\"] }}"
                );
                let fleeting = Server::with().conf(conf).start(Dialtone);
                let mut client = Client::connect(&fleeting, "");
                client.send("SUB churn.*.all group 1\r\n");
                fleeting.wait_log("Route connection created");
                client.send("PUB churn.7.all 0\r\n\r\nPING\r\n");
                while client.frame() != b"PONG\r\n" {}
                assert_eq!(fleeting.stop().code(), Some(0));
            }
        });
        scope.spawn(move || {
            for path in PAGES.iter().cycle().take_while(|_| !over.load(Relaxed)) {
                http::page(server, path);
            }
        });
        clients.into_iter().for_each(|client| client.join().unwrap());
        over.store(true, Relaxed);
    });
}

#[test]
#[ignore = "makes hundreds of thousands of connections"]
fn nothing_is_left_of_who_came_and_went() {
    let connects = connects_from_env(CONNECTS);
    let seed = seed_from_env("SOAK_SEED");
    println!("SOAK_SEED={seed}");
    let server = Server::with().conf(CONF).monitored().start(Dialtone);
    let own = http::json(&server, "/subsz")["num_subscriptions"].as_u64().unwrap();
    churn(&server, connects / 4, seed);
    wait_alone(&server, own);
    let before = Held::by(&server);
    churn(&server, connects - connects / 4, seed + 1_000);
    wait_alone(&server, own);
    let deadline = Instant::now() + PATIENCE;
    let mut after = Held::by(&server);
    while !after.fits(before) {
        assert!(Instant::now() < deadline, "SOAK_SEED={seed}: {after:?}, once {before:?}");
        thread::yield_now();
        after = Held::by(&server);
    }
    println!("{after:?} after {connects} connects, {before:?} after a quarter of them");
    let total = http::json(&server, "/varz")["total_connections"].as_u64();
    assert!(total >= Some(connects as u64), "{total:?}");
    assert_eq!(server.stop().code(), Some(0));
}
