//! The bytes of the client protocol, as far as a load needs them: frames out, frames in.
//!
//! Knows nothing of scenarios, windows or servers.
//! Invariant: a [`Reader`] never loses its place; `carry` is the unfinished frame at the end of the
//! last read, and every frame it steps over is checked to end in LF.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::tls::Tls;
use crate::transport::{Endpoint, Layer, Transport};
use crate::websocket::WebSocket;

/// The first line of every client of the load, the same as that of the usual client libraries.
const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\
\"headers\":true,\"no_responders\":true,\"lang\":\"load\",\"version\":\"1\"}\r\n";

/// Longest wait for a byte that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that one read may bring; also the longest frame that a load may use.
pub(crate) const SCRATCH_LEN: usize = 256 * 1024;

/// The form of a publication for the server under load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// `PUB`: a server that turns it into `MSG`.
    Server,
    /// `MSG`: the relay, which passes on its input.
    Relay,
}

impl Dialect {
    /// Appends one publication to `out`.
    pub(crate) fn publish(
        self,
        out: &mut Vec<u8>,
        subject: &str,
        reply: Option<&str>,
        payload: &[u8],
    ) {
        match self {
            Self::Server => out.extend_from_slice(b"PUB "),
            Self::Relay => out.extend_from_slice(b"MSG "),
        }
        out.extend_from_slice(subject.as_bytes());
        if self == Self::Relay {
            out.extend_from_slice(b" 1");
        }
        if let Some(reply) = reply {
            out.push(b' ');
            out.extend_from_slice(reply.as_bytes());
        }
        out.extend_from_slice(format!(" {}\r\n", payload.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends one publication with a header block, `NATS/1.0` line and blank line included.
pub(crate) fn publish_with_headers(out: &mut Vec<u8>, subject: &str, headers: &[u8], body: &[u8]) {
    let total = headers.len() + body.len();
    out.extend_from_slice(format!("HPUB {subject} {} {total}\r\n", headers.len()).as_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Bytes of one `MSG` frame without reply.
pub(crate) fn message_len(subject: &str, sid: &str, payload_len: usize) -> usize {
    let size = payload_len.to_string();
    "MSG ".len() + subject.len() + 1 + sid.len() + 1 + size.len() + 2 + payload_len + 2
}

/// The result of one read.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Brought {
    /// `MSG` and `HMSG` frames.
    pub(crate) messages: u64,
    /// `PONG` lines.
    pub(crate) pongs: u64,
    /// `INFO` lines.
    pub(crate) infos: u64,
}

/// The receiving side of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Blocking; never set otherwise, since writers share it.
    pub(crate) stream: Arc<TcpStream>,
    /// Between the stream and the frames.
    layer: Arc<Layer>,
    /// Held over each write: the reader answers PING, and not in the middle of a message.
    writing: Arc<Mutex<()>>,
    /// Length of every message frame, if all are equal: they are then counted without parsing.
    pub(crate) frame_len: Option<usize>,
    /// The unfinished frame at the end of the last read.
    carry: Vec<u8>,
}

impl Reader {
    /// Opens a connection; nothing is read or written yet.
    pub(crate) fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = TcpStream::connect(endpoint.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (stream, layer) = (Arc::new(stream), Arc::new(Layer::Bare));
        Ok(Self { stream, layer, writing: Arc::default(), frame_len: None, carry: Vec::new() })
    }

    /// The same connection once more, for the publishing side; it must not be read from.
    pub(crate) fn twin(&self) -> Self {
        let (stream, layer) = (Arc::clone(&self.stream), Arc::clone(&self.layer));
        let writing = Arc::clone(&self.writing);
        Self { stream, layer, writing, frame_len: None, carry: Vec::new() }
    }

    /// Writes all of `bytes`, however long that takes.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock();
        self.layer.write(&self.stream, bytes)
    }

    /// Waits for the server's INFO, and begins the transport: WebSocket before it, TLS after it.
    pub(crate) fn expect_info(
        &mut self,
        transport: &Transport,
        scratch: &mut [u8],
    ) -> io::Result<()> {
        if let Transport::WebSocket = transport {
            self.layer = Arc::new(Layer::WebSocket(WebSocket::upgrade(&self.stream)?));
        }
        while self.read(scratch, |_, _| ())?.infos == 0 {}
        if let Transport::Tls(config) = transport {
            self.layer = Arc::new(Layer::Tls(Tls::handshake(&self.stream, config)?.into()));
        }
        Ok(())
    }

    /// The state of its TLS, if it has any.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match &*self.layer {
            Layer::Tls(tls) => Some(tls),
            Layer::Bare | Layer::WebSocket(_) => None,
        }
    }

    /// Closes the connection, and ends its TLS before.
    pub(crate) fn close(self) -> io::Result<()> {
        self.layer.end(&self.stream)
    }

    /// Sends CONNECT, `setup` (whole lines, usually SUBs) and PING.
    pub(crate) fn introduce(&self, setup: &[u8]) -> io::Result<()> {
        self.write(&[CONNECT, setup, b"PING\r\n"].concat())
    }

    /// Waits for one PONG: the server has handled all that was sent before.
    pub(crate) fn expect_pong(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        while self.read(scratch, |_, _| ())?.pongs == 0 {}
        Ok(())
    }

    /// Reads once and steps over the whole frames there are. `on_message` gets head (without CR LF)
    /// and payload of each message; it is not called when `frame_len` is set.
    ///
    /// # Errors
    /// Those of the transport; the end of the stream, an `-ERR` line, or anything that is no frame.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        mut on_message: impl FnMut(&[u8], &[u8]),
    ) -> io::Result<Brought> {
        let kept = self.carry.len();
        scratch[..kept].copy_from_slice(&self.carry);
        let len = self.layer.read(&self.stream, &mut scratch[kept..])?;
        let bytes = &scratch[..kept + len];
        let mut brought = Brought::default();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let step = match (rest[0], self.frame_len) {
                (b'M', Some(frame_len)) => whole(rest, frame_len)?.inspect(|_| {
                    brought.messages += 1;
                }),
                (b'M' | b'H', _) => message(rest)?.map(|(head_len, frame_len)| {
                    brought.messages += 1;
                    on_message(&rest[..head_len - 2], &rest[head_len..frame_len - 2]);
                    frame_len
                }),
                _ => self.line(rest, &mut brought)?,
            };
            match step {
                Some(step) => at += step,
                None => break,
            }
        }
        self.carry.clear();
        self.carry.extend_from_slice(&bytes[at..]);
        Ok(brought)
    }

    /// Steps over one line that is no message; answers PING.
    fn line(&self, rest: &[u8], brought: &mut Brought) -> io::Result<Option<usize>> {
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        match rest[0] {
            b'I' => brought.infos += 1,
            b'P' if rest.starts_with(b"PONG") => brought.pongs += 1,
            b'P' if rest.starts_with(b"PING") => self.write(b"PONG\r\n")?,
            _ => {
                let line = String::from_utf8_lossy(&rest[..end.min(100)]);
                return Err(fault(ErrorKind::InvalidData, &format!("unexpected line {line:?}")));
            }
        }
        Ok(Some(end + 1))
    }
}

