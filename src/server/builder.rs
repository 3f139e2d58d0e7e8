//! `Builder`: what a server is to be, told in any order.
//!
//! The options are the ground, a configuration file lies over them, and what a method was told by
//! itself lies over both.

use std::path::{Path, PathBuf};

use crate::config::conf::{self, Problem, Sources};
use crate::config::options::{Cluster, Credential, Listen, Log, Login, Options, Port, User};
use crate::logging::{LogFileErr, Logger};
use crate::net::files;
use crate::server::Server;
use crate::server::start_error::StartError;

/// What a server is to be. The order of the calls does not matter: what a method of its own was
/// told, as `host`, goes before the configuration file, and that before the options.
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
    /// [`Login::Token`], which hides it from logs.
    token: Option<Login>,
    cluster: Option<Cluster>,
    monitor: Option<Port>,
    log: Option<Log>,
}

impl Server {
    /// A server on nats-server's defaults, to be changed and started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// The ground on which all else is set.
    #[must_use]
    pub fn options(mut self, options: Options) -> Builder {
        self.options = options;
        self
    }

    /// A configuration file, read at the start. What it does not name is as in the options.
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

    /// No port for clients: they come by [`Server::connect`] and [`Server::client`] alone, or from
    /// other servers.
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

    /// A user who may do everything, by password or its bcrypt hash; once for each user. Others
    /// are then refused.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Builder {
        let (user, password) = (user.to_owned(), password.to_owned());
        self.users.push(User::new(Credential::Password { user, password }));
        self
    }

    /// A token, or its bcrypt hash, that everybody has to know. Instead of users.
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

    /// Port for monitoring over HTTP; 0 for any that is free. It asks for no login.
    #[must_use]
    pub fn monitor(mut self, port: u16) -> Builder {
        self.monitor = Some(port_of(port));
        self
    }

    /// Has the server write nats-server's log, to a file or to standard error. Without it the log
    /// is events of `tracing`, for whatever subscriber the program has.
    ///
    /// A process has one log: if it has a subscriber already, that one goes on, and is told in a
    /// warning that these settings are not obeyed. The same holds for [`Options::log`] that is not
    /// as by default.
    #[must_use]
    pub fn log(mut self, log: Log) -> Builder {
        self.log = Some(log);
        self
    }

    /// Starts the server; clients can connect when it is done. It has threads of its own, and
    /// needs no runtime but to wait for its end and for the clients of this process.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Server, StartError> {
        let wants_log = self.log.is_some();
        let (options, problems) = self.into_options()?;
        let wants_log = wants_log || options.log != Log::default();
        let logger = wants_log.then(|| Logger::new(&options.log)).transpose();
        let logger = logger.map_err(|LogFileErr { path, error }| StartError::File {
            what: "log",
            path,
            error,
        })?;
        if logger.as_ref().is_some_and(|logger| !logger.install()) {
            tracing::warn!("The log's settings are not obeyed: the program has a log of its own");
        }
        for problem in problems {
            tracing::warn!("{problem}");
        }
        let mut server = Server::start(options)?;
        server.logger = logger;
        Ok(server)
    }

    /// All that was told in one, and what is doubtful in the file.
    fn into_options(self) -> Result<(Options, Vec<Problem>), StartError> {
        let mut options = self.options;
        let mut problems = Vec::new();
        if let Some(file) = self.config_file {
            let sources =
                Sources { file: &files::read_text, environment: &|name| std::env::var(name).ok() };
            problems = conf::load(&file, sources, &mut options).map_err(StartError::Config)?;
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
        options.log = self.log.unwrap_or(options.log);
        if let Some(port) = self.monitor {
            let host = options.http.map(|http| http.host).unwrap_or_default();
            options.http = Some(Listen { host, port });
        }
        let users = (!self.users.is_empty()).then_some(Login::Users(self.users));
        if let Some(login) = self.token.or(users) {
            options.authorization.login = login;
        }
        Ok((options, problems))
    }
}

/// A port as socket addresses have it.
fn port_of(number: u16) -> Port {
    if number == 0 { Port::Free } else { Port::Number(number) }
}
