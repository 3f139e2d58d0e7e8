//! A running cluster whose servers are replaced one by one, under load: clients that move before
//! their server goes lose nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use crate::support::client::quiet_connect;
use crate::support::{Client, Cluster, Flavor, PATIENCE, Server, Which};

use Which::{Dialtone, Real};

macro_rules! replacements {
    ($($name:ident: $flavor:ident [$($from:ident),*] by [$($to:ident),*];)*) => {$(
        test_of! { $name [$($from)* $($to)*] {
            replaces_all(&[$($from),*], &[$($to),*], Flavor::$flavor);
        } }
    )*};
}

replacements! {
    real_by_dialtone: Default [Real, Real, Real] by [Dialtone, Dialtone, Dialtone];
    dialtone_by_real: Default [Dialtone, Dialtone, Dialtone] by [Real, Real, Real];
    dialtone_by_dialtone: Single [Dialtone, Dialtone] by [Dialtone, Dialtone];
    real_by_dialtone_single: Single [Real, Real] by [Dialtone, Dialtone];
    real_by_dialtone_authorized: Authorized [Real, Real] by [Dialtone, Dialtone];
    real_by_dialtone_compressed: Compressed [Real, Real] by [Dialtone, Dialtone];
    real_by_dialtone_encrypted: Encrypted [Real, Real] by [Dialtone, Dialtone];
    real_by_real: Default [Real, Real, Real] by [Real, Real, Real];
}

/// A client library that was told of one server goes on at another when that one is gone, from
/// either kind to the other.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn a_client_library_goes_on_elsewhere() {
    for kinds in [[Real, Dialtone], [Dialtone, Real]] {
        let mut cluster = Cluster::start(&kinds, Flavor::Default);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = cluster.servers()[0].url();
        let test = async {
            let client = async_nats::connect(url).await.unwrap();
            let mut messages = client.subscribe("a").await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(cluster.take(0).stop().code(), Some(0));
            let mut publisher = connect(cluster.servers()[0].port());
            loop {
                publisher.send("PUB a 2\r\nhi\r\n");
                let next = tokio::time::timeout(Duration::from_millis(20), messages.next());
                if let Ok(message) = next.await {
                    return message.expect("the subscription goes on");
                }
            }
        };
        let message = runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await });
        assert_eq!(message.expect("in time").payload, "hi");
    }
}

/// Publishes numbered messages until stopped, at the server of that port.
struct Publisher {
    name: &'static str,
    port: AtomicU16,
    /// Its port when everything published there was last handled.
    seen_port: AtomicU16,
    stop: AtomicBool,
}

impl Publisher {
    const BATCH: usize = 10;
    /// So that a slow machine keeps up, too; ten thousand messages a second at most.
    const PAUSE: Duration = Duration::from_millis(1);

    fn start(name: &'static str, server: &Server) -> (&'static Publisher, JoinHandle<usize>) {
        let port = server.port();
        let publisher: &'static Publisher = Box::leak(Box::new(Publisher {
            name,
            port: port.into(),
            seen_port: 0.into(),
            stop: false.into(),
        }));
        (publisher, thread::spawn(|| publisher.run()))
    }

    /// Publishes; returns the number of messages.
    fn run(&self) -> usize {
        let mut client = None;
        let mut next = 0;
        while !self.stop.load(SeqCst) {
            let wanted = self.port.load(SeqCst);
            if client.is_none() || wanted != self.seen_port.load(SeqCst) {
                client = Some(connect(wanted));
                self.seen_port.store(wanted, SeqCst);
            }
            let client = client.as_mut().expect("just connected");
            for number in next..next + Publisher::BATCH {
                let payload = format!("{number:08}");
                client.send(&format!("PUB count.{} 8\r\n{payload}\r\n", self.name));
            }
            next += Publisher::BATCH;
            client.fence();
            thread::sleep(Publisher::PAUSE);
        }
        next
    }

    /// Moves it to another server, and waits until it is there.
    fn move_to(&self, server: &Server) {
        self.port.store(server.port(), SeqCst);
        let deadline = Instant::now() + PATIENCE;
        while self.seen_port.load(SeqCst) != server.port() {
            assert!(Instant::now() < deadline, "publisher {} does not move", self.name);
            thread::sleep(Publisher::PAUSE);
        }
    }
}

fn connect(port: u16) -> Client {
    let mut client = Client::open_port(port).steady();
    client.send(&quiet_connect(""));
    client.fence();
    client
}

/// Counts its messages, over all its connections.
struct Subscriber {
    /// The server whose replacement makes it move.
    home: usize,
    client: Client,
    /// Messages over this connection.
    seen: BTreeSet<Vec<u8>>,
    /// Messages over those before.
    before: BTreeSet<Vec<u8>>,
}

impl Subscriber {
    fn new(home: usize, server: &Server) -> Subscriber {
        let mut client = connect(server.port());
        client.send("SUB count.* 1\r\n");
        let mut subscriber =
            Subscriber { home, client, seen: BTreeSet::new(), before: BTreeSet::new() };
        subscriber.fence();
        subscriber
    }

    /// All that was sent before is handled.
    fn fence(&mut self) {
        self.client.send("PING\r\n");
        loop {
            let frame = self.client.frame();
            if frame == b"PONG\r\n" {
                return;
            }
            assert!(self.seen.insert(frame.clone()), "{} came twice", frame.escape_ascii());
        }
    }

    /// Goes on as `other`, after everything that belongs to it was read.
    fn become_other(&mut self, other: Subscriber) {
        self.client.send("UNSUB 1\r\n");
        self.fence();
        let left = std::mem::replace(self, other);
        self.before = left.before;
        self.before.extend(left.seen);
    }
}

fn replaces_all(from: &[Which], to: &[Which], flavor: Flavor) {
    let mut cluster = Cluster::start(from, flavor);
    let mut subscribers: Vec<Subscriber> = cluster
        .servers()
        .iter()
        .enumerate()
        .map(|(home, server)| Subscriber::new(home, server))
        .collect();
    cluster.settle();
    let publishers = ["a", "b"].map(|name| Publisher::start(name, &cluster.servers()[0]));
    publishers[1].0.move_to(&cluster.servers()[1]);
    for (index, &which) in to.iter().enumerate() {
        let elsewhere = (index + 1) % to.len();
        let server = &cluster.servers()[elsewhere];
        let moved: Vec<usize> =
            (0..subscribers.len()).filter(|&at| subscribers[at].home == index).collect();
        let others: Vec<Subscriber> =
            moved.iter().map(|_| Subscriber::new(elsewhere, server)).collect();
        for (publisher, _) in &publishers {
            publisher.move_to(server);
        }
        // The others know of the new place before the old one is left.
        cluster.settle();
        for (at, other) in moved.into_iter().zip(others) {
            subscribers[at].become_other(other);
        }
        cluster.replace(index, which);
        cluster.settle();
    }
    for (publisher, _) in &publishers {
        publisher.stop.store(true, SeqCst);
    }
    let counts = publishers.map(|(publisher, thread)| (publisher.name, thread.join().unwrap()));
    cluster.settle();
    for mut subscriber in subscribers {
        subscriber.fence();
        let mut seen = &subscriber.before | &subscriber.seen;
        for (name, count) in counts {
            for number in 0..count {
                let frame = format!("MSG count.{name} 1 8\r\n{number:08}\r\n");
                assert!(seen.remove(frame.as_bytes()), "{frame:?} of {count} is lost");
            }
        }
        assert!(seen.is_empty());
    }
}
