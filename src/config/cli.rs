//! The command line: words and flags to a [`Command`].
//!
//! Flags are those of the real server, in Go's style: one or two dashes, `-flag value` or
//! `-flag=value`, a bool without value or with `=false`; a value may begin with a dash. Flags win
//! over the configuration file, also when a reload reads it again, so they are kept as [`Flags`].
//! Words are bytes: those of a message and of paths stay as they are, all others have to be UTF-8.
//! Prints nothing, sends nothing and reads no file: the caller runs the command.
//! nats: main.go, server/opts.go `ConfigureOptions`

mod client;
mod cluster;
mod flag;
mod flags;
mod help;
#[cfg(test)]
mod manual;
mod tls;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use client::{Action, ClientCommand, KeyFiles, Scheme, ServerUrl, UrlCredentials};
pub use help::{help, help_tls};

use crate::base::limits;
use crate::config::check::OptionsError;
use crate::config::cli::flag::{Overlay, Override};
use crate::config::conf::{self, ConfError, Problem, Remarks, Severity, Sources, Unchecked};
use crate::config::options::{Login, Options, Port};

/// A command line as one task for the program.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a server.
    Serve(Flags),
    /// Check the configuration file and say whether it is valid.
    CheckConfig(Flags),
    /// Send a signal to another server, or to several.
    Signal {
        /// The signal.
        signal: Signal,
        /// A process id, or the beginning of some and `*`, or a file that holds one of these; empty
        /// for the only server that runs.
        processes: String,
    },
    /// Act as a client.
    Client(Box<ClientCommand>),
    /// Print [`help`](mod@help).
    Help,
    /// Print [`help_tls`].
    HelpTls,
    /// Print [`version_line`].
    Version,
}

/// A signal to a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `stop`: end at once (SIGKILL).
    Stop,
    /// `quit`: shut down (SIGINT).
    Quit,
    /// `term`: shut down (SIGTERM).
    Term,
    /// `reopen`: open the log file anew (SIGUSR1).
    Reopen,
    /// `reload`: read the configuration file again (SIGHUP).
    Reload,
    /// `ldm`: enter lame duck mode (SIGUSR2).
    LameDuck,
}

/// The flags of a server: its configuration file, and the settings that win over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// In the order of the command line: of two the later one wins.
    overrides: Vec<Override>,
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    text: String,
    of_a_flag: bool,
    word: Option<&'static str>,
}

/// The reason why there are no options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The configuration file is wrong.
    Conf(ConfError),
    /// File and flags do not fit.
    Flags(String),
    /// The options do not fit each other.
    Options(OptionsError),
}

