//! The events that the server publishes in the system account by itself.
//!
//! Some come from the queue of the registry, a few in each turn. Others are due: statistics, and
//! the counts of accounts once more. An event without a listener costs no text. All go out in the
//! order of their numbers.
//! nats: server/events.go `accountConnectEvent`, `accountDisconnectEvent`, `sendAuthErrorEvent`,
//! `sendAccConnsUpdate`, `sendStatsz`, `sendShutdownEvent`, `sendLDMShutdownEventLocked`
//! nats-differs: there, nothing is published after LAMEDUCK.

mod body;
mod pace;
mod survey;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::account::listeners::Heard;
use crate::base::closed_reason::ClosedReason;
use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::codec::date::Date;
use crate::codec::msg_trace::MsgTrace;
use crate::deliver::Delivery;
use crate::monitor::json::Document;
use crate::monitor::{accountz, statsz};
use crate::registry::events::{ClientEvent, Event};
use crate::system::System;

use body::{Advisory, ClientBody, End, StatszBody, TraceBody};
use pace::Pace;
use survey::Survey;

/// The counts of an account with clients go out again after so long without a change.
///
/// nats: server/events.go `eventsHBInterval`
const CONNS_INTERVAL: Duration = Duration::from_secs(30);

/// The least time between two looks for those that are due.
const CONNS_LOOK_MIN: Duration = Duration::from_secs(1);

/// Subject of a failed login, in the account of the user that the client claimed to be.
const AUTH_ERROR: &str = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

/// The times of events that are due, and the numbers in them.
pub(super) struct Schedule {
    statsz: Pace,
    survey: Survey,
    /// The times of the last counts of accounts, by their ids.
    conns_sent: HashMap<u32, Moment>,
    /// The time of the next look for counts that are due.
    conns_at: Moment,
}

impl Schedule {
    /// That of a server that starts.
    pub(super) fn new(start: Moment) -> Schedule {
        Schedule {
            statsz: Pace::new(start),
            survey: Survey::default(),
            conns_sent: HashMap::new(),
            conns_at: start + CONNS_INTERVAL,
        }
    }

    /// Notes that the counts of an account go out now.
    fn note_conns(&mut self, account: &Account, now: Moment) {
        if account.usage().client_count == 0 {
            self.conns_sent.remove(&account.id);
            return;
        }
        self.conns_sent.insert(account.id, now);
        self.conns_at = self.conns_at.min(now + CONNS_INTERVAL);
    }

    /// The next time when something is due.
    pub(super) fn due(&self) -> Moment {
        self.statsz.due.min(self.conns_at)
    }
}

impl System {
    /// Publishes queued events, as many as a turn has time for.
    pub(super) fn publish_events(&mut self, delivery: &mut Delivery) -> Left {
        let _ = self.schedule.survey.go_on(&self.registry);
        while !delivery.staging.is_turn_over() && !delivery.has_left() {
            let Some(event) = self.registry.events.pop() else {
                let dropped = self.registry.events.take_dropped();
                if dropped > 0 {
                    tracing::warn!("{dropped} events dropped: too many at once");
                }
                let surveys = self.schedule.survey.is_under_way();
                return if surveys { Left::More } else { Left::Nothing };
            };
            self.publish_event(event, delivery);
        }
        Left::More
    }

    /// Publishes what is due.
    pub(super) fn publish_due(&mut self, delivery: &mut Delivery) {
        let now = delivery.now;
        if now >= self.schedule.statsz.due && self.schedule.statsz.tick(now) {
            self.send_statsz(delivery);
        }
        if now >= self.schedule.conns_at {
            self.queue_conns(delivery);
        }
    }

    /// Publishes the statistics of this server, unless it has just done so.
    pub(super) fn broadcast_statsz(&mut self, delivery: &mut Delivery) {
        if self.schedule.statsz.go(delivery.now) {
            self.send_statsz(delivery);
        }
    }

    fn send_statsz(&mut self, delivery: &mut Delivery) {
        let subject = self.own_subject("STATSZ");
        let account = delivery.settings.system_account();
        if account.is_some_and(|account| account.has_listener(subject.as_bytes())) {
            self.publish_statsz(subject.as_bytes(), delivery);
        }
    }

