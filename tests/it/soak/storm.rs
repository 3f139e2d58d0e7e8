//! Tens of thousands of clients come and go in waves, and somebody listens to the events of that:
//! each is told, or dropped and counted, and nothing is left of them.
//!
//! `SOAK_CONNECTS` tells how many connects there are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::{Held, connects_from_env};
use crate::support::client::{Arrived, quiet_connect};
use crate::support::{Client, PATIENCE, Server, Which, frames};

use Which::Dialtone;

const CONNECTS: usize = 50_000;
/// Clients that log in at once, and leave at once.
const WAVE: usize = 5_000;
/// Threads of clients.
const THREADS: usize = 4;

const CONF: &str = r#"max_closed_clients: 1000, accounts {
    $SYS: { users: [{ user: sys, password: p }] }
    A: { users: [{ user: a, password: p }] }
}
"#;

/// Counted by a listener.
#[derive(Default)]
struct Told {
    connects: AtomicUsize,
    disconnects: AtomicUsize,
    /// Changes of the account.
    changes: AtomicUsize,
    /// Clients of the account by the last of them.
    clients: AtomicUsize,
}

impl Told {
    /// Events of clients.
    fn events(&self) -> usize {
        self.connects.load(Relaxed) + self.disconnects.load(Relaxed)
    }

    fn take(&self, frame: &[u8]) {
        let line = frame.split(|byte| *byte == b'\r').next().unwrap();
        match line.split(|byte| *byte == b' ').nth(2) {
            Some(b"1") => _ = self.connects.fetch_add(1, Relaxed),
            Some(b"2") => _ = self.disconnects.fetch_add(1, Relaxed),
            Some(b"3") => {
                let document: Value = serde_json::from_slice(&frame[line.len() + 2..]).unwrap();
                self.changes.fetch_add(1, Relaxed);
                self.clients.store(document["conns"].as_u64().unwrap() as usize, Relaxed);
            }
            _ => panic!("{}", frame.escape_ascii()),
        }
    }

    /// Counts until the server ends.
    fn listen(&self, mut listener: Client) {
        while listener.read_some(Instant::now() + PATIENCE) == Arrived::Bytes {
            let received = listener.take_received();
            let mut rest = &received[..];
            while let Some(len) = frames::frame_len(rest) {
                let (frame, behind) = rest.split_at(len);
                match frame {
                    b"PING\r\n" => listener.send_anyway(b"PONG\r\n"),
                    _ => self.take(frame),
                }
                rest = behind;
            }
            listener.put_back(rest);
        }
    }
}

/// A wave of clients log in; once all have, they leave.
fn wave(server: &Server) {
    let login = quiet_connect(r#""user":"a","pass":"p""#) + "PING\r\n";
    let come = || {
        let clients = (0..WAVE / THREADS).map(|_| {
            let mut client = Client::open(server);
            client.send(&login);
            client
        });
        let mut clients: Vec<Client> = clients.collect();
        clients.iter_mut().for_each(|client| client.expect("PONG\r\n"));
        clients
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(come)).collect();
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    });
}

/// The events that the log says were dropped.
fn dropped(server: &Server) -> usize {
    let count = |line: &String| {
        let (text, _) = line.split_once(" events of clients dropped")?;
        text.rsplit(' ').next()?.parse::<usize>().ok()
    };
    server.log_lines().iter().filter_map(count).sum()
}

#[test]
#[ignore = "makes tens of thousands of connections"]
fn a_storm_of_connects_is_told() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let waves = connects_from_env(CONNECTS).div_ceil(WAVE).max(4);
    let told = &Told::default();
    thread::scope(|scope| {
        // It ends in here, and with it the listener.
        let server = Server::with().conf(CONF).start(Dialtone);
        let mut listener = Client::connect(&server, r#""user":"sys","pass":"p""#);
        listener.send("SUB $SYS.ACCOUNT.A.CONNECT 1\r\nSUB $SYS.ACCOUNT.A.DISCONNECT 2\r\n");
        listener.send("SUB $SYS.ACCOUNT.A.SERVER.CONNS 3\r\n");
        listener.fence();
        scope.spawn(move || told.listen(listener));
        let mut before = None;
        for number in 1..=waves {
            wave(&server);
            let deadline = Instant::now() + PATIENCE;
            let all = || told.events() + dropped(&server) == 2 * number * WAVE;
            while !all() || told.clients.load(Relaxed) > 0 {
                assert!(Instant::now() < deadline, "{} told, {}", told.events(), dropped(&server));
                thread::yield_now();
            }
            let held = Held::by(&server);
            println!("{held:?} after wave {number}");
            if number == waves / 2 {
                before = Some(held);
            }
        }
        let changes = told.changes.load(Relaxed);
        println!("{} told, {} dropped, {changes} changes", told.events(), dropped(&server));
        println!("at most {} bytes of memory", server.memory_peak());
        assert!(Held::by(&server).fits(before.unwrap()));
        assert!(changes < waves * WAVE, "{changes} changes are told one by one");
        assert_eq!(server.stop().code(), Some(0));
    });
}
