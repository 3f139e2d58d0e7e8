//! Staging: frames gathered per receiver while one read is handled.
//!
//! A receiver is found by the slot of its connection in a table, not by hashing. At the end of the
//! read each connection gets its frames in one piece. The buffers are used again, as far as
//! [`KEPT_BYTES_MAX`] allows.
//!
//! Receivers of the same frames share a [`Stage`], for as long as nobody gets anything that the
//! others do not: so what goes to a thousand is written once, and stays in the processor's cache
//! while a thousand sockets copy it. Who gets something else leaves with a copy of what it has.
//! Where their sids differ, the frames have holes, and are filled for one after the other when they
//! go out.
//!
//! ```text
//!   by_slot        stages
//!    A  1 -------> 0  members A      frames MSG a 9 2..hi.. PONG..
//!    B  2 ---+---> 1  members B, C   frames MSG b _ 5..hello..
//!    C  2 ---+     ^                 hole at 6: for each member the sid of its filler
//!    D  0          |
//!                  +--- plan: stages 1, version 7 <--- bundle: receivers B, C, head "MSG b "
//! ```
//!
//! A bundle, which belongs to a match, has a plan: the stages that hold its receivers and nobody
//! else. Its messages are appended to them, and counted in a tally until the commit. The plan holds
//! as long as the version is the same. If B gets a PONG now, B moves to a stage of its own, with a
//! copy of what it has, and the version becomes 8. The next message for B and C is planned anew,
//! and appended to both stages.

pub(super) mod sharing;
pub(super) mod stage;

use std::sync::Arc;

use crate::base::moment::Moment;
use crate::base::stats::Counters;
use crate::conn::outbound::{Frames, Policy, SHARED_LEN_MIN};
use crate::conn::subscription::Subscription;
use crate::conn::{Conn, Sent, conn_event};
use crate::deliver::staging::stage::{HOLE_LEN, Member, Receivers, Stage, add_delivered, count};
use crate::parser::Tail;

/// Bytes held after which a worker commits although its read is not handled to the end.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// It commits at a quarter of what may wait for a receiver, too: so much still fits behind what
/// waits when a receiver is not far behind, and stalls come before an overflow.
const HELD_SHARE: usize = 4;

/// Bytes staged, those of a shared stage for each receiver, after which it commits: with a thousand
/// receivers it is 16 KiB for each write.
const STAGED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A portion for one receiver that is worth a write of its own: the kernel's work for it outweighs
/// that for the call.
const PORTION_LEN: usize = 32 * 1024;

/// Receivers of the same frames from which on some of them may only have them appended: so many
/// writes fit into a commit.
const APPENDED_COUNT_MIN: usize = 1_000;

/// Bytes of empty buffers that a worker keeps.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes that are copied from where they were staged into a socket in about a nanosecond.
const BYTES_PER_NS: usize = 8;

/// Bytes of one write beyond which the kernel needs memory that is new to the socket, and how many
/// of these it takes more than a nanosecond for.
const FRESH_LEN_MIN: usize = 256 * 1024;
const FRESH_BYTES_PER_NS: usize = 2;

/// A write to a socket, in nanoseconds, besides what is written: above all it wakes somebody.
const WRITE_NS: usize = 8_000;

/// To append frames to a queue, in nanoseconds, and to count a delivery for a subscription.
pub(super) const APPEND_NS: usize = 600;
const SETTLE_NS: usize = 10;

/// Work of one commit, in nanoseconds about, after which frames are only appended, and written in
/// further turns of whoever commits.
const COMMIT_NS_MAX: usize = 12_000_000;

/// What a turn may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Work after which it is over, in nanoseconds about.
    pub work_ns_max: usize,
    /// It may end in the middle of a message, and what is left of that be kept.
    pub splits: bool,
}

/// A connection whose frames were appended, and so have to be written by who did that.
pub struct Unwritten {
    conn: Arc<Conn>,
    len: usize,
}

/// A connection that is far behind, for which its publisher pauses.
pub type Stalled = Arc<Conn>;

/// Frames by receiver.
pub struct Staging {
    /// What a full outbound queue means.
    policy: Policy,
    held_bytes_max: usize,
    /// Held bytes from which on it is full: as many, or none when the turn is over.
    full_at: usize,
    /// By slot: position in `stages` plus one; 0 for a connection without frames.
    by_slot: Vec<u32>,
    /// The first `used` carry frames, the others only keep their buffers.
    stages: Vec<Stage>,
    used: usize,
    /// Connections that have frames.
    receiver_count: usize,
    /// Bytes in `stages`, frames and holes.
    held_bytes: usize,
    /// Bytes staged: those of a shared stage for each receiver.
    bytes: usize,
    /// Work of this turn, besides what is staged: nanoseconds, about.
    work_ns: usize,
    /// Work after which the turn is over.
    work_ns_max: usize,
    /// Work from which on a commit only appends.
    append_from: usize,
    /// Whether the turn may end in the middle of a message.
    splits: bool,
    /// Connections whose frames were appended and are not written.
    unwritten: Vec<Unwritten>,
    stalled: Option<Stalled>,
    /// Never the same again once receivers have left a stage or all is committed.
    version: u64,
    /// Messages for shared receivers, to be counted for their subscriptions.
    tallies: Vec<(Receivers, u64)>,
    /// Frames with their holes filled, while they are handed to a connection.
    filled: Vec<u8>,
}

