//! `Finder`: finds the receivers of a subject, in the match cache or by a new match.

use crate::base::moment::Moment;
use crate::conn::subscription::Subscription;
use crate::deliver::matched::Matched;
use crate::deliver::row::Search;
use crate::deliver::staging::Staging;
use crate::sublist::cache::{Cached, Lookup, MatchCache, Shortcut};
use crate::sublist::result::MatchResult;

/// Costs of a search, nanoseconds, about: a new match, each visited branch of patterns, each target
/// found.
pub(super) const MATCH_NS: usize = 300;
pub(super) const BRANCH_NS: usize = 30;
const TARGET_NS: usize = 60;

/// The matches of one worker.
#[derive(Default)]
pub(super) struct Finder {
    pub(super) cache: MatchCache<Matched>,
    /// Filled at a cache miss, then empty again.
    result: MatchResult<Subscription>,
}

impl Finder {
    /// Finds the receivers of a message. A result that is not cached goes to `apart`.
    // As a call, its many arguments and results would cost each message.
    #[inline(always)]
    pub(super) fn find<'m>(
        &'m mut self,
        staging: &mut Staging,
        search: Search<'_>,
        shortcut: Option<&Shortcut>,
        now: Moment,
        apart: &'m mut Option<Matched>,
    ) -> &'m mut Matched {
        let Finder { cache, result } = self;
        if search.shown.is_some() {
            return find_apart(result, staging, search, apart);
        }
        let Search { account, subject, .. } = search;
        let looked_up = match shortcut {
            None => cache.lookup(account.id, subject, account.epochs(), now),
            Some(shortcut) => cache.lookup_by(shortcut, account.id, subject, account.epochs(), now),
        };
        let matched = match looked_up {
            Lookup::Hit(matched) if !matched.is_taken => matched,
            Lookup::Hit(matched) | Lookup::Miss(matched) => {
                fill(matched, result, staging, Search { imports: true, ..search });
                matched
            }
        };
        match !search.imports && matched.has_imported {
            true => find_apart(result, staging, search, apart),
            false => matched,
        }
    }
}

/// Finds the receivers of one message that clients see on another subject, or that is not imported.
#[cold]
fn find_apart<'m>(
    result: &mut MatchResult<Subscription>,
    staging: &mut Staging,
    search: Search<'_>,
    apart: &'m mut Option<Matched>,
) -> &'m mut Matched {
    let matched = apart.insert(Matched::default());
    fill(matched, result, staging, search);
    matched
}

/// Fills an empty match with the receivers of a message.
fn fill(
    matched: &mut Matched,
    result: &mut MatchResult<Subscription>,
    staging: &mut Staging,
    search: Search<'_>,
) {
    search.account.match_into(search.subject, result);
    staging.add_work(match_ns(result));
    matched.fill(search, result);
    result.clear();
}

/// Time to find this and to prepare it for delivery, nanoseconds, about.
fn match_ns(result: &MatchResult<Subscription>) -> usize {
    let members = result.groups().iter().map(|group| group.members().len());
    let found = result.plain().len() + members.sum::<usize>();
    MATCH_NS + BRANCH_NS * result.branch_count() + TARGET_NS * found
}
