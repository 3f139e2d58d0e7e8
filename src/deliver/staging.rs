//! Staging: frames gathered per receiver while one read is handled.
//!
//! A receiver is found by the slot of its connection in a table, not by hashing. At the end of the
//! read each connection gets its frames in one piece. The buffers are used again, as far as
//! [`KEPT_BYTES_MAX`] allows.

use std::sync::Arc;

use crate::conn::subscription::Subscription;
use crate::conn::{Conn, Sent};
use crate::ids::Kind;
use crate::outbound::Policy;
use crate::stats::Counters;
use crate::sublist::Entry;

/// Staged bytes after which a worker commits although its read is not handled to the end.
/// With a thousand receivers it is 8 KiB for each write.
const STAGED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A portion for one receiver that is worth a write of its own: the kernel's work for it outweighs
/// that for the call.
const PORTION_LEN: usize = 32 * 1024;

/// Bytes of empty buffers that a worker keeps.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A connection that is far behind, for which its publisher pauses.
pub type Stalled = Arc<Conn>;

/// Frames by receiver.
pub struct Staging {
    /// By slot: position in `stages` plus one; 0 for a connection without frames.
    by_slot: Vec<u32>,
    /// The first `used` carry frames, the others only keep their buffers.
    stages: Vec<Stage>,
    used: usize,
    bytes: usize,
    /// See [`work_bytes`](Staging::work_bytes).
    work_bytes: usize,
    stalled: Option<Stalled>,
}

/// The frames of one receiver.
#[derive(Default)]
struct Stage {
    conn: Option<Arc<Conn>>,
    frames: Vec<u8>,
    msgs: u64,
    bytes: u64,
    /// The subscription of the last frames and how many there were: they are counted in one go.
    run: Option<(Subscription, u64)>,
}

impl Default for Staging {
    fn default() -> Staging {
        Staging::new()
    }
}

impl Staging {
    /// Nothing staged.
    pub fn new() -> Staging {
        Staging {
            by_slot: Vec::new(),
            stages: Vec::new(),
            used: 0,
            bytes: 0,
            work_bytes: 0,
            stalled: None,
        }
    }

    /// So much is staged that it should be committed.
    pub fn is_full(&self) -> bool {
        self.bytes >= STAGED_BYTES_MAX
    }

    /// So little is staged for each receiver that more should come before it is committed.
    pub fn is_thin(&self) -> bool {
        self.bytes < self.used * PORTION_LEN
    }

    /// A task has its turn: what it stages is measured from here on.
    pub fn start_turn(&mut self) {
        self.work_bytes = 0;
    }

    /// Bytes staged, committed or not, in this turn.
    pub fn work_bytes(&self) -> usize {
        self.work_bytes
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
        let at = self.by_slot.get(conn.slot as usize).map_or(0, |&at| at as usize);
        if let Some(stage) = at.checked_sub(1).map(|at| &mut self.stages[at]) {
            add_delivered(stage.run.take());
        }
    }

    /// Where to append frames for `conn` that are no messages.
    pub fn frames(&mut self, conn: &Arc<Conn>) -> &mut Vec<u8> {
        let at = self.stage_at(conn.slot, || Arc::clone(conn));
        &mut self.stages[at].frames
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
        let len = head.len() + tail.len();
        stage.frames.reserve(len);
        stage.frames.extend_from_slice(head);
        stage.frames.extend_from_slice(tail);
        stage.msgs += 1;
        stage.bytes += bytes;
        if !counted {
            match &mut stage.run {
                Some((last, count)) if last.is_same(subscription) => *count += 1,
                run => {
                    let ended = run.replace((subscription.clone(), 1));
                    add_delivered(ended);
                }
            }
        }
        self.bytes += len;
        self.work_bytes += len;
    }

