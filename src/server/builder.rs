//! `Builder`: the settings of a server to be started, given in any order.
//!
//! A configuration file overrides the options, and a setting with its own method overrides both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;

use crate::apart::Apart;
use crate::bounded_file;
use crate::config::conf::{self, Loaded, Remarks, Sources, Unchecked};
use crate::config::options::{Cluster, Credential, Listen, Log, Login, Options, Port, Tls, User};
use crate::logging::Logger;
use crate::server::Server;
use crate::server::origin::{Origin, Source};
use crate::server::start_error::StartError;

/// The settings of a server to be started. The order of the calls does not matter: a setting with
/// its own method, such as `host`, overrides the configuration file, which overrides the options.
///
/// ```
/// use dialtone::config::Cluster;
/// use dialtone::{Options, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut options = Options::default();
/// options.max_payload = 64 * 1024;
/// let server = Server::builder()
///     .host("127.0.0.1")
///     .port(0)
///     .name("orders")
///     .user("till", "secret")
///     .options(options)
///     .start()
///     .await?;
/// assert_eq!(server.varz()["server_name"], "orders");
/// # server.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default, Clone)]
pub struct Builder {
    options: Options,
    config_file: Option<PathBuf>,
    host: Option<String>,
    port: Option<Port>,
    no_listener: bool,
    name: Option<String>,
    users: Vec<User>,
    /// A [`Login::Token`], which hides the token from logs.
    token: Option<Login>,
    cluster: Option<Cluster>,
    tls: Option<Tls>,
    rustls: Option<Arc<ServerConfig>>,
    monitor: Option<Port>,
    log: Option<Log>,
}

impl Server {
    /// A builder with nats-server's defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// The options that all other settings override.
    #[must_use]
    pub fn options(mut self, options: Options) -> Builder {
        self.options = options;
        self
    }

    /// A configuration file, read at the start. Settings that it does not name come from the
    /// options.
    #[must_use]
    pub fn config_file(mut self, file: impl AsRef<Path>) -> Builder {
        self.config_file = Some(file.as_ref().to_owned());
        self
    }

    /// Address to listen on.
    #[must_use]
    pub fn host(mut self, host: &str) -> Builder {
        self.host = Some(host.to_owned());
        self
    }

    /// Port to listen on; 0 for any that is free.
    #[must_use]
    pub fn port(mut self, port: u16) -> Builder {
        self.port = Some(port_of(port));
        self
    }

    /// No port for clients: they connect only with [`Server::connect`] and [`Server::client`], or
    /// to other servers of the cluster.
    #[must_use]
    pub fn no_listener(mut self) -> Builder {
        self.no_listener = true;
        self
    }

    /// Name of the server, without spaces.
    #[must_use]
    pub fn name(mut self, name: &str) -> Builder {
        self.name = Some(name.to_owned());
        self
    }

