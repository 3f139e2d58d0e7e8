//! Compression of routes: the modes of `cluster.compression`, and their negotiation.
//!
//! Knows no codec. Each side uses the result for the data it sends, with its own level.
//! nats: server/server.go `validateAndNormalizeCompressionOption`, `selectCompressionMode`,
//! `selectS2AutoModeBasedOnRTT`

use std::fmt;
use std::time::Duration;

use crate::base::duration;
use crate::base::errors::{ProtoErr, RouteErr};

/// The configured mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// As servers before 2.10: INFO does not mention it.
    NotSupported,
    /// Never.
    Off,
    /// If the other server wants it.
    #[default]
    Accept,
    /// By the round trip time: the n-th level up to the n-th threshold.
    Auto(Thresholds),
    /// Always at this level.
    S2(Level),
}

/// Strength of S2 compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Framed only.
    Uncompressed,
    /// For speed.
    Fast,
    /// Between the two.
    Better,
    /// For size.
    Best,
}

/// The result of the negotiation, for the sending direction of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// The other server does not know compression, or this one behaves so.
    NotSupported,
    /// The route is not compressed.
    Off,
    /// The route is framed as S2.
    S2(Level),
}

/// Round trip times up to which a level is used, at most one for each level, ascending but for
/// zeros: a zero leaves its level out. The last one is not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds(Vec<Duration>);

/// An unknown mode, or invalid thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionError(String);

/// The levels in the order of their thresholds.
const LEVELS: [Level; 4] = [Level::Uncompressed, Level::Fast, Level::Better, Level::Best];

impl Default for Thresholds {
    fn default() -> Self {
        Self([10, 50, 100].map(Duration::from_millis).to_vec())
    }
}

impl Compression {
    /// The mode with that name in a configuration. `thresholds`, in nanoseconds, matter for
    /// `s2_auto` only; without any the default ones hold.
    ///
    /// # Errors
    /// [`CompressionError`], whose text is the real server's.
    pub fn named(mode: &str, thresholds: &[i64]) -> Result<Compression, CompressionError> {
        Ok(match mode.to_ascii_lowercase().as_str() {
            "not supported" | "not_supported" => Self::NotSupported,
            "disabled" | "off" | "false" => Self::Off,
            "accept" => Self::Accept,
            "auto" | "s2_auto" => Self::Auto(Thresholds::new(mode, thresholds)?),
            "on" | "enabled" | "true" | "fast" | "s2_fast" => Self::S2(Level::Fast),
            "better" | "s2_better" => Self::S2(Level::Better),
            "best" | "s2_best" => Self::S2(Level::Best),
            _ => {
                let text = format!("unsupported compression mode {mode:?}");
                return Err(CompressionError(text));
            }
        })
    }

    /// The name in the first INFO; empty if the INFO does not mention it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::NotSupported => "not supported",
            Self::Off => "off",
            Self::Accept => "accept",
            Self::Auto(_) => "s2_auto",
            Self::S2(level) => level.as_str(),
        }
    }

    /// The name in an INFO sent after the negotiation: `s2_auto` keeps its name.
    pub(crate) fn as_str_agreed(&self, agreed: Agreed) -> &'static str {
        match self {
            Self::Auto(_) => self.as_str(),
            _ => agreed.as_str(),
        }
    }

    /// Negotiates with a server whose INFO says `theirs`, at this round trip time.
    ///
    /// # Errors
    /// An unknown mode.
    pub(crate) fn agree(&self, theirs: &str, rtt: Duration) -> Result<Agreed, ProtoErr> {
        if theirs.is_empty() || theirs == "not supported" || *self == Self::NotSupported {
            return Ok(Agreed::NotSupported);
        }
        if *self == Self::Off {
            return Ok(Agreed::Off);
        }
        let theirs = match theirs {
            "off" => return Ok(Agreed::Off),
            "accept" => None,
            // One server accepts and the other adapts: not recommended.
            "s2_auto" => Some(Level::Fast),
            _ => {
                let level = LEVELS.into_iter().find(|level| level.as_str() == theirs);
                Some(level.ok_or_else(|| RouteErr::Compression(theirs.into()))?)
            }
        };
        Ok(match (self, theirs) {
            (Self::S2(level), _) => Agreed::S2(*level),
            (Self::Auto(thresholds), _) => Agreed::S2(thresholds.level(rtt)),
            (_, Some(level)) => Agreed::S2(level),
            (_, None) => Agreed::Off,
        })
    }

    /// The level for a round trip time; none if the other server decides on it.
    pub(crate) fn level(&self, rtt: Duration) -> Option<Level> {
        match self {
            Self::Auto(thresholds) => Some(thresholds.level(rtt)),
            Self::S2(level) => Some(*level),
            Self::NotSupported | Self::Off | Self::Accept => None,
        }
    }

    /// True if a connection with that compression has to agree on this new one.
    ///
    /// nats: server/reload.go `clusterOption.Apply`
    pub(crate) fn needs_agreement(&self, present: &str) -> bool {
        let [not_supported, off] = [Agreed::NotSupported, Agreed::Off].map(Agreed::as_str);
        let is_level = matches!(self, Self::Auto(_) | Self::S2(_));
        present != not_supported && present != self.as_str() && (present == off || !is_level)
    }
}

impl Level {
    /// The name in INFO and monitoring.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Uncompressed => "s2_uncompressed",
            Self::Fast => "s2_fast",
            Self::Better => "s2_better",
            Self::Best => "s2_best",
        }
    }
}

