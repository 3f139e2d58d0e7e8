//! Sharing: stages a message once for several receivers of a match, as long as their frames are the
//! same.
//!
//! A plan serves many messages; [`staging`](super) has a drawing.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::deliver::staging::stage::{HOLE_LEN, Member, Receivers};
use crate::deliver::staging::{APPEND_NS, SETTLE_NS, Staging};
use crate::sublist::Entry;

/// The stages for the frames of some [`Receivers`].
#[derive(Default)]
pub(in crate::deliver) struct Plan {
    /// The version of the staging that it is valid for.
    version: u64,
    stages: SmallVec<[u32; 2]>,
    tally: usize,
    /// True if some have frames with holes for other sids: then each gets its own frames.
    differs: bool,
}

impl Staging {
    /// Appends one message of `bytes` bytes for all `receivers`. Their sid is in the `head`, or
    /// follows it if each has its own. False if the message has to be staged for each.
    #[inline]
    pub(in crate::deliver) fn stage_alike(
        &mut self,
        receivers: &Receivers,
        plan: &mut Plan,
        head: &[u8],
        own_sids: bool,
        tail: &[u8],
        bytes: u64,
    ) -> bool {
        if plan.version != self.version {
            self.plan(receivers, plan, own_sids);
        }
        if plan.differs {
            return false;
        }
        for &at in &plan.stages {
            let stage = &mut self.stages[at as usize];
            self.held_bytes += if own_sids {
                stage.holes.push((stage.frames.len() + head.len()) as u32);
                HOLE_LEN + stage.append([head, b" ", tail], bytes)
            } else {
                stage.append([head, tail], bytes)
            };
        }
        self.tallies[plan.tally].1 += 1;
        self.bytes += (head.len() + tail.len()) * receivers.len();
        true
    }

    /// Finds the stages of these receivers, and splits those shared with others.
    #[cold]
    fn plan(&mut self, receivers: &Receivers, plan: &mut Plan, own_sids: bool) {
        plan.stages.clear();
        self.add_work(SETTLE_NS * receivers.len());
        let mut new_count = 0;
        for receiver in receivers.iter() {
            let Some(at) = self.place(receiver.slot) else {
                new_count += 1;
                continue;
            };
            let stage = &mut self.stages[at];
            if stage.wanted == 0 {
                plan.stages.push(at as u32);
            }
            stage.wanted += 1;
        }
        for at in &mut plan.stages {
            let stage = &mut self.stages[*at as usize];
            if std::mem::take(&mut stage.wanted) < stage.members.len() {
                let slots = receivers.iter().map(|receiver| receiver.slot);
                *at = self.split(*at as usize, slots) as u32;
            }
        }
        self.add_work(APPEND_NS * new_count);
        if new_count > 0 {
            let at = self.new_stage();
            self.stages[at].members.reserve(new_count);
            for receiver in receivers.iter() {
                if self.place(receiver.slot).is_none() {
                    self.join(at, Arc::clone(receiver.subscription.conn()));
                }
            }
            plan.stages.push(at as u32);
        }
        plan.version = self.version;
        plan.differs = own_sids && !self.set_fillers(receivers, &plan.stages);
        plan.tally = self.tallies.len();
        self.tallies.push((Arc::clone(receivers), 0));
    }

    /// Makes the sids of these receivers fill the holes in their frames; false if other
    /// subscriptions of theirs fill some already.
    fn set_fillers(&mut self, receivers: &Receivers, stages: &[u32]) -> bool {
        let filler = |member: &Member| {
            let at = receivers.binary_search_by_key(&member.conn.slot, |one| one.slot);
            &receivers[at.expect("the stages hold nobody else")].subscription
        };
        let fits = |member: &Member| {
            member.filler.as_ref().is_none_or(|other| other.is_same(filler(member)))
        };
        let members = |at: &u32| self.stages[*at as usize].members.iter();
        if !stages.iter().flat_map(members).all(fits) {
            return false;
        }
        for &at in stages {
            for member in &mut self.stages[at as usize].members {
                member.filler = Some(filler(member).clone());
            }
        }
        true
    }

    /// Moves those of `slots` that are in a shared stage into one of their own, with a copy of the
    /// frames so far.
    #[cold]
    pub(super) fn split(&mut self, from: usize, slots: impl Iterator<Item = u32>) -> usize {
        let to = self.new_stage();
        for slot in slots {
            if self.place(slot) == Some(from) {
                self.by_slot[slot as usize] = to as u32 + 1;
            }
        }
        let [from, own] = self.stages.get_disjoint_mut([from, to]).expect("two stages");
        let members = std::mem::take(&mut from.members);
        for member in members {
            let left = self.by_slot[member.conn.slot as usize] as usize == to + 1;
            if left { own.members.push(member) } else { from.members.push(member) }
        }
        own.frames.extend_from_slice(&from.frames);
        own.holes.extend_from_slice(&from.holes);
        self.held_bytes += from.frames.len() + from.holes.len() * HOLE_LEN;
        (own.msgs, own.bytes) = (from.msgs, from.bytes);
        self.version += 1;
        to
    }
}
