//! `Account`: a subject space of its own, with the subscriptions in it.
//!
//! Locks: the sublist may be held while a connection's subscriptions are locked after it, never the
//! other way round.
//! nats: server/accounts.go `Account`

use std::sync::Arc;

use parking_lot::RwLock;

use crate::conn::subscription::Subscription;
use crate::sublist::Sublist;
use crate::sublist::epochs::Epochs;
use crate::sublist::result::MatchResult;

/// One account.
pub struct Account {
    /// Number that no other account of this server ever had; keys the match caches.
    pub id: u32,
    /// `$G` or a configured name.
    pub name: Box<str>,
    sublist: RwLock<Sublist<Subscription>>,
    epochs: Arc<Epochs>,
}

impl Account {
    /// An account without subscriptions.
    pub fn new(id: u32, name: &str) -> Account {
        let sublist = Sublist::new();
        let epochs = Arc::clone(sublist.epochs());
        Account { id, name: name.into(), sublist: RwLock::new(sublist), epochs }
    }

    /// Changes whenever what matches `subject` may have changed. To be read before
    /// [`match_into`](Account::match_into) when the result is kept.
    pub fn stamp(&self, subject: &[u8]) -> u64 {
        self.epochs.stamp(subject)
    }

    /// Fills `result` with what matches `subject`.
    pub fn match_into(&self, subject: &[u8], result: &mut MatchResult<Subscription>) {
        self.sublist.read().match_into(subject, result);
    }

    /// Lists a subscription; false if its subject is invalid.
    pub fn insert(&self, subscription: Subscription) -> bool {
        self.sublist.write().insert(subscription)
    }

    /// Forgets a subscription, if it is here.
    pub fn remove(&self, subscription: &Subscription) {
        self.sublist.write().remove(subscription);
    }

    /// Forgets many, letting others in between.
    pub fn remove_all(&self, subscriptions: &[Subscription]) {
        for some in subscriptions.chunks(REMOVE_CHUNK) {
            let mut sublist = self.sublist.write();
            for subscription in some {
                sublist.remove(subscription);
            }
        }
    }

    /// Makes cached matches forget what they know of a subscription whose limit changed.
    pub fn limit_changed(&self, subscription: &Subscription) {
        self.sublist.write().outdate(subscription);
    }

    /// Reads the sublist, for monitoring.
    pub fn with_sublist<T>(&self, read: impl FnOnce(&Sublist<Subscription>) -> T) -> T {
        read(&self.sublist.read())
    }
}

/// Subscriptions removed under one lock.
const REMOVE_CHUNK: usize = 256;
