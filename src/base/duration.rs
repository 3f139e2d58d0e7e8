//! Durations as Go writes and reads them: `1m30s`, `500ms`, `2h`.
//!
//! Options, flags and the monitoring documents of the real server all use this form.
//! nats: Go's time.ParseDuration and time.Duration.String

use std::fmt;
use std::time::Duration;

const NS_PER_US: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The reason why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Not of the form, or too long for 64 bits.
    Invalid(String),
    /// A number without unit.
    MissingUnit(String),
    /// An unknown unit.
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Shows a duration as Go does. Exact to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display(pub Duration);

/// Reads a duration that may have a sign, in nanoseconds: numbers with or without fraction, each
/// with its unit (`ns`, `us`, `ms`, `s`, `m`, `h`), or `0`.
///
/// # Errors
/// [`DurationError`], whose text is Go's.
pub fn parse_ns(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_ns = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => NS_PER_US,
            "ms" => NS_PER_MS,
            "s" => NS_PER_S,
            "m" => 60 * NS_PER_S,
            "h" => 3600 * NS_PER_S,
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            _ => {
                let (unit, text) = (unit.to_owned(), text.to_owned());
                return Err(DurationError::UnknownUnit { unit, text });
            }
        };
        let part = part_ns(whole, fraction, unit_ns).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// `whole.fraction` units in nanoseconds, rounded down.
fn part_ns(whole: &str, fraction: &str, unit_ns: u64) -> Option<i64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut scale = unit_ns as f64;
    let mut fraction_ns = 0.0;
    for digit in fraction.bytes() {
        scale /= 10.0;
        fraction_ns += f64::from(digit - b'0') * scale;
    }
    // Sums of tenths fall a hair short of whole nanoseconds.
    ns = ns.checked_add((fraction_ns + 1e-6) as u64)?;
    i64::try_from(ns).ok()
}

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.subsec_nanos() as u64;
        let seconds = self.0.as_secs();
        if seconds == 0 {
            return match ns {
                0 => f.write_str("0s"),
                1..NS_PER_US => write!(f, "{ns}ns"),
                NS_PER_US..NS_PER_MS => write_fraction(f, ns, NS_PER_US, "\u{b5}s"),
                _ => write_fraction(f, ns, NS_PER_MS, "ms"),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        write_fraction(f, seconds % 60 * NS_PER_S + ns, NS_PER_S, "s")
    }
}

/// Writes `ns` in units of `unit_ns` with as many decimals as it needs.
fn write_fraction(f: &mut fmt::Formatter<'_>, ns: u64, unit_ns: u64, unit: &str) -> fmt::Result {
    let (whole, rest) = (ns / unit_ns, ns % unit_ns);
    if rest == 0 {
        return write!(f, "{whole}{unit}");
    }
    let width = unit_ns.ilog10() as usize;
    let decimals = format!("{rest:0width$}");
    write!(f, "{whole}.{}{unit}", decimals.trim_end_matches('0'))
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(f, "time: invalid duration {text:?}"),
            Self::MissingUnit(text) => write!(f, "time: missing unit in duration {text:?}"),
            Self::UnknownUnit { unit, text } => {
                write!(f, "time: unknown unit {unit:?} in duration {text:?}")
            }
        }
    }
}

impl std::error::Error for DurationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, ns) in [
            ("0", 0),
            ("1s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("500ms", 500_000_000),
            ("10.5s", 10_500_000_000),
            ("0.1s", 100_000_000),
            ("0.3us", 300),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("-1s", -1_000_000_000),
            ("1us2ns", 1002),
        ] {
            assert_eq!(parse_ns(text), Ok(ns), "{text:?}");
        }
    }

    #[test]
    fn errors_have_the_text_of_go() {
        for (text, wanted) in [
            ("", r#"time: invalid duration """#),
            ("abc", r#"time: invalid duration "abc""#),
            ("-", r#"time: invalid duration "-""#),
            ("1..2s", r#"time: invalid duration "1..2s""#),
            ("99999999999h", r#"time: invalid duration "99999999999h""#),
            ("5m5", r#"time: missing unit in duration "5m5""#),
            ("5mb5", r#"time: unknown unit "mb" in duration "5mb5""#),
        ] {
            assert_eq!(parse_ns(text).unwrap_err().to_string(), wanted, "{text:?}");
        }
    }

    #[test]
    fn shows_what_go_shows() {
        for (ns, wanted) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (1_000_000_000, "1s"),
            (10_500_000_000, "10.5s"),
            (90_000_000_000, "1m30s"),
            (120_000_000_000, "2m0s"),
            (3_600_000_000_001, "1h0m0.000000001s"),
        ] {
            assert_eq!(Display(Duration::from_nanos(ns)).to_string(), wanted);
        }
    }
}
