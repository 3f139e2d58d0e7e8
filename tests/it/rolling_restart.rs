//! A cluster of both kinds of servers, restarted one by one in lame duck mode under load: what was
//! confirmed arrives, and every server that a client is sent to takes it.
//!
//! `cargo test --test it rolling_restart` runs it. The clients do what INFO asks for: a publisher
//! moves when all it has sent is confirmed; a subscriber listens at both servers until the first
//! one closes it. So they lose nothing at all.

use std::collections::HashSet;
use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Arrived, quiet_connect};
use crate::support::{Client, Cluster, Flavor, PATIENCE, Server, Which, frames};

use Which::{Dialtone, Real};

/// The grace period is time enough for interest in a new place to reach all servers, on a machine
/// with much else to do, too.
const CONF: &str = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"5s\"\n";

const PUBLISHERS: usize = 6;
const SUBSCRIBERS: usize = 6;

/// Messages between two PINGs.
const BATCH: usize = 20;

/// Time between two batches: no subscriber falls so far behind that it hears late of a restart.
const PAUSE: Duration = Duration::from_millis(20);

/// The state shared by all clients. A message is known by its number.
#[derive(Default)]
struct Load {
    numbers: AtomicUsize,
    confirmed: Mutex<Vec<usize>>,
    /// Clients that have moved to another server.
    moves: AtomicUsize,
    /// True when publishers begin no further batch.
    is_enough: AtomicBool,
    /// True when they have confirmed their last one.
    is_over: AtomicBool,
}

