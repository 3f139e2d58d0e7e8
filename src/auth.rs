//! Authentication: the credentials of a CONNECT to an [`Identity`], or to a refusal.
//!
//! Holds the configured users with their permissions compiled. Knows no connection; makes no nonce.
//! Not supported: JWTs (operator mode), authentication callout.
//! nats: server/auth.go `configureAuthorization`, `processClientOrLeafAuthentication`

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::auth::certificate::{CertName, Certificate};
use crate::auth::distinguished_name::DistinguishedName;
use crate::auth::permissions::CompiledPermissions;
use crate::base::limits::GLOBAL_ACCOUNT;
use crate::codec::connect::{Connect, Credentials};
use crate::config::options::{self, ConnectionType, Login, Options, Tls};

use nkey::PublicKey;
use password::Secret;

pub use password::Hash;

pub mod certificate;
mod distinguished_name;
mod nkey;
mod password;
pub mod permissions;
#[cfg(test)]
mod tests;

/// Shown in place of a user's name if the credentials are a token.
pub const TOKEN_NAME: &str = "[REDACTED]";

/// Checks credentials against one version of the options.
#[derive(Debug)]
pub struct Authenticator(Accepted);

/// The result of authentication.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name, public nkey, or `[REDACTED]` for a token, as monitoring shows it. If all clients are
    /// admitted, the name that the client gave.
    pub name: Option<Box<str>>,
    /// Name of its account; none means the global one.
    pub account: Option<Arc<str>>,
    /// Its permissions; none means everything.
    pub permissions: Option<Arc<CompiledPermissions>>,
}

/// The result of checking a CONNECT.
pub enum Verdict {
    /// The client is this user.
    Admitted(Identity),
    /// The client is no user, for any reason: it must not learn which.
    Refused,
    /// The check of a hash decides, which takes too long for a turn.
    Pending(Check),
}

/// A password to compare with a bcrypt hash.
pub struct Check {
    hash: Hash,
    given: Box<str>,
    /// The user with this password.
    user: Identity,
}

/// The credentials that are accepted.
#[derive(Debug)]
enum Accepted {
    /// Any or none.
    Open,
    /// The one user's name and password.
    Single { user: Box<str>, password: Secret },
    /// The one token.
    Token(Secret),
    /// Those of the users.
    Users(Users),
}

/// The configured users.
#[derive(Debug)]
struct Users {
    /// By name or public nkey.
    entries: HashMap<Box<str>, ConfiguredUser, RandomState>,
    /// Some have an nkey; else the nkey of a CONNECT is not looked at.
    have_nkeys: bool,
    without_credentials: WithoutCredentials,
    /// The certificate of a client decides which user it is.
    maps: bool,
    /// Those with such a name, if certificates are mapped here.
    listed: Vec<(DistinguishedName, Box<str>)>,
}

/// The ways to come on which the certificate of a client decides which user it is.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// The way of these clients is one of them.
    here: bool,
    /// All of them. A user without a password comes by one of them only.
    by: Vec<ConnectionType>,
}

/// Compiled permissions by those written: users with the same ones share them.
#[derive(Debug, Default)]
pub struct Compiled(HashMap<options::Permissions, Arc<CompiledPermissions>, RandomState>);

/// The place of a connection without credentials among users.
#[derive(Debug)]
enum WithoutCredentials {
    Refused,
    /// It is this user.
    User(Box<str>),
    /// It is nobody, in the global account.
    Anonymous,
}

/// The user that a certificate names.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapped<'a> {
    /// The name of the user.
    pub user: &'a str,
    /// The kind of the name in the certificate, for the log.
    pub by: &'static str,
}

/// One configured user.
#[derive(Debug)]
struct ConfiguredUser {
    proof: Proof,
    /// It has no password. If another port maps certificates, it comes by that one.
    needs_certificate: bool,
    account: Option<Arc<str>>,
    permissions: Option<Arc<CompiledPermissions>>,
    /// Empty means all.
    connection_types: Box<[ConnectionType]>,
}

/// The credentials of a user.
#[derive(Debug)]
enum Proof {
    Password(Secret),
    Nkey(PublicKey),
}

impl Mapping {
    /// That of clients that come by `by`.
    ///
    /// nats: server/auth.go `canTLSMap`
    pub fn of(options: &Options, by: ConnectionType) -> Mapping {
        let maps = |tls: Option<&Tls>| tls.is_some_and(|tls| tls.verify_and_map);
        let websocket = options.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
        let [clients, websocket] = [maps(options.tls.as_ref()), maps(websocket)];
        let ways = [
            (ConnectionType::Standard, clients && !options.no_listener),
            (ConnectionType::Websocket, websocket),
        ];
        Mapping {
            here: if by == ConnectionType::Websocket { websocket } else { clients },
            by: ways.into_iter().filter_map(|(by, maps)| maps.then_some(by)).collect(),
        }
    }
}

