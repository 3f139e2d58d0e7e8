//! The layer against a client of the library, and against itself, over bytes cut anywhere.

use std::io::{Read, Write};
use std::path::PathBuf;

use rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
use rustls::client::{UnbufferedClientConnection, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, HandshakeKind, RootCertStore,
    SupportedProtocolVersion, version,
};
use sha2::{Digest, Sha256};

use super::*;
use crate::config::options::{CertFiles, Tls};
use crate::config::route_url::RouteUrl;
use crate::conn::taken::Taken;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/tls", name].iter().collect()
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    roots
}

fn client_config(
    version: &'static SupportedProtocolVersion,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots())
}

/// Both sides of a connection.
struct Pair {
    client: ClientConnection,
    port: TlsPort,
    taken: Arc<Taken>,
    wire: Arc<Encrypted>,
    decrypted: Decrypted,
    /// Bytes of the client that are not read yet.
    sent: Vec<u8>,
    /// Plain bytes that have reached the server.
    plain: Vec<u8>,
    /// Plain bytes that have reached the client.
    heard: Vec<u8>,
    ended: bool,
    random: fastrand::Rng,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion, seed: u64) -> Pair {
        let config = client_config(version).with_no_client_auth();
        let tls = Tls::new(file("server.pem"), file("server.key"));
        Pair::of(Arc::new(config), TlsPort::load(&tls, false, None).unwrap(), seed)
    }

    fn of(config: Arc<ClientConfig>, port: TlsPort, seed: u64) -> Pair {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(config, name).unwrap();
        let taken = Arc::new(Taken::default());
        let below = Arc::clone(&taken) as Arc<dyn Wire>;
        let wire = Arc::new(Encrypted::new(below, port.open(&Side::Accepts).unwrap(), 0));
        let decrypted = Decrypted::new(Arc::clone(&wire));
        let random = fastrand::Rng::with_seed(seed);
        let [sent, plain, heard] = [const { Vec::new() }; 3];
        Pair { client, port, taken, wire, decrypted, sent, plain, heard, ended: false, random }
    }

    /// Takes the client's output.
    fn say(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.sent).unwrap();
        }
    }

    /// Hands the server's bytes to the client, in pieces.
    fn hear(&mut self) {
        self.wire.try_flush().unwrap();
        let bytes = self.taken.take();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (mut piece, behind) = rest.split_at(self.random.usize(1..=rest.len()));
            rest = behind;
            while !piece.is_empty() {
                self.client.read_tls(&mut piece).unwrap();
                self.client.process_new_packets().unwrap();
                let mut buf = vec![0; RECORD_LEN];
                while let Ok(len @ 1..) = self.client.reader().read(&mut buf) {
                    self.heard.extend_from_slice(&buf[..len]);
                }
            }
        }
    }

    /// A piece of the unread bytes.
    fn cut(&mut self) -> Vec<u8> {
        let len = self.random.usize(1..=self.sent.len());
        let len = if self.random.bool() { len.min(40) } else { len };
        self.sent.drain(..len).collect()
    }

    fn shake_hands(&mut self) -> Agreed {
        loop {
            self.say();
            while !self.sent.is_empty() {
                let piece = self.cut();
                let mut rest = &piece[..];
                let agreed = self.decrypted.handshake(&mut rest, &self.port).unwrap();
                self.sent.splice(..0, rest.iter().copied());
                if let Some(agreed) = agreed {
                    self.hear();
                    return agreed;
                }
            }
            self.hear();
        }
    }

    /// Reads the sent bytes through the layer.
    fn read(&mut self) {
        while !self.sent.is_empty() {
            let mut piece = self.cut();
            let mut used = 0;
            loop {
                match self.decrypted.next_piece(&mut piece[used..]) {
                    Ok(Next::Piece(plain, len)) => {
                        assert!(plain.len() < PIECE_LEN + RECORD_LEN);
                        self.plain.extend_from_slice(plain);
                        used += len;
                    }
                    Ok(Next::Missing) => break,
                    Ok(Next::End) => {
                        self.ended = true;
                        break;
                    }
                    Err(error) => panic!("{}", error.text),
                }
            }
            assert!(self.wire.session.lock().kept.len() <= RECORD_LEN + 1024);
            assert_eq!(self.decrypted.plain.capacity(), 0);
        }
    }
}

