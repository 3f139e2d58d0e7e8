//! `Options`: every setting of the server as plain data, with the real server's defaults.
//!
//! Holds no parsing, no file and no handle. Whoever builds one (configuration file, flags, or an
//! embedding program) hands it over whole; [`Options::check`] tells what cannot be started.
//! nats: server/opts.go `Options`, `setBaselineOptions`; server/server.go `validateOptions`

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::duration;
use crate::base::limits;
use crate::config::compression::Compression;
use crate::config::route_url::{HostPort, RouteUrl};

/// Everything that can be set. `Options::default()` is the real server without a file;
/// [`config`](crate::config) shows how to change it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Address to listen on for clients: a name or an address, IPv6 without brackets.
    pub host: String,
    /// Port for clients.
    pub port: Port,
    /// Opens no port for clients: they are in the process, or other servers have them. Not a
    /// setting of files. nats: server/opts.go `DontListen`
    pub no_listener: bool,
    /// Name in INFO and varz; none means the server's id. Without spaces.
    pub server_name: Option<String>,
    /// Free tags, shown in varz.
    pub server_tags: Vec<String>,
    /// Free key-value pairs, shown in varz.
    pub server_metadata: BTreeMap<String, String>,
    /// `host` or `host:port` that INFO tells clients instead of the listen address.
    pub client_advertise: Option<String>,
    /// Monitoring endpoint; none means off. An empty host means `host`.
    pub http: Option<Listen>,
    /// Path in front of the monitoring endpoints, begins with a slash.
    pub http_base_path: String,

    /// Largest payload with its headers, bytes, as INFO shows it; negative means unlimited.
    pub max_payload: i32,
    /// Outbound bytes that may wait for one connection.
    pub max_pending: usize,
    /// Longest protocol line, bytes.
    pub max_control_line: usize,
    /// Clients at the same time. 0 admits nobody.
    pub max_connections: usize,
    /// Subscriptions of one connection; 0 means unlimited.
    pub max_subscriptions: usize,
    /// Tokens of a subscription's subject; 0 means unlimited.
    pub max_sub_tokens: usize,
    /// Closed connections that connz remembers.
    pub max_closed_clients: usize,

    /// Time between two PINGs of the server.
    pub ping_interval: Duration,
    /// PINGs without PONG before a connection is stale.
    pub ping_max: usize,
    /// Time for one write to make full progress.
    pub write_deadline: Duration,
    /// What to do when `write_deadline` passes.
    pub write_timeout: WriteTimeout,
    /// Drops messages for slow receivers instead of stalling those who publish to them.
    pub no_fast_producer_stall: bool,
    /// Offers no headers to clients.
    pub no_header_support: bool,
    /// The account `$SYS` does not exist.
    pub no_system_account: bool,

    /// Who may connect.
    pub authorization: Authorization,
    /// Servers that form one subject space with this one; none means alone.
    pub cluster: Option<Cluster>,

    /// What is logged, and where.
    pub log: Log,
    /// File that holds the process id while the server runs.
    pub pid_file: Option<PathBuf>,
    /// Folder for the file that tells the ports which the server got.
    pub ports_file_dir: Option<PathBuf>,

    /// Time over which lame duck mode closes the clients, grace period included.
    pub lame_duck_duration: Duration,
    /// Time from entering lame duck mode to the first closed client.
    pub lame_duck_grace_period: Duration,

    /// Worker threads; none means one per core. Not a setting of nats-server.
    pub workers: Option<usize>,

    /// File that these options came from.
    pub config_file: Option<PathBuf>,
    /// `sha256:<hex>` over the parsed file, equal to the real server's digest.
    pub config_digest: Option<String>,
}

/// A TCP port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Any port that is free, written `-1`.
    Free,
    /// This port, 1 to 65535.
    Number(u16),
}

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port at that address.
    pub port: Port,
}

