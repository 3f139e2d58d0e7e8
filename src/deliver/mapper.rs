//! `Mapper`: the mapped subjects of one worker, found again by the published ones.
//!
//! The search among the mappings of an account is done once for a subject, and its result kept
//! like a match.
//! nats: server/client.go `selectMappedSubject`
//!
//! nats-differs: an answer of a service, on a subject of the server's own making, is never mapped;
//! and a subject longer than any that a client could publish is lost.

use std::sync::Arc;

use crate::account::Account;
use crate::deliver::Delivery;
use crate::mappings::Mapping;
use crate::sublist::cache::{Cached, Lookup, MatchCache, Version};

/// Subjects of the server's own making begin with this.
const ANSWERS: &[u8] = b"_R_.";

/// The recent mappings of one worker.
pub(super) type Mapper = MatchCache<Found>;

/// The result of a search for the mapping of a subject.
#[derive(Default)]
pub(super) struct Found {
    /// None if the subject stays.
    mapping: Option<Arc<Mapping>>,
    is_certain: bool,
    /// The mapped subject, if it is certain.
    subject: Vec<u8>,
    /// The slot of the last match, in its cache.
    slot: usize,
}

/// The subject of a message after its account's mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// The published one.
    Same,
    /// Another one, for all messages on the published one.
    Other,
    /// Another one, for this message.
    OtherOnce,
}

impl Cached for Found {
    fn clear(&mut self) {
        self.mapping = None;
        self.subject.clear();
        (self.is_certain, self.slot) = (false, 0);
    }

    fn heap_bytes(&self) -> usize {
        self.subject.capacity()
    }

    fn fanout(&self) -> usize {
        0
    }
}

impl Delivery {
    /// Maps a subject published in an account. Another one is put into `mapped`, which is empty if
    /// the message is lost.
    // As a call, it would cost each mapped message a tenth.
    #[inline(always)]
    pub fn map(&mut self, account: &Account, subject: &[u8], mapped: &mut Vec<u8>) -> Mapped {
        let Delivery { settings, mapper, finder, picks, now, .. } = self;
        let Some(mappings) = settings.accounts.mappings(account) else { return Mapped::Same };
        if subject.starts_with(ANSWERS) {
            return Mapped::Same;
        }
        let len_max = settings.options.max_control_line;
        let mut apply = |mapping: &Mapping, out: &mut Vec<u8>| {
            mapping.apply(subject, &mut picks.random, out);
            if out.len() > len_max {
                *out = Vec::new();
            }
        };
        let stamps = Version(settings.version);
        let found = match mapper.lookup(account.id, subject, &stamps, *now) {
            Lookup::Hit(found) => found,
            Lookup::Miss(found) => {
                self.staging.add_work(SEARCH_NS);
                found.mapping = mappings.find(subject).cloned();
                if let Some(mapping) = found.mapping.as_ref().filter(|mapping| mapping.is_certain())
                {
                    found.is_certain = true;
                    apply(mapping, &mut found.subject);
                }
                found
            }
        };
        let Some(mapping) = &found.mapping else { return Mapped::Same };
        mapped.clear();
        if found.is_certain {
            finder.cache.look_at(found.slot);
            mapped.extend_from_slice(&found.subject);
            return Mapped::Other;
        }
        apply(mapping, mapped);
        Mapped::OtherOnce
    }

    /// Remembers the match of the message that was [mapped](Delivery::map) last, for certain: the
    /// search for the next one on its subject begins there.
    #[inline]
    pub fn note_match(&mut self) {
        if let Some(found) = self.mapper.last_value() {
            found.slot = self.finder.cache.last();
        }
    }
}

/// Time to search for a mapping, nanoseconds, about.
const SEARCH_NS: usize = 300;
