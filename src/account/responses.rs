//! `Responses`: the requests to the services of an account that may still be answered, by the reply
//! subjects that stand for their own ones.
//!
//! An account answers on `_R_.<account>.<request>`, two random numbers of 6 digits; each message
//! there becomes one to the requester's reply in the requester's account. The request is forgotten
//! when it is answered, when its time is over, when nobody there waits for the reply any more, or
//! when there are too many: then the one whose time would end next goes.
//!
//! An account lists the open requests to its services, and those of its own clients to services of
//! others (`Awaited`, by their replies). A request stands in both lists or in none.
//!
//! Knows no clock: `now` is an argument.
//! nats: server/accounts.go `addRespServiceImport`, `removeRespServiceImport`,
//! `checkForReverseEntry`, `checkExpiredResponses`

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use crate::account::Account;
use crate::account::samples::Sample;
use crate::base::ids::Cid;
use crate::base::limits::MIB;
use crate::base::moment::Moment;
use crate::base::secrets::Secrets;
use crate::base::subject;
use crate::base::sync::Mutex;
use crate::base::table::Table;
use crate::config::imports::ServiceExport;
use crate::config::options::ResponseType;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::sublist::Entry;

/// Requests to the services of one account that may be answered at the same time. The real server
/// has no limit but time.
const RESPONSES_MAX: usize = if cfg!(test) { 64 } else { 65_536 };

/// Bytes of their reply subjects.
const REPLY_BYTES_MAX: usize = if cfg!(test) { 2_048 } else { 8 * MIB };

/// Traces among them, of which other servers may send documents. Not a limit of the real server.
const TRACES_MAX: usize = if cfg!(test) { 8 } else { 4_096 };

/// Requests whose time is over that leave whenever a new one comes: more than come.
const DUE_PER_OPENING: usize = 2;

/// Requests looked at when subscriptions go that may have waited for their replies. The time of
/// others ends in due course.
const LOOKS_MAX: usize = if cfg!(test) { 8 } else { 256 };

/// The number that stands for a request, in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suffix([u8; 6]);

/// The client that sent a request: a connection by slot, and by number, since the slot may have a
/// new owner by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// `Conn.slot`.
    pub slot: u32,
    /// `Conn.cid`.
    pub cid: Cid,
}

/// A request that may be answered.
#[derive(Clone)]
pub struct Response {
    /// The account of the requester.
    pub importer: Arc<Account>,
    /// The reply subject there.
    pub reply: Arc<[u8]>,
    /// The client that asks.
    pub requester: Requester,
    /// The service: the form of its answers, and the time for them.
    pub export: Arc<ServiceExport>,
    /// Its measurement, if it is measured.
    pub sample: Option<Box<Sample>>,
    /// For the traces that other servers publish of a message: the number that is still to come.
    pub of_trace: Option<Arc<AtomicI64>>,
}

impl Response {
    /// A request of a client.
    pub fn new(
        importer: &Arc<Account>,
        reply: &[u8],
        conn: &Conn,
        export: &Arc<ServiceExport>,
    ) -> Response {
        Response {
            importer: Arc::clone(importer),
            reply: reply.into(),
            requester: Requester { slot: conn.slot, cid: conn.cid },
            export: Arc::clone(export),
            sample: None,
            of_trace: None,
        }
    }

    /// The end of the subject for its answer.
    fn mark(&self) -> &[u8] {
        self.sample.as_ref().map_or(b"", |sample| &sample.mark)
    }

    /// True if it may be answered more than once.
    pub fn streams(&self) -> bool {
        self.of_trace.is_some() || self.export.response != ResponseType::Singleton
    }
}

/// The open requests to the services of one account.
#[derive(Default)]
pub(super) struct Responses {
    open: Table<Open>,
    /// The ends of their times.
    due: BTreeSet<(Moment, Suffix)>,
    /// Sum of the lengths of the replies.
    reply_bytes: usize,
    /// Traces among them.
    trace_count: usize,
    /// Requests forgotten because there were too many, and not reported yet.
    dropped: u64,
    random: RandomState,
}

struct Open {
    suffix: Suffix,
    due: Moment,
    response: Response,
}

/// The open requests of an account to the services of others.
#[derive(Default)]
pub(super) struct Awaited(BTreeMap<AwaitedKey, Weak<Account>>);

/// A reply subject, the id of the account with the service, and the number there.
type AwaitedKey = (Arc<[u8]>, u32, Suffix);

impl Account {
    /// The subject before the numbers of requests: `_R_.<account>.`. `announce` sees the first
    /// call's result before any caller does.
    pub fn response_prefix(&self, secrets: &mut Secrets, announce: impl FnOnce(&[u8])) -> &[u8] {
        self.response_prefix.get_or_init(|| {
            let prefix = [b"_R_.", &secrets.draw::<6>()[..], b"."].concat();
            announce(&prefix);
            prefix.into()
        })
    }

