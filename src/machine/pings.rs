//! `Pings`: the times to send PING, and the silence after which a connection is stale.
//!
//! Knows no connection and no clock: the owner writes the PINGs, and knows other signs of life.
//! nats: server/client.go `processPingTimer`, `setFirstPingTimer`, `processPong`

use std::time::Duration;

use crate::base::errors::ProtoErr;
use crate::base::limits::{FIRST_PING_JITTER_PERCENT, RTT_AGE_MAX};
use crate::base::moment::Moment;

/// Ticks are due at multiples of this: one wake-up for many of them costs less than one for each,
/// and no PING has to come to the millisecond.
const GRAIN: Duration = Duration::from_millis(20);

/// PINGs on one connection, and the results of their PONGs.
pub struct Pings {
    /// The time of the next tick.
    pub due: Moment,
    /// Number of unanswered PINGs.
    out: u32,
    /// True once the round trip time is known, of any age. For clients only; stored here because it
    /// takes no room.
    pub measured: bool,
    /// The PING whose PONG measures the round trip; `NEVER` before the first.
    sent_at: Moment,
}

impl Pings {
    /// No PING sent yet; the first tick is at `due`.
    pub fn new(due: Moment) -> Pings {
        Pings { due, out: 0, measured: false, sent_at: Moment::NEVER }
    }

    /// Starts once the other side is known: the first PING measures the round trip soon, after
    /// `pause` and a random share of it.
    pub fn begin(&mut self, now: Moment, pause: Duration) {
        let jitter = pause * fastrand::u32(..=FIRST_PING_JITTER_PERCENT) / 100;
        self.put_off(now, pause + jitter);
    }

    /// Moves the next tick to `pause` from now, or a moment later.
    pub fn put_off(&mut self, now: Moment, pause: Duration) {
        self.due = (now + pause).round_up(GRAIN);
    }

    /// True if the round trip time is known, and was measured lately.
    pub fn is_rtt_recent(&self, now: Moment) -> bool {
        self.measured && self.sent_at != Moment::NEVER && now - self.sent_at <= RTT_AGE_MAX
    }

    /// True while a PING is unanswered.
    pub fn is_asking(&self) -> bool {
        self.out > 0
    }

    /// Records a PING that goes out.
    pub fn sent(&mut self, now: Moment) {
        self.out += 1;
        self.sent_at = now;
    }

    /// Handles a PONG. Returns the round trip in nanoseconds if it answers a PING.
    pub fn pong(&mut self, now: Moment) -> Option<u64> {
        let answered = std::mem::take(&mut self.out) > 0;
        self.measured |= answered;
        let nanos = now.since(self.sent_at).as_nanos();
        answered.then(|| u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Records the due PING.
    ///
    /// # Errors
    /// [`ProtoErr::StaleConnection`] if too many are unanswered.
    pub fn tick(
        &mut self,
        now: Moment,
        interval: Duration,
        out_max: usize,
    ) -> Result<(), ProtoErr> {
        self.put_off(now, interval);
        if self.out as usize + 1 > out_max {
            return Err(ProtoErr::StaleConnection);
        }
        self.sent(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_stale_whatever_else_comes() {
        let second = Duration::from_secs(1);
        let mut pings = Pings::new(Moment::NEVER);
        assert_eq!((pings.due, pings.pong(Moment::START)), (Moment::NEVER, None));
        pings.begin(Moment::START, second);
        assert!(pings.due >= Moment::START + second && pings.due <= Moment::START + second * 2);
        let now = pings.due;
        assert_eq!(pings.tick(now, second, 2), Ok(()));
        assert_eq!(pings.pong(now + Duration::from_millis(3)), Some(3_000_000));
        assert_eq!(pings.tick(now + second, second, 2), Ok(()));
        assert_eq!(pings.tick(now + second * 2, second, 2), Ok(()));
        let stale = pings.tick(now + second * 3, second, 2);
        assert_eq!(stale, Err(ProtoErr::StaleConnection));
    }
}
