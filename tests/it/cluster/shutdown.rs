//! A server that stops has passed on what it confirmed, however eagerly its clients come back.

use std::collections::HashSet;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, RequestErrorKind};
use futures_util::future::join_all;

use crate::support::client::{Arrived, quiet_connect};
use crate::support::frames;
use crate::support::{Client, Cluster, Flavor, PATIENCE, Remote, Server, Which, http};

use Which::{Dialtone, Real};

/// Publishers at the server that stops.
const PUBLISHERS: usize = 8;

/// Messages between two PINGs: so many that the end comes in the middle of some.
const BATCH: usize = 200;

/// Messages that are confirmed before the server is stopped.
const BEFORE: usize = 20_000;

/// A server whose cluster is played by a test.
const ALONE: &str = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }";

/// The state shared by the publishers. A message is known by its number.
#[derive(Default)]
struct Count {
    numbers: AtomicUsize,
    confirmed: Mutex<Vec<usize>>,
    confirmed_count: AtomicUsize,
    over: AtomicBool,
}

impl Count {
    fn next(&self, count: usize) -> std::ops::Range<usize> {
        let first = self.numbers.fetch_add(count, Relaxed);
        first..first + count
    }

    fn confirm(&self, numbers: impl ExactSizeIterator<Item = usize>) {
        self.confirmed_count.fetch_add(numbers.len(), Relaxed);
        self.confirmed.lock().unwrap().extend(numbers);
    }

