//! Fuzz body of the mesh: operations of clients, of the network and of operators on a cluster in
//! memory, against a naive model. Clients are in two accounts, one of which imports from the other.
//!
//! After any operations: when all servers can reach each other again, each is connected to each
//! other one, and knows exactly the existing interest. From then on each message comes exactly once
//! to each plain subscriber and to one member of each queue group, and crosses no more than one
//! cable.

mod hostile;
mod nats_server;
pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::closed_reason::ClosedReason;
use crate::base::subject;
use crate::client::fuzz::with_accounts;
use crate::config::compression::{Compression, Level, Thresholds};
use crate::config::options::{
    Cluster, Export, ExportKind, Import, ImportKind, LocalSubject, Options,
};
use crate::conn::subscription::Subscription;
use crate::sublist::{Entry, Interest};

use world::{Crossing, Plan, World};

pub use hostile::fuzz_route;

const SUBJECTS: [&str; 12] =
    ["a", "b", "c.d", "a.b", "a.c", "*", "a.*", ">", "a.>", "*.b", "c.*", "c.d.e"];
const LITERALS: [&str; 6] = ["a", "b", "c.d", "a.b", "a.c", "c.d.e"];
const QUEUES: [Option<&str>; 5] = [None, None, Some("q"), Some("r"), Some("s")];

/// Clients of each server, by their accounts.
const CLIENTS: usize = 3;
const ACCOUNTS: [&str; CLIENTS] = ["A", "A", "B"];

/// The imports of B from A: their subjects there, and here.
const IMPORTS: [(&str, &str); 3] = [("a.>", "a.>"), ("c.*", "a.*"), ("b", "a.b")];

/// Messages published once the cluster has settled.
const MESSAGES: usize = 40;

/// A subscription by server, client and sid.
type Key = (usize, usize, usize);

/// Interest by server, account, subject and queue.
type Announced = (usize, &'static str, String, String);

/// A cluster and the state of its clients.
pub(crate) struct Play {
    pub(crate) world: World,
    subscriptions: BTreeMap<Key, (&'static str, Option<&'static str>)>,
    sids: usize,
    messages: usize,
    /// The subscriptions that got each message.
    arrived: BTreeMap<usize, Vec<Key>>,
    /// Messages on cables since the last check.
    crossed: Vec<Crossing>,
    /// Messages by number: the server where they were published.
    origins: BTreeMap<usize, usize>,
    /// Messages that another server has sent on, because no member of a group was left there: a
    /// subscriber outside that group may get them twice. The protocol cannot say that a message is
    /// for a group alone.
    sent_on: BTreeSet<usize>,
}

/// These options with both accounts.
fn with_imports(options: Options) -> Options {
    let mut options = with_accounts(options, &["A", "B"]);
    for (remote, local) in IMPORTS {
        options.accounts[0].exports.push(Export::new(remote, ExportKind::Stream));
        let mut import = Import::new("A", remote, ImportKind::Stream);
        import.local = LocalSubject::To(local.to_owned());
        options.accounts[1].imports.push(import);
    }
    options
}

/// The name that a subject published in one account has in another one, if it comes there.
fn seen<'a>(from: &str, to: &str, subject: &'a str) -> Option<&'a str> {
    match (from, subject) {
        _ if from == to => Some(subject),
        ("A", "a.b" | "a.c") => Some(subject),
        ("A", "c.d") => Some("a.d"),
        ("A", "b") => Some("a.b"),
        _ => None,
    }
}

/// The interest in each account by a subscription in this one.
fn interest(account: &'static str, pattern: &str) -> Vec<(&'static str, String)> {
    let mut interest = vec![(account, pattern.to_owned())];
    let imports = IMPORTS.iter().filter(|_| account == "B");
    interest.extend(imports.filter_map(|(remote, local)| {
        let both = subject::intersection(local.as_bytes(), pattern.as_bytes())?;
        let both = String::from_utf8(both).expect("both are text");
        let remote = match *remote {
            "c.*" => both.replacen('a', "c", 1),
            "b" => "b".to_owned(),
            _ => both,
        };
        Some(("A", remote))
    }));
    interest
}

