//! The relations between options: combinations that cannot be started.
//!
//! nats: server/server.go `validateOptions`, `validateCluster`

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::base::duration;
use crate::base::limits;
use crate::config::imports::{self, Digest, Fault, Imports};
use crate::config::options::{Cluster, Login, MappingError, Options, Port, Websocket};
use crate::config::route_url::HostPort;

/// Options that can be started, and their imports: to compile these is most of the check.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The options.
    pub options: &'a mut Options,
    /// The imports of their accounts.
    pub imports: Imports,
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
    /// `no_auth_user` names an unknown user.
    NoAuthUserUnknown(String),
    /// Monitoring has two ports. Their numbers, -1 for any free one.
    HttpAndHttps(i32, i32),
    /// Encrypted monitoring has no certificate.
    HttpsWithoutTls,
    /// The port for WebSocket has neither TLS nor `no_tls`.
    WebsocketWithoutTls,
    /// Its own username or token stands beside users.
    WebsocketLoginBesideUsers(&'static str),
    /// The account of a user is not defined.
    AccountUnknown {
        /// Name of the user.
        user: String,
        /// Name of the account.
        account: String,
    },
    /// An export or import of an account, and its fault.
    Import(String),
    /// The system account is not defined.
    SystemAccountUnknown(String),
    /// A mapping cannot be.
    Mapping {
        /// Name of the account.
        account: String,
        /// Pattern of the mapped subjects.
        source: String,
        /// The reason.
        error: MappingError,
    },
    /// The server name contains a space.
    ServerNameHasSpaces,
    /// The cluster's name contains a space.
    ClusterNameHasSpaces,
    /// Accounts have connections of their own only beside a pool.
    AccountsWithoutPool,
    /// An account in the cluster's `accounts` is not defined.
    PinnedAccountUnknown(String),
    /// An account stands in the list twice.
    AccountTwice {
        /// Its name.
        account: String,
        /// The list.
        accounts: Vec<String>,
    },
    /// An advertised address is neither a host nor a host with a port.
    Advertise {
        /// The setting.
        name: &'static str,
        /// Its value.
        written: String,
    },
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
            Self::HttpAndHttps(http, https) => write!(
                f,
                "Can't start monitoring: can't specify both HTTP ({http}) and HTTPs ({https}) ports"
            ),
            Self::HttpsWithoutTls => {
                f.write_str("Can't start monitoring: TLS cert and key required for HTTPS")
            }
            Self::WebsocketWithoutTls => f.write_str("websocket requires TLS configuration"),
            Self::WebsocketLoginBesideUsers(what) => write!(
                f,
                "websocket authentication {what} not compatible with presence of users/nkeys"
            ),
            Self::NoAuthUserWithoutUsers(name) => {
                write!(f, "no_auth_user: {name:?} present, but users/nkeys are not defined")
            }
            Self::NoAuthUserUnknown(name) => write!(
                f,
                "no_auth_user: {name:?} not present as user or nkey in authorization block or \
                 account configuration"
            ),
            Self::AccountUnknown { user, account } => {
                write!(f, "account {account:?} of user {user:?} is not defined")
            }
            Self::Import(fault) => f.write_str(fault),
            Self::SystemAccountUnknown(name) => {
                write!(f, "error resolving system account: {name:?} is not defined")
            }
            Self::Mapping { account, source, error } => {
                write!(f, "mapping of {source:?} in account {account:?}: {error}")
            }
            Self::ServerNameHasSpaces => f.write_str("server name cannot contain spaces"),
            Self::ClusterNameHasSpaces => f.write_str("cluster name cannot contain spaces"),
            Self::AccountsWithoutPool => {
                f.write_str("pool_size cannot be negative if pinned accounts are specified")
            }
            Self::PinnedAccountUnknown(name) => {
                write!(f, "pinned account {name:?} is not defined")
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

impl<'a> Checked<'a> {
    /// Checks these options, which may take the place of others with `known` imports.
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn new(
        options: &'a mut Options,
        known: Option<Digest>,
    ) -> Result<Checked<'a>, OptionsError> {
        let (imports, faults) = Imports::new(options, known);
        Checked::with(options, imports, &faults)
    }

    /// Checks these options, of whose imports some are left out and have `faults`.
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn with(
        options: &'a mut Options,
        imports: Imports,
        faults: &[Fault],
    ) -> Result<Checked<'a>, OptionsError> {
        options.check_with(faults)?;
        Ok(Checked { options, imports })
    }
}

