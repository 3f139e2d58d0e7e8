//! A whole server without sockets and tasks: the bytes of a read through parser, machine, delivery
//! and commit to wires that take everything and keep nothing.
//!
//! One operation is one message delivered, or published to no receiver or one member of a group;
//! one SUB or UNSUB for `churn`; one round trip for `requests`.

use std::io::{self, IoSlice};
use std::sync::Arc;

use dialtone::Options;
use dialtone::config::{
    AccountOptions, ConnectionType, Credential, Export, ExportKind, Import, ImportKind,
    LocalSubject, Login, MappingDestination, SubjectMapping, User,
};
use dialtone::internals::{
    Checked, Client, Conn, Delivery, Kind, Left, Machine, Mesh, Registry, Role, Route, ServerId,
    Session, Step, Wire,
};

use super::stream::{self, SUBJECT};
use super::{Prepared, READ_LEN, sublist};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";

/// The first lines of another server.
const JOIN: &str = "CONNECT {\"name\":\"NOTHER\",\"cluster\":\"plant\",\"headers\":true}\r\n\
INFO {\"server_id\":\"NOTHER\",\"server_name\":\"other\",\"cluster\":\"plant\",\
\"headers\":true}\r\n";

/// A subject beside the usual one.
const OTHER: &str = "plant.line.7.pressure";

/// The server and its clients by number.
struct Bus {
    registry: Arc<Registry>,
    delivery: Delivery,
    clients: Vec<Session<Client>>,
}

/// A socket that is never full.
struct Open;

impl Wire for Open {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

impl Bus {
    fn new(clients: usize) -> Bus {
        Bus::of(Options::default(), clients)
    }

    /// A server with these options, and clients that log in as nobody.
    fn of(options: Options, clients: usize) -> Bus {
        let mut bus = Bus::with(options);
        (0..clients).for_each(|_| bus.log_in(CONNECT));
        bus
    }

    /// A server with these options, without clients.
    fn with(mut options: Options) -> Bus {
        let server_id = ServerId::new(&format!("N{}", "A".repeat(55))).expect("of the right shape");
        let checked =
            Checked::new(&mut options, None).expect("the options of a workload can be started");
        let registry = Arc::new(Registry::new(server_id, checked));
        let delivery = Delivery::new(&registry);
        Bus { registry, delivery, clients: Vec::new() }
    }

    /// Adds a client.
    fn log_in(&mut self, connect: &str) {
        self.add();
        self.read(self.clients.len() - 1, connect.as_bytes());
    }

    fn connect(&self, kind: Kind) -> Arc<Conn> {
        let now = self.delivery.now;
        self.registry.add(|cid, slot| Conn::new(cid, kind, slot, None, now, Arc::new(Open)))
    }

    fn add(&mut self) {
        let (registry, conn) = (Arc::clone(&self.registry), self.connect(Kind::Client));
        let client = Client::new(registry, conn, ConnectionType::Standard, "".into());
        self.clients.push(Session::new(client, &self.delivery.settings));
    }

    /// Another server, whose clients subscribe to `subjects`.
    fn join(&mut self, subjects: &[&str]) -> Session<Route> {
        let mesh = Mesh::new(Arc::clone(&self.registry), 1);
        let (registry, conn) = (Arc::clone(&self.registry), self.connect(Kind::Route));
        let route = Route::new(registry, mesh, conn, Role::Accepted);
        let mut other = Session::new(route, &self.delivery.settings);
        let interest = subjects.iter().map(|subject| format!("RS+ $G {subject}\r\n"));
        let lines = JOIN.to_owned() + &interest.collect::<String>();
        read(&mut other, lines.as_bytes(), &mut self.delivery);
        other
    }

    /// Handles bytes of client `at`, as its task would.
    fn read(&mut self, at: usize, input: &[u8]) {
        read(&mut self.clients[at], input, &mut self.delivery);
    }

    fn subscribe(&mut self, at: usize, subject: &str, sid: usize) {
        self.read(at, format!("SUB {subject} {sid}\r\n").as_bytes());
    }