/// Operations of three bytes each. The very first byte chooses the size and the settings of the
/// cluster. The bytes also seed the choice of losses and delays.
///
/// # Panics
/// If the assertions in the head of this file do not hold.
pub fn fuzz_mesh(bytes: &[u8]) {
    let Some((&shape, ops)) = bytes.split_first() else { return };
    let seed = bytes.iter().fold(0_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(*byte));
    let mut play = Play::new(2 + usize::from(shape) % 4, seed, settings(shape / 4));
    play.settle();
    for ops in ops.chunks(3 * 80).take(4) {
        for op in ops.chunks_exact(3) {
            play.act(op[0], usize::from(op[1]), usize::from(op[2]));
        }
        play.settle();
        play.publish_all();
    }
}

/// The settings of the servers of a cluster.
fn settings(shape: u8) -> fn(usize) -> Cluster {
    fn pooled(_: usize) -> Cluster {
        Cluster { ping_interval: Duration::from_secs(2), ..Cluster::default() }
    }
    fn single(index: usize) -> Cluster {
        Cluster { pool_size: None, ..pooled(index) }
    }
    fn mixed(index: usize) -> Cluster {
        let pool_size = [Some(3), None, Some(1), Some(5)][index % 4];
        Cluster { pool_size, ..pooled(index) }
    }
    fn dedicated(index: usize) -> Cluster {
        Cluster { accounts: vec!["A".to_owned()], ..pooled(index) }
    }
    fn compressed(index: usize) -> Cluster {
        let fast = Compression::S2(Level::Fast);
        let modes = [fast, Compression::Accept, Compression::Auto(Thresholds::default())];
        Cluster { compression: modes[index % 3].clone(), ..mixed(index / 3) }
    }
    let all = [pooled as fn(usize) -> Cluster, single, mixed, dedicated, compressed];
    all[usize::from(shape) % all.len()]
}

impl Play {
    /// A cluster that is about to form.
    pub(crate) fn new(count: usize, seed: u64, settings: fn(usize) -> Cluster) -> Play {
        let plan = Plan { count, settings, nats_servers: 0, listed: count };
        let world = World::new(plan, seed);
        let mut play = Play {
            world,
            subscriptions: BTreeMap::new(),
            sids: 0,
            messages: 0,
            arrived: BTreeMap::new(),
            crossed: Vec::new(),
            origins: BTreeMap::new(),
            sent_on: BTreeSet::new(),
        };
        (0..count).for_each(|server| play.welcome(server));
        play
    }

    /// Clients of a server that has just started.
    fn welcome(&mut self, server: usize) {
        for client in 0..CLIENTS {
            self.world.servers[server].bench.add();
            self.connect(server, client);
        }
    }

