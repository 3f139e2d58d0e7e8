//! `ClientPings`: sends PING to a client only while it is silent, or its round trip time is old.
//!
//! nats: server/client.go `processPingTimer`, `setFirstPingTimer`

use std::time::Duration;

use crate::base::errors::ProtoErr;
use crate::base::limits::FIRST_PING_MAX;
use crate::base::moment::Moment;
use crate::machine::pings::Pings;

/// The server's PINGs to one client, and the time of its last op.
pub(super) struct ClientPings {
    pings: Pings,
    /// Time of the client's last message, SUB, UNSUB or PING.
    heard_at: Moment,
}

impl ClientPings {
    pub(super) fn new(start: Moment, interval: Duration) -> ClientPings {
        ClientPings { pings: Pings::new(start + interval), heard_at: Moment::START }
    }

    /// The time of the next tick.
    pub(super) fn due(&self) -> Moment {
        self.pings.due
    }

    /// Handles CONNECT: the first PING measures the round trip soon.
    pub(super) fn connected(&mut self, now: Moment, interval: Duration) {
        self.pings.begin(now, interval.min(FIRST_PING_MAX));
        // The time from accept to CONNECT counts as a first round trip.
        self.pings.measured = true;
    }

    /// Handles a sign of life of the client.
    pub(super) fn heard(&mut self, now: Moment) {
        self.heard_at = now;
    }

    /// The time of the last sign of life.
    pub(super) fn heard_at(&self) -> Moment {
        self.heard_at
    }

    /// Records a PING that goes out.
    pub(super) fn sent(&mut self, now: Moment) {
        self.pings.sent(now);
    }

    /// Handles a PONG. Returns the round trip in nanoseconds if it answers a PING.
    pub(super) fn pong(&mut self, now: Moment) -> Option<u64> {
        self.pings.pong(now)
    }

    /// Handles the due tick. True if a PING is to be sent; it is then counted.
    ///
    /// # Errors
    /// [`ProtoErr::StaleConnection`] if too many are unanswered.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        interval: Duration,
        out_max: usize,
    ) -> Result<bool, ProtoErr> {
        if self.pings.is_rtt_recent(now) && now.since(self.heard_at) < interval {
            self.pings.put_off(now, interval);
            return Ok(false);
        }
        self.pings.tick(now, interval, out_max).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_stale_after_two_pings() {
        let mut pings = ClientPings::new(Moment::START, SECOND);
        assert_eq!(pings.tick(Moment::START + SECOND, SECOND, 2), Ok(true));
        assert_eq!(pings.tick(Moment::START + SECOND * 2, SECOND, 2), Ok(true));
        let stale = pings.tick(Moment::START + SECOND * 3, SECOND, 2);
        assert_eq!(stale, Err(ProtoErr::StaleConnection));
    }

    #[test]
    fn who_talks_is_not_pinged_once_the_rtt_is_known() {
        let mut pings = ClientPings::new(Moment::START, SECOND);
        pings.connected(Moment::START, SECOND);
        assert!(pings.due() >= Moment::START + SECOND);
        let now = pings.due();
        assert_eq!(pings.tick(now, SECOND, 2), Ok(true));
        assert_eq!(pings.pong(now + Duration::from_millis(3)), Some(3_000_000));
        pings.heard(now + SECOND / 2);
        assert_eq!(pings.tick(now + SECOND, SECOND, 2), Ok(false));
        assert_eq!(pings.tick(now + SECOND * 2, SECOND, 2), Ok(true));
    }

    #[test]
    fn who_talks_but_never_answers_is_not_stale() {
        let mut pings = ClientPings::new(Moment::START, SECOND);
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
