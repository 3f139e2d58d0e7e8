//! `Origin`: the parts of a server's start that a reload needs again.

use std::error::Error;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::apart::Apart;
use crate::config::conf::Unchecked;
use crate::logging::Logger;

/// Reads the settings of a server again, with its configuration file.
pub(crate) type Source =
    Box<dyn Fn() -> Result<Apart<Unchecked>, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The parts of a server's start that a reload needs again.
#[derive(Default)]
pub(crate) struct Origin {
    /// None if there is no configuration file.
    pub(crate) source: Option<Source>,
    /// The log, if it is the server's own.
    pub(crate) logger: Option<Logger>,
    /// Ready-made encryption of the port for clients.
    pub(crate) rustls: Option<Arc<ServerConfig>>,
}
