//! Liveness of one connection: when to send PING, and when silence means that nobody is there.
//!
//! nats: server/client.go `processPingTimer`, `setFirstPingTimer`, `processPong`

use std::time::Duration;

use crate::errors::ProtoErr;
use crate::limits::{FIRST_PING_JITTER_PERCENT, FIRST_PING_MAX, RTT_AGE_MAX};
use crate::moment::Moment;

/// PINGs of the server to one connection.
pub(super) struct Pings {
    /// When the next tick is due.
    pub(super) due: Moment,
    /// Sent and not answered.
    out: u32,
    /// The client last sent a message, SUB, UNSUB or PING.
    heard_at: Moment,
    /// The PING whose PONG measures the round trip; `NEVER` before the first.
    sent_at: Moment,
    /// The round trip time is known, however old.
    measured: bool,
}

impl Pings {
    pub(super) fn new(start: Moment, interval: Duration) -> Pings {
        Pings {
            due: start + interval,
            out: 0,
            heard_at: Moment::START,
            sent_at: Moment::NEVER,
            measured: false,
        }
    }

    /// CONNECT has come: the first PING measures the round trip soon.
    pub(super) fn connected(&mut self, now: Moment, interval: Duration) {
        let first = interval.min(FIRST_PING_MAX);
        let jitter = first * fastrand::u32(..=FIRST_PING_JITTER_PERCENT) / 100;
        self.due = now + first + jitter;
        // The time from accept to CONNECT is taken for a first round trip.
        self.measured = true;
    }

    /// The client sent something that shows it is alive.
    pub(super) fn heard(&mut self, now: Moment) {
        self.heard_at = now;
    }

    /// A PING goes out.
    pub(super) fn sent(&mut self, now: Moment) {
        self.out += 1;
        self.sent_at = now;
    }

    /// A PONG came. Gives the round trip in nanoseconds when it answers a PING.
    pub(super) fn pong(&mut self, now: Moment) -> Option<u64> {
        let answered = self.out > 0;
        self.out = 0;
        self.measured |= answered;
        let nanos = now.since(self.sent_at).as_nanos();
        answered.then(|| u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The tick that was due. Tells whether a PING is to be sent; it is counted then.
    ///
    /// # Errors
    /// [`ProtoErr::StaleConnection`] if too many are unanswered.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        interval: Duration,
        out_max: usize,
    ) -> Result<bool, ProtoErr> {
        self.due = now + interval;
        let pinged_lately = self.sent_at != Moment::NEVER && now - self.sent_at <= RTT_AGE_MAX;
        let rtt_known = self.measured && pinged_lately;
        if rtt_known && now.since(self.heard_at) < interval {
            return Ok(false);
        }
        if self.out as usize + 1 > out_max {
            return Err(ProtoErr::StaleConnection);
        }
        self.sent(now);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_stale_after_two_pings() {
        let mut pings = Pings::new(Moment::START, SECOND);
        assert_eq!(pings.tick(Moment::START + SECOND, SECOND, 2), Ok(true));
        assert_eq!(pings.tick(Moment::START + SECOND * 2, SECOND, 2), Ok(true));
        let stale = pings.tick(Moment::START + SECOND * 3, SECOND, 2);
        assert_eq!(stale, Err(ProtoErr::StaleConnection));
    }

    #[test]
    fn who_talks_is_not_pinged_once_the_rtt_is_known() {
        let mut pings = Pings::new(Moment::START, SECOND);
        pings.connected(Moment::START, SECOND);
        assert!(pings.due >= Moment::START + SECOND);
        let now = pings.due;
        assert_eq!(pings.tick(now, SECOND, 2), Ok(true));
        assert_eq!(pings.pong(now + Duration::from_millis(3)), Some(3_000_000));
        pings.heard(now + SECOND / 2);
        assert_eq!(pings.tick(now + SECOND, SECOND, 2), Ok(false));
        assert_eq!(pings.tick(now + SECOND * 2, SECOND, 2), Ok(true));
    }

    #[test]
    fn who_talks_but_never_answers_is_not_stale() {
        let mut pings = Pings::new(Moment::START, SECOND);
        pings.connected(Moment::START, SECOND);
        let mut now = Moment::START + SECOND;
        assert_eq!(pings.tick(now, SECOND, 2), Ok(true));
        for _ in 0..10 {
            now = now + SECOND;
            pings.heard(now);
            assert_eq!(pings.tick(now, SECOND, 2), Ok(false));
        }
    }
}