impl Staging {
    /// Nothing staged.
    pub fn new(policy: Policy) -> Staging {
        let held_bytes_max = held_bytes_max(&policy);
        Staging {
            policy,
            held_bytes_max,
            full_at: held_bytes_max,
            by_slot: Vec::new(),
            stages: Vec::new(),
            used: 0,
            receiver_count: 0,
            held_bytes: 0,
            bytes: 0,
            work_ns: 0,
            work_ns_max: usize::MAX,
            append_from: 0,
            splits: false,
            unwritten: Vec::new(),
            stalled: None,
            version: 1,
            tallies: Vec::new(),
            filled: Vec::new(),
        }
    }

    /// Has another limit hold for all that is committed from now on. Nothing is staged.
    #[cold]
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.held_bytes_max = held_bytes_max(&policy);
    }

    /// So much is staged that it should be committed, or the turn is over.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.held_bytes >= self.full_at || self.bytes >= STAGED_BYTES_MAX
    }

    /// So little is staged for each receiver that more should come before it is committed.
    pub fn is_thin(&self) -> bool {
        self.bytes < self.receiver_count * PORTION_LEN
    }

    /// A task has its turn, which is over after so much work, in nanoseconds about.
    pub fn start_turn(&mut self, Budget { work_ns_max, splits }: Budget) {
        self.work_ns = 0;
        self.work_ns_max = work_ns_max;
        self.splits = splits;
        self.full_at = self.held_bytes_max;
    }

    /// Counts work, in nanoseconds about.
    #[inline]
    pub fn add_work(&mut self, work_ns: usize) {
        self.work_ns += work_ns;
        if self.is_turn_over() {
            self.full_at = 0;
        }
    }

    /// The work of this turn so far, in nanoseconds about.
    pub fn work_ns(&self) -> usize {
        self.work_ns + self.bytes / BYTES_PER_NS
    }

    /// The turn is over: others should have theirs.
    pub fn is_turn_over(&self) -> bool {
        self.work_ns >= self.work_ns_max
    }

    /// Ends the turn.
    pub(super) fn end_turn(&mut self) {
        self.add_work(self.work_ns_max.saturating_sub(self.work_ns));
    }

    /// A message that takes so much longer than others needs a turn that may end in its middle.
    pub(super) fn is_too_long(&self, work_ns: usize) -> bool {
        !self.splits && work_ns > self.work_ns_max
    }

    /// The turn is over, and may end in the middle of a message.
    pub(super) fn must_split(&self) -> bool {
        self.splits && self.is_turn_over()
    }

    /// So much is held in memory that it has to be committed, in the middle of a message too.
    #[inline]
    pub(super) fn holds_much(&self) -> bool {
        self.held_bytes >= self.held_bytes_max
    }

    /// A connection was found far behind.
    pub fn has_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// A connection that was found far behind since the last call.
    pub fn take_stalled(&mut self) -> Option<Stalled> {
        self.stalled.take()
    }

    /// Counts what is staged for `conn` for its subscriptions, ahead of the commit.
    pub fn settle(&mut self, conn: &Conn) {
        if let Some(at) = self.place(conn.slot) {
            add_delivered(self.stages[at].run.take());
        }
        self.settle_tallies();
    }

    /// Appends frames for `conn` that are no messages. They are waited for: no policy drops them.
    ///
    /// nats: server/client.go `enqueueProto`
    pub fn add_proto(&mut self, conn: &Arc<Conn>, frames: &[u8]) {
        self.add_proto_with(conn, |out| out.extend_from_slice(frames));
    }

    /// The same for frames that `write` appends.
    pub fn add_proto_with(&mut self, conn: &Arc<Conn>, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.stage_at(conn.slot, || Arc::clone(conn));
        let stage = &mut self.stages[at];
        let start = stage.frames.len();
        write(&mut stage.frames);
        if self.policy.drop_when_far_behind {
            let end = stage.frames.len();
            match stage.protos.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => stage.protos.push(start..end),
            }
        }
    }

    /// Appends one message of `bytes` bytes for a subscription; `counted` if it was counted for it
    /// already.
    #[inline]
    pub(super) fn stage(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        counted: bool,
        head: &[u8],
        tail: &[u8],
        bytes: u64,
    ) {
        let at = self.stage_at(slot, || Arc::clone(subscription.conn()));
        let stage = &mut self.stages[at];
        let len = stage.append([head, tail], bytes);
        if !counted {
            stage.add_run(subscription, 1);
        }
        self.held_bytes += len;
        self.bytes += len;
    }

    /// Appends a message for the subscription to which the one before was
    /// [staged](Staging::stage), and those that follow, until the staging is full. Tells how many
    /// of the followers, and their bytes.
    #[inline(always)]
    pub(super) fn stage_run<'a>(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: &[u8],
        first: Tail<'_>,
        followers: &mut impl Iterator<Item = Tail<'a>>,
    ) -> (u64, u64) {
        let at = self.stage_at(slot, || Arc::clone(subscription.conn()));
        let stage = &mut self.stages[at];
        let room = self.full_at.saturating_sub(self.held_bytes);
        let room = room.min(STAGED_BYTES_MAX.saturating_sub(self.bytes));
        let mut len = stage.append([head, first.text], first.len as u64);
        let (msgs_before, bytes_before) = (stage.msgs, stage.bytes);
        while len < room
            && let Some(tail) = followers.next()
        {
            len += stage.append([head, tail.text], tail.len as u64);
        }
        let followers = (stage.msgs - msgs_before, stage.bytes - bytes_before);
        stage.add_run(subscription, 1 + followers.0);
        self.held_bytes += len;
        self.bytes += len;
        followers
    }

    /// Appends one message for a route, given in pieces.
    pub(super) fn stage_routed(&mut self, conn: &Arc<Conn>, pieces: [&[u8]; 3], bytes: u64) {
        let at = self.stage_at(conn.slot, || Arc::clone(conn));
        let len = self.stages[at].append(pieces, bytes);
        self.held_bytes += len;
        self.bytes += len;
    }

    /// Sees to it that what was appended to the queue of a route is written with the next commit.
    pub fn mark(&mut self, route: &Arc<Conn>) {
        self.stage_at(route.slot, || Arc::clone(route));
    }

    /// Where the frames of a connection are, if it has some.
    #[inline]
    fn place(&self, slot: u32) -> Option<usize> {
        let at = self.by_slot.get(slot as usize).copied().unwrap_or(0);
        (at as usize).checked_sub(1)
    }

    /// The stage of one receiver that it shares with nobody.
    #[inline]
    fn stage_at(&mut self, slot: u32, conn: impl FnOnce() -> Arc<Conn>) -> usize {
        match self.place(slot) {
            Some(at) if self.stages[at].members.len() == 1 => at,
            Some(at) => self.split(at, [slot].into_iter()),
            None => self.new_stage([conn()].into_iter()),
        }
    }

    /// A stage for connections without frames.
    #[cold]
    fn new_stage(&mut self, conns: impl Iterator<Item = Arc<Conn>>) -> usize {
        if self.used == self.stages.len() {
            self.stages.push(Stage::default());
        }
        self.used += 1;
        let stage = &mut self.stages[self.used - 1];
        for conn in conns {
            let slot = conn.slot as usize;
            if slot >= self.by_slot.len() {
                self.by_slot.resize(slot + 1, 0);
            }
            self.by_slot[slot] = self.used as u32;
            self.receiver_count += 1;
            stage.members.push(Member { conn, filler: None });
        }
        self.used - 1
    }

    /// Hands all frames to their connections, those of `last` at the end: a PONG says that what was
    /// published before is on its way. If that takes long, what is left is only appended, and
    /// [`take_unwritten`](Staging::take_unwritten) tells to whom.
    pub(super) fn commit(&mut self, counters: &Counters, last: &Arc<Conn>, now: Moment) {
        self.settle_tallies();
        self.tallies.clear();
        self.append_from = self.work_ns + COMMIT_NS_MAX;
        let last_at = self.place(last.slot);
        let mut kept = 0;
        for at in (0..self.used).filter(|&at| Some(at) != last_at).chain(last_at) {
            let stage = &mut self.stages[at];
            add_delivered(stage.run.take());
            if stage.members.len() > 1 {
                self.hand_over_all(at, counters, last, now);
            } else if let Some(member) = stage.members.pop() {
                self.hand_over(at, member, None, counters, now);
            }
            let stage = &mut self.stages[at];
            stage.frames.clear();
            stage.holes.clear();
            stage.protos = Vec::new();
            stage.msgs = 0;
            stage.bytes = 0;
            let capacity = stage.frames.capacity() + stage.holes.capacity() * HOLE_LEN;
            kept += capacity;
            if kept > KEPT_BYTES_MAX {
                kept -= capacity;
                stage.frames = Vec::new();
                stage.holes = Vec::new();
            }
        }
        if self.filled.capacity() > KEPT_BYTES_MAX {
            self.filled = Vec::new();
        }
        self.used = 0;
        self.receiver_count = 0;
        self.held_bytes = 0;
        self.bytes = 0;
        self.version += 1;
        self.add_work(0);
    }

    /// Hands the frames of a stage to all of its members, to `last` at the end.
    #[inline(never)]
    fn hand_over_all(&mut self, at: usize, counters: &Counters, last: &Arc<Conn>, now: Moment) {
        let stage = &mut self.stages[at];
        let mut members = std::mem::take(&mut stage.members);
        if let Some(at) = members.iter().position(|one| Arc::ptr_eq(&one.conn, last)) {
            let end = members.len() - 1;
            members.swap(at, end);
        }
        let worth = stage.frames.len() >= SHARED_LEN_MIN || members.len() > APPENDED_COUNT_MIN;
        let shared =
            (worth && stage.holes.is_empty()).then(|| Arc::new(std::mem::take(&mut stage.frames)));
        let shared_by_all = shared.as_ref();
        for member in members {
            self.hand_over(at, member, shared_by_all, counters, now);
        }
        if let Some(shared) = shared {
            // Unless somebody keeps them, there is memory for the next ones.
            self.stages[at].frames = Arc::into_inner(shared).unwrap_or_default();
        }
    }

    /// Hands the frames of a stage, which may be `shared`, to one of its members: to be written, or
    /// to be appended if the commit has taken long.
    #[inline(always)]
    fn hand_over(
        &mut self,
        at: usize,
        Member { conn, filler }: Member,
        shared: Option<&Arc<Vec<u8>>>,
        counters: &Counters,
        now: Moment,
    ) {
        let stage = &self.stages[at];
        self.by_slot[conn.slot as usize] = 0;
        let frames = match (filler, shared) {
            (Some(filler), _) => Frames::from(stage.fill(filler.sid(), &mut self.filled)),
            (None, Some(shared)) => Frames::shared(shared),
            (None, None) => Frames::from(&stage.frames),
        };
        if frames.is_empty() && conn.kind.is_client() {
            return;
        }
        if stage.msgs > 0 {
            conn.set_last_activity(now);
        }
        let len = frames.len();
        let at_once = self.work_ns < self.append_from;
        self.work_ns += if at_once { write_ns(len) } else { APPEND_NS };
        let mut sent = match at_once {
            true => conn.send(frames, stage.msgs, stage.bytes, &self.policy),
            false => conn.send_later(frames, stage.msgs, stage.bytes, &self.policy),
        };
        count(sent, conn.kind, stage.msgs, stage.bytes, counters);
        if sent == Sent::Dropped && !stage.protos.is_empty() {
            sent = stage.send_protos(&conn, &self.policy, counters);
        }
        match sent {
            Sent::SlowConsumer => log_slow_consumer(&conn, &self.policy),
            Sent::Stall => self.stalled = Some(conn),
            Sent::Appended => self.unwritten.push(Unwritten { conn, len }),
            Sent::Done | Sent::Dropped | Sent::Closed => {}
        }
    }

    /// Bytes in memory, frames and holes.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Frames were appended that somebody has to write.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// The connections that this turn has appended frames for without writing them. Who commits has
    /// to have them [written](Staging::write).
    pub fn take_unwritten(&mut self) -> Vec<Unwritten> {
        std::mem::take(&mut self.unwritten)
    }

    /// Writes what was appended.
    pub fn write(&mut self, Unwritten { conn, len }: &Unwritten) {
        self.add_work(write_ns(*len));
        // What becomes of it is no news of these frames: they were counted when they were appended.
        conn.send(b"", 0, 0, &self.policy);
    }

    fn settle_tallies(&mut self) {
        for (receivers, count) in self.tallies.iter_mut().filter(|(_, count)| *count > 0) {
            self.work_ns += SETTLE_NS * receivers.len();
            receivers.iter().for_each(|receiver| receiver.subscription.add_delivered(*count));
            *count = 0;
        }
    }
}

fn held_bytes_max(policy: &Policy) -> usize {
    HELD_BYTES_MAX.min(policy.pending_bytes_max / HELD_SHARE)
}

/// What it takes to write so many bytes to a socket, in nanoseconds about.
fn write_ns(len: usize) -> usize {
    WRITE_NS + len / BYTES_PER_NS + len.saturating_sub(FRESH_LEN_MIN) / FRESH_BYTES_PER_NS
}

#[cold]
fn log_slow_consumer(conn: &Conn, policy: &Policy) {
    let max = policy.pending_max(conn.kind);
    conn_event!(INFO, conn, "Slow Consumer Detected: MaxPending of {max} Exceeded");
}