/// The frame length, if `rest` holds the whole frame and it ends where it must.
fn whole(rest: &[u8], frame_len: usize) -> io::Result<Option<usize>> {
    match rest.get(frame_len - 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some(frame_len)),
        Some(_) => Err(fault(ErrorKind::InvalidData, "a message of another length than expected")),
    }
}

/// Lengths of head (with CR LF) and of the whole frame, if `rest` holds all of it.
fn message(rest: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
    let digits = rest[..end - 1].rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let size = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
    let Some(size) = size else {
        return Err(fault(ErrorKind::InvalidData, "a message head without a size"));
    };
    let frame_len = end + 1 + size + 2;
    Ok(whole(rest, frame_len)?.map(|frame_len| (end + 1, frame_len)))
}

/// Opens `setups.len()` connections that have each sent their lines and got their PONG. They are
/// opened in groups, so that the server and the load overlap as they do with real clients.
pub(crate) fn connect_all(endpoint: &Endpoint, setups: &[Vec<u8>]) -> io::Result<Vec<Reader>> {
    /// Connections in progress at one time.
    const GROUP: usize = 100;
    let mut scratch = vec![0; SCRATCH_LEN];
    let mut readers = Vec::with_capacity(setups.len());
    for setups in setups.chunks(GROUP) {
        let first = readers.len();
        for _ in setups {
            readers.push(Reader::open(endpoint)?);
        }
        for (reader, setup) in readers[first..].iter_mut().zip(setups) {
            reader.expect_info(&endpoint.transport, &mut scratch)?;
            reader.introduce(setup)?;
        }
        for reader in &mut readers[first..] {
            reader.expect_pong(&mut scratch)?;
        }
    }
    Ok(readers)
}

/// One connection, ready; see [`connect_all`].
pub(crate) fn connect(endpoint: &Endpoint, setup: &str) -> io::Result<Reader> {
    let mut scratch = vec![0; SCRATCH_LEN];
    let mut reader = Reader::open(endpoint)?;
    reader.expect_info(&endpoint.transport, &mut scratch)?;
    reader.introduce(setup.as_bytes())?;
    reader.expect_pong(&mut scratch)?;
    Ok(reader)
}

/// An error of the load's own finding.
pub(crate) fn fault(kind: ErrorKind, text: &str) -> io::Error {
    io::Error::new(kind, text.to_owned())
}