/// Reads the words after the program's name.
///
/// # Errors
/// An unknown flag or word, or an invalid value. Nothing is guessed.
pub fn parse(
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Command, CliError> {
    if let Some((first, rest)) = args.split_first()
        && let Some(word) = client::WORDS.into_iter().find(|word| first == word)
    {
        return client::parse(word, rest, environment)
            .map_err(|error| CliError { word: Some(word), ..error });
    }
    let mut words = Words::new(args);
    let mut server = ServerFlags::default();
    while let Some(written) = words.next_flag()? {
        let flag = flags::find(written.name).ok_or_else(|| {
            CliError::flag(format!("flag provided but not defined: -{}", written.name))
        })?;
        flag.read(written, &mut words, &mut server)?;
    }
    for word in words.rest() {
        match word.to_ascii_lowercase().as_bytes() {
            b"help" => server.help = true,
            b"version" => server.version = true,
            _ => return Err(CliError::new(format!("unrecognized command: {word:?}"))),
        }
    }
    server.command()
}

/// The line that `-v` prints. Clients' test suites read the real server's version from this very
/// line, so it does not name this program.
pub fn version_line() -> String {
    format!("nats-server: v{}", limits::PROTOCOL_VERSION)
}

/// The flags of a server while they are read.
#[derive(Default)]
struct ServerFlags {
    flags: Flags,
    help: bool,
    help_tls: bool,
    version: bool,
    check: bool,
    signal: Option<String>,
}

impl ServerFlags {
    fn command(self) -> Result<Command, CliError> {
        if self.version {
            return Ok(Command::Version);
        }
        if self.help {
            return Ok(Command::Help);
        }
        if self.help_tls {
            return Ok(Command::HelpTls);
        }
        if let Some(signal) = self.signal.filter(|signal| !signal.is_empty()) {
            return signal_command(&signal);
        }
        if !self.check {
            return Ok(Command::Serve(self.flags));
        }
        if self.flags.config.is_none() {
            return Err(CliError::new(
                "must specify [-c, --config] option to check configuration file syntax".to_owned(),
            ));
        }
        Ok(Command::CheckConfig(self.flags))
    }
}

/// `CMD`, `CMD=PID` or `CMD=PIDFILE`.
///
/// nats: server/opts.go `processSignal`
fn signal_command(written: &str) -> Result<Command, CliError> {
    let (name, processes) = written.split_once('=').unwrap_or((written, ""));
    if let Some((_, surplus)) = processes.split_once('=') {
        let surplus = surplus.replace('=', " ");
        return Err(CliError::new(format!("invalid signal parameters: [{surplus}]")));
    }
    let signal = match name {
        "stop" => Signal::Stop,
        "quit" => Signal::Quit,
        "term" => Signal::Term,
        "reopen" => Signal::Reopen,
        "reload" => Signal::Reload,
        "ldm" => Signal::LameDuck,
        _ => return Err(CliError::new(format!("unknown signal {name:?}"))),
    };
    Ok(Command::Signal { signal, processes: processes.to_owned() })
}

impl Flags {
    /// The defaults, then the file, then the flags. Called again for each reload.
    ///
    /// # Errors
    /// Every fault of the file, except for those of imports; or flags that do not fit to it.
    pub fn read(&self, sources: Sources<'_>) -> Result<Unchecked, LoadError> {
        let mut options = Options::default();
        let mut remarks = Remarks::default();
        if let Some(file) = &self.config {
            remarks = conf::read(file, sources, &mut options)?;
        }
        let notices = self.overrides.iter().filter_map(Override::notice);
        remarks.extend(notices.map(|text| Problem {
            severity: Severity::Notice,
            position: None,
            text,
        }));
        self.lay_over(&mut options).map_err(LoadError::Flags)?;
        Ok(Unchecked { options, remarks })
    }

    fn lay_over(&self, options: &mut Options) -> Result<(), String> {
        let mut overlay = Overlay::new(options);
        self.overrides.iter().try_for_each(|flag| flag.lay(&mut overlay))?;
        overlay.finish()
    }
}

/// Replaces the file's login; of a single user it keeps the half that no flag gives.
fn apply_login(
    login: &mut Login,
    user: &str,
    password: &str,
    token: &str,
) -> Result<(), &'static str> {
    let single = !user.is_empty() || !password.is_empty();
    if !single && token.is_empty() {
        return Ok(());
    }
    if single && !token.is_empty() {
        // nats-differs: the real server starts and then admits only the user.
        return Err("Cannot have a user/pass and token");
    }
    if matches!(login, Login::Users(_)) {
        // nats-differs: the real server starts and then ignores the flags.
        return Err("--user, --pass and --auth do not go with the users of the configuration file");
    }
    if !single {
        *login = Login::Token(token.to_owned());
        return Ok(());
    }
    let (mut new_user, mut new_password) = (user.to_owned(), password.to_owned());
    if let Login::Single { user, password } = login {
        if new_user.is_empty() {
            new_user = std::mem::take(user);
        }
        if new_password.is_empty() {
            new_password = std::mem::take(password);
        }
    }
    if new_user.is_empty() {
        return Err("a password without a user");
    }
    *login = Login::Single { user: new_user, password: new_password };
    Ok(())
}

/// The words of a command line, from front to back.
struct Words<'a> {
    rest: &'a [OsString],
}

/// A flag, its value still to come unless it was written with `=`.
#[derive(Clone, Copy)]
struct Written<'a> {
    /// Without dashes.
    name: &'a str,
    value: Option<&'a OsStr>,
}

impl<'a> Words<'a> {
    fn new(rest: &'a [OsString]) -> Self {
        Self { rest }
    }

