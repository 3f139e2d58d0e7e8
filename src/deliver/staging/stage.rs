//! `Stage`: the frames of one receiver, or of some that get the same, and who they are.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::ids::Kind;
use crate::base::stats::Counters;
use crate::conn::outbound::Policy;
use crate::conn::subscription::Subscription;
use crate::conn::{Conn, Sent};
use crate::sublist::Entry;

/// What a hole takes in memory.
pub(super) const HOLE_LEN: usize = size_of::<u32>();

/// The frames of one receiver, or of some that get the same.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) members: SmallVec<[Member; 1]>,
    pub(super) frames: Vec<u8>,
    /// Where in `frames` the sid of each receiver is missing.
    pub(super) holes: Vec<u32>,
    /// Where in `frames` there is something else than messages, if those may be dropped. Only one
    /// connection gets it.
    pub(super) protos: Vec<Range<usize>>,
    pub(super) msgs: u64,
    pub(super) bytes: u64,
    /// The subscription of the last frames and how many there were: they are counted in one go.
    /// Not for what is in the tallies.
    pub(super) run: Option<(Subscription, u64)>,
    /// While a plan is made: how many of its receivers are here.
    pub(super) wanted: usize,
}

/// A receiver of the frames in a [`Stage`].
pub(super) struct Member {
    pub(super) conn: Arc<Conn>,
    /// The subscription whose sid fills the holes; none before there are any.
    pub(super) filler: Option<Subscription>,
}

/// Receivers of one match that get the same frames, but for the sid perhaps. All are connections of
/// their own.
pub(in crate::deliver) type Receivers = Arc<[Receiver]>;

/// One of them.
pub(in crate::deliver) struct Receiver {
    pub(in crate::deliver) subscription: Subscription,
    pub(in crate::deliver) slot: u32,
    /// Where its head is in those of the match.
    pub(in crate::deliver) head: (u32, u32),
}

impl Stage {
    /// Appends a message of `bytes` bytes, given in pieces. Tells how long its frame is.
    #[inline(always)]
    pub(super) fn append<const N: usize>(&mut self, pieces: [&[u8]; N], bytes: u64) -> usize {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        self.frames.reserve(len);
        pieces.iter().for_each(|piece| self.frames.extend_from_slice(piece));
        self.msgs += 1;
        self.bytes += bytes;
        len
    }

    /// Counts the last frames for their subscription.
    #[inline(always)]
    pub(super) fn add_run(&mut self, subscription: &Subscription, count: u64) {
        match &mut self.run {
            Some((last, so_far)) if last.is_same(subscription) => *so_far += count,
            run => add_delivered(run.replace((subscription.clone(), count))),
        }
    }

    /// The frames for a receiver with this sid, in `filled`.
    pub(super) fn fill<'a>(&self, sid: &[u8], filled: &'a mut Vec<u8>) -> &'a [u8] {
        filled.clear();
        filled.reserve(self.frames.len() + self.holes.len() * sid.len());
        let mut start = 0;
        for &hole in &self.holes {
            filled.extend_from_slice(&self.frames[start..hole as usize]);
            filled.extend_from_slice(sid);
            start = hole as usize;
        }
        filled.extend_from_slice(&self.frames[start..]);
        filled
    }

    /// Hands over only what is no message: the messages were dropped.
    #[cold]
    pub(super) fn send_protos(&self, conn: &Conn, policy: &Policy, counters: &Counters) -> Sent {
        let protos: Vec<_> = self.protos.iter().map(|range| &self.frames[range.clone()]).collect();
        let sent = conn.send(&protos.concat(), 0, 0, policy);
        count(sent, conn.kind, 0, 0, counters);
        sent
    }
}

pub(super) fn add_delivered(run: Option<(Subscription, u64)>) {
    if let Some((subscription, count)) = run {
        subscription.add_delivered(count);
    }
}

pub(super) fn count(sent: Sent, kind: Kind, msgs: u64, bytes: u64, counters: &Counters) {
    match sent {
        Sent::Dropped if kind == Kind::System => counters.count_slow(kind, true),
        // What services are asked has left nobody.
        Sent::Done | Sent::Appended if kind == Kind::System => {}
        Sent::Done | Sent::Appended | Sent::Stall => {
            counters.out_msgs.add(msgs);
            counters.out_bytes.add(bytes);
        }
        Sent::SlowConsumer => counters.count_slow(kind, false),
        Sent::Dropped | Sent::Closed => {}
    }
}
