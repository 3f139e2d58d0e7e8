//! `Verifier`: the check of a server that this one has dialled.
//!
//! nats: server/client.go `doTLSHandshake`, server/route.go `saveRouteTLSName`

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::trust::Trust;

/// Checks the certificates of dialled servers.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None if any certificate will do.
    pub(super) strict: Option<Arc<Trust>>,
    /// Those of signatures. Even a server whose certificate is not checked has to have its key.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// The name that a server dialled by its address may have, too: gossip knows only addresses.
    ///
    /// nats-differs: there, such a server needs that name until one has had its address only.
    pub(super) known_name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(strict) = &self.strict else { return Ok(ServerCertVerified::assertion()) };
        let verify = |name: &ServerName<'_>| {
            strict.verify_server_cert(leaf, others, name, ocsp_response, now)
        };
        let is_address = matches!(name, ServerName::IpAddress(_));
        verify(name).or_else(|error| match &self.known_name {
            Some(known) if is_address && is_of_name(&error) => verify(known).map_err(|_| error),
            _ => Err(error),
        })
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

/// True if only the name of the certificate is wrong.
fn is_of_name(error: &Error) -> bool {
    let Error::InvalidCertificate(error) = error else { return false };
    matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}
