//! A route under new settings: whether the other server may stay, and the interest that the two
//! tell each other.
//!
//! If the permissions of the cluster have changed, the other server gets an INFO, the interest that
//! may cross now, and the end of that which may not; its own interest is reviewed in pieces.
//! Interest in accounts that did not exist when it came is listed once they do.
//! nats: server/reload.go `reloadAuthorization`, `reloadClusterPermissions`

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Link;
use crate::auth::Verdict;
use crate::auth::permissions::CompiledPermissions;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::left::Left;
use crate::base::limits::UNLISTED_MAX;
use crate::base::table::Walk;
use crate::config::compression::Agreed;
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::deliver::{Delivery, listing_ns};
use crate::registry::settings::Settings;
use crate::route::{Announcing, Open, Route, State, write_ping};
use crate::sublist::Entry;

impl Route {
    /// Judges the other server, and its interest, by new settings.
    ///
    /// # Errors
    /// Its credentials are not accepted any more; or interest in a new account is not known, and a
    /// new connection has to tell it.
    pub(super) fn judge_anew(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.account = None;
        let pending = self.login.take().map(|login| login.connect);
        let is_pending = pending.is_some();
        if let Some(connect) = pending.or_else(|| self.accepted.as_deref().cloned()) {
            let mut verdict = self.check_login(&connect, &delivery.settings);
            if let Verdict::Pending(check) = verdict {
                // While a check is under way, its hash is not proven.
                verdict = check.repeat(self.proven.as_ref().filter(|_| !is_pending));
            }
            self.log_in(connect, verdict, delivery)?;
        }
        let permissions = &delivery.settings.routes.permissions;
        let before = self.conn.permissions();
        let changed = before.as_ref().map(Arc::as_ptr) != permissions.as_ref().map(Arc::as_ptr);
        if changed {
            self.conn.set_access(permissions.clone());
        }
        // Before that, its interest is reviewed when it is registered.
        let State::Open(open) = &mut self.state else { return Ok(()) };
        let account_count = delivery.settings.accounts.count();
        if self.unlisted.forgot_at.is_some_and(|count| count != account_count) {
            return Err(ProtoErr::Refused(ClosedReason::RouteRemoved));
        }
        if changed {
            open.relink(&self.conn, permissions);
        }
        if changed || self.unlisted.count > 0 {
            open.review = Some(Walk::new());
        }
        if changed {
            self.send_info(self.compression(&delivery.settings), delivery);
        }
        self.measure_for_compression(delivery);
        Ok(())
    }

    /// Asks for a PONG, which sets the level of compression, if it is not the configured one.
    fn measure_for_compression(&mut self, delivery: &mut Delivery) {
        let rtt = Duration::from_nanos(self.conn.rtt());
        let configured = delivery.settings.routes.cluster.compression.level(rtt);
        let agreed = match self.agreed {
            Some(Agreed::S2(level)) => level,
            Some(Agreed::Off | Agreed::NotSupported) | None => return,
        };
        if configured.is_some_and(|level| level != agreed) {
            self.pings.sent(delivery.now);
            write_ping(&self.conn, delivery);
        }
    }

    /// Announces all interest again, to a server that takes more of it now.
    pub(super) fn announce_anew(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if !open.spare {
            let import = self.conn.permissions();
            open.announce(&self.conn, &import, false);
            self.conn.wake();
        }
    }

    /// Keeps interest in an account that does not exist here.
    pub(super) fn keep_unlisted(
        &mut self,
        account: &[u8],
        subject: &[u8],
        (queue, weight): (Option<&[u8]>, u32),
        rules: u16,
        settings: &Settings,
    ) {
        if matches!(self.state, State::ExpectConnect | State::Leaving(_)) {
            return;
        }
        let mut known = self.conn.subscriptions();
        if let Some(known) = known.find_remote(account, subject, queue) {
            return known.set_weight(weight);
        }
        if self.unlisted.count == UNLISTED_MAX {
            self.unlisted.forgot_at.get_or_insert(settings.accounts.count());
            return;
        }
        self.unlisted.count += 1;
        let one = Subscription::remote(&self.conn, account, subject, queue, weight, rules);
        known.insert(one);
    }

    /// Reviews a piece of the other server's interest: ends that which it may not have any more,
    /// and lists that in accounts that exist now.
    pub(super) fn review_on(&mut self, delivery: &mut Delivery) -> Left {
        let State::Open(open) = &mut self.state else { return Left::Nothing };
        let Some(mut walk) = open.review.take() else { return Left::Nothing };
        let some: Vec<Subscription> = self.conn.subscriptions().step(&mut walk).cloned().collect();
        let settings = Arc::clone(&delivery.settings);
        let export = settings.routes.permissions.as_deref();
        for interest in &some {
            let subject = interest.subject();
            delivery.staging.add_work(listing_ns(subject));
            let account = settings.accounts.find_any(interest.sid());
            let is_unlisted = interest.is_unlisted();
            if export.is_some_and(|export| !export.can_export(subject)) {
                self.conn.subscriptions().remove(interest);
                self.unlisted.count -= usize::from(is_unlisted);
                if let Some(account) = account.filter(|_| !is_unlisted) {
                    delivery.remove_all(account, slice::from_ref(interest));
                }
                continue;
            }
            let rules = export.map_or(0, |export| export.export_rules(subject));
            let was_filtered = interest.is_filtered();
            interest.set_rules(rules);
            let Some(account) = account else { continue };
            if is_unlisted {
                self.unlisted.count -= 1;
                account.insert(interest.clone(), |_| {});
            } else if was_filtered || rules > 0 {
                // A match keeps the verdict, and the rules may be others.
                account.outdate(interest);
            }
        }
        if walk.is_over() {
            return Left::Nothing;
        }
        open.review = Some(walk);
        Left::More
    }
}

impl Open {
    /// Makes the accounts know that it may import other subjects now, and announces the difference.
    fn relink(&mut self, conn: &Arc<Conn>, import: &Option<Arc<CompiledPermissions>>) {
        for account in &self.carried {
            account.relink(Link::new(conn, import));
        }
        self.announce(conn, import, true);
    }

    /// Announces the interest of all accounts that it carries, from the start.
    fn announce(
        &mut self,
        conn: &Arc<Conn>,
        import: &Option<Arc<CompiledPermissions>>,
        withdraws: bool,
    ) {
        // What was under way and is not done may have been to withdraw some.
        let withdraws = withdraws || self.announcing.iter().any(|one| one.withdraws);
        let announcing = |account| Announcing::new(account, Link::new(conn, import), withdraws);
        self.announcing = self.carried.iter().map(announcing).collect();
    }
}
