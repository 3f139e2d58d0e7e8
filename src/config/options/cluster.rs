//! `Cluster`: the settings of a server among others.

use std::time::Duration;

use crate::base::limits;
use crate::config::compression::Compression;
use crate::config::options::authorization::{Login, Permissions};
use crate::config::options::listen::Listen;
use crate::config::options::tls::{self, Tls};
use crate::config::options::write_timeout::WriteTimeout;
use crate::config::route_url::RouteUrl;

/// The cluster of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Name that all servers of the cluster share; none means that one is generated.
    pub name: Option<String>,
    /// Address for other servers; none means that this server only dials.
    pub listen: Option<Listen>,
    /// Servers to dial.
    pub routes: Vec<RouteUrl>,
    /// `host` or `host:port` that other servers get to know.
    pub advertise: Option<String>,
    /// Does not tell other servers the addresses for clients.
    pub no_advertise: bool,
    /// Credentials of other servers: [`Login::Open`] or [`Login::Single`].
    pub login: Login,
    /// Time for the other server to send CONNECT; none means 2 s, and with TLS its timeout and 1 s.
    pub auth_timeout: Option<Duration>,
    /// Encryption of these connections; none means that there is none.
    pub tls: Option<Tls>,
    /// Further attempts to reach a server known only by gossip.
    pub connect_retries: usize,
    /// Waits longer after each failed attempt, up to 30 s.
    pub connect_backoff: bool,
    /// Subjects that may cross: publish is import, subscribe is export. None means all.
    pub permissions: Option<Permissions>,
    /// Connections to each other server; none means one, without a pool.
    pub pool_size: Option<usize>,
    /// Accounts with a connection of their own to each other server, besides `$SYS`.
    pub accounts: Vec<String>,
    /// Compression of these connections.
    pub compression: Compression,
    /// Silence of another server's machine after which a route is dead; a third more of the server
    /// itself, while messages are sent to it. Not a setting of nats-server.
    pub silence_max: Duration,
    /// Time between two PINGs on a route.
    pub ping_interval: Duration,
    /// PINGs without PONG before a route is stale.
    pub ping_max: usize,
    /// Time for one write to a route to make full progress.
    pub write_deadline: Duration,
    /// Answer to a write that passes `write_deadline`.
    pub write_timeout: WriteTimeout,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: None,
            listen: None,
            routes: Vec::new(),
            advertise: None,
            no_advertise: false,
            login: Login::Open,
            auth_timeout: None,
            tls: None,
            connect_retries: 0,
            connect_backoff: false,
            permissions: None,
            pool_size: Some(limits::ROUTE_POOL_SIZE_DEFAULT),
            accounts: Vec::new(),
            compression: Compression::default(),
            silence_max: limits::ROUTE_SILENCE_MAX_DEFAULT,
            ping_interval: limits::ROUTE_PING_INTERVAL_MAX,
            ping_max: limits::PING_MAX_DEFAULT,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            write_timeout: WriteTimeout::Default,
        }
    }
}

impl Cluster {
    /// Time for the other server to send CONNECT.
    pub(crate) fn auth_timeout(&self) -> Duration {
        tls::auth_timeout(self.auth_timeout, self.tls.as_ref())
    }

    /// The accounts with a connection of their own to each other server that has a pool too.
    /// The system account is one of them, if there is one.
    pub(crate) fn dedicated_accounts(&self, system_account: Option<&str>) -> Vec<String> {
        let mut accounts = self.accounts.clone();
        if self.pool_size.is_some()
            && let Some(system) = system_account
            && !accounts.iter().any(|name| name == system)
        {
            accounts.push(system.to_owned());
        }
        accounts
    }
}
