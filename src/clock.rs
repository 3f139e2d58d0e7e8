//! `Clock`: the one place that asks what time it is.
//!
//! Everything below takes a [`Moment`] as an argument. Dates for people come from the wall clock:
//! [`Clock::wall`] for a moment that is kept, [`wall_now`] for a line that is written now.

use std::time::{Duration, Instant, SystemTime};

use crate::base::moment::Moment;

/// A clock that starts when it is made. Copies run together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_origin: SystemTime,
}

impl Clock {
    /// Starts at [`Moment::START`].
    pub fn start() -> Self {
        Self { origin: Instant::now(), wall_origin: SystemTime::now() }
    }

    /// The time since the start. Never goes back.
    pub fn now(&self) -> Moment {
        Moment::START + self.origin.elapsed()
    }

    /// The date of a moment, as the wall clock stood at the start: when the wall clock is set
    /// later, distances between dates stay true.
    pub fn wall(&self, moment: Moment) -> SystemTime {
        self.wall_origin + Duration::from_nanos(moment.0)
    }
}

/// The wall clock now, which may be set back and forth.
pub fn wall_now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_dates_run_together() {
        let clock = Clock::start();
        let earlier = clock.now();
        let later = clock.now();
        assert!(earlier <= later);
        let between = clock.wall(later).duration_since(clock.wall(earlier)).unwrap();
        assert_eq!(between, later - earlier);
        assert!(clock.wall(Moment::START) <= wall_now());
    }
}
