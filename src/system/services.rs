//! The services of the system account: from a request to its answer.
//!
//! nats: server/events.go `initEventTracking`, `zReq`, `kickClient`, `userInfoReq`

use std::sync::Arc;

use crate::base::closed_reason::ClosedReason;
use crate::base::ids::Cid;
use crate::codec::json::{JsonError, Reader};
use crate::deliver::Delivery;
use crate::monitor::View;
use crate::monitor::json::Document;
use crate::monitor::query::Query;
use crate::parser::Publish;
use crate::system::System;
use crate::system::filter::Filter;
use crate::system::lists::{Job, Made, Task};
use crate::system::request::{Importer, Request};
use crate::system::server_info::ServerId;
use crate::system::subjects::Meaning;
use crate::system::user_info;

impl System {
    /// Handles a message to the server itself.
    pub(super) fn hear(&mut self, msg: &Publish<'_>, delivery: &mut Delivery) -> Option<()> {
        let request = Request { reply: msg.reply, header: msg.header(), body: msg.payload() };
        let is_request = !msg.reply.is_empty();
        match Meaning::of(msg.subject)? {
            Meaning::News { server_id, event } => {
                self.hear_news(server_id, event, request.body, delivery);
            }
            Meaning::Conns => self.hear_conns(request.body, delivery),
            Meaning::Server { service: "STATSZ" } => self.tell_statsz(&request, delivery),
            Meaning::Answer { token } => self.hear_count(token, request.body, delivery),
            _ if !is_request => {}
            Meaning::Account { account, service: "CONNS" } => {
                self.tell_conns(account, &request, delivery)?;
            }
            Meaning::UserInfo => self.tell_user(&request, delivery)?,
            Meaning::Server { service: "IDZ" } => self.identify(&request, delivery),
            Meaning::Server { service: "KICK" } => {
                self.act("KickClientReq", kick, &request, delivery);
            }
            Meaning::Server { service: "LDM" } => {
                self.act("LDMClientReq", ask_to_leave, &request, delivery);
            }
            Meaning::Server { service: "RELOAD" } => self.reload(&request, delivery),
            Meaning::Server { service } => {
                self.query(Query::of_service(service)?, None, &request, delivery);
            }
            Meaning::Account { account: "PING", service: "STATZ" } => {
                self.query(Query::of_account_service("STATZ")?, None, &request, delivery);
            }
            Meaning::Account { account, service } => {
                let query = Query::of_account_service(service)?;
                self.query(query, Some(account), &request, delivery);
            }
            Meaning::SubscriptionCount => self.count_for_server(&request, delivery),
            Meaning::Subscribers => self.count_for_client(&request, delivery),
        }
        Some(())
    }

    /// Tells a client who it is. One who has gone meanwhile is told nothing.
    fn tell_user(&mut self, request: &Request<'_>, delivery: &mut Delivery) -> Option<()> {
        let account = delivery.settings.system_account()?;
        let by_import = account.find_response(request.reply);
        let conn = match &by_import {
            Some(response) => Some(self.registry.conn_of(response.requester)?),
            None => None,
        };
        let importer = (by_import.as_ref().zip(conn.as_ref()))
            .map(|(response, conn)| Importer { account: &response.importer, conn });
        let answer = request.answer(Ok(user_info::user_info(importer.as_ref())));
        self.send(&answer, delivery);
        Some(())
    }

    /// Tells the statistics of this server, or all who listen if there is no reply subject.
    fn tell_statsz(&mut self, request: &Request<'_>, delivery: &mut Delivery) {
        if request.reply.is_empty() {
            return self.broadcast_statsz(delivery);
        }
        match read(request.body, "StatszEventOptions", |_, reader| reader.skip()) {
            Ok(filter) if self.look(|view| filter.admits(view)) => {
                self.publish_statsz(request.reply, delivery)
            }
            Ok(_) => {}
            Err(why) => self.send(&request.refused(&why), delivery),
        }
    }

