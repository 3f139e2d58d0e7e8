//! `Matched`: the result of a match, prepared for delivery.
//!
//! The head of each frame is complete, and receivers of the same frames are bundled. The match
//! cache keeps it; it is valid until the sublist changes.
//!
//! nats: server/client.go `processMsgResults`

use std::sync::Arc;

use crate::auth::permissions::RULE_NS;
use crate::config::imports::Services;
use crate::conn::subscription::Subscription;
use crate::deliver::beyond::{Beyond, MixedGroup, Request};
use crate::deliver::row::{Publisher, Search};
use crate::deliver::staging::APPEND_NS;
use crate::deliver::staging::sharing::Plan;
use crate::deliver::staging::stage::{Receiver, Receivers};
use crate::sublist::cache::Cached;
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Interest};

/// Time to stage a message for one target, nanoseconds, about.
pub(super) const OFFER_NS: usize = 30;

/// Time to choose a member of a group and to stage a message for it, nanoseconds, about.
pub(super) const GROUP_NS: usize = 200;

/// Targets of a short message between two checks of the staged bytes: one message may have any
/// number of targets.
pub(super) const OFFERS_PER_LOOK: usize = 16;

/// The start of each head.
const HEAD_START: &[u8] = b"HMSG ";

/// The receivers of one subject, with the heads of their frames.
#[derive(Default)]
pub(super) struct Matched {
    /// `HMSG subject sid ` of the targets, once per sid; without its first byte it is the head of
    /// MSG.
    pub(super) heads: Vec<u8>,
    /// Plain targets with the same frames as many others.
    pub(super) bundles: Vec<Bundle>,
    /// The other plain targets, then the members of each group.
    pub(super) targets: Vec<Target>,
    pub(super) plain_count: usize,
    /// The end of each group in `targets`; of groups with local members only.
    pub(super) groups: Vec<u32>,
    /// The targets that are no local clients; none if there are none.
    pub(super) beyond: Option<Box<Beyond>>,
    /// True after a row of messages.
    has_rows: bool,
    /// The number of rules checked for each message.
    rules: usize,
    /// True with one target alone, which is not special.
    has_only: bool,
    /// True with more than a few targets, or bundles.
    pub(super) is_wide: bool,
    /// True if some targets are in other accounts, which import the subject: their heads differ.
    pub(super) has_imported: bool,
    /// True if the content is with a message whose delivery goes on.
    pub(super) is_taken: bool,
}

/// Receivers with the same frames, byte for byte, or except for the sid.
pub(super) struct Bundle {
    pub(super) receivers: Receivers,
    /// The common head, or its part before the sid if each has its own.
    pub(super) head: (u32, u32),
    /// True if each has its own sid; then they are in the order of their slots.
    pub(super) own_sids: bool,
    /// True if they take HMSG.
    pub(super) headers: bool,
    pub(super) plan: Plan,
}

/// One subscription as delivery needs it, without touching its memory in the common case.
pub(super) struct Target {
    pub(super) subscription: Subscription,
    pub(super) slot: u32,
    pub(super) head: (u32, u32),
    /// True if it has a limit, a filter or an owner that may reply, or is the server itself.
    pub(super) special: bool,
}

impl Cached for Matched {
    fn clear(&mut self) {
        self.heads.clear();
        self.heads.shrink_to(KEPT_HEADS_LEN);
        self.bundles.clear();
        self.targets.clear();
        self.targets.shrink_to(KEPT_TARGETS);
        self.plain_count = 0;
        self.groups.clear();
        self.groups.shrink_to(KEPT_TARGETS);
        self.beyond = None;
        self.has_rows = false;
        self.rules = 0;
        self.has_only = false;
        self.is_wide = false;
        self.has_imported = false;
        self.is_taken = false;
    }

    fn heap_bytes(&self) -> usize {
        let bundled = |bundle: &Bundle| size_of_val(&*bundle.receivers);
        self.heads.capacity()
            + self.bundles.capacity() * size_of::<Bundle>()
            + self.bundles.iter().map(bundled).sum::<usize>()
            + self.targets.capacity() * size_of::<Target>()
            + self.groups.capacity() * size_of::<u32>()
            + self.beyond.as_ref().map_or(0, |beyond| beyond.heap_bytes())
    }

