//! `Finder`: finds the receivers of a subject, in the match cache or by a new match.

use crate::account::Account;
use crate::base::moment::Moment;
use crate::conn::subscription::Subscription;
use crate::deliver::matched::Matched;
use crate::deliver::staging::Staging;
use crate::registry::accounts::Accounts;
use crate::sublist::cache::{Cached, Lookup, MatchCache};
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

/// A search for the receivers of a message.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) accounts: &'a Accounts,
    /// The account in which it is published.
    pub(super) account: &'a Account,
    pub(super) subject: &'a [u8],
    /// The subject that clients of that account see.
    pub(super) shown: &'a [u8],
    /// True if other accounts import it.
    pub(super) imports: bool,
}

impl Finder {
    /// Finds the receivers of a message whose own subject is seen, and that others import.
    // As a call, its many arguments and results would cost each message.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        staging: &mut Staging,
        search: Search<'_>,
        now: Moment,
    ) -> &mut Matched {
        let stamp = search.account.stamp(search.subject);
        match self.cache.lookup(search.account.id, search.subject, stamp, now) {
            Lookup::Hit(matched) if !matched.is_taken => matched,
            Lookup::Hit(matched) | Lookup::Miss(matched) => {
                let imports = true;
                fill(matched, &mut self.result, staging, Search { imports, ..search });
                matched
            }
        }
    }

    /// Finds the receivers of one message; not cached.
    #[cold]
    pub(super) fn find_apart(&mut self, staging: &mut Staging, search: Search<'_>) -> Matched {
        let mut matched = Matched::default();
        fill(&mut matched, &mut self.result, staging, search);
        matched
    }
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
