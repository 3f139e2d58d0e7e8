//! Writing to a [`Conn`], by the sender of frames or by its owner; and its end.
//!
//! [`flow`](crate::conn::flow) draws the states. No write happens under a lock.
//! nats: server/client.go `queueOutbound`, `flushOutbound`, `stalledWait`, `markConnAsClosed`

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::base::closed_reason::ClosedReason;
use crate::base::moment::Moment;
use crate::conn::Conn;
use crate::conn::flow::{FlowGuard, Flushed, Progress, Sent, Wire};
use crate::conn::frames::Frames;
use crate::conn::outbound::{Admission, Batch, Policy};

/// Rounds of writing frames appended by others, before the owning task takes over.
pub(super) const FLUSH_ROUNDS_MAX: usize = 8;

/// Publishers that one receiver wakes when it has caught up. Each pause searches all of them.
pub(super) const STALLED_COUNT_MAX: usize = 64;

impl Conn {
    /// Puts a wire on top of the present one: all later frames go through it. `make` builds it from
    /// the wire below and the number of queued bytes. Only for a connection that has not hung up
    /// and that only its owner knows.
    pub fn rewire<W: Wire + 'static>(
        &self,
        make: impl FnOnce(Arc<dyn Wire>, usize) -> W,
    ) -> Option<Arc<W>> {
        let mut flow = self.flow.lock();
        debug_assert!(!flow.flushing, "only the owner writes, and it is here");
        let below = flow.wire.take()?;
        let wire = Arc::new(make(below, flow.outbound.pending_bytes()));
        flow.wire = Some(Arc::clone(&wire) as Arc<dyn Wire>);
        Some(wire)
    }

    /// For the owning task: writes frames of the layers themselves.
    ///
    /// # Errors
    /// As [`Wire::try_flush`].
    pub fn flush_layers(&self) -> io::Result<()> {
        let flow = self.flow.lock();
        let wire = flow.wire.clone().filter(|_| !flow.discarded);
        drop(flow);
        wire.map_or(Ok(()), |wire| wire.try_flush())
    }

    /// Sets the waker of the owning task.
    pub fn set_owner(&self, waker: &Waker) {
        self.flow.lock().owner = Some(waker.clone());
    }

    /// Wakes the owning task.
    pub fn wake(&self) {
        let owner = self.flow.lock().owner.clone();
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Sends frames: writes them at once if nothing waits, else appends them.
    pub fn send(&self, frames: &Frames<'_>, policy: &Policy) -> Sent {
        let mut flow = self.flow.lock();
        if flow.closed.is_some() {
            return Sent::Closed;
        }
        let admission = policy.admission(self.kind, flow.outbound.pending_bytes(), frames.len());
        let idle = flow.is_idle();
        match admission {
            // A frame that is no message is an answer that the client waits for.
            Admission::Drop if frames.msgs > 0 => return Sent::Dropped,
            // An idle connection may take it all at once.
            Admission::Overflow if !idle => {
                self.close_locked(flow, ClosedReason::SlowConsumerPendingBytes, true);
                return Sent::SlowConsumer;
            }
            _ => {}
        }
        flow.out_msgs += frames.msgs;
        flow.out_bytes += frames.bytes;
        if frames.is_empty() && (!idle || flow.outbound.is_empty()) {
            return Sent::Done;
        }
        if !idle {
            flow.outbound.push(frames);
            return if admission == Admission::AppendAndStall { Sent::Stall } else { Sent::Done };
        }
        if !flow.outbound.is_empty() {
            if !frames.is_empty() {
                flow.outbound.push(frames);
            }
            self.write_appended(flow);
            return Sent::Done;
        }
        self.write_through(flow, frames, policy)
    }

    /// Like [`send`](Conn::send), but leaves the writing to a later `send`, if no other thread
    /// writes and the queue may hold so much.
    #[cold]
    pub fn send_later(&self, frames: &Frames<'_>, policy: &Policy) -> Sent {
        let mut flow = self.flow.lock();
        let admission = policy.admission(self.kind, flow.outbound.pending_bytes(), frames.len());
        let may_wait = matches!(admission, Admission::Append | Admission::AppendAndStall);
        if flow.closed.is_none() && flow.is_idle() && may_wait {
            flow.out_msgs += frames.msgs;
            flow.out_bytes += frames.bytes;
            flow.outbound.push(frames);
            return Sent::Appended;
        }
        drop(flow);
        self.send(frames, policy)
    }

    /// Appends frames without writing them, so that several threads may agree on their order under
    /// a lock. Each of them has to call [`send`](Conn::send) later, with other frames or with none.
    pub fn append(&self, frames: &[u8]) {
        let mut flow = self.flow.lock();
        if flow.closed.is_none() && !frames.is_empty() {
            flow.outbound.push(&Frames::from(frames));
        }
    }

    /// Writes `frames` on an idle connection, then frames appended meanwhile.
    // As a call it would cost each flush a tenth of its instructions.
    #[inline(always)]
    fn write_through<'a>(
        &'a self,
        mut flow: FlowGuard<'a>,
        frames: &Frames<'_>,
        policy: &Policy,
    ) -> Sent {
        let Some(wire) = flow.wire.clone() else { return Sent::Closed };
        flow.flushing = true;
        flow.outbound.reserve(frames.len());
        drop(flow);
        let written = wire.try_write(&[IoSlice::new(frames)]);
        let mut flow = self.flow.lock();
        flow.flushing = false;
        let written = match written {
            Ok(len) => len,
            Err(error) if is_transient(&error) => 0,
            Err(_) => {
                self.close_locked(flow, ClosedReason::WriteError, true);
                return Sent::Closed;
            }
        };
        if flow.discarded {
            self.hand_over(flow);
            return Sent::Closed;
        }
        flow.release(written);
        if written < frames.len() {
            flow.outbound.prepend(frames, written);
            if flow.outbound.pending_bytes() > policy.pending_max(self.kind) {
                self.close_locked(flow, ClosedReason::SlowConsumerPendingBytes, true);
                return Sent::SlowConsumer;
            }
            self.hand_over(flow);
            return Sent::Done;
        }
        if !flow.outbound.is_empty() || flow.closed.is_some() {
            self.write_appended(flow);
        }
        Sent::Done
    }

    /// Writes frames appended by others while this thread was writing.
    fn write_appended<'a>(&'a self, mut flow: FlowGuard<'a>) {
        for _ in 0..FLUSH_ROUNDS_MAX {
            if flow.outbound.is_empty() && flow.closed.is_none() {
                return;
            }
            if flow.outbound.is_empty() {
                // The owner waits for the last bytes before it leaves.
                break;
            }
            flow.flushing = true;
            let (again, result) = self.write_batch(flow);
            flow = again;
            flow.flushing = false;
            match result {
                Flushed::Idle => {}
                Flushed::Part | Flushed::Blocked | Flushed::Failed => break,
            }
        }
        self.hand_over(flow);
    }

    /// Takes one batch, writes it outside the lock, and puts the rest back.
    fn write_batch<'a>(&'a self, mut flow: FlowGuard<'a>) -> (FlowGuard<'a>, Flushed) {
        let Some(wire) = flow.wire.clone() else { return (flow, Flushed::Failed) };
        let mut batch: Batch = flow.outbound.take();
        drop(flow);
        let result = wire.try_write(&batch.slices());
        let mut flow = self.flow.lock();
        let written = match result {
            Ok(len) => len,
            Err(error) if is_transient(&error) => 0,
            Err(_) => {
                self.close_locked(flow, ClosedReason::WriteError, true);
                return (self.flow.lock(), Flushed::Failed);
            }
        };
        if flow.discarded {
            return (flow, Flushed::Failed);
        }
        flow.release(written);
        batch.advance(written);
        let all = batch.is_empty();
        if !all {
            flow.outbound.put_back(batch);
        }
        (flow, if all { Flushed::Idle } else { Flushed::Blocked })
    }

    /// Leaves the pending bytes to the owning task.
    fn hand_over(&self, mut flow: FlowGuard<'_>) {
        flow.blocked = !flow.outbound.is_empty();
        if flow.blocked {
            flow.lag.get_or_insert_default().progress_at = None;
        }
        let owner = flow.owner.clone();
        drop(flow);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// For the owning task: writes the pending bytes, if they were handed over.
    pub fn flush(&self, policy: &Policy, now: Moment) -> Flushed {
        let mut flow = self.flow.lock();
        if let Some(lag) = &mut flow.lag {
            lag.progress_at.get_or_insert(now);
        }
        for _ in 0..FLUSH_ROUNDS_MAX {
            if !flow.blocked || flow.outbound.is_empty() {
                flow.blocked = false;
                return Flushed::Idle;
            }
            let before = flow.written();
            let (again, result) = self.write_batch(flow);
            flow = again;
            let caught_up = flow.outbound.pending_bytes() <= policy.stall_pending();
            let moved = flow.written() > before;
            if let Some(lag) = &mut flow.lag {
                if moved {
                    lag.progress_at = Some(now);
                }
                if caught_up {
                    lag.stalled.drain(..).for_each(Waker::wake);
                }
            }
            if result != Flushed::Idle {
                return result;
            }
        }
        Flushed::Part
    }

    /// For the owning task: the numbers for the write deadline.
    pub fn progress(&self) -> Progress {
        let mut flow = self.flow.lock();
        if !flow.blocked {
            flow.lag = None;
        }
        Progress {
            written: flow.written(),
            pending_bytes: flow.outbound.pending_bytes(),
            blocked: flow.blocked,
            progress_at: flow.lag.as_ref().and_then(|lag| lag.progress_at),
        }
    }

    /// True if `publisher` should pause: the connection is lagging but worth waiting for;
    /// `publisher` is woken when less is pending. A connection whose socket has taken nothing for
    /// `STALL_PATIENCE` makes no publisher wait.
    pub fn stall(&self, publisher: &Waker, policy: &Policy, now: Moment) -> bool {
        let mut flow = self.flow.lock();
        if !flow.is_lagging(policy) {
            return false;
        }
        let lag = flow.lag.get_or_insert_default();
        if lag.is_stuck(now) {
            return false;
        }
        // Pauses may follow each other as long as it stays behind. A publisher that is not in the
        // list comes again when its pause is over.
        let is_full = lag.stalled.len() == STALLED_COUNT_MAX;
        if !is_full && !lag.stalled.iter().any(|noted| noted.will_wake(publisher)) {
            lag.stalled.push(publisher.clone());
        }
        flow.stalls = flow.stalls.saturating_add(1);
        true
    }

    /// True if it waits for its socket, and so much is pending that publishers should pause.
    pub fn is_lagging(&self, policy: &Policy) -> bool {
        self.flow.lock().is_lagging(policy)
    }

    /// True if it is lagging, but its socket takes bytes now and then.
    pub fn is_catching_up(&self, policy: &Policy, now: Moment) -> bool {
        let flow = self.flow.lock();
        flow.is_lagging(policy) && flow.lag.as_ref().is_none_or(|lag| !lag.is_stuck(now))
    }

    /// Ends the connection, for the first reason given, and wakes its owner. Pending bytes are
    /// still written, unless `discard`.
    pub fn close(&self, reason: ClosedReason, discard: bool) {
        let flow = self.flow.lock();
        self.close_locked(flow, reason, discard);
    }

    fn close_locked(&self, mut flow: FlowGuard<'_>, reason: ClosedReason, discard: bool) {
        flow.closed.get_or_insert(reason);
        self.is_closed.store(true, Ordering::Release);
        if discard {
            flow.discarded = true;
            flow.outbound.clear();
        }
        // A thread that has appended comes too late to send.
        flow.blocked |= !flow.flushing && !flow.outbound.is_empty();
        let owner = flow.owner.clone();
        let stalled = flow.lag.as_mut().map(|lag| std::mem::take(&mut lag.stalled));
        drop(flow);
        for waker in owner.into_iter().chain(stalled.into_iter().flatten()) {
            waker.wake();
        }
    }

    /// Drops the socket and all wakers, at the very end.
    pub fn hang_up(&self) {
        let mut flow = self.flow.lock();
        flow.outbound.clear();
        flow.discarded = true;
        let kept = (flow.wire.take(), flow.owner.take());
        drop(flow);
        drop(kept);
    }

    /// True once its socket is dropped: it has ended and all pending bytes are written.
    pub fn has_hung_up(&self) -> bool {
        self.flow.lock().wire.is_none()
    }

    /// True if its pending bytes were dropped at its end.
    pub fn is_discarded(&self) -> bool {
        self.flow.lock().discarded
    }

    /// The reason of its end, if it ends.
    pub fn closed(&self) -> Option<ClosedReason> {
        if !self.is_closed() {
            return None;
        }
        self.flow.lock().closed
    }

    /// True if it takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

/// True for an error that passes: the socket is full, or a signal interrupted the write.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
