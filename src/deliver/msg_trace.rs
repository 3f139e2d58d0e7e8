//! Message tracing: a message with a trace, on its way through this server.
//!
//! Its trace is shared by the parts of its delivery, which may take several turns and accounts. It
//! ends with the last part, and goes to the server's own client, which publishes it. Where the
//! message goes into another account, other servers know only that one: they publish to a subject
//! that leads back, as the answer to a request does.
//!
//! nats: server/msgtrace.go `initMsgTrace`; server/client.go `processServiceImport`
//! nats-differs: there, a message with a sampled `traceparent` is lost if its publisher may not
//! publish to the destination of its account.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::account::Account;
use crate::account::responses::Response;
use crate::auth::permissions;
use crate::base::quoted::Quoted;
use crate::base::subject;
use crate::base::sync::{Mutex, rank};
use crate::codec::date::Date;
use crate::codec::msg_trace::{self, Asked, Ingress, MsgTrace};
use crate::conn::{Conn, conn_event};
use crate::deliver::Delivery;
use crate::deliver::tails::MadeTail;
use crate::parser::Publish;
use crate::registry::events::Event;

/// A trace, shared by the parts of the delivery of its message.
pub(super) type Shared = Arc<Mutex<MsgTrace, { rank::LEAF }>>;

/// A message with a trace, at a place of its way.
#[derive(Clone)]
pub(super) struct Traced {
    pub(super) trace: Shared,
    /// Its account there.
    pub(super) account: Arc<Account>,
    /// The subject there for the documents of other servers.
    dest: Arc<[u8]>,
}

/// A message with a trace that goes into another account, as a request or as an answer.
pub(super) enum Passage {
    /// It has none.
    Untraced,
    /// It is only traced, and the trace ends here.
    Ended,
    /// It goes on without its trace, which was this.
    Off(Box<Traced>),
    /// It goes on with its trace.
    On {
        before: Box<Traced>,
        /// The subject in that account for the documents of other servers.
        dest: Vec<u8>,
        /// The number that is to come, without those for copies that are sent from now on.
        missing: Arc<AtomicI64>,
        /// The copies to other servers before.
        hops: u32,
    },
}

/// The fate of a message that may ask for a trace.
pub enum Fate {
    /// It is delivered, with a trace or without.
    Delivered,
    /// It is delivered with another header block, by which no other server traces it.
    Untraced(MadeTail),
    /// It goes nowhere.
    Lost,
    /// It goes nowhere: its publisher may not publish to this destination.
    Denied(Box<[u8]>),
}

/// Time to begin a trace, nanoseconds, about; and for each byte of headers.
const TRACE_NS: usize = 5_000;
const HEADER_BYTE_NS: usize = 10;

impl Delivery {
    /// True if a message with this header block may ask for a trace.
    #[inline]
    pub fn may_trace(&self, account: &Account, header: &[u8]) -> bool {
        msg_trace::may_name_dest(header) || self.settings.accounts.trace_dest(account).is_some()
    }

    /// Begins the trace of a message, which says that it has `size` bytes, if it asks for one.
    /// `may_publish` tells whether its publisher may publish to the destination. The caller
    /// [ends](Delivery::end_trace) it.
    #[cold]
    pub fn begin_trace(
        &mut self,
        account: &Arc<Account>,
        (publish, size): (&Publish<'_>, usize),
        conn: &Conn,
        may_publish: impl FnOnce(&[u8]) -> bool,
    ) -> Fate {
        let header = publish.header();
        self.staging.add_work(TRACE_NS + header.len() * HEADER_BYTE_NS);
        let Some(asked) = Asked::read(header) else { return Fate::Delivered };
        let failed = if asked.only { Fate::Lost } else { Fate::Delivered };
        let untraced = || {
            let mut block = Vec::new();
            msg_trace::write_dest(header, msg_trace::DISABLED, &mut block);
            Fate::Untraced(MadeTail::new(publish.reply, &block, publish.payload()))
        };
        if let Some(account) = asked.origin_account {
            let (name, account) = (msg_trace::ORIGIN_ACCOUNT, Quoted(account));
            let text = "Message tracing disabled because of header";
            conn_event!(ERROR, conn, "{text} {name:?} with value={account}");
            return if asked.only { failed } else { untraced() };
        }
        let settings = Arc::clone(&self.settings);
        let dest = match (asked.dest, settings.accounts.trace_dest(account)) {
            (Some(dest), _) => dest,
            (None, None) => return failed,
            (None, Some(own)) => {
                if conn.kind.is_client() && !own.samples(self.picks.random.u8(..100)) {
                    return untraced();
                }
                own.subject.as_bytes()
            }
        };
        let cannot = |what: std::fmt::Arguments<'_>| {
            conn_event!(ERROR, conn, "{what}, won't be able to trace events");
        };
        if !subject::is_valid_publish_text(dest) {
            cannot(format_args!("Destination {} is not valid", Quoted(dest)));
            return failed;
        }
        let is_system = settings.system_account().is_some_and(|system| system.id == account.id);
        if permissions::is_reserved_dest(dest, is_system) || !may_publish(dest) {
            if asked.dest.is_some() {
                return Fate::Denied(dest.into());
            }
            cannot(format_args!("Destination {} is not permitted", Quoted(dest)));
            return untraced();
        }
        // No subject of a message is longer.
        let is_long = dest.len() > settings.options.max_control_line;
        if let Some(fault) =
            asked.fault(conn.kind).or(is_long.then_some("name a destination too long"))
        {
            cannot(format_args!("Headers of {} bytes {fault}", header.len()));
            // No other server traces it either.
            return if asked.only { failed } else { untraced() };
        }
        let from = Ingress {
            kind: conn.kind,
            cid: conn.cid.0,
            name: conn.about().name.map(String::from).unwrap_or_default(),
            account: account.name.to_string(),
            subject: String::from_utf8_lossy(publish.subject).into_owned(),
        };
        let trace = MsgTrace::new(&asked, dest, size, from, Date(self.registry.date(self.now)));
        let (trace, account) = (Arc::new(Mutex::new(trace)), Arc::clone(account));
        self.set_traced(Some(Box::new(Traced { trace, account, dest: dest.into() })));
        Fate::Delivered
    }

