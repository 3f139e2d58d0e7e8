//! Fuzz body of the client machine: operations of three clients against a naive model.
//!
//! Everything is in memory: [`Bench`] holds a server without sockets; the wires of its clients keep
//! all bytes, and the test moves its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::{Kind, ServerId};
use crate::base::left::Left;
use crate::base::subject;
use crate::client::Client;
use crate::config::check::Checked;
use crate::config::options::{
    AccountOptions, ConnectionType, Credential, Login, Options, Permissions, SubjectPermission,
    User,
};
use crate::conn::Conn;
use crate::conn::taken::Taken;
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::machine::session::{Session, Step};
use crate::registry::Registry;

/// A server in memory with a few clients.
pub(crate) struct Bench {
    pub(crate) registry: Arc<Registry>,
    pub(crate) delivery: Delivery,
    pub(crate) ends: Vec<End>,
}

/// One client with its session and its wire.
pub(crate) struct End {
    pub(crate) conn: Arc<Conn>,
    pub(crate) session: Session<Client>,
    /// Input after an unanswered op.
    backlog: Vec<u8>,
    pub(crate) wire: Arc<Taken>,
    pub(crate) closed: Option<ClosedReason>,
}

impl Bench {
    /// A server with these options and `count` clients that have taken INFO.
    pub(crate) fn new(options: Options, count: usize) -> Bench {
        Bench::with_id(&format!("N{}", "A".repeat(55)), options, count)
    }

    /// The same with an id of its own.
    pub(crate) fn with_id(id: &str, mut options: Options, count: usize) -> Bench {
        let server_id = ServerId::new(id).expect("of the right shape");
        let registry = Arc::new(Registry::new(
            server_id,
            Checked::new(&mut options, None).expect("they can be started"),
        ));
        let delivery = Delivery::new(&registry);
        let mut bench = Bench { registry, delivery, ends: Vec::new() };
        (0..count).for_each(|_| bench.add());
        bench
    }

    /// One more client.
    pub(crate) fn add(&mut self) {
        let wire = Arc::new(Taken::default());
        let now = self.delivery.now;
        let conn = self.registry.add(|cid, slot| wire.conn(cid, Kind::Client, slot, now));
        let registry = Arc::clone(&self.registry);
        let mut client =
            Client::new(registry, Arc::clone(&conn), ConnectionType::Standard, "".into());
        client.start(&mut self.delivery);
        self.delivery.commit(&conn);
        wire.take();
        let session = Session::new(client, &self.delivery.settings);
        self.ends.push(End { conn, session, backlog: Vec::new(), wire, closed: None });
    }

    /// Handles input of a client, as the task of a connection does.
    pub(crate) fn send(&mut self, at: usize, input: &[u8]) {
        let end = &mut self.ends[at];
        if end.closed.is_some() {
            return;
        }
        end.backlog.extend_from_slice(input);
        self.turn(at);
    }

    /// Runs the check that a client waits for.
    #[cfg(test)]
    pub(crate) fn check(&mut self, at: usize) {
        let check = self.ends[at].session.machine.take_check().expect("it waits for one");
        let verdict = Some(check.run());
        let result = self.ends[at].session.resume(verdict, &mut self.delivery);
        self.settle(at, result.map(drop));
        self.turn(at);
    }

    /// Gives a client a turn: it may wait for an answer.
    pub(crate) fn turn(&mut self, at: usize) {
        let end = &mut self.ends[at];
        if end.closed.is_none() {
            let result = end.turn(&mut self.delivery);
            self.settle(at, result);
        }
    }

    /// Commits the staged frames, and ends the connection after an error.
    fn settle(&mut self, at: usize, result: Result<(), ProtoErr>) {
        let end = &mut self.ends[at];
        let reason =
            result.err().map(|error| end.session.machine.fail((&error).into(), &mut self.delivery));
        self.delivery.commit(&end.conn);
        if let Some(reason) = reason {
            self.close(at, reason);
        }
    }