    #[track_caller]
    fn wait(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.confirmed_count.load(Relaxed) < count {
            assert!(Instant::now() < deadline, "{} confirmed", self.confirmed_count.load(Relaxed));
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Publishes until it is over, and comes back at once whenever the server hangs up.
fn publish(port: u16, count: &Count) {
    while !count.over.load(Relaxed) {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut client = Client::from_stream(stream);
        client.send_anyway(quiet_connect("").as_bytes());
        while !client.is_closed() {
            let numbers = count.next(BATCH);
            let lines = numbers.clone().map(|n| format!("PUB count 100\r\n{n:0100}\r\n"));
            client.send_anyway((lines.collect::<String>() + "PING\r\n").as_bytes());
            if is_answered(&mut client) {
                count.confirm(numbers);
            }
        }
    }
}

/// The PONG came before the end.
fn is_answered(client: &mut Client) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if client.received().windows(6).any(|text| text == b"PONG\r\n") {
            client.take_received();
            return true;
        }
        match client.read_some(deadline) {
            Arrived::Bytes => {}
            Arrived::Closed => return false,
            Arrived::Nothing => panic!("no answer and no end"),
        }
    }
}

/// The same with async-nats, which has no PING of its own: a request to nobody is answered by the
/// server behind what was published before.
async fn publish_by_library(url: &str, count: &Count) {
    let options = ConnectOptions::new()
        .reconnect_delay_callback(|_| Duration::from_millis(1))
        .request_timeout(Some(Duration::from_millis(500)))
        .ignore_discovered_servers();
    let client = options.connect(url).await.unwrap();
    while !count.over.load(Relaxed) {
        let numbers = count.next(10);
        for number in numbers.clone() {
            client.publish("count", number.to_string().into()).await.unwrap();
        }
        let asked = client.request("nobody", "".into()).await;
        if asked.is_err_and(|error| error.kind() == RequestErrorKind::NoResponders) {
            count.confirm(numbers);
        }
    }
}

/// Waits until nothing more comes from a server that has ended, and gives the numbers of all that
/// came.
#[track_caller]
fn arrived(server: &Server, mut subscriber: Client) -> HashSet<usize> {
    http::json_until(server, "/routez", |page| page["num_routes"] == 0);
    subscriber.send("PING\r\n");
    while !subscriber.received().ends_with(b"PONG\r\n") {
        assert_eq!(subscriber.read_some(Instant::now() + PATIENCE), Arrived::Bytes);
    }
    let mut received = subscriber.take_received();
    received.truncate(received.len() - b"PONG\r\n".len());
    let number = |frame: &&[u8]| {
        let payload = frame.strip_suffix(b"\r\n")?.rsplit(|&byte| byte == b'\n').next()?;
        std::str::from_utf8(payload).ok()?.parse().ok()
    };
    frames::split(&received).iter().filter_map(|frame| number(&&frame[..])).collect()
}

#[track_caller]
fn assert_none_lost(count: &Count, arrived: &HashSet<usize>) {
    let confirmed = count.confirmed.lock().unwrap();
    let lost = confirmed.iter().filter(|number| !arrived.contains(number)).count();
    assert_eq!(lost, 0, "of {} confirmed", confirmed.len());
}

/// Stops the server at `index` of two under publishers that come back at once.
fn stop_under_publishers(kinds: [Which; 2], index: usize, flavor: Flavor) {
    stop_under(kinds, index, flavor, BEFORE, |port, count| {
        thread::scope(|scope| {
            for _ in 0..PUBLISHERS {
                scope.spawn(|| publish(port, count));
            }
        });
    });
}

/// Stops the server at `index` of two under what `publish` does at its port, once `before` messages
/// are confirmed.
fn stop_under(
    kinds: [Which; 2],
    index: usize,
    flavor: Flavor,
    before: usize,
    publish: impl FnOnce(u16, &Count) + Send,
) {
    let mut cluster = Cluster::start(&kinds, flavor);
    let mut subscriber = Client::subscribed(&cluster.servers()[1 - index], "count");
    cluster.settle();
    let mut stopping = cluster.take(index);
    let port = stopping.port();
    let count = Count::default();
    thread::scope(|scope| {
        scope.spawn(|| publish(port, &count));
        let reads = scope.spawn(|| {
            while !count.over.load(Relaxed) {
                subscriber.read_some(Instant::now() + Duration::from_millis(10));
            }
            subscriber
        });
        count.wait(before);
        stopping.signal("TERM");
        assert_eq!(stopping.wait_exit().code(), Some(0));
        count.over.store(true, Relaxed);
        let subscriber = reads.join().unwrap();
        assert_none_lost(&count, &arrived(&cluster.servers()[0], subscriber));
    });
}

/// A server that is slow to read still gets what was confirmed, though nobody hears what it says
/// meanwhile: its connection ends, and is not reset.
#[test]
fn a_server_that_reads_late_loses_nothing() {
    const COUNT: usize = 10_000;
    let mut server = Server::with().conf(ALONE).start(Dialtone);
    let mut late = Remote::join(&server, "late");
    late.send("RS+ $G count\r\n");
    late.fence();
    let mut publisher = Client::connect(&server, "");
    publisher.send(&format!("PUB count 1000\r\n{}\r\n", "x".repeat(1000)).repeat(COUNT));
    publisher.fence();
    server.signal("TERM");
    server.wait_log("Router connection closed: Server Shutdown");
    late.send(&"PING\r\n".repeat(1000));
    let came = late.read_to_end();
    assert_eq!(came.matches("RMSG $G count ").count(), COUNT);
    drop(late);
    assert_eq!(server.wait_exit().code(), Some(0));
}

/// Somebody who reads nothing keeps neither clients nor other servers from what is theirs.
#[test]
fn a_deaf_client_holds_up_nobody() {
    let mut server = Server::with().conf(ALONE).start(Dialtone);
    let mut other = Remote::join(&server, "other");
    other.send("RS+ $G count\r\n");
    other.fence();
    let deaf = Client::subscribed(&server, "count");
    let mut publisher = Client::connect(&server, "");
    publisher.send(&format!("PUB count 1000000\r\n{}\r\n", "x".repeat(1_000_000)).repeat(20));
    publisher.fence();
    let reads = thread::spawn(move || other.read_to_end());
    server.signal("TERM");
    publisher.expect_closed();
    assert_eq!(reads.join().unwrap().matches("RMSG $G count ").count(), 20);
    assert_eq!(server.wait_exit().code(), Some(0));
    drop(deaf);
}

#[test]
fn what_is_confirmed_arrives() {
    stop_under_publishers([Dialtone, Dialtone], 0, Flavor::Default);
}

#[test]
fn what_is_confirmed_arrives_by_one_connection() {
    stop_under_publishers([Dialtone, Dialtone], 1, Flavor::Single);
}

#[test]
fn what_is_confirmed_arrives_compressed() {
    stop_under_publishers([Dialtone, Dialtone], 0, Flavor::Compressed);
}

#[test]
fn what_is_confirmed_arrives_encrypted() {
    stop_under_publishers([Dialtone, Dialtone], 0, Flavor::Encrypted);
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn what_is_confirmed_arrives_at_the_real_server() {
    stop_under_publishers([Dialtone, Real], 0, Flavor::Default);
    stop_under_publishers([Dialtone, Real], 0, Flavor::Encrypted);
    stop_under_publishers([Real, Dialtone], 1, Flavor::Single);
}

#[test]
fn what_async_nats_was_told_arrives() {
    stop_under([Dialtone, Dialtone], 0, Flavor::Default, 2_000, |port, count| {
        let url = format!("nats://127.0.0.1:{port}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let publishers = (0..PUBLISHERS).map(|_| publish_by_library(&url, count));
        runtime.block_on(join_all(publishers));
    });
}