impl Options {
    /// Checks the relations between options.
    ///
    /// # Errors
    /// The first combination that cannot be started, in the order of [`OptionsError`].
    /// nats: server/server.go `validateOptions`
    pub fn check(&self) -> Result<(), OptionsError> {
        let (_, faults) = imports::compile(self);
        self.check_with(&faults)
    }

    /// The same, if the imports have these `faults`.
    fn check_with(&self, faults: &[Fault]) -> Result<(), OptionsError> {
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
        let websocket = self.websocket.as_ref();
        let of_websocket = websocket.and_then(|websocket| websocket.no_auth_user.as_ref());
        for name in self.authorization.no_auth_user.iter().chain(of_websocket) {
            let Login::Users(users) = &self.authorization.login else {
                return Err(OptionsError::NoAuthUserWithoutUsers(name.clone()));
            };
            if !users.iter().any(|user| user.name() == name) {
                return Err(OptionsError::NoAuthUserUnknown(name.clone()));
            }
        }
        websocket.map_or(Ok(()), |websocket| websocket.check(&self.authorization.login))?;
        self.check_accounts()?;
        self.check_mappings()?;
        if let Some(fault) = faults.first() {
            return Err(OptionsError::Import(fault.to_string()));
        }
        if self.server_name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err(OptionsError::ServerNameHasSpaces);
        }
        match (&self.http, &self.https) {
            (Some(http), Some(https)) => {
                let [http, https] = [http, https].map(|listen| match listen.port {
                    Port::Free => -1,
                    Port::Number(number) => number.into(),
                });
                return Err(OptionsError::HttpAndHttps(http, https));
            }
            (None, Some(_)) if self.tls.is_none() => return Err(OptionsError::HttpsWithoutTls),
            _ => {}
        }
        check_advertised("client_advertise", self.client_advertise.as_deref())?;
        self.cluster.as_ref().map_or(Ok(()), |cluster| cluster.check(self.system_account()))
    }

    /// Checks that the system account, the accounts of users and those with connections of their
    /// own are defined.
    ///
    /// nats-differs: the real server starts, and all others refuse its connections for the account.
    fn check_accounts(&self) -> Result<(), OptionsError> {
        let names: HashSet<&str, RandomState> = self.account_names().collect();
        if let Login::Users(users) = &self.authorization.login {
            for user in users {
                if let Some(account) = user.account.as_ref()
                    && !names.contains(account.as_str())
                {
                    let (user, account) = (user.name().to_owned(), account.clone());
                    return Err(OptionsError::AccountUnknown { user, account });
                }
            }
        }
        let is_listed = |name: &&String| self.accounts.iter().any(|one| one.name == **name);
        let system = self.system_account.as_ref().filter(|name| *name != limits::SYSTEM_ACCOUNT);
        if let Some(name) = system.filter(|name| !is_listed(name)) {
            return Err(OptionsError::SystemAccountUnknown(name.clone()));
        }
        let mut pinned = self.cluster.iter().flat_map(|cluster| &cluster.accounts);
        match pinned.find(|name| !names.contains(name.as_str())) {
            Some(name) => Err(OptionsError::PinnedAccountUnknown(name.clone())),
            None => Ok(()),
        }
    }
}

impl Options {
    fn check_mappings(&self) -> Result<(), OptionsError> {
        for (account, mappings) in self.mappings_by_account() {
            for mapping in mappings {
                mapping.check().map_err(|error| OptionsError::Mapping {
                    account: account.to_owned(),
                    source: mapping.source.clone(),
                    error,
                })?;
            }
        }
        Ok(())
    }
}