    /// Ends a connection.
    pub(crate) fn close(&mut self, at: usize, reason: ClosedReason) {
        let end = &mut self.ends[at];
        if end.closed.is_none() {
            end.conn.close(reason, false);
            end.session.machine.close(reason, &mut self.delivery);
            while end.session.machine.forget(&mut self.delivery) == Left::More {}
            self.delivery.commit(&end.conn);
            end.conn.hang_up();
            end.closed = Some(reason);
        }
    }

    /// Moves the time to `now`, and handles the deadlines of a client.
    #[cfg(test)]
    pub(crate) fn move_to(&mut self, at: usize, now: crate::base::moment::Moment) {
        self.delivery.now = now;
        let end = &mut self.ends[at];
        let result = end.session.machine.handle_deadline(&mut self.delivery);
        self.settle(at, result);
    }

    /// The bytes of a client since the last call.
    pub(crate) fn take(&self, at: usize) -> Vec<u8> {
        self.ends[at].wire.take()
    }
}

/// These options with accounts, each with a user of the same name.
pub(crate) fn with_accounts(mut options: Options, names: &[&str]) -> Options {
    let user = |name: &str| {
        let (user, password) = (name.to_owned(), String::new());
        let account = Some(name.to_owned());
        User { account, ..User::new(Credential::Password { user, password }) }
    };
    options.accounts = names.iter().copied().map(AccountOptions::new).collect();
    options.authorization.login = Login::Users(names.iter().map(|&name| user(name)).collect());
    options
}

/// An open connection and its subscriptions keep each other alive.
impl Drop for Bench {
    fn drop(&mut self) {
        for at in 0..self.ends.len() {
            self.close(at, ClosedReason::ServerShutdown);
        }
    }
}

impl End {
    fn turn(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        loop {
            while self.session.resume(None, delivery)? == Left::More {}
            if self.session.machine.is_waiting() || self.backlog.is_empty() {
                return Ok(());
            }
            let input = std::mem::take(&mut self.backlog);
            self.handle(&input, delivery)?;
        }
    }

    fn handle(&mut self, mut input: &[u8], delivery: &mut Delivery) -> Result<(), ProtoErr> {
        loop {
            match self.session.step(&mut input, delivery)? {
                Step::Handled => {}
                Step::Missing => return Ok(()),
                Step::Unanswered => {
                    self.backlog = input.to_vec();
                    return Ok(());
                }
                Step::Layer(_) => unreachable!("clients agree on no layer"),
            }
        }
    }
}

const CLIENTS: usize = 3;
const SUBJECTS: [&str; 10] = ["a", "b", "a.b", "a.c", "*", "a.*", ">", "a.>", "a..b", "*.b"];
const QUEUES: [Option<&str>; 4] = [None, None, Some("q"), Some("r")];
const REPLIES: [&str; 4] = ["", "", "a", "a.c"];
/// Header blocks: one that means nothing, one with a trace, one of a message that is only traced.
const HEADERS: [&str; 4] = ["NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\n\r\n", TRACED, ONLY_TRACED];
const TRACED: &str = "NATS/1.0\r\nNats-Trace-Dest: t\r\n\r\n";
const ONLY_TRACED: &str = "NATS/1.0\r\nNats-Trace-Dest: t\r\nNats-Trace-Only: 1\r\n\r\n";

/// The user `bound` may not publish here.
const PUBLISH_DENIED: &str = "b";
/// Neither subscribe to this, nor get it by a wildcard.
const SUBSCRIBE_DENIED: &str = "a.c";

/// The CONNECT of a client.
#[derive(Debug, Clone, Copy)]
struct Means {
    echo: bool,
    /// It takes headers, and wants 503 for a request without responders.
    headers: bool,
    /// It is the user with denied subjects.
    bound: bool,
}