/// What happens to a connection whose write passes the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteTimeout {
    /// Closes clients, retries routes.
    #[default]
    Default,
    /// Closes.
    Close,
    /// Keeps the connection as long as each write moved some bytes.
    Retry,
}

/// Who may connect to the client port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// The credentials that are accepted.
    pub login: Login,
    /// Time from accept to a CONNECT that convinces.
    pub timeout: Duration,
    /// User that a connection without credentials becomes; one of [`Login::Users`].
    pub no_auth_user: Option<String>,
}

/// The credentials that are accepted, one kind at a time.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Everybody.
    #[default]
    Open,
    /// One user without permissions of its own.
    Single {
        /// User name.
        user: String,
        /// Plain or bcrypt (`$2a$...`), may be empty.
        password: String,
    },
    /// One token, plain or bcrypt.
    Token(String),
    /// These users. An empty list still demands credentials, which nobody has.
    Users(Vec<User>),
}

/// One entry of `authorization.users`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// How the user proves who it is. The name in it is unique.
    pub credential: Credential,
    /// What it may do; none means everything. `default_permissions` are already in here.
    pub permissions: Option<Permissions>,
    /// Ways in that are open to it; empty means all.
    pub allowed_connection_types: Vec<ConnectionType>,
}

/// How a user proves who it is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// By name and password.
    Password {
        /// User name, not empty.
        user: String,
        /// Plain or bcrypt (`$2a$...`), may be empty.
        password: String,
    },
    /// By signing the nonce with the key whose public half (`U...`, 56 characters) this is.
    Nkey(String),
}

/// A way to reach the server, as `allowed_connection_types` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionType {
    /// TCP or TLS.
    Standard,
    /// Websocket.
    Websocket,
    /// A leaf node.
    Leafnode,
    /// A leaf node over websocket.
    LeafnodeWs,
    /// MQTT.
    Mqtt,
    /// MQTT over websocket.
    MqttWs,
    /// Inside the process.
    InProcess,
}

/// What a user may publish and subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permissions {
    /// Subjects to publish to.
    pub publish: SubjectPermission,
    /// Subjects to subscribe to; an entry may be `subject queue`.
    pub subscribe: SubjectPermission,
    /// Publishing to the reply subjects of messages received. When set, `publish.allow` is
    /// never none: what it does not list is refused.
    pub allow_responses: Option<AllowResponses>,
}

/// Allow list and deny list for one direction. What both cover is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectPermission {
    /// Patterns that are allowed; none means all subjects, an empty list means no subject.
    /// A list written empty in a file means all subjects, as in the real server: it is none here.
    pub allow: Option<Vec<String>>,
    /// Patterns that are refused.
    pub deny: Vec<String>,
}

/// How much a user may answer to each message it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllowResponses {
    /// Publications per reply subject; negative means unlimited.
    pub max: i64,
    /// Time for them; none means unlimited.
    pub expires: Option<Duration>,
}