    fn out_msgs(&self) -> u64 {
        self.delivery.counters.out_msgs.load()
    }

    /// `call` with the check that each call delivers `delivered` messages.
    fn prepared(
        mut self,
        ops: usize,
        delivered: usize,
        mut call: impl FnMut(&mut Bus) + 'static,
    ) -> Prepared {
        Prepared::new(ops, move || {
            let before = self.out_msgs();
            call(&mut self);
            assert_eq!(self.out_msgs() - before, delivered as u64);
        })
    }
}

/// Handles bytes of the other side, as the task of the connection would.
fn read<M: Machine>(session: &mut Session<M>, input: &[u8], delivery: &mut Delivery) {
    for mut read in input.chunks(READ_LEN) {
        while session.step(&mut read, delivery).expect("nothing is forbidden") != Step::Missing {
            if delivery.staging.is_full() {
                delivery.commit(session.machine.conn());
            }
        }
        while session.resume(None, delivery).expect("nothing is forbidden") == Left::More {}
        delivery.commit(session.machine.conn());
        if delivery.has_left() {
            for unwritten in delivery.staging.take_unwritten() {
                delivery.staging.write(&unwritten);
            }
        }
    }
}

/// One publisher; `subscribers` get each of its messages.
pub(super) fn fan_out(subscribers: usize, len: usize, messages: usize) -> Prepared {
    let mut bus = Bus::new(1 + subscribers);
    for at in 1..=subscribers {
        bus.subscribe(at, SUBJECT, 1);
    }
    let input = stream::publication(SUBJECT, "", len).repeat(messages);
    let delivered = messages * subscribers;
    bus.prepared(delivered.max(messages), delivered, move |bus| bus.read(0, &input))
}

/// One to one, each message of another size than the one before.
pub(super) fn sizes() -> Prepared {
    one_to_one(|n| stream::publication(SUBJECT, "", 96 + n % 64))
}

/// One to one, each message on another subject than the one before.
pub(super) fn in_turns() -> Prepared {
    one_to_one(|n| stream::publication(if n % 2 == 0 { SUBJECT } else { OTHER }, "", 128))
}

/// One to one, on subjects that are mapped to those of `one_to_one`.
pub(super) fn mapped() -> Prepared {
    one_mapped_to_one(|_| SUBJECT)
}

/// The same, each message on another subject than the one before.
pub(super) fn mapped_in_turns() -> Prepared {
    one_mapped_to_one(|n| if n % 2 == 0 { SUBJECT } else { OTHER })
}

/// One to one, with headers that the subscriber takes.
pub(super) fn headers() -> Prepared {
    one_to_one(|_| stream::with_headers(SUBJECT, 128))
}

fn one_to_one(message: impl FnMut(usize) -> Vec<u8>) -> Prepared {
    one_to_one_of(Bus::new(2), message)
}

fn one_mapped_to_one(subject: impl Fn(usize) -> &'static str) -> Prepared {
    let destination = MappingDestination::new("plant.$1.7.$2");
    let mapping = SubjectMapping::new("plant.old.*.*").with(destination);
    let mut options = Options::default();
    options.mappings.push(mapping);
    let old = |n| subject(n).replace("plant.line.7", "plant.old.line");
    one_to_one_of(Bus::of(options, 2), move |n| stream::publication(&old(n), "", 128))
}

fn one_to_one_of(mut bus: Bus, message: impl FnMut(usize) -> Vec<u8>) -> Prepared {
    const MESSAGES: usize = 1000;
    bus.subscribe(1, "plant.line.7.*", 1);
    let input: Vec<u8> = (0..MESSAGES).flat_map(message).collect();
    bus.prepared(MESSAGES, MESSAGES, move |bus| bus.read(0, &input))
}

/// One publisher whose only subscribers are on another server.
pub(super) fn to_route() -> Prepared {
    const MESSAGES: usize = 1000;
    let mut bus = Bus::new(1);
    let other = bus.join(&[SUBJECT]);
    let input = stream::publication(SUBJECT, "", 128).repeat(MESSAGES);
    bus.prepared(MESSAGES, MESSAGES, move |bus| {
        bus.read(0, &input);
        assert!(!other.machine.conn().is_closed());
    })
}

/// A publisher on another server and `subscribers` here.
pub(super) fn from_route(subscribers: usize) -> Prepared {
    const MESSAGES: usize = 1000;
    let mut bus = Bus::new(subscribers);
    for at in 0..subscribers {
        bus.subscribe(at, SUBJECT, 1);
    }
    let mut other = bus.join(&[]);
    let input = stream::routed(SUBJECT, 128).repeat(MESSAGES);
    let delivered = MESSAGES * subscribers;
    bus.prepared(delivered, delivered, move |bus| {
        read(&mut other, &input, &mut bus.delivery);
    })
}

/// One publisher; `subscribers` in an account that imports its messages get each one.
pub(super) fn imported(subscribers: usize, messages: usize) -> Prepared {
    let user = |name: &str| {
        let password = Credential::Password { user: name.to_owned(), password: String::new() };
        let mut user = User::new(password);
        user.account = Some(name.to_owned());
        user
    };
    let (mut exporter, mut importer) = (AccountOptions::new("A"), AccountOptions::new("B"));
    exporter.exports.push(Export::new("plant.>", ExportKind::Stream));
    let mut import = Import::new("A", "plant.>", ImportKind::Stream);
    import.local = LocalSubject::Prefix("A".to_owned());
    importer.imports.push(import);
    let mut options = Options::default();
    options.accounts = vec![exporter, importer];
    options.authorization.login = Login::Users(vec![user("A"), user("B")]);
    let connect = |name: &str| CONNECT.replace('{', &format!("{{\"user\":\"{name}\","));
    let mut bus = Bus::with(options);
    bus.log_in(&connect("A"));
    for at in 1..=subscribers {
        bus.log_in(&connect("B"));
        bus.subscribe(at, &format!("A.{SUBJECT}"), 1);
    }
    let input = stream::publication(SUBJECT, "", 128).repeat(messages);
    let delivered = messages * subscribers;
    let calls = 1000 / messages;
    bus.prepared(calls * delivered, calls * delivered, move |bus| {
        (0..calls).for_each(|_| bus.read(0, &input));
    })
}

/// One of ten gets each message.
pub(super) fn queue_group() -> Prepared {
    const MESSAGES: usize = 1000;
    let mut bus = Bus::new(11);
    for at in 1..=10 {
        bus.read(at, format!("SUB {SUBJECT} workers 1\r\n").as_bytes());
    }
    let input = stream::publication(SUBJECT, "", 128).repeat(MESSAGES);
    bus.prepared(MESSAGES, MESSAGES, move |bus| bus.read(0, &input))
}

/// A message to each of 100,000 subscriptions of ten connections: more than a cache holds.
pub(super) fn subjects() -> Prepared {
    const SUBJECTS: usize = 100_000;
    let mut bus = Bus::new(11);
    for n in 0..SUBJECTS {
        bus.subscribe(1 + n % 10, &sublist::literal(n), n);
    }
    let message = |n| stream::publication(&sublist::literal(n), "", 16);
    let order = (0..SUBJECTS).map(|n| stream::scattered(n, SUBJECTS));
    let input: Vec<u8> = order.flat_map(message).collect();
    bus.prepared(SUBJECTS, SUBJECTS, move |bus| bus.read(0, &input))
}

/// One to one, every message a read of its own.
pub(super) fn one_per_read() -> Prepared {
    const MESSAGES: usize = 1000;
    let mut bus = Bus::new(2);
    bus.subscribe(1, SUBJECT, 1);
    let input = stream::publication(SUBJECT, "", 128);
    bus.prepared(MESSAGES, MESSAGES, move |bus| (0..MESSAGES).for_each(|_| bus.read(0, &input)))
}

/// Requests on a wildcard inbox with a token per request, `outstanding` of them in each read.
pub(super) fn requests(outstanding: usize) -> Prepared {
    const REQUESTS: usize = 10_000;
    let mut bus = Bus::new(2);
    bus.subscribe(0, "_INBOX.mJ3vQ8sR2tL5wX9yB4nC7d.*", 1);
    bus.subscribe(1, SUBJECT, 1);
    let inbox = |n| format!("_INBOX.mJ3vQ8sR2tL5wX9yB4nC7d.{n:08x}");
    let reads = |line: &dyn Fn(usize) -> Vec<u8>| -> Vec<Vec<u8>> {
        let lines: Vec<Vec<u8>> = (0..REQUESTS).map(line).collect();
        lines.chunks(outstanding).map(|read| read.concat()).collect()
    };
    let requests = reads(&|n| stream::publication(SUBJECT, &inbox(n), 128));
    let replies = reads(&|n| stream::publication(&inbox(n), "", 128));
    bus.prepared(REQUESTS, 2 * REQUESTS, move |bus| {
        for (request, reply) in requests.iter().zip(&replies) {
            bus.read(0, request);
            bus.read(1, reply);
        }
    })
}

/// 2,000 clients send one message each to 5 subscribers of all of them.
pub(super) fn heartbeats() -> Prepared {
    const CLIENTS: usize = 2000;
    const MONITORS: usize = 5;
    let mut bus = Bus::new(CLIENTS + MONITORS);
    for at in CLIENTS..CLIENTS + MONITORS {
        bus.subscribe(at, "hb.>", 1);
    }
    let beat = |n| stream::publication(&format!("hb.room{}.{n}", n % 20), "", 32);
    let beats: Vec<Vec<u8>> = (0..CLIENTS).map(beat).collect();
    bus.prepared(CLIENTS * MONITORS, CLIENTS * MONITORS, move |bus| {
        beats.iter().enumerate().for_each(|(at, beat)| bus.read(at, beat));
    })
}

/// Subscriptions that come and go; half of them are wildcard inboxes.
struct Churn {
    lines: Vec<String>,
}

impl Churn {
    const COUNT: usize = 1000;

