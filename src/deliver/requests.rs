//! Requests to services of other accounts, and their answers.
//!
//! A message on an imported subject becomes one in the account with the service, with a header that
//! names the requester, and with a reply subject of that account which stands for the requester's
//! own. It is delivered there like any other, so it may become a request of a further account; but
//! it passes a service only once. The mappings of that account count, too. A message on such a
//! reply subject becomes one on the requester's own, wherever it came from: its header and its
//! bytes are passed on unchanged.
//!
//! Messages of other servers are no requests: their own server has passed them on.
//! nats: server/client.go `processServiceImport`, `setupResponseServiceImport`; server/accounts.go
//! `processServiceImportResponse`, `newServiceReply`

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::account::Account;
use crate::account::responses::Response;
use crate::base::ids::Kind;
use crate::codec::client_info::ClientInfo;
use crate::codec::msg_trace;
use crate::config::imports::{ServiceExport, ServiceImport};
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::deliver::Delivery;
use crate::deliver::beyond::Request;
use crate::deliver::latency::Failure;
use crate::deliver::msg_trace::{Passage, add_missing};
use crate::deliver::row::{Publisher, Scope};
use crate::deliver::tails::MadeTail;
use crate::parser::Publish;

/// Time to make a request of a message, or an answer, nanoseconds, about.
const REQUEST_NS: usize = 1_000;

/// Requests and answers that one message becomes, one after the other or at the same time. Not a
/// limit of the real server, where a message passes each service once in each order.
const REQUESTS_MAX: usize = 64;

/// A service that a message has passed.
#[derive(Clone)]
pub(super) enum Hop {
    Request(Arc<ServiceImport>),
    Answer(Arc<ServiceExport>),
}

/// The way of the message that is being delivered.
#[derive(Default)]
pub(super) struct Way {
    /// The services that it has passed; none for a message as it was published.
    pub(super) hops: Vec<Hop>,
    /// The requests and answers that the published message has become so far.
    pub(super) count: usize,
}

impl Hop {
    fn export(&self) -> &Arc<ServiceExport> {
        match self {
            Hop::Request(import) => &import.export,
            Hop::Answer(export) => export,
        }
    }
}

impl Way {
    /// True if the message may pass a service.
    fn may_pass(&mut self, export: &Arc<ServiceExport>) -> bool {
        self.count += 1;
        let passed = |hop: &Hop| Arc::ptr_eq(hop.export(), export);
        self.count <= REQUESTS_MAX && !self.hops.iter().any(passed)
    }
}

impl Delivery {
    /// Passes a message of the account `importer` on as a request. True if it reached a receiver.
    pub(super) fn ask(
        &mut self,
        importer: &Arc<Account>,
        Request { import, exporter, subject }: &Request,
        publish: &Publish<'_>,
        publisher: Publisher<'_>,
    ) -> bool {
        if publisher.conn.kind == Kind::Route || !self.way.may_pass(&import.export) {
            return false;
        }
        self.staging.add_work(REQUEST_NS);
        let conn = publisher.conn;
        let sample = self.sample(import, publish, conn);
        if let Some(sample) = &sample
            && publish.reply.is_empty()
        {
            self.report_failure(exporter, &import.export, sample, Failure::BadRequest);
        }
        let response = Response::new(importer, publish.reply, conn, &import.export);
        let reply = self.open(exporter, Response { sample, ..response });
        let mut block = Vec::new();
        self.request_info(importer, import, conn).write_block(publish.header(), &mut block);
        let mapped = self.map(exporter, subject);
        let subject = mapped.as_ref().map_or(&**subject, |mapped| &mapped.subject);
        let passage = match self.is_traced() {
            true => {
                let response = Response::new(importer, b"", conn, &import.export);
                let response = import.export.allow_trace.then_some(response);
                self.trace_import(exporter, (publish.subject, subject), response, &mut block)
            }
            false => {
                msg_trace::keep_untraced(publish.header(), &mut block);
                Passage::Untraced
            }
        };
        let mut reached = false;
        if !matches!(passage, Passage::Ended) {
            let tail = MadeTail::new(&reply, &block, publish.payload());
            let request = tail.publish(subject, &reply);
            self.way.hops.push(Hop::Request(Arc::clone(import)));
            reached = self.deliver_one(exporter, &request, Scope::OWN, publisher).reached;
            self.way.hops.pop();
        }
        self.end_passage(passage, exporter);
        if self.is_only_traced() {
            exporter.close_request(&reply);
        }
        if !reached && let Some(response) = exporter.close_request(&reply) {
            self.report(exporter, &response, Failure::ServiceUnavailable);
        }
        reached
    }