    /// The words after the last flag.
    fn rest(self) -> &'a [OsString] {
        self.rest
    }

    fn next_word(&mut self) -> Option<&'a OsStr> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next word if it is a flag. `--` ends the flags and is dropped.
    fn next_flag(&mut self) -> Result<Option<Written<'a>>, CliError> {
        let Some(word) = self.rest.first() else { return Ok(None) };
        let Some(flag) = word.as_bytes().strip_prefix(b"-").filter(|flag| !flag.is_empty()) else {
            return Ok(None);
        };
        self.rest = &self.rest[1..];
        let flag = flag.strip_prefix(b"-").unwrap_or(flag);
        if flag.is_empty() {
            return Ok(None);
        }
        let end = memchr::memchr(b'=', flag).unwrap_or(flag.len());
        let name = std::str::from_utf8(&flag[..end]).ok();
        let Some(name) = name.filter(|name| !name.is_empty() && !name.starts_with('-')) else {
            return Err(CliError::flag(format!("bad flag syntax: {}", word.display())));
        };
        Ok(Some(Written { name, value: flag.get(end + 1..).map(OsStr::from_bytes) }))
    }

    fn value(&mut self, written: Written<'a>) -> Result<&'a OsStr, CliError> {
        written
            .value
            .or_else(|| self.next_word())
            .ok_or_else(|| CliError::flag(format!("flag needs an argument: -{}", written.name)))
    }

    fn path(&mut self, written: Written<'a>) -> Result<PathBuf, CliError> {
        self.value(written).map(PathBuf::from)
    }

    fn str(&mut self, written: Written<'a>) -> Result<&'a str, CliError> {
        let value = self.value(written)?;
        value.to_str().ok_or_else(|| written.invalid(&value.to_string_lossy()))
    }

    fn text(&mut self, written: Written<'a>) -> Result<String, CliError> {
        self.str(written).map(str::to_owned)
    }

    fn integer(&mut self, written: Written<'a>) -> Result<i64, CliError> {
        let value = self.str(written)?;
        value.parse().map_err(|_| written.invalid(value))
    }

    fn port(&mut self, written: Written<'a>) -> Result<Option<Port>, CliError> {
        let value = self.str(written)?;
        value.parse().ok().and_then(Port::from_number).ok_or_else(|| written.invalid(value))
    }
}

impl Written<'_> {
    /// A bool takes no word after it, as in Go.
    fn bool(&self) -> Result<bool, CliError> {
        match self.value.map(|value| (value.to_str(), value)) {
            None | Some((Some("1" | "t" | "T" | "true" | "TRUE" | "True"), _)) => Ok(true),
            Some((Some("0" | "f" | "F" | "false" | "FALSE" | "False"), _)) => Ok(false),
            Some((_, value)) => Err(CliError::flag(format!(
                "invalid boolean value {value:?} for -{}: parse error",
                self.name
            ))),
        }
    }

    fn invalid(&self, value: &str) -> CliError {
        CliError::flag(format!("invalid value {value:?} for flag -{}: parse error", self.name))
    }
}

impl Signal {
    /// The name for `--signal`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Quit => "quit",
            Self::Term => "term",
            Self::Reopen => "reopen",
            Self::Reload => "reload",
            Self::LameDuck => "ldm",
        }
    }
}

impl CliError {
    fn new(text: String) -> Self {
        Self { text, of_a_flag: false, word: None }
    }

    /// The error of a flag that does not exist, or not with this value.
    fn flag(text: String) -> Self {
        Self { text, of_a_flag: true, word: None }
    }

    /// True if the error is about a flag: [`help`](mod@help) lists those there are.
    pub fn is_of_a_flag(&self) -> bool {
        self.of_a_flag
    }

    /// The word of the client action that cannot be understood; none of the server's.
    pub fn word(&self) -> Option<&'static str> {
        self.word
    }
}

// Passwords and tokens never reach a log by way of `{:?}`.
impl fmt::Debug for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Override(..)")
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CliError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conf(error) => error.fmt(f),
            Self::Flags(text) => f.write_str(text),
            Self::Options(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<ConfError> for LoadError {
    fn from(error: ConfError) -> LoadError {
        LoadError::Conf(error)
    }
}

impl From<OptionsError> for LoadError {
    fn from(error: OptionsError) -> LoadError {
        LoadError::Options(error)
    }
}

#[cfg(test)]
mod tests;
