//! `Date`: a date as Go writes it in JSON.
//!
//! nats: Go's time.Time.MarshalJSON

use std::fmt;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// A date in RFC 3339: UTC, as many digits of the second as it has, up to nine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(pub SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        jiff::Timestamp::try_from(self.0).unwrap_or_default().fmt(f)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_have_the_digits_they_need() {
        let date = |nanos| Date(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)).to_string();
        assert_eq!(date(1_795_227_495_006_400_000), "2026-11-21T02:18:15.0064Z");
        assert_eq!(date(1_795_227_495_000_000_001), "2026-11-21T02:18:15.000000001Z");
        assert_eq!(date(1_795_227_495_000_000_000), "2026-11-21T02:18:15Z");
    }
}
