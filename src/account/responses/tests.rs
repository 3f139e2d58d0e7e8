//! The open requests of a few accounts against a list of them.

use std::time::Duration;

use super::*;
use crate::base::ids::Kind;
use crate::conn::taken::Taken;
use crate::conn::{Conn, Slot};

const REPLIES: [&str; 6] = ["in.a", "in.b.1", "in.b.2", "in.b.3", "in", "other.1"];
const PATTERNS: [&str; 7] = ["in.a", "in.b.*", "in.>", "*.1", "in.b.2", "in", ">"];

/// A few accounts, their subscriptions, and a list of the requests that should be open.
struct Model {
    accounts: Vec<Arc<Account>>,
    conn: Arc<Conn>,
    subscriptions: Vec<(usize, Subscription)>,
    open: Vec<Known>,
    secrets: Secrets,
    now: Moment,
    dropped: u64,
}

/// A request from one account to another.
struct Known {
    server: usize,
    importer: usize,
    reply: &'static str,
    streams: bool,
    threshold: Duration,
    due: Moment,
    suffix: Suffix,
}

fn service(streams: bool, threshold: Duration) -> Arc<ServiceExport> {
    let response = if streams { ResponseType::Stream } else { ResponseType::Singleton };
    Arc::new(ServiceExport {
        subject: "s".into(),
        response,
        threshold,
        latency: None,
        allow_trace: false,
    })
}

impl Model {
    fn new() -> Model {
        let accounts = ["A", "B", "C"].iter().zip(0..);
        let accounts = accounts.map(|(name, id)| Arc::new(Account::new(id, name))).collect();
        let slot = Slot { number: 1, free: Arc::default() };
        let conn = Taken::default();
        let conn = Arc::new(Arc::new(conn).conn(Cid(1), Kind::Client, slot, Moment::START));
        let mut model = Model {
            accounts,
            conn,
            subscriptions: Vec::new(),
            open: Vec::new(),
            secrets: Secrets::new([7; 32], 0),
            now: Moment::START,
            dropped: 0,
        };
        for account in &model.accounts {
            account.response_prefix(&mut model.secrets, |_| {});
        }
        model
    }

    fn open(&mut self, random: &mut fastrand::Rng) {
        let [server, importer] = [(); 2].map(|()| random.usize(..self.accounts.len()));
        let reply = REPLIES[random.usize(..REPLIES.len())];
        let (streams, threshold) = (random.bool(), Duration::from_secs(random.u64(1..4)));
        if self.count(server) == RESPONSES_MAX {
            let next = (0..self.open.len()).filter(|&at| self.open[at].server == server);
            let next = next.min_by_key(|&at| (self.open[at].due, self.open[at].suffix)).unwrap();
            self.open.remove(next);
            self.dropped += 1;
        }
        let response = Response {
            importer: Arc::clone(&self.accounts[importer]),
            reply: reply.as_bytes().into(),
            requester: Requester { slot: 1, cid: Cid(1) },
            export: service(streams, threshold),
            sample: None,
            of_trace: None,
        };
        let account = &self.accounts[server];
        let prefix = account.response_prefix(&mut self.secrets, |_| {});
        let subject = account.open_request(response, prefix, self.now, &mut self.secrets);
        let (suffix, _) = account.suffix(&subject).unwrap();
        let due = self.now + threshold;
        self.open.push(Known { server, importer, reply, streams, threshold, due, suffix });
    }

    fn count(&self, server: usize) -> usize {
        self.open.iter().filter(|known| known.server == server).count()
    }

    fn answer(&mut self, random: &mut fastrand::Rng) {
        if self.open.is_empty() {
            return;
        }
        let at = random.usize(..self.open.len());
        let Known { server, importer, reply, streams, threshold, due, suffix } = self.open[at];
        let account = &self.accounts[server];
        let subject = [account.response_prefix(&mut self.secrets, |_| {}), &suffix.0[..]].concat();
        let found = account.take_response(&subject, self.now);
        assert_eq!(found.is_some(), self.now <= due);
        let Some(found) = found else { return };
        assert!(Arc::ptr_eq(&found.importer, &self.accounts[importer]));
        assert_eq!((&*found.reply, found.streams()), (reply.as_bytes(), streams));
        match streams {
            false => _ = self.open.swap_remove(at),
            true if random.u8(..4) == 0 => {
                account.close_request(&subject);
                self.open.swap_remove(at);
            }
            true => self.open[at].due = self.now + threshold,
        }
    }

    fn subscribe(&mut self, random: &mut fastrand::Rng) {
        let at = random.usize(..self.accounts.len());
        let pattern = PATTERNS[random.usize(..PATTERNS.len())].as_bytes();
        let queue = random.bool().then_some(&b"q"[..]);
        let one = Subscription::new(&self.conn, pattern, queue, b"1", 0);
        assert!(self.accounts[at].insert(one.clone(), |_| {}));
        self.subscriptions.push((at, one));
    }

