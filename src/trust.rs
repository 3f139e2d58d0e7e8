//! `Trust`: the check of certificates against authorities, by Go's rules.
//!
//! The library takes each certificate in a file of authorities as one that may sign. In Go it has
//! to be an authority, in its life, and for that purpose; any other one speaks only for itself, and
//! so does an authority's own. The library still builds the chains, and checks their signatures.
//! nats: crypto/x509 `Certificate.Verify`, `CheckSignatureFrom`, `isValid`

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use sha2::{Digest, Sha256};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, VerifiedPath,
};
use x509_cert::Version;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

/// The extensions that are heeded; another one that is critical spoils its certificate.
const HEEDED: [ObjectIdentifier; 8] = [
    rfc5280::ID_CE_BASIC_CONSTRAINTS,
    rfc5280::ID_CE_KEY_USAGE,
    rfc5280::ID_CE_EXT_KEY_USAGE,
    rfc5280::ID_CE_NAME_CONSTRAINTS,
    rfc5280::ID_CE_SUBJECT_ALT_NAME,
    rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER,
    rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER,
    rfc5280::ID_CE_CERTIFICATE_POLICIES,
];

/// The certificates of a file of authorities, and the check of others against them.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Their names and keys, in the same order.
    anchors: Vec<TrustAnchor<'static>>,
    facts: Vec<Facts>,
    /// Their names, as a server tells its clients.
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The facts in a certificate that decide whether it may sign, or speak for itself.
#[derive(Debug)]
struct Facts {
    /// SHA-256 of the certificate.
    hash: [u8; 32],
    /// Its first and last second, since the epoch of Unix.
    life: (Duration, Duration),
    signs: bool,
    /// The most certificates between it and the one that is shown.
    path_len_max: Option<u8>,
    /// `None` for any purpose.
    purposes: Option<Vec<ObjectIdentifier>>,
    is_understood: bool,
}

/// The use of a certificate.
#[derive(Clone, Copy)]
enum Purpose {
    Client,
    Server,
}

