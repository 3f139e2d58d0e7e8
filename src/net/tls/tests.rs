//! The layer against a client of the library, over bytes cut anywhere.

use std::io::{Read, Write};
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use super::*;
use crate::config::options::Tls;
use crate::conn::taken::Taken;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/tls", name].iter().collect()
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
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let tls = Tls::new(file("server.pem"), file("server.key"));
        let port = TlsPort::load(&tls, false).unwrap();
        let taken = Arc::new(Taken::default());
        let below = Arc::clone(&taken) as Arc<dyn Wire>;
        let wire = Arc::new(Encrypted::new(below, port.accept().unwrap(), 0));
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
                if let Some(mut agreed) = self.decrypted.handshake(&piece, &self.port).unwrap() {
                    self.hear();
                    self.plain.append(&mut agreed.plain);
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
        pair.client.send_close_notify();
        pair.say();
        pair.read();
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
    let refused = (0..10).find_map(|_| pair.decrypted.handshake(&record, &pair.port).err());
    assert!(refused.is_some());
    assert!(pair.wire.session.lock().kept.len() <= KEPT_LEN_MAX + record.len());

    let mut pair = Pair::new(&version::TLS13, 1);
    assert!(pair.decrypted.handshake(b"\x16\x03\x01\x40", &pair.port).is_ok());
    assert!(pair.wire.session.lock().kept.capacity() < 100);
}

#[test]
fn failures_read_as_in_go() {
    for text in
        [&b"CONNECT {}\r\n"[..], b"GET / HTTP/1.1\r\n", b"\0\0\0\0\0\0\0\0", b"\r\n\r\n\r\n\r\n"]
    {
        let mut pair = Pair::new(&version::TLS13, 1);
        let failure = pair.decrypted.handshake(text, &pair.port).err().unwrap();
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
                let result = pair.decrypted.handshake(&piece, &pair.port);
                agreed = matches!(result, Ok(Some(_)));
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
