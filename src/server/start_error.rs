//! `StartError`: the reason that a server did not start, in nats-server's words where it has some.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::base::os_error::OsError;
use crate::config::check::OptionsError;
use crate::config::conf::ConfError;
use crate::config::options::Listen;
use crate::config::route_url::HostPort;
use crate::logging::LogErr;
use crate::net::ports::PortFor;

/// The reason that a server did not start. Its text is the one that the program prints, in
/// nats-server's words.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let started = dialtone::Server::builder().name("no spaces, please").start().await;
/// assert_eq!(started.unwrap_err().to_string(), "server name cannot contain spaces");
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration file cannot be read, or is invalid.
    Config(ConfError),
    /// The options contradict each other.
    Options(OptionsError),
    /// Two settings of the builder exclude each other.
    Contradiction(&'static str, &'static str),
    /// A port cannot be bound.
    Listen {
        /// The kind of connections.
        port_for: PortFor,
        /// Its address.
        listen: Listen,
        /// The error of the system.
        error: io::Error,
    },
    /// A certificate, a key or a file beside them cannot be used.
    Tls(String),
    /// A file cannot be written.
    File {
        /// Purpose of the file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The system log cannot be reached.
    Syslog(io::Error),
    /// The system gives no threads.
    Runtime(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(error) => error.fmt(f),
            StartError::Options(error) => error.fmt(f),
            StartError::Contradiction(one, other) => {
                write!(f, "{one} and {other} exclude each other")
            }
            StartError::Listen { port_for, listen, error } => {
                let port = listen.port.bind_number();
                let shown = HostPort(listen.host.trim_matches(['[', ']']), port);
                let cause = match error.raw_os_error() {
                    Some(_) => format!("listen tcp {shown}: bind: {}", OsError(error)),
                    None => format!("listen tcp: lookup {}: {}", listen.host, OsError(error)),
                };
                match port_for {
                    PortFor::Clients => {
                        write!(f, "Error listening on port: {shown}, \"{cause}\"")
                    }
                    PortFor::Monitor => {
                        write!(
                            f,
                            "Can't start monitoring: can't listen to the monitor port: {cause}"
                        )
                    }
                    PortFor::Websocket => {
                        write!(f, "Unable to listen for websocket connections: {cause}")
                    }
                    PortFor::Routes => {
                        write!(f, "Error listening on router port: {port} - {cause}")
                    }
                }
            }
            StartError::Tls(why) => f.write_str(why),
            StartError::File { what, path, error } => {
                let error = OsError(error);
                write!(f, "Could not write {what} file {}: {error}", path.display())
            }
            StartError::Syslog(error) => {
                write!(f, "error connecting to syslog: \"{}\"", OsError(error))
            }
            StartError::Runtime(error) => write!(f, "Could not start worker threads: {error}"),
        }
    }
}

impl From<ConfError> for StartError {
    fn from(error: ConfError) -> StartError {
        StartError::Config(error)
    }
}

impl From<OptionsError> for StartError {
    fn from(error: OptionsError) -> StartError {
        StartError::Options(error)
    }
}

impl From<LogErr> for StartError {
    fn from(error: LogErr) -> StartError {
        match error {
            LogErr::File(path, error) => StartError::File { what: "log", path, error },
            LogErr::Syslog(error) => StartError::Syslog(error),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Config(error) => Some(error),
            StartError::Options(error) => Some(error),
            StartError::Contradiction(..) | StartError::Tls(_) => None,
            StartError::Listen { error, .. }
            | StartError::File { error, .. }
            | StartError::Syslog(error)
            | StartError::Runtime(error) => Some(error),
        }
    }
}
