//! A client under new settings: whether it is still the user that it was, and which of its
//! subscriptions it keeps.
//!
//! Its last credentials are judged anew. A password that once fitted a hash is not compared with
//! the same hash again. Where permissions have changed, the subscriptions are reviewed in pieces;
//! meanwhile the client waits, so that its next PONG vouches for the end.
//! nats: server/reload.go `reloadAuthorization`; server/client.go `processSubsOnConfigReload`

use std::sync::Arc;

use crate::auth::permissions::CompiledPermissions;
use crate::auth::{Identity, Verdict};
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::{Denied, ProtoErr};
use crate::base::left::Left;
use crate::base::quoted::Quoted;
use crate::base::table::Walk;
use crate::client::{Admitted, Client, State};
use crate::codec::connect::Connect;
use crate::conn::conn_event;
use crate::conn::subscription::Subscription;
use crate::deliver::{Delivery, listing_ns};
use crate::registry::settings::Settings;
use crate::sublist::Entry;

impl Client {
    /// Judges by new settings who the client is. A login under way begins anew.
    ///
    /// nats-differs: there, all clients with a name are disconnected at each reload where no
    /// users are listed, and those at their limit of subscriptions too.
    ///
    /// # Errors
    /// It is no user any more, or another one; or it has more subscriptions than it may have.
    pub(super) fn judge_anew(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let pending = self.rare.as_mut().and_then(|rare| rare.login.take());
        let judged = self.rare.as_mut().is_some_and(|rare| std::mem::take(&mut rare.judged));
        if let Some(login) = pending
            && !judged
        {
            let credentials = self.rare.as_ref().and_then(|rare| rare.credentials.clone());
            let mut connect = Connect { credentials, ..login.connect };
            let verdict = self.verdict(&mut connect, &delivery.settings);
            connect.credentials = None;
            return self.log_in(connect, verdict, delivery);
        }
        if matches!(self.state, State::ExpectConnect) {
            return Ok(());
        }
        let mut connect = self.connect();
        self.add_cookies(&mut connect);
        let mut verdict = self.verdict(&mut connect, &delivery.settings);
        if let Verdict::Pending(check) = verdict {
            let proven = self.rare.as_ref().and_then(|rare| rare.proven.as_ref());
            // While a check is under way, its hash is not proven.
            verdict = check.repeat(proven.filter(|_| !judged));
        }
        if let Verdict::Pending(check) = verdict {
            // Its rights do not wait for the check of its password.
            self.stay(check.user(), delivery)?;
            self.expect_verdict(connect, check);
            self.rare.get_or_insert_default().judged = true;
            return Ok(());
        }
        self.handle_judgement(verdict, delivery)
    }

    /// The verdict on a CONNECT by these settings.
    fn verdict(&self, connect: &mut Connect, settings: &Settings) -> Verdict {
        let nonce = self.rare.as_ref().map_or(&b""[..], |rare| rare.nonce.as_bytes());
        self.check(connect, nonce, &settings.clients(self.connection_type).authenticator)
    }

    /// Stays connected, or not.
    pub(super) fn handle_judgement(
        &mut self,
        verdict: Verdict,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        if let Verdict::Admitted(user) = verdict {
            return self.stay(&user, delivery);
        }
        let authenticator = &delivery.settings.clients(self.connection_type).authenticator;
        let user = self.conn.about().user;
        Err(match user.is_none_or(|user| authenticator.knows(&user)) {
            true => ProtoErr::AuthorizationViolation,
            false => ProtoErr::Refused(ClosedReason::ClientClosed),
        })
    }

    /// Goes on as that user, if it is the one that it was.
    fn stay(&mut self, user: &Identity, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let State::Open(admitted) = &mut self.state else { return Ok(()) };
        let account = delivery.settings.accounts.of_user(user.account.as_deref());
        if account.is_none_or(|account| !Arc::ptr_eq(account, &admitted.account)) {
            return Err(ProtoErr::Refused(ClosedReason::ClientClosed));
        }
        let max_subscriptions = admitted.account.limits().max_subscriptions;
        if max_subscriptions.is_some_and(|max| self.conn.subscriptions().len() > max) {
            return Err(ProtoErr::SurplusSubscriptions);
        }
        if !is_same(admitted.restriction(), user.permissions.as_ref()) {
            admitted.permissions.clone_from(&user.permissions);
            admitted.heed_mappings(&delivery.settings);
            let answered = self.conn.answers();
            self.conn.set_access(user.permissions.clone());
            if self.conn.answers() != answered {
                delivery.outdate_all(&admitted.account);
            }
            self.rare.get_or_insert_default().review = Some(Walk::new());
        }
        Ok(())
    }

    /// Reviews a piece of its subscriptions: those that are not permitted any more end.
    pub(super) fn review_on(&mut self, delivery: &mut Delivery) -> Left {
        let review = self.rare.as_mut().and_then(|rare| rare.review.take());
        let (Some(mut walk), State::Open(admitted)) = (review, &self.state) else {
            return Left::Nothing;
        };
        let Admitted { account, permissions } = admitted;
        let permissions = permissions.as_deref();
        let some: Vec<Subscription> = self.conn.subscriptions().step(&mut walk).cloned().collect();
        for subscription in &some {
            let (subject, queue) = (subscription.subject(), subscription.queue());
            delivery.staging.add_work(listing_ns(subject));
            if permissions.is_none_or(|permissions| permissions.can_subscribe(subject, queue)) {
                let rules =
                    permissions.map_or(0, |permissions| permissions.filters(subject, queue));
                if subscription.set_rules(rules) {
                    delivery.outdate(account, subscription);
                }
                continue;
            }
            delivery.remove(account, subscription);
            let sid = subscription.sid();
            let in_queue = queue.map(|queue| format!(" using queue {}", Quoted(queue)));
            conn_event!(
                INFO,
                &self.conn,
                "Removed sub {}{} (sid {}) - not authorized",
                Quoted(subject),
                in_queue.unwrap_or_default(),
                Quoted(sid)
            );
            let (subject, queue) = (subject.into(), queue.map(Into::into));
            let denied = Denied::Withdrawn { subject, queue, sid: sid.into() };
            self.refuse(&denied.into(), delivery);
        }
        if walk.is_over() {
            self.begin_grace(delivery);
            return Left::Nothing;
        }
        self.rare.get_or_insert_default().review = Some(walk);
        Left::More
    }
}

fn is_same(
    one: Option<&Arc<CompiledPermissions>>,
    other: Option<&Arc<CompiledPermissions>>,
) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}
