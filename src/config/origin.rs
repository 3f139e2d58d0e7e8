//! `Origin`: the page from which a browser connects, as its scheme, host and port.
//!
//! nats: server/websocket.go `checkOrigin`, `wsGetHostAndPort`; Go's net/url `ParseRequestURI`

use std::fmt;

/// The origin of a page. Two of them are equal if they have the same scheme, host and port; a port
/// that is not written is that of the scheme.
#[derive(Clone, Debug)]
pub struct Origin {
    written: String,
    scheme: String,
    host: String,
    port: String,
}

/// The reason why a text is no origin. It is the real server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginError {
    written: String,
    why: String,
}

impl Origin {
    /// Reads a URL, whatever its scheme. Its path and its credentials do not matter.
    ///
    /// # Errors
    /// [`OriginError`]: it is none.
    pub fn parse(written: &str) -> Result<Origin, OriginError> {
        let error = |why: &str| OriginError { written: written.to_owned(), why: why.to_owned() };
        if written.contains(|c: char| c.is_ascii_control()) {
            return Err(error("net/url: invalid control character in URL"));
        }
        let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let (scheme, rest) = match written.split_once(':') {
            Some(("", _)) => return Err(error("missing protocol scheme")),
            Some((scheme, rest)) if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                match scheme.chars().all(is_of_scheme) {
                    true => (scheme.to_ascii_lowercase(), rest),
                    false => return Err(error("invalid URI for request")),
                }
            }
            _ if written.starts_with('/') || written == "*" => (String::new(), written),
            _ => return Err(error("invalid URI for request")),
        };
        let authority = rest.strip_prefix("//").unwrap_or_default();
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = split(address);
        if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            let port = port.unwrap_or_default();
            return Err(error(&format!("invalid port \":{port}\" after host")));
        }
        if let Some(wrong) = host.chars().find(|c| " <>\"`^{|}\\".contains(*c)) {
            let wrong = wrong.to_string();
            return Err(error(&format!("invalid character {wrong:?} in host name")));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(error("invalid host"));
        }
        Ok(Origin::new(written.to_owned(), scheme, address))
    }

    /// The origin of pages at an address, which a request names as its host.
    pub fn of_host(scheme: &str, address: &str) -> Origin {
        Origin::new(format!("{scheme}://{address}"), scheme.to_owned(), address)
    }

    fn new(written: String, scheme: String, address: &str) -> Origin {
        let (host, port) = split(address);
        let of_scheme = if scheme == "https" { "443" } else { "80" };
        let port = port.unwrap_or(of_scheme);
        Origin { written, scheme, host: host.to_ascii_lowercase(), port: port.to_owned() }
    }

    /// `http`, `https` or something else, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// May be empty.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// An address into its host, with brackets, and its port.
fn split(address: &str) -> (&str, Option<&str>) {
    match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Origin) -> bool {
        (&self.scheme, &self.host, &self.port) == (&other.scheme, &other.host, &other.port)
    }
}

impl Eq for Origin {}

/// As it was written.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parse {:?}: {}", self.written, self.why)
    }
}

impl std::error::Error for OriginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port_are_compared() {
        let origin = |text| Origin::parse(text).unwrap();
        for same in ["http://h.com:80", "HTTP://h.com", "http://H.com/path?x", "http://u@h.com"] {
            assert_eq!(origin(same), origin("http://h.com"), "{same}");
            assert_eq!(origin(same).to_string(), same);
        }
        assert_eq!(origin("https://[::1]"), Origin::of_host("https", "[::1]:443"));
        for other in
            ["https://h.com", "ws://h.com", "http://h.com:81", "http://h.com:", "http://sub.h.com"]
        {
            assert_ne!(origin(other), origin("http://h.com"), "{other}");
        }
        for hostless in ["file://", "http:/x", "a:b", "/x", "*"] {
            assert_eq!(origin(hostless).host(), "", "{hostless}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_in_the_real_servers_words() {
        for (text, why) in [
            ("null", "invalid URI for request"),
            ("", "invalid URI for request"),
            ("h.com", "invalid URI for request"),
            ("http://h.com:x", "invalid port \":x\" after host"),
            (":80", "missing protocol scheme"),
            ("http://a b", "invalid character \" \" in host name"),
            ("http://a\r\n", "net/url: invalid control character in URL"),
        ] {
            let shown = Origin::parse(text).unwrap_err().to_string();
            assert_eq!(shown, format!("parse {text:?}: {why}"));
        }
    }
}