/// A subscription in the model.
#[derive(Debug)]
struct Model {
    subject: &'static str,
    queue: Option<&'static str>,
    delivered: u64,
    max: u64,
}

/// Client and sid.
type Key = (usize, u8);

/// A server, and the model of it.
struct Play {
    bench: Bench,
    means: [Means; CLIENTS],
    models: BTreeMap<Key, Model>,
}

/// A publication of a read with `count` of them.
#[derive(Debug, Clone, Copy)]
struct Sent {
    publisher: usize,
    subject: &'static str,
    reply: &'static str,
    /// Its header block; none without headers.
    header: Option<&'static str>,
    /// Number of the operation, which each payload carries.
    number: usize,
    count: usize,
}

/// A message as a client got it.
struct Frame<'a> {
    subject: &'a str,
    sid: u8,
    reply: &'a str,
    header: &'a str,
    payload: &'a str,
}

/// Operations of three bytes each, of three clients: SUB, UNSUB, PUB, HPUB, CONNECT as another
/// user, an end. Each message carries its number; after each operation the output of the clients is
/// compared with the model.
pub fn fuzz_client(bytes: &[u8]) {
    let mut play = Play::new();
    for (number, op) in bytes.chunks_exact(3).enumerate() {
        let at = usize::from(op[0] >> 4) % CLIENTS;
        if play.bench.ends[at].closed.is_some() {
            continue;
        }
        let sid = op[1] % 8;
        let subject = SUBJECTS[usize::from(op[2]) % SUBJECTS.len()];
        match op[0] & 15 {
            0..=4 => play.subscribe((at, sid), subject, QUEUES[usize::from(op[1] >> 6)]),
            5 | 6 => play.unsubscribe((at, sid), u64::from(op[2] % 6)),
            7 => {
                let (echo, headers, bound) = (op[1] & 1 == 0, op[1] & 2 != 0, op[1] & 4 != 0);
                play.connect(at, Means { echo, headers, bound });
            }
            8 if op[1] < 32 => {
                play.bench.close(at, ClosedReason::ClientClosed);
                play.models.retain(|&(owner, _), _| owner != at);
            }
            _ => play.publish(Sent {
                publisher: at,
                subject,
                reply: REPLIES[usize::from(op[1] >> 4 & 3)],
                header: (op[1] >> 7 == 1 && play.means[at].headers)
                    .then(|| HEADERS[usize::from(op[1] >> 2 & 3)]),
                number,
                count: usize::from(op[1] % 5),
            }),
        }
        play.check_subscriptions();
    }
}

impl Play {
    fn new() -> Play {
        let user = |name: &str, permissions| {
            let (user, password) = (name.to_owned(), String::new());
            User { permissions, ..User::new(Credential::Password { user, password }) }
        };
        let deny =
            |subject: &str| SubjectPermission { allow: None, deny: vec![subject.to_owned()] };
        let (publish, subscribe) = (deny(PUBLISH_DENIED), deny(SUBSCRIBE_DENIED));
        let denied = Permissions { publish, subscribe, allow_responses: None };
        let mut options = Options::default();
        options.authorization.login =
            Login::Users(vec![user("free", None), user("bound", Some(denied.into()))]);
        let means = Means { echo: true, headers: false, bound: false };
        let mut play = Play {
            bench: Bench::new(options, CLIENTS),
            means: [means; CLIENTS],
            models: BTreeMap::new(),
        };
        (0..CLIENTS).for_each(|at| play.connect(at, means));
        play
    }

