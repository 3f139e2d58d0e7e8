//! `Settings`: all settings in force, as one value that is replaced as a whole.
//!
//! Each worker holds them, and compares a number at the start of a turn: within a turn nothing
//! changes. Code outside of workers asks the registry.

use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::auth::permissions::CompiledPermissions;
use crate::auth::{Authenticator, Compiled, Mapping};
use crate::base::limits;
use crate::base::moment::Moment;
use crate::config::check::Checked;
use crate::config::options::{Authorization, Cluster, ConnectionType, Options};
use crate::conn::outbound::Policy;
use crate::registry::accounts::Accounts;

/// All settings in force.
pub struct Settings {
    /// Counts up with each replacement.
    pub version: u64,
    /// The time of that.
    pub since: Moment,
    /// The configuration, without the users and imports that stand compiled below.
    pub options: Options,
    /// The permissions of users.
    compiled: Compiled,
    /// What holds for clients.
    clients: ClientSettings,
    /// What holds for clients that come by WebSocket, if there is a port for them.
    websocket: Option<ClientSettings>,
    /// Limits of an outbound queue.
    pub policy: Policy,
    /// Settings of routes.
    pub routes: RouteSettings,
    /// The subject spaces of clients.
    pub accounts: Accounts,
    system_account: Option<Arc<Account>>,
}

/// Settings of clients, by the way they come.
pub struct ClientSettings {
    /// Decides on their CONNECT.
    pub authenticator: Authenticator,
    /// Login timeout.
    pub auth_timeout: Duration,
    /// Time between two PINGs.
    pub ping_interval: Duration,
}

/// Settings of connections to other servers.
pub struct RouteSettings {
    /// The block of the configuration; its defaults without a cluster.
    pub cluster: Cluster,
    /// Permissions of import and export: other servers publish and subscribe here.
    pub permissions: Option<Arc<CompiledPermissions>>,
    /// Decides on the CONNECT of other servers.
    pub authenticator: Authenticator,
    /// Accounts with connections of their own.
    pub dedicated: Vec<String>,
}

impl Settings {
    /// Settings of a server that starts.
    pub fn new(Checked { options, imports }: Checked<'_>) -> Settings {
        let accounts = Accounts::new(options, imports);
        Settings::with(accounts, options, None)
    }

    /// Settings that replace these.
    pub fn replaced(&self, Checked { options, imports }: Checked<'_>, now: Moment) -> Settings {
        let accounts = self.accounts.replaced(options, imports);
        let new = Settings::with(accounts, options, Some(self));
        Settings { version: self.version + 1, since: now, ..new }
    }

    fn with(accounts: Accounts, options: &mut Options, before: Option<&Settings>) -> Settings {
        let compiled = before.map(|before| &before.compiled);
        let compiled = Compiled::new(&options.authorization.login, compiled);
        let (clients, websocket) = ClientSettings::of(options, &compiled);
        let system_account =
            options.system_account().and_then(|name| accounts.find(name.as_bytes()));
        Settings {
            version: 0,
            since: Moment::START,
            clients,
            websocket,
            policy: Policy {
                pending_bytes_max: options.max_pending,
                drop_when_lagging: options.no_fast_producer_stall,
            },
            routes: RouteSettings::new(options, before.map(|before| &before.routes)),
            system_account: system_account.cloned(),
            accounts,
            compiled,
            options: options.copy_without_lists(),
        }
    }
}

impl Settings {
    /// The account of the servers themselves, if there is one.
    pub fn system_account(&self) -> Option<&Arc<Account>> {
        self.system_account.as_ref()
    }

    /// What holds for clients that come this way.
    #[inline]
    pub fn clients(&self, by: ConnectionType) -> &ClientSettings {
        match &self.websocket {
            Some(websocket) if by == ConnectionType::Websocket => websocket,
            _ => &self.clients,
        }
    }
}

impl ClientSettings {
    /// Those of most clients; and those of clients that come by WebSocket, if there is a port for
    /// them.
    fn of(options: &Options, compiled: &Compiled) -> (ClientSettings, Option<ClientSettings>) {
        let mapping = Mapping::of(options, ConnectionType::Standard);
        let clients = ClientSettings {
            authenticator: Authenticator::with(&options.authorization, &mapping, compiled),
            auth_timeout: options.auth_timeout(),
            ping_interval: options.ping_interval,
        };
        let websocket = options.websocket.as_ref().map(|websocket| {
            let authorization = websocket.authorization(&options.authorization);
            let mapping = Mapping::of(options, ConnectionType::Websocket);
            ClientSettings {
                authenticator: Authenticator::with(&authorization, &mapping, compiled),
                auth_timeout: websocket.auth_timeout.unwrap_or(options.auth_timeout()),
                ping_interval: websocket.ping_interval.unwrap_or(options.ping_interval),
            }
        });
        (clients, websocket)
    }
}

impl RouteSettings {
    fn new(options: &Options, before: Option<&RouteSettings>) -> RouteSettings {
        let cluster = options.cluster.clone().unwrap_or_default();
        let authorization =
            Authorization { login: cluster.login.clone(), ..Authorization::default() };
        let compiled = |permissions| Arc::new(CompiledPermissions::new(permissions));
        let same = before.filter(|before| before.cluster.permissions == cluster.permissions);
        RouteSettings {
            permissions: match same {
                Some(before) => before.permissions.clone(),
                None => cluster.permissions.as_ref().map(compiled),
            },
            authenticator: Authenticator::with(
                &authorization,
                &Mapping::default(),
                &Compiled::default(),
            ),
            dedicated: cluster.dedicated_accounts(options.system_account()),
            cluster,
        }
    }

    /// True if that account has connections of its own.
    pub fn is_dedicated(&self, account: &str) -> bool {
        self.dedicated.iter().any(|dedicated| dedicated == account)
    }

    /// Time between two PINGs on an open connection.
    pub fn ping_interval(&self) -> Duration {
        self.cluster.ping_interval.min(limits::ROUTE_PING_INTERVAL_MAX)
    }

    /// Silence after which an open connection is stale; a step of the handshake may take as long.
    pub fn stale_after(&self) -> Duration {
        self.ping_interval() * (self.cluster.ping_max as u32).saturating_add(1)
    }

    /// The number of connections in the pool with a server that wants `theirs`: the larger number
    /// of the two servers.
    pub fn pool_size(&self, theirs: i64) -> usize {
        let theirs = usize::try_from(theirs).unwrap_or(0);
        theirs.max(self.cluster.pool_size.unwrap_or(0)).min(limits::ROUTE_POOL_SIZE_MAX)
    }
}
