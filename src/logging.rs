//! The log: events of this crate as lines in the format of the real server.
//!
//! A [`Logger`] is a layer of `tracing`, so that a program that embeds the server may use a log of
//! its own instead. It prints the message and, before it, the connection of the event:
//!
//! ```text
//! [17] 2026/11/21 01:55:02.870021 [DBG] 127.0.0.1:50322 - cid:5 - "v1.0:go:name" - "A/bob" - text
//!                                       ^ remote          ^ cid   ^ client         ^ account
//!                                                           or wid, of a WebSocket
//!                                                           or rid, of a route
//! ```
//!
//! These four are fields of the event, shown when they are there and not empty; `fatal = true`
//! makes an error `[FTL]`. All other fields are for layers that keep fields. An event is one line,
//! with any bytes from a client in it.
//!
//! A thread of its own writes the lines (`lines`), so that no other thread waits for a disk or for
//! the reader of standard error. Lines that one connection causes again and again are gathered
//! (`repeats`). They go to standard error, to a file, or to a system log.
//! nats: server/log.go, logger/log.go, logger/syslog.go

mod file;
mod format;
mod lines;
mod repeats;
mod syslog;

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::callsite::rebuild_interest_cache;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use self::file::LogFile;
use self::format::{Format, Label};
use self::lines::{Lines, Sink};
use self::repeats::{Cause, Printing};
use self::syslog::Syslog;
use crate::base::os_error::OsError;
use crate::base::quoted::Quoted;
use crate::config::options;

/// Prints events to standard error, to a file or to a system log. Copies share it.
/// [`flush`](Logger::flush) and the drop of the last copy write all pending lines.
#[derive(Clone)]
pub struct Logger(Arc<Shared>);

struct Shared {
    debug: AtomicBool,
    trace: AtomicBool,
    lines: Arc<Lines>,
}

/// A change of the log that cannot fail any more.
pub struct Change {
    debug: bool,
    trace: bool,
    format: Format,
    /// None if it stays.
    sink: Option<Sink>,
}

/// The reason that there is no place for the lines.
#[derive(Debug)]
pub enum LogErr {
    /// This log file cannot be opened for appending, or created.
    File(PathBuf, io::Error),
    /// The system log cannot be reached.
    Syslog(io::Error),
}

impl Logger {
    /// Opens the log file or the system log, if there is one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn new(options: &options::Log) -> Result<Self, LogErr> {
        let lines = Lines::start(format(options), sink(options)?);
        let [debug, trace] = [options.debug, options.trace].map(AtomicBool::new);
        Ok(Self(Arc::new(Shared { debug, trace, lines })))
    }

    /// Prepares a change of settings, and opens the log file or the system log if it is another
    /// one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn prepare(old: &options::Log, new: &options::Log) -> Result<Change, LogErr> {
        let place =
            |log: &options::Log| (log.log_file.clone(), log.remote_syslog.clone(), log.syslog);
        Ok(Change {
            debug: new.debug,
            trace: new.trace,
            format: format(new),
            sink: (place(old) != place(new)).then(|| sink(new)).transpose()?,
        })
    }

    /// Changes the log.
    pub fn change(&self, change: Change) {
        let Change { debug, trace, format, sink } = change;
        self.0.debug.store(debug, Relaxed);
        self.0.trace.store(trace, Relaxed);
        self.0.lines.set_format(format);
        if let Some(sink) = sink {
            self.0.lines.switch(sink);
        }
        rebuild_interest_cache();
    }

    /// Becomes the log of the whole process, unless the embedding program has chosen one before.
    /// True if it did.
    pub fn install(&self) -> bool {
        tracing::subscriber::set_global_default(Registry::default().with(self.clone())).is_ok()
    }

    /// Opens the log file anew under its name, after another program has moved it away, and logs
    /// that. If that fails, the old file stays in use.
    pub fn reopen(&self) {
        self.0.lines.reopen();
    }

    /// Waits until all pending lines are written, at most one second: the reader may have stopped.
    pub fn flush(&self) {
        self.0.lines.flush();
    }

    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let own = target.strip_prefix(env!("CARGO_CRATE_NAME"));
        let is_own = own.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let is_wanted = match *metadata.level() {
            Level::DEBUG => self.0.debug.load(Relaxed),
            Level::TRACE => self.0.trace.load(Relaxed),
            _ => true,
        };
        // Not only events: the callsite of `enabled!` is neither event nor span.
        is_own && is_wanted && !metadata.is_span()
    }
}

