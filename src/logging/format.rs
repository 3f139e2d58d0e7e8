//! `Format`: the look of a log line.
//!
//! nats: logger/log.go `setPlainLabelFormats`, `setColoredLabelFormats`, `pidPrefix`;
//! logger/syslog.go, Go's log/syslog `netConn.writeString`

use std::fmt::Write;
use std::path::Path;

use jiff::Zoned;
use jiff::tz::TimeZone;
use rustix::system::uname;

use crate::base::quoted::Escaped;
use crate::clock;
use crate::config::options::SyslogUrl;

/// The text in front of each line's own.
pub(super) struct Format {
    pid: u32,
    look: Look,
}

enum Look {
    Plain {
        /// Time zone of the time; none means that no time is shown.
        zone: Option<TimeZone>,
        colored: bool,
    },
    Syslog {
        zone: TimeZone,
        facility: u8,
        /// Name of this machine, where it is shown: not over a socket of its own.
        host: Option<String>,
        /// Name of the program.
        tag: String,
    },
}

/// The facility of this machine's own system log.
const DAEMON: u8 = 3;
/// The facility of one that has an address: there the real server asks for a severity alone.
const NO_FACILITY: u8 = 0;

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
        Self { pid: std::process::id(), look: Look::Plain { zone, colored } }
    }

    /// The form of the system log with that address, or of this machine's own.
    pub(super) fn syslog(url: Option<&SyslogUrl>) -> Self {
        let host = match url {
            None | Some(SyslogUrl::Unix(_)) => None,
            Some(SyslogUrl::Udp(_) | SyslogUrl::Tcp(_)) => {
                Some(uname().nodename().to_string_lossy().into_owned())
            }
        };
        let facility = if url.is_none() { DAEMON } else { NO_FACILITY };
        let program = std::env::args_os().next().unwrap_or_default();
        let tag = Path::new(&program).file_name().unwrap_or_default();
        let tag = tag.to_string_lossy().into_owned();
        let zone = TimeZone::system();
        Self { pid: std::process::id(), look: Look::Syslog { zone, facility, host, tag } }
    }

    /// One line with its line end, in which `text` is [`Escaped`].
    pub(super) fn line(&self, label: Label, text: &str) -> String {
        let mut line = String::with_capacity(64 + text.len());
        match &self.look {
            Look::Plain { zone, colored } => {
                self.begin_plain(&mut line, label, zone.as_ref(), *colored);
            }
            Look::Syslog { zone, facility, host, tag } => {
                let _ = write!(line, "<{}>", facility * 8 + label.severity());
                write_stamp(&mut line, &date(zone), host.as_deref());
                let _ = write!(line, "{tag}[{}]: ", self.pid);
            }
        }
        // Writing to a string cannot fail.
        let _ = writeln!(line, "{}", Escaped(text.as_bytes()));
        line
    }

    fn begin_plain(&self, line: &mut String, label: Label, zone: Option<&TimeZone>, colored: bool) {
        let _ = write!(line, "[{}] ", self.pid);
        if let Some(zone) = zone {
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
        let _ = match colored {
            true => write!(line, "[\x1b[{color}m{word}\x1b[0m] "),
            false => write!(line, "[{word}] "),
        };
    }
}

/// Time, and name of the machine, of a line for a system log.
fn write_stamp(line: &mut String, now: &Zoned, host: Option<&str>) {
    let _ = match host {
        None => write!(line, "{} ", now.strftime("%b %e %H:%M:%S")),
        Some(host) => {
            let zone = if now.offset().is_zero() { "Z" } else { "%:z" };
            write!(line, "{}{} {host} ", now.strftime("%Y-%m-%dT%H:%M:%S"), now.strftime(zone))
        }
    };
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

    /// Its number in a system log.
    fn severity(self) -> u8 {
        match self {
            Self::Fatal => 2,
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info | Self::Trace => 5,
            Self::Debug => 7,
        }
    }
}

/// Date and time in that zone now. A clock outside the calendar shows its beginning.
pub(super) fn date(zone: &TimeZone) -> Zoned {
    let now = jiff::Timestamp::try_from(clock::wall_now()).unwrap_or_default();
    now.to_zoned(zone.clone())
}
