//! Staging: frames gathered per receiver while one read is handled.
//!
//! A receiver is found by the slot of its connection in a table, not by hashing. At the end of the
//! read each connection gets its frames in one piece. The buffers are reused, up to
//! [`KEPT_BYTES_MAX`].
//!
//! Receivers of the same frames share a [`Stage`], as long as none of them gets another frame: so a
//! message for a thousand is copied once, and stays in the processor's cache while a thousand
//! sockets copy it. A receiver of another frame leaves with a copy of the frames so far. Where
//! their sids differ, the frames have holes, which are filled for one receiver after the other when
//! they go out.
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
//! A bundle, which belongs to a match, has a plan: the stages that hold its receivers and no
//! others. Its messages are appended to them, and counted in a tally until the commit. The plan is
//! valid as long as the version is the same. If B gets a PONG now, B moves to a stage of its own,
//! with a copy of its frames, and the version becomes 8. The next message for B and C needs a new
//! plan, and is appended to both stages.

pub(super) mod sharing;
pub(super) mod stage;

use std::sync::Arc;

use crate::base::moment::Moment;
use crate::base::stats::Counters;
use crate::conn::frames::Frames;
use crate::conn::outbound::{Policy, SHARED_LEN_MIN};
use crate::conn::subscription::Subscription;
use crate::conn::{Conn, Sent, conn_event};
use crate::deliver::staging::stage::{HOLE_LEN, Member, Receivers, Stage, add_delivered, count};
use crate::parser::Tail;

/// Bytes held after which a worker commits before the end of its read.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// It also commits at a quarter of `max_pending`: a receiver that does not lag can always take
/// that much, so stalls come before an overflow.
const HELD_SHARE: usize = 4;

/// Bytes staged after which it commits; those of a shared stage count for each receiver. With a
/// thousand receivers each write is 16 KiB.
const STAGED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes for one receiver that are worth a write of their own: the kernel's work for them outweighs
/// the cost of the call.
const PORTION_LEN: usize = 32 * 1024;

/// Receivers of the same frames above which some may only have them appended: so many writes fit
/// into a commit.
const APPENDED_COUNT_MIN: usize = 1_000;

/// Bytes of empty buffers that a worker keeps.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes copied from the staging into a socket in about a nanosecond.
const BYTES_PER_NS: usize = 8;

/// Bytes of one write above which the kernel needs fresh memory for the socket, and how many of
/// those bytes take an extra nanosecond.
const FRESH_LEN_MIN: usize = 256 * 1024;
const FRESH_BYTES_PER_NS: usize = 2;

/// Time of a write to a socket without its bytes, nanoseconds: most of it wakes the reader.
const WRITE_NS: usize = 8_000;

/// Time to append frames to a queue, and to count a delivery for a subscription, nanoseconds.
pub(super) const APPEND_NS: usize = 600;
const SETTLE_NS: usize = 10;

/// Work of one commit, nanoseconds, about, after which it only appends frames; the committing task
/// writes them in further turns.
const COMMIT_NS_MAX: usize = 12_000_000;

/// The limits of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Work after which it is over, nanoseconds, about.
    pub work_ns_max: usize,
    /// True if it may end in the middle of a message, and keep the rest of it.
    pub splits: bool,
}

/// A connection with appended frames, which the appending task has to write.
pub struct Unwritten {
    conn: Arc<Conn>,
    len: usize,
}

/// A connection that is lagging, for which its publisher pauses.
pub type Stalled = Arc<Conn>;

/// Frames by receiver.
pub struct Staging {
    /// Limits of an outbound queue.
    policy: Policy,
    held_bytes_max: usize,
    /// Held bytes above which it is full: `held_bytes_max`, or 0 when the turn is over.
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
    /// Work of this turn, without the staged bytes: nanoseconds, about.
    work_ns: usize,
    /// Work after which the turn is over.
    work_ns_max: usize,
    /// Work after which a commit only appends.
    append_from: usize,
    /// True if the turn may end in the middle of a message.
    splits: bool,
    /// Connections with appended frames that are not written.
    unwritten: Vec<Unwritten>,
    stalled: Option<Stalled>,
    /// Grows when receivers leave a stage and with each commit.
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

