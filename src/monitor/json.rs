//! JSON as Go writes it: indentation, escapes, numbers and spans of time.
//!
//! nats: Go's encoding/json; server/monitor.go `myUptime`

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::codec::escaping::Escaping;

/// Values that can be written as JSON.
pub trait Document {
    /// Writes the text with two spaces of indentation.
    ///
    /// # Errors
    /// Those of `into`.
    fn write_json(&self, into: &mut dyn Write) -> io::Result<()>;

    /// Writes the text without blanks.
    ///
    /// # Errors
    /// Those of `into`.
    fn write_compact(&self, into: &mut dyn Write) -> io::Result<()>;
}

impl<T: Serialize> Document for T {
    fn write_json(&self, into: &mut dyn Write) -> io::Result<()> {
        Ok(serde_json::to_writer_pretty(Escaping(into), self)?)
    }

    fn write_compact(&self, into: &mut dyn Write) -> io::Result<()> {
        Ok(serde_json::to_writer(Escaping(into), self)?)
    }
}

/// A number written without fraction if it is whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Float(pub f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Above it neighbouring floats are more than 1 apart.
        const WHOLE_MAX: f64 = (1_u64 << 53) as f64;
        if self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A span in whole seconds, such as `1d2h0m5s`, from its largest unit down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime(pub Duration);

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
        let years = days / 365;
        let units = [
            (years, years, "y"),
            (days, days % 365, "d"),
            (hours, hours % 24, "h"),
            (minutes, minutes % 60, "m"),
        ];
        for (total, part, unit) in units {
            if total > 0 {
                write!(f, "{part}{unit}")?;
            }
        }
        write!(f, "{}s", seconds % 60)
    }
}

impl Serialize for Uptime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_escaped_like_go_does() {
        let value =
            serde_json::json!({ "a<": ["x.>", "&", "\"", "\u{2028}ä\u{2020}"], "b": [], "c": {} });
        let text = "{\n  \"a\\u003c\": [\n    \"x.\\u003e\",\n    \"\\u0026\",\n    \"\\\"\",\n    \
                    \"\\u2028ä\u{2020}\"\n  ],\n  \"b\": [],\n  \"c\": {}\n}";
        let mut written = Vec::new();
        value.write_json(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap(), value);
    }

    #[test]
    fn numbers_have_a_fraction_only_if_needed() {
        let texts: Vec<String> = [2.0, 0.0, 0.5, 1e300]
            .map(|number| serde_json::to_string(&Float(number)).unwrap())
            .into();
        assert_eq!(texts, ["2", "0", "0.5", "1e+300"]);
    }

    #[test]
    fn uptime_is_in_whole_seconds() {
        let uptime = |seconds: u64| Uptime(Duration::from_millis(seconds * 1000 + 999)).to_string();
        assert_eq!(uptime(0), "0s");
        assert_eq!(uptime(60), "1m0s");
        assert_eq!(uptime(7203), "2h0m3s");
        assert_eq!(uptime(86400), "1d0h0m0s");
        assert_eq!(uptime(367 * 86400 + 5), "1y2d0h0m5s");
    }
}