    fn connect(&mut self, server: usize, client: usize) {
        let user = ACCOUNTS[client];
        let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\"}}\r\n");
        self.send(server, client, &connect);
    }

    fn send(&mut self, server: usize, client: usize, lines: &str) {
        self.world.servers[server].bench.send(client, lines.as_bytes());
        self.world.reap();
    }

    /// One operation.
    fn act(&mut self, op: u8, one: usize, two: usize) {
        let count = self.world.servers.len();
        let (server, client) = (one % count, one / 16 % CLIENTS);
        match op % 32 {
            0..8 => self.subscribe(server, client, SUBJECTS[two % 12], QUEUES[two / 16 % 5]),
            8..13 => self.unsubscribe(two),
            13..17 => _ = self.publish(server, client, LITERALS[two % 6], two / 64),
            17 => self.leave(server, client),
            18..25 => self.carry(one, two * two),
            25..28 => self.world.pass(Duration::from_millis(two as u64)),
            28 if !self.world.cables.is_empty() => {
                self.world.cut(one % self.world.cables.len());
            }
            29 => {
                for server in 0..count {
                    self.world.sides[server] = two >> server & 1;
                }
            }
            30 => self.world.sides.fill(0),
            31 if two < 48 => self.restart(server),
            _ => self.world.pass(Duration::from_secs(two as u64 / 32)),
        }
        self.receive();
    }

    /// Moves some bytes on some cable.
    fn carry(&mut self, one: usize, max: usize) {
        if !self.world.cables.is_empty() {
            let at = one / 2 % self.world.cables.len();
            self.world.carry(at, one % 2, max + 1);
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        server: usize,
        client: usize,
        subject: &'static str,
        queue: Option<&'static str>,
    ) {
        self.sids += 1;
        let sid = self.sids;
        self.send(
            server,
            client,
            &format!("SUB {subject} {} {sid}\r\n", queue.unwrap_or_default()),
        );
        self.subscriptions.insert((server, client, sid), (subject, queue));
    }

    fn unsubscribe(&mut self, which: usize) {
        let nth = which % self.subscriptions.len().max(1);
        if let Some(&key) = self.subscriptions.keys().nth(nth) {
            self.subscriptions.remove(&key);
            self.send(key.0, key.1, &format!("UNSUB {}\r\n", key.2));
        }
    }

    /// Ends the connection of a client, which comes again.
    fn leave(&mut self, server: usize, client: usize) {
        let bench = &mut self.world.servers[server].bench;
        let text = bench.take(client);
        bench.close(client, ClosedReason::ClientClosed);
        bench.add();
        let last = bench.ends.len() - 1;
        bench.ends.swap(client, last);
        self.note(server, client, &text);
        self.connect(server, client);
        self.subscriptions.retain(|key, _| (key.0, key.1) != (server, client));
    }

    /// Ends a server, and starts another one in its place.
    pub(crate) fn restart(&mut self, server: usize) {
        self.receive();
        self.world.restart(server);
        self.subscriptions.retain(|key, _| key.0 != server);
        self.welcome(server);
    }

    /// Publishes one message, whose number is returned. `form` chooses its way of writing.
    fn publish(&mut self, server: usize, client: usize, subject: &str, form: usize) -> usize {
        self.messages += 1;
        let number = self.messages;
        self.origins.insert(number, server);
        let payload = format!("{number};");
        let len = payload.len();
        let lines = match form % 3 {
            0 => format!("PUB {subject} {len}\r\n{payload}\r\n"),
            1 => format!("PUB {subject} reply.to {len}\r\n{payload}\r\n"),
            _ => format!("PUB  {subject} {len} \r\n{payload}\r\n"),
        };
        self.send(server, client, &lines);
        number
    }

    /// Takes the messages for clients. Nothing comes twice to a subscription.
    fn receive(&mut self) {
        for crossing in std::mem::take(&mut self.world.crossed) {
            let number = number_of(&crossing.payload);
            if self.origins[&number] != crossing.from {
                self.sent_on.insert(number);
            }
            self.crossed.push(crossing);
        }
        for server in 0..self.world.servers.len() {
            for client in 0..CLIENTS {
                let text = self.world.servers[server].bench.take(client);
                self.note(server, client, &text);
            }
        }
    }

    fn note(&mut self, server: usize, client: usize, text: &[u8]) {
        let text = std::str::from_utf8(text).expect("all that is sent is text");
        let mut lines = text.split_terminator("\r\n");
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["MSG", _, sid, .., len] = words[..] else {
                assert!(line.starts_with("INFO "), "{line}");
                continue;
            };
            let payload = lines.next().expect("a message has a payload");
            assert_eq!(payload.len().to_string(), len, "{line}");
            let number = number_of(payload.as_bytes());
            let key = (server, client, sid.parse().expect("a sid of ours"));
            let receivers = self.arrived.entry(number).or_default();
            let twice = receivers.contains(&key) && !self.sent_on.contains(&number);
            assert!(!twice, "{number} came to {key:?} twice");
            receivers.push(key);
        }
    }

    /// Lets the mesh become whole, and compares the interest known to the servers with the truth.
    pub(crate) fn settle(&mut self) {
        self.world.settle();
        self.receive();
        self.arrived.clear();
        for server in 0..self.world.servers.len() {
            assert_eq!(self.known(server), self.truth(server), "interest known to {server}");
        }
    }

    /// The interest that one server knows of others, each with its weight.
    fn known(&self, server: usize) -> BTreeMap<Announced, u64> {
        let routes = self.world.servers[server].mesh().routes();
        let of = |cid| {
            let route = routes.iter().find(|route| route.conn.cid == cid);
            let id = &route.expect("interest comes by a route that is registered").server_id;
            self.world.servers.iter().position(|other| *other.id == **id)
        };
        let mut known = BTreeMap::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let settings = self.world.servers[server].bench.registry.settings();
        for name in ["A", "B"] {
            let account = settings.accounts.find(name.as_bytes()).expect("it is configured");
            account.with_sublist(|sublist| {
                let is_remote = |entry: &&Subscription| entry.interest() == Interest::Route;
                for remote in sublist.iter().filter(is_remote) {
                    let from = of(remote.conn().cid).expect("a server that is there");
                    let queue = text(remote.queue().unwrap_or_default());
                    let key = (from, name, text(remote.subject()), queue);
                    let before = known.insert(key.clone(), remote.weight());
                    assert_eq!(before, None, "{server} has {key:?} twice");
                }
            });
        }
        known
    }

    /// The interest that it should know.
    fn truth(&self, server: usize) -> BTreeMap<Announced, u64> {
        let mut truth = BTreeMap::new();
        for (key, (subject, queue)) in self.subscriptions.iter().filter(|(key, _)| key.0 != server)
        {
            for (account, subject) in interest(ACCOUNTS[key.1], subject) {
                let queue_name = queue.unwrap_or_default().to_owned();
                let count = truth.entry((key.0, account, subject, queue_name)).or_default();
                *count = if queue.is_some() { *count + 1 } else { 1 };
            }
        }
        truth
    }

    /// Publishes from everywhere while bytes are on their way, and checks the deliveries.
    pub(crate) fn publish_all(&mut self) {
        self.receive();
        self.crossed.clear();
        let mut published = BTreeMap::new();
        for _ in 0..MESSAGES {
            let server = self.world.random.usize(..self.world.servers.len());
            let (client, form) = (self.world.random.usize(..CLIENTS), self.world.random.usize(..3));
            let subject = LITERALS[self.world.random.usize(..LITERALS.len())];
            let number = self.publish(server, client, subject, form);
            published.insert(number, (ACCOUNTS[client], subject));
            for _ in 0..self.world.random.usize(..4) {
                let (one, max) = (self.world.random.usize(..64), self.world.random.usize(..99));
                self.carry(one, max);
            }
        }
        self.world.carry_all();
        self.receive();
        for (number, (account, subject)) in &published {
            let receivers = self.arrived.remove(number).unwrap_or_default();
            self.check_receivers(*number, account, subject, receivers);
        }
        assert_eq!(self.arrived, BTreeMap::new(), "messages that nobody published");
        self.check_hops();
    }

    fn check_receivers(&self, number: usize, from: &str, subject: &str, receivers: Vec<Key>) {
        let mut receivers: BTreeSet<Key> = receivers.into_iter().collect();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, (pattern, queue)) in &self.subscriptions {
            let seen = seen(from, ACCOUNTS[key.1], subject);
            if !seen.is_some_and(|seen| subject::matches(pattern.as_bytes(), seen.as_bytes())) {
                continue;
            }
            let got = receivers.remove(key);
            match queue {
                None => assert!(got, "{key:?} did not get {number} for {subject}"),
                Some(queue) => *groups.entry(queue).or_default() += usize::from(got),
            }
        }
        for (queue, count) in groups {
            assert_eq!(count, 1, "members of {queue} that got {number} for {subject}");
        }
        assert_eq!(receivers, BTreeSet::new(), "{number} for {subject} came there too");
    }

    /// A message leaves only the server where it was published, at most once to each other one.
    fn check_hops(&mut self) {
        let mut crossed = BTreeSet::new();
        for Crossing { from, to, payload } in self.crossed.drain(..) {
            let number = number_of(&payload);
            assert_eq!(self.origins[&number], from, "{number} crossed a second cable");
            assert!(crossed.insert((number, to)), "{number} came to {to} twice");
        }
    }
}

/// The number of a message.
fn number_of(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).ok().and_then(|text| text.strip_suffix(';'));
    text.and_then(|number| number.parse().ok()).expect("a number of ours")
}
