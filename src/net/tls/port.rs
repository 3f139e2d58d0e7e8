//! `TlsPort`: a port with TLS, and dials to ports like it: their files, read for the library.
//!
//! nats: server/opts.go `GenTLSConfig`, server/client.go `doTLSHandshake`, `matchesPinnedCert`,
//! server/rate_counter.go

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::client::{
    ResolvesClientCert, Resumption, UnbufferedClientConnection, verify_server_name,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, Error, ServerConfig, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};
use sha2::{Digest, Sha256};
use x509_cert::der::{Decode, Encode};

use crate::auth::certificate::Certificate;
use crate::base::moment::Moment;
use crate::config::options::{
    CertFiles, CipherSuite, Curve, HandshakeFirst, Options, Tls, TlsVersion,
};
use crate::config::route_url::RouteUrl;
use crate::net::ports::PortFor;
use crate::net::tls::State;
use crate::net::tls::verifier::Verifier;
use crate::pem_files;
use crate::server_name::server_name;
use crate::trust::Trust;

/// The span in which handshakes are counted.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// A port with TLS.
pub(crate) struct TlsPort {
    accepting: Arc<ServerConfig>,
    /// Of the port for other servers, for dials to theirs.
    dialling: Option<Arc<ClientConfig>>,
    pinned_certs: Vec<[u8; 32]>,
    rate: Option<Rate>,
    /// The end of the life of its first certificate.
    pub(crate) cert_end: Option<SystemTime>,
    /// Time for a handshake.
    pub(crate) timeout: Duration,
    /// The side that speaks first.
    pub(crate) first: HandshakeFirst,
    /// True if clients without TLS are served, too.
    pub(crate) allow_non_tls: bool,
}

/// The side of a connection that this server is on.
pub(crate) enum Side {
    Accepts,
    /// Dials the server of that name.
    Dials(Box<ServerName<'static>>),
}

impl Side {
    /// Dials a server by that host of its URL, at that address.
    pub(crate) fn dials(host: &str, address: IpAddr) -> Side {
        // No certificate has any other name, but perhaps the address.
        Side::Dials(Box::new(server_name(host).unwrap_or_else(|_| address.into())))
    }
}

/// Handshakes that may begin in a second.
struct Rate {
    max: u32,
    begun: Mutex<Begun>,
}

/// Those of the second that began at `since`.
struct Begun {
    since: Moment,
    count: u32,
    refused: u32,
}

impl TlsPort {
    /// Reads the files of all ports. If there is a configuration `for_clients`, it stands in for
    /// theirs.
    ///
    /// # Errors
    /// One of them cannot be used; the text names it, and the place of its block.
    pub(crate) fn load_all(
        options: &Options,
        for_clients: Option<Arc<ServerConfig>>,
    ) -> Result<BTreeMap<PortFor, Arc<TlsPort>>, String> {
        let load = |tls: &Tls| TlsPort::load(tls, false, None);
        let clients = options.tls.as_ref().map(|tls| match for_clients {
            Some(config) => Ok(TlsPort::new(tls, options.allow_non_tls, config)),
            None => TlsPort::load(tls, options.allow_non_tls, None),
        });
        let monitor = options.https.as_ref().and(options.tls.as_ref());
        let monitor = monitor.map(|tls| load(&tls.of_monitoring()));
        let routes = options.cluster.as_ref().and_then(|cluster| {
            let tls = cluster.tls.as_ref()?.of_routes();
            Some(TlsPort::load(&tls, false, Some(&cluster.routes)))
        });
        let websocket = options.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
        let loaded = [
            (PortFor::Clients, clients),
            (PortFor::Monitor, monitor),
            (PortFor::Routes, routes),
            (PortFor::Websocket, websocket.map(load)),
        ];
        let loaded = loaded.into_iter().filter_map(|(port_for, port)| Some((port_for, port?)));
        loaded.map(|(port_for, port)| Ok((port_for, Arc::new(port?)))).collect()
    }

    /// Reads the files of a block; with `routes` the one for other servers, also for dials to them.
    pub(super) fn load(
        tls: &Tls,
        allow_non_tls: bool,
        routes: Option<&[RouteUrl]>,
    ) -> Result<TlsPort, String> {
        let in_place = |text| match &tls.place {
            Some(place) => format!("{place}: {text}"),
            None => text,
        };
        let parts = Parts::load(tls).map_err(in_place)?;
        let cert_end = parts.certs.end();
        let dialling = routes.map(|routes| parts.dialling(tls.insecure, routes));
        let dialling = dialling.transpose().map_err(in_place)?;
        let accepting = parts.accepting(tls.verifies()).map_err(in_place)?;
        let port = TlsPort::new(tls, allow_non_tls, Arc::new(accepting));
        Ok(TlsPort { dialling: dialling.map(Arc::new), cert_end, ..port })
    }

