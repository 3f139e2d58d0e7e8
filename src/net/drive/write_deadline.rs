//! `WriteDeadline`: the time by which a socket has to take the pending bytes, and the end of one
//! that does not.
//!
//! Knows the connection and its queue, not the task and its socket.
//! nats: server/client.go `flushOutbound`, `handleWriteTimeout`

use std::time::Duration;

use crate::base::closed_reason::ClosedReason;
use crate::base::duration;
use crate::base::moment::Moment;
use crate::conn::{Conn, Progress, conn_event};
use crate::deliver::Delivery;
use crate::machine::Machine;

/// A time by which the pending bytes must be written.
#[derive(Clone, Copy)]
pub(super) struct WriteDeadline {
    start: Moment,
    pub(super) due: Moment,
    /// Bytes written before its start.
    from: u64,
    /// Bytes written when it is met.
    goal: u64,
    /// True if the one before it was missed, and forgiven.
    pub(super) retried: bool,
}

impl WriteDeadline {
    pub(super) fn new(
        now: Moment,
        span: Duration,
        progress: Progress,
        retried: bool,
    ) -> WriteDeadline {
        let Progress { written, pending_bytes, .. } = progress;
        let goal = written + pending_bytes as u64;
        WriteDeadline { start: now, due: now + span, from: written, goal, retried }
    }

    /// True if the bytes pending at its start are written.
    pub(super) fn is_met(&self, progress: Progress) -> bool {
        !progress.blocked || progress.written >= self.goal
    }

    /// Handles a missed deadline: closes the connection, or starts the next deadline.
    ///
    /// A retry helps a receiver that takes bytes meanwhile. The first miss in a row is forgiven: it
    /// began with a write that the socket took in part.
    /// nats: server/client.go `handleWriteTimeout`
    pub(super) fn handle_due<M: Machine>(&mut self, machine: &M, delivery: &Delivery) {
        let conn = machine.conn();
        let options = &delivery.settings.options;
        let retries = M::forgives_slow_writes(options);
        if retries {
            // Small reads from a full socket have not made it writable for tokio.
            conn.flush(&delivery.settings.policy, delivery.now);
        }
        let progress = conn.progress();
        delivery.counters.count_slow(conn.kind, self.retried);
        machine.handle_slow_write(&delivery.settings);
        let state = if self.retried { "State" } else { "Detected" };
        let span = M::write_deadline(options);
        conn_event!(
            INFO,
            conn,
            "Slow Consumer {state}: WriteDeadline of {} exceeded with {} total bytes.",
            duration::Display(span),
            self.goal - self.from
        );
        if retries && (!self.retried || progress.written > self.from) {
            *self = WriteDeadline::new(delivery.now, span, progress, true);
            return;
        }
        conn.close(ClosedReason::SlowConsumerWriteDeadline, true);
    }

    /// Logs that it was met, after a missed one.
    pub(super) fn log_recovered(&self, conn: &Conn, now: Moment) {
        conn_event!(
            INFO,
            conn,
            "Slow Consumer Recovered: Flush took {:.3}s with {} total bytes.",
            (now - self.start).as_secs_f64(),
            self.goal - self.from
        );
    }
}
