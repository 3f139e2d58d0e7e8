//! `ReloadError`: the reason that new settings were not taken over, in nats-server's words where it
//! has some.

use std::error::Error;
use std::fmt;

use crate::config::options::reload::NotReloadable;
use crate::server::start_error::StartError;

/// The reason that new settings were not taken over. All old ones stay in force.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReloadError {
    /// There is no configuration file to read.
    NoFile,
    /// The file cannot be read, or is invalid.
    Source(Box<dyn Error + Send + Sync>),
    /// No server could start with these settings.
    Invalid(StartError),
    /// A setting has changed that stays as it is while a server runs.
    NotReloadable(NotReloadable),
    /// The server has been stopped.
    Stopped,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReloadError::NoFile => {
                f.write_str("can only reload config when a file is provided using -c or --config")
            }
            ReloadError::Source(error) => error.fmt(f),
            ReloadError::Invalid(error) => error.fmt(f),
            ReloadError::NotReloadable(error) => error.fmt(f),
            ReloadError::Stopped => f.write_str("server is not running"),
        }
    }
}

impl Error for ReloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ReloadError::Source(error) => Some(&**error),
            ReloadError::Invalid(error) => Some(error),
            ReloadError::NotReloadable(error) => Some(error),
            ReloadError::NoFile | ReloadError::Stopped => None,
        }
    }
}