impl Compiled {
    /// Those of the users of `login`. Those that users had `before` are the same: a client sees by
    /// that whether anything has changed for it.
    pub fn new(login: &Login, before: Option<&Compiled>) -> Compiled {
        let mut compiled = Compiled::default();
        let Login::Users(users) = login else { return compiled };
        for written in users.iter().filter_map(|user| user.permissions.as_deref()) {
            if !compiled.0.contains_key(written) {
                let same = before.unwrap_or(&compiled).find(written);
                compiled.0.insert(written.clone(), same);
            }
        }
        compiled
    }

    /// Those written here, or new ones.
    fn find(&self, written: &options::Permissions) -> Arc<CompiledPermissions> {
        let new = || Arc::new(CompiledPermissions::new(written));
        self.0.get(written).cloned().unwrap_or_else(new)
    }
}

impl Authenticator {
    /// Compiles the options of authorization for the port of clients.
    #[cfg(test)]
    pub(crate) fn new(options: &Options) -> Self {
        let mapping = Mapping::of(options, ConnectionType::Standard);
        Self::with(&options.authorization, &mapping, &Compiled::default())
    }

    /// Compiles the options of authorization for a port, whose permissions may be `compiled`.
    pub fn with(
        authorization: &options::Authorization,
        mapping: &Mapping,
        compiled: &Compiled,
    ) -> Self {
        Self(match &authorization.login {
            Login::Open => Accepted::Open,
            Login::Single { user, password } => {
                Accepted::Single { user: user.as_str().into(), password: Secret::new(password) }
            }
            Login::Token(token) => Accepted::Token(Secret::new(token)),
            Login::Users(users) => {
                Accepted::Users(Users::new(users, authorization, mapping, compiled))
            }
        })
    }

    /// True if there is a user of that name, as an [`Identity`] has it.
    pub fn knows(&self, name: &str) -> bool {
        match &self.0 {
            Accepted::Open | Accepted::Token(_) => true,
            Accepted::Single { user, .. } => **user == *name,
            Accepted::Users(users) => users.entries.contains_key(name),
        }
    }

    /// Name of the account of a user; none means the global one.
    pub fn account_of(&self, user: &str) -> Option<&str> {
        match &self.0 {
            Accepted::Users(users) => users.entries.get(user)?.account.as_deref(),
            Accepted::Open | Accepted::Token(_) | Accepted::Single { .. } => None,
        }
    }

    /// True if credentials are checked: `auth_required` in INFO.
    pub fn required(&self) -> bool {
        !matches!(self.0, Accepted::Open)
    }

    /// True if there is a user for clients without credentials.
    pub fn has_no_auth_user(&self) -> bool {
        matches!(&self.0, Accepted::Users(users) if users.no_auth_user().is_some())
    }

    /// The user that every connection is from its start; none if CONNECT decides.
    pub fn anybody(&self) -> Option<Identity> {
        matches!(self.0, Accepted::Open).then(|| Identity::unrestricted(None))
    }

    /// True if INFO must carry a nonce for clients to sign.
    pub fn needs_nonce(&self) -> bool {
        matches!(&self.0, Accepted::Users(users) if users.have_nkeys)
    }

    /// True if the certificate of a client that gives these credentials decides who it is.
    pub fn maps(&self, given: Option<&Credentials>) -> bool {
        matches!(&self.0, Accepted::Users(users) if users.maps(given))
    }

    /// The user that a certificate names.
    pub fn mapped(
        &self,
        certificate: &Certificate,
        connection_type: ConnectionType,
    ) -> Option<Mapped<'_>> {
        match &self.0 {
            Accepted::Users(users) => users.mapped(certificate, connection_type),
            _ => None,
        }
    }

    /// Decides on a CONNECT that came by `connection_type`; `nonce` is the text that INFO carried.
    pub fn check(
        &self,
        connect: &Connect,
        nonce: &[u8],
        connection_type: ConnectionType,
    ) -> Verdict {
        if connect.new_account || connect.account.is_some() {
            return Verdict::Refused;
        }
        let none = Credentials::default();
        let given = connect.credentials.as_deref().unwrap_or(&none);
        self.decide(given, nonce, connection_type).unwrap_or(Verdict::Refused)
    }

    /// The user for a client whose first op is not CONNECT; none if it had to be.
    ///
    /// nats: server/parser.go `parse`. An nkey user is not accepted there, and so neither here.
    pub fn no_auth_user(&self, connection_type: ConnectionType) -> Option<Identity> {
        let Accepted::Users(users) = &self.0 else { return None };
        let is_nkey = |name| users.entries.get(name).is_some_and(ConfiguredUser::is_nkey);
        if users.no_auth_user().is_some_and(is_nkey) {
            return None;
        }
        users.without_credentials(connection_type)
    }

    /// Decides about credentials; none means refused.
    fn decide(&self, given: &Credentials, nonce: &[u8], by: ConnectionType) -> Option<Verdict> {
        let password = given.pass.as_deref().unwrap_or_default();
        match &self.0 {
            Accepted::Open => Some(Verdict::Admitted(Identity::unrestricted(claimed_name(given)))),
            Accepted::Single { user, password: secret } => {
                let claims = given.user.as_ref() == Some(user);
                claims.then(|| secret.check(password, Identity::unrestricted(Some(user))))
            }
            Accepted::Token(secret) => {
                let token = given.auth_token.as_deref()?;
                Some(secret.check(token, Identity::unrestricted(Some(TOKEN_NAME))))
            }
            Accepted::Users(users) => users.decide(given, nonce, by),
        }
    }
}

