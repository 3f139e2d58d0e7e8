//! TLS, as a client has it: TLS 1.3 with one cipher suite, so that all servers get the same work.
//!
//! Knows bytes; of a socket only the handshake does. The state of the library serves both
//! directions, so it stands under a lock, which is not held over a read or a write.
//! The certificate is that of the tests, whose key is on P-256.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

/// The arguments that make a server encrypt.
pub(crate) const SERVER_ARGS: [&str; 5] = [
    "--tls",
    "--tlscert",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/server.pem"),
    "--tlskey",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/server.key"),
];

/// The issuer of that certificate.
const CA: &[u8] = include_bytes!("../../tests/it/tls/ca.pem");

/// Bytes of the longest record.
pub(crate) const RECORD_LEN_MAX: usize = 5 + 16 * 1024 + 256;

/// The settings of a client, and its way to resume sessions, if it does.
pub(crate) fn config(resumption: Resumption) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(CA).expect("the tests use it, too");
    roots.add(ca).expect("the tests use it, too");
    let cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let provider = CryptoProvider { cipher_suites, ..default_provider() };
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS13])
        .expect("the suite is one of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    config.into()
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Tls(Mutex<ClientConnection>);

impl Tls {
    /// Shakes hands.
    ///
    /// # Errors
    /// Those of the socket, or of the handshake.
    pub(crate) fn handshake(socket: &TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a name of the certificate");
        let session = ClientConnection::new(Arc::clone(config), name);
        let mut session = session.map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        session.complete_io(&mut &*socket)?;
        Ok(Self(Mutex::new(session)))
    }

    /// Decrypts all whole records there are by now into `plain`, and returns their length together.
    /// There is room for everything if `plain` is longer than `encrypted` by a record.
    ///
    /// # Errors
    /// No TLS, or an alert.
    pub(crate) fn decrypt(&self, mut encrypted: &[u8], plain: &mut [u8]) -> io::Result<usize> {
        let mut session = self.0.lock();
        let mut len = 0;
        while !encrypted.is_empty() {
            if session.read_tls(&mut encrypted)? == 0 {
                return Err(io::Error::new(ErrorKind::InvalidData, "bytes behind the end of TLS"));
            }
            let state = session.process_new_packets().map_err(io::Error::other)?;
            let end = len + state.plaintext_bytes_to_read();
            session.reader().read_exact(&mut plain[len..end])?;
            len = end;
        }
        Ok(len)
    }

    /// The records with these bytes.
    pub(crate) fn encrypt(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut session = self.0.lock();
        session.writer().write_all(plain)?;
        taken(&mut session)
    }

    /// The last record: nothing more will come.
    pub(crate) fn end(&self) -> io::Result<Vec<u8>> {
        let mut session = self.0.lock();
        session.send_close_notify();
        taken(&mut session)
    }

    /// The handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.lock().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Version, cipher suite and key exchange, as both sides have agreed.
    pub(crate) fn agreed(&self) -> String {
        let session = self.0.lock();
        let agreed = || {
            let version = session.protocol_version()?;
            let suite = session.negotiated_cipher_suite()?.suite();
            let group = session.negotiated_key_exchange_group()?.name();
            Some(format!("{version:?}, {suite:?}, {group:?}"))
        };
        agreed().unwrap_or_else(|| "nothing agreed".to_owned())
    }
}

/// All records that the library has for the other side.
fn taken(session: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut records = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut records)?;
    }
    Ok(records)
}