    /// Opens a request to this account, and returns the subject for its answer.
    pub fn open_request(
        self: &Arc<Account>,
        response: Response,
        prefix: &[u8],
        now: Moment,
        secrets: &mut Secrets,
    ) -> Vec<u8> {
        let mark = response.mark().to_vec();
        let (importer, reply) = (Arc::clone(&response.importer), Arc::clone(&response.reply));
        let mut responses = self.responses.lock();
        let mut gone = responses.make_room(reply.len());
        gone.extend(responses.take_due(now, DUE_PER_OPENING));
        gone.iter().for_each(|open| self.unlist(open));
        let suffix = responses.insert(response, now, secrets);
        let awaited = importer.awaited.get_or_init(Mutex::default);
        awaited.lock().0.insert((reply, self.id, suffix), Arc::downgrade(self));
        [prefix, &suffix.0, &mark].concat()
    }

    /// True if other servers may send documents of one more message with a trace.
    pub fn may_wait_for_traces(&self) -> bool {
        self.responses.lock().trace_count < TRACES_MAX
    }

    /// The request that is answered on a subject of this account, if it may be: forgotten if it is
    /// answered only once, else given its time anew.
    pub fn take_response(&self, subject: &[u8], now: Moment) -> Option<Response> {
        let (suffix, mark) = self.suffix(subject)?;
        let mut responses = self.responses.lock();
        let open = responses.find(suffix, mark).filter(|open| now <= open.due)?;
        if !open.response.streams() {
            let open = responses.remove(suffix)?;
            self.unlist(&open);
            return Some(open.response);
        }
        let response = open.response.clone();
        responses.postpone(suffix, now + response.export.threshold);
        Some(response)
    }

    /// The request that a message with this reply subject brings to this account.
    pub fn find_response(&self, reply: &[u8]) -> Option<Response> {
        let (suffix, mark) = self.suffix(reply)?;
        self.responses.lock().find(suffix, mark).map(|open| open.response.clone())
    }

    fn close(&self, suffix: Suffix) -> Option<Response> {
        let mut responses = self.responses.lock();
        let open = responses.remove(suffix)?;
        self.unlist(&open);
        Some(open.response)
    }

    /// Forgets the request that is answered on this subject.
    pub fn close_request(&self, subject: &[u8]) -> Option<Response> {
        self.close(self.suffix(subject)?.0)
    }

    /// Forgets requests whose time is over, at most `count_max`; returns those.
    pub fn close_due(&self, now: Moment, count_max: usize) -> Vec<Response> {
        let mut responses = self.responses.lock();
        let due = responses.take_due(now, count_max);
        due.iter().for_each(|open| self.unlist(open));
        drop(responses);
        due.into_iter().map(|open| open.response).collect()
    }

    /// True if clients of this account have sent requests to services of others.
    #[inline]
    pub fn has_asked(&self) -> bool {
        self.awaited.get().is_some()
    }

    /// Forgets requests of this account whose replies nobody waits for, now that these
    /// subscriptions are gone; returns those, with the accounts that served them.
    pub fn close_unwanted(&self, gone: &[Subscription]) -> Vec<(Arc<Account>, Response)> {
        let (mut looks, mut closed) = (LOOKS_MAX, Vec::new());
        let Some(awaited) = self.awaited.get() else { return closed };
        for subscription in gone {
            let candidates = awaited.lock().matching(subscription.subject(), &mut looks);
            for candidates in candidates.chunk_by(|(one, ..), (other, ..)| one == other) {
                if self.with_sublist(|sublist| sublist.has_match(&candidates[0].0)) {
                    continue;
                }
                for (_, suffix, server) in candidates {
                    let response = server.close(*suffix);
                    closed.extend(response.map(|response| (Arc::clone(server), response)));
                }
            }
        }
        closed
    }

    /// The number of open requests to its services.
    pub fn response_count(&self) -> usize {
        self.responses.lock().open.len()
    }

    /// The number of requests forgotten since the last call because there were too many.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.responses.lock().dropped)
    }

    /// The open requests to its services, at most `count_max`, with their subjects.
    pub fn responses(&self, count_max: usize) -> Vec<(Vec<u8>, Response)> {
        let prefix = self.response_prefix.get().map_or(&[][..], |prefix| prefix);
        let responses = self.responses.lock();
        let some = responses.open.iter().take(count_max);
        let subject = |open: &Open| [prefix, &open.suffix.0, open.response.mark()].concat();
        some.map(|open| (subject(open), open.response.clone())).collect()
    }

    /// The number in a subject of this account for answers, and the text behind it.
    fn suffix<'a>(&self, subject: &'a [u8]) -> Option<(Suffix, &'a [u8])> {
        let number = subject.strip_prefix(&**self.response_prefix.get()?)?;
        number.split_first_chunk().map(|(number, mark)| (Suffix(*number), mark))
    }

    /// Makes the requester's account forget a request, too. The caller holds the requests to this
    /// account.
    fn unlist(&self, Open { suffix, response, .. }: &Open) {
        let Response { importer, reply, .. } = response;
        if let Some(awaited) = importer.awaited.get() {
            awaited.lock().0.remove(&(Arc::clone(reply), self.id, *suffix));
        }
    }
}

