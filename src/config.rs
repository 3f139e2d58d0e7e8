//! The configuration: options, and the file that sets them.
//!
//! [`Options`] begins with nats-server's defaults and may be changed field by field; [`load`] reads
//! a configuration file over it. Either goes to [`Server::builder`](crate::Server::builder).
//!
//! ```
//! use dialtone::config::{Cluster, Credential, Listen, Login, Permissions, Port, RouteUrl, User};
//!
//! let mut options = dialtone::Options::default();
//! options.max_payload = 64 * 1024;
//!
//! let mut cluster = Cluster::default();
//! cluster.listen = Some(Listen { host: "127.0.0.1".into(), port: Port::Free });
//! cluster.routes.push(RouteUrl::parse("nats://127.0.0.1:6222")?);
//! options.cluster = Some(cluster);
//!
//! let password = Credential::Password { user: "till".into(), password: "secret".into() };
//! let mut permissions = Permissions::default();
//! permissions.publish.allow = Some(vec!["orders.>".into()]);
//! let mut till = User::new(password);
//! till.permissions = Some(permissions.into());
//! options.authorization.login = Login::Users(vec![till]);
//!
//! options.check()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The command line is here too, for the program. Imports `base`, and the JSON escaping of `codec`.
// Reads no file by itself: the caller passes a loader.

pub(crate) mod check;
pub(crate) mod cli;
pub(crate) mod compression;
pub(crate) mod conf;
pub(crate) mod imports;
pub(crate) mod options;
pub(crate) mod origin;
pub(crate) mod route_url;

pub use check::OptionsError;
pub use compression::{Compression, CompressionError, Level, Thresholds};
pub use conf::{ConfError, Position, Problem, Severity, Sources, load};
pub use options::{
    AccountLimits, AccountOptions, AllowResponses, Authorization, CertFiles, CipherSuite, Cluster,
    ConnectionType, Credential, Curve, Export, ExportKind, HandshakeFirst, Import, ImportKind,
    Importers, Latency, Listen, LocalSubject, Log, Login, MappingDestination, MappingError,
    Options, Permissions, Port, ResponseType, Sampling, ServiceOptions, SubjectMapping,
    SubjectPermission, SyslogUrl, SyslogUrlError, Tls, TlsVersion, User, Websocket, WriteTimeout,
};
pub use origin::{Origin, OriginError};
pub use route_url::{RouteLogin, RouteUrl, RouteUrlError};