    fn publish_event(&mut self, event: Event, delivery: &mut Delivery) {
        let settings = Arc::clone(&delivery.settings);
        let Some(system_account) = settings.system_account() else {
            if let Event::MsgTrace(trace) = event {
                self.publish_trace(&trace, delivery);
            }
            return;
        };
        match event {
            Event::Conns(account) => {
                self.schedule.note_conns(&account, delivery.now);
                let id = delivery.draw_id();
                for subject in Heard::CONNS.subjects(&account.name) {
                    if system_account.has_listener(subject.as_bytes()) {
                        self.publish_conns(&account, subject.as_bytes(), &id, delivery);
                    }
                }
            }
            Event::Connect(event) => {
                for subject in Heard::CONNECT.subjects(&event.account.name) {
                    self.publish_client(system_account, &subject, &event, None, delivery);
                }
            }
            Event::Disconnect(event, reason) => {
                for subject in Heard::DISCONNECT.subjects(&event.account.name) {
                    self.publish_client(system_account, &subject, &event, Some(reason), delivery);
                }
            }
            Event::AuthError(event, reason) => {
                self.publish_client(&event.account, AUTH_ERROR, &event, Some(reason), delivery);
                let account = Arc::clone(settings.accounts.global());
                let event = ClientEvent { account, ..event };
                let subject = self.own_subject("CLIENT.AUTH.ERR");
                self.publish_client(system_account, &subject, &event, Some(reason), delivery);
            }
            Event::MsgTrace(trace) => self.publish_trace(&trace, delivery),
            Event::ServerGone => self.forget_gone(delivery),
            Event::LameDuck => {
                self.schedule.statsz.end();
                self.publish_info(system_account, "LAMEDUCK", delivery);
            }
            Event::Shutdown => {
                self.publish_info(system_account, "SHUTDOWN", delivery);
                self.conn.close(ClosedReason::ServerShutdown, false);
            }
        }
    }

    /// Publishes the trace of a message in its account.
    fn publish_trace(&mut self, trace: &MsgTrace, delivery: &mut Delivery) {
        let account = delivery.settings.accounts.find(trace.account().as_bytes());
        let Some(account) = account.cloned() else { return };
        let mut text = Vec::new();
        self.name_server(|_, server| {
            TraceBody { server, story: &trace.story }.write_compact(&mut text)
        });
        self.publish_encoded(&account, &trace.dest, trace.encoding, (&text, b""), delivery);
    }

    /// Publishes something that has happened to a client: its end with a `reason`, or its login.
    fn publish_client(
        &mut self,
        to: &Arc<Account>,
        subject: &str,
        event: &ClientEvent,
        reason: Option<ClosedReason>,
        delivery: &mut Delivery,
    ) {
        if !to.has_listener(subject.as_bytes()) {
            return;
        }
        let ClientEvent { conn, account, at } = event;
        let timestamp = Date(self.registry.date(*at));
        let mut client = self.registry.client_info(conn);
        client.acc = (&*account.name).into();
        client.name_tag = client.acc.clone();
        let mut type_ = body::CONNECT;
        if reason.is_some() {
            type_ = body::DISCONNECT;
            client.rtt = conn.rtt();
            client.stop = timestamp.to_string().into();
        }
        let body = ClientBody { client, end: reason.map(|reason| End::new(conn, reason)) };
        let id = delivery.draw_id();
        self.tell(to, subject.as_bytes(), delivery, |_, server, text| {
            Advisory { type_, id: &id, timestamp, server, body }.write_compact(text)
        });
    }

    /// Publishes the counts of an account.
    pub(super) fn publish_conns(
        &mut self,
        account: &Arc<Account>,
        subject: &[u8],
        id: &str,
        delivery: &mut Delivery,
    ) {
        let settings = Arc::clone(&delivery.settings);
        let Some(system_account) = settings.system_account() else { return };
        self.schedule.survey.renew(&self.registry, &settings, delivery.now);
        let (usage, traffic) = (account.usage(), self.schedule.survey.traffic(account));
        let timestamp = Date(self.registry.date(delivery.now));
        self.tell(system_account, subject, delivery, |view, server, text| {
            let body = accountz::account_stat(view, account, &usage, &traffic);
            let type_ = body::ACCOUNT_CONNECTIONS;
            Advisory { type_, id, timestamp, server, body }.write_compact(text)
        });
    }

    /// Queues the counts of accounts that are due.
    fn queue_conns(&mut self, delivery: &Delivery) {
        let (now, settings) = (delivery.now, &delivery.settings);
        let mut next = now + CONNS_INTERVAL;
        for account in settings.accounts.iter() {
            if account.usage().client_count == 0 {
                continue;
            }
            match self.schedule.conns_sent.get(&account.id).map(|sent| *sent + CONNS_INTERVAL) {
                Some(due) if due > now => next = next.min(due),
                _ => self.registry.note(Event::Conns(Arc::clone(account)), settings),
            }
        }
        self.schedule.conns_at = next.max(now + CONNS_LOOK_MIN);
    }

    /// Publishes the statistics of this server on that subject.
    pub(super) fn publish_statsz(&mut self, subject: &[u8], delivery: &mut Delivery) {
        let Some(account) = delivery.settings.system_account().cloned() else { return };
        let active_servers = self.active_servers();
        self.tell(&account, subject, delivery, |view, server, text| {
            let statsz = statsz::statsz(view, active_servers);
            StatszBody { server, statsz }.write_compact(text)
        });
    }

    /// Publishes that this server goes.
    fn publish_info(&mut self, account: &Arc<Account>, what: &str, delivery: &mut Delivery) {
        let subject = self.own_subject(what);
        self.tell(account, subject.as_bytes(), delivery, |_, server, text| {
            server.write_compact(text)
        });
    }
}
