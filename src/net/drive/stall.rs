//! Pauses of publishing for a receiver that is lagging: once per read, and for a moment.
//!
//! nats: server/client.go `stalledWait`, `resetReadLoopStallTime`

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use crate::base::limits::STALL_PER_READ_MAX;
use crate::base::moment::Moment;
use crate::conn::conn_event;
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::net::drive::{Drive, Phase};

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
            if let Some((slow, until)) = &mut extras.stalled {
                if Arc::ptr_eq(slow, own) && slow.is_catching_up(policy, now) {
                    *until = now + STALL_PER_READ_MAX;
                }
                if now < *until && slow.is_lagging(policy) {
                    return true;
                }
            }
            if let Some((_, until)) = extras.stalled.take() {
                self.log_stall(until, now);
            }
        }
        self.phase = Phase::Open;
        false
    }

    /// Pauses if a receiver was found lagging, until it has caught up or for a moment. Not in
    /// the middle of a message for very many: its targets would stay in memory meanwhile.
    pub(super) fn pause(&mut self, cx: &Context<'_>, delivery: &mut Delivery) -> bool {
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
        self.extras().stalled = Some((slow, delivery.now + STALL_PER_READ_MAX));
        self.phase = Phase::Stalled;
        true
    }

    /// Logs the end of a pause that could have lasted `until` then, if it was long.
    ///
    /// nats: server/client.go `resetReadLoopStallTime`
    fn log_stall(&self, until: Moment, now: Moment) {
        let total = STALL_PER_READ_MAX.saturating_sub(until.since(now));
        if total >= STALL_TOLD_MIN {
            let total_ms = total.as_millis();
            conn_event!(WARN, self.conn(), "Producer was stalled for a total of {total_ms}ms");
        }
    }
}