/// The output of these settings: a file goes before another machine's system log, and that before
/// the own one.
fn sink(options: &options::Log) -> Result<Sink, LogErr> {
    if let Some(path) = &options.log_file {
        let file = LogFile::open(path, options.log_size_limit, options.log_max_num);
        return file.map(Sink::File).map_err(|error| LogErr::File(path.clone(), error));
    }
    let remote = options.remote_syslog.as_ref();
    if remote.is_none() && !options.syslog {
        return Ok(Sink::Stderr);
    }
    Syslog::connect(remote).map(Sink::Syslog).map_err(LogErr::Syslog)
}

fn format(options: &options::Log) -> Format {
    let is_file = options.log_file.is_some();
    if !is_file && (options.syslog || options.remote_syslog.is_some()) {
        return Format::syslog(options.remote_syslog.as_ref());
    }
    Format::new(options.logtime, options.logtime_utc, !is_file && io::stderr().is_terminal())
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.lines.end();
    }
}

impl<S: Subscriber> Layer<S> for Logger {
    /// Called once per callsite and change: one that is off costs a load and a branch from then on.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match (self.0.trace.load(Relaxed), self.0.debug.load(Relaxed)) {
            (true, _) => LevelFilter::TRACE,
            (false, true) => LevelFilter::DEBUG,
            (false, false) => LevelFilter::INFO,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let lines = &self.0.lines;
        let mut printing = Printing::Print;
        // Debug and trace lines were requested, one by one.
        let cause = (*metadata.level() <= Level::INFO).then(|| cause(event)).flatten();
        if let Some(cause) = &cause {
            printing = lines.judge(cause);
            if printing == Printing::Withhold {
                return;
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let label = match *metadata.level() {
            Level::ERROR if fields.fatal => Label::Fatal,
            Level::ERROR => Label::Error,
            Level::WARN => Label::Warn,
            Level::INFO => Label::Info,
            Level::DEBUG => Label::Debug,
            Level::TRACE => Label::Trace,
        };
        let text = fields.to_string();
        lines.push(label, &text);
        if let (Some(cause), Printing::PrintLast) = (cause, printing) {
            lines.remember(cause, label, text);
        }
    }
}

/// The connection of an event, if there is one, and the event's place in the code.
fn cause(event: &Event<'_>) -> Option<Cause> {
    let mut about = About::default();
    event.record(&mut about);
    about.conn.map(|conn| Cause { conn, callsite: event.metadata().callsite() })
}

/// The number of the connection of an event. Formats nothing.
#[derive(Default)]
struct About {
    conn: Option<u64>,
}

impl Visit for About {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        if matches!(field.name(), "cid" | "wid" | "rid") {
            self.conn = Some(value);
        }
    }
}

/// The fields of an event that a line shows.
#[derive(Default)]
struct Fields {
    forwarded: String,
    remote: String,
    cid: Option<u64>,
    wid: Option<u64>,
    rid: Option<u64>,
    client: String,
    account: String,
    message: String,
    fatal: bool,
}

impl Fields {
    fn text(&mut self, field: &Field) -> Option<&mut String> {
        match field.name() {
            "message" => Some(&mut self.message),
            "forwarded" => Some(&mut self.forwarded),
            "remote" => Some(&mut self.remote),
            "client" => Some(&mut self.client),
            "account" => Some(&mut self.account),
            _ => None,
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(text) = self.text(field) {
            *text = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(text) = self.text(field) {
            value.clone_into(text);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "cid" => self.cid = Some(value),
            "wid" => self.wid = Some(value),
            "rid" => self.rid = Some(value),
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "fatal" {
            self.fatal = value;
        }
    }
}

/// The text of the line, behind the label.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.forwarded.is_empty() {
            write!(f, "{}/", self.forwarded)?;
        }
        if !self.remote.is_empty() {
            write!(f, "{} - ", self.remote)?;
        }
        for (name, number) in [("cid", self.cid), ("wid", self.wid), ("rid", self.rid)] {
            if let Some(number) = number {
                write!(f, "{name}:{number} - ")?;
            }
        }
        for part in [&self.client, &self.account] {
            if !part.is_empty() {
                write!(f, "{} - ", Quoted(part.as_bytes()))?;
            }
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for LogErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => {
                write!(f, "error opening file: open {}: {}", path.display(), OsError(error))
            }
            Self::Syslog(error) => write!(f, "error connecting to syslog: \"{}\"", OsError(error)),
        }
    }
}

impl std::error::Error for LogErr {}

#[cfg(test)]
mod tests;
