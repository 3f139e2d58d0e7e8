//! Counts of subscriptions to a subject, here and at other servers.
//!
//! A client asks with a subject, and perhaps a queue, for its own account. This server asks the
//! others, and answers with the sum when all that have clients of that account have answered, or
//! after `PATIENCE`.
//! nats: server/events.go `debugSubscribers`, `nsubsRequest`, `totalSubs`

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use data_encoding::BASE64;
use foldhash::fast::RandomState;
use serde::Serialize;

use crate::base::moment::Moment;
use crate::base::secrets;
use crate::base::subject;
use crate::codec::json::Reader;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::deliver::Delivery;
use crate::monitor::View;
use crate::monitor::json::Document;
use crate::registry::Registry;
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Interest};
use crate::system::System;
use crate::system::lists::{Job, Made, Task};
use crate::system::request::Request;

/// Time to wait for other servers.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sums begun within `PATIENCE`; a further one is not answered.
const SUMS_MAX: usize = if cfg!(test) { 2 } else { 16_384 };

/// The subject by which other servers are asked.
const ASK: &[u8] = b"$SYS.REQ.ACCOUNT.NSUBS";

/// The subscriptions to be counted, in the real server's form.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    acc: String,
    subject: String,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
}

/// The sums that are not complete.
#[derive(Default)]
pub(super) struct Sums {
    open: HashMap<Token, Sum, RandomState>,
    /// The ends of patience, in their order. The first one is that of an open sum.
    ends: VecDeque<(Moment, Token)>,
}

/// The last token of the subject for answers of other servers.
type Token = [u8; 8];

/// A number of subscriptions, as far as it is known.
struct Sum {
    /// The subject for the answer.
    reply: Box<[u8]>,
    number: u64,
    /// Answers that are still to come, that of this server included.
    left: usize,
}

impl Counted {
    /// Reads the body of a client's request: a subject, and perhaps a queue.
    fn of_client(account: &str, body: &[u8]) -> Counted {
        let body = String::from_utf8_lossy(body);
        let mut words = body.trim().split(' ');
        let subject = words.next().unwrap_or_default().to_owned();
        let queue = words.next().map(|queue| BASE64.encode(queue.as_bytes()));
        Counted { acc: account.to_owned(), subject, queue }
    }

    /// Reads the body of another server's request.
    fn of_server(body: &[u8]) -> Option<Counted> {
        let (mut counted, mut queue) = (Counted::default(), None);
        let mut reader = Reader::new(body);
        let read = reader.object(|reader, key| match key {
            "acc" => reader.overlay_string(&mut counted.acc, "string"),
            "subject" => reader.overlay_string(&mut counted.subject, "string"),
            "queue" => reader.overlay_text(&mut queue),
            _ => reader.skip(),
        });
        read.and_then(|()| reader.end()).ok()?;
        counted.queue = queue.map(String::from);
        Some(counted)
    }

    /// The number of subscriptions of clients of this server; none without the account.
    fn count(&self, view: &View<'_>) -> Option<u64> {
        let account = view.settings.accounts.find(self.acc.as_bytes())?;
        let queue = match &self.queue {
            Some(queue) => Some(BASE64.decode(queue.as_bytes()).ok()?),
            None => None,
        };
        let subject = self.subject.as_bytes();
        let is_counted = |one: &Subscription| {
            matches!(one.interest(), Interest::Local | Interest::Import)
                && (queue.is_none() || one.queue() == queue.as_deref())
        };
        let count = match subject::is_literal(subject) {
            true => {
                let mut found = MatchResult::new();
                account.match_into(subject, &mut found);
                found.iter().filter(|one| is_counted(one)).count()
            }
            false => {
                let clients = view.registry.clients().into_iter();
                let clients = clients.filter(|conn| conn.about().account() == &*account.name);
                clients.map(|conn| count_within(&conn, subject, is_counted)).sum()
            }
        };
        Some(count as u64)
    }
}

/// The number of subscriptions of a connection whose subjects a pattern covers.
fn count_within(conn: &Conn, pattern: &[u8], is_counted: impl Fn(&Subscription) -> bool) -> usize {
    let within = |one: &Subscription| subject::covers(pattern, one.subject()) && is_counted(one);
    conn.list_subscriptions().filter(within).count()
}

impl Sums {
    /// The earliest end of patience.
    pub(super) fn due(&self) -> Moment {
        self.ends.front().map_or(Moment::NEVER, |(due, _)| *due)
    }

    /// Begins a sum of so many answers; false if there are too many.
    fn begin(&mut self, token: Token, reply: &[u8], left: usize, due: Moment) -> bool {
        let has_room = self.ends.len() < SUMS_MAX;
        if has_room {
            self.open.insert(token, Sum { reply: reply.into(), number: 0, left });
            self.ends.push_back((due, token));
        }
        has_room
    }