#[test]
fn every_byte_arrives_however_it_is_cut() {
    for (seed, version) in
        [&version::TLS13, &version::TLS12].into_iter().cycle().take(20).enumerate()
    {
        let mut pair = Pair::new(version, seed as u64);
        let mut said = b"behind the handshake".to_vec();
        pair.client.writer().write_all(&said).unwrap();
        let agreed = pair.shake_hands();
        assert_eq!(agreed.version == TlsVersion::V1_3, *version == version::TLS13);
        for round in 0..20 {
            let len = [0, 1, 100, 20_000, 200_000][pair.random.usize(..5)];
            let text: Vec<u8> = (0..len).map(|_| pair.random.u8(..)).collect();
            said.extend_from_slice(&text);
            let mut rest = &text[..];
            while !rest.is_empty() {
                let written = pair.client.writer().write(rest).unwrap();
                rest = &rest[written..];
                pair.say();
            }
            if round % 5 == 0 && *version == version::TLS13 {
                pair.client.refresh_traffic_keys().unwrap();
                pair.say();
            }
            pair.read();

            let at = pair.random.usize(..=text.len());
            let (front, back) = text.split_at(at);
            let slices = [IoSlice::new(front), IoSlice::new(back)];
            assert_eq!(pair.wire.try_write(&slices).unwrap(), text.len());
            pair.hear();
            assert!(std::mem::take(&mut pair.heard) == text);
        }
        assert!(pair.plain == said);
        // The end stands behind bytes that may come with it.
        pair.client.writer().write_all(b"bye").unwrap();
        pair.client.send_close_notify();
        pair.say();
        pair.read();
        assert!(pair.plain.ends_with(b"bye"));
        assert!(pair.ended);
        pair.decrypted.end(ClosedReason::ClientClosed);
        pair.decrypted.end(ClosedReason::ClientClosed);
        pair.hear();
        assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0, "the end, and not cut off");
    }
}

/// A client before the end of its handshake makes the server keep no more than this.
#[test]
fn a_handshake_that_never_ends_is_bounded() {
    let mut pair = Pair::new(&version::TLS13, 1);
    // A message of 2^24 bytes is announced, in records of 16 KiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(HEAD_LEN + RECORD_LEN, 0);
    let refused =
        (0..10).find_map(|_| pair.decrypted.handshake(&mut &record[..], &pair.port).err());
    assert!(refused.is_some());
    assert!(pair.wire.session.lock().kept.len() <= KEPT_LEN_MAX + record.len());

    let mut pair = Pair::new(&version::TLS13, 1);
    assert!(pair.decrypted.handshake(&mut &b"\x16\x03\x01\x40"[..], &pair.port).is_ok());
    assert!(pair.wire.session.lock().kept.capacity() < 100);
}

/// A chain of 63 KiB, in a message that nearly has the library's limit.
#[test]
fn a_client_may_show_a_long_chain() {
    let [leaf, ca] =
        ["client.pem", "ca.pem"].map(|pem| CertificateDer::from_pem_file(file(pem)).unwrap());
    let count = (63 * 1024 - leaf.len()) / (ca.len() + 5);
    let chain = std::iter::once(leaf).chain(std::iter::repeat_n(ca, count)).collect::<Vec<_>>();
    for version in [&version::TLS12, &version::TLS13] {
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        let config = client_config(version).with_client_auth_cert(chain.clone(), key).unwrap();
        let ca_file = Some(file("ca.pem"));
        let tls = Tls { verify: true, ca_file, ..Tls::new(file("server.pem"), file("server.key")) };
        let port = TlsPort::load(&tls, false, None).unwrap();
        Pair::of(Arc::new(config), port, 1).shake_hands();
    }
}

/// The client checks no Ed25519, and is shown another certificate in place of the one it names.
#[test]
fn a_certificate_that_a_client_cannot_use_is_passed_over() {
    for version in [&version::TLS12, &version::TLS13] {
        let mut provider = rustls::crypto::ring::default_provider();
        let all = provider.signature_verification_algorithms.mapping;
        let only = all.iter().position(|(scheme, _)| *scheme == ECDSA_NISTP256_SHA256).unwrap();
        provider.signature_verification_algorithms.mapping = &all[only..=only];
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots())
            .with_no_client_auth();
        let mut tls = Tls::new(file("ed25519.pem"), file("ed25519.key"));
        tls.certs.push(CertFiles { cert_file: file("other.pem"), key_file: file("other.key") });
        let mut pair = Pair::of(Arc::new(config), TlsPort::load(&tls, false, None).unwrap(), 1);
        let shown = loop {
            pair.say();
            let mut hello = &std::mem::take(&mut pair.sent)[..];
            pair.decrypted.handshake(&mut hello, &pair.port).unwrap();
            pair.wire.try_flush().unwrap();
            pair.client.read_tls(&mut &pair.taken.take()[..]).unwrap();
            if let Err(error) = pair.client.process_new_packets() {
                break error;
            }
        };
        assert!(shown.to_string().contains("only valid for DnsName(\"other.local\")"), "{shown}");
    }
}