    /// A port with these settings, but for those that the configuration of the library holds.
    fn new(tls: &Tls, allow_non_tls: bool, accepting: Arc<ServerConfig>) -> TlsPort {
        let begun = Begun { since: Moment::START, count: 0, refused: 0 };
        TlsPort {
            accepting,
            dialling: None,
            pinned_certs: tls.pinned_certs.clone(),
            rate: tls.connection_rate_limit.map(|max| Rate { max, begun: Mutex::new(begun) }),
            cert_end: None,
            timeout: tls.timeout,
            first: tls.handshake_first,
            allow_non_tls,
        }
    }

    /// The state of a new connection.
    pub(crate) fn open(&self, side: &Side) -> Result<State, Error> {
        match (side, &self.dialling) {
            (Side::Accepts, _) => {
                UnbufferedServerConnection::new(Arc::clone(&self.accepting)).map(State::Accepting)
            }
            (Side::Dials(name), Some(config)) => {
                let name = ServerName::clone(name);
                UnbufferedClientConnection::new(Arc::clone(config), name).map(State::Dialling)
            }
            (Side::Dials(_), None) => Err(Error::General("nobody is dialled".to_owned())),
        }
    }

    /// True if it pins other keys than the port before.
    pub(crate) fn has_other_pins(&self, former: Option<&Arc<TlsPort>>) -> bool {
        former.is_none_or(|former| former.pinned_certs != self.pinned_certs)
    }

    /// True if the key of that certificate may be used.
    pub(crate) fn is_pinned(&self, leaf: Option<&CertificateDer<'_>>) -> bool {
        let key = || ParsedCertificate::try_from(leaf?).ok();
        let hash = || Some(Sha256::digest(key()?.subject_public_key_info()).into());
        self.pinned_certs.is_empty() || hash().is_some_and(|hash| self.pinned_certs.contains(&hash))
    }

    /// Counts a handshake that is about to begin. True if it may.
    pub(crate) fn begin(&self, now: Moment) -> bool {
        let Some(rate) = &self.rate else { return true };
        let mut begun = rate.begun.lock();
        let mut refused_before = 0;
        if begun.count == 0 || now - begun.since >= RATE_SPAN {
            refused_before = begun.refused;
            *begun = Begun { since: now, count: 0, refused: 0 };
        }
        let may_begin = begun.count < rate.max;
        if may_begin {
            begun.count += 1;
        } else {
            begun.refused += 1;
        }
        drop(begun);
        if refused_before > 0 {
            tracing::warn!("Rejected {refused_before} connections due to TLS rate limiting");
        }
        may_begin
    }
}

/// The parts of a configuration, of either side.
struct Parts {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    certs: Arc<Certs>,
    trust: Option<Arc<Trust>>,
}

impl Parts {
    fn load(tls: &Tls) -> Result<Parts, String> {
        let provider = Arc::new(provider(tls));
        let has_trust = tls.verifies() || tls.ca_file.is_some();
        Ok(Parts {
            certs: Arc::new(Certs::load(&tls.certs, &provider)?),
            trust: has_trust
                .then(|| pem_files::authorities(tls.ca_file.as_deref(), "'ca_file'", &provider))
                .transpose()?
                .map(Arc::new),
            provider,
            versions: match tls.min_version {
                TlsVersion::V1_2 => vec![&version::TLS12, &version::TLS13],
                TlsVersion::V1_3 => vec![&version::TLS13],
            },
        })
    }

    fn accepting(self, verify: bool) -> Result<ServerConfig, String> {
        let Parts { provider, versions, certs, trust } = self;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(unfit)?;
        let builder = match trust.filter(|_| verify) {
            None => builder.with_no_client_auth(),
            Some(trust) => builder.with_client_cert_verifier(trust),
        };
        let mut config = builder.with_cert_resolver(certs);
        // Tickets resume sessions; the server stores nothing for them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // A resumed session would not check the client's certificate anew.
        if !verify {
            config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
            config.send_tls13_tickets = 1;
        }
        // The first of ours is the fastest here; clients that are not sure name it later.
        config.ignore_client_order = true;
        Ok(config)
    }

