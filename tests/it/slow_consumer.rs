//! Subscribers that do not read: closed, logged, counted, and nobody else loses anything.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::liveness::closed_by_port;
use crate::support::client::Arrived;
use crate::support::{Client, PATIENCE, Remote, Server, Which, frames, http};

/// A message large enough that few of them fill the kernel's buffers.
const PAYLOAD_LEN: usize = 100_000;

fn message(subject: &str) -> String {
    format!("PUB {subject} {PAYLOAD_LEN}\r\n{}\r\n", "x".repeat(PAYLOAD_LEN))
}

/// A client that has published `count` messages; the server has handled all of them.
fn publish(server: &Server, subject: &str, count: usize) -> Client {
    let mut publisher = Client::connect(server, "");
    for _ in 0..count {
        publisher.send(&message(subject));
    }
    publisher.fence();
    publisher
}

/// The number of messages before the answer to a PING.
fn count_messages(client: &mut Client) -> usize {
    client.send("PING\r\n");
    let mut count = 0;
    loop {
        let frame = client.frame();
        if frame == b"PONG\r\n" {
            return count;
        }
        count += usize::from(frames::is_message(&frame));
    }
}

/// Reads on its own thread until `count` messages have come; returns their number. It only counts
/// bytes, so that a test in a busy machine reads as fast as a client does.
fn healthy(server: &Server, subject: &str, count: usize) -> thread::JoinHandle<usize> {
    let mut client = Client::subscribed(server, subject);
    let frame_len = format!("MSG {subject} 1 {PAYLOAD_LEN}\r\n").len() + PAYLOAD_LEN + 2;
    thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        let mut len = 0;
        while len < count * frame_len && client.read_some(deadline) == Arrived::Bytes {
            len += client.take_received().len();
        }
        len / frame_len
    })
}

