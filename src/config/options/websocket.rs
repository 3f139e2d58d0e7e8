//! `Websocket`: the settings of the port for clients that come by WebSocket, as browsers do.
//!
//! nats: server/opts.go `WebsocketOpts`

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::limits;
use crate::config::options::authorization::{Authorization, Login};
use crate::config::options::listen::Listen;
use crate::config::options::tls::Tls;
use crate::config::origin::Origin;

/// The port for clients that come by WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Websocket {
    /// Its address.
    pub listen: Listen,
    /// `host` or `host:port` that other servers tell their clients.
    pub advertise: Option<String>,
    /// Encryption of the port.
    pub tls: Option<Tls>,
    /// Opens the port without encryption, if `tls` is none. One of the two has to be set.
    pub no_tls: bool,
    /// Refuses browsers whose page comes from another address than the one that they connect to.
    pub same_origin: bool,
    /// The pages from which browsers may connect; empty means all.
    pub allowed_origins: Vec<Origin>,
    /// Offers compression, in both directions.
    pub compression: bool,
    /// Headers of the answer to each upgrade.
    pub headers: BTreeMap<String, String>,
    /// Time for the request to upgrade; in the real server, without limit.
    pub handshake_timeout: Duration,
    /// Time between two PINGs of the server; none means that of other clients.
    pub ping_interval: Option<Duration>,
    /// Credentials in place of the single ones of other clients; [`Login::Open`] means the same as
    /// theirs.
    pub login: Login,
    /// Login timeout; none means that of other clients.
    pub auth_timeout: Option<Duration>,
    /// User for connections without credentials; none means that of other clients.
    pub no_auth_user: Option<String>,
    /// Cookie with the name of the user, for clients whose CONNECT has none.
    pub user_cookie: Option<String>,
    /// Cookie with the password.
    pub pass_cookie: Option<String>,
    /// Cookie with the token.
    pub token_cookie: Option<String>,
}

impl Websocket {
    /// A port with the defaults.
    pub fn new(listen: Listen) -> Websocket {
        Websocket {
            listen,
            advertise: None,
            tls: None,
            no_tls: false,
            same_origin: false,
            allowed_origins: Vec::new(),
            compression: false,
            headers: BTreeMap::new(),
            handshake_timeout: limits::WEBSOCKET_HANDSHAKE_TIMEOUT_DEFAULT,
            ping_interval: None,
            login: Login::Open,
            auth_timeout: None,
            no_auth_user: None,
            user_cookie: None,
            pass_cookie: None,
            token_cookie: None,
        }
    }

    /// The authorization of its clients; `others` is that of other clients.
    ///
    /// nats: server/auth.go `processClientOrLeafAuthentication`
    pub(crate) fn authorization(&self, others: &Authorization) -> Authorization {
        let mut authorization = others.clone();
        if self.login != Login::Open || self.no_auth_user.is_some() {
            if !matches!(others.login, Login::Users(_)) {
                authorization.login = self.login.clone();
            }
            authorization.no_auth_user.clone_from(&self.no_auth_user);
        }
        authorization
    }
}