    /// A user with all permissions, and a password or its bcrypt hash; to be called once for each
    /// user. Other clients are then refused.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Builder {
        let (user, password) = (user.to_owned(), password.to_owned());
        self.users.push(User::new(Credential::Password { user, password }));
        self
    }

    /// A token, or its bcrypt hash, that every client has to send. It replaces users.
    #[must_use]
    pub fn token(mut self, token: &str) -> Builder {
        self.token = Some(Login::Token(token.to_owned()));
        self
    }

    /// The cluster that the server belongs to.
    #[must_use]
    pub fn cluster(mut self, cluster: Cluster) -> Builder {
        self.cluster = Some(cluster);
        self
    }

    /// Encrypts the port for clients, with certificates from files.
    ///
    /// ```
    /// use dialtone::Server;
    /// use dialtone::config::Tls;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut tls = Tls::new("tests/it/tls/server.pem", "tests/it/tls/server.key");
    /// tls.ca_file = Some("tests/it/tls/ca.pem".into());
    /// tls.verify = true;
    /// let server = Server::builder().host("127.0.0.1").port(0).tls(tls).start().await?;
    /// assert_eq!(server.varz()["tls_verify"], true);
    /// # server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Builder {
        self.tls = Some(tls);
        self
    }

    /// Encrypts the port for clients by a configuration made elsewhere: its certificates, suites
    /// and authorities hold. Of a [`Tls`] only the rest does, such as its timeout, and `verify`,
    /// by which INFO tells clients that they are asked for a certificate. Early data must be off.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use dialtone::Server;
    /// use dialtone::rustls::ServerConfig;
    /// use dialtone::rustls::crypto::ring;
    /// use dialtone::rustls::pki_types::pem::PemObject;
    /// use dialtone::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let certificate = CertificateDer::from_pem_file("tests/it/tls/server.pem")?;
    /// let key = PrivateKeyDer::from_pem_file("tests/it/tls/server.key")?;
    /// let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
    ///     .with_safe_default_protocol_versions()?
    ///     .with_no_client_auth()
    ///     .with_single_cert(vec![certificate], key)?;
    /// let server = Server::builder().host("127.0.0.1").port(0).rustls(config).start().await?;
    /// assert_eq!(server.varz()["tls_required"], true);
    /// # server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rustls(mut self, config: impl Into<Arc<ServerConfig>>) -> Builder {
        self.rustls = Some(config.into());
        self
    }

    /// Port for monitoring over HTTP; 0 for any that is free. It asks for no login.
    #[must_use]
    pub fn monitor(mut self, port: u16) -> Builder {
        self.monitor = Some(port_of(port));
        self
    }

    /// Makes the server write nats-server's log, to a file or to standard error. Without it the
    /// server emits events of `tracing`, for the subscriber of the program.
    ///
    /// A process has one log: if it already has a subscriber, that one stays and gets a warning
    /// that these settings have no effect. The same holds for an [`Options::log`] other than the
    /// default.
    #[must_use]
    pub fn log(mut self, log: Log) -> Builder {
        self.log = Some(log);
        self
    }

    /// Starts the server; clients can connect when it is done. The server has threads of its own;
    /// it needs the caller's runtime only to wait for its end and for clients within the process.
    ///
    /// # Errors
    /// [`StartError`]; then nothing keeps running.
    pub async fn start(self) -> Result<Server, StartError> {
        let rustls = self.rustls.clone();
        let wants_log = self.log.is_some();
        let mut read = self.clone().read_apart()?;
        let Loaded { checked, problems } = read.check::<StartError>(None)?;
        let log = &checked.options.log;
        let wants_log = wants_log || *log != Log::default();
        let logger = wants_log.then(|| Logger::new(log)).transpose()?;
        if logger.as_ref().is_some_and(|logger| !logger.install()) {
            tracing::warn!("The log's settings are not obeyed: the program has a log of its own");
        }
        for problem in problems {
            tracing::warn!("{problem}");
        }
        let source = self
            .config_file
            .is_some()
            .then(|| -> Source { Box::new(move || self.clone().read_apart().map_err(Into::into)) });
        Server::start(checked, Origin { rustls, logger, source })
    }

    /// Reads the settings apart from all other memory.
    fn read_apart(self) -> Result<Apart<Unchecked>, StartError> {
        Apart::make(|| self.read())
    }

    /// All settings as one, and the remarks about the file.
    fn read(self) -> Result<Unchecked, StartError> {
        let mut options = self.options;
        let mut remarks = Remarks::default();
        if let Some(file) = self.config_file {
            let sources = Sources {
                file: &bounded_file::read_text,
                environment: &|name| std::env::var(name).ok(),
            };
            remarks = conf::read(&file, sources, &mut options)?;
        }
        if self.no_listener && self.port.is_some() {
            return Err(StartError::Contradiction("port", "no_listener"));
        }
        if self.token.is_some() && !self.users.is_empty() {
            return Err(StartError::Contradiction("user", "token"));
        }
        options.no_listener |= self.no_listener;
        if let Some(port) = self.port {
            (options.port, options.no_listener) = (port, false);
        }
        options.host = self.host.unwrap_or(options.host);
        options.server_name = self.name.or(options.server_name);
        options.cluster = self.cluster.or(options.cluster);
        options.tls = self.tls.or(options.tls);
        options.log = self.log.unwrap_or(options.log);
        if let Some(port) = self.monitor {
            let host = options.http.map(|http| http.host).unwrap_or_default();
            options.http = Some(Listen { host, port });
        }
        let users = (!self.users.is_empty()).then_some(Login::Users(self.users));
        if let Some(login) = self.token.or(users) {
            options.authorization.login = login;
        }
        if self.rustls.is_some() {
            if options.https.is_some() {
                return Err(StartError::Contradiction("rustls", "https"));
            }
            options.tls.get_or_insert_with(Tls::without_certificate);
        }
        Ok(Unchecked { options, remarks })
    }
}

/// A port number of a socket address as a [`Port`].
fn port_of(number: u16) -> Port {
    if number == 0 { Port::Free } else { Port::Number(number) }
}
