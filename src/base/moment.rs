//! `Moment`: a point on the server's own clock, the only time that floors 1 to 5 know.
//!
//! It is an argument wherever time matters, so a test moves it by hand. The wall clock and `now()`
//! live on floor 6, in `clock.rs`.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since the server started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The start of the server.
    pub const START: Moment = Moment(0);
    /// Later than anything that will happen.
    pub const NEVER: Moment = Moment(u64::MAX);

    /// The time since `earlier`; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The first multiple of `grain` that is not earlier.
    pub fn round_up(self, grain: Duration) -> Moment {
        let grain = u64::try_from(grain.as_nanos()).unwrap_or(u64::MAX);
        self.0.checked_next_multiple_of(grain).map_or(Moment::NEVER, Moment)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, span: Duration) -> Moment {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}
