//! Liveness of one route: PINGs go out whatever the traffic, since the round trip time is wanted.
//!
//! nats: server/client.go `processPingTimer`, `setFirstPingTimer`, `adjustPingInterval`

use std::time::Duration;

use crate::errors::ProtoErr;
use crate::limits::{FIRST_PING_JITTER_PERCENT, ROUTE_FIRST_PING};
use crate::moment::Moment;

/// PINGs to one other server.
pub(super) struct Pings {
    /// When the next one is due.
    pub(super) due: Moment,
    /// Sent and not answered.
    out: usize,
    sent_at: Moment,
}

impl Pings {
    /// None before the connection is registered.
    pub(super) fn new() -> Pings {
        Pings { due: Moment::NEVER, out: 0, sent_at: Moment::START }
    }

    /// The connection is registered: the first PING measures the round trip soon.
    pub(super) fn begin(&mut self, now: Moment) {
        let jitter = ROUTE_FIRST_PING * fastrand::u32(..=FIRST_PING_JITTER_PERCENT) / 100;
        self.due = now + ROUTE_FIRST_PING + jitter;
    }

    /// A PING goes out.
    pub(super) fn sent(&mut self, now: Moment) {
        self.out += 1;
        self.sent_at = now;
    }

    /// The PING that was due goes out.
    ///
    /// # Errors
    /// [`ProtoErr::StaleConnection`] if too many are unanswered.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        interval: Duration,
        out_max: usize,
    ) -> Result<(), ProtoErr> {
        if self.out + 1 > out_max {
            return Err(ProtoErr::StaleConnection);
        }
        self.due = now + interval;
        self.sent(now);
        Ok(())
    }

    /// A PONG came. Gives the round trip in nanoseconds when it answers a PING.
    pub(super) fn pong(&mut self, now: Moment) -> Option<u64> {
        let answered = std::mem::take(&mut self.out) > 0;
        let nanos = now.since(self.sent_at).as_nanos();
        answered.then(|| u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_stale_whatever_else_comes() {
        let second = Duration::from_secs(1);
        let mut pings = Pings::new();
        assert_eq!((pings.due, pings.pong(Moment::START)), (Moment::NEVER, None));
        pings.begin(Moment::START);
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
