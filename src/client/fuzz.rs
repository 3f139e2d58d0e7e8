//! Fuzz body of the client machine: operations of three clients against a naive model.
//!
//! Everything is in memory: [`Bench`] holds a server without sockets, whose clients write to wires
//! that keep what they took, and whose time is moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::Client;
use crate::conn::{Conn, Wire};
use crate::deliver::Delivery;
use crate::errors::{ClosedReason, ProtoErr};
use crate::ids::{Kind, ServerId};
use crate::options::{ConnectionType, Options};
use crate::parser::{Op, Parser};
use crate::registry::Registry;
use crate::subject;

/// A server in memory with a few clients.
pub(crate) struct Bench {
    pub(crate) registry: Arc<Registry>,
    pub(crate) delivery: Delivery,
    pub(crate) ends: Vec<End>,
}

/// One client as the server holds it, and what it got.
pub(crate) struct End {
    pub(crate) conn: Arc<Conn>,
    client: Client,
    parser: Parser,
    pub(crate) wire: Arc<Taken>,
    pub(crate) closed: Option<ClosedReason>,
}

/// A wire that takes everything.
#[derive(Default)]
pub(crate) struct Taken(pub(crate) Mutex<Vec<u8>>);

impl Wire for Taken {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = self.0.lock();
        slices.iter().for_each(|slice| taken.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

impl Bench {
    /// A server with these options and `count` clients, whose INFO is taken already.
    pub(crate) fn new(options: Options, count: usize) -> Bench {
        let server_id = ServerId::new(&format!("N{}", "A".repeat(55))).expect("of the right shape");
        let registry = Arc::new(Registry::new(server_id, options));
        let delivery = Delivery::new(registry.new_counters());
        let mut bench = Bench { registry, delivery, ends: Vec::new() };
        (0..count).for_each(|_| bench.add());
        bench
    }

    /// One more client.
    pub(crate) fn add(&mut self) {
        let wire = Arc::new(Taken::default());
        let conn = self.registry.add(|cid, slot| {
            let wire = Arc::clone(&wire) as Arc<dyn Wire>;
            Conn::new(cid, Kind::Client, slot, None, self.delivery.now, wire)
        });
        let registry = Arc::clone(&self.registry);
        let mut client =
            Client::new(registry, Arc::clone(&conn), ConnectionType::Standard, "".into());
        client.start(&mut self.delivery);
        self.delivery.commit(&self.registry.policy, &conn);
        wire.0.lock().clear();
        let parser = Parser::new(client.rules());
        self.ends.push(End { conn, client, parser, wire, closed: None });
    }

    /// Handles what a client sends, as the task of a connection does.
    pub(crate) fn send(&mut self, at: usize, input: &[u8]) {
        let end = &mut self.ends[at];
        if end.closed.is_some() {
            return;
        }
        let result = end.handle(input, &mut self.delivery);
        if let Err(error) = &result {
            let reason = end.client.fail(error, &mut self.delivery);
            self.delivery.commit(&self.registry.policy, &end.conn);
            self.close(at, reason);
        } else {
            self.delivery.commit(&self.registry.policy, &end.conn);
        }
    }

    /// Ends a connection.
    pub(crate) fn close(&mut self, at: usize, reason: ClosedReason) {
        let end = &mut self.ends[at];
        if end.closed.is_none() {
            end.conn.close(reason, false);
            end.client.close(reason, &mut self.delivery);
            self.delivery.commit(&self.registry.policy, &end.conn);
            end.conn.hang_up();
            end.closed = Some(reason);
        }
    }

    /// Handles what is due for a client by `now`.
    #[cfg(test)]
    pub(crate) fn move_to(&mut self, at: usize, now: crate::moment::Moment) {
        self.delivery.now = now;
        let end = &mut self.ends[at];
        let result = end.client.handle_deadline(&mut self.delivery);
        let reason = result.err().map(|error| end.client.fail(&error, &mut self.delivery));
        self.delivery.commit(&self.registry.policy, &end.conn);
        if let Some(reason) = reason {
            self.close(at, reason);
        }
    }

    /// What a client got since the last call.
    pub(crate) fn take(&self, at: usize) -> Vec<u8> {
        std::mem::take(&mut self.ends[at].wire.0.lock())
    }
}

/// A connection that stays open holds on to its subscriptions, and they to it.
impl Drop for Bench {
    fn drop(&mut self) {
        for at in 0..self.ends.len() {
            self.close(at, ClosedReason::ServerShutdown);
        }
    }
}

impl End {
    fn handle(&mut self, mut input: &[u8], delivery: &mut Delivery) -> Result<(), ProtoErr> {
        loop {
            let (op, used) = self.parser.next(input)?;
            input = &input[used..];
            let Some(op) = op else { return Ok(()) };
            self.client.handle_op(&op, delivery)?;
            if matches!(op, Op::Connect(_)) {
                self.parser.rules = self.client.rules();
            }
        }
    }
}

const CLIENTS: usize = 3;
const SUBJECTS: [&str; 10] = ["a", "b", "a.b", "a.c", "*", "a.*", ">", "a.>", "a..b", "*.b"];
const QUEUES: [Option<&str>; 4] = [None, None, Some("q"), Some("r")];

/// A subscription in the model.
#[derive(Debug)]
struct Model {
    subject: &'static str,
    queue: Option<&'static str>,
    delivered: u64,
    max: u64,
}

/// Subscriptions by client and sid.
type Models = BTreeMap<(usize, u8), Model>;

/// Operations of three bytes each, of three clients: SUB, UNSUB, PUB, echo on and off, an end. Each
/// message carries its number; what a client got is compared with the model after each operation.
pub fn fuzz_client(bytes: &[u8]) {
    let mut bench = Bench::new(Options::default(), CLIENTS);
    for at in 0..CLIENTS {
        bench.send(at, b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    }
    let mut echo = [true; CLIENTS];
    let mut models = Models::new();
    for (number, op) in bytes.chunks_exact(3).enumerate() {
        let at = usize::from(op[0] >> 4) % CLIENTS;
        if bench.ends[at].closed.is_some() {
            continue;
        }
        let sid = op[1] % 8;
        let subject = SUBJECTS[usize::from(op[2]) % SUBJECTS.len()];
        match op[0] & 15 {
            0..=4 => {
                let queue = QUEUES[usize::from(op[1] >> 6)];
                let line = format!("SUB {subject} {} {sid}\r\n", queue.unwrap_or_default());
                bench.send(at, line.as_bytes());
                if subject::is_valid_subscription(subject.as_bytes()) {
                    let model = Model { subject, queue, delivered: 0, max: 0 };
                    models.entry((at, sid)).or_insert(model);
                } else if !models.contains_key(&(at, sid)) {
                    assert_eq!(bench.take(at), b"-ERR 'Invalid Subject'\r\n");
                }
            }
            5 | 6 => {
                let max = u64::from(op[2] % 6);
                bench.send(at, format!("UNSUB {sid} {max}\r\n").as_bytes());
                if let Some(model) = models.get_mut(&(at, sid)) {
                    model.max = max;
                    if max <= model.delivered {
                        models.remove(&(at, sid));
                    }
                }
            }
            7 => {
                echo[at] = op[1] & 1 == 0;
                let line = format!("CONNECT {{\"verbose\":false,\"echo\":{}}}\r\n", echo[at]);
                bench.send(at, line.as_bytes());
                models.retain(|&(owner, _), _| owner != at);
            }
            8 if op[1] < 32 => {
                bench.close(at, ClosedReason::ClientClosed);
                models.retain(|&(owner, _), _| owner != at);
            }
            _ => {
                let count = usize::from(op[1] % 5);
                let frames: String = (0..count)
                    .map(|part| {
                        let payload = format!("{number}.{part}");
                        format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())
                    })
                    .collect();
                bench.send(at, frames.as_bytes());
                check(&bench, &mut models, (at, echo[at]), subject, number, count);
            }
        }
        let listed = bench.registry.global.with_sublist(|sublist| sublist.count());
        assert_eq!(listed, models.len(), "subscriptions in the sublist");
        let own: usize = bench.ends.iter().map(|end| end.conn.subscriptions().len()).sum();
        assert_eq!(own, models.len(), "subscriptions of the connections");
    }
}

/// Compares what `count` messages of one read gave with what the model says they should.
fn check(
    bench: &Bench,
    models: &mut Models,
    (publisher, echo): (usize, bool),
    subject: &str,
    number: usize,
    count: usize,
) {
    let mut got: Vec<((usize, u8), usize)> = Vec::new();
    for at in 0..CLIENTS {
        let text = bench.take(at);
        let text = String::from_utf8(text).expect("all that was sent is text");
        let mut last = BTreeMap::new();
        let mut lines = text.split_terminator("\r\n");
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[..2], ["MSG", subject], "{line}");
            let sid: u8 = words[2].parse().expect("a sid of ours");
            let payload = lines.next().expect("a message has a payload");
            assert_eq!(words[3], payload.len().to_string());
            let part = payload.strip_prefix(&format!("{number}.")).expect("a message of this read");
            let part: usize = part.parse().expect("a part of ours");
            assert!(last.insert(sid, part).is_none_or(|last| last < part), "out of order");
            got.push(((at, sid), part));
        }
    }
    for part in 0..count {
        let mut receivers: BTreeSet<(usize, u8)> =
            got.iter().filter(|(_, of)| *of == part).map(|(key, _)| *key).collect();
        let may_get = |(key, model): (&(usize, u8), &Model)| {
            let matches = subject::matches(model.subject.as_bytes(), subject.as_bytes())
                && (echo || key.0 != publisher);
            matches.then_some((*key, model.queue))
        };
        let candidates: Vec<_> = models.iter().filter_map(may_get).collect();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, queue) in candidates {
            match queue {
                None => assert!(receivers.remove(&key), "{key:?} did not get {number}.{part}"),
                Some(queue) => {
                    *groups.entry(queue).or_default() +=
                        usize::from(take(&mut receivers, models, key))
                }
            }
            if queue.is_none() {
                deliver(models, key);
            }
        }
        for (queue, taken) in groups {
            assert_eq!(taken, 1, "members of {queue} that got {number}.{part}");
        }
        assert_eq!(receivers, BTreeSet::new(), "{number}.{part} for {subject}");
    }
}

/// Whether a member got the message, which is then counted.
fn take(receivers: &mut BTreeSet<(usize, u8)>, models: &mut Models, key: (usize, u8)) -> bool {
    let got = receivers.remove(&key);
    if got {
        deliver(models, key);
    }
    got
}

fn deliver(models: &mut Models, key: (usize, u8)) {
    let model = models.get_mut(&key).expect("a candidate is there");
    model.delivered += 1;
    if model.delivered == model.max {
        models.remove(&key);
    }
}