    fn dialling(&self, insecure: bool, routes: &[RouteUrl]) -> Result<ClientConfig, String> {
        let strict = match &self.trust {
            _ if insecure => None,
            None => return Err("no authorities".to_owned()),
            Some(trust) => Some(Arc::clone(trust)),
        };
        let names = routes.iter().flat_map(|url| ServerName::try_from(url.host.as_str()));
        let mut names = names.filter(|name| matches!(name, ServerName::DnsName(_)));
        let verifier = Verifier {
            strict,
            algorithms: self.provider.signature_verification_algorithms,
            known_name: names.next().map(|name| name.to_owned()),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&self.certs) as Arc<dyn ResolvesClientCert>);
        // A resumed session would not check the certificate anew.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// The error about suites and versions that do not fit together.
fn unfit(error: Error) -> String {
    format!("error parsing tls config, {error}")
}

/// The suites and curves that the library may use.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let preference = |suite: &SupportedCipherSuite| {
        CipherSuite::NAMES.iter().position(|(_, named)| named.rustls() == *suite)
    };
    provider.cipher_suites.sort_by_key(preference);
    if !tls.cipher_suites.is_empty() {
        let named = |suite: &SupportedCipherSuite| {
            suite.tls13().is_some()
                || tls.cipher_suites.iter().any(|named| named.rustls() == *suite)
        };
        provider.cipher_suites.retain(named);
    }
    if !tls.curve_preferences.is_empty() {
        provider.kx_groups = tls.curve_preferences.iter().map(|curve| curve.rustls()).collect();
    }
    provider
}

impl CipherSuite {
    fn rustls(self) -> SupportedCipherSuite {
        use ring::cipher_suite as suites;
        match self {
            CipherSuite::Aes128Gcm => suites::TLS13_AES_128_GCM_SHA256,
            CipherSuite::Aes256Gcm => suites::TLS13_AES_256_GCM_SHA384,
            CipherSuite::Chacha20Poly1305 => suites::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::EcdheEcdsaAes128Gcm => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::EcdheEcdsaAes256Gcm => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::EcdheEcdsaChacha20Poly1305 => {
                suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            }
            CipherSuite::EcdheRsaAes128Gcm => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::EcdheRsaAes256Gcm => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::EcdheRsaChacha20Poly1305 => {
                suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
            }
        }
    }
}

impl Curve {
    fn rustls(self) -> &'static dyn rustls::crypto::SupportedKxGroup {
        match self {
            Curve::X25519 => ring::kx_group::X25519,
            Curve::P256 => ring::kx_group::SECP256R1,
            Curve::P384 => ring::kx_group::SECP384R1,
        }
    }
}

/// The certificates of a port.
#[derive(Debug)]
struct Certs(Vec<Arc<CertifiedKey>>);

impl Certs {
    fn load(files: &[CertFiles], provider: &CryptoProvider) -> Result<Certs, String> {
        let of_several = |index| match files.len() {
            1 => String::new(),
            count => format!(" {}/{count}", index + 1),
        };
        let load = |(index, files)| {
            pem_files::key_pair(files, provider).map(Arc::new).map_err(|why| {
                format!("error parsing X509 certificate/key pair{}: {why}", of_several(index))
            })
        };
        files.iter().enumerate().map(load).collect::<Result<_, _>>().map(Certs)
    }

    fn end(&self) -> Option<SystemTime> {
        let certificate = Certificate::read(self.0.first()?.end_entity_cert().ok()?)?;
        SystemTime::UNIX_EPOCH.checked_add(certificate.not_after())
    }
}

impl ResolvesServerCert for Certs {
    /// The first that fits the name and the client, else the first that fits the client.
    ///
    /// nats: crypto/tls `getCertificate`
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_usable = |cert: &&Arc<CertifiedKey>| can_sign(cert, hello.signature_schemes());
        let is_named = |cert: &&Arc<CertifiedKey>| {
            let leaf = cert.end_entity_cert().ok().and_then(|leaf| leaf.try_into().ok());
            name.as_ref()
                .zip(leaf)
                .is_some_and(|(name, leaf)| verify_server_name(&leaf, name).is_ok())
        };
        let mut usable = self.0.iter().filter(is_usable);
        let first = usable.clone().next();
        usable.find(is_named).or(first).cloned()
    }
}

impl ResolvesClientCert for Certs {
    /// The first of an authority that the other server names, else the first that fits.
    ///
    /// nats-differs: there, a server without any of those authorities shows no certificate.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let usable = || self.0.iter().filter(|cert| can_sign(cert, schemes));
        let is_named = |der| issuer(der).is_some_and(|name| authorities.contains(&&*name));
        let named = usable().find(|cert| cert.cert.iter().any(is_named));
        named.or_else(|| usable().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The name, in DER, of the authority that has signed a certificate.
fn issuer(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    x509_cert::Certificate::from_der(der).ok()?.tbs_certificate.issuer.to_der().ok()
}

fn can_sign(cert: &CertifiedKey, schemes: &[SignatureScheme]) -> bool {
    cert.key.choose_scheme(schemes).is_some()
}

/// The suite by which a configuration calls one of the library's.
pub(super) fn suite(suite: SupportedCipherSuite) -> Option<CipherSuite> {
    let all = CipherSuite::NAMES.iter().map(|(_, named)| *named);
    { all }.find(|named| named.rustls() == suite)
}
