//! Messages that subscriptions get because their account imports them from another one.
//!
//! The shadow of such a subscription is listed in the account of the exporter. A match takes the
//! original in its place, with a head that has the importer's name of the subject: a delivery from
//! the cache costs the same as one within an account.
//! nats: server/client.go `processMsgResults`

use std::slice;
use std::sync::Arc;

use crate::account::Account;
use crate::conn::subscription::{Shadow, Subscription};
use crate::deliver::Delivery;
use crate::deliver::matched::Matched;
use crate::deliver::row::Search;

impl Matched {
    /// Adds the original of a shadow, unless it is being removed, or must not get the subject.
    #[cold]
    pub(super) fn push_imported(&mut self, search: Search<'_>, shadow: &Subscription) {
        let Search { accounts, subject, imports, .. } = search;
        self.has_imported = true;
        if !imports {
            return;
        }
        let (original, import) = match shadow.conn().subscriptions().original(shadow) {
            Some((original, import)) => (original.clone(), Arc::clone(import)),
            None => return,
        };
        if accounts.have(&import) && import.grants.allow(subject, &import.importer) {
            // A message of a stream keeps its own subject.
            let remote = if import.subjects.is_same() { search.shown() } else { subject };
            self.push(import.subjects.to_local(remote, &mut Vec::new()), &original);
        }
    }
}

impl Delivery {
    /// Lists shadows in the accounts of the exporters, and stages the changes for routes.
    pub fn insert_shadows(&mut self, shadows: &[Shadow]) {
        for Shadow { subscription, import } in shadows {
            if let Some(exporter) = self.settings.accounts.find(import.exporter.as_bytes()) {
                exporter.insert(subscription.clone(), |route| self.staging.mark(route));
            }
        }
    }

    /// Removes shadows from the accounts of the exporters, and stages the changes for routes.
    pub fn remove_shadows(&mut self, shadows: &[Shadow]) {
        for Shadow { subscription, import } in shadows {
            if let Some(exporter) = self.settings.accounts.find_any(import.exporter.as_bytes()) {
                self.remove_all(&Arc::clone(exporter), slice::from_ref(subscription));
            }
        }
    }

    /// Outdates the cached matches of a subscription that has changed, in its account and in those
    /// from which it gets messages.
    pub fn outdate(&self, account: &Account, subscription: &Subscription) {
        account.outdate(subscription);
        let shadows = subscription.conn().subscriptions().shadows(subscription).to_vec();
        for Shadow { subscription, import } in &shadows {
            if let Some(exporter) = self.settings.accounts.find(import.exporter.as_bytes()) {
                exporter.outdate(subscription);
            }
        }
    }

    /// Outdates all cached matches with subscriptions of an account.
    pub fn outdate_all(&self, account: &Account) {
        account.outdate_all();
        let accounts = &self.settings.accounts;
        let imports = accounts.imports(account).streams.iter();
        let exporters = imports.filter_map(|import| accounts.find(import.exporter.as_bytes()));
        exporters.for_each(|exporter| exporter.outdate_all());
    }

    /// Removes a subscription from the account of its client, which is another one than that of the
    /// message.
    #[cold]
    pub(super) fn remove_at_home(&mut self, subscription: &Subscription) {
        let about = subscription.conn().about();
        if let Some(home) = self.settings.accounts.find_any(about.account().as_bytes()) {
            self.remove_all(&Arc::clone(home), slice::from_ref(subscription));
        }
    }
}