/// The cluster this server belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Name that all servers of the cluster share; none means that one is generated.
    pub name: Option<String>,
    /// Where other servers connect to; none means nowhere, the server only dials.
    pub listen: Option<Listen>,
    /// Servers to dial.
    pub routes: Vec<RouteUrl>,
    /// `host` or `host:port` that other servers are told.
    pub advertise: Option<String>,
    /// Keeps the addresses for clients from the other servers.
    pub no_advertise: bool,
    /// What other servers must know: [`Login::Open`] or [`Login::Single`].
    pub login: Login,
    /// Time for the other server to say CONNECT.
    pub auth_timeout: Duration,
    /// Further attempts to reach a server that was only heard of.
    pub connect_retries: usize,
    /// Waits longer after each failed attempt, up to 30 s.
    pub connect_backoff: bool,
    /// Subjects that may cross: publish is import, subscribe is export. None means all.
    pub permissions: Option<Permissions>,
    /// Connections to each other server; none means one, without a pool.
    pub pool_size: Option<usize>,
    /// Accounts with a connection of their own to each other server, besides `$SYS`.
    pub accounts: Vec<String>,
    /// How these connections are compressed.
    pub compression: Compression,
    /// Time without a sign of another server's machine after which a route is dead; a third more
    /// without one of the server itself, while it is sent messages. Not a setting of nats-server.
    pub silence_max: Duration,
    /// Time between two PINGs on a route.
    pub ping_interval: Duration,
    /// PINGs without PONG before a route is stale.
    pub ping_max: usize,
    /// Time for one write to a route to make full progress.
    pub write_deadline: Duration,
    /// What to do when `write_deadline` passes.
    pub write_timeout: WriteTimeout,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// Logs connections coming and going.
    pub debug: bool,
    /// Logs each protocol line.
    pub trace: bool,
    /// Traces the system account as well.
    pub trace_verbose: bool,
    /// Shows only the headers of traced messages.
    pub trace_headers: bool,
    /// Bytes of a traced message that are shown; 0 means all.
    pub max_traced_msg_len: usize,
    /// Puts the time in front of each line.
    pub logtime: bool,
    /// That time in UTC instead of local time.
    pub logtime_utc: bool,
    /// File to write to; none means standard error.
    pub log_file: Option<PathBuf>,
    /// Bytes after which the file is rotated; 0 means never.
    pub log_size_limit: u64,
    /// Rotated files that are kept, the current one included; 0 means all.
    pub log_max_num: usize,
}

/// A combination of options that cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError {
    /// A full payload would never fit into the queue of a receiver.
    PayloadAbovePending {
        /// `max_payload`, bytes.
        max_payload: i32,
        /// `max_pending`, bytes.
        max_pending: usize,
    },
    /// No time would be left to close the clients.
    GraceAboveDuration {
        /// `lame_duck_grace_period`.
        grace_period: Duration,
        /// `lame_duck_duration`.
        duration: Duration,
    },
    /// `no_auth_user` names a user although none are defined.
    NoAuthUserWithoutUsers(String),
    /// `no_auth_user` names somebody who is not among the users.
    NoAuthUserUnknown(String),
    /// The server name contains a space.
    ServerNameHasSpaces,
    /// The cluster's name contains a space.
    ClusterNameHasSpaces,
    /// Accounts have connections of their own only beside a pool.
    AccountsWithoutPool,
    /// An account stands in the list twice.
    AccountTwice {
        /// Its name.
        account: String,
        /// The list.
        accounts: Vec<String>,
    },
    /// An address that is to be told is neither a host nor a host with a port.
    Advertise {
        /// The setting.
        name: &'static str,
        /// What it is.
        written: String,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: limits::HOST_DEFAULT.to_owned(),
            port: Port::Number(limits::PORT_DEFAULT),
            no_listener: false,
            server_name: None,
            server_tags: Vec::new(),
            server_metadata: BTreeMap::new(),
            client_advertise: None,
            http: None,
            http_base_path: limits::HTTP_BASE_PATH_DEFAULT.to_owned(),
            max_payload: limits::MAX_PAYLOAD_DEFAULT,
            max_pending: limits::MAX_PENDING_DEFAULT,
            max_control_line: limits::MAX_CONTROL_LINE_DEFAULT,
            max_connections: limits::MAX_CONNECTIONS_DEFAULT,
            max_subscriptions: 0,
            max_sub_tokens: 0,
            max_closed_clients: limits::MAX_CLOSED_CLIENTS_DEFAULT,
            ping_interval: limits::PING_INTERVAL_DEFAULT,
            ping_max: limits::PING_MAX_DEFAULT,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            write_timeout: WriteTimeout::Default,
            no_fast_producer_stall: false,
            no_header_support: false,
            no_system_account: false,
            authorization: Authorization::default(),
            cluster: None,
            log: Log::default(),
            pid_file: None,
            ports_file_dir: None,
            lame_duck_duration: limits::LAME_DUCK_DURATION_DEFAULT,
            lame_duck_grace_period: limits::LAME_DUCK_GRACE_PERIOD_DEFAULT,
            workers: None,
            config_file: None,
            config_digest: None,
        }
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self { login: Login::Open, timeout: limits::AUTH_TIMEOUT_DEFAULT, no_auth_user: None }
    }
}