    /// Ends the trace of the message, if it has one: as soon as it is delivered to all.
    #[cold]
    pub fn end_trace(&mut self) {
        let traced = self.set_traced(None);
        self.publish_trace(traced.map(|traced| traced.trace));
    }

    /// Goes on with a trace, or without one. Returns what it was before.
    pub(super) fn set_traced(&mut self, traced: Option<Box<Traced>>) -> Option<Box<Traced>> {
        if let Some(Traced { trace, .. }) = traced.as_deref() {
            trace.lock().now = Date(self.registry.date(self.now));
        }
        let before = mem::replace(&mut self.traced, traced);
        self.watch();
        before
    }

    /// Hands a trace to the server's own client, unless its message is still being delivered.
    pub(super) fn publish_trace(&self, trace: Option<Shared>) {
        if let Some(mut trace) = trace.and_then(Arc::into_inner).map(Mutex::into_inner) {
            trace.end();
            self.registry.note(Event::MsgTrace(Box::new(trace)), &self.settings);
        }
    }

    /// Notes that the message goes into an account, there as the second of these subjects. It
    /// stays traced if `response` is given, by which documents come back.
    #[cold]
    pub(super) fn trace_import(
        &mut self,
        to: &Arc<Account>,
        (from, subject): (&[u8], &[u8]),
        response: Option<Response>,
        block: &mut Vec<u8>,
    ) -> Passage {
        let Some(before) = self.set_traced(None) else { return Passage::Untraced };
        let trace = Arc::clone(&before.trace);
        let (only, hops) = {
            let mut trace = trace.lock();
            trace.note_service_import(&to.name, from, subject);
            (trace.only, trace.hops())
        };
        let given = mem::take(block);
        // Documents of other servers may never come.
        let Some(response) = response.filter(|_| to.may_wait_for_traces()) else {
            if only {
                self.set_traced(Some(before));
                return Passage::Ended;
            }
            msg_trace::write_dest(&given, msg_trace::DISABLED, block);
            return Passage::Off(before);
        };
        let reply = Arc::clone(&before.dest);
        let missing = Arc::default();
        let of_trace = Some(Arc::clone(&missing));
        let dest = self.open(to, Response { reply, of_trace, ..response });
        msg_trace::write_dest(&given, &dest, block);
        msg_trace::keep_only(only, block);
        let (account, dest_there) = (Arc::clone(to), dest.as_slice().into());
        self.set_traced(Some(Box::new(Traced { trace, account, dest: dest_there })));
        Passage::On { before, dest, missing, hops }
    }

    /// Goes on with the trace as it was before the passage into that account.
    pub(super) fn end_passage(&mut self, passage: Passage, to: &Account) {
        match passage {
            Passage::Untraced | Passage::Ended => {}
            Passage::Off(before) => drop(self.set_traced(Some(before))),
            Passage::On { before, dest, missing, hops } => {
                // The rest of its delivery may send more.
                if !self.has_left() {
                    let copies = before.trace.lock().hops() - hops;
                    add_missing(to, &dest, &missing, copies.into());
                }
                self.set_traced(Some(before));
            }
        }
    }

    /// True if the message has a trace.
    pub(super) fn is_traced(&self) -> bool {
        self.traced.is_some()
    }

    /// True if the message is only traced.
    pub(super) fn is_only_traced(&self) -> bool {
        self.traced.as_ref().is_some_and(|traced| traced.trace.lock().only)
    }

    /// Notes in the trace, if there is one, that the message is refused.
    pub fn note_refusal(&self, why: &str) {
        if let Some(traced) = &self.traced {
            traced.trace.lock().note_refusal(why);
        }
    }

    /// Notes in the trace, if there is one, that the message has got another subject.
    pub fn note_mapping(&self, to: &[u8]) {
        if let Some(traced) = &self.traced {
            traced.trace.lock().note_mapping(to);
        }
    }
}

/// Counts documents of other servers that are to come to this subject of an account, or that have
/// come. After the last one, the subject leads nowhere.
pub(super) fn add_missing(account: &Account, dest: &[u8], missing: &AtomicI64, count: i64) {
    if missing.fetch_add(count, Ordering::Relaxed) + count == 0 {
        account.close_request(dest);
    }
}
