//! `Options`: every setting of the server as plain data, with the real server's defaults.
//!
//! Holds no parsing, no file and no handle. A configuration file, flags or an embedding program
//! build one and hand it over whole; [`Options::check`] refuses combinations that cannot start.
//! nats: server/opts.go `Options`, `setBaselineOptions`

mod account;
mod authorization;
mod cluster;
mod listen;
mod mapping;
pub mod reload;
mod syslog;
mod tls;
mod websocket;
mod write_timeout;

use std::collections::BTreeMap;
use std::iter;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::limits;
use crate::config::route_url::HostPort;

pub use account::{
    AccountLimits, AccountOptions, Export, ExportKind, Import, ImportKind, Importers, Latency,
    LocalSubject, ResponseType, Sampling, ServiceOptions, TraceDest,
};
pub use authorization::{
    AllowResponses, Authorization, ConnectionType, Credential, Login, Permissions,
    SubjectPermission, User,
};
pub use cluster::Cluster;
pub use listen::{Listen, Port};
pub(crate) use mapping::Share;
pub use mapping::{MappingDestination, MappingError, SubjectMapping};
pub use syslog::{SyslogUrl, SyslogUrlError};
pub use tls::{CertFiles, CipherSuite, Curve, HandshakeFirst, Tls, TlsVersion};
pub use websocket::Websocket;
pub use write_timeout::WriteTimeout;

/// Everything that can be set. `Options::default()` is the real server without a file;
/// [`config`](crate::config) shows how to change it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Address to listen on for clients: a name or an address, IPv6 without brackets.
    pub host: String,
    /// Port for clients.
    pub port: Port,
    /// Opens no port for clients: they connect inside the process, or to other servers. Not a
    /// setting of files. nats: server/opts.go `DontListen`
    pub no_listener: bool,
    /// Name in INFO and varz; none means the server's id. Without spaces.
    pub server_name: Option<String>,
    /// Free tags, shown in varz.
    pub server_tags: Vec<String>,
    /// Free key-value pairs, shown in varz.
    pub server_metadata: BTreeMap<String, String>,
    /// `host` or `host:port` that INFO gives clients instead of the listen address.
    pub client_advertise: Option<String>,
    /// Monitoring endpoint; none means off. An empty host means `host`.
    pub http: Option<Listen>,
    /// The same encrypted, by the certificates of `tls`. Only one of the two can be on.
    pub https: Option<Listen>,
    /// Path in front of the monitoring endpoints, begins with a slash.
    pub http_base_path: String,

    /// Largest payload with its headers, bytes, as INFO shows it; negative means unlimited.
    pub max_payload: i32,
    /// Outbound bytes that may wait for one connection.
    pub max_pending: usize,
    /// Longest protocol line, bytes.
    pub max_control_line: usize,
    /// Clients at the same time. 0 admits no client.
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
    /// Answer to a write that passes `write_deadline`.
    pub write_timeout: WriteTimeout,
    /// Drops messages for slow receivers instead of stalling their publishers.
    pub no_fast_producer_stall: bool,
    /// Offers no headers to clients.
    pub no_header_support: bool,
    /// Name of the system account, one of `accounts` or `$SYS`; none means `$SYS`.
    pub system_account: Option<String>,
    /// The account `$SYS` does not exist, unless it is named elsewhere.
    pub no_system_account: bool,

    /// Credentials of clients, and the time to present them.
    pub authorization: Authorization,
    /// The accounts besides `$G` and `$SYS`.
    pub accounts: Vec<AccountOptions>,
    /// The mappings of `$G`.
    pub mappings: Vec<SubjectMapping>,
    /// Encryption of the port for clients; none means that there is none.
    pub tls: Option<Tls>,
    /// Lets clients choose whether they encrypt.
    pub allow_non_tls: bool,
    /// Servers that form one subject space with this one; none means alone.
    pub cluster: Option<Cluster>,
    /// Port for clients that come by WebSocket; none means that there is none.
    pub websocket: Option<Websocket>,

    /// Contents and place of the log.
    pub log: Log,
    /// File that holds the process id while the server runs.
    pub pid_file: Option<PathBuf>,
    /// Folder for the file with the actual ports of the server.
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

/// Contents and place of the log.
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
    /// File to write to; none means a system log, or standard error.
    pub log_file: Option<PathBuf>,
    /// Bytes after which the file is rotated; 0 means never.
    pub log_size_limit: u64,
    /// Rotated files that are kept, the current one included; 0 means all.
    pub log_max_num: usize,
    /// Writes to the system log of this machine, unless there is another place.
    pub syslog: bool,
    /// The system log to write to, unless there is a file.
    pub remote_syslog: Option<SyslogUrl>,
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
            https: None,
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
            system_account: None,
            no_system_account: false,
            authorization: Authorization::default(),
            accounts: Vec::new(),
            mappings: Vec::new(),
            tls: None,
            allow_non_tls: false,
            cluster: None,
            websocket: None,
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
            syslog: false,
            remote_syslog: None,
        }
    }
}

