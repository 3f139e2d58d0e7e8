//! The credentials of clients, and the permissions of users.

use std::fmt;
use std::time::Duration;

use crate::base::limits;

/// The credentials of clients, and the time to present them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// The credentials that are accepted.
    pub login: Login,
    /// Login timeout, from accept or the end of the TLS handshake to a valid CONNECT. None means
    /// 2 s, or with TLS a second more than a handshake may take.
    pub timeout: Option<Duration>,
    /// User for connections without credentials; one of [`Login::Users`].
    pub no_auth_user: Option<String>,
    /// Connections without credentials belong to `$G` although there are users. A file that gives
    /// users to the system account alone asks for this.
    pub admits_anonymous: bool,
}

/// The credentials that are accepted, one kind at a time.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// All clients.
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
    /// These users. An empty list still demands credentials, and none are valid.
    Users(Vec<User>),
}

impl Login {
    /// A copy, of users only of those with an nkey.
    pub(crate) fn without_passwords(&self) -> Login {
        match self {
            Login::Users(users) => {
                Login::Users(users.iter().filter(|user| user.has_nkey()).cloned().collect())
            }
            Login::Open | Login::Single { .. } | Login::Token(_) => self.clone(),
        }
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

/// One entry of `authorization.users`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Its credentials. The name in them is unique.
    pub credential: Credential,
    /// Its permissions; none means everything. `default_permissions` are already in here. Most of a
    /// hundred thousand users have none, and no room for them.
    pub permissions: Option<Box<Permissions>>,
    /// Allowed ways to connect; empty means all.
    pub allowed_connection_types: Vec<ConnectionType>,
    /// Name of its account; none means the global one, `$G`.
    pub account: Option<String>,
}

impl User {
    /// A user of the global account with all permissions and all ways to connect.
    pub fn new(credential: Credential) -> User {
        User { credential, permissions: None, allowed_connection_types: Vec::new(), account: None }
    }

    /// The user's name, or its public key if it has none.
    pub fn name(&self) -> &str {
        match &self.credential {
            Credential::Password { user, .. } => user,
            Credential::Nkey(key) => key,
        }
    }

    /// True if it signs instead of giving a password.
    pub(crate) fn has_nkey(&self) -> bool {
        matches!(self.credential, Credential::Nkey(_))
    }

    /// True if its name alone would let it in.
    pub(crate) fn has_no_password(&self) -> bool {
        matches!(&self.credential, Credential::Password { password, .. } if password.is_empty())
    }
}

/// The credentials of a user.
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
    /// By signing the nonce with a private key; this is its public half (`U...`, 56 characters).
    Nkey(String),
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

/// A way to connect, as in `allowed_connection_types`.
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

/// The subjects that a user may publish and subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Permissions {
    /// Subjects to publish to.
    pub publish: SubjectPermission,
    /// Subjects to subscribe to; an entry may be `subject queue`.
    pub subscribe: SubjectPermission,
    /// Permission to publish to the reply subjects of messages received. When set,
    /// `publish.allow` is never none: a subject that it does not list is refused.
    pub allow_responses: Option<AllowResponses>,
}

/// Allow list and deny list for one direction. A subject that both cover is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SubjectPermission {
    /// Patterns that are allowed; none means all subjects, an empty list means no subject.
    /// A list written empty in a file means all subjects, as in the real server: it is none here.
    pub allow: Option<Vec<String>>,
    /// Patterns that are refused.
    pub deny: Vec<String>,
}

/// Limits of a user's answers to each message received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AllowResponses {
    /// Publications per reply subject; negative means unlimited.
    pub max: i64,
    /// Time for them; none means unlimited.
    pub expires: Option<Duration>,
}

impl Default for AllowResponses {
    fn default() -> Self {
        Self {
            max: limits::ALLOW_RESPONSES_MAX_DEFAULT,
            expires: Some(limits::ALLOW_RESPONSES_EXPIRES_DEFAULT),
        }
    }
}