impl Websocket {
    /// nats: server/websocket.go `validateWebsocketOptions`
    fn check(&self, others: &Login) -> Result<(), OptionsError> {
        if !self.no_tls && self.tls.is_none() {
            return Err(OptionsError::WebsocketWithoutTls);
        }
        let what = match (&self.login, others) {
            (Login::Single { .. }, Login::Users(_)) => "username",
            (Login::Token(_), Login::Users(_)) => "token",
            _ => return check_advertised("websocket advertise", self.advertise.as_deref()),
        };
        Err(OptionsError::WebsocketLoginBesideUsers(what))
    }
}

impl Cluster {
    /// nats: server/server.go `validateCluster`
    fn check(&self, system_account: Option<&str>) -> Result<(), OptionsError> {
        if self.name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err(OptionsError::ClusterNameHasSpaces);
        }
        check_advertised("cluster_advertise", self.advertise.as_deref())?;
        if self.pool_size.is_none() && !self.accounts.is_empty() {
            return Err(OptionsError::AccountsWithoutPool);
        }
        for (index, account) in self.accounts.iter().enumerate() {
            if self.accounts[..index].contains(account) {
                let accounts = self.dedicated_accounts(system_account);
                let account = account.clone();
                return Err(OptionsError::AccountTwice { account, accounts });
            }
        }
        Ok(())
    }
}

/// An advertised address, if there is one, must be valid.
fn check_advertised(name: &'static str, address: Option<&str>) -> Result<(), OptionsError> {
    match address {
        Some(written) if HostPort::read(written, 0).is_none() => {
            Err(OptionsError::Advertise { name, written: written.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{
        AccountOptions, Credential, MappingDestination, SubjectMapping, User,
    };

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
            account: None,
        };
        options.authorization.login = Login::Users(vec![user]);
        assert_eq!(options.check(), Ok(()));
        options.authorization.no_auth_user = Some("y".to_owned());
        assert!(options.check().is_err());
    }

    #[test]
    fn the_system_account_is_defined() {
        let mut options = Options::default();
        for defined in [None, Some("$SYS".to_owned())] {
            options.system_account = defined;
            assert_eq!(options.check(), Ok(()));
        }
        options.system_account = Some("x".to_owned());
        let text = options.check().unwrap_err().to_string();
        assert_eq!(text, "error resolving system account: \"x\" is not defined");
        options.accounts.push(AccountOptions::new("x"));
        assert_eq!((options.check(), options.system_account()), (Ok(()), Some("x")));
    }

    #[test]
    fn mappings_are_checked_in_each_account() {
        let text = |mapping: SubjectMapping| {
            let global = Options { mappings: vec![mapping.clone()], ..Options::default() };
            let mut account = AccountOptions::new("A");
            account.mappings.push(mapping);
            let in_account = Options { accounts: vec![account], ..Options::default() };
            let [global, in_account] =
                [global, in_account].map(|options| options.check().unwrap_err().to_string());
            assert_eq!(global.replace("\"$G\"", "\"A\""), in_account);
            in_account
        };
        let to = |subject: &str, weight| MappingDestination::new(subject).weight(weight);
        let of = |source: &str| SubjectMapping::new(source);
        let table = [
            (of("f..a"), "invalid subject"),
            (of("f").with(to("a", 101)), "individual weights need to be <= 100"),
            (of("f").with(to("a", 60)).with(to("b", 60)), "total weight needs to be <= 100"),
            (
                of("f").with(to("a", 1)).with(to("a", 1).in_cluster("C")),
                "duplicate entry for \"a\"",
            ),
            (of("f").with(to("", 100)), "invalid mapping destination: invalid transform"),
        ];
        for (mapping, expected) in table {
            let source = mapping.source.clone();
            let expected = format!("mapping of {source:?} in account \"A\": {expected}");
            assert_eq!(text(mapping), expected);
        }
        let of_two = of("f").with(to("a", 60)).with(to("b", 60).in_cluster("C"));
        assert_eq!(Options { mappings: vec![of_two], ..Options::default() }.check(), Ok(()));
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
        assert_eq!(single.dedicated_accounts(Some("$SYS")), [""; 0]);
        assert_eq!(Cluster::default().dedicated_accounts(Some("$SYS")), ["$SYS"]);
        assert_eq!(Cluster::default().dedicated_accounts(None), [""; 0]);
    }
}
