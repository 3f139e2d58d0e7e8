//! Matched: what a match found, made ready for delivery.
//!
//! The head of each frame is finished, and those who get the same frames stand together. It is kept
//! in the match cache, and says the same until the sublist changes.
//!
//! nats: server/client.go `processMsgResults`

use crate::account::Account;
use crate::auth::permissions::RULE_NS;
use crate::conn::subscription::Subscription;
use crate::deliver::beyond::{Beyond, MixedGroup};
use crate::deliver::staging::APPEND_NS;
use crate::deliver::staging::sharing::Plan;
use crate::deliver::staging::stage::{Receiver, Receivers};
use crate::sublist::cache::Cached;
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Interest};

/// What it takes to stage a message for one target, in nanoseconds about.
pub(super) const OFFER_NS: usize = 30;

/// To stage a message for one member of a group, in nanoseconds about: whom, is known only then.
pub(super) const GROUP_NS: usize = 200;

/// Targets between two looks at how much is staged, of a message that is not long: one message can
/// go to any number.
pub(super) const OFFERS_PER_LOOK: usize = 16;

/// The receivers of one subject, with the heads of their frames.
#[derive(Default)]
pub(super) struct Matched {
    /// `HMSG subject sid ` of the targets, those with the same sid once; without its first byte it
    /// is that of MSG.
    pub(super) heads: Vec<u8>,
    /// Plain ones that get the same frames as many others.
    pub(super) bundles: Vec<Bundle>,
    /// The other plain ones, then the members of each group.
    pub(super) targets: Vec<Target>,
    pub(super) plain_count: usize,
    /// Ends in `targets` of the groups whose members are all local.
    pub(super) groups: Vec<u32>,
    /// What is not local; none if all is.
    pub(super) beyond: Option<Box<Beyond>>,
    /// There has been a row of messages.
    has_rows: bool,
    /// How many rules each message is checked against.
    rules: usize,
    /// It has more than a few targets, or bundles.
    pub(super) is_wide: bool,
    /// What was here is with a message that is not delivered to everybody yet.
    pub(super) is_taken: bool,
}

/// Receivers whose frames are the same, byte for byte, or but for the sid.
pub(super) struct Bundle {
    pub(super) receivers: Receivers,
    /// That of all, or what comes before the sid if each has its own.
    pub(super) head: (u32, u32),
    /// Each has its own sid; they are in the order of their slots.
    pub(super) own_sids: bool,
    /// They take HMSG.
    pub(super) headers: bool,
    pub(super) plan: Plan,
}

/// One subscription as delivery needs it, without touching its memory in the common case.
pub(super) struct Target {
    pub(super) subscription: Subscription,
    pub(super) slot: u32,
    pub(super) head: (u32, u32),
    /// It has a limit, a filter or an owner who may answer.
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
        self.is_wide = false;
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

/// Receivers of the same frames from which on they are worth a bundle, and at least one in how many
/// of those that are left: so that to look for bundles is never more than a few walks over all.
const BUNDLE_COUNT_MIN: usize = 8;
const BUNDLE_SHARE_MIN: usize = 4;

/// Receivers of a bundle: a message can be left to another turn between two bundles.
const BUNDLE_COUNT_MAX: usize = 2048;

/// Messages in a row from which on receivers with sids of their own are worth bundles.
const ROW_MIN: u64 = 4;

impl Matched {
    /// Fills an empty match with the result for `subject`, of which clients see `shown`.
    pub(super) fn fill(
        &mut self,
        account: &Account,
        subject: &[u8],
        shown: &[u8],
        result: &MatchResult<Subscription>,
    ) {
        self.is_taken = false;
        let members = || result.groups().iter().flat_map(|group| group.members());
        self.targets.reserve_exact(result.plain().len() + members().count());
        for subscription in result.plain() {
            match subscription.interest() {
                Interest::Local => self.push(shown, subscription),
                Interest::Route if subscription.can_deliver(subject) => {
                    self.beyond().push_plain(account, subject, subscription);
                }
                Interest::Route => {}
                Interest::Service => self.beyond().push_service(account, subject, subscription),
            }
        }
        while self.targets.len() >= BUNDLE_COUNT_MIN && self.bundle() {}
        self.plain_count = self.targets.len();
        let mut all_local = true;
        for group in result.groups() {
            if group.members().iter().any(|member| member.interest() != Interest::Local) {
                all_local = false;
                continue;
            }
            group.members().iter().for_each(|member| self.push(shown, member));
            self.groups.push(self.targets.len() as u32);
        }
        if !all_local {
            self.push_mixed_groups(account, subject, shown, result);
        }
        self.measure();
    }

    fn measure(&mut self) {
        let count = self.plain_count + self.group_count();
        self.is_wide = count > OFFERS_PER_LOOK || self.bundles.len() > 1;
    }

    /// The only receiver, if there is no other and nothing is special about it.
    #[inline]
    pub(super) fn only(&self) -> Option<&Target> {
        match &self.targets[..self.plain_count] {
            [only]
                if self.targets.len() == 1
                    && !only.special
                    && self.bundles.is_empty()
                    && self.beyond.is_none() =>
            {
                Some(only)
            }
            _ => None,
        }
    }