    /// CONNECT, which also drops all subscriptions.
    fn connect(&mut self, at: usize, means: Means) {
        let Means { echo, headers, bound } = means;
        let user = if bound { "bound" } else { "free" };
        let line = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"user\":\"{user}\",\"echo\":{echo},\
             \"headers\":{headers},\"no_responders\":{headers}}}\r\n"
        );
        self.bench.send(at, line.as_bytes());
        assert_eq!(self.take(at), "");
        self.means[at] = means;
        self.models.retain(|&(owner, _), _| owner != at);
    }

    fn subscribe(&mut self, key: Key, subject: &'static str, queue: Option<&'static str>) {
        let (at, sid) = key;
        let line = format!("SUB {subject} {} {sid}\r\n", queue.unwrap_or_default());
        self.bench.send(at, line.as_bytes());
        let answer = self.take(at);
        if self.means[at].bound && subject == SUBSCRIBE_DENIED {
            let text = "-ERR 'Permissions Violation for Subscription to ";
            assert!(answer.starts_with(text), "{answer}");
        } else if subject::is_valid_subscription(subject.as_bytes()) {
            assert_eq!(answer, "");
            let model = Model { subject, queue, delivered: 0, max: 0 };
            self.models.entry(key).or_insert(model);
        } else if !self.models.contains_key(&key) {
            assert_eq!(answer, "-ERR 'Invalid Subject'\r\n");
        }
    }

    fn unsubscribe(&mut self, key: Key, max: u64) {
        self.bench.send(key.0, format!("UNSUB {} {max}\r\n", key.1).as_bytes());
        if let Some(model) = self.models.get_mut(&key) {
            model.max = max;
            if max <= model.delivered {
                self.models.remove(&key);
            }
        }
    }

    fn publish(&mut self, sent: Sent) {
        let Sent { publisher, subject, reply, number, .. } = sent;
        let (verb, header, header_len) = match sent.header {
            Some(header) => ("HPUB", header, format!("{} ", header.len())),
            None => ("PUB", "", String::new()),
        };
        let frames: String = (0..sent.count)
            .map(|part| {
                let payload = format!("{number}.{part}");
                let len = header.len() + payload.len();
                format!("{verb} {subject} {reply} {header_len}{len}\r\n{header}{payload}\r\n")
            })
            .collect();
        self.bench.send(publisher, frames.as_bytes());
        if self.means[publisher].bound && subject == PUBLISH_DENIED {
            let line = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
            assert_eq!(self.take(publisher), line.repeat(sent.count));
            assert!((0..CLIENTS).all(|at| self.take(at).is_empty()), "nobody got it");
            return;
        }
        self.check_messages(sent);
    }

    /// Compares the deliveries of one read with those of the model.
    fn check_messages(&mut self, sent: Sent) {
        let mut got: Vec<(Key, usize)> = Vec::new();
        let mut notices = Vec::new();
        for at in 0..CLIENTS {
            let text = self.take(at);
            let mut last = BTreeMap::new();
            for frame in frames(&text) {
                if frame.header.starts_with("NATS/1.0 503") {
                    assert_eq!((at, frame.subject), (sent.publisher, sent.reply));
                    notices.push((at, frame.sid));
                    continue;
                }
                let part = frame.payload.strip_prefix(&format!("{}.", sent.number));
                let part: usize = part.and_then(|part| part.parse().ok()).expect("of this read");
                let header = sent.header.filter(|_| self.means[at].headers).unwrap_or_default();
                assert_eq!((frame.subject, frame.reply), (sent.subject, sent.reply));
                assert_eq!(frame.header, header);
                let before = last.insert(frame.sid, part);
                assert!(before.is_none_or(|before| before < part), "out of order");
                got.push(((at, frame.sid), part));
            }
        }
        let mut expected_notices = 0;
        let mut may_be_told = BTreeSet::new();
        for part in 0..sent.count {
            let receivers = got.iter().filter(|(_, of)| *of == part).map(|(key, _)| *key).collect();
            if !self.check_message(sent, part, receivers) && self.means[sent.publisher].headers {
                let own = self.own_plain(sent.publisher, sent.reply);
                expected_notices += usize::from(!own.is_empty());
                may_be_told.extend(own);
            }
        }
        assert_eq!(notices.len(), expected_notices, "503s for {sent:?}");
        assert!(notices.iter().all(|key| may_be_told.contains(key)), "{notices:?}");
    }

    /// Takes away the receivers that a message must have. True if there are any, or would be.
    fn check_message(&mut self, sent: Sent, part: usize, mut receivers: BTreeSet<Key>) -> bool {
        if sent.header == Some(ONLY_TRACED) {
            assert_eq!(receivers, BTreeSet::new(), "{sent:?} is only traced");
            return !self.candidates(sent).is_empty();
        }
        let reached = !receivers.is_empty();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, queue) in self.candidates(sent) {
            let got = receivers.remove(&key);
            match queue {
                None => assert!(got, "{key:?} did not get {part} of {sent:?}"),
                Some(queue) => *groups.entry(queue).or_default() += usize::from(got),
            }
            if got {
                self.count(key);
            }
        }
        for (queue, taken) in groups {
            assert_eq!(taken, 1, "members of {queue} that got {part} of {sent:?}");
        }
        assert_eq!(receivers, BTreeSet::new(), "{part} of {sent:?}");
        reached
    }

    /// The subscriptions that may get a message.
    fn candidates(&self, sent: Sent) -> Vec<(Key, Option<&'static str>)> {
        let may_get = |&(at, _): &Key, model: &Model| {
            let to_itself = at == sent.publisher && !self.means[at].echo;
            let denied = self.means[at].bound && sent.subject == SUBSCRIBE_DENIED;
            subject::matches(model.subject.as_bytes(), sent.subject.as_bytes())
                && !to_itself
                && !denied
        };
        let models = self.models.iter().filter(|(key, model)| may_get(key, model));
        models.map(|(key, model)| (*key, model.queue)).collect()
    }

    /// The plain subscriptions of a client to a reply subject.
    fn own_plain(&self, at: usize, reply: &str) -> Vec<Key> {
        let matches = |key: &Key, model: &Model| {
            let to_reply = subject::matches(model.subject.as_bytes(), reply.as_bytes());
            key.0 == at && model.queue.is_none() && !reply.is_empty() && to_reply
        };
        let models = self.models.iter().filter(|(key, model)| matches(key, model));
        models.map(|(key, _)| *key).collect()
    }

    fn count(&mut self, key: Key) {
        let model = self.models.get_mut(&key).expect("a candidate is there");
        model.delivered += 1;
        if model.delivered == model.max {
            self.models.remove(&key);
        }
    }

    fn check_subscriptions(&self) {
        let count = self.models.len();
        let listed = self.bench.registry.global().with_sublist(|sublist| sublist.count());
        assert_eq!(listed, count, "subscriptions in the sublist");
        let own: usize = self.bench.ends.iter().map(|end| end.conn.subscriptions().len()).sum();
        assert_eq!(own, count, "subscriptions of the connections");
    }

    /// The bytes of a client since the last call.
    fn take(&self, at: usize) -> String {
        String::from_utf8(self.bench.take(at)).expect("all that was sent is text")
    }
}

/// Splits the bytes of a client into messages.
fn frames(mut text: &str) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Some((line, rest)) = text.split_once("\r\n") {
        let words: Vec<&str> = line.split(' ').collect();
        let (reply, header_len, len) = match words[..] {
            ["MSG", _, _, len] => ("", "0", len),
            ["MSG", _, _, reply, len] => (reply, "0", len),
            ["HMSG", _, _, header_len, len] => ("", header_len, len),
            ["HMSG", _, _, reply, header_len, len] => (reply, header_len, len),
            _ => panic!("{line} is no message"),
        };
        let size = |text: &str| text.parse::<usize>().expect("a size");
        let (message, rest) = rest.split_at(size(len));
        let (header, payload) = message.split_at(size(header_len));
        let sid = words[2].parse().expect("a sid of ours");
        frames.push(Frame { subject: words[1], sid, reply, header, payload });
        text = rest.strip_prefix("\r\n").expect("a message ends there");
    }
    assert_eq!(text, "", "the last message is whole");
    frames
}