    /// Adds an answer; the subject and the number for the client, if it was the last.
    pub(super) fn add(&mut self, token: &[u8], number: u64) -> Option<(Box<[u8]>, u64)> {
        let token = token.try_into().ok()?;
        let sum = self.open.get_mut(&token)?;
        sum.number = sum.number.saturating_add(number);
        sum.left -= 1;
        if sum.left > 0 { None } else { self.take(&token) }
    }

    /// The same of one whose time is over.
    fn take_due(&mut self, now: Moment) -> Option<(Box<[u8]>, u64)> {
        let (_, token) = *self.ends.front().filter(|(due, _)| *due <= now)?;
        self.take(&token)
    }

    fn take(&mut self, token: &Token) -> Option<(Box<[u8]>, u64)> {
        let Sum { reply, number, .. } = self.open.remove(token)?;
        while let Some((_, token)) = self.ends.front()
            && !self.open.contains_key(token)
        {
            self.ends.pop_front();
        }
        Some((reply, number))
    }
}

impl System {
    /// Counts subscriptions for a client, in its own account.
    pub(super) fn count_for_client(&mut self, request: &Request<'_>, delivery: &mut Delivery) {
        let Some(system_account) = delivery.settings.system_account().cloned() else { return };
        let by_import = system_account.find_response(request.reply);
        let account = by_import.as_ref().map_or(&system_account, |import| &import.importer);
        let counted = Counted::of_client(&account.name, request.body);
        let others = account.server_count();
        if others == 0 {
            return self
                .count_later(request, delivery, move |view| counted.count(view).or(Some(0)));
        }
        let (token, due) = (self.secrets.draw(), delivery.now + PATIENCE);
        if !self.sums.begin(token, request.reply, 1 + others, due) {
            return delivery.counters.count_slow(self.conn.kind, true);
        }
        let mut body = Vec::new();
        counted.write_compact(&mut body).expect("memory takes it");
        let inbox = inbox(&self.registry, &token);
        self.publish(&system_account, (ASK, &inbox), None, &body, delivery);
        let count = move |_: &Request<'_>, view: &View<'_>| {
            Some(Made::Count { token, number: counted.count(view).unwrap_or_default() })
        };
        self.make_later(Job::new(request, Task::Make(Box::new(count))), delivery);
    }

    /// Counts subscriptions for another server.
    pub(super) fn count_for_server(&mut self, request: &Request<'_>, delivery: &mut Delivery) {
        let Some(counted) = Counted::of_server(request.body) else { return };
        self.count_later(request, delivery, move |view| {
            let account = view.settings.accounts.find(counted.acc.as_bytes())?;
            counted.count(view).filter(|_| account.usage().client_count > 0)
        });
    }

    /// Has subscriptions counted, and the number sent.
    fn count_later(
        &mut self,
        request: &Request<'_>,
        delivery: &mut Delivery,
        count: impl FnOnce(&View<'_>) -> Option<u64> + Send + 'static,
    ) {
        let make = move |request: &Request<'_>, view: &View<'_>| {
            let number = count(view)?;
            Some(Made::Answer(request.bare(number.to_string().into_bytes())))
        };
        self.make_later(Job::new(request, Task::Make(Box::new(make))), delivery);
    }

    /// Adds a number to a sum, and sends that if it is complete.
    pub(super) fn add_count(&mut self, token: &[u8], number: u64, delivery: &mut Delivery) {
        if let Some(sum) = self.sums.add(token, number) {
            self.send_sum(sum, delivery);
        }
    }

    /// Adds the answer of another server.
    pub(super) fn hear_count(&mut self, token: &str, body: &[u8], delivery: &mut Delivery) {
        let number = std::str::from_utf8(body).ok().and_then(|text| text.parse().ok());
        self.add_count(token.as_bytes(), number.unwrap_or(0), delivery);
    }

    /// Sends the sums that others have had time enough for.
    pub(super) fn send_due_sums(&mut self, delivery: &mut Delivery) {
        while let Some(sum) = self.sums.take_due(delivery.now) {
            self.send_sum(sum, delivery);
        }
    }

    fn send_sum(&self, (reply, number): (Box<[u8]>, u64), delivery: &mut Delivery) {
        if let Some(account) = delivery.settings.system_account().cloned() {
            self.publish(&account, (&reply, b""), None, number.to_string().as_bytes(), delivery);
        }
    }
}

/// The subject for the answers of other servers.
fn inbox(registry: &Registry, token: &[u8]) -> Vec<u8> {
    let hash = secrets::server_hash(&registry.info().server_name);
    [b"$SYS._INBOX.", &hash[..], b".", token].concat()
}