    /// Appends one message for a route, given in pieces.
    pub(super) fn stage_routed(&mut self, conn: &Arc<Conn>, pieces: [&[u8]; 3], bytes: u64) {
        let at = self.stage_at(conn.slot, || Arc::clone(conn));
        let stage = &mut self.stages[at];
        let len = pieces.iter().map(|piece| piece.len()).sum();
        stage.frames.reserve(len);
        pieces.iter().for_each(|piece| stage.frames.extend_from_slice(piece));
        stage.msgs += 1;
        stage.bytes += bytes;
        self.bytes += len;
        self.work_bytes += len;
    }

    /// Sees to it that what was appended to the queue of a route is written with the next commit.
    pub fn mark(&mut self, route: &Arc<Conn>) {
        self.stage_at(route.slot, || Arc::clone(route));
    }

    #[inline]
    fn stage_at(&mut self, slot: u32, conn: impl FnOnce() -> Arc<Conn>) -> usize {
        let slot = slot as usize;
        match self.by_slot.get(slot) {
            Some(&at) if at != 0 => at as usize - 1,
            _ => self.new_stage(slot, conn()),
        }
    }

    #[cold]
    fn new_stage(&mut self, slot: usize, conn: Arc<Conn>) -> usize {
        if slot >= self.by_slot.len() {
            self.by_slot.resize(slot + 1, 0);
        }
        if self.used == self.stages.len() {
            self.stages.push(Stage::default());
        }
        self.stages[self.used].conn = Some(conn);
        self.used += 1;
        self.by_slot[slot] = self.used as u32;
        self.used - 1
    }

    /// Hands all frames to their connections, those of `last` at the end: a PONG says that what was
    /// published before is on its way.
    pub(super) fn commit(&mut self, policy: &Policy, counters: &Counters, last: &Arc<Conn>) {
        let last_slot = last.slot as usize;
        let last_at = self.by_slot.get(last_slot).map_or(0, |&at| at as usize);
        let mut kept = 0;
        for at in
            (1..=self.used).filter(|&at| at != last_at).chain((last_at > 0).then_some(last_at))
        {
            let stage = &mut self.stages[at - 1];
            let Some(conn) = stage.conn.take() else { continue };
            self.by_slot[conn.slot as usize] = 0;
            add_delivered(stage.run.take());
            if !stage.frames.is_empty() || conn.kind == Kind::Route {
                let sent = conn.send(&stage.frames, stage.msgs, stage.bytes, policy);
                count(sent, conn.kind, stage, counters);
                match sent {
                    Sent::SlowConsumer => log_slow_consumer(&conn, policy),
                    Sent::Stall => self.stalled = Some(conn),
                    Sent::Done | Sent::Dropped | Sent::Closed => {}
                }
            }
            stage.frames.clear();
            stage.msgs = 0;
            stage.bytes = 0;
            kept += stage.frames.capacity();
            if kept > KEPT_BYTES_MAX {
                kept -= stage.frames.capacity();
                stage.frames = Vec::new();
            }
        }
        self.used = 0;
        self.bytes = 0;
    }
}

fn add_delivered(run: Option<(Subscription, u64)>) {
    if let Some((subscription, count)) = run {
        subscription.add_delivered(count);
    }
}

fn count(sent: Sent, kind: Kind, stage: &Stage, counters: &Counters) {
    match sent {
        Sent::Done | Sent::Stall => {
            counters.out_msgs.add(stage.msgs);
            counters.out_bytes.add(stage.bytes);
        }
        Sent::SlowConsumer => {
            counters.slow_consumers.add(1);
            counters.slow_routes.add(u64::from(kind == Kind::Route));
        }
        Sent::Dropped | Sent::Closed => {}
    }
}

#[cold]
fn log_slow_consumer(conn: &Conn, policy: &Policy) {
    tracing::info!(
        cid = conn.cid.0,
        remote = conn.remote().map(tracing::field::display),
        "Slow Consumer Detected: MaxPending of {} Exceeded",
        policy.pending_max(conn.kind)
    );
}
