//! PEM files: authorities, and certificates with their keys.
//!
//! An error names the file, in Go's words where it has some.
//! nats: server/opts.go `GenTLSConfig`

use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::base::os_error::OsError;
use crate::config::options::CertFiles;
use crate::trust::Trust;

/// The authorities in a file, or those of the system.
pub(crate) fn authorities(file: Option<&Path>, provider: &CryptoProvider) -> Result<Trust, String> {
    let certs = match file {
        Some(file) => certificates(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let trust = Trust::new(&certs, provider);
    match file {
        _ if !trust.is_empty() => Ok(trust),
        Some(_) => Err("failed to parse root ca certificate".to_owned()),
        None => Err("the system has no certificates of authorities: set 'ca_file'".to_owned()),
    }
}

/// A certificate with those between it and the authority, and its key.
pub(crate) fn key_pair(
    files: &CertFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(&files.cert_file)?;
    if chain.is_empty() {
        return Err(unread(&files.cert_file, pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| match error {
        pem::Error::NoItemsFound => format!(
            "no private key in {}; one that is encrypted has to be decrypted first (openssl pkey)",
            files.key_file.display()
        ),
        error => unread(&files.key_file, error),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!(
                "tls: private key does not match public key: {} has another key than {}",
                files.cert_file.display(),
                files.key_file.display()
            )
        }
        error => format!("tls: {error}"),
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| unread(file, error))
}

/// The reason that a file cannot be used, in Go's words.
fn unread(file: &Path, error: pem::Error) -> String {
    let shown = file.display();
    match error {
        pem::Error::Io(error) => format!("open {shown}: {}", OsError(&error)),
        pem::Error::NoItemsFound => format!("tls: failed to find any PEM data in {shown}"),
        error => format!("{shown}: {error}"),
    }
}
