//! `Format`: the look of a log line.
//!
//! nats: logger/log.go `setPlainLabelFormats`, `setColoredLabelFormats`, `pidPrefix`

use std::fmt::Write;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::base::quoted::Escaped;
use crate::clock;

/// The text in front of each line's own.
pub(super) struct Format {
    pid: u32,
    /// Time zone of the time; none means that no time is shown.
    zone: Option<TimeZone>,
    colored: bool,
}

/// Severity of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Format {
    pub(super) fn new(time: bool, utc: bool, colored: bool) -> Self {
        let zone = time.then(|| if utc { TimeZone::UTC } else { TimeZone::system() });
        Self { pid: std::process::id(), zone, colored }
    }

    /// One line with its line end, in which `text` is [`Escaped`].
    pub(super) fn line(&self, label: Label, text: &str) -> String {
        let mut line = String::with_capacity(64 + text.len());
        // Writing to a string cannot fail.
        let _ = write!(line, "[{}] ", self.pid);
        if let Some(zone) = &self.zone {
            let now = date(zone);
            let _ = write!(
                line,
                "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
                now.year(),
                now.month(),
                now.day(),
                now.hour(),
                now.minute(),
                now.second(),
                now.subsec_nanosecond() / 1000
            );
        }
        let (word, color) = label.word_and_color();
        let _ = match self.colored {
            true => write!(line, "[\x1b[{color}m{word}\x1b[0m] "),
            false => write!(line, "[{word}] "),
        };
        let _ = writeln!(line, "{}", Escaped(text.as_bytes()));
        line
    }
}

impl Label {
    fn word_and_color(self) -> (&'static str, &'static str) {
        match self {
            Self::Fatal => ("FTL", "31"),
            Self::Error => ("ERR", "31"),
            Self::Warn => ("WRN", "0;93"),
            Self::Info => ("INF", "32"),
            Self::Debug => ("DBG", "36"),
            Self::Trace => ("TRC", "33"),
        }
    }
}

/// Date and time in that zone now. A clock outside the calendar shows its beginning.
pub(super) fn date(zone: &TimeZone) -> DateTime {
    let now = jiff::Timestamp::try_from(clock::wall_now()).unwrap_or_default();
    zone.to_datetime(now)
}
