//! `RouteUrl`: where another server can be reached, and as whom.
//!
//! nats: server/opts.go `parseURL`, `overrideCluster`; Go's net/url

use std::fmt;

/// `scheme://[user:password@]host:port`, whatever the scheme. A path is ignored.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteUrl {
    /// A name or an address, IPv6 without brackets. May be empty.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Credentials; with an empty password where it has none.
    pub login: Option<RouteLogin>,
}

/// The credentials in a URL, percent signs resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteLogin {
    /// User name.
    pub user: String,
    /// Password; none if there is only a user.
    pub password: Option<String>,
}

/// `host:port`; an IPv6 address, which comes without brackets, is shown in them.
pub struct HostPort<'a>(pub &'a str, pub u16);

/// Why a text is no such URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteUrlError {
    /// An address without scheme.
    NoScheme(String),
    /// No port behind this host, which may be empty.
    NoPort(String),
    /// A port that is none.
    InvalidPort {
        /// The whole text.
        url: String,
        /// What stands at the port's place.
        port: String,
    },
}

impl RouteUrl {
    /// Reads a URL. Blanks around it do not matter.
    ///
    /// # Errors
    /// [`RouteUrlError`], whose text is the real server's.
    pub fn parse(url: &str) -> Result<RouteUrl, RouteUrlError> {
        let url = url.trim();
        let Some((scheme, rest)) = url.split_once("://") else {
            let is_path = url.find(':').is_some_and(|_| !url.starts_with(char::is_alphabetic));
            return Err(match is_path {
                true => RouteUrlError::NoScheme(url.to_owned()),
                false => RouteUrlError::NoPort(String::new()),
            });
        };
        if !scheme.starts_with(char::is_alphabetic) {
            return Err(RouteUrlError::NoScheme(url.to_owned()));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(RouteLogin::read(login)), address),
            None => (None, authority),
        };
        let no_port = || RouteUrlError::NoPort(address.to_owned());
        let (host, port) = address.rsplit_once(':').ok_or_else(no_port)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or_else(no_port)?,
            None => host,
        };
        if port.is_empty() {
            return Err(no_port());
        }
        let invalid = |_| RouteUrlError::InvalidPort { url: url.to_owned(), port: port.to_owned() };
        let port = port.parse().map_err(invalid)?;
        Ok(RouteUrl { host: host.to_owned(), port, login })
    }
}

impl RouteLogin {
    fn read(text: &str) -> RouteLogin {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        RouteLogin { user: unescape(user), password: password.map(unescape) }
    }
}

/// Resolves `%41` to `A`. What is no such escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let (resolved, behind) = match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => ((high * 16 + low) as u8, &behind[2..]),
            _ => (byte, behind),
        };
        bytes.push(resolved);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort(host, port) = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// `host:port`, as logs and monitoring show it: without credentials.
impl fmt::Display for RouteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HostPort(&self.host, self.port).fmt(f)
    }
}

// Passwords never reach a log by way of `{:?}`.
impl fmt::Debug for RouteLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteLogin(..)")
    }
}

impl fmt::Debug for RouteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteUrl({self})")
    }
}

impl fmt::Display for RouteUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme(url) => {
                write!(f, "parse {url:?}: first path segment in URL cannot contain colon")
            }
            Self::NoPort(host) if host.is_empty() => f.write_str("missing port in address"),
            Self::NoPort(host) => write!(f, "address {host}: missing port in address"),
            Self::InvalidPort { url, port } => {
                write!(f, "parse {url:?}: invalid port \":{port}\" after host")
            }
        }
    }
}

impl std::error::Error for RouteUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_all_their_parts() {
        for (url, host, port, shown) in [
            ("nats://127.0.0.1:6222", "127.0.0.1", 6222, "127.0.0.1:6222"),
            (" nats-route://a.b:1/ ", "a.b", 1, "a.b:1"),
            ("tls://[::1]:65535/x?y", "::1", 65535, "[::1]:65535"),
            ("nats://u:p@h:0", "h", 0, "h:0"),
            ("nats://:1", "", 1, ":1"),
        ] {
            let read = RouteUrl::parse(url).unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port), "{url}");
            assert_eq!(read.to_string(), shown);
        }
    }

    #[test]
    fn credentials_are_unescaped_and_not_shown() {
        let url = RouteUrl::parse("nats://a%40b:p%3a%zz:@h:1").unwrap();
        let login = url.login.as_ref().unwrap();
        assert_eq!(login.user, "a@b");
        assert_eq!(login.password.as_deref(), Some("p:%zz:"));
        assert_eq!(format!("{url:?}"), "RouteUrl(h:1)");
        let url = RouteUrl::parse("nats://token@h:1").unwrap();
        assert_eq!(url.login.unwrap().password, None);
    }

    /// What the real server says about each as `--cluster`.
    #[test]
    fn errors_have_the_real_servers_words() {
        for (url, error) in [
            ("6222", "missing port in address"),
            ("localhost:6222", "missing port in address"),
            (
                "127.0.0.1:6222",
                "parse \"127.0.0.1:6222\": first path segment in URL cannot contain colon",
            ),
            ("nats://127.0.0.1", "address 127.0.0.1: missing port in address"),
            ("nats://127.0.0.1:x", "parse \"nats://127.0.0.1:x\": invalid port \":x\" after host"),
        ] {
            assert_eq!(RouteUrl::parse(url).unwrap_err().to_string(), error);
        }
    }
}