impl Default for AllowResponses {
    fn default() -> Self {
        Self {
            max: limits::ALLOW_RESPONSES_MAX_DEFAULT,
            expires: Some(limits::ALLOW_RESPONSES_EXPIRES_DEFAULT),
        }
    }
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
            auth_timeout: limits::AUTH_TIMEOUT_DEFAULT,
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

impl Default for Log {
    fn default() -> Self {
        Self {
            debug: false,
            trace: false,
            trace_verbose: false,
            trace_headers: false,
            max_traced_msg_len: 0,
            logtime: true,
            logtime_utc: false,
            log_file: None,
            log_size_limit: 0,
            log_max_num: 0,
        }
    }
}

impl Port {
    /// Reads a port as files and flags write it. The outer none is a number that is no port;
    /// the inner none is 0, which means the default or off.
    pub(crate) fn from_number(number: i64) -> Option<Option<Self>> {
        match number {
            -1 => Some(Some(Self::Free)),
            0 => Some(None),
            _ => u16::try_from(number).ok().map(|number| Some(Self::Number(number))),
        }
    }

    /// The number that `bind` takes: 0 asks the kernel for a free port.
    pub(crate) fn bind_number(self) -> u16 {
        match self {
            Self::Free => 0,
            Self::Number(number) => number,
        }
    }
}

impl User {
    /// Who may do everything, whatever way it comes.
    pub fn new(credential: Credential) -> User {
        User { credential, permissions: None, allowed_connection_types: Vec::new() }
    }

    /// The user's name, or its public key if it has none.
    pub fn name(&self) -> &str {
        match &self.credential {
            Credential::Password { user, .. } => user,
            Credential::Nkey(key) => key,
        }
    }
}

impl Options {
    /// Where the monitoring endpoint binds: at the clients' host unless it has one of its own.
    pub(crate) fn http_listen(&self) -> Option<Listen> {
        let http = self.http.as_ref()?;
        let host = if http.host.is_empty() { &self.host } else { &http.host };
        Some(Listen { host: host.clone(), port: http.port })
    }

    /// What INFO tells clients for an address where `port` is the one that the listener got;
    /// `None` if `client_advertise` cannot be read.
    pub(crate) fn advertised(&self, port: u16) -> Option<(String, u16)> {
        let Some(written) = &self.client_advertise else { return Some((self.host.clone(), port)) };
        HostPort::read(written, port).map(|HostPort(host, port)| (host.to_owned(), port))
    }

    /// Checks what only the whole can tell: the relations between options.
    ///
    /// # Errors
    /// The first combination that cannot be started, in the order of [`OptionsError`].
    /// nats: server/server.go `validateOptions`
    pub fn check(&self) -> Result<(), OptionsError> {
        let payload_len = usize::try_from(self.max_payload).unwrap_or(0);
        if payload_len > self.max_pending {
            return Err(OptionsError::PayloadAbovePending {
                max_payload: self.max_payload,
                max_pending: self.max_pending,
            });
        }
        if self.lame_duck_grace_period >= self.lame_duck_duration {
            return Err(OptionsError::GraceAboveDuration {
                grace_period: self.lame_duck_grace_period,
                duration: self.lame_duck_duration,
            });
        }
        if let Some(name) = &self.authorization.no_auth_user {
            let Login::Users(users) = &self.authorization.login else {
                return Err(OptionsError::NoAuthUserWithoutUsers(name.clone()));
            };
            if !users.iter().any(|user| user.name() == name) {
                return Err(OptionsError::NoAuthUserUnknown(name.clone()));
            }
        }
        if self.server_name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err(OptionsError::ServerNameHasSpaces);
        }
        check_advertised("client_advertise", self.client_advertise.as_deref())?;
        self.cluster.as_ref().map_or(Ok(()), |cluster| cluster.check(self.no_system_account))
    }

