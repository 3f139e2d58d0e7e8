//! `Stage`: the frames of one receiver, or of several with the same frames, and these receivers.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::ids::Kind;
use crate::base::stats::Counters;
use crate::conn::frames::Frames;
use crate::conn::outbound::Policy;
use crate::conn::subscription::Subscription;
use crate::conn::{Conn, Sent};
use crate::sublist::Entry;

/// Memory of a hole.
pub(super) const HOLE_LEN: usize = size_of::<u32>();

/// The frames of one receiver, or of several with the same frames.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) members: SmallVec<[Member; 1]>,
    pub(super) frames: Vec<u8>,
    /// Positions in `frames` where the sid of each receiver is missing.
    pub(super) holes: Vec<u32>,
    /// Ranges of `frames` that are no messages, for a stage whose messages may be dropped. Such a
    /// stage has one member.
    pub(super) protos: Vec<Range<usize>>,
    pub(super) msgs: u64,
    pub(super) bytes: u64,
    /// The subscription of the last frames and their number, to count them at once. Frames in the
    /// tallies are not part of it.
    pub(super) run: Option<(Subscription, u64)>,
    /// While a plan is made: the number of its receivers here.
    pub(super) wanted: usize,
}

/// A receiver of the frames in a [`Stage`].
pub(super) struct Member {
    pub(super) conn: Arc<Conn>,
    /// The subscription whose sid fills the holes; none before there are any.
    pub(super) filler: Option<Subscription>,
}

/// Receivers of one match with the same frames, except perhaps the sid. Each is another connection.
pub(in crate::deliver) type Receivers = Arc<[Receiver]>;

/// One of them.
pub(in crate::deliver) struct Receiver {
    pub(in crate::deliver) subscription: Subscription,
    pub(in crate::deliver) slot: u32,
    /// The range of its head in those of the match.
    pub(in crate::deliver) head: (u32, u32),
}

impl Stage {
    /// Appends a message of `bytes` bytes, given in pieces. Returns the length of its frame.
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

    /// These frames for a receiver with this sid, in `filled`.
    pub(super) fn fill<'a>(&self, frames: &[u8], sid: &[u8], filled: &'a mut Vec<u8>) -> &'a [u8] {
        filled.clear();
        filled.reserve(frames.len() + self.holes.len() * sid.len());
        let mut start = 0;
        for &hole in &self.holes {
            filled.extend_from_slice(&frames[start..hole as usize]);
            filled.extend_from_slice(sid);
            start = hole as usize;
        }
        filled.extend_from_slice(&frames[start..]);
        filled
    }

    /// Sends only those of `frames` that are no messages: the messages were dropped.
    #[cold]
    pub(super) fn send_protos(
        &self,
        frames: &Frames<'_>,
        conn: &Conn,
        policy: &Policy,
        counters: &Counters,
    ) -> Sent {
        if self.protos.is_empty() {
            return Sent::Dropped;
        }
        let protos: Vec<_> = self.protos.iter().map(|range| &frames[range.clone()]).collect();
        let protos = protos.concat();
        let frames = Frames::from(&protos);
        let sent = conn.send(&frames, policy);
        count(sent, conn.kind, &frames, counters);
        sent
    }
}

pub(super) fn add_delivered(run: Option<(Subscription, u64)>) {
    if let Some((subscription, count)) = run {
        subscription.add_delivered(count);
    }
}

pub(super) fn count(sent: Sent, kind: Kind, frames: &Frames<'_>, counters: &Counters) {
    match sent {
        Sent::Dropped if kind == Kind::System => counters.count_slow(kind, true),
        // Requests to services do not leave the server.
        Sent::Done | Sent::Appended if kind == Kind::System => {}
        Sent::Done | Sent::Appended | Sent::Stall => {
            counters.out_msgs.add(frames.msgs);
            counters.out_bytes.add(frames.bytes);
        }
        Sent::SlowConsumer => counters.count_slow(kind, false),
        Sent::Dropped | Sent::Closed => {}
    }
}
