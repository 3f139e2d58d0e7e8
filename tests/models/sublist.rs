//! Subscriptions that all match the same subject.

#[path = "../../src/sublist/epochs.rs"]
mod epochs;
#[path = "../../src/sublist/token.rs"]
mod token;

use crate::base::sync::RwLock;
use epochs::Stamps;

pub(crate) struct Sublist {
    listed: RwLock<Vec<&'static [u8]>, 0>,
    epochs: epochs::Epochs,
}

impl Sublist {
    pub(crate) fn new(patterns: [&'static [u8]; 2]) -> Sublist {
        let sublist = Sublist { listed: RwLock::default(), epochs: epochs::Epochs::new() };
        sublist.listed.write().extend(patterns);
        sublist
    }

    pub(crate) fn stamp(&self, subject: &[u8]) -> u64 {
        self.epochs.stamp(subject)
    }

    pub(crate) fn count(&self) -> usize {
        self.listed.read().len()
    }

    pub(crate) fn remove(&self, pattern: &[u8]) {
        let mut listed = self.listed.write();
        listed.retain(|&one| one != pattern);
        self.epochs.bump(pattern);
    }
}