    fn fanout(&self) -> usize {
        let beyond = self.beyond.as_ref().map_or(0, |beyond| beyond.fanout());
        self.bundled_count() + self.plain_count + self.groups.len() + beyond
    }
}

/// Room for targets and heads that a cleared match keeps.
const KEPT_TARGETS: usize = 64;
const KEPT_HEADS_LEN: usize = 4096;

/// The least number of receivers in a bundle, and their least share of the remaining targets, one
/// in so many: so the search for bundles never walks over all targets more than a few times.
const BUNDLE_COUNT_MIN: usize = 8;
const BUNDLE_SHARE_MIN: usize = 4;

/// The most receivers in a bundle: between two bundles a turn may end.
const BUNDLE_COUNT_MAX: usize = 2048;

/// The least number of messages in a row that make bundles of receivers with own sids worth it.
const ROW_MIN: u64 = 4;

impl Matched {
    /// Fills an empty match with the result of a search, and the services that it asks.
    pub(super) fn fill(&mut self, search: Search<'_>, result: &MatchResult<Subscription>) {
        let Search { account, subject, .. } = search;
        let shown = search.shown();
        self.is_taken = false;
        let members = || result.groups().iter().flat_map(|group| group.members());
        self.targets.reserve_exact(result.plain().len() + members().count());
        for subscription in result.plain() {
            match subscription.interest() {
                Interest::Local | Interest::Service | Interest::Inline => {
                    self.push(shown, subscription);
                }
                Interest::Import => self.push_imported(search, subscription),
                Interest::Route => {
                    if subscription.can_deliver(subject) {
                        self.beyond().push_plain(account, subject, subscription);
                    }
                }
            }
        }
        while self.targets.len() >= BUNDLE_COUNT_MIN && self.bundle() {}
        self.plain_count = self.targets.len();
        let mut all_local = true;
        for group in result.groups() {
            if group.members().iter().any(|member| !member.interest().is_announced()) {
                all_local = false;
                continue;
            }
            let start = self.targets.len();
            for member in group.members() {
                self.push_member(search, member);
            }
            if self.targets.len() > start {
                self.groups.push(self.targets.len() as u32);
            }
        }
        if !all_local {
            self.push_mixed_groups(search, result);
        }
        self.push_requests(search);
        self.measure();
    }

    fn measure(&mut self) {
        let count = self.plain_count + self.group_count();
        self.is_wide = count > OFFERS_PER_LOOK || self.bundles.len() > 1;
        let is_only = |target: &Target| self.plain_count == 1 && !target.special;
        self.has_only = matches!(&self.targets[..], [target] if is_only(target))
            && self.bundles.is_empty()
            && self.beyond.is_none();
    }

    /// The only receiver of this publisher's messages, if it is not special.
    #[inline]
    pub(super) fn only_for(&self, publisher: Publisher<'_>) -> Option<&Target> {
        let only = self.targets.first().filter(|_| self.has_only);
        only.filter(|only| publisher.echo || only.slot != publisher.conn.slot)
    }

    /// Time to stage a message of so many bytes for all, nanoseconds, about.
    #[cold]
    pub(super) fn offers_ns(&self, len: usize) -> usize {
        self.plain_count.saturating_mul(OFFER_NS + len)
            + self.group_count().saturating_mul(GROUP_NS + len)
            + self.bundled_count() * APPEND_NS
            + self.rules * RULE_NS
    }

