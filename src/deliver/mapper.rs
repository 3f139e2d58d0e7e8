//! `Mapper`: the mapped subjects of one worker, found again by the published ones.
//!
//! The search among the mappings of an account is done once for a subject, and its result kept
//! like a match, with a shortcut to the match that follows.
//! nats: server/client.go `selectMappedSubject`
//!
//! nats-differs: an answer of a service, on a subject of the server's own making, is never mapped;
//! and a subject longer than any that a client could publish is lost.

use std::rc::Rc;
use std::sync::Arc;

use crate::account::Account;
use crate::deliver::Delivery;
use crate::mappings::Mapping;
use crate::sublist::cache::{Cached, Lookup, MatchCache, Shortcut, Version};

/// Subjects of the server's own making begin with this.
const ANSWERS: &[u8] = b"_R_.";

/// Time to search for a mapping, nanoseconds, about.
const SEARCH_NS: usize = 300;

/// The mapped subjects of one worker.
#[derive(Default)]
pub(super) struct Mapper {
    found: MatchCache<Found>,
    /// The last subject by chance; the next one takes its memory.
    by_chance: Rc<Mapped>,
}

/// The result of a search for the mapping of a subject.
#[derive(Default)]
enum Found {
    /// The subject stays.
    #[default]
    Nothing,
    /// It always becomes this one.
    Subject(Rc<Mapped>),
    /// It becomes one by chance, for each message anew.
    Chance(Arc<Mapping>),
}

/// A subject in place of a published one.
#[derive(Clone, Default)]
pub struct Mapped {
    /// Empty if the message is lost.
    pub subject: Vec<u8>,
    /// Leads to its match; none if it is for one message only.
    pub shortcut: Option<Shortcut>,
}

impl Cached for Found {
    fn clear(&mut self) {
        *self = Found::Nothing;
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Found::Subject(mapped) => size_of::<Mapped>() + mapped.subject.capacity(),
            Found::Nothing | Found::Chance(_) => 0,
        }
    }

    fn fanout(&self) -> usize {
        0
    }
}

impl Delivery {
    /// The subject in place of one published in an account; none if that stays.
    // As a call, it would cost each mapped message a tenth.
    #[inline(always)]
    pub fn map(&mut self, account: &Account, subject: &[u8]) -> Option<Rc<Mapped>> {
        let Delivery { settings, mapper, picks, now, .. } = self;
        let mappings = settings.accounts.mappings(account)?;
        if subject.starts_with(ANSWERS) {
            return None;
        }
        let len_max = settings.options.max_control_line;
        let mut apply = |mapping: &Mapping, out: &mut Vec<u8>| {
            mapping.apply(subject, &mut picks.random, out);
            if out.len() > len_max {
                *out = Vec::new();
            }
        };
        let stamps = Version(settings.version);
        let found = match mapper.found.lookup(account.id, subject, &stamps, *now) {
            Lookup::Hit(found) => found,
            Lookup::Miss(found) => {
                self.staging.add_work(SEARCH_NS);
                *found = match mappings.find(subject) {
                    None => Found::Nothing,
                    Some(mapping) if !mapping.is_certain() => Found::Chance(Arc::clone(mapping)),
                    Some(mapping) => {
                        let mut out = Vec::with_capacity(subject.len());
                        apply(mapping, &mut out);
                        let shortcut = Some(Shortcut::default());
                        Found::Subject(Rc::new(Mapped { subject: out, shortcut }))
                    }
                };
                found
            }
        };
        match found {
            Found::Nothing => None,
            Found::Subject(mapped) => Some(Rc::clone(mapped)),
            Found::Chance(mapping) => {
                let mapped = Rc::make_mut(&mut mapper.by_chance);
                mapped.subject.clear();
                apply(mapping, &mut mapped.subject);
                Some(Rc::clone(&mapper.by_chance))
            }
        }
    }
}