    /// Half of the subscriptions of client `at` are there when it begins and when it ends.
    fn new(bus: &mut Bus, at: usize) -> Churn {
        let subscribe = |n: usize| match n % 2 {
            0 => format!("SUB _INBOX.mJ3vQ8sR2tL5wX9yB4{n:04}.* {n}\r\n"),
            _ => format!("SUB device.{n}.commands {n}\r\n"),
        };
        for n in Churn::COUNT / 2..Churn::COUNT {
            bus.read(at, subscribe(n).as_bytes());
        }
        let gone = |n: usize| (n + Churn::COUNT / 2) % Churn::COUNT;
        let lines = |n: usize| format!("{}UNSUB {}\r\n", subscribe(n), gone(n));
        Churn { lines: (0..Churn::COUNT).map(lines).collect() }
    }
}

/// SUB and UNSUB alone.
pub(super) fn churn() -> Prepared {
    let mut bus = Bus::new(1);
    let input = Churn::new(&mut bus, 0).lines.concat();
    bus.prepared(2 * Churn::COUNT, 0, move |bus| bus.read(0, input.as_bytes()))
}

/// Reads of ten messages to 50 subjects, with a SUB and an UNSUB of another client between them.
pub(super) fn beside_churn() -> Prepared {
    const SUBJECTS: usize = 50;
    const PER_READ: usize = 10;
    let mut bus = Bus::new(3);
    let subject = |n: usize| format!("plant.line.{}.temperature", n % SUBJECTS);
    for n in 0..SUBJECTS {
        bus.subscribe(1, &subject(n), n);
    }
    let churn = Churn::new(&mut bus, 2);
    let message = |n| stream::publication(&subject(n), "", 128);
    let reads: Vec<Vec<u8>> = (0..Churn::COUNT)
        .map(|read| (read * PER_READ..(read + 1) * PER_READ).flat_map(message).collect())
        .collect();
    let messages = Churn::COUNT * PER_READ;
    bus.prepared(messages, messages, move |bus| {
        for (read, lines) in reads.iter().zip(&churn.lines) {
            bus.read(2, lines.as_bytes());
            bus.read(0, read);
        }
    })
}
