//! `Pings`: when to send PING to the other side of a connection, and when silence is too long.
//!
//! Knows no connection and no clock: whoever owns it writes what goes out. What else shows that the
//! other side is alive is for the owner to know.
//! nats: server/client.go `processPingTimer`, `setFirstPingTimer`, `processPong`

use std::time::Duration;

use crate::base::errors::ProtoErr;
use crate::base::limits::{FIRST_PING_JITTER_PERCENT, RTT_AGE_MAX};
use crate::base::moment::Moment;

/// Ticks are due at multiples of this: to wake for many of them at once costs less than to wake for
/// each, and nobody needs a PING to the millisecond.
const GRAIN: Duration = Duration::from_millis(20);

/// PINGs to one other side, and what their PONGs told.
pub struct Pings {
    /// When the next tick is due.
    pub due: Moment,
    /// Sent and not answered.
    out: u32,
    /// The round trip time is known, however old. Only clients are asked; here it takes no room.
    pub measured: bool,
    /// The PING whose PONG measures the round trip; `NEVER` before the first.
    sent_at: Moment,
}

impl Pings {
    /// None sent yet; the first tick is due then.
    pub fn new(due: Moment) -> Pings {
        Pings { due, out: 0, measured: false, sent_at: Moment::NEVER }
    }

    /// The other side is known: the first PING measures the round trip soon, after `pause` and a
    /// random share of it.
    pub fn begin(&mut self, now: Moment, pause: Duration) {
        let jitter = pause * fastrand::u32(..=FIRST_PING_JITTER_PERCENT) / 100;
        self.put_off(now, pause + jitter);
    }

    /// The next tick is due after `pause`, or a moment later.
    pub fn put_off(&mut self, now: Moment, pause: Duration) {
        self.due = (now + pause).round_up(GRAIN);
    }

    /// Whether the round trip time is known, and a PING asked for it lately.
    pub fn is_rtt_recent(&self, now: Moment) -> bool {
        self.measured && self.sent_at != Moment::NEVER && now - self.sent_at <= RTT_AGE_MAX
    }

    /// A PING is not answered yet.
    pub fn is_asking(&self) -> bool {
        self.out > 0
    }

    /// A PING goes out.
    pub fn sent(&mut self, now: Moment) {
        self.out += 1;
        self.sent_at = now;
    }

    /// A PONG came. Gives the round trip in nanoseconds when it answers a PING.
    pub fn pong(&mut self, now: Moment) -> Option<u64> {
        let answered = std::mem::take(&mut self.out) > 0;
        self.measured |= answered;
        let nanos = now.since(self.sent_at).as_nanos();
        answered.then(|| u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The PING that was due goes out.
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