impl Secret {
    /// Decides whether a client that gave this text is `user`.
    fn check(&self, given: &str, user: Identity) -> Verdict {
        match self {
            Secret::Plain(text) if text.is(given) => Verdict::Admitted(user),
            Secret::Plain(_) => Verdict::Refused,
            Secret::Bcrypt(hash) => {
                Verdict::Pending(Check { hash: hash.clone(), given: given.into(), user })
            }
        }
    }
}

impl Check {
    /// The user that the client is if the password fits.
    pub fn user(&self) -> &Identity {
        &self.user
    }

    /// The hash.
    pub fn hash(&self) -> Hash {
        self.hash.clone()
    }

    /// Decides without running the check, if the password fitted the `proven` hash before.
    pub fn repeat(self, proven: Option<&Hash>) -> Verdict {
        match proven {
            Some(proven) if *proven == self.hash => Verdict::Admitted(self.user),
            _ => Verdict::Pending(self),
        }
    }

    /// Runs the check. It takes milliseconds to seconds and does not belong into an event loop.
    pub fn run(self) -> Verdict {
        match self.hash.is_of(&self.given) {
            true => Verdict::Admitted(self.user),
            false => Verdict::Refused,
        }
    }
}

impl Users {
    fn new(
        users: &[options::User],
        authorization: &options::Authorization,
        mapping: &Mapping,
        compiled: &Compiled,
    ) -> Self {
        let mut account = None;
        let entry = |user: &options::User| {
            let configured = ConfiguredUser::new(user, &account, mapping, compiled);
            account.clone_from(&configured.account);
            (user.name().into(), configured)
        };
        let entries: HashMap<_, _, _> = users.iter().map(entry).collect();
        let listed = |user: &options::User| {
            DistinguishedName::parse(user.name()).map(|name| (name, user.name().into()))
        };
        Self {
            maps: mapping.here,
            listed: users.iter().filter(|_| mapping.here).filter_map(listed).collect(),
            have_nkeys: entries.values().any(ConfiguredUser::is_nkey),
            entries,
            without_credentials: match &authorization.no_auth_user {
                Some(name) => WithoutCredentials::User(name.as_str().into()),
                None if authorization.admits_anonymous => WithoutCredentials::Anonymous,
                None => WithoutCredentials::Refused,
            },
        }
    }

    fn no_auth_user(&self) -> Option<&str> {
        match &self.without_credentials {
            WithoutCredentials::User(name) => Some(name),
            WithoutCredentials::Refused | WithoutCredentials::Anonymous => None,
        }
    }

    /// Decides about a connection without credentials; none means refused.
    fn without_credentials(&self, by: ConnectionType) -> Option<Identity> {
        match &self.without_credentials {
            WithoutCredentials::Refused => None,
            WithoutCredentials::User(name) => self.find(name, by).map(|entry| entry.identity(name)),
            WithoutCredentials::Anonymous => Some(Identity::unrestricted(None)),
        }
    }

    fn find(&self, name: &str, by: ConnectionType) -> Option<&ConfiguredUser> {
        let open = |entry: &&ConfiguredUser| {
            entry.connection_types.is_empty() || entry.connection_types.contains(&by)
        };
        self.entries.get(name).filter(open)
    }

    /// An nkey goes before the certificate, even that of `no_auth_user`.
    fn maps(&self, given: Option<&Credentials>) -> bool {
        let none = Credentials::default();
        let Credentials { user, pass, auth_token, nkey, .. } = given.unwrap_or(&none);
        let anonymous = [user, pass, auth_token, nkey].iter().all(|part| part.is_none());
        let no_auth_user = self.no_auth_user().filter(|_| anonymous);
        let entry = no_auth_user.and_then(|name| self.entries.get(name));
        let by_nkey =
            nkey.is_some() && self.have_nkeys || entry.is_some_and(ConfiguredUser::is_nkey);
        self.maps && !by_nkey
    }

