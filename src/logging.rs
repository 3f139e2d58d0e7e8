//! The log: events of this crate as lines in the format of the real server.
//!
//! A [`Logger`] is a layer of `tracing`, so that a program that embeds the server may use a log of
//! its own instead. It prints the message and, before it, the connection it is about:
//!
//! ```text
//! [17] 2026/11/21 01:55:02.870021 [DBG] 127.0.0.1:50322 - cid:5 - "v1.0:go:name" - "A/bob" - text
//!                                       ^ remote          ^ cid   ^ client         ^ account
//!                                                           or rid, of a route
//! ```
//!
//! These four are fields of the event, shown when they are there and not empty; `fatal = true`
//! makes an error `[FTL]`. All other fields are for layers that keep fields. An event is one line,
//! whatever a client put into it.
//! Knows no syslog. nats: server/log.go, logger/log.go

mod file;
mod format;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, error, info};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use self::file::LogFile;
use self::format::{Format, Label};
use crate::errors::Quoted;
use crate::options;
use crate::os_error::OsError;

/// Prints events to standard error or to a file. Copies share the file.
#[derive(Clone)]
pub struct Logger(Arc<Shared>);

struct Shared {
    debug: bool,
    trace: bool,
    format: Format,
    sink: Mutex<Sink>,
}

enum Sink {
    Stderr,
    File(LogFile),
}

/// The log file cannot be opened.
#[derive(Debug)]
pub struct LogFileErr {
    path: PathBuf,
    error: io::Error,
}

impl Logger {
    /// Opens the log file, if there is one.
    ///
    /// # Errors
    /// It cannot be opened for appending, or created.
    pub fn new(options: &options::Log) -> Result<Self, LogFileErr> {
        let sink = match &options.log_file {
            None => Sink::Stderr,
            Some(path) => {
                let file = LogFile::open(path, options.log_size_limit, options.log_max_num);
                Sink::File(file.map_err(|error| LogFileErr { path: path.clone(), error })?)
            }
        };
        let colored = matches!(sink, Sink::Stderr) && io::stderr().is_terminal();
        Ok(Self(Arc::new(Shared {
            debug: options.debug,
            trace: options.trace,
            format: Format::new(options.logtime, options.logtime_utc, colored),
            sink: Mutex::new(sink),
        })))
    }

    /// Becomes the log of the whole process. Without effect if there is one already.
    pub fn install(&self) {
        // Who came first was chosen by the program that embeds us.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(self.clone()));
    }

    /// Opens the log file anew under its name, after somebody has moved it away, and says so. If
    /// that fails, the old file stays in use.
    pub fn reopen(&self) {
        // The lock is released before anything is logged, which takes it again.
        let reopened = match &mut *self.0.sink.lock() {
            Sink::Stderr => None,
            Sink::File(file) => Some(file.reopen()),
        };
        match reopened {
            None => info!("File log re-open ignored, not a file logger"),
            Some(Ok(())) => info!("File log re-opened"),
            // nats-differs: the real server ends here.
            Some(Err(error)) => error!("error opening file: {}", OsError(&error)),
        }
    }

    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let own = target.strip_prefix(env!("CARGO_CRATE_NAME"));
        let is_own = own.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let is_wanted = match *metadata.level() {
            Level::DEBUG => self.0.debug,
            Level::TRACE => self.0.trace,
            _ => true,
        };
        // Not only events: `enabled!` asks with a callsite that is neither event nor span.
        is_own && is_wanted && !metadata.is_span()
    }

    fn print(&self, label: Label, text: &str) {
        let line = self.0.format.line(label, text);
        match &mut *self.0.sink.lock() {
            // There is nobody left to tell that nothing can be told.
            Sink::Stderr => drop(io::stderr().write_all(line.as_bytes())),
            Sink::File(file) => file.append(&line, &self.0.format),
        }
    }
}

impl<S: Subscriber> Layer<S> for Logger {
    /// Asked once per callsite: what is switched off costs a load and a branch from then on.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match (self.0.trace, self.0.debug) {
            (true, _) => LevelFilter::TRACE,
            (false, true) => LevelFilter::DEBUG,
            (false, false) => LevelFilter::INFO,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let label = match *event.metadata().level() {
            Level::ERROR if fields.fatal => Label::Fatal,
            Level::ERROR => Label::Error,
            Level::WARN => Label::Warn,
            Level::INFO => Label::Info,
            Level::DEBUG => Label::Debug,
            Level::TRACE => Label::Trace,
        };
        self.print(label, &fields.to_string());
    }
}

/// What an event brings along and a line shows.
#[derive(Default)]
struct Fields {
    remote: String,
    cid: Option<u64>,
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
        if !self.remote.is_empty() {
            write!(f, "{} - ", self.remote)?;
        }
        if let Some(cid) = self.cid {
            write!(f, "cid:{cid} - ")?;
        }
        if let Some(rid) = self.rid {
            write!(f, "rid:{rid} - ")?;
        }
        for part in [&self.client, &self.account] {
            if !part.is_empty() {
                write!(f, "{} - ", Quoted(part.as_bytes()))?;
            }
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for LogFileErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "error opening file: open {path}: {}", OsError(&self.error))
    }
}

impl std::error::Error for LogFileErr {}

#[cfg(test)]
mod tests;