    /// What it takes to stage a message of so many bytes for all, in nanoseconds about.
    #[cold]
    pub(super) fn offers_ns(&self, len: usize) -> usize {
        self.plain_count.saturating_mul(OFFER_NS + len)
            + self.group_count().saturating_mul(GROUP_NS + len)
            + self.bundled_count() * APPEND_NS
            + self.rules * RULE_NS
    }

    /// Groups with members here, elsewhere, or both.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len() + self.beyond.as_ref().map_or(0, |beyond| beyond.group_count())
    }

    /// There are groups, here or elsewhere, or routes.
    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty() || self.beyond.is_some()
    }

    /// Takes all out, for a message that goes on with it.
    #[cold]
    pub(super) fn take(&mut self) -> Matched {
        std::mem::replace(self, Matched { is_taken: true, ..Matched::default() })
    }

    fn push(&mut self, subject: &[u8], subscription: &Subscription) {
        let head = self.head(subject, subscription.sid());
        self.rules += subscription.rules();
        self.targets.push(Target::new(subscription, head));
    }

    /// Adds the groups that have members elsewhere.
    #[cold]
    fn push_mixed_groups(
        &mut self,
        account: &Account,
        subject: &[u8],
        shown: &[u8],
        result: &MatchResult<Subscription>,
    ) {
        for group in result.groups() {
            let is_remote = |member: &&Subscription| member.interest() != Interest::Local;
            let Some(remote) = group.members().iter().find(is_remote) else { continue };
            let local_start = self.targets.len();
            let remote_start = self.beyond().remotes.len();
            for member in group.members() {
                match member.interest() {
                    Interest::Local => self.push(shown, member),
                    Interest::Route => self.beyond().push_member(account, subject, member),
                    // They are in no group.
                    Interest::Service => {}
                }
            }
            let locals = local_start..self.targets.len();
            let member = remote.clone();
            let beyond = self.beyond();
            let remotes = remote_start..beyond.remotes.len();
            beyond.groups.push(MixedGroup { member, locals, remotes });
        }
    }

    /// The part at other servers, made if it is the first.
    fn beyond(&mut self) -> &mut Beyond {
        self.beyond.get_or_insert_default()
    }

    /// Makes a bundle of the most common kind of targets, if it is common enough.
    fn bundle(&mut self) -> bool {
        let Some((like, head)) = self.common() else { return false };
        let headers = like.conn().headers();
        let is_alike = |target: &Target| {
            !target.special
                && target.subscription.sid() == like.sid()
                && target.subscription.conn().headers() == headers
        };
        let count = self.targets.iter().filter(|target| is_alike(target)).count();
        if count < BUNDLE_COUNT_MIN.max(self.targets.len() / BUNDLE_SHARE_MIN) {
            return false;
        }
        let mut alike = self.targets.extract_if(.., |target| is_alike(target)).map(Receiver::from);
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

    /// Makes bundles of targets with sids of their own, for whom so many messages in a row have
    /// come. For single ones that would be wasted.
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
        // Members of groups stand behind the plain targets, and would have to move.
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

    /// Makes a bundle of targets with sids of their own, one of each connection. They are in the
    /// order of their slots.
    fn bundle_one_each(&mut self, headers: bool) {
        let is_alike =
            |target: &Target| !target.special && target.subscription.conn().headers() == headers;
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

    /// A subscription with the sid that more than half of the targets have, if there is one, and
    /// its head: each target with another sid takes one with this along.
    fn common(&self) -> Option<(Subscription, (u32, u32))> {
        let mut common: Option<&Target> = None;
        let mut lead = 0;
        for target in self.targets.iter().filter(|target| !target.special) {
            match common {
                Some(common) if common.subscription.sid() == target.subscription.sid() => lead += 1,
                Some(_) if lead > 0 => lead -= 1,
                _ => (common, lead) = (Some(target), 1),
            }
        }
        common.map(|target| (target.subscription.clone(), target.head))
    }

    fn bundled_count(&self) -> usize {
        self.bundles.iter().map(|bundle| bundle.receivers.len()).sum()
    }

    /// Nobody can get anything.
    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.bundles.is_empty() && self.beyond.is_none()
    }

    /// Where the head for `sid` is, made if the last target has another. Clients count from 1, so
    /// with many receivers most heads are the same, and stay in the processor's cache.
    fn head(&mut self, subject: &[u8], sid: &[u8]) -> (u32, u32) {
        if let Some(last) = self.targets.last()
            && last.subscription.sid() == sid
        {
            return last.head;
        }
        let start = self.heads.len() as u32;
        for part in [b"HMSG ", subject, b" ", sid, b" "] {
            self.heads.extend_from_slice(part);
        }
        (start, self.heads.len() as u32)
    }
}

impl Receiver {
    /// As delivery to it alone needs it.
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

    /// See `special`.
    pub(super) fn is_special(subscription: &Subscription) -> bool {
        subscription.max() != 0 || subscription.is_filtered() || subscription.conn().answers()
    }
}