impl Agreed {
    /// The name in INFO and monitoring.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotSupported => "not supported",
            Self::Off => "off",
            Self::S2(level) => level.as_str(),
        }
    }
}

impl Thresholds {
    fn new(mode: &str, written: &[i64]) -> Result<Thresholds, CompressionError> {
        if written.is_empty() {
            return Ok(Thresholds::default());
        }
        let ns = |&ns: &i64| Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
        let mut thresholds: Vec<Duration> = written.iter().map(ns).collect();
        let shown = || {
            let shown: Vec<_> =
                thresholds.iter().map(|rtt| duration::Display(*rtt).to_string()).collect();
            format!("[{}]", shown.join(" "))
        };
        let wanted: Vec<_> = thresholds.iter().filter(|rtt| !rtt.is_zero()).collect();
        if !wanted.is_sorted() {
            let text = format!("RTT threshold values {} should be in ascending order", shown());
            return Err(CompressionError(text));
        }
        let Some(last) = thresholds.iter().rposition(|rtt| !rtt.is_zero()) else {
            let text = format!("compression mode {mode:?} requires at least one RTT threshold");
            return Err(CompressionError(text));
        };
        if last >= LEVELS.len() {
            let max = LEVELS.len();
            let text = format!(
                "compression mode {mode:?} should have no more than {max} RTT thresholds: {}",
                shown()
            );
            return Err(CompressionError(text));
        }
        thresholds.truncate(last + 1);
        Ok(Thresholds(thresholds))
    }

    fn level(&self, rtt: Duration) -> Level {
        let beyond = if self.0.len() < 3 { self.0.len() - 1 } else { 3 };
        let index = self.0.iter().position(|threshold| rtt <= *threshold);
        LEVELS[index.unwrap_or(beyond)]
    }
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CompressionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(mode: &str) -> Compression {
        Compression::named(mode, &[]).unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The table of the real server: rows are this server's modes, columns the other one's.
    #[test]
    fn what_two_servers_agree_on() {
        let theirs = ["", "not supported", "off", "accept", "s2_auto", "s2_better"];
        for (mine, agreed) in [
            ("not supported", ["not supported"; 6]),
            ("off", ["not supported", "not supported", "off", "off", "off", "off"]),
            ("accept", ["not supported", "not supported", "off", "off", "s2_fast", "s2_better"]),
            ("s2_auto", ["not supported", "not supported", "off", "s2_best", "s2_best", "s2_best"]),
            ("s2_fast", ["not supported", "not supported", "off", "s2_fast", "s2_fast", "s2_fast"]),
        ] {
            for (theirs, agreed) in theirs.into_iter().zip(agreed) {
                let found = named(mine).agree(theirs, ms(200)).unwrap().as_str();
                assert_eq!(found, agreed, "{mine} with {theirs:?}");
            }
        }
        assert_eq!(
            named("accept").agree("zstd", ms(1)).unwrap_err().to_string(),
            "unsupported route compression mode \"zstd\""
        );
        assert!(named("off").agree("zstd", ms(1)).is_ok());
    }

    #[test]
    fn info_names_the_mode_and_what_came_of_it() {
        assert_eq!(named("auto").as_str_agreed(Agreed::S2(Level::Best)), "s2_auto");
        assert_eq!(named("accept").as_str_agreed(Agreed::S2(Level::Best)), "s2_best");
        assert_eq!(named("accept").as_str_agreed(Agreed::Off), "off");
        assert_eq!(named("on").as_str(), "s2_fast");
    }

    #[test]
    fn levels_follow_the_round_trip_time() {
        let level = |thresholds: &[u64], rtt| {
            let ns: Vec<i64> = thresholds.iter().map(|ms| *ms as i64 * 1_000_000).collect();
            Compression::named("auto", &ns).unwrap().level(ms(rtt)).unwrap().as_str()
        };
        for (rtt, wanted) in [
            (0, "s2_uncompressed"),
            (10, "s2_uncompressed"),
            (11, "s2_fast"),
            (100, "s2_better"),
            (101, "s2_best"),
        ] {
            assert_eq!(level(&[], rtt), wanted, "{rtt}");
        }
        assert_eq!(level(&[0, 0, 20, 30], 1), "s2_better");
        assert_eq!(level(&[0, 0, 20, 0], 21), "s2_best");
        assert_eq!(level(&[5, 10], 11), "s2_fast");
        assert_eq!(named("fast").level(ms(500)), Some(Level::Fast));
        assert_eq!(named("accept").level(ms(500)), None);
    }

    #[test]
    fn errors_have_the_real_servers_words() {
        let error = |mode, ms: &[i64]| {
            let ns: Vec<i64> = ms.iter().map(|ms| ms * 1_000_000).collect();
            Compression::named(mode, &ns).unwrap_err().to_string()
        };
        assert_eq!(error("zip", &[]), "unsupported compression mode \"zip\"");
        assert_eq!(
            error("s2_auto", &[5, 2]),
            "RTT threshold values [5ms 2ms] should be in ascending order"
        );
        assert_eq!(
            error("auto", &[0]),
            "compression mode \"auto\" requires at least one RTT threshold"
        );
        assert_eq!(
            error("auto", &[1, 2, 3, 4, 5]),
            "compression mode \"auto\" should have no more than 4 RTT thresholds: \
             [1ms 2ms 3ms 4ms 5ms]"
        );
    }
}
