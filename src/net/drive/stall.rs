//! Pauses of publishing for a receiver that is lagging: once per turn, and for a moment.
//!
//! A turn may handle more than the real server reads at once; then the pause may be as much longer,
//! so that a publisher is not faster here than what a receiver survives there.
//!
//! nats: server/client.go `stalledWait`, `resetReadLoopStallTime`

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use crate::base::limits::{STALL_PER_READ_MAX, STALL_READ_LEN};
use crate::base::moment::Moment;
use crate::conn::{Conn, conn_event};
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::net::drive::{Drive, Phase};

/// A pause.
pub(super) struct Stall {
    /// The receiver.
    slow: Arc<Conn>,
    since: Moment,
    /// Its end, if the receiver does not catch up before.
    pub(super) until: Moment,
}

/// Messages that a turn has handled.
pub(super) struct Published {
    pub(super) msgs: u64,
    pub(super) bytes: u64,
}

/// The shortest pause that is logged.
const STALL_TOLD_MIN: Duration = Duration::from_millis(5);

/// Targets of a partly delivered message that may be held over a pause: some megabytes at most.
const HELD_COUNT_MAX: usize = 64 * 1024;

impl<M: Machine> Drive<M> {
    /// True if publishing still pauses for a receiver that is lagging. A client that is its own
    /// receiver pauses as long as its socket takes bytes: no other client waits for its messages.
    pub(super) fn is_paused(&mut self, delivery: &Delivery) -> bool {
        if self.phase != Phase::Stalled {
            return false;
        }
        let (now, policy) = (delivery.now, &delivery.settings.policy);
        let own = self.session.machine.conn();
        if let Some(extras) = &mut self.extras {
            if let Some(Stall { slow, until, .. }) = &mut extras.stalled {
                if Arc::ptr_eq(slow, own) && slow.is_catching_up(policy, now) {
                    *until = now + STALL_PER_READ_MAX;
                }
                if now < *until && slow.is_lagging(policy) {
                    return true;
                }
            }
            if let Some(stall) = extras.stalled.take() {
                self.log_stall(now - stall.since);
            }
        }
        self.phase = Phase::Open;
        false
    }

    /// Pauses if a receiver of what is `published` was found lagging, until it has caught up or for
    /// a moment. Not in the middle of a message for very many: its targets would stay in memory
    /// meanwhile.
    pub(super) fn pause(
        &mut self,
        cx: &Context<'_>,
        published: &Published,
        delivery: &mut Delivery,
    ) -> bool {
        let Some(slow) = delivery.staging.take_stalled() else { return false };
        let policy = &delivery.settings.policy;
        let held_count = self.extras.as_ref().map_or(0, |extras| extras.held_count());
        if !M::STALLS
            || held_count > HELD_COUNT_MAX
            || !slow.stall(cx.waker(), policy, delivery.now)
        {
            return false;
        }
        delivery.counters.stalled_clients.add(1);
        let since = delivery.now;
        self.extras().stalled = Some(Stall { slow, since, until: since + published.pause_max() });
        self.phase = Phase::Stalled;
        true
    }

    /// Logs the end of a pause, if it was long.
    ///
    /// nats: server/client.go `resetReadLoopStallTime`
    fn log_stall(&self, total: Duration) {
        if total >= STALL_TOLD_MIN {
            let total_ms = total.as_millis();
            conn_event!(WARN, self.conn(), "Producer was stalled for a total of {total_ms}ms");
        }
    }
}

impl Published {
    /// The longest pause after them: that of each read of the real server that holds some.
    fn pause_max(&self) -> Duration {
        let reads = (self.bytes / STALL_READ_LEN + 1).min(self.msgs.max(1));
        STALL_PER_READ_MAX * u32::try_from(reads).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: eight publishers, each with 256 KiB in a pause of 10 ms, ran over a receiver
    /// that survives them with nats-server.
    #[test]
    fn a_pause_grows_with_what_was_published() {
        let pause = |msgs, bytes| Published { msgs, bytes }.pause_max().as_millis();
        assert_eq!(pause(0, 0), 10);
        assert_eq!(pause(1, 16), 10);
        assert_eq!(pause(500, 64_000), 10);
        assert_eq!(pause(1_700, 217_600), 40);
        assert_eq!(pause(1, 8_000_000), 10, "the real server pauses once for a message");
    }
}