    /// A user that may not come this way is passed over.
    fn mapped(&self, certificate: &Certificate, by: ConnectionType) -> Option<Mapped<'_>> {
        certificate.names().find_map(|name| {
            let user = match &name {
                CertName::Listed(name) => self.find_listed(name, by),
                CertName::Email(name) | CertName::Dns(name) | CertName::Uri(name) => {
                    self.find_named(name, by)
                }
                CertName::WithDomain(name) | CertName::Subject(name) => self.find_named(name, by),
            };
            user.map(|user| Mapped { user, by: name.kind() })
        })
    }

    /// The user with the same parts in its name, at best in the same order.
    fn find_listed(&self, name: &DistinguishedName, by: ConnectionType) -> Option<&str> {
        let listed = self.listed.iter().filter(|(_, user)| self.find_named(user, by).is_some());
        let same = listed.clone().find(|(listed, _)| listed == name);
        let found = same.or_else(|| { listed }.find(|(listed, _)| listed.has_same_parts(name)));
        found.map(|(_, user)| &**user)
    }

    /// The user of that name, if it has a password, perhaps an empty one.
    fn find_named(&self, name: &str, by: ConnectionType) -> Option<&str> {
        self.find(name, by).filter(|entry| !entry.is_nkey())?;
        self.entries.get_key_value(name).map(|(name, _)| &**name)
    }

    /// The same among users. An nkey goes before name and password, and they do not replace a wrong
    /// one.
    ///
    /// nats-differs: there, a `no_auth_user` with a bcrypt password is refused, because the hash
    /// is then compared with itself as if it were the password.
    fn decide(&self, given: &Credentials, nonce: &[u8], by: ConnectionType) -> Option<Verdict> {
        let Credentials { user, pass, auth_token, nkey, sig, .. } = given;
        let nkey = nkey.as_deref().filter(|_| self.have_nkeys);
        let name = nkey.or(user.as_deref());
        let Some(name) = name else {
            let has_none = pass.is_none() && auth_token.is_none();
            return self.without_credentials(by).filter(|_| has_none).map(Verdict::Admitted);
        };
        let entry = self.find(name, by)?;
        match (&entry.proof, nkey) {
            (Proof::Password(_), None)
                if !self.maps && entry.needs_certificate && self.no_auth_user() != Some(name) =>
            {
                None
            }
            (Proof::Password(secret), None) => {
                Some(secret.check(pass.as_deref().unwrap_or_default(), entry.identity(name)))
            }
            // A client that would become this user without credentials need not sign.
            (Proof::Nkey(key), Some(_)) => {
                let signed = || sig.as_deref().is_some_and(|sig| key.signed(nonce, sig));
                let proven = self.no_auth_user() == Some(name) || signed();
                proven.then(|| Verdict::Admitted(entry.identity(name)))
            }
            (Proof::Password(_), Some(_)) | (Proof::Nkey(_), None) => None,
        }
    }
}

impl ConfiguredUser {
    /// A user, often of the `last` account.
    fn new(
        user: &options::User,
        last: &Option<Arc<str>>,
        mapping: &Mapping,
        compiled: &Compiled,
    ) -> Self {
        let account = user.account.as_deref().filter(|name| *name != GLOBAL_ACCOUNT);
        let allowed = &user.allowed_connection_types;
        let may_be_mapped = mapping.by.iter().any(|by| allowed.is_empty() || allowed.contains(by));
        Self {
            needs_certificate: may_be_mapped && user.has_no_password(),
            proof: match &user.credential {
                options::Credential::Password { password, .. } => {
                    Proof::Password(Secret::new(password))
                }
                options::Credential::Nkey(key) => Proof::Nkey(PublicKey::new(key)),
            },
            account: if account == last.as_deref() {
                last.clone()
            } else {
                account.map(Into::into)
            },
            permissions: user.permissions.as_ref().map(|written| compiled.find(written)),
            connection_types: user.allowed_connection_types.as_slice().into(),
        }
    }

    fn is_nkey(&self) -> bool {
        matches!(self.proof, Proof::Nkey(_))
    }

    fn identity(&self, name: &str) -> Identity {
        let (account, permissions) = (self.account.clone(), self.permissions.clone());
        Identity { account, permissions, ..Identity::unrestricted(Some(name)) }
    }
}

impl Identity {
    /// A user that may do everything.
    pub fn unrestricted(name: Option<&str>) -> Self {
        Self { name: name.map(Into::into), account: None, permissions: None }
    }
}

/// nats: server/client.go `getRawAuthUser`
fn claimed_name(given: &Credentials) -> Option<&str> {
    let name = given.nkey.as_deref().or(given.user.as_deref());
    name.or(given.auth_token.as_ref().map(|_| TOKEN_NAME))
}
