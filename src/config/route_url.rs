//! `RouteUrl`: the address of another server, and the credentials for it.
//!
//! nats: server/opts.go `parseURL`, `overrideCluster`; Go's net/url

use std::fmt;

use crate::base::percent;

/// `scheme://[user:password@]host:port`, with any scheme. A path is ignored.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteUrl {
    /// A name or an address, IPv6 without brackets. May be empty.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Credentials; the password is empty if the URL has none.
    pub login: Option<RouteLogin>,
}

/// The credentials in a URL, percent signs resolved.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteLogin {
    /// User name.
    pub user: String,
    /// Password; none if there is only a user.
    pub password: Option<String>,
}

/// `host:port`; an IPv6 address, which comes without brackets, is shown in them.
pub struct HostPort<'a>(pub &'a str, pub u16);

/// The reason why a text is no such URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteUrlError {
    /// An address without scheme.
    NoScheme(String),
    /// No port behind this host, which may be empty.
    NoPort(String),
    /// An invalid port.
    InvalidPort {
        /// The whole text, but for credentials.
        url: String,
        /// The text in the port's place.
        port: String,
    },
    /// Something other than host and port.
    Malformed {
        /// The whole text, but for credentials.
        url: String,
        /// The reason.
        reason: String,
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
        if !is_scheme(scheme) {
            return Err(RouteUrlError::NoScheme(url.to_owned()));
        }
        let malformed = |reason| RouteUrlError::Malformed { url: without_login(url), reason };
        if url.contains(|c: char| c.is_ascii_control()) {
            return Err(malformed("net/url: invalid control character in URL".to_owned()));
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        for part in [path, fragment] {
            percent_decoded(part).map_err(|escape| malformed(bad_escape(escape)))?;
        }
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(RouteLogin::read(login).map_err(malformed)?), address),
            None => (None, authority),
        };
        let no_port = || RouteUrlError::NoPort(address.to_owned());
        let (host, port) = address.rsplit_once(':').ok_or_else(no_port)?;
        if port.is_empty() || host.starts_with('[') && !host.ends_with(']') {
            return Err(no_port());
        }
        let host = read_host(host).map_err(malformed)?;
        let invalid =
            |_| RouteUrlError::InvalidPort { url: without_login(url), port: port.to_owned() };
        let port = port.parse().map_err(invalid)?;
        Ok(RouteUrl { host, port, login })
    }
}

impl RouteLogin {
    fn read(text: &str) -> Result<RouteLogin, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !text.chars().all(allowed) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        let decoded = |text| percent_decoded(text).map_err(bad_escape);
        Ok(RouteLogin { user: decoded(user)?, password: password.map(decoded).transpose()? })
    }
}

/// A URL for error texts: everything before the address may be a secret.
fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, address))) => format!("{scheme}://[REDACTED]@{address}"),
        _ => url.to_owned(),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A name, or an IPv6 address in brackets, perhaps with a zone: `[fe80::1%25eth0]`.
fn read_host(text: &str) -> Result<String, String> {
    if let Some(bracketed) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let host = percent_decoded(bracketed).map_err(bad_escape)?;
        let address = host.split_once('%').map_or(&*host, |(address, _zone)| address);
        return match address.parse::<core::net::Ipv6Addr>() {
            Ok(_) => Ok(host),
            Err(_) => Err(format!("invalid host: ParseAddr({host:?}): unable to parse IP")),
        };
    }
    let allowed =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:<>\"%".contains(c);
    if let Some(other) = text.chars().find(|&c| !allowed(c)) {
        return Err(format!("invalid character {:?} in host name", other.to_string()));
    }
    // Escapes in a name are for bytes beyond ASCII alone.
    let is_beyond = |c: char| c.to_digit(16).is_some_and(|digit| digit >= 8);
    let mut escapes = text.match_indices('%').map(|(at, _)| &text[at..]);
    match escapes.find(|escape| !escape[1..].starts_with(is_beyond)) {
        Some(escape) => Err(bad_escape(escape)),
        None => percent_decoded(text).map_err(bad_escape),
    }
}

/// Resolves `%41` to `A`.
///
/// # Errors
/// The text from the first percent sign without two digits, that sign included; or all of the text
/// if the result is no UTF-8.
pub fn percent_decoded(text: &str) -> Result<String, &str> {
    let bytes = percent::decode(text.as_bytes()).map_err(|bad| &text[bad..])?;
    String::from_utf8(bytes).map_err(|_| text)
}

/// The reason for a bad escape, of which three characters are shown.
fn bad_escape(escape: &str) -> String {
    format!("invalid URL escape {:?}", escape.chars().take(3).collect::<String>())
}