impl Trust {
    /// Trust in these certificates; useless ones do no harm.
    pub(crate) fn new(certificates: &[CertificateDer<'_>], provider: &CryptoProvider) -> Trust {
        let known = certificates.iter().filter_map(|certificate| {
            let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?.to_owned();
            Some((anchor, Facts::read(certificate)?))
        });
        let (anchors, facts): (Vec<_>, Vec<_>) = known.unzip();
        let name = |anchor: &TrustAnchor<'_>| DistinguishedName::in_sequence(&anchor.subject);
        Trust {
            names: anchors.iter().map(name).collect(),
            anchors,
            facts,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// True if nothing is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Checks that a certificate is trusted itself, or that a trusted authority has signed it,
    /// perhaps through `others`.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let hash: [u8; 32] = Sha256::digest(leaf).into();
        let itself = self.facts.iter().find(|facts| facts.hash == hash);
        let checked = match itself {
            Some(facts) => facts.check(now, purpose),
            None => EndEntityCert::try_from(leaf).and_then(|leaf| {
                let check = |path: &VerifiedPath<'_>| self.check_path(path, now, purpose);
                let Trust { anchors, algorithms, .. } = self;
                let (anchors, algorithms) = (&anchors[..], algorithms.all);
                leaf.verify_for_usage(algorithms, anchors, others, now, purpose, None, Some(&check))
                    .map(drop)
            }),
        };
        checked.map_err(refusal)
    }

    /// Checks what the library does not: whether those who have signed might.
    fn check_path(
        &self,
        path: &VerifiedPath<'_>,
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), webpki::Error> {
        let at = self.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let authority = at.map(|at| &self.facts[at]).ok_or(webpki::Error::UnknownIssuer)?;
        let mut between: u8 = 0;
        for one in path.intermediate_certificates() {
            between += 1;
            let facts = Facts::read(&one.der()).ok_or(webpki::Error::BadDer)?;
            if !facts.signs {
                return Err(webpki::Error::UnknownIssuer);
            }
        }
        if !authority.signs {
            return Err(webpki::Error::UnknownIssuer);
        }
        if authority.path_len_max.is_some_and(|max| between > max) {
            return Err(webpki::Error::PathLenConstraintViolated);
        }
        authority.check(now, purpose)
    }
}

impl Facts {
    fn read(der: &[u8]) -> Option<Facts> {
        let tbs = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
        let constraints = tbs.get::<BasicConstraints>().ok()?.map(|(_, constraints)| constraints);
        let uses = tbs.get::<KeyUsage>().ok()?.map(|(_, uses)| uses);
        let is_authority = match &constraints {
            Some(constraints) => constraints.ca,
            // Older versions have no such extension.
            None => tbs.version != Version::V3,
        };
        Some(Facts {
            hash: Sha256::digest(der).into(),
            life: (
                tbs.validity.not_before.to_unix_duration(),
                tbs.validity.not_after.to_unix_duration(),
            ),
            signs: is_authority && uses.is_none_or(|uses| uses.key_cert_sign()),
            path_len_max: constraints.and_then(|constraints| constraints.path_len_constraint),
            purposes: tbs.get::<ExtendedKeyUsage>().ok()?.map(|(_, ExtendedKeyUsage(all))| all),
            is_understood: tbs
                .extensions
                .iter()
                .flatten()
                .all(|extension| !extension.critical || HEEDED.contains(&extension.extn_id)),
        })
    }

    /// Checks what no signature vouches for.
    fn check(&self, now: UnixTime, purpose: Purpose) -> Result<(), webpki::Error> {
        let now = Duration::from_secs(now.as_secs());
        if now < self.life.0 || now > self.life.1 {
            return Err(webpki::Error::InvalidCertValidity);
        }
        if !self.is_understood {
            return Err(webpki::Error::UnsupportedCriticalExtension);
        }
        let is_fit = |purposes: &Vec<ObjectIdentifier>| {
            purposes.iter().any(|one| purpose.ids().contains(one))
        };
        if self.purposes.as_ref().is_some_and(|purposes| !is_fit(purposes)) {
            return Err(UNFIT);
        }
        Ok(())
    }
}

/// The certificate is for other purposes. The library's newer error tells which, and nobody else
/// can make one.
#[expect(deprecated)]
const UNFIT: webpki::Error = webpki::Error::RequiredEkuNotFound;

impl Purpose {
    /// The purposes that include it.
    fn ids(self) -> [ObjectIdentifier; 2] {
        let own = match self {
            Purpose::Client => rfc5280::ID_KP_CLIENT_AUTH,
            Purpose::Server => rfc5280::ID_KP_SERVER_AUTH,
        };
        [own, rfc5280::ANY_EXTENDED_KEY_USAGE]
    }
}

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let purposes = purposes.collect::<Result<Vec<_>, _>>()?;
        let is_fit = |id: &ObjectIdentifier| purposes.contains(&KeyPurposeId::new(id.as_bytes()));
        if purposes.is_empty() || self.ids().iter().any(is_fit) { Ok(()) } else { Err(UNFIT) }
    }
}

