//! The command line: words and flags to a [`Command`].
//!
//! Flags are those of the real server, in Go's style: one or two dashes, `-flag value` or
//! `-flag=value`, a bool without value or with `=false`; a value may begin with a dash. Flags win
//! over the configuration file, also when it is read again, so they are kept as [`Flags`]. Words
//! are bytes: those of a message and of paths stay what they are, all others have to be UTF-8.
//! Prints nothing, sends nothing and reads no file: that is for whoever runs the command.
//! nats: main.go, server/opts.go `ConfigureOptions`

mod client;
mod cluster;
mod help;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use client::{Action, Client, Credentials, ServerUrl};
pub use help::HELP;

use crate::base::limits;
use crate::config::conf::{self, ConfError, Problem, Severity, Sources};
use crate::config::options::{Listen, Login, Options, OptionsError, Port};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a server.
    Serve(Flags),
    /// Check the configuration file and say whether it is valid.
    CheckConfig(Flags),
    /// Send a signal to another server.
    Signal {
        /// Which.
        signal: Signal,
        /// Its process id, or a file that holds it.
        process: String,
    },
    /// Act as a client.
    Client(Client),
    /// Print [`HELP`].
    Help,
    /// Print [`version_line`].
    Version,
}

/// What a running server can be told.
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

/// The flags of a server: its configuration file, and what wins over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// In the order of the command line: of two the later one wins.
    overrides: Vec<Override>,
}

/// Options together with what was remarkable about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// File and flags together, checked.
    pub options: Options,
    /// Notices and warnings; no errors.
    pub problems: Vec<Problem>,
}

/// Why a command line cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    text: String,
    of_a_flag: bool,
}

/// Why there are no options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The configuration file is wrong.
    Conf(ConfError),
    /// File and flags do not fit.
    Flags(String),
    /// The options do not fit each other.
    Options(OptionsError),
}

