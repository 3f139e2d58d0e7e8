//! Trust in certificates: those that an authority has signed, and an authority's own.
//!
//! The library does not take an authority's certificate as that of a client or server. Go does if
//! the authority is a trusted one, and `openssl req -x509` makes such certificates.
//! nats: crypto/x509 `Certificate.Verify`

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// The check of the certificates of clients, or of servers, against trusted authorities.
#[derive(Debug)]
pub(crate) struct Trust<V> {
    by_signature: V,
    authorities: Arc<RootCertStore>,
}

impl Trust<Arc<dyn ClientCertVerifier>> {
    /// The check of clients.
    ///
    /// # Errors
    /// No authority is trusted.
    pub(crate) fn in_clients(
        authorities: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = Arc::clone(&authorities);
        let by_signature = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let by_signature = by_signature.map_err(|error| error.to_string())?;
        Ok(Trust { by_signature, authorities })
    }
}

impl Trust<Arc<WebPkiServerVerifier>> {
    /// The check of servers.
    ///
    /// # Errors
    /// No authority is trusted.
    pub(crate) fn in_servers(
        authorities: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = Arc::clone(&authorities);
        let by_signature = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let by_signature = by_signature.map_err(|error| error.to_string())?;
        Ok(Trust { by_signature, authorities })
    }
}

impl<V> Trust<V> {
    /// True if this is the certificate of a trusted authority.
    fn is_authority(&self, leaf: &CertificateDer<'_>) -> bool {
        let mut own = RootCertStore::empty();
        own.add(leaf.clone().into_owned()).is_ok()
            && own.roots.iter().all(|own| self.authorities.roots.contains(own))
    }
}

/// Checks what a signature does not vouch for: life and purpose.
fn check_own(
    leaf: &CertificateDer<'_>,
    now: UnixTime,
    purpose: ObjectIdentifier,
) -> Result<(), CertificateError> {
    let leaf = x509_cert::Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let (leaf, now) = (leaf.tbs_certificate, now.as_secs());
    if now < leaf.validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet);
    }
    if now > leaf.validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired);
    }
    match leaf.get::<ExtendedKeyUsage>() {
        Err(_) => Err(CertificateError::BadEncoding),
        Ok(Some((_, ExtendedKeyUsage(purposes))))
            if !purposes.contains(&purpose)
                && !purposes.contains(&rfc5280::ANY_EXTENDED_KEY_USAGE) =>
        {
            Err(CertificateError::InvalidPurpose)
        }
        Ok(_) => Ok(()),
    }
}

impl ClientCertVerifier for Trust<Arc<dyn ClientCertVerifier>> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_signature.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.by_signature.verify_client_cert(leaf, others, now) {
            Err(_) if self.is_authority(leaf) => {
                check_own(leaf, now, rfc5280::ID_KP_CLIENT_AUTH)?;
                Ok(ClientCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_signature.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_signature.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_signature.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Trust<Arc<WebPkiServerVerifier>> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.by_signature.verify_server_cert(leaf, others, name, ocsp_response, now) {
            Err(_) if self.is_authority(leaf) => {
                check_own(leaf, now, rfc5280::ID_KP_SERVER_AUTH)?;
                verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_signature.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_signature.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_signature.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use rustls::crypto::ring;

    use super::*;
    use crate::pem_files;

    /// The authorities in a file of the tests, and its first certificate.
    fn read(name: &str) -> (Arc<RootCertStore>, CertificateDer<'static>) {
        use rustls::pki_types::pem::PemObject;
        let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/it/tls", name].iter().collect();
        let roots = pem_files::roots(Some(&file)).unwrap();
        (Arc::new(roots), CertificateDer::from_pem_file(&file).unwrap())
    }

    fn years(count: u64) -> Duration {
        Duration::from_secs(count * 365 * 24 * 3600)
    }

    #[test]
    fn an_own_certificate_has_a_life_and_a_name() {
        let provider = || Arc::new(ring::default_provider());
        let (roots, own) = read("own.pem");
        let clients = Trust::in_clients(Arc::clone(&roots), provider()).unwrap();
        let servers = Trust::in_servers(roots, provider()).unwrap();
        let check = |name: &'static str, now| {
            let (name, now) =
                (ServerName::try_from(name).unwrap(), UnixTime::since_unix_epoch(now));
            let client = clients.verify_client_cert(&own, &[], now).map(drop);
            let server = servers.verify_server_cert(&own, &[], &name, &[], now).map(drop);
            (client, server)
        };
        let now = UnixTime::now().as_secs();
        let now = Duration::from_secs(now);
        assert_eq!(check("localhost", now), (Ok(()), Ok(())));
        let (client, server) = check("elsewhere", now);
        assert_eq!(client, Ok(()));
        assert!(server.unwrap_err().to_string().contains("not valid for name"));
        for (when, error) in [
            (years(20), CertificateError::NotValidYet),
            (now + years(200), CertificateError::Expired),
        ] {
            let error = Err(Error::InvalidCertificate(error));
            assert_eq!(check("localhost", when), (error.clone(), error));
        }
    }

    #[test]
    fn only_a_trusted_authority_speaks_for_itself() {
        let (_, own) = read("own.pem");
        let (foreign, _) = read("foreign-ca.pem");
        let trust = Trust::in_clients(foreign, Arc::new(ring::default_provider())).unwrap();
        assert!(trust.verify_client_cert(&own, &[], UnixTime::now()).is_err());
    }

    #[test]
    fn a_certificate_of_one_purpose_serves_no_other() {
        // Its only purpose is to be a client.
        let (_, client) = read("client.pem");
        let now = UnixTime::now();
        assert_eq!(check_own(&client, now, rfc5280::ID_KP_CLIENT_AUTH), Ok(()));
        let as_server = check_own(&client, now, rfc5280::ID_KP_SERVER_AUTH);
        assert_eq!(as_server, Err(CertificateError::InvalidPurpose));
    }
}