    /// Tells the counts of an account with clients here.
    fn tell_conns(
        &mut self,
        account: &str,
        request: &Request<'_>,
        delivery: &mut Delivery,
    ) -> Option<()> {
        let mut named = account.to_owned();
        let overlay = |option: &str, reader: &mut Reader<'_>| match option {
            "acc" => reader.overlay_string(&mut named, "string"),
            _ => reader.skip(),
        };
        read(request.body, "accNumConnsReq", overlay).ok().filter(|_| named == account)?;
        let account = delivery.settings.accounts.find(account.as_bytes())?;
        if account.usage().client_count > 0 {
            let account = Arc::clone(account);
            let id = delivery.draw_id();
            self.publish_conns(&account, request.reply, &id, delivery);
        }
        Some(())
    }

    /// Tells the name and the id of the server, whatever the request says.
    fn identify(&mut self, request: &Request<'_>, delivery: &mut Delivery) {
        let mut text = Vec::new();
        self.look(|view| ServerId::new(view).write_compact(&mut text)).expect("memory takes it");
        self.send(&request.bare(text), delivery);
    }

    /// Answers with a document, that of `account` alone if one is named.
    fn query(
        &mut self,
        mut query: Query,
        account: Option<&str>,
        request: &Request<'_>,
        delivery: &mut Delivery,
    ) {
        let name = format!("{}EventOptions", query.options_name());
        let overlay = |option: &str, reader: &mut Reader<'_>| query.overlay(option, reader);
        let filter = match read(request.body, &name, overlay) {
            Ok(filter) => filter,
            Err(why) => return self.send(&request.refused(&why), delivery),
        };
        if let Some(account) = account {
            query.limit_to(account);
        }
        let is_list = query.is_list();
        let make = move |request: &Request<'_>, view: &View<'_>| {
            let answers = filter.admits(view) && !query.is_silent(view);
            answers.then(|| request.answer(query.document(view)))
        };
        if is_list {
            let make =
                |request: &Request<'_>, view: &View<'_>| make(request, view).map(Made::Answer);
            return self.make_later(Job::new(request, Task::Make(Box::new(make))), delivery);
        }
        if let Some(answer) = self.look(|view| make(request, view)) {
            self.send(&answer, delivery);
        }
    }

    /// Does something with the client that a body names. `name` is that of the options in the real
    /// server.
    ///
    /// nats-differs: there, a body that cannot be read gets no answer.
    fn act(
        &mut self,
        name: &str,
        action: fn(Cid, &View<'_>) -> Result<(), &'static str>,
        request: &Request<'_>,
        delivery: &mut Delivery,
    ) {
        let mut cid = 0;
        let overlay = |option: &str, reader: &mut Reader<'_>| overlay_cid(&mut cid, option, reader);
        let filter = match Filter::read(request.body, name, overlay) {
            Ok(filter) => filter,
            Err(why) => return self.send(&request.refused(&why), delivery),
        };
        // There may be many clients to find it among.
        let make = move |request: &Request<'_>, view: &View<'_>| {
            filter.admits(view).then(|| Made::Answer(request.done(action(Cid(cid), view))))
        };
        self.make_later(Job::new(request, Task::Make(Box::new(make))), delivery);
    }

    /// Has the configuration read again.
    fn reload(&mut self, request: &Request<'_>, delivery: &mut Delivery) {
        let filter = match read(request.body, "EventFilterOptions", |_, reader| reader.skip()) {
            Ok(filter) => filter,
            Err(why) => return self.send(&request.refused(&why), delivery),
        };
        if self.look(|view| filter.admits(view)) {
            self.make_later(Job::new(request, Task::Reload), delivery);
        }
    }

    /// Has a long answer made.
    pub(super) fn make_later(&mut self, job: Job, delivery: &mut Delivery) {
        if !self.lists.add(job) {
            delivery.counters.count_slow(self.conn.kind, true);
        }
        self.lists.start(&*self.outside, &self.conn);
    }

    /// Sends the long answer that has been made.
    pub(super) fn send_made(&mut self, delivery: &mut Delivery) {
        match self.lists.take_made() {
            Some(Made::Answer(answer)) => self.send(&answer, delivery),
            Some(Made::Count { token, number }) => self.add_count(&token, number, delivery),
            None => {}
        }
        self.lists.start(&*self.outside, &self.conn);
    }
}

/// Reads the body of a request, which may be empty.
fn read(
    body: &[u8],
    name: &str,
    overlay: impl FnMut(&str, &mut Reader<'_>) -> Result<(), JsonError>,
) -> Result<Filter, String> {
    if body.is_empty() { Ok(Filter::default()) } else { Filter::read(body, name, overlay) }
}

/// Takes the value of the option that names a client.
fn overlay_cid(cid: &mut u64, option: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
    if option == "cid" { reader.overlay_number(cid, "uint64") } else { reader.skip() }
}

/// Disconnects a client.
fn kick(cid: Cid, view: &View<'_>) -> Result<(), &'static str> {
    let client = view.registry.find_client(cid).ok_or("no such client or leafnode id")?;
    client.close(ClosedReason::Kicked, false);
    Ok(())
}

/// Asks a client to leave, as lame duck mode does.
fn ask_to_leave(cid: Cid, view: &View<'_>) -> Result<(), &'static str> {
    let client = view.registry.find_client(cid).ok_or("no such client id")?;
    if !client.takes_info() {
        return Err("client does not support Lame Duck Mode or is not ready to receive the \
                    notification");
    }
    client.bring_lame_duck();
    Ok(())
}