/// One flag with its value.
#[derive(Clone, PartialEq)]
enum Override {
    Host(String),
    /// None is the default.
    Port(Option<Port>),
    ServerName(String),
    ClientAdvertise(String),
    /// None is off.
    HttpPort(Option<Port>),
    PidFile(PathBuf),
    PortsFileDir(PathBuf),
    User(String),
    Password(String),
    Token(String),
    LogFile(PathBuf),
    LogSizeLimit(u64),
    MaxTracedMsgLen(usize),
    Logtime(bool),
    LogtimeUtc(bool),
    Debug(bool),
    Trace(bool),
    TraceVerbose(bool),
    Cluster(cluster::Override),
    /// A flag that is accepted for compatibility, and why it does nothing.
    Nothing(&'static str),
}

/// Reads the words after the program's name.
///
/// # Errors
/// An unknown flag or word, or a value that is none. Nothing is guessed.
pub fn parse(
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Command, CliError> {
    if let Some((word, rest)) = args.split_first()
        && let Some(word @ ("pub" | "sub" | "req" | "reply")) = word.to_str()
    {
        return client::parse(word, rest, environment)
            .map(Command::Client)
            .map_err(|error| CliError { of_a_flag: false, ..error });
    }
    let mut words = Words::new(args);
    let mut server = Server::default();
    while let Some(flag) = words.next_flag()? {
        server.flag(flag, &mut words)?;
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

/// What `-v` prints. Clients' test suites read the real server's version from this very line, so
/// it does not name this program.
pub fn version_line() -> String {
    format!("nats-server: v{}", limits::PROTOCOL_VERSION)
}

/// The flags of a server while they are read.
#[derive(Default)]
struct Server {
    flags: Flags,
    help: bool,
    version: bool,
    check: bool,
    signal: Option<String>,
}

impl Server {
    fn flag<'a>(&mut self, flag: Flag<'a>, words: &mut Words<'a>) -> Result<(), CliError> {
        let overrides = &mut self.flags.overrides;
        match flag.name {
            "h" | "help" => self.help = flag.bool()?,
            "v" | "version" => self.version = flag.bool()?,
            "t" => self.check = flag.bool()?,
            "c" | "config" => {
                let file = words.path(flag)?;
                self.flags.config = Some(file).filter(|file| !file.as_os_str().is_empty());
            }
            "sl" | "signal" => self.signal = Some(words.text(flag)?),
            "a" | "addr" | "net" => overrides.push(Override::Host(words.text(flag)?)),
            "p" | "port" => overrides.push(Override::Port(words.port(flag)?)),
            "n" | "name" | "server_name" => {
                overrides.push(Override::ServerName(words.text(flag)?));
            }
            "client_advertise" => overrides.push(Override::ClientAdvertise(words.text(flag)?)),
            "m" | "http_port" => overrides.push(Override::HttpPort(words.port(flag)?)),
            "P" | "pid" => overrides.push(Override::PidFile(words.path(flag)?)),
            "ports_file_dir" => overrides.push(Override::PortsFileDir(words.path(flag)?)),
            "user" => overrides.push(Override::User(words.text(flag)?)),
            "pass" => overrides.push(Override::Password(words.text(flag)?)),
            "auth" => overrides.push(Override::Token(words.text(flag)?)),
            "l" | "log" => overrides.push(Override::LogFile(words.path(flag)?)),
            "log_size_limit" => {
                let limit = u64::try_from(words.integer(flag)?).unwrap_or(0);
                overrides.push(Override::LogSizeLimit(limit));
            }
            "max_traced_msg_len" => {
                let len = usize::try_from(words.integer(flag)?).unwrap_or(0);
                overrides.push(Override::MaxTracedMsgLen(len));
            }
            "T" | "logtime" => overrides.push(Override::Logtime(flag.bool()?)),
            "logtime_utc" => overrides.push(Override::LogtimeUtc(flag.bool()?)),
            "D" | "debug" => overrides.push(Override::Debug(flag.bool()?)),
            "V" | "trace" => overrides.push(Override::Trace(flag.bool()?)),
            "VV" => overrides.push(Override::TraceVerbose(flag.bool()?)),
            "DV" => {
                let on = flag.bool()?;
                overrides.extend([Override::Debug(on), Override::Trace(on)]);
            }
            "DVV" => {
                let on = flag.bool()?;
                overrides.extend([Override::Debug(on), Override::TraceVerbose(on)]);
            }
            "sd" | "store_dir" => {
                words.value(flag)?;
                overrides.push(Override::Nothing(
                    "store_dir has no effect: nothing is stored, there is no JetStream here",
                ));
            }
            "js" | "jetstream" => {
                if flag.bool()? {
                    overrides.push(Override::Nothing(
                        "jetstream has no effect: nothing is stored, there is no JetStream here",
                    ));
                }
            }
            "profile" => {
                words.integer(flag)?;
                overrides
                    .push(Override::Nothing("profile has no effect: there is no Go profiler here"));
            }
            _ => match cluster::flag(flag, words)? {
                Some(cluster) => overrides.push(Override::Cluster(cluster)),
                None => flag.absent(words)?,
            },
        }
        Ok(())
    }

    fn command(self) -> Result<Command, CliError> {
        if self.version {
            return Ok(Command::Version);
        }
        if self.help {
            return Ok(Command::Help);
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

/// `CMD=PID` or `CMD=PIDFILE`.
fn signal_command(written: &str) -> Result<Command, CliError> {
    let (name, process) = written.split_once('=').unwrap_or((written, ""));
    let signal = match name {
        "stop" => Signal::Stop,
        "quit" => Signal::Quit,
        "term" => Signal::Term,
        "reopen" => Signal::Reopen,
        "reload" => Signal::Reload,
        "ldm" => Signal::LameDuck,
        _ => return Err(CliError::new(format!("unknown signal {name:?}"))),
    };
    if process.is_empty() {
        // nats-differs: the real server then searches for a process by its name.
        let text = format!("--signal {name} needs a process id or a pid file: {name}=PID");
        return Err(CliError::new(text));
    }
    Ok(Command::Signal { signal, process: process.to_owned() })
}

impl Flags {
    /// The defaults, then the file, then the flags. Called again for each reload.
    ///
    /// # Errors
    /// All that is wrong with the file, else the first thing that does not fit.
    pub fn load(&self, sources: Sources<'_>) -> Result<Loaded, LoadError> {
        let mut options = Options::default();
        let mut problems = Vec::new();
        if let Some(file) = &self.config {
            problems = conf::load(file, sources, &mut options).map_err(LoadError::Conf)?;
        }
        let notices = self.overrides.iter().filter_map(|flag| match flag {
            Override::Nothing(text) => Some(Problem {
                severity: Severity::Notice,
                position: None,
                text: format!("--{text}"),
            }),
            _ => None,
        });
        problems.extend(notices);
        self.apply(&mut options)?;
        options.check().map_err(LoadError::Options)?;
        Ok(Loaded { options, problems })
    }

    fn apply(&self, options: &mut Options) -> Result<(), LoadError> {
        let (mut user, mut password, mut token) = ("", "", "");
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let some_path = |path: &PathBuf| Some(path.clone()).filter(|p| !p.as_os_str().is_empty());
        let log = &mut options.log;
        for flag in &self.overrides {
            match flag {
                Override::Host(host) => {
                    options.host = some(host).unwrap_or_else(|| limits::HOST_DEFAULT.to_owned());
                }
                Override::Port(port) => {
                    options.port = port.unwrap_or(Port::Number(limits::PORT_DEFAULT));
                }
                Override::ServerName(name) => options.server_name = some(name),
                Override::ClientAdvertise(address) => options.client_advertise = some(address),
                Override::HttpPort(port) => {
                    let host = options.http.take().map(|http| http.host).unwrap_or_default();
                    options.http = port.map(|port| Listen { host, port });
                }
                Override::PidFile(path) => options.pid_file = some_path(path),
                Override::PortsFileDir(path) => options.ports_file_dir = some_path(path),
                Override::User(value) => user = value,
                Override::Password(value) => password = value,
                Override::Token(value) => token = value,
                Override::LogFile(path) => log.log_file = some_path(path),
                Override::LogSizeLimit(limit) => log.log_size_limit = *limit,
                Override::MaxTracedMsgLen(len) => log.max_traced_msg_len = *len,
                Override::Logtime(on) => log.logtime = *on,
                Override::LogtimeUtc(on) => log.logtime_utc = *on,
                Override::Debug(on) => log.debug = *on,
                Override::Trace(on) => log.trace = *on,
                Override::TraceVerbose(on) => (log.trace, log.trace_verbose) = (*on, *on),
                Override::Cluster(_) | Override::Nothing(_) => {}
            }
        }
        let cluster_flags = self.overrides.iter().filter_map(|flag| match flag {
            Override::Cluster(flag) => Some(flag),
            _ => None,
        });
        cluster::apply(cluster_flags, &mut options.cluster).map_err(LoadError::Flags)?;
        let login = &mut options.authorization.login;
        apply_login(login, user, password, token).map_err(|text| LoadError::Flags(text.to_owned()))
    }
}

/// Replaces the file's login; of a single user the half that is not given stays.
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

impl Loaded {
    /// Whether a check of the configuration (`-t`) calls it valid: warnings count there.
    pub fn is_valid(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Notice)
    }
}

/// The words of a command line, from front to back.
struct Words<'a> {
    rest: &'a [OsString],
}

/// A flag, its value still to come unless it was written with `=`.
#[derive(Clone, Copy)]
struct Flag<'a> {
    /// Without dashes.
    name: &'a str,
    value: Option<&'a OsStr>,
}

impl<'a> Words<'a> {
    fn new(rest: &'a [OsString]) -> Self {
        Self { rest }
    }

    /// What is left once there are no more flags.
    fn rest(self) -> &'a [OsString] {
        self.rest
    }

    fn next_word(&mut self) -> Option<&'a OsStr> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next word if it is a flag. `--` ends the flags and is dropped.
    fn next_flag(&mut self) -> Result<Option<Flag<'a>>, CliError> {
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
        Ok(Some(Flag { name, value: flag.get(end + 1..).map(OsStr::from_bytes) }))
    }

    fn value(&mut self, flag: Flag<'a>) -> Result<&'a OsStr, CliError> {
        flag.value
            .or_else(|| self.next_word())
            .ok_or_else(|| CliError::flag(format!("flag needs an argument: -{}", flag.name)))
    }

    fn path(&mut self, flag: Flag<'a>) -> Result<PathBuf, CliError> {
        self.value(flag).map(PathBuf::from)
    }

    fn str(&mut self, flag: Flag<'a>) -> Result<&'a str, CliError> {
        let value = self.value(flag)?;
        value.to_str().ok_or_else(|| flag.invalid(&value.to_string_lossy()))
    }

    fn text(&mut self, flag: Flag<'a>) -> Result<String, CliError> {
        self.str(flag).map(str::to_owned)
    }

    fn integer(&mut self, flag: Flag<'a>) -> Result<i64, CliError> {
        let value = self.str(flag)?;
        value.parse().map_err(|_| flag.invalid(value))
    }

    fn port(&mut self, flag: Flag<'a>) -> Result<Option<Port>, CliError> {
        let value = self.str(flag)?;
        value.parse().ok().and_then(Port::from_number).ok_or_else(|| flag.invalid(value))
    }
}

impl Flag<'_> {
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

    /// Flags of the real server for what does not exist here. Switched off they are accepted.
    fn absent(&self, words: &mut Words<'_>) -> Result<(), CliError> {
        let (is_bool, reason) = match self.name {
            "tls" | "tlsverify" | "help_tls" => (true, "TLS is not supported yet"),
            "tlscert" | "tlskey" | "tlscacert" => (false, "TLS is not supported yet"),
            "ms" | "https_port" => (false, "monitoring over TLS is not supported yet"),
            "s" | "syslog" => (true, "syslog is not supported, use --log"),
            "r" | "remote_syslog" => (false, "syslog is not supported, use --log"),
            _ => {
                return Err(CliError::flag(format!(
                    "flag provided but not defined: -{}",
                    self.name
                )));
            }
        };
        let wanted = if is_bool {
            self.bool()?
        } else {
            let value = self.value.or_else(|| words.next_word()).unwrap_or_default();
            !matches!(value.as_bytes(), b"" | b"0")
        };
        if wanted { Err(CliError::new(format!("-{}: {reason}", self.name))) } else { Ok(()) }
    }
}

impl Signal {
    /// As `--signal` names it.
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
        Self { text, of_a_flag: false }
    }

    /// About a flag that does not exist, or not with this value.
    fn flag(text: String) -> Self {
        Self { text, of_a_flag: true }
    }

    /// Whether a flag of the server is what is wrong: [`HELP`] tells which there are.
    pub fn is_of_a_flag(&self) -> bool {
        self.of_a_flag
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

#[cfg(test)]
mod tests;
