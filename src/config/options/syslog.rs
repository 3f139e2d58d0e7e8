//! `SyslogUrl`: the address of a system log.
//!
//! nats: logger/syslog.go `getNetworkAndAddr`

use std::fmt;
use std::path::PathBuf;

use crate::config::route_url::HostPort;

/// The address of a system log other than this machine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyslogUrl {
    /// `udp://host:port`: a datagram for each line.
    Udp(String),
    /// `tcp://host:port`.
    Tcp(String),
    /// `unix:///path`: a stream.
    Unix(PathBuf),
}

/// A text that is no such address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogUrlError(String);

impl SyslogUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// Another scheme, or no port where there has to be one.
    pub fn parse(url: &str) -> Result<SyslogUrl, SyslogUrlError> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let address = || match HostPort::split(rest) {
            Some((_, Some(port))) if port.parse::<u16>().is_ok() => Ok(rest.to_owned()),
            _ => Err(SyslogUrlError(format!("{url:?} is no host and port"))),
        };
        match scheme {
            "udp" => Ok(SyslogUrl::Udp(address()?)),
            "tcp" => Ok(SyslogUrl::Tcp(address()?)),
            "unix" => Ok(SyslogUrl::Unix(rest.into())),
            _ => Err(SyslogUrlError(format!("error invalid network type: {scheme:?}"))),
        }
    }
}

impl fmt::Display for SyslogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogUrl::Udp(address) => write!(f, "udp://{address}"),
            SyslogUrl::Tcp(address) => write!(f, "tcp://{address}"),
            SyslogUrl::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for SyslogUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SyslogUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_ports_are_checked() {
        for url in ["udp://127.0.0.1:514", "tcp://[::1]:601", "unix:///run/log", "udp://h:1"] {
            assert_eq!(SyslogUrl::parse(url).unwrap().to_string(), url);
        }
        for (url, wanted) in [
            ("http://a:1", "error invalid network type: \"http\""),
            ("", "error invalid network type: \"\""),
            ("udp://a", "\"udp://a\" is no host and port"),
            ("tcp://a:x", "\"tcp://a:x\" is no host and port"),
        ] {
            assert_eq!(SyslogUrl::parse(url).unwrap_err().to_string(), wanted);
        }
    }
}