    /// Sets the limits of all later commits. Nothing is staged.
    #[cold]
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.held_bytes_max = held_bytes_max(&policy);
    }

    /// True if enough is staged to commit, or the turn is over.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.held_bytes >= self.full_at || self.bytes >= STAGED_BYTES_MAX
    }

    /// True if so little is staged for each receiver that a commit should wait for more.
    pub fn is_thin(&self) -> bool {
        self.bytes < self.receiver_count * PORTION_LEN
    }

    /// Starts the turn of a task with these limits.
    pub fn start_turn(&mut self, Budget { work_ns_max, splits }: Budget) {
        self.work_ns = 0;
        self.work_ns_max = work_ns_max;
        self.splits = splits;
        self.full_at = self.held_bytes_max;
    }

    /// Counts work, nanoseconds, about.
    #[inline]
    pub fn add_work(&mut self, work_ns: usize) {
        self.work_ns += work_ns;
        if self.is_turn_over() {
            self.full_at = 0;
        }
    }

    /// The work of this turn so far, nanoseconds, about.
    pub fn work_ns(&self) -> usize {
        self.work_ns + self.bytes / BYTES_PER_NS
    }

    /// True if the turn is over: other tasks are next.
    pub fn is_turn_over(&self) -> bool {
        self.work_ns >= self.work_ns_max
    }

    /// Ends the turn.
    pub(super) fn end_turn(&mut self) {
        self.add_work(self.work_ns_max.saturating_sub(self.work_ns));
    }

    /// True if a message with this much work needs a turn that may end in its middle.
    pub(super) fn is_too_long(&self, work_ns: usize) -> bool {
        !self.splits && work_ns > self.work_ns_max
    }

    /// True if the turn is over, and may end in the middle of a message.
    pub(super) fn must_split(&self) -> bool {
        self.splits && self.is_turn_over()
    }

    /// True if so much is held in memory that it has to be committed, even in the middle of a
    /// message.
    #[inline]
    pub(super) fn holds_much(&self) -> bool {
        self.held_bytes >= self.held_bytes_max
    }

    /// True if a connection was found lagging.
    pub fn has_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// A connection that was found lagging since the last call.
    pub fn take_stalled(&mut self) -> Option<Stalled> {
        self.stalled.take()
    }

    /// Counts the frames staged for `conn` at its subscriptions, before the commit.
    pub fn settle(&mut self, conn: &Conn) {
        if let Some(at) = self.place(conn.slot) {
            add_delivered(self.stages[at].run.take());
        }
        self.settle_tallies();
    }

    /// Appends frames for `conn` that are no messages. The other side waits for them: no policy
    /// drops them.
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
        if self.policy.drop_when_lagging {
            let end = stage.frames.len();
            match stage.protos.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => stage.protos.push(start..end),
            }
        }
    }

    /// True if messages for that connection are left out, because it is lagging.
    pub(super) fn leaves_out(&self, conn: &Conn) -> bool {
        self.policy.drop_when_lagging && conn.is_lagging(&self.policy)
    }

    /// Appends one message of `bytes` bytes for a subscription; `counted` if the subscription has
    /// counted it already.
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

    /// Appends a message for a subscription, which has not counted it, and the followers, until the
    /// staging is full. Returns the number of followers appended, and their bytes.
    // A call per row. Inlined, its loop would share registers with all that surrounds it.
    #[inline(never)]
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

    /// Makes the next commit write the frames appended to the queue of a route.
    pub fn mark(&mut self, route: &Arc<Conn>) {
        self.stage_at(route.slot, || Arc::clone(route));
    }

    /// The stage of a connection, if it has frames.
    #[inline]
    fn place(&self, slot: u32) -> Option<usize> {
        let at = self.by_slot.get(slot as usize).copied().unwrap_or(0);
        (at as usize).checked_sub(1)
    }

    /// The unshared stage of one receiver.
    #[inline]
    fn stage_at(&mut self, slot: u32, conn: impl FnOnce() -> Arc<Conn>) -> usize {
        match self.place(slot) {
            Some(at) if self.stages[at].members.len() == 1 => at,
            Some(at) => self.split(at, [slot].into_iter()),
            None => self.stage_of(conn()),
        }
    }

    /// A new stage with this member.
    #[cold]
    fn stage_of(&mut self, conn: Arc<Conn>) -> usize {
        let at = self.new_stage();
        self.join(at, conn);
        at
    }

    /// A stage without members and frames.
    fn new_stage(&mut self) -> usize {
        if self.used == self.stages.len() {
            self.stages.push(Stage::default());
        }
        self.used += 1;
        self.used - 1
    }

    /// Makes a connection without frames a member of the stage.
    #[inline]
    fn join(&mut self, at: usize, conn: Arc<Conn>) {
        let slot = conn.slot as usize;
        if slot >= self.by_slot.len() {
            self.by_slot.resize(slot + 1, 0);
        }
        self.by_slot[slot] = at as u32 + 1;
        self.receiver_count += 1;
        self.stages[at].members.push(Member { conn, filler: None });
    }

    /// Hands all frames to their connections, those of `last` at the end: a PONG promises that
    /// everything published before is on its way. If that takes long, the remaining frames are only
    /// appended; [`take_unwritten`](Staging::take_unwritten) returns their connections.
    pub(super) fn commit(&mut self, counters: &Counters, last: &Arc<Conn>, now: Moment) {
        if self.used == 0 {
            return;
        }
        self.settle_tallies();
        self.tallies.clear();
        self.append_from = self.work_ns + COMMIT_NS_MAX;
        let last_at = self.place(last.slot);
        let mut kept = 0;
        for at in (0..self.used).filter(|&at| Some(at) != last_at).chain(last_at) {
            let stage = &mut self.stages[at];
            add_delivered(stage.run.take());
            match stage.members.len() {
                0 => {}
                1 if stage.holes.is_empty() => self.hand_over_one(at, counters, now),
                _ => self.hand_over_all(at, counters, last, now),
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

    /// Hands the frames of a stage, which have no holes, to its only member.
    #[inline(always)]
    fn hand_over_one(&mut self, at: usize, counters: &Counters, now: Moment) {
        let stage = &mut self.stages[at];
        let Some(Member { conn, .. }) = stage.members.pop() else { return };
        let text = std::mem::take(&mut stage.frames);
        let frames = Frames::from(&text).with_msgs(stage.msgs, stage.bytes);
        self.hand_over(at, conn, &frames, counters, now);
        self.stages[at].frames = text;
    }

    /// Hands the frames of a stage to all of its members, to `last` at the end.
    #[inline(never)]
    fn hand_over_all(&mut self, at: usize, counters: &Counters, last: &Arc<Conn>, now: Moment) {
        let stage = &mut self.stages[at];
        let (msgs, bytes) = (stage.msgs, stage.bytes);
        let mut text = std::mem::take(&mut stage.frames);
        let mut members = std::mem::take(&mut stage.members);
        if let Some(at) = members.iter().position(|one| Arc::ptr_eq(&one.conn, last)) {
            let end = members.len() - 1;
            members.swap(at, end);
        }
        if !stage.holes.is_empty() {
            let mut filled = std::mem::take(&mut self.filled);
            for Member { conn, filler } in members {
                let sid = filler.as_ref().map_or(&b""[..], |filler| filler.sid());
                let frames = Frames::from(self.stages[at].fill(&text, sid, &mut filled));
                self.hand_over(at, conn, &frames.with_msgs(msgs, bytes), counters, now);
            }
            self.filled = filled;
            self.stages[at].frames = text;
            return;
        }
        let worth = text.len() >= SHARED_LEN_MIN || members.len() > APPENDED_COUNT_MIN;
        let shared = worth.then(|| Arc::new(std::mem::take(&mut text)));
        let frames = shared.as_ref().map_or_else(|| Frames::from(&text), Frames::shared);
        let frames = frames.with_msgs(msgs, bytes);
        for Member { conn, .. } in members {
            self.hand_over(at, conn, &frames, counters, now);
        }
        // Unless a queue keeps them, their memory serves the next frames.
        let text = shared.map_or(text, |shared| Arc::into_inner(shared).unwrap_or_default());
        self.stages[at].frames = text;
    }

    /// Hands the frames of a stage to one of its members: writes them, or appends them if the
    /// commit has taken long.
    #[inline(always)]
    fn hand_over(
        &mut self,
        at: usize,
        conn: Arc<Conn>,
        frames: &Frames<'_>,
        counters: &Counters,
        now: Moment,
    ) {
        self.by_slot[conn.slot as usize] = 0;
        if frames.is_empty() && conn.kind.is_client() {
            return;
        }
        if frames.msgs > 0 {
            conn.set_last_activity(now);
        }
        let at_once = self.work_ns < self.append_from;
        self.work_ns += if at_once { write_ns(frames.len()) } else { APPEND_NS };
        let mut sent = match at_once {
            true => conn.send(frames, &self.policy),
            false => conn.send_later(frames, &self.policy),
        };
        count(sent, conn.kind, frames, counters);
        if sent == Sent::Dropped {
            sent = self.stages[at].send_protos(frames, &conn, &self.policy, counters);
        }
        match sent {
            Sent::SlowConsumer => log_slow_consumer(&conn, &self.policy),
            Sent::Stall => self.stalled = Some(conn),
            Sent::Appended => self.unwritten.push(Unwritten { conn, len: frames.len() }),
            Sent::Done | Sent::Dropped | Sent::Closed => {}
        }
    }

    /// Bytes in memory, frames and holes.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// True if appended frames have to be written.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// The connections with frames that this turn has appended and not written. The caller has to
    /// [write](Staging::write) them.
    pub fn take_unwritten(&mut self) -> Vec<Unwritten> {
        std::mem::take(&mut self.unwritten)
    }

    /// Writes the appended frames of a connection.
    pub fn write(&mut self, Unwritten { conn, len }: &Unwritten) {
        self.add_work(write_ns(*len));
        // The result does not matter: these frames were counted when they were appended.
        conn.send(&Frames::NONE, &self.policy);
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

/// Time to write so many bytes to a socket, nanoseconds, about.
fn write_ns(len: usize) -> usize {
    WRITE_NS + len / BYTES_PER_NS + len.saturating_sub(FRESH_LEN_MIN) / FRESH_BYTES_PER_NS
}

#[cold]
fn log_slow_consumer(conn: &Conn, policy: &Policy) {
    let max = policy.pending_max(conn.kind);
    conn_event!(INFO, conn, "Slow Consumer Detected: MaxPending of {max} Exceeded");
}
