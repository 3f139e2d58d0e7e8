//! A client whose account has new imports: it renews the shadows of its subscriptions.
//!
//! That goes in pieces, while the client waits, so that its next PONG vouches for the end. All get
//! their new shadows before any loses old ones: other servers see no more changes than there are.
//! Shadows for imports that stay remain, and those for other imports have no effect any more.
//! nats: server/client.go `processSubsOnConfigReload`

use std::sync::Arc;

use crate::account::Account;
use crate::base::left::Left;
use crate::base::table::Walk;
use crate::client::{Client, State};
use crate::config::imports::AccountImports;
use crate::conn::subscription::{Shadow, Subscription};
use crate::deliver::{Delivery, listing_ns};
use crate::registry::settings::Settings;
use crate::sublist::Entry;

/// Subscriptions whose shadows are renewed in a turn.
const RENEW_COUNT: usize = if cfg!(test) { 3 } else { 64 };

/// Time to compare a subject with an import, nanoseconds, about.
const IMPORT_NS: usize = 50;

/// Two walks over the subscriptions: the first one makes new shadows, the second one removes old
/// ones.
pub(super) struct Renewal {
    walk: Walk,
    /// The next ones.
    some: Vec<Subscription>,
    second: bool,
}

impl Client {
    /// Makes the shadows of a new subscription.
    pub(super) fn import(
        &self,
        account: &Account,
        original: &Subscription,
        delivery: &mut Delivery,
    ) {
        let imports = delivery.settings.accounts.imports(account);
        let shadows = self.conn.subscriptions().import(original, imports);
        delivery.staging.add_work(imports.streams.len() * IMPORT_NS);
        delivery.staging.add_work(shadows.len() * listing_ns(original.subject()));
        delivery.insert_shadows(&shadows);
    }

    /// Begins to renew all shadows if the account has other imports than they.
    pub(super) fn begin_renewal(&mut self, settings: &Settings) {
        let State::Open(admitted) = &self.state else { return };
        let imports = settings.accounts.imports(&admitted.account);
        if self.conn.subscriptions().renew_imports(imports) {
            let renewal = Renewal { walk: Walk::new(), some: Vec::new(), second: false };
            self.rare.get_or_insert_default().renewal = Some(Box::new(renewal));
        }
    }

    /// Renews the shadows of some subscriptions.
    pub(super) fn renew_on(&mut self, delivery: &mut Delivery) -> Left {
        let renewal = self.rare.as_mut().and_then(|rare| rare.renewal.take());
        let (Some(mut renewal), State::Open(admitted)) = (renewal, &self.state) else {
            return Left::Nothing;
        };
        let Renewal { walk, some, second } = &mut *renewal;
        if some.is_empty() && !walk.is_over() {
            some.extend(self.conn.subscriptions().step(walk).cloned());
        }
        let imports = Arc::clone(delivery.settings.accounts.imports(&admitted.account));
        for original in some.drain(some.len().saturating_sub(RENEW_COUNT)..) {
            delivery.staging.add_work(imports.streams.len() * IMPORT_NS);
            match second {
                false => make_shadows(&original, &imports, delivery),
                true => remove_shadows(&original, &imports, delivery),
            }
        }
        if some.is_empty() && walk.is_over() {
            if *second {
                self.begin_grace(delivery);
                return Left::Nothing;
            }
            (*walk, *second) = (Walk::new(), true);
        }
        self.rare.get_or_insert_default().renewal = Some(renewal);
        Left::More
    }
}

/// Makes the shadows of a subscription for those imports for which it has none.
fn make_shadows(original: &Subscription, imports: &AccountImports, delivery: &mut Delivery) {
    let mut new = Shadow::all(original, imports);
    let mut own = original.conn().subscriptions();
    let known = own.shadows(original);
    new.retain(|new| !known.iter().any(|known| Arc::ptr_eq(&known.import, &new.import)));
    own.add_shadows(original, new.clone());
    drop(own);
    delivery.staging.add_work(new.len() * listing_ns(original.subject()));
    delivery.insert_shadows(&new);
    // A delivery of another worker may have removed it meanwhile, before its shadows were listed.
    if !original.conn().subscriptions().holds(original) {
        delivery.remove_shadows(&new);
    }
}

/// Removes the shadows of a subscription for other imports.
fn remove_shadows(original: &Subscription, imports: &AccountImports, delivery: &mut Delivery) {
    let mut own = original.conn().subscriptions();
    let gone = own.take_shadows(original, |shadow| !imports.holds(&shadow.import));
    drop(own);
    delivery.remove_shadows(&gone);
}
