//! Clients that encrypt, and played servers: a thread stands between a [`Client`], which does not,
//! and the server.
//!
//! The certificates are those of `tests/it/tls`, where `make` made them.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use data_encoding::HEXLOWER;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion, version,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Client, PATIENCE, Remote};

/// How a client encrypts.
#[derive(Clone)]
pub(crate) struct Means {
    /// It begins the handshake before INFO.
    pub(crate) first: bool,
    /// It shows the certificate of that name.
    pub(crate) cert: Option<&'static str>,
    /// The name that it wants the server to have.
    pub(crate) name: &'static str,
    pub(crate) version: &'static SupportedProtocolVersion,
}

impl Default for Means {
    fn default() -> Means {
        Means { first: false, cert: None, name: "localhost", version: &version::TLS13 }
    }
}

impl Means {
    /// Begins the handshake before INFO.
    pub(crate) fn first() -> Means {
        Means { first: true, ..Means::default() }
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        match self.cert {
            None => builder.with_no_client_auth(),
            Some(name) => {
                // All certificates of a folder have one key.
                let key = match name.split_once('/') {
                    Some((folder, _)) => format!("{folder}/{folder}.key"),
                    None => format!("{name}.key"),
                };
                let key = PrivateKeyDer::from_pem_file(file(&key)).unwrap();
                builder.with_client_auth_cert(vec![certificate(name)], key).unwrap()
            }
        }
    }
}

/// A file of the tests.
pub(crate) fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/tls", name].iter().collect()
}

/// The certificate of that name.
pub(crate) fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap()
}

/// The SHA-256 of the public key in that certificate.
pub(crate) fn pin(name: &str) -> String {
    let certificate = certificate(name);
    let certificate = ParsedCertificate::try_from(&certificate).unwrap();
    HEXLOWER.encode(&Sha256::digest(certificate.subject_public_key_info()))
}

/// A `tls` block with the certificate of the server and further settings.
pub(crate) fn conf(more: &str) -> String {
    block("server", "ca", more)
}

/// A `tls` block with these certificates, its own and the authority's, and further settings.
pub(crate) fn block(cert: &str, ca: &str, more: &str) -> String {
    let [cert, key, ca] =
        [format!("{cert}.pem"), format!("{cert}.key"), format!("{ca}.pem")].map(|name| file(&name));
    format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, {more} }}\n")
}

/// Connects by `means`; unless the client is first, its INFO is the first that the client reads.
///
/// # Errors
/// The handshake fails on this side, and why.
pub(crate) fn connect(port: u16, means: &Means) -> Result<Client, String> {
    bridge(port, means).map(Client::from_stream)
}

/// The same for a client of any kind.
pub(crate) fn bridge(port: u16, means: &Means) -> Result<TcpStream, String> {
    let (socket, info) = meet(port, means)?;
    let connector = TlsConnector::from(Arc::new(means.config()));
    let name = ServerName::try_from(means.name).unwrap();
    relay(socket, &info, move |socket| connector.connect(name, socket))
}

/// Opens a connection for a handshake by `means`, with the INFO that comes before it.
fn meet(port: u16, means: &Means) -> Result<(TcpStream, Vec<u8>), String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut info = Vec::new();
    while !means.first && info.last() != Some(&b'\n') {
        let mut byte = [0];
        socket.read_exact(&mut byte).map_err(|error| error.to_string())?;
        info.push(byte[0]);
    }
    Ok((socket, info))
}

/// Connects by `means`. `bytes` and the end of the stream then stand in one write, which may begin
/// with the last of the handshake. Returns all that the server says, until it ends, too.
pub(crate) fn say_and_leave(port: u16, means: &Means, bytes: &[u8]) -> String {
    let (mut socket, _) = meet(port, means).unwrap();
    let name = ServerName::try_from(means.name).unwrap();
    let mut tls = ClientConnection::new(Arc::new(means.config()), name).unwrap();
    tls.set_buffer_limit(None);
    let mut out = Vec::new();
    while tls.is_handshaking() {
        socket.write_all(&std::mem::take(&mut out)).unwrap();
        if !tls.wants_write() {
            tls.read_tls(&mut socket).unwrap();
            tls.process_new_packets().unwrap();
        }
        while tls.wants_write() {
            tls.write_tls(&mut out).unwrap();
        }
    }
    tls.writer().write_all(bytes).unwrap();
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut out).unwrap();
    }
    socket.write_all(&out).unwrap();
    let mut said = Vec::new();
    while tls.read_tls(&mut socket).expect("the server ends the connection") > 0 {
        tls.process_new_packets().unwrap();
        // It fails when there is no more for now.
        let _ = tls.reader().read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Accepts a server that dials this one, which has that certificate.
///
/// # Errors
/// As in [`connect`].
pub(crate) fn accept(listener: &TcpListener, cert: &str) -> Result<Client, String> {
    let key = PrivateKeyDer::from_pem_file(file(&format!("{cert}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(cert)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let stream = Remote::accept_stream(listener);
    relay(stream, b"", move |socket| acceptor.accept(socket)).map(Client::from_stream)
}

/// Stands between `socket`, after a handshake there, and a client that has read `before` already.
fn relay<S, F>(
    socket: TcpStream,
    before: &[u8],
    shake_hands: impl FnOnce(tokio::net::TcpStream) -> F + Send + 'static,
) -> Result<TcpStream, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = io::Result<S>>,
{
    let meeting = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let near = TcpStream::connect(meeting.local_addr().unwrap()).unwrap();
    let mut far = meeting.accept().unwrap().0;
    far.write_all(before).unwrap();
    let (done, handshake) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let [socket, mut far] = [socket, far].map(|socket| {
                socket.set_nonblocking(true).unwrap();
                tokio::net::TcpStream::from_std(socket).unwrap()
            });
            match shake_hands(socket).await {
                Err(error) => done.send(Err(error.to_string())).unwrap(),
                Ok(mut tls) => {
                    done.send(Ok(())).unwrap();
                    // It ends when one side has; which, the client sees.
                    let _ = copy_bidirectional(&mut tls, &mut far).await;
                }
            }
        });
    });
    handshake.recv_timeout(PATIENCE).expect("a handshake ends")?;
    Ok(near)
}