    /// The number of groups with members here, elsewhere, or both.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len() + self.beyond.as_ref().map_or(0, |beyond| beyond.group_count())
    }

    /// True if there are groups, routes or services.
    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty() || self.beyond.is_some()
    }

    /// Takes the content out, for a message whose delivery goes on.
    #[cold]
    pub(super) fn take(&mut self) -> Matched {
        std::mem::replace(self, Matched { is_taken: true, ..Matched::default() })
    }

    pub(super) fn push(&mut self, subject: &[u8], subscription: &Subscription) {
        let head = self.head(subject, subscription.sid());
        self.rules += subscription.rules();
        self.targets.push(Target::new(subscription, head));
    }

    /// Adds the member of a group that is a client of this server.
    fn push_member(&mut self, search: Search<'_>, member: &Subscription) {
        match member.interest() {
            Interest::Import => self.push_imported(search, member),
            _ => self.push(search.shown(), member),
        }
    }

    /// Adds the groups with members elsewhere.
    #[cold]
    fn push_mixed_groups(&mut self, search: Search<'_>, result: &MatchResult<Subscription>) {
        let Search { account, subject, .. } = search;
        for group in result.groups() {
            let is_remote = |member: &&Subscription| !member.interest().is_announced();
            let Some(remote) = group.members().iter().find(is_remote) else { continue };
            let local_start = self.targets.len();
            let remote_start = self.beyond().remotes.len();
            for member in group.members() {
                match member.interest() {
                    Interest::Local | Interest::Import => {
                        self.push_member(search, member);
                    }
                    Interest::Route => self.beyond().push_member(account, subject, member),
                    // The server itself is in no group.
                    Interest::Service | Interest::Inline => {}
                }
            }
            let locals = local_start..self.targets.len();
            let member = remote.clone();
            let beyond = self.beyond();
            let remotes = remote_start..beyond.remotes.len();
            beyond.groups.push(MixedGroup { member, locals, remotes });
        }
    }

    /// Adds the services that the account imports under the subject.
    #[inline]
    fn push_requests(&mut self, search: Search<'_>) {
        let services = search.accounts.services(search.account);
        if let Some(services) = services.filter(|services| services.may_match(search.subject)) {
            self.push_requests_to(services, search);
        }
    }

    #[cold]
    fn push_requests_to(&mut self, services: &Services, search: Search<'_>) {
        for import in services.near(search.subject) {
            if let Some(subject) = import.remote(search.subject)
                && let Some(exporter) = search.accounts.find(import.exporter.as_bytes())
            {
                let (import, exporter) = (Arc::clone(import), Arc::clone(exporter));
                self.beyond().requests.push(Request { import, exporter, subject: subject.into() });
            }
        }
    }

    /// The part that is not local, created if missing.
    fn beyond(&mut self) -> &mut Beyond {
        self.beyond.get_or_insert_default()
    }

    /// Bundles the targets with the most common head, if they are enough.
    fn bundle(&mut self) -> bool {
        let Some((like, head)) = self.common() else { return false };
        let headers = like.conn().headers();
        let heads = &self.heads;
        let is_alike = |target: &Target| {
            !target.special
                && is_same_head(heads, target.head, head)
                && target.subscription.conn().headers() == headers
        };
        let count = self.targets.iter().filter(|target| is_alike(target)).count();
        if count < BUNDLE_COUNT_MIN.max(self.targets.len() / BUNDLE_SHARE_MIN) {
            return false;
        }
        // By two imports a subscription may get a message twice.
        let mut last = None;
        if self.has_imported {
            self.targets.sort_by_key(|target| target.slot);
        }
        let alike = self.targets.extract_if(.., |target| {
            is_alike(target) && last.replace(target.slot) != Some(target.slot)
        });
        let mut alike = alike.map(Receiver::from);
        loop {
            let receivers: Receivers = alike.by_ref().take(BUNDLE_COUNT_MAX).collect();
            if receivers.is_empty() {
                break;
            }
            let plan = Plan::default();
            self.bundles.push(Bundle { receivers, head, own_sids: false, headers, plan });
        }
        drop(alike);
        self.targets.shrink_to_fit();
        true
    }

    /// Bundles targets with own sids after so many messages in a row. For single messages that
    /// would be wasted.
    #[inline]
    pub(super) fn handle_row(&mut self, msgs: u64) {
        if msgs >= ROW_MIN && !self.has_rows {
            self.has_rows = true;
            self.bundle_own_sids();
            self.measure();
        }
    }

    #[cold]
    fn bundle_own_sids(&mut self) {
        // Members of groups follow the plain targets, and would have to move.
        let only_plain = self.plain_count == self.targets.len();
        if !only_plain || self.targets.len() < BUNDLE_COUNT_MIN {
            return;
        }
        self.targets.sort_by_key(|target| target.slot);
        self.bundle_one_each(true);
        if self.targets.len() >= BUNDLE_COUNT_MIN {
            self.bundle_one_each(false);
        }
        self.targets.shrink_to_fit();
        self.plain_count = self.targets.len();
    }

    /// Bundles targets with own sids, one of each connection. They are in the order of their slots.
    fn bundle_one_each(&mut self, headers: bool) {
        let takes =
            |target: &Target| !target.special && target.subscription.conn().headers() == headers;
        // Targets in other accounts may have another subject.
        let heads = &self.heads;
        let subject = |target: &Target| {
            let (start, end) = target.head;
            &heads[start as usize..end as usize - target.subscription.sid().len()]
        };
        let common = match self.has_imported {
            true => self.targets.iter().find(|target| takes(target)).map(subject),
            false => None,
        };
        let is_alike = |target: &Target| {
            takes(target) && common.is_none_or(|common| subject(target) == common)
        };
        let mut last = None;
        let alike = self.targets.extract_if(.., |target| {
            is_alike(target) && last.replace(target.slot) != Some(target.slot)
        });
        let mut alike = alike.map(Receiver::from);
        loop {
            let receivers: Receivers = alike.by_ref().take(BUNDLE_COUNT_MAX).collect();
            let Some(first) = receivers.first() else { return };
            let (start, end) = first.head;
            let head = (start, end - first.subscription.sid().len() as u32 - 1);
            let plan = Plan::default();
            self.bundles.push(Bundle { receivers, head, own_sids: true, headers, plan });
        }
    }

    /// A subscription with the majority head, if there is one, and that head: Boyer-Moore majority
    /// vote.
    fn common(&self) -> Option<(Subscription, (u32, u32))> {
        let mut common: Option<&Target> = None;
        let mut lead = 0;
        for target in self.targets.iter().filter(|target| !target.special) {
            match common {
                Some(common) if is_same_head(&self.heads, common.head, target.head) => lead += 1,
                Some(_) if lead > 0 => lead -= 1,
                _ => (common, lead) = (Some(target), 1),
            }
        }
        common.map(|target| (target.subscription.clone(), target.head))
    }

    fn bundled_count(&self) -> usize {
        self.bundles.iter().map(|bundle| bundle.receivers.len()).sum()
    }

    /// True without any receiver.
    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.bundles.is_empty() && self.beyond.is_none()
    }

    /// The range of the head for `sid`, which is made unless the last target has the same. Clients
    /// count from 1, so with many receivers most heads are the same, and stay in the processor's
    /// cache.
    fn head(&mut self, subject: &[u8], sid: &[u8]) -> (u32, u32) {
        if let Some(last) = self.targets.last()
            && last.subscription.sid() == sid
            && (!self.has_imported || subject_of(&self.heads, last.head, sid) == subject)
        {
            return last.head;
        }
        let start = self.heads.len() as u32;
        for part in [HEAD_START, subject, b" ", sid, b" "] {
            self.heads.extend_from_slice(part);
        }
        (start, self.heads.len() as u32)
    }
}

