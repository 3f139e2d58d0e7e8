//! Messages of other accounts: a client whose account imports some has shadows of its
//! subscriptions there.
//!
//! A subscription gets its shadows with SUB, and loses them with its end. After new imports the
//! client renews those of all its subscriptions in pieces. Each one gets its new shadows before it
//! loses old ones, so it misses no message of an import that stays; the others stop as soon as a
//! worker has the new settings.
//! nats: server/client.go `processSubsOnConfigReload`

use std::sync::Arc;

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
pub(super) const IMPORT_NS: usize = 50;

/// A walk over the subscriptions, to renew their shadows.
pub(super) struct Renewal {
    walk: Walk,
    /// The next ones.
    some: Vec<Subscription>,
}

impl Client {
    /// Begins to renew all shadows if the account has other imports than they.
    pub(super) fn begin_renewal(&mut self, settings: &Settings) {
        let State::Open(admitted) = &self.state else { return };
        let imports = settings.accounts.imports(&admitted.account);
        if self.conn.subscriptions().renew_imports(imports) {
            let renewal = Renewal { walk: Walk::new(), some: Vec::new() };
            self.rare.get_or_insert_default().renewal = Some(Box::new(renewal));
        }
    }

    /// Renews the shadows of some subscriptions.
    pub(super) fn renew_some(&mut self, delivery: &mut Delivery) -> Left {
        let State::Open(admitted) = &self.state else { return Left::Nothing };
        let Some(rare) = &mut self.rare else { return Left::Nothing };
        let Some(renewal) = &mut rare.renewal else { return Left::Nothing };
        if renewal.some.is_empty() && !renewal.walk.is_over() {
            let own = self.conn.subscriptions();
            renewal.some.extend(own.step(&mut renewal.walk).cloned());
        }
        let imports = Arc::clone(delivery.settings.accounts.imports(&admitted.account));
        let rest = renewal.some.len().saturating_sub(RENEW_COUNT);
        for original in renewal.some.drain(rest..) {
            renew(&original, &imports, delivery);
        }
        if !renewal.some.is_empty() || !renewal.walk.is_over() {
            return Left::More;
        }
        rare.renewal = None;
        if rare.is_over() {
            self.rare = None;
        }
        Left::Nothing
    }
}

/// Gives a subscription the shadows for these imports in place of others.
fn renew(original: &Subscription, imports: &AccountImports, delivery: &mut Delivery) {
    delivery.staging.add_work(imports.streams.len() * IMPORT_NS);
    let mut new = Shadow::all(original, imports);
    let mut own = original.conn().subscriptions();
    let known = own.shadows(original);
    new.retain(|new| !known.iter().any(|known| Arc::ptr_eq(&known.import, &new.import)));
    own.add_shadows(original, new.clone());
    drop(own);
    delivery.staging.add_work(new.len() * listing_ns(original.subject()));
    delivery.insert_shadows(&new);
    let mut own = original.conn().subscriptions();
    let mut gone = own.take_shadows(original, |shadow| !imports.holds(&shadow.import));
    // A delivery of another worker may have removed it meanwhile, before its shadows were listed.
    if !own.holds(original) {
        gone.extend(new);
    }
    drop(own);
    delivery.remove_shadows(&gone);
}