    /// Passes a message of the account `exporter` on to the requester, if it answers a request.
    pub(super) fn answer(
        &mut self,
        exporter: &Arc<Account>,
        publish: &Publish<'_>,
        publisher: Publisher<'_>,
    ) {
        let Some(response) = exporter.take_response(publish.subject, self.now) else { return };
        if !self.way.may_pass(&response.export) {
            return;
        }
        self.staging.add_work(REQUEST_NS);
        self.measure_answer(exporter, publish.subject, &response, publisher);
        let Response { importer, reply: subject, export, of_trace, .. } = &response;
        let (mut passage, mut block) = (Passage::Untraced, Vec::new());
        if self.is_traced() {
            block.extend_from_slice(publish.header());
            passage = self.trace_import(importer, (publish.subject, subject), None, &mut block);
        }
        if matches!(passage, Passage::Ended) {
            return;
        }
        let reply = Response::new(exporter, publish.reply, publisher.conn, export);
        let reply = self.open(importer, reply);
        let tail = if reply.is_empty() { publish.tail } else { b"" };
        let made = (!block.is_empty()).then(|| MadeTail::new(&reply, &block, publish.payload()));
        let answer = match &made {
            None => Publish { subject, reply: &reply, tail, ..*publish },
            Some(made) => made.publish(subject, &reply),
        };
        self.way.hops.push(Hop::Answer(Arc::clone(export)));
        let reached = self.deliver_one(importer, &answer, Scope::OWN, publisher).reached;
        self.way.hops.pop();
        self.end_passage(passage, importer);
        if !reached {
            importer.close_request(&reply);
        }
        if let Some(missing) = of_trace {
            // One in an encoding is not read: then the time of the request ends it.
            let hops = msg_trace::hops_of(publish.payload());
            hops.inspect(|hops| add_missing(exporter, publish.subject, missing, hops - 1));
        } else if response.streams() && (!reached || publish.message.is_empty()) {
            exporter.close_request(publish.subject);
        }
    }

    /// Forgets requests whose replies only these subscriptions waited for, and reports them.
    #[cold]
    pub(super) fn close_unwanted(&mut self, account: &Account, gone: &[Subscription]) {
        for (server, response) in account.close_unwanted(gone) {
            self.report(&server, &response, Failure::RequestTimeout);
        }
    }

    /// Opens a request to a service of the account `server`, and returns the subject there that
    /// stands for its reply; empty if it has none.
    pub(super) fn open(&mut self, server: &Arc<Account>, response: Response) -> Vec<u8> {
        if response.reply.is_empty() {
            return Vec::new();
        }
        let Delivery { secrets, staging, registry, now, .. } = self;
        let prefix = server.response_prefix(secrets, |prefix| {
            let Some(own) = registry.system() else { return };
            let subject = [prefix, b">"].concat();
            let interest = Subscription::inline(&own, &server.name, &subject);
            server.insert(interest, |route| staging.mark(route));
        });
        let subject = server.open_request(response, prefix, *now, secrets);
        registry.watch_requests();
        subject
    }

    /// The requester, as the account of a service gets to know it: by the rule of the first import
    /// on the way.
    fn request_info<'a>(
        &'a self,
        importer: &'a Account,
        import: &'a ServiceImport,
        conn: &Conn,
    ) -> ClientInfo<'a> {
        let passed = self.way.hops.iter().rev().map_while(|hop| match hop {
            Hop::Request(import) => Some(&**import),
            Hop::Answer(_) => None,
        });
        let first = passed.clone().last();
        let mut info = match first.unwrap_or(import).share {
            true => self.registry.client_info(conn),
            false => ClientInfo::default(),
        };
        info.acc = first.map_or(&*importer.name, |first| &first.importer).into();
        info.svc = first.map_or("", |_| &importer.name).into();
        info.rtt = conn.rtt();
        let system_account = self.settings.options.system_account();
        let is_shown =
            |import: &ServiceImport| import.share || system_account == Some(&import.exporter);
        if passed.chain([import]).any(is_shown) {
            let server = self.registry.info();
            info.server = server.server_name.into();
            info.cluster = server.cluster.into();
        }
        info
    }
}
