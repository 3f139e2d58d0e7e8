//! `Pace`: the times of the server's statistics: often at first, then every 10 s.
//!
//! nats: server/events.go `startStatszTimer`, `heartbeatStatsz`, `limitStatsz`

use std::time::Duration;

use crate::base::moment::Moment;

/// Time before the first ones; it doubles each time.
const INTERVAL_MIN: Duration = Duration::from_millis(250);

/// Time between two of them.
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// The least time between two of them, after the first ones.
const APART_MIN: Duration = Duration::from_secs(1);

/// The times.
pub(super) struct Pace {
    /// The time of the next ones.
    pub(super) due: Moment,
    interval: Duration,
    last: Option<Moment>,
}

impl Pace {
    /// That of a server that starts.
    pub(super) fn new(start: Moment) -> Pace {
        Pace { due: start + INTERVAL_MIN, interval: INTERVAL_MIN, last: None }
    }

    /// No more of them.
    pub(super) fn end(&mut self) {
        self.due = Moment::NEVER;
    }

    /// Handles the time when they are due. True if they may go out now.
    pub(super) fn tick(&mut self, now: Moment) -> bool {
        self.interval = (self.interval * 2).min(INTERVAL_MAX);
        self.due = now + self.interval;
        self.go(now)
    }

    /// True if they may go out now; else they are due as soon as they may.
    pub(super) fn go(&mut self, now: Moment) -> bool {
        if self.due == Moment::NEVER {
            return false;
        }
        let apart = self.interval.min(APART_MIN);
        if let Some(last) = self.last
            && now - last < apart
        {
            self.due = last + apart;
            return false;
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_slows_down_to_ten_seconds() {
        let mut pace = Pace::new(Moment::START);
        let mut times = Vec::new();
        while times.len() < 7 {
            let now = pace.due;
            if pace.tick(now) {
                times.push((now - Moment::START).as_millis());
            }
        }
        assert_eq!(times, [250, 1_250, 3_250, 7_250, 15_250, 25_250, 35_250]);
    }

    #[test]
    fn two_in_a_second_are_too_many() {
        let mut pace = Pace::new(Moment::START);
        let at = |seconds: f64| Moment::START + Duration::from_secs_f64(seconds);
        pace.tick(at(7.25));
        pace.tick(at(15.25));
        assert!(!pace.go(at(15.75)));
        assert_eq!(pace.due, at(16.25));
        assert!(pace.go(at(16.25)));
        pace.end();
        assert!(!pace.go(at(60.0)));
    }
}
