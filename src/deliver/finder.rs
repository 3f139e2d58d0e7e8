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

impl Finder {
    /// Finds the receivers of a message on `subject`.
    // As a call, its many arguments and results would cost each message.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        staging: &mut Staging,
        accounts: &Accounts,
        account: &Account,
        subject: &[u8],
        now: Moment,
    ) -> &mut Matched {
        let stamp = account.stamp(subject);
        match self.cache.lookup(account.id, subject, stamp, now) {
            Lookup::Hit(matched) if !matched.is_taken => matched,
            Lookup::Hit(matched) | Lookup::Miss(matched) => {
                let accounts = Some(accounts);
                fill(matched, &mut self.result, staging, accounts, account, (subject, subject));
                matched
            }
        }
    }

    /// Finds the receivers of one message on `subject` that clients see on `shown`; not cached.
    #[cold]
    pub(super) fn find_shown(
        &mut self,
        staging: &mut Staging,
        accounts: &Accounts,
        account: &Account,
        subject: &[u8],
        shown: &[u8],
    ) -> Matched {
        let mut matched = Matched::default();
        let accounts = Some(accounts);
        fill(&mut matched, &mut self.result, staging, accounts, account, (subject, shown));
        matched
    }

    /// Finds the receivers of one message on `subject` in its own account only; not cached.
    #[cold]
    pub(super) fn find_unimported(
        &mut self,
        staging: &mut Staging,
        account: &Account,
        subject: &[u8],
    ) -> Matched {
        let mut matched = Matched::default();
        fill(&mut matched, &mut self.result, staging, None, account, (subject, subject));
        matched
    }
}

/// Fills an empty match with the receivers of `subject`, those in other `accounts` included. Clients
/// of `account` get the message on `shown`.
fn fill(
    matched: &mut Matched,
    result: &mut MatchResult<Subscription>,
    staging: &mut Staging,
    accounts: Option<&Accounts>,
    account: &Account,
    (subject, shown): (&[u8], &[u8]),
) {
    account.match_into(subject, result);
    staging.add_work(match_ns(result));
    matched.fill(accounts, account, subject, shown, result);
    result.clear();
}

/// Time to find this and to prepare it for delivery, nanoseconds, about.
fn match_ns(result: &MatchResult<Subscription>) -> usize {
    let members = result.groups().iter().map(|group| group.members().len());
    let found = result.plain().len() + members.sum::<usize>();
    MATCH_NS + BRANCH_NS * result.branch_count() + TARGET_NS * found
}