/// The head of a frame: of HMSG if `with_header`, else of MSG.
#[inline]
pub(super) fn frame_head(heads: &[u8], head: (u32, u32), with_header: bool) -> &[u8] {
    &heads[head.0 as usize..head.1 as usize][usize::from(!with_header)..]
}

/// The subject in the head for a sid.
pub(super) fn subject_of<'a>(heads: &'a [u8], head: (u32, u32), sid: &[u8]) -> &'a [u8] {
    &heads[head.0 as usize + HEAD_START.len()..head.1 as usize - sid.len() - 2]
}

/// True if both are the same bytes.
fn is_same_head(heads: &[u8], one: (u32, u32), other: (u32, u32)) -> bool {
    let head = |(start, end): (u32, u32)| &heads[start as usize..end as usize];
    one == other || head(one) == head(other)
}

impl Receiver {
    /// The target for delivery to it alone.
    pub(super) fn target(&self) -> Target {
        Target::new(&self.subscription, self.head)
    }
}

impl From<Target> for Receiver {
    fn from(Target { subscription, slot, head, .. }: Target) -> Receiver {
        Receiver { subscription, slot, head }
    }
}

impl Target {
    fn new(subscription: &Subscription, head: (u32, u32)) -> Target {
        let conn = subscription.conn();
        Target {
            subscription: subscription.clone(),
            slot: conn.slot,
            head,
            special: Target::is_special(subscription),
        }
    }

    /// True if it is [`special`](Target::special).
    pub(super) fn is_special(subscription: &Subscription) -> bool {
        subscription.max() != 0
            || subscription.is_filtered()
            || subscription.conn().answers()
            || matches!(subscription.interest(), Interest::Service | Interest::Inline)
    }
}
