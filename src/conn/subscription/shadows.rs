//! `Shadows`: the subscriptions in other accounts by which some of a connection get messages that
//! their account imports.
//!
//! A *shadow* is listed in the exporting account, and is announced to other servers as any interest
//! there. A delivery to it goes to its original, under the importer's name of the subject; so sid,
//! counters, limit and permissions are those of the original. Whoever removes the original takes
//! its shadows out with it, and removes them from their accounts.
//! nats: server/client.go `addShadowSubscriptions`

use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::table::Table;
use crate::config::imports::{AccountImports, StreamImport};
use crate::conn::subscription::{Subscription, hash};
use crate::sublist::Entry;

/// A subscription in the account of an exporter.
#[derive(Clone)]
pub struct Shadow {
    /// As that account lists it.
    pub subscription: Subscription,
    /// The import that it is for.
    pub import: Arc<StreamImport>,
}

/// The shadows of one connection.
pub(super) struct Shadows {
    /// The imports that they are for.
    imports: Arc<AccountImports>,
    by_original: Table<Shadowed>,
    random: RandomState,
}

/// A subscription with shadows.
struct Shadowed {
    original: Subscription,
    /// Not empty.
    shadows: Vec<Shadow>,
}

impl Shadow {
    /// The shadow of a subscription for an import, if they have subjects in common.
    pub fn new(original: &Subscription, import: &Arc<StreamImport>) -> Option<Shadow> {
        let remote = import.subjects.remote_part(original.subject())?;
        let subscription = Subscription::shadow(original, &remote);
        Some(Shadow { subscription, import: Arc::clone(import) })
    }

    /// The shadows of a subscription for all imports.
    pub fn all(original: &Subscription, imports: &AccountImports) -> Vec<Shadow> {
        imports.streams.iter().filter_map(|import| Shadow::new(original, import)).collect()
    }
}

impl Shadows {
    pub(super) fn new(imports: Arc<AccountImports>) -> Shadows {
        Shadows { imports, by_original: Table::new(), random: RandomState::default() }
    }

    /// Sets the imports that they are for; true if these are others than before.
    pub(super) fn set_imports(&mut self, imports: Arc<AccountImports>) -> bool {
        !Arc::ptr_eq(&std::mem::replace(&mut self.imports, Arc::clone(&imports)), &imports)
    }

    /// Those of a subscription.
    pub(super) fn of(&self, original: &Subscription) -> &[Shadow] {
        self.find(original.sid()).map_or(&[], |found| &found.shadows)
    }

    /// The original of a shadow, and the import.
    pub(super) fn original(
        &self,
        shadow: &Subscription,
    ) -> Option<(&Subscription, &Arc<StreamImport>)> {
        let Shadowed { original, shadows } = self.find(shadow.sid())?;
        let shadow = shadows.iter().find(|one| one.subscription.is_same(shadow))?;
        Some((original, &shadow.import))
    }

    fn find(&self, sid: &[u8]) -> Option<&Shadowed> {
        self.by_original.find(hash(&self.random, &[sid]), |one| one.original.sid() == sid)
    }

    /// Adds shadows of a subscription.
    pub(super) fn add(&mut self, original: &Subscription, shadows: Vec<Shadow>) {
        if shadows.is_empty() {
            return;
        }
        let Shadows { by_original, random, .. } = self;
        let hash_of = |one: &Shadowed| hash(random, &[one.original.sid()]);
        let one = Shadowed { original: original.clone(), shadows };
        let is_like = |known: &Shadowed, one: &Shadowed| known.original.is_same(&one.original);
        let join = |known: &mut Shadowed, one: Shadowed| known.shadows.extend(one.shadows);
        by_original.insert_or(hash_of(&one), one, is_like, join, hash_of);
    }

    /// Takes out those of a subscription for which `goes` is true.
    pub(super) fn take(
        &mut self,
        original: &Subscription,
        goes: impl Fn(&Shadow) -> bool,
    ) -> Vec<Shadow> {
        let Shadows { by_original, random, .. } = self;
        let hash_of = |one: &Shadowed| hash(random, &[one.original.sid()]);
        let mut taken = Vec::new();
        let leaves = |one: &mut Shadowed| {
            taken.extend(one.shadows.extract_if(.., |shadow| goes(shadow)));
            one.shadows.is_empty()
        };
        let is_it = |one: &Shadowed| one.original.is_same(original);
        by_original.remove_if(hash(random, &[original.sid()]), is_it, leaves, hash_of);
        taken
    }

    /// Takes out some of them, about `count_max`; none if none are left.
    pub(super) fn take_some(&mut self, count_max: usize) -> Vec<Shadow> {
        let each_max = self.imports.streams.len().max(1);
        let some = self.by_original.take_some(count_max.div_ceil(each_max));
        some.into_iter().flat_map(|one| one.shadows).collect()
    }
}