    fn unsubscribe(&mut self, random: &mut fastrand::Rng) {
        if self.subscriptions.is_empty() {
            return;
        }
        let at = random.usize(..self.subscriptions.len());
        let (importer, gone) = self.subscriptions.swap_remove(at);
        self.accounts[importer].remove_all(std::slice::from_ref(&gone), |_| {});
        let closed = self.accounts[importer].close_unwanted(std::slice::from_ref(&gone));
        let is_lost = |known: &Known| {
            known.importer == importer
                && subject::matches(gone.subject(), known.reply.as_bytes())
                && !self.subscriptions.iter().any(|(at, one)| {
                    *at == importer && subject::matches(one.subject(), known.reply.as_bytes())
                })
        };
        let lost = self.open.iter().filter(|known| is_lost(known)).count();
        // Only a few are looked at.
        let awaited = self.open.iter().filter(|known| known.importer == importer).count();
        assert!(closed.len() == lost || closed.len() < lost && awaited > LOOKS_MAX);
        let still: Vec<_> = self.accounts.iter().map(|one| one.responses(usize::MAX)).collect();
        self.open.retain(|known| {
            still[known.server].iter().any(|(subject, _)| subject.ends_with(&known.suffix.0))
        });
    }

    fn pass(&mut self, random: &mut fastrand::Rng) {
        self.now = self.now + Duration::from_millis(random.u64(..400));
        for account in &self.accounts {
            account.close_due(self.now, usize::MAX);
        }
        self.open.retain(|known| known.due >= self.now);
    }

    /// Both sides list what is open, and nothing else.
    fn check(&self) {
        for (at, account) in self.accounts.iter().enumerate() {
            assert_eq!(account.response_count(), self.count(at));
            let responses = account.responses.lock();
            assert_eq!(responses.due.len(), responses.open.len());
            let bytes = self.open.iter().filter(|known| known.server == at);
            assert_eq!(responses.reply_bytes, bytes.map(|known| known.reply.len()).sum::<usize>());
            drop(responses);
            let awaited = account.awaited.get().map_or(0, |awaited| awaited.lock().0.len());
            assert_eq!(awaited, self.open.iter().filter(|known| known.importer == at).count());
        }
        let dropped = self.accounts.iter().map(|account| account.responses.lock().dropped);
        assert_eq!(dropped.sum::<u64>(), self.dropped);
    }
}

#[test]
fn requests_are_open_as_long_as_they_may_be_answered() {
    for seed in 0..64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::new();
        // Some runs open more than there is room for.
        let openings = 2 + seed % 12;
        for _ in 0..600 {
            match random.u64(..openings + 8) {
                0..4 => model.answer(&mut random),
                4 | 5 => model.subscribe(&mut random),
                6 => model.unsubscribe(&mut random),
                7 => model.pass(&mut random),
                _ => model.open(&mut random),
            }
            model.check();
        }
    }
}

#[test]
fn long_replies_have_less_room() {
    let account = Arc::new(Account::new(0, "A"));
    let mut secrets = Secrets::new([0; 32], 0);
    for _ in 0..20 {
        let response = Response {
            importer: Arc::clone(&account),
            reply: vec![b'r'; REPLY_BYTES_MAX / 4].into(),
            requester: Requester { slot: 0, cid: Cid(1) },
            export: service(false, Duration::from_secs(1)),
            sample: None,
            of_trace: None,
        };
        account.open_request(response, b"", Moment::START, &mut secrets);
    }
    assert_eq!((account.response_count(), account.take_dropped()), (4, 16));
}

#[test]
fn traces_have_less_room() {
    let account = Arc::new(Account::new(0, "A"));
    let mut secrets = Secrets::new([0; 32], 0);
    let mut open = |of_trace: bool| {
        let response = Response {
            importer: Arc::clone(&account),
            reply: b"r"[..].into(),
            requester: Requester { slot: 0, cid: Cid(1) },
            export: service(false, Duration::from_secs(1)),
            sample: None,
            of_trace: of_trace.then(Arc::default),
        };
        account.open_request(response, b"", Moment::START, &mut secrets)
    };
    open(false);
    let subjects: Vec<_> = (0..TRACES_MAX).map(|_| open(true)).collect();
    assert!(!account.may_wait_for_traces());
    account.response_prefix(&mut Secrets::new([1; 32], 0), |_| {});
    let prefix = account.response_prefix.get().unwrap();
    account.close_request(&[prefix, &subjects[0][..]].concat());
    assert!(account.may_wait_for_traces());
}