for_both! {
    fn over_max_pending(which) {
        const COUNT: usize = 400;
        let conf = "max_pending: 1MB\nmax_payload: 512KB\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let mut never_reads = Client::subscribed(&server, "slow");
        let other = healthy(&server, "slow", COUNT);
        let mut publisher = Client::connect(&server, "");
        for _ in 0..COUNT {
            publisher.send(&message("slow"));
            publisher.fence();
        }
        assert_eq!(other.join().unwrap(), COUNT, "the healthy one has lost messages");
        let line = server.wait_log("Slow Consumer Detected: MaxPending of ");
        assert!(line.ends_with("Exceeded"), "{line}");
        for part in [format!("127.0.0.1:{}", never_reads.local_port()), "cid:".to_owned()] {
            assert!(line.contains(&part), "{part} in {line}");
        }
        let closed = closed_by_port(&server, never_reads.local_port());
        assert_eq!(closed["reason"], "Slow Consumer (Pending Bytes)");
        let varz = http::json(&server, "/varz");
        assert_eq!(varz["slow_consumers"], 1);
        assert_eq!(varz["slow_consumer_stats"]["clients"], 1);
        let rest = never_reads.read_to_end();
        assert!(!rest.ends_with(b"-ERR 'Slow Consumer'\r\n"));
    }

    /// Who publishes to itself, and faster than it reads, waits for itself and loses nothing.
    fn who_is_behind_itself_is_paced(which) {
        publish_to_itself(which, 1, 100_000, 1000);
    }

    fn past_the_write_deadline(which) {
        let conf = "write_deadline: \"300ms\"\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let never_reads = Client::subscribed(&server, "late");
        let mut publisher = publish(&server, "late", 200);
        server.wait_log("Slow Consumer Detected: WriteDeadline of 300ms exceeded with ");
        let closed = closed_by_port(&server, never_reads.local_port());
        assert_eq!(closed["reason"], "Slow Consumer (Write Deadline)");
        let varz = http::json(&server, "/varz");
        assert_eq!(varz["slow_consumers"], 1);
        publisher.fence();
    }

    /// Who takes a little within each deadline may stay, and is counted each time.
    fn a_subscriber_that_moves_is_forgiven(which) {
        const COUNT: usize = 200;
        let conf = "write_deadline: \"200ms\"\nwrite_timeout: retry\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let mut slow = Client::subscribed(&server, "crawl");
        let _publisher = publish(&server, "crawl", COUNT);
        let mut len = 0;
        let is_late = |line: &&String| line.contains("WriteDeadline of 200ms exceeded with ");
        // A reader that crawls, past several deadlines.
        while server.log_lines().iter().filter(is_late).count() < 2 {
            assert_eq!(slow.read_some(Instant::now() + PATIENCE), Arrived::Bytes);
            len += slow.take_received().len();
            thread::sleep(Duration::from_millis(20));
        }
        let frame_len = format!("MSG crawl 1 {PAYLOAD_LEN}\r\n").len() + PAYLOAD_LEN + 2;
        let deadline = Instant::now() + PATIENCE;
        while len < COUNT * frame_len && slow.read_some(deadline) == Arrived::Bytes {
            len += slow.take_received().len();
        }
        assert!(len >= COUNT * frame_len, "{len}: not all of it came");
        server.wait_log("Slow Consumer Recovered: Flush took ");
        assert!(http::json(&server, "/varz")["slow_consumers"].as_u64() > Some(0));
        slow.fence();
    }

    /// Each deadline that it misses counts among all; among the routes it counts once, until it has
    /// recovered.
    fn a_route_that_crawls_is_one_slow_route(which) {
        let conf = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1\n\
                    write_deadline: \"500ms\" }\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let mut remote = Remote::join(&server, "r");
        remote.send("RS+ $G crawl\r\n");
        remote.fence();
        let lines = |text: &str| server.log_lines().iter().filter(|l| l.contains(text)).count();
        thread::scope(|scope| {
            let publisher = scope.spawn(|| publish(&server, "crawl", 600));
            let deadline = Instant::now() + PATIENCE;
            // A reader that crawls, from the first message on.
            while lines("Slow Consumer State: WriteDeadline of 500ms exceeded with ") == 0 {
                assert_eq!(remote.line.read_some(deadline), Arrived::Bytes);
                thread::sleep(Duration::from_millis(5));
            }
            publisher.join().unwrap();
            remote.send("PING\r\n");
            while !remote.line.received().ends_with(b"PONG\r\n") {
                assert_eq!(remote.line.read_some(deadline), Arrived::Bytes);
                if remote.line.received().ends_with(b"\r\nPING\r\n") {
                    remote.send("PING\r\n");
                }
            }
        });
        let (detected, still) = (lines("Slow Consumer Detected"), lines("Slow Consumer State"));
        let varz = http::json(&server, "/varz");
        assert_eq!(varz["slow_consumers"], detected + still);
        assert_eq!(varz["slow_consumer_stats"]["routes"], detected);
        assert_eq!(varz["slow_consumer_stats"]["clients"], 0);
    }

    /// Forgiving is for those who take something.
    fn who_never_reads_is_not_forgiven(which) {
        let conf = "write_deadline: \"200ms\"\nwrite_timeout: retry\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let never_reads = Client::subscribed(&server, "late");
        let _publisher = publish(&server, "late", 200);
        let closed = closed_by_port(&server, never_reads.local_port());
        assert_eq!(closed["reason"], "Slow Consumer (Write Deadline)");
    }

    /// Publishers wait a little for a subscriber that lags; nothing is lost to it.
    fn a_lagging_subscriber_slows_its_publisher(which) {
        const COUNT: usize = 300;
        let conf = "max_pending: 8MB\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let reader = healthy(&server, "lag", COUNT);
        let _publisher = publish(&server, "lag", COUNT);
        assert_eq!(reader.join().unwrap(), COUNT);
        assert_eq!(http::json(&server, "/varz")["slow_consumers"], 0);
    }

    fn pauses_of_publishers_are_counted(which) {
        let conf = "max_pending: 4MB\nmax_payload: 512KB\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let mut slow = Client::subscribed(&server, "stall");
        let mut publisher = Client::connect(&server, "");
        let stalled = || http::json(&server, "/varz")["stalled_clients"].as_u64().unwrap();
        let mut count = 0;
        while stalled() == 0 {
            publisher.send(&message("stall"));
            publisher.fence();
            count += 1;
            assert!(count < 500, "it has never paused");
        }
        // Ours pauses once, for as long as it may; the real one by halves of that.
        if which == Which::Dialtone {
            server.wait_log("Producer was stalled for a total of ");
        }
        let seen = count_messages(&mut slow);
        assert_eq!(seen, count);
        assert_eq!(http::json(&server, "/varz")["slow_consumers"], 0);
        let connz = http::json(&server, "/connz?sort=cid");
        assert!(connz["connections"][0]["stalls"].as_u64() > Some(0), "{connz:#}");
    }

    /// Without the stall, what does not fit is dropped for that subscriber, which stays.
    fn no_fast_producer_stall_drops(which) {
        const COUNT: usize = 300;
        let conf = "max_pending: 1MB\nmax_payload: 512KB\nno_fast_producer_stall: true\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let mut slow = Client::subscribed(&server, "drop");
        let mut publisher = Client::connect(&server, "");
        for _ in 0..COUNT {
            publisher.send(&message("drop"));
            publisher.fence();
        }
        let seen = count_messages(&mut slow);
        assert!(seen > 0 && seen < COUNT, "{seen} of {COUNT}");
        assert_eq!(http::json(&server, "/varz")["slow_consumers"], 0);
    }
}

/// One message to many subscriptions of one client takes several turns, and is not paused for in
/// each of them only because it is begun.
#[test]
fn who_is_behind_itself_is_paced_with_many_subscriptions() {
    publish_to_itself(Which::Dialtone, 2_000, 300, 100);
}

/// A client with `subscriptions` on one subject publishes to it, and reads some 30 MB/s at most.
fn publish_to_itself(which: Which, subscriptions: usize, messages: usize, len: usize) {
    const BATCH: usize = 100;
    let server = Server::with().conf("max_pending: 16MB\n").monitored().start(which);
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let mut writer = Client::from_stream(stream.try_clone().unwrap());
    let mut reader = Client::from_stream(stream);
    reader.frame();
    writer.send("CONNECT {\"verbose\":false}\r\n");
    writer.send(&(0..subscriptions).map(|sid| format!("SUB own {sid:04}\r\n")).collect::<String>());
    writer.send("PING\r\n");
    reader.expect("PONG\r\n");
    let message = format!("PUB own {len}\r\n{}\r\n", "x".repeat(len));
    let publishing = thread::spawn(move || {
        let some = message.repeat(BATCH);
        (0..messages / BATCH).for_each(|_| writer.send(&some));
        writer
    });
    let frame_len = format!("MSG own 0000 {len}\r\n").len() + len + 2;
    let mut read_len = 0;
    while read_len < messages * subscriptions * frame_len {
        assert_eq!(reader.read_some(Instant::now() + PATIENCE), Arrived::Bytes, "after {read_len}");
        read_len += reader.take_received().len();
        thread::sleep(Duration::from_millis(2));
    }
    publishing.join().unwrap();
    assert_eq!(http::json(&server, "/varz")["slow_consumers"], 0);
}