impl Options {
    /// A copy without imports, and without users but for those with an nkey: there may be a hundred
    /// thousand of the others. They are taken out while it is made.
    pub(crate) fn copy_without_lists(&mut self) -> Options {
        let take = |account: &mut AccountOptions| mem::take(&mut account.imports);
        let imports: Vec<_> = self.accounts.iter_mut().map(take).collect();
        let login = mem::take(&mut self.authorization.login);
        let mut copy = self.clone();
        copy.authorization.login = login.without_passwords();
        self.authorization.login = login;
        for (account, imports) in self.accounts.iter_mut().zip(imports) {
            account.imports = imports;
        }
        copy
    }

    /// The address of the monitoring endpoint: its own host, else the clients' host.
    pub(crate) fn monitor_listen(&self) -> Option<Listen> {
        let monitor = self.http.as_ref().or(self.https.as_ref())?;
        let host = if monitor.host.is_empty() { &self.host } else { &monitor.host };
        Some(Listen { host: host.clone(), port: monitor.port })
    }

    /// The address that INFO gives clients, if the listener got `port`; `None` if
    /// `client_advertise` cannot be read.
    pub(crate) fn advertised(&self, port: u16) -> Option<(String, u16)> {
        let Some(written) = &self.client_advertise else { return Some((self.host.clone(), port)) };
        HostPort::read(written, port).map(|HostPort(host, port)| (host.to_owned(), port))
    }

    /// Login timeout of clients.
    pub(crate) fn auth_timeout(&self) -> Duration {
        tls::auth_timeout(self.authorization.timeout, self.tls.as_ref())
    }

    /// The name of the system account, if there is one.
    pub(crate) fn system_account(&self) -> Option<&str> {
        let is_listed = || self.accounts.iter().any(|one| one.name == limits::SYSTEM_ACCOUNT);
        let default = || (!self.no_system_account || is_listed()).then_some(limits::SYSTEM_ACCOUNT);
        self.system_account.as_deref().or_else(default)
    }

    /// The accounts whose clients reach the JetStream of other servers: those that say so, and the
    /// global one in a cluster that has no others.
    ///
    /// nats: server/server.go `Start`
    pub(crate) fn accounts_with_jetstream(&self) -> impl Iterator<Item = &str> {
        let system_account = self.system_account();
        let mut others = self.accounts.iter().filter(move |one| system_account != Some(&*one.name));
        let listed = others.clone().filter(|one| one.jetstream).map(|one| &*one.name);
        let is_alone = self.cluster.is_some() && others.next().is_none();
        is_alone.then_some(limits::GLOBAL_ACCOUNT).into_iter().chain(listed)
    }

    /// The mappings of each account.
    pub(crate) fn mappings_by_account(&self) -> impl Iterator<Item = (&str, &[SubjectMapping])> {
        let configured = self.accounts.iter().map(|one| (one.name.as_str(), &*one.mappings));
        iter::once((limits::GLOBAL_ACCOUNT, &*self.mappings)).chain(configured)
    }

    /// The names of all accounts.
    pub(crate) fn account_names(&self) -> impl Iterator<Item = &str> {
        let configured = self.accounts.iter().map(|account| account.name.as_str());
        [limits::GLOBAL_ACCOUNT].into_iter().chain(self.system_account()).chain(configured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_without_lists_has_all_else() {
        let mut options = Options { max_payload: 7, ..Options::default() };
        let mut account = AccountOptions::new("A");
        account.exports.push(Export::new("x", ExportKind::Stream));
        let before = account.clone();
        account.imports.push(Import::new("B", "y", ImportKind::Stream));
        options.accounts.push(account);
        let (user, password) = ("a".to_owned(), "b".to_owned());
        let nkey = User::new(Credential::Nkey("U".to_owned()));
        let users = vec![User::new(Credential::Password { user, password }), nkey.clone()];
        options.authorization.login = Login::Users(users);
        let whole = options.clone();
        let copy = options.copy_without_lists();
        assert_eq!(options, whole);
        let mut wanted = Options { accounts: vec![before], ..whole };
        wanted.authorization.login = Login::Users(vec![nkey]);
        assert_eq!(copy, wanted);
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
            account: None,
        };
        options.authorization.login = Login::Users(vec![user]);
        assert!(!format!("{options:?}").contains("sekret"));
    }
}