/// Else a client whose certificate has expired could still come.
#[test]
fn sessions_are_resumed_unless_clients_show_certificates() {
    let (cert, key) = (file("client.pem"), file("client.key"));
    for version in [&version::TLS12, &version::TLS13] {
        for (verify, second) in [(false, HandshakeKind::Resumed), (true, HandshakeKind::Full)] {
            let chain = vec![CertificateDer::from_pem_file(&cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&key).unwrap();
            let config = client_config(version).with_client_auth_cert(chain, key);
            let config = Arc::new(config.unwrap());
            let ca_file = Some(file("ca.pem"));
            let tls = Tls { verify, ca_file, ..Tls::new(file("server.pem"), file("server.key")) };
            let mut port = TlsPort::load(&tls, false, None).unwrap();
            for kind in [HandshakeKind::Full, second] {
                let mut pair = Pair::of(Arc::clone(&config), port, 1);
                pair.shake_hands();
                assert_eq!(pair.client.handshake_kind(), Some(kind), "{version:?}, {verify}");
                port = pair.port;
            }
        }
    }
}

#[test]
fn failures_read_as_in_go() {
    for text in
        [&b"CONNECT {}\r\n"[..], b"GET / HTTP/1.1\r\n", b"\0\0\0\0\0\0\0\0", b"\r\n\r\n\r\n\r\n"]
    {
        let mut pair = Pair::new(&version::TLS13, 1);
        let failure = pair.decrypted.handshake(&mut { text }, &pair.port).err().unwrap();
        assert!(failure.is_clear_text(), "{text:?}: {failure:?}");
        assert_eq!(failure.to_string(), "tls: first record does not look like a TLS handshake");
    }
}

/// The library panics if it is not shown the same bytes again. A writing thread shows it the kept
/// bytes meanwhile, and so does the end of the connection.
#[test]
fn nothing_that_a_client_sends_makes_it_panic() {
    for seed in 0..400 {
        let version = if seed % 2 == 0 { &version::TLS13 } else { &version::TLS12 };
        let mut pair = Pair::new(version, seed);
        let done = seed % 3 == 0;
        if done {
            pair.shake_hands();
        }
        pair.say();
        let _ = pair.client.writer().write(&[0; 3_000]);
        pair.say();
        let kinds = [0x14, 0x15, 0x16, 0x17];
        for _ in 0..pair.random.usize(..3) {
            // A record of its own making, of which a message may go on in the next one.
            let len = pair.random.usize(..40);
            let body = (0..len).map(|_| pair.random.u8(..4)).collect::<Vec<_>>();
            let kind = kinds[pair.random.usize(..4)];
            let at = if pair.random.bool() { 0 } else { pair.sent.len() };
            pair.sent.splice(at..at, [&[kind, 3, 3, 0, len as u8], &body[..]].concat());
        }
        for _ in 0..pair.random.usize(..4) {
            let at = pair.random.usize(..pair.sent.len().max(1));
            let byte = pair.random.u8(..);
            pair.sent.get_mut(at).into_iter().for_each(|sent| *sent = byte);
        }
        let mut agreed = done;
        while !pair.sent.is_empty() {
            let mut piece = pair.cut();
            let failed = if agreed {
                pair.decrypted.next_piece(&mut piece).is_err()
            } else {
                let mut rest = &piece[..];
                let result = pair.decrypted.handshake(&mut rest, &pair.port);
                agreed = matches!(result, Ok(Some(_)));
                pair.sent.splice(..0, rest.iter().copied());
                result.is_err()
            };
            if agreed || pair.random.bool() {
                let _ = pair.wire.try_write(&[IoSlice::new(b"PING\r\n")]);
            }
            if failed {
                break;
            }
        }
        pair.decrypted.end(ClosedReason::ClientClosed);
        let _ = pair.wire.try_write(&[IoSlice::new(b"-ERR\r\n")]);
        let _ = pair.wire.try_flush();
    }
}

/// One of two servers.
struct End {
    port: TlsPort,
    taken: Arc<Taken>,
    wire: Arc<Encrypted>,
    decrypted: Decrypted,
    agreed: Option<TlsVersion>,
    plain: Vec<u8>,
    /// The error that ended it.
    failure: Option<String>,
}

impl End {
    fn new(port: TlsPort, state: State) -> End {
        let taken = Arc::new(Taken::default());
        let wire = Encrypted::new(Arc::clone(&taken) as Arc<dyn Wire>, state, 0);
        let wire = Arc::new(wire);
        let decrypted = Decrypted::new(Arc::clone(&wire));
        End { port, taken, wire, decrypted, agreed: None, plain: Vec::new(), failure: None }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        if self.agreed.is_none() {
            match self.decrypted.handshake(&mut bytes, &self.port) {
                Ok(None) => return,
                Ok(Some(agreed)) => self.agreed = Some(agreed.version),
                Err(failure) => return self.failure = Some(failure.to_string()),
            }
        }
        let (mut bytes, mut used) = (bytes.to_vec(), 0);
        loop {
            match self.decrypted.next_piece(&mut bytes[used..]) {
                Ok(Next::Piece(plain, len)) => {
                    self.plain.extend_from_slice(plain);
                    used += len;
                }
                Ok(_) => return,
                Err(error) => return self.failure = Some(error.text),
            }
        }
    }

    /// The bytes for the other side.
    fn output(&self) -> Vec<u8> {
        self.wire.try_flush().unwrap();
        self.taken.take()
    }
}

/// The port of a server with that certificate and further settings, which dials `routes`.
fn port_of_routes(cert: &str, routes: &[&str], more: impl FnOnce(&mut Tls)) -> TlsPort {
    let mut tls = Tls::new(file(&format!("{cert}.pem")), file(&format!("{cert}.key")));
    tls.ca_file = Some(file("ca.pem"));
    more(&mut tls);
    let routes: Vec<_> = routes.iter().map(|url| RouteUrl::parse(url).unwrap()).collect();
    TlsPort::load(&tls.of_routes(), false, Some(&routes)).unwrap()
}

/// A server that dials another one by that host, and the other one.
fn ends(dials: TlsPort, accepts: TlsPort, host: &str) -> [End; 2] {
    let dialling = dials.open(&Side::dials(host, [192, 0, 2, 1].into())).unwrap();
    let accepting = accepts.open(&Side::Accepts).unwrap();
    [End::new(dials, dialling), End::new(accepts, accepting)]
}

/// Hands each side the output of the other, in pieces, until both are silent.
fn talk([dials, accepts]: &mut [End; 2], mut cut: impl FnMut(&mut Vec<u8>) -> Vec<u8>) {
    dials.read(b"");
    loop {
        let [mut there, mut back] = [dials.output(), accepts.output()];
        if there.is_empty() && back.is_empty() {
            return;
        }
        while !there.is_empty() {
            accepts.read(&cut(&mut there));
        }
        while !back.is_empty() {
            dials.read(&cut(&mut back));
        }
    }
}

#[test]
fn two_servers_understand_each_other_however_it_is_cut() {
    let text: Vec<u8> = (0..100_000_u32).map(|n| (n / 7) as u8).collect();
    for (version, wanted) in
        [(&version::TLS13, TlsVersion::V1_3), (&version::TLS12, TlsVersion::V1_2)]
    {
        for len in [1, 2, 7, 1000, 200_000] {
            let port = || port_of_routes("server", &[], |_| {});
            let mut ends = ends(port(), port(), "localhost");
            if wanted == TlsVersion::V1_2 {
                let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
                let chain = vec![CertificateDer::from_pem_file(file("client.pem")).unwrap()];
                let config = client_config(version).with_client_auth_cert(chain, key).unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let state = UnbufferedClientConnection::new(Arc::new(config), name).unwrap();
                ends[0] = End::new(port(), State::Dialling(state));
            }
            let cut = |bytes: &mut Vec<u8>| bytes.drain(..len.min(bytes.len())).collect();
            talk(&mut ends, cut);
            assert_eq!(ends.each_ref().map(|end| end.agreed), [Some(wanted); 2]);
            for end in &ends {
                assert_eq!(end.wire.try_write(&[IoSlice::new(&text)]).unwrap(), text.len());
            }
            talk(&mut ends, cut);
            for end in &ends {
                assert!(end.plain == text);
                assert_eq!(end.wire.session.lock().kept.capacity(), 0, "idle");
            }
        }
    }
}

fn own(cert: &str) -> TlsPort {
    port_of_routes(cert, &[], |_| {})
}

/// A dial to `host`: the failures of the side that dials and of the other one, empty if there is
/// none.
fn dial(dials: TlsPort, accepts: TlsPort, host: &str) -> [String; 2] {
    let mut ends = ends(dials, accepts, host);
    talk(&mut ends, std::mem::take);
    ends.map(|end| end.failure.unwrap_or_default())
}

const FINE: [&str; 2] = [""; 2];

/// The text of the side that checks.
fn failed(why: &str) -> String {
    format!("tls: failed to verify certificate: x509: {why}")
}

/// The text of the other one.
fn alert(why: &str) -> String {
    format!("remote error: tls: {why}")
}

/// The texts are Go's.
#[test]
fn a_dialled_server_has_the_name_of_its_url() {
    assert_eq!(dial(own("server"), own("server"), "localhost"), FINE);
    assert_eq!(dial(own("server"), own("server"), "127.0.0.1"), FINE);
    assert_eq!(dial(own("server"), own("server"), "::ffff:127.0.0.1"), FINE);
    assert_eq!(dial(own("client"), own("other"), "x.many.local"), FINE, "who dials has any name");
    let refused = |why: &str| [failed(why), alert("bad certificate")];
    let other = refused("certificate is valid for other.local, *.many.local, not localhost");
    assert_eq!(dial(own("server"), own("other"), "localhost"), other);
    let another_address = refused("certificate is valid for 127.0.0.1, not 127.0.0.2");
    assert_eq!(dial(own("server"), own("server"), "127.0.0.2"), another_address);
    let no_address =
        refused("cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs");
    assert_eq!(dial(own("server"), own("other"), "127.0.0.1"), no_address);

    let knows = |url: &str| port_of_routes("server", &["nats://127.0.0.1:1", url], |_| {});
    assert_eq!(dial(knows("nats://other.local:1"), own("other"), "127.0.0.1"), FINE);
    assert_eq!(dial(knows("nats://third.local:1"), own("other"), "127.0.0.1"), no_address);
    let careless = port_of_routes("server", &[], |tls| tls.insecure = true);
    assert_eq!(dial(careless, own("other"), "localhost"), FINE);
}

#[test]
fn servers_trust_their_authority_alone() {
    let of_strangers =
        |cert: &str| port_of_routes(cert, &[], |tls| tls.ca_file = Some(file("foreign-ca.pem")));
    let unknown = failed("certificate signed by unknown authority");
    let of_unknown = alert("unknown certificate authority");
    assert_eq!(
        dial(own("server"), of_strangers("foreign"), "localhost"),
        [unknown.clone(), of_unknown.clone()]
    );
    // The side that dials is done before it is checked.
    assert_eq!(
        dial(own("foreign"), own("server"), "localhost"),
        [format!("read error: {of_unknown}"), unknown]
    );
    assert_eq!(
        dial(own("expired"), of_strangers("server"), "localhost"),
        [
            format!("read error: {}", alert("expired certificate")),
            failed("certificate has expired or is not yet valid")
        ]
    );
    assert_eq!(
        dial(own("server"), own("client"), "localhost"),
        [
            failed("certificate specifies an incompatible key usage"),
            alert("unsupported certificate")
        ]
    );
}

#[test]
fn servers_show_the_certificate_that_is_asked_for() {
    let several = port_of_routes("foreign", &[], |tls| {
        tls.certs.push(CertFiles { cert_file: file("server.pem"), key_file: file("server.key") });
    });
    assert_eq!(dial(several, own("server"), "localhost"), FINE);
}

#[test]
fn servers_have_pinned_keys() {
    let pins = |pin: [u8; 32]| port_of_routes("server", &[], |tls| tls.pinned_certs = vec![pin]);
    let cert = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = ParsedCertificate::try_from(&cert).unwrap().subject_public_key_info();
    let pin = Sha256::digest(key).into();
    assert_eq!(dial(pins(pin), pins(pin), "localhost"), FINE);
    let not_pinned = "certificate not pinned";
    assert_eq!(dial(pins([0; 32]), own("server"), "localhost"), [not_pinned, ""]);
    assert_eq!(dial(own("server"), pins([0; 32]), "localhost"), ["", not_pinned]);
}

/// As [`nothing_that_a_client_sends_makes_it_panic`], for both sides.
#[test]
fn nothing_that_a_server_sends_makes_it_panic() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let port = || port_of_routes("server", &[], |_| {});
        let mut ends = ends(port(), port(), "localhost");
        let mut rest = random.usize(..4_000);
        talk(&mut ends, |bytes| {
            let mut piece: Vec<u8> = bytes.drain(..random.usize(1..=bytes.len())).collect();
            if rest < piece.len() {
                piece[rest] = random.u8(..);
            }
            rest = rest.wrapping_sub(piece.len());
            piece
        });
        for end in &mut ends {
            let _ = end.wire.try_write(&[IoSlice::new(b"PING\r\n")]);
            end.decrypted.end(ClosedReason::ClientClosed);
            let _ = end.wire.try_flush();
        }
    }
}