impl Responses {
    /// Forgets requests until there is room for one with a reply of that length.
    fn make_room(&mut self, reply_len: usize) -> Vec<Open> {
        let mut gone = Vec::new();
        while self.open.len() >= RESPONSES_MAX
            || !self.open.is_empty() && self.reply_bytes + reply_len > REPLY_BYTES_MAX
        {
            let next = self.due.first().copied();
            let Some(open) = next.and_then(|(_, suffix)| self.remove(suffix)) else { break };
            self.dropped += 1;
            gone.push(open);
        }
        gone
    }

    fn insert(&mut self, response: Response, now: Moment, secrets: &mut Secrets) -> Suffix {
        let mut suffix = Suffix(secrets.draw());
        while self.find_mut(suffix).is_some() {
            suffix = Suffix(secrets.draw());
        }
        let due = now + response.export.threshold;
        self.reply_bytes += response.reply.len();
        self.trace_count += usize::from(response.of_trace.is_some());
        self.due.insert((due, suffix));
        let hash = self.hash(suffix);
        let Responses { open, random, .. } = self;
        let hash_of = |open: &Open| hash_with(random, open.suffix);
        open.insert(hash, Open { suffix, due, response }, hash_of);
        suffix
    }

    fn find(&mut self, suffix: Suffix, mark: &[u8]) -> Option<&Open> {
        self.find_mut(suffix).map(|open| &*open).filter(|open| open.response.mark() == mark)
    }

    fn find_mut(&mut self, suffix: Suffix) -> Option<&mut Open> {
        let hash = self.hash(suffix);
        self.open.find_mut(hash, |open| open.suffix == suffix)
    }

    fn remove(&mut self, suffix: Suffix) -> Option<Open> {
        let hash = self.hash(suffix);
        let Responses { open, random, .. } = self;
        let hash_of = |open: &Open| hash_with(random, open.suffix);
        let removed = open.remove(hash, |open| open.suffix == suffix, hash_of)?;
        self.due.remove(&(removed.due, suffix));
        self.reply_bytes -= removed.response.reply.len();
        self.trace_count -= usize::from(removed.response.of_trace.is_some());
        Some(removed)
    }

    fn postpone(&mut self, suffix: Suffix, until: Moment) {
        let Some(open) = self.find_mut(suffix) else { return };
        let before = std::mem::replace(&mut open.due, until);
        self.due.remove(&(before, suffix));
        self.due.insert((until, suffix));
    }

    fn take_due(&mut self, now: Moment, count_max: usize) -> Vec<Open> {
        let mut gone = Vec::new();
        while gone.len() < count_max
            && let Some(&(due, suffix)) = self.due.first()
            && due < now
        {
            gone.extend(self.remove(suffix));
        }
        gone
    }

    fn hash(&self, suffix: Suffix) -> u64 {
        hash_with(&self.random, suffix)
    }
}

fn hash_with(random: &RandomState, Suffix(digits): Suffix) -> u64 {
    let mut hasher = random.build_hasher();
    hasher.write(&digits);
    hasher.finish()
}

impl Awaited {
    /// The requests with replies that match `subject`, as far as they are found by looking at so
    /// many of those whose replies begin alike.
    fn matching(
        &self,
        subject: &[u8],
        looks: &mut usize,
    ) -> Vec<(Arc<[u8]>, Suffix, Arc<Account>)> {
        if self.0.is_empty() || *looks == 0 {
            return Vec::new();
        }
        let is_literal = |token: &&[u8]| **token != *b"*" && **token != *b">";
        let tokens = subject::tokens(subject).take_while(is_literal);
        let literal_len = tokens.map(|token| token.len() + 1).sum::<usize>().min(subject.len());
        let start: Arc<[u8]> = subject[..literal_len].into();
        let first = (Arc::clone(&start), 0, Suffix([0; 6]));
        self.0
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|((reply, ..), _)| reply.starts_with(&start))
            .take(*looks)
            .inspect(|_| *looks -= 1)
            .filter(|((reply, ..), _)| subject::matches(subject, reply))
            .filter_map(|((reply, _, suffix), server)| {
                Some((Arc::clone(reply), *suffix, server.upgrade()?))
            })
            .collect()
    }
}