    /// The name of the system account, if there is one.
    pub(crate) fn system_account(&self) -> Option<&'static str> {
        (!self.no_system_account).then_some(limits::SYSTEM_ACCOUNT)
    }
}

impl Cluster {
    /// The accounts with a connection of their own to each other server that pools too. `$SYS` is
    /// one of them, if it exists.
    pub(crate) fn dedicated_accounts(&self, no_system_account: bool) -> Vec<String> {
        let mut accounts = self.accounts.clone();
        let is_there = accounts.iter().any(|name| name == limits::SYSTEM_ACCOUNT);
        if self.pool_size.is_some() && !no_system_account && !is_there {
            accounts.push(limits::SYSTEM_ACCOUNT.to_owned());
        }
        accounts
    }

    /// nats: server/server.go `validateCluster`
    fn check(&self, no_system_account: bool) -> Result<(), OptionsError> {
        if self.name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err(OptionsError::ClusterNameHasSpaces);
        }
        check_advertised("cluster_advertise", self.advertise.as_deref())?;
        if self.pool_size.is_none() && !self.accounts.is_empty() {
            return Err(OptionsError::AccountsWithoutPool);
        }
        for (index, account) in self.accounts.iter().enumerate() {
            if self.accounts[..index].contains(account) {
                let accounts = self.dedicated_accounts(no_system_account);
                let account = account.clone();
                return Err(OptionsError::AccountTwice { account, accounts });
            }
        }
        Ok(())
    }
}

/// An address that others are told must be one, if there is one.
fn check_advertised(name: &'static str, address: Option<&str>) -> Result<(), OptionsError> {
    match address {
        Some(written) if HostPort::read(written, 0).is_none() => {
            Err(OptionsError::Advertise { name, written: written.to_owned() })
        }
        _ => Ok(()),
    }
}

// Passwords and tokens never reach a log by way of `{:?}`.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Single { user, .. } => {
                f.debug_struct("Single").field("user", user).finish_non_exhaustive()
            }
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Users(users) => f.debug_tuple("Users").field(users).finish(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::Nkey(key) => f.debug_tuple("Nkey").field(key).finish(),
        }
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadAbovePending { max_payload, max_pending } => write!(
                f,
                "max_payload ({max_payload}) cannot be higher than max_pending ({max_pending})"
            ),
            Self::GraceAboveDuration { grace_period, duration } => write!(
                f,
                "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
                duration::Display(*grace_period),
                duration::Display(*duration)
            ),
            Self::NoAuthUserWithoutUsers(name) => {
                write!(f, "no_auth_user: {name:?} present, but users/nkeys are not defined")
            }
            Self::NoAuthUserUnknown(name) => write!(
                f,
                "no_auth_user: {name:?} not present as user or nkey in authorization block or \
                 account configuration"
            ),
            Self::ServerNameHasSpaces => f.write_str("server name cannot contain spaces"),
            Self::ClusterNameHasSpaces => f.write_str("cluster name cannot contain spaces"),
            Self::AccountsWithoutPool => {
                f.write_str("pool_size cannot be negative if pinned accounts are specified")
            }
            Self::AccountTwice { account, accounts } => {
                let accounts: Vec<_> = accounts.iter().map(|name| format!("{name:?}")).collect();
                write!(
                    f,
                    "found duplicate account name {account:?} in pinned accounts list [{}]",
                    accounts.join(" ")
                )
            }
            Self::Advertise { name, written } => {
                write!(f, "{name}: {written:?} is not HOST or HOST:PORT")
            }
        }
    }
}

