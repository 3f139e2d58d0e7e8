//! Clients that come by WebSocket: one that speaks frames, and a bridge for one that does not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::client::{Arrived, shown};
use super::tls::{self, Means};
use super::{Client, PATIENCE, Server};

/// The first bytes of frames.
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const COMPRESSED: u8 = 0xc2;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A block of the configuration that opens the port, with further settings.
pub(crate) fn conf(more: &str) -> String {
    format!("websocket {{ listen: \"127.0.0.1:-1\", no_tls: true, {more} }}\n")
}

/// The same, encrypted, with further settings of its TLS.
pub(crate) fn wss_conf(more: &str, more_of_tls: &str) -> String {
    let tls = tls::conf(more_of_tls);
    format!("websocket {{ listen: \"127.0.0.1:-1\", {more}\n {tls} }}\n")
}

/// A request for an upgrade, with further header lines.
pub(crate) fn request(more: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: h.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// Has the server compress, and take what is compressed.
pub(crate) const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// A client that speaks frames.
pub(crate) struct WebSocket {
    pub(crate) client: Client,
}

impl WebSocket {
    /// Upgrades with these header lines, and reads nothing yet.
    #[track_caller]
    pub(crate) fn upgrade(server: &Server, more: &str) -> WebSocket {
        let (stream, head) = upgraded(connect(server), more);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        WebSocket { client: Client::from_stream(stream) }
    }

    /// The same, and reads INFO.
    #[track_caller]
    pub(crate) fn open(server: &Server, more: &str) -> WebSocket {
        let mut socket = WebSocket::upgrade(server, more);
        let info = socket.message();
        assert!(info.starts_with(b"INFO {"), "{}", shown(&info));
        socket
    }

    /// Sends a message in one frame.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_frame(BINARY, text.as_bytes());
    }

    /// Sends a frame.
    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.client.send_bytes(&masked(first, payload));
    }

    /// The next frame: its first byte, and its payload; none at the end of the connection.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((first, payload, len)) = split(self.client.received()) {
                let rest = self.client.take_received().split_off(len);
                self.client.put_back(&rest);
                return Some((first, payload));
            }
            match self.client.read_some(deadline) {
                Arrived::Bytes => {}
                Arrived::Closed => return None,
                Arrived::Nothing => panic!("no frame: {:?}", shown(self.client.received())),
            }
        }
    }

    /// The next message, inflated.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Vec<u8> {
        let (first, payload) = self.frame().expect("a message");
        match first {
            BINARY => payload,
            COMPRESSED => inflate(&payload),
            _ => panic!("a message expected, not {first:#x} {:?}", shown(&payload)),
        }
    }

    /// Reads messages until they have brought this text.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let mut got = Vec::new();
        while got.len() < text.len() && text.as_bytes().starts_with(&got) {
            got.extend(self.message());
        }
        assert_eq!(shown(&got), shown(text.as_bytes()));
    }

    /// Reads a CLOSE with this payload, and the end.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, payload: &[u8]) {
        let (first, got) = self.frame().expect("CLOSE");
        assert_eq!((first, shown(&got)), (CLOSE, shown(payload)));
        assert_eq!(self.frame(), None);
    }
}

/// Connects to the port, encrypted if it is.
pub(crate) fn connect(server: &Server) -> TcpStream {
    let port = server.websocket_port();
    match server.has_wss() {
        true => tls::bridge(port, &Means::first()).unwrap(),
        false => TcpStream::connect(("127.0.0.1", port)).expect("the server accepts"),
    }
}

/// Asks for an upgrade with these header lines, and reads the head of the answer.
pub(crate) fn upgraded(mut stream: TcpStream, more: &str) -> (TcpStream, String) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(more).as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Connects a client that knows of no frames: a thread for each direction stands between it and the
/// server. Whatever it writes is cut by `seed`, if there is one, and compressed in parts.
pub(crate) fn bridge(server: &Server, seed: Option<u64>) -> Client {
    let (theirs, head) = upgraded(connect(server), DEFLATE);
    theirs.set_read_timeout(None).unwrap();
    let may_compress = head.contains("permessage-deflate");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nodelay(true).unwrap();
    let (mut from, mut to) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
    thread::spawn(move || {
        let mut random = seed.map(fastrand::Rng::with_seed);
        let mut buf = vec![0; 100_000];
        while let Ok(len @ 1..) = from.read(&mut buf) {
            let frames = match &mut random {
                Some(random) => messages(&buf[..len], may_compress, random),
                None => masked(BINARY, &buf[..len]),
            };
            if to.write_all(&frames).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (theirs, ours);
    thread::spawn(move || {
        let (mut received, mut buf) = (Vec::new(), vec![0; 100_000]);
        while let Ok(len @ 1..) = from.read(&mut buf) {
            received.extend_from_slice(&buf[..len]);
            while let Some((first, payload, len)) = split(&received) {
                received.drain(..len);
                let _ = match first {
                    BINARY => to.write_all(&payload),
                    COMPRESSED => to.write_all(&inflate(&payload)),
                    _ => Ok(()),
                };
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    Client::from_stream(client)
}

/// Messages, some compressed, in frames that are cut at will, with others between them at times.
fn messages(bytes: &[u8], may_compress: bool, random: &mut fastrand::Rng) -> Vec<u8> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=rest.len()));
        rest = behind;
        let (first, payload) = match may_compress && random.bool() {
            true => (COMPRESSED, deflate(piece)),
            false => (BINARY, piece.to_vec()),
        };
        let (front, back) = payload.split_at(random.usize(..=payload.len()));
        frames.extend(masked(first & !0x80, front));
        frames.extend(masked(PONG, b"unasked for"));
        frames.extend(masked(0x80, back));
    }
    frames
}

/// A frame of a client.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    frame
}

/// The first frame of the server in these bytes: its first byte, its payload, and its length.
fn split(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let more_len = [2, 8].get(usize::from(short).wrapping_sub(126)).copied().unwrap_or(0);
    let more = bytes.get(2..2 + more_len)?;
    let len = more.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    let len = if more_len == 0 { short.into() } else { len };
    let payload = bytes.get(2 + more_len..2 + more_len + len)?;
    Some((first, payload.to_vec(), 2 + more_len + len))
}

pub(crate) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + 1_000);
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(b"\0\0\xff\xff"));
    out.truncate(out.len() - 4);
    out
}

pub(crate) fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 1_100 + 1_000);
    let mut decompress = Decompress::new(false);
    let input = [payload, b"\0\0\xff\xff"].concat();
    decompress.decompress_vec(&input, &mut out, FlushDecompress::Sync).unwrap();
    assert_eq!(decompress.total_in() as usize, input.len());
    out
}