/// The error of a handshake for one of the library's checks.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as E;
    Error::InvalidCertificate(match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { .. } | E::CertExpired { .. } | E::InvalidCertValidity => {
            CertificateError::Expired
        }
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        error if error == UNFIT => CertificateError::InvalidPurpose,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    })
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(leaf, others, now, Purpose::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf, others, now, Purpose::Server)?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn read(name: &str) -> CertificateDer<'static> {
        let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/it/tls", name].iter().collect();
        CertificateDer::from_pem_file(file.with_extension("pem")).unwrap()
    }

    fn trust(name: &str) -> Trust {
        Trust::new(&[read(name)], &ring::default_provider())
    }

    fn years(count: u64) -> Duration {
        Duration::from_secs(count * 365 * 24 * 3600)
    }

    fn now() -> Duration {
        Duration::from_secs(UnixTime::now().as_secs())
    }

    /// The outcomes of a client, and of a server of that name.
    fn check(
        trust: &Trust,
        chain: &[&str],
        name: &'static str,
        now: Duration,
    ) -> [Result<(), CertificateError>; 2] {
        let chain: Vec<_> = chain.iter().map(|name| read(name)).collect();
        let (name, now) = (ServerName::try_from(name).unwrap(), UnixTime::since_unix_epoch(now));
        let client = trust.verify_client_cert(&chain[0], &chain[1..], now).map(drop);
        let server = trust.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(drop);
        [client, server].map(|outcome| {
            outcome.map_err(|error| match error {
                Error::InvalidCertificate(error) => error,
                error => panic!("{error}"),
            })
        })
    }

    #[test]
    fn only_authorities_sign_while_they_live() {
        let leaf = |authority, now| check(&trust(authority), &["trust/leaf"], "localhost", now);
        for authority in ["trust/authority", "trust/shallow"] {
            assert_eq!(leaf(authority, now()), [Ok(()), Ok(())], "{authority}");
            for when in [years(20), now() + years(200)] {
                let expired = [const { Err(CertificateError::Expired) }; 2];
                assert_eq!(leaf(authority, when), expired, "{authority}");
            }
        }
        let unknown = || Err(CertificateError::UnknownIssuer);
        for authority in ["trust/no-authority", "trust/silent", "trust/signs-nothing", "own"] {
            assert_eq!(leaf(authority, now()), [unknown(), unknown()], "{authority}");
        }
        let [client, server] = leaf("trust/unheard-of", now());
        assert!(client.is_err() && server.is_err());
        let of_servers = leaf("trust/of-servers", now());
        assert_eq!(of_servers, [Err(CertificateError::InvalidPurpose), Ok(())]);
    }

    #[test]
    fn those_between_have_to_be_authorities_too() {
        let far = |authority, middle| {
            check(&trust(authority), &["trust/far", middle], "localhost", now())
        };
        assert_eq!(far("trust/authority", "trust/middle"), [Ok(()), Ok(())]);
        let unknown = [const { Err(CertificateError::UnknownIssuer) }; 2];
        assert_eq!(far("trust/authority", "trust/middle-signs-nothing"), unknown);
        assert!(far("trust/shallow", "trust/middle").iter().all(Result::is_err));
    }

    #[test]
    fn a_certificate_speaks_for_itself() {
        let own = |name, now| check(&trust("own"), &["own"], name, now);
        assert_eq!(own("localhost", now()), [Ok(()), Ok(())]);
        let [client, server] = own("elsewhere", now());
        assert_eq!(client, Ok(()));
        assert!(matches!(server, Err(CertificateError::NotValidForNameContext { .. })));
        for when in [years(20), now() + years(200)] {
            let expired = [const { Err(CertificateError::Expired) }; 2];
            assert_eq!(own("localhost", when), expired);
        }
        // Neither need it be an authority, nor does its name and key suffice.
        let listed = trust("trust/leaf");
        assert_eq!(check(&listed, &["trust/leaf"], "localhost", now()), [Ok(()), Ok(())]);
        let unknown = [const { Err(CertificateError::UnknownIssuer) }; 2];
        let same_key = check(&trust("trust/no-authority"), &["trust/silent"], "x", now());
        assert_eq!(same_key, unknown);
    }

    #[test]
    fn a_certificate_of_one_purpose_serves_no_other() {
        let of_clients = check(&trust("ca"), &["client"], "localhost", now());
        assert_eq!(of_clients[0], Ok(()));
        assert_eq!(of_clients[1], Err(CertificateError::InvalidPurpose));
        let [client, _] = check(&trust("trust/authority"), &["trust/leaf-of-any"], "x", now());
        assert_eq!(client, Ok(()));
    }
}