impl Load {
    /// Waits until some more messages are confirmed.
    #[track_caller]
    fn wait_for_more(&self) {
        let count = || self.confirmed.lock().unwrap().len();
        let enough = count() + 50 * BATCH;
        let deadline = Instant::now() + PATIENCE;
        while count() < enough {
            assert!(Instant::now() < deadline, "{} confirmed", count());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A client that takes INFO at any time.
fn connect(port: u16) -> Client {
    let mut client = Client::open_port(port).steady();
    client.send(&format!("{}PING\r\n", quiet_connect(r#""protocol":1"#)));
    client.expect("PONG\r\n");
    let info = client.frame();
    assert!(info.starts_with(b"INFO "), "{}", info.escape_ascii());
    client
}

fn subscribe(port: u16) -> Client {
    let mut client = connect(port);
    client.send("SUB count 1\r\nPING\r\n");
    // An INFO may come at any time.
    let mut meanwhile = Vec::new();
    loop {
        let frame = client.frame();
        if frame == b"PONG\r\n" {
            break;
        }
        meanwhile.extend(frame);
    }
    client.put_back(&meanwhile);
    client
}

/// The ports in an INFO.
fn ports(info: &[u8]) -> Vec<u16> {
    let info: Value = serde_json::from_slice(&info[b"INFO ".len()..]).unwrap();
    let urls = info["connect_urls"].as_array().cloned().unwrap_or_default();
    let port = |url: &Value| url.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    urls.iter().map(port).collect()
}

/// The port of another server, if this INFO says that its own is about to stop.
fn sent_elsewhere(frame: &[u8]) -> Option<u16> {
    let is_told = frame.starts_with(b"INFO ") && frame.windows(10).any(|t| t == b"\"ldm\":true");
    is_told.then(|| *fastrand::choice(&ports(frame)).expect("there are other servers"))
}

fn publish(port: u16, load: &Load) {
    let mut client = connect(port);
    while !load.is_enough.load(Relaxed) {
        let first = load.numbers.fetch_add(BATCH, Relaxed);
        let numbers = first..first + BATCH;
        let lines = numbers.clone().map(|n| format!("PUB count 8\r\n{n:08}\r\n"));
        client.send(&(lines.collect::<String>() + "PING\r\n"));
        let mut elsewhere = None;
        loop {
            let frame = client.frame();
            if frame == b"PONG\r\n" {
                break;
            }
            elsewhere = sent_elsewhere(&frame).or(elsewhere);
        }
        load.confirmed.lock().unwrap().extend(numbers);
        if let Some(port) = elsewhere {
            client = connect(port);
            load.moves.fetch_add(1, Relaxed);
        }
        thread::sleep(PAUSE);
    }
}

/// The numbers of all that comes until everything that is confirmed has come.
fn listen(mut client: Client, load: &Load) -> HashSet<usize> {
    let mut left: Option<Client> = None;
    let mut came = HashSet::new();
    let mut deadline = None;
    loop {
        if let Some(port) = take(&mut client, &mut came) {
            let new = subscribe(port);
            assert!(left.replace(mem::replace(&mut client, new)).is_none(), "one at a time");
            load.moves.fetch_add(1, Relaxed);
        }
        if let Some(old) = &mut left {
            take(old, &mut came);
            left.take_if(|old| old.is_closed());
        }
        if load.is_over.load(Relaxed) {
            let has_all = load.confirmed.lock().unwrap().iter().all(|number| came.contains(number));
            let late = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE) < Instant::now();
            if has_all || late {
                return came;
            }
        }
    }
}

/// Takes what has come to a subscriber. Returns the port of another server if it is sent there.
fn take(client: &mut Client, came: &mut HashSet<usize>) -> Option<u16> {
    if client.read_some(Instant::now() + Duration::from_millis(1)) != Arrived::Bytes {
        return None;
    }
    let mut elsewhere = None;
    let received = client.take_received();
    let mut rest = &received[..];
    while let Some(len) = frames::frame_len(rest) {
        let (frame, behind) = rest.split_at(len);
        if frames::is_message(frame) {
            let payload = &frame[len - "00000000\r\n".len()..len - "\r\n".len()];
            came.insert(std::str::from_utf8(payload).unwrap().parse().unwrap());
        } else if frame == b"PING\r\n" {
            client.send_anyway(b"PONG\r\n");
        }
        elsewhere = sent_elsewhere(frame).or(elsewhere);
        rest = behind;
    }
    client.put_back(rest);
    elsewhere
}

/// Restarts the servers in turn, each once all others know that the last one is back.
fn restart_in_turn(kinds: &[Which]) {
    let mut cluster = Cluster::start_with(kinds, Flavor::Default, CONF);
    let client_ports: Vec<u16> = cluster.servers().iter().map(Server::port).collect();
    let port_of = |at: usize| client_ports[at % client_ports.len()];
    let load = &Load::default();
    let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|at| subscribe(port_of(at))).collect();
    cluster.settle();
    thread::scope(|scope| {
        let listening = subscribers.into_iter();
        let listening: Vec<_> =
            listening.map(|client| scope.spawn(move || listen(client, load))).collect();
        let publishing = (0..PUBLISHERS).map(port_of);
        let publishing: Vec<_> =
            publishing.map(|port| scope.spawn(move || publish(port, load))).collect();
        for at in 0..kinds.len() {
            load.wait_for_more();
            cluster.servers()[at].signal("USR2");
            cluster.restart(at);
            cluster.wait_routes();
            cluster.settle();
        }
        load.wait_for_more();
        load.is_enough.store(true, Relaxed);
        publishing.into_iter().for_each(|publishing| publishing.join().expect("it goes on"));
        load.is_over.store(true, Relaxed);
        let confirmed = load.confirmed.lock().unwrap().clone();
        for listening in listening {
            let came = listening.join().expect("it goes on");
            let lost = confirmed.iter().filter(|number| !came.contains(number)).count();
            assert_eq!(lost, 0, "of {} confirmed", confirmed.len());
        }
    });
    let moves = load.moves.load(Relaxed);
    assert!(moves >= PUBLISHERS + SUBSCRIBERS, "{moves} moves");
    assert_eq!(cluster.complaints(), [""; 0]);
}

test_of! { a_mixed_cluster [Dialtone Real] {
    restart_in_turn(&[Dialtone, Real, Dialtone]);
}}

#[test]
fn a_cluster_of_dialtones() {
    restart_in_turn(&[Dialtone; 3]);
}
