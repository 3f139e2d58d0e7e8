//! PEM files: authorities, and certificates with their keys.
//!
//! An error names the file, in Go's words where it has some.
//! nats: server/opts.go `GenTLSConfig`; encoding/pem `Decode`; crypto/tls `X509KeyPair`

use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_cert::der::{Decode, Encode};

use crate::bounded_file;
use crate::config::options::CertFiles;
use crate::trust::Trust;

/// The authorities in a file, which `setting` names, or those of the system.
pub(crate) fn authorities(
    file: Option<&Path>,
    setting: &str,
    provider: &CryptoProvider,
) -> Result<Trust, String> {
    let certs = match file {
        Some(file) => certificates(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let trust = Trust::new(&certs, provider);
    match file {
        _ if !trust.is_empty() => Ok(trust),
        Some(_) => Err("failed to parse root ca certificate".to_owned()),
        None => Err(format!("the system has no certificates of authorities: set {setting}")),
    }
}

/// A certificate with those between it and the authority, and its key.
pub(crate) fn key_pair(
    files: &CertFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let [cert_file, key_file] = [&files.cert_file, &files.key_file].map(|file| file.display());
    let chain = certificates(&files.cert_file)?;
    let own = chain.first().ok_or_else(|| unread(&files.cert_file, pem::Error::NoItemsFound))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key_file)?);
    let key = key.map_err(|error| match error {
        pem::Error::NoItemsFound => format!(
            "no private key in {key_file}; one that is encrypted has to be decrypted first \
             (openssl pkey)"
        ),
        error => unread(&files.key_file, error),
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        format!(
            "tls: the private key in {key_file} is none of those there are: RSA of 2048 bits or \
             more, ECDSA on P-256 or P-384, Ed25519, not encrypted"
        )
    })?;
    let certified = public_key(own)
        .ok_or_else(|| format!("tls: failed to parse certificate in {cert_file}"))?;
    if key.public_key().is_some_and(|of_key| *of_key != *certified) {
        return Err(format!(
            "tls: private key does not match public key: {cert_file} has another key than \
             {key_file}"
        ));
    }
    Ok(CertifiedKey::new(chain, key))
}

/// The public key in a certificate, in DER. Whoever is shown it judges the rest.
fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    if let Ok(parsed) = ParsedCertificate::try_from(certificate) {
        return Some(parsed.subject_public_key_info().to_vec());
    }
    // It has a critical extension, perhaps, that the library does not know.
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    parsed.tbs_certificate.subject_public_key_info.to_der().ok()
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<_, _>>();
    certificates.map_err(|error| unread(file, error))
}

/// A file without the headers of its sections (`Name: value`), which the library does not expect.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = bounded_file::read(file);
    let bytes = bytes.map_err(|error| format!("open {}: {error}", file.display()))?;
    let mut in_section = false;
    let is_kept = |line: &&[u8]| {
        in_section = line.starts_with(b"-----BEGIN") || in_section && !line.starts_with(b"-----");
        !(in_section && line.contains(&b':'))
    };
    Ok(bytes.split_inclusive(|byte| *byte == b'\n').filter(is_kept).collect::<Vec<_>>().concat())
}

/// The reason that a file cannot be used, in Go's words.
fn unread(file: &Path, error: pem::Error) -> String {
    let shown = file.display();
    match error {
        pem::Error::NoItemsFound => format!("tls: failed to find any PEM data in {shown}"),
        error => format!("{shown}: {error}"),
    }
}
