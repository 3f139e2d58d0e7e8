//! A client that speaks bytes, so that a test reads like a transcript.
//!
//! Every wait ends in [`PATIENCE`](super::PATIENCE), as a failure.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::frames::frame_len;
use super::{PATIENCE, Server};

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Bytes were added.
    Bytes,
    /// The server closed, by FIN or by RST.
    Closed,
    /// Nothing until the deadline.
    Nothing,
}

/// One connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    /// Received and not yet consumed.
    received: Vec<u8>,
    closed: bool,
    /// PINGs are answered, and not shown.
    steady: bool,
}

impl Client {
    /// Connects and reads the INFO line; sends nothing.
    pub(crate) fn open(server: &Server) -> Client {
        Client::open_port(server.port())
    }

    /// As [`open`](Client::open), by port.
    pub(crate) fn open_port(port: u16) -> Client {
        let mut client = Client::silent(port);
        let info = client.frame();
        assert!(info.starts_with(b"INFO {"), "the server speaks first: {}", shown(&info));
        client
    }

    /// Connects and reads nothing yet.
    pub(crate) fn silent(port: u16) -> Client {
        Client::from_stream(TcpStream::connect(("127.0.0.1", port)).expect("the server accepts"))
    }

    /// Takes a connection that is there.
    pub(crate) fn from_stream(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, received: Vec::new(), closed: false, steady: false }
    }

    /// Connects, sends a quiet CONNECT with these further members, and waits for the PONG; PINGs
    /// are answered.
    pub(crate) fn connect(server: &Server, members: &str) -> Client {
        let mut client = Client::open(server).steady();
        client.send(&format!("{}PING\r\n", quiet_connect(members)));
        client.expect("PONG\r\n");
        client
    }

    /// The same, subscribed as 1 to `subject`, which a queue may follow.
    pub(crate) fn subscribed(server: &Server, subject: &str) -> Client {
        let mut client = Client::connect(server, "");
        client.send(&format!("SUB {subject} 1\r\n"));
        client.fence();
        client
    }

    /// Answers the server's PINGs from now on, also those that come while a busy machine waits.
    pub(crate) fn steady(mut self) -> Client {
        self.steady = true;
        self
    }

    /// Leaves PINGs to the test again.
    pub(crate) fn unsteady(mut self) -> Client {
        self.steady = false;
        self
    }

    fn answer_pings(&mut self) {
        while self.steady && self.received.starts_with(b"PING\r\n") {
            self.received.drain(..b"PING\r\n".len());
            self.send_anyway(b"PONG\r\n");
        }
    }

    /// The port on this side, by which `/connz` knows the connection.
    pub(crate) fn local_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server still reads");
    }

    /// Sends bytes that the server may refuse by closing.
    pub(crate) fn send_anyway(&mut self, bytes: &[u8]) {
        // What the server answers to it is read later; a write error only says that it has closed.
        let _ = self.stream.write_all(bytes);
    }

    /// Ends our direction (FIN); the other stays open.
    pub(crate) fn shutdown_write(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads exactly this text.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        self.expect_bytes(text.as_bytes());
    }

    /// Reads exactly these bytes.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        self.answer_pings();
        while self.received.len() < bytes.len() {
            let common = bytes.starts_with(&self.received);
            let arrived = if common { self.read_some(deadline) } else { Arrived::Nothing };
            assert!(
                arrived == Arrived::Bytes,
                "expected {:?}\n     got {:?} ({arrived:?})",
                shown(bytes),
                shown(&self.received)
            );
            self.answer_pings();
        }
        assert!(
            self.received.starts_with(bytes),
            "expected {:?}\n     got {:?}",
            shown(bytes),
            shown(&self.received)
        );
        self.received.drain(..bytes.len());
    }

    /// Reads one frame, whatever it is.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.answer_pings();
            if let Some(len) = frame_len(&self.received) {
                return self.received.drain(..len).collect();
            }
            let arrived = self.read_some(deadline);
            let so_far = shown(&self.received);
            assert!(arrived == Arrived::Bytes, "expected a frame, got {so_far:?} ({arrived:?})");
        }
    }

    /// Sends PING and reads the PONG: all sent before is handled, and nothing else came of it.
    #[track_caller]
    pub(crate) fn fence(&mut self) {
        self.send("PING\r\n");
        self.expect("PONG\r\n");
    }

    /// True if the server of this client knows a subscriber for a request on `subject`.
    ///
    /// The client has asked for headers and for 503, which it gets in `in`, its subscription 1.
    #[track_caller]
    pub(crate) fn is_reached(&mut self, subject: &str) -> bool {
        self.send(&format!("PUB {subject} in 0\r\n\r\nPING\r\n"));
        let frame = self.frame();
        if frame == b"PONG\r\n" {
            return true;
        }
        assert!(frame.starts_with(b"HMSG in 1 "), "{}", shown(&frame));
        self.expect("PONG\r\n");
        false
    }

    /// Waits for the end of the connection, with nothing before it.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "expected only the close, got {:?}", shown(&rest));
    }

    /// Reads until the server closes and gives all that came.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.read_some(deadline) {
                Arrived::Bytes => {}
                Arrived::Closed => return std::mem::take(&mut self.received),
                Arrived::Nothing => panic!("not closed; got {:?}", shown(&self.received)),
            }
        }
    }

    /// The received bytes that are not consumed.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Consumes the received bytes.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Takes back the end of the bytes from [`take_received`](Client::take_received).
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.received.splice(..0, bytes.iter().copied());
    }

    /// True once the end of the connection was read.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits for more bytes, until the deadline.
    pub(crate) fn read_some(&mut self, deadline: Instant) -> Arrived {
        if self.closed {
            return Arrived::Closed;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        let mut scratch = vec![0; 64 * 1024];
        loop {
            return match self.stream.read(&mut scratch) {
                Ok(0) => self.end(),
                Ok(count) => {
                    self.received.extend_from_slice(&scratch[..count]);
                    Arrived::Bytes
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => Arrived::Nothing,
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.end(),
                    other => panic!("read: {other:?}"),
                },
            };
        }
    }

    /// Waits for the end of the connection, with nothing before it, and that it is a reset.
    #[track_caller]
    pub(crate) fn expect_reset(&mut self) {
        assert!(
            self.received.is_empty(),
            "expected only the reset, got {:?}",
            shown(&self.received)
        );
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = self.stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionReset));
        self.closed = true;
    }

    fn end(&mut self) -> Arrived {
        self.closed = true;
        Arrived::Closed
    }
}

/// A CONNECT line, neither verbose nor pedantic, with these further members.
pub(crate) fn quiet_connect(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!("CONNECT {{\"verbose\":false,\"pedantic\":false{comma}{members}}}\r\n")
}

/// Bytes for a failure message, cut when long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 2_000;
    let cut = &bytes[..bytes.len().min(SHOWN_MAX)];
    let more =
        if cut.len() < bytes.len() { format!(" ... {} bytes", bytes.len()) } else { "".into() };
    format!("{}{more}", cut.escape_ascii())
}
