//! `Tls`: the settings of encrypted connections.
//!
//! Names files and reads none.
//! nats: server/opts.go `TLSConfigOpts`

use std::path::PathBuf;
use std::time::Duration;

use crate::base::limits;

/// The encryption of a port; that of other servers is also for dials to them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// Certificates with their keys, at least one. A client gets the first one that fits the name
    /// it asks for, else the first one that it can use.
    pub certs: Vec<CertFiles>,
    /// PEM file of the authorities for certificates of clients; none means those of the system.
    pub ca_file: Option<PathBuf>,
    /// Asks each client for a certificate, and refuses one without.
    pub verify: bool,
    /// Takes clients for the users that their certificates name. Implies `verify`.
    pub verify_and_map: bool,
    /// Takes other servers by a DNS name in their certificate, if it is the host of a route. For a
    /// cluster only.
    pub verify_cert_and_check_known_urls: bool,
    /// SHA-256 of the public keys (DER, SubjectPublicKeyInfo) that clients may have; empty means
    /// any.
    pub pinned_certs: Vec<[u8; 32]>,
    /// Time for a handshake.
    pub timeout: Duration,
    /// The side that speaks first.
    pub handshake_first: HandshakeFirst,
    /// Older versions are refused.
    pub min_version: TlsVersion,
    /// Suites of TLS 1.2 to offer; empty means all. TLS 1.3 has its own.
    pub cipher_suites: Vec<CipherSuite>,
    /// Curves to offer, the best first; empty means all.
    pub curve_preferences: Vec<Curve>,
    /// Handshakes that may begin in a second; none means any number.
    pub connection_rate_limit: Option<u32>,
    /// Takes any certificate of a server that is dialled. Nobody knows then who that is.
    pub insecure: bool,
    /// The place in the configuration file that errors name.
    pub place: Option<String>,
}

/// A certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// PEM file of the certificate and those between it and the authority.
    pub cert_file: PathBuf,
    /// PEM file of the key, not encrypted.
    pub key_file: PathBuf,
}

/// The side that speaks first on a port with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// The server sends INFO in the clear, and the handshake follows.
    No,
    /// The client begins the handshake, and INFO follows.
    Yes,
    /// The client, but if it is silent for so long, the server.
    Within(Duration),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// A name that a configuration uses, and its value.
type Named<T> = (&'static str, T);

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CipherSuite {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
    EcdheEcdsaAes128Gcm,
    EcdheEcdsaAes256Gcm,
    EcdheEcdsaChacha20Poly1305,
    EcdheRsaAes128Gcm,
    EcdheRsaAes256Gcm,
    EcdheRsaChacha20Poly1305,
}

/// A group in which keys are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Curve {
    X25519,
    P256,
    P384,
}

impl CipherSuite {
    /// All there are. The first three are of TLS 1.3.
    pub(crate) const NAMES: [Named<CipherSuite>; 9] = [
        ("TLS_AES_128_GCM_SHA256", CipherSuite::Aes128Gcm),
        ("TLS_AES_256_GCM_SHA384", CipherSuite::Aes256Gcm),
        ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::Chacha20Poly1305),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdheEcdsaAes128Gcm),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdheEcdsaAes256Gcm),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::EcdheEcdsaChacha20Poly1305),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdheRsaAes128Gcm),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdheRsaAes256Gcm),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::EcdheRsaChacha20Poly1305),
    ];
}

impl Curve {
    /// All there are.
    pub(crate) const NAMES: [Named<Curve>; 3] =
        [("X25519", Curve::X25519), ("CurveP256", Curve::P256), ("CurveP384", Curve::P384)];
}

/// The login timeout of a port, which may be set.
///
/// nats: server/opts.go `getDefaultAuthTimeout`
pub(crate) fn auth_timeout(set: Option<Duration>, tls: Option<&Tls>) -> Duration {
    let default =
        tls.map_or(limits::AUTH_TIMEOUT_DEFAULT, |tls| tls.timeout + limits::AUTH_AFTER_TLS);
    set.unwrap_or(default)
}

impl Tls {
    /// A port with one certificate, and the defaults.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Tls {
        let files = CertFiles { cert_file: cert_file.into(), key_file: key_file.into() };
        Tls { certs: vec![files], ..Tls::without_certificate() }
    }

    /// True if each client has to show a certificate.
    pub(crate) fn verifies(&self) -> bool {
        self.verify || self.verify_and_map
    }

    /// The same for monitoring, which asks nobody for a certificate, and takes all that come.
    pub(crate) fn of_monitoring(&self) -> Tls {
        let (pinned_certs, connection_rate_limit) = (Vec::new(), None);
        let (verify, verify_and_map) = (false, false);
        Tls { verify, verify_and_map, pinned_certs, connection_rate_limit, ..self.clone() }
    }

    /// The defaults.
    pub(crate) fn without_certificate() -> Tls {
        Tls {
            certs: Vec::new(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            verify_cert_and_check_known_urls: false,
            pinned_certs: Vec::new(),
            timeout: limits::TLS_TIMEOUT_DEFAULT,
            handshake_first: HandshakeFirst::No,
            min_version: TlsVersion::V1_2,
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            connection_rate_limit: None,
            insecure: false,
            place: None,
        }
    }

    /// The same for other servers, whatever it says: both sides show certificates, the handshake
    /// comes first, and any number may begin.
    pub(crate) fn of_routes(&self) -> Tls {
        let handshake_first = HandshakeFirst::Yes;
        Tls { verify: true, handshake_first, connection_rate_limit: None, ..self.clone() }
    }
}
