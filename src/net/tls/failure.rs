//! `Failure`: the reason that a handshake failed, in Go's words where it has some.
//!
//! nats: server/client.go `doTLSHandshake`; crypto/tls

use std::fmt;

use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};

/// The reason that a handshake failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the library, or an alert.
    Tls(Error),
    /// The connection ended before it was done.
    Ended,
    /// The handshake took too long.
    Timeout,
    /// The other side's key is not one of the pinned ones.
    NotPinned,
    /// The first bytes are a request of HTTP.
    Http,
}

impl Failure {
    /// True if the first bytes were no record: the other side does not use TLS.
    pub(crate) fn is_clear_text(&self) -> bool {
        matches!(self, Failure::Tls(Error::InvalidMessage(message)) if is_clear_text(message))
    }
}

fn is_clear_text(message: &InvalidMessage) -> bool {
    matches!(
        message,
        InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Failure::Ended => return f.write_str("EOF"),
            Failure::Timeout => return f.write_str("i/o timeout"),
            Failure::NotPinned => return f.write_str("certificate not pinned"),
            Failure::Http => {
                return f.write_str("client sent an HTTP request to an HTTPS server");
            }
            Failure::Tls(error) => error,
        };
        match error {
            Error::InvalidMessage(message) if is_clear_text(message) => {
                f.write_str("tls: first record does not look like a TLS handshake")
            }
            Error::NoCertificatesPresented => {
                f.write_str("tls: client didn't provide a certificate")
            }
            Error::InvalidCertificate(error) => {
                f.write_str("tls: failed to verify certificate: x509: ")?;
                match error {
                    // An authority of the same name has signed it, but another one.
                    CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                        f.write_str("certificate signed by unknown authority")
                    }
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. } => {
                        f.write_str("certificate has expired or is not yet valid")
                    }
                    CertificateError::NotValidForNameContext { expected, presented } => {
                        write_name_error(f, expected, presented)
                    }
                    CertificateError::InvalidPurpose
                    | CertificateError::InvalidPurposeContext { .. } => {
                        f.write_str("certificate specifies an incompatible key usage")
                    }
                    CertificateError::Other(OtherError(error)) => {
                        f.write_str(unfit(&error.to_string()))
                    }
                    error => write!(f, "{error}"),
                }
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => f.write_str("tls: client offered only unsupported versions"),
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
                f.write_str("tls: no cipher suite supported by both client and server")
            }
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
                f.write_str("tls: no key exchanges supported by both client and server")
            }
            Error::AlertReceived(alert) => write!(f, "remote error: tls: {}", said(*alert)),
            error => write!(f, "tls: {error}"),
        }
    }
}

/// The names that a certificate has in place of the one that is wanted.
///
/// nats: crypto/x509 `HostnameError`
fn write_name_error(
    f: &mut fmt::Formatter<'_>,
    wanted: &ServerName<'_>,
    names: &[String],
) -> fmt::Result {
    let is_address = matches!(wanted, ServerName::IpAddress(_));
    let kind = if is_address { "IpAddress(" } else { "DnsName(" };
    let named = names.iter().filter_map(|name| name.strip_prefix(kind)?.strip_suffix(')'));
    let named: Vec<&str> = named.map(|name| name.trim_matches('"')).collect();
    let wanted = wanted.to_str();
    match named.is_empty() {
        true if is_address => write!(
            f,
            "cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
        ),
        true => write!(f, "certificate is not valid for any names, but wanted to match {wanted}"),
        false => write!(f, "certificate is valid for {}, not {wanted}", named.join(", ")),
    }
}

/// An error of the library's checks, which has no words, in words.
fn unfit(error: &str) -> &str {
    match error {
        "CaUsedAsEndEntity" => "certificate of an authority that is not trusted itself",
        "UnsupportedCertVersion" => "certificate of another version than 3",
        error => error,
    }
}

/// An alert as Go says it.
fn said(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::UnsupportedCertificate => "unsupported certificate".to_owned(),
        AlertDescription::CertificateExpired => "expired certificate".to_owned(),
        AlertDescription::CertificateUnknown => "unknown certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::ProtocolVersion => "protocol version not supported".to_owned(),
        alert => format!("alert {}", u8::from(alert)),
    }
}
