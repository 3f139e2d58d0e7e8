//! What an operator says: the options, and the file and the command line that they come from.
//!
//! Imports `base`, and of `codec` how JSON is escaped. Reads no file by itself: a loader is handed
//! in.

pub(crate) mod cli;
pub(crate) mod compression;
pub(crate) mod conf;
pub(crate) mod options;
pub(crate) mod route_url;

pub use compression::{Compression, CompressionError, Level, Thresholds};
pub use conf::{ConfError, Position, Problem, Severity, Sources, load};
pub use options::{
    AllowResponses, Authorization, Cluster, ConnectionType, Credential, Listen, Log, Login,
    Options, OptionsError, Permissions, Port, SubjectPermission, User, WriteTimeout,
};
pub use route_url::{RouteLogin, RouteUrl, RouteUrlError};