impl std::error::Error for OptionsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_be_started() {
        assert_eq!(Options::default().check(), Ok(()));
    }

    #[test]
    fn addresses_to_be_told_are_checked() {
        let client = Options { client_advertise: Some("a:b".into()), ..Options::default() };
        let cluster = Cluster { advertise: Some("a:".into()), ..Cluster::default() };
        let cluster = Options { cluster: Some(cluster), ..Options::default() };
        let texts = [client, cluster].map(|options| options.check().unwrap_err().to_string());
        assert_eq!(texts[0], "client_advertise: \"a:b\" is not HOST or HOST:PORT");
        assert_eq!(texts[1], "cluster_advertise: \"a:\" is not HOST or HOST:PORT");
    }

    #[test]
    fn payload_must_fit_into_pending() {
        let options = Options { max_payload: 65 * limits::MIB as i32, ..Options::default() };
        let text = options.check().unwrap_err().to_string();
        assert_eq!(text, "max_payload (68157440) cannot be higher than max_pending (67108864)");
        let unlimited = Options { max_payload: -1, ..Options::default() };
        assert_eq!(unlimited.check(), Ok(()));
    }

    #[test]
    fn grace_period_ends_before_lame_duck_mode() {
        let options = Options {
            lame_duck_duration: Duration::from_secs(30),
            lame_duck_grace_period: Duration::from_secs(40),
            ..Options::default()
        };
        assert_eq!(
            options.check().unwrap_err().to_string(),
            "lame duck grace period (40s) should be strictly lower than lame duck duration (30s)"
        );
    }

    #[test]
    fn no_auth_user_is_one_of_the_users() {
        let mut options = Options::default();
        options.authorization.no_auth_user = Some("x".to_owned());
        assert_eq!(
            options.check().unwrap_err().to_string(),
            r#"no_auth_user: "x" present, but users/nkeys are not defined"#
        );
        let user = User {
            credential: Credential::Password { user: "x".to_owned(), password: String::new() },
            permissions: None,
            allowed_connection_types: Vec::new(),
        };
        options.authorization.login = Login::Users(vec![user]);
        assert_eq!(options.check(), Ok(()));
        options.authorization.no_auth_user = Some("y".to_owned());
        assert!(options.check().is_err());
    }

    #[test]
    fn a_cluster_that_cannot_be_started() {
        let text = |cluster: Cluster| {
            let options = Options { cluster: Some(cluster), ..Options::default() };
            options.check().unwrap_err().to_string()
        };
        let name = Some("a b".to_owned());
        let named = Cluster { name, ..Cluster::default() };
        assert_eq!(text(named), "cluster name cannot contain spaces");
        let accounts = vec!["$G".to_owned()];
        let alone = Cluster { accounts: accounts.clone(), pool_size: None, ..Cluster::default() };
        assert_eq!(
            text(alone.clone()),
            "pool_size cannot be negative if pinned accounts are specified"
        );
        let twice = Cluster { accounts: [&accounts[..]; 2].concat(), ..Cluster::default() };
        assert_eq!(
            text(twice),
            "found duplicate account name \"$G\" in pinned accounts list [\"$G\" \"$G\" \"$SYS\"]"
        );
        let single = Cluster { accounts: Vec::new(), ..alone };
        assert_eq!(single.dedicated_accounts(false), [""; 0]);
        assert_eq!(Cluster::default().dedicated_accounts(false), ["$SYS"]);
        assert_eq!(Cluster::default().dedicated_accounts(true), [""; 0]);
    }

    #[test]
    fn debug_output_hides_secrets() {
        let mut options = Options::default();
        options.authorization.login = Login::Token("sekret".to_owned());
        assert!(!format!("{options:?}").contains("sekret"));
        let user = User {
            credential: Credential::Password {
                user: "a".to_owned(),
                password: "sekret".to_owned(),
            },
            permissions: None,
            allowed_connection_types: Vec::new(),
        };
        options.authorization.login = Login::Users(vec![user]);
        assert!(!format!("{options:?}").contains("sekret"));
    }
}
