//! `WriteDeadline`: the time by which a socket has to take the pending bytes, and the end of one
//! that does not.
//!
//! Knows the connection and its queue, not the task and its socket.
//! nats: server/client.go `flushOutbound`, `handleWriteTimeout`

use crate::base::closed_reason::ClosedReason;
use crate::base::duration;
use crate::base::limits::WRITE_DEADLINE_LEN;
use crate::base::moment::Moment;
use crate::config::options::Options;
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
    /// The first one, from now on. If a miss is not forgiven, it is for no more than a bounded
    /// part of the pending bytes: a receiver that goes on taking some is not lost.
    pub(super) fn new<M: Machine>(
        now: Moment,
        options: &Options,
        progress: Progress,
    ) -> WriteDeadline {
        let len_max = match M::forgives_slow_writes(options) {
            true => usize::MAX,
            false => WRITE_DEADLINE_LEN,
        };
        let Progress { written, pending_bytes, .. } = progress;
        let goal = written + pending_bytes.min(len_max) as u64;
        let due = now + M::write_deadline(options);
        WriteDeadline { start: now, due, from: written, goal, retried: false }
    }

    /// True if the bytes pending at its start are written, or as many of them as it is for.
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
            let next = WriteDeadline::new::<M>(delivery.now, options, progress);
            *self = WriteDeadline { retried: true, ..next };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::config::options::WriteTimeout;

    /// Regression: a receiver of 1 MB a second was closed for a backlog of 20 MB.
    #[test]
    fn a_backlog_is_not_due_at_once() {
        let progress = |written, pending_bytes| Progress {
            written,
            pending_bytes,
            blocked: true,
            progress_at: None,
        };
        let backlog = progress(0, 20_000_000);
        let mut options = Options::default();
        let is_met = |options: &Options, written| {
            let deadline = WriteDeadline::new::<Client>(Moment::START, options, backlog);
            deadline.is_met(progress(written, 20_000_000 - written as usize))
        };
        assert!(!is_met(&options, 500_000) && is_met(&options, 600_000));
        options.write_timeout = WriteTimeout::Retry;
        assert!(!is_met(&options, 600_000) && is_met(&options, 20_000_000));
    }
}