impl HostPort<'_> {
    /// Reads an address to advertise, `host` or `host:port`; an IPv6 address stands in brackets.
    /// Without a port, with 0 or with -1 it gets `port`. None if it is no such address.
    ///
    /// nats: server/util.go `parseHostPort`; Go's net `SplitHostPort`
    pub fn read(text: &str, port: u16) -> Option<HostPort<'_>> {
        let (host, written) = HostPort::split(text)?;
        if host.contains(['[', ']']) {
            return None;
        }
        let port = match written.map(|written| written.trim().parse::<i64>()) {
            None | Some(Ok(0 | -1)) => port,
            Some(number) => u16::try_from(number.ok()?).ok()?,
        };
        Some(HostPort(host.trim(), port))
    }
}

impl<'a> HostPort<'a> {
    /// The parts of `host` or `host:port`; an IPv6 address stands in brackets, which are left out.
    /// Either part may be empty. None if it is neither.
    pub fn split(text: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            return Some((host, port));
        }
        match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => None,
            Some((host, port)) => Some((host, Some(port))),
            None => Some((text, None)),
        }
    }
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
            Self::Malformed { url, reason } => write!(f, "parse {url:?}: {reason}"),
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
            ("nats://u@v@h_x<y:1/a b?%zz", "h_x<y", 1, "h_x<y:1"),
            ("nats://h%c3%a4:1", "h\u{e4}", 1, "h\u{e4}:1"),
            ("nats://[fe80::1%25lo]:1", "fe80::1%lo", 1, "[fe80::1%lo]:1"),
        ] {
            let read = RouteUrl::parse(url).unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port), "{url}");
            assert_eq!(read.to_string(), shown);
        }
    }

    #[test]
    fn an_address_to_be_told_may_have_a_port() {
        for (text, host, port) in [
            ("a", "a", 7),
            ("a:2", "a", 2),
            ("a:0", "a", 7),
            ("a:-1", "a", 7),
            ("a:+2", "a", 2),
            (" a : 2 ", "a", 2),
            ("[::1]:2", "::1", 2),
            ("[::1]", "::1", 7),
            (":2", "", 2),
        ] {
            let HostPort(found, number) = HostPort::read(text, 7).unwrap();
            assert_eq!((found, number), (host, port), "{text}");
        }
        for text in ["a:", "a:b", "::1", "[::1", "[::1]2", "[::1]:", "a]:1", "a:70000", "a:-2"] {
            assert!(HostPort::read(text, 7).is_none(), "{text}");
        }
    }

    #[test]
    fn credentials_are_unescaped_and_not_shown() {
        let url = RouteUrl::parse("nats://a%40b:p%3a%25zz:@h:1").unwrap();
        let login = url.login.as_ref().unwrap();
        assert_eq!(login.user, "a@b");
        assert_eq!(login.password.as_deref(), Some("p:%zz:"));
        assert_eq!(format!("{url:?}"), "RouteUrl(h:1)");
        let url = RouteUrl::parse("nats://token@h:1").unwrap();
        assert_eq!(url.login.unwrap().password, None);
    }

    /// The real server's texts for each as `--cluster`.
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
            (
                "na_ts://h:1",
                "parse \"na_ts://h:1\": first path segment in URL cannot contain colon",
            ),
        ] {
            assert_eq!(RouteUrl::parse(url).unwrap_err().to_string(), error);
        }
        for (url, reason) in [
            ("nats://u:p%w@h:1", "invalid URL escape \"%w\""),
            ("nats://u:p%2@h:1", "invalid URL escape \"%2\""),
            ("nats://h%41:1", "invalid URL escape \"%41\""),
            ("nats://[fe80::1%lo]:1", "invalid URL escape \"%lo\""),
            ("nats://h:1/%zz", "invalid URL escape \"%zz\""),
            ("nats://h:1#%zz", "invalid URL escape \"%zz\""),
            ("nats://h x:1", "invalid character \" \" in host name"),
            ("nats://h|:1", "invalid character \"|\" in host name"),
            ("nats://h\\:1", "invalid character \"\\\\\" in host name"),
            ("nats://[x]:1", "invalid host: ParseAddr(\"x\"): unable to parse IP"),
            ("nats://u:<@h:1", "net/url: invalid userinfo"),
            ("nats://u p@h:1", "net/url: invalid userinfo"),
        ] {
            let error = RouteUrl::parse(url).unwrap_err().to_string();
            assert_eq!(error, format!("parse {:?}: {reason}", without_login(url)));
            assert!(!error.contains("u:"), "{error}");
        }
    }
}
