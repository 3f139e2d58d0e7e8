//! The name that the certificate of a dialled server has to hold.
//!
//! nats: crypto/x509 `Certificate.VerifyHostname`

use std::net::IpAddr;

use rustls::pki_types::{InvalidDnsNameError, ServerName};

/// The name of a server at that host of a URL: a name, or an address, IPv6 without brackets. An
/// IPv4 address in the form of an IPv6 one is the IPv4 address, as certificates hold it.
///
/// # Errors
/// No certificate can hold it.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical().into()),
        Err(_) => ServerName::try_from(host.to_owned()),
    }
}
