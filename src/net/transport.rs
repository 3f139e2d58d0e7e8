//! `Transport`: the bytes of a connection that speaks HTTP, encrypted or not.
//!
//! Knows no request. Nothing is read while bytes of TLS itself wait to be written, so that a reader
//! that takes nothing makes it hold few of them.
//! nats: Go's net/http `conn.serve`; crypto/tls `Conn`

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::base::closed_reason::ClosedReason;
use crate::conn::{Encryption, Wire};
use crate::net::layer::{Inflow, Next};
use crate::net::stream::Stream;
use crate::net::tls::{Agreed, Decrypted, Encrypted, Failure, Side, TlsPort};

/// Bytes read at once.
const READ_LEN: usize = 8 * 1024;

/// Time for the other side to read the last bytes before its further ones are refused.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// The answer to HTTP on a port with TLS.
const CLEAR_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The first bytes of HTTP. As many are waited for before anything is made of them.
const METHODS: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
const METHOD_LEN: usize = METHODS[0].len();

/// A connection that speaks HTTP.
pub(crate) struct Transport {
    stream: Arc<Stream>,
    tls: Option<TlsLayer>,
    /// Read behind the handshake, and not decrypted yet.
    kept: Vec<u8>,
}

/// TLS over a socket, behind the handshake.
pub(crate) struct TlsLayer {
    pub(crate) wire: Arc<Encrypted>,
    pub(crate) inflow: Box<Decrypted>,
    pub(crate) encryption: Encryption,
}

impl Transport {
    /// A connection to a port, after the handshake if the port has TLS; none if that fails, or
    /// takes longer than `time_max`. The log then names the `purpose` of the port.
    pub(crate) async fn open(
        stream: TcpStream,
        remote: SocketAddr,
        port: Option<&TlsPort>,
        time_max: Duration,
        purpose: &str,
    ) -> Option<Transport> {
        let stream = Arc::new(Stream::Tcp(stream));
        let mut transport = Transport { stream, tls: None, kept: Vec::new() };
        let Some(port) = port else { return Some(transport) };
        let encrypted = timeout(time_max, transport.encrypt(port)).await;
        match encrypted.unwrap_or(Err(Failure::Timeout)) {
            Ok(()) => Some(transport),
            Err(failure) => {
                tracing::error!("{purpose}: TLS handshake error from {remote}: {failure}");
                // Without it an alert may be lost; if it fails, the other side is gone.
                let _ = transport.hang_up().await;
                None
            }
        }
    }

    /// Takes part in the handshake, which the other side begins.
    ///
    /// # Errors
    /// [`Failure`]; the other side is told.
    async fn encrypt(&mut self, port: &TlsPort) -> Result<(), Failure> {
        let below = Arc::clone(&self.stream) as Arc<dyn Wire>;
        let state = port.open(&Side::Accepts).map_err(Failure::Tls)?;
        let wire = Arc::new(Encrypted::new(below, state, 0));
        let mut inflow = Box::new(Decrypted::new(Arc::clone(&wire)));
        let mut begun = Vec::new();
        let agreed = poll_fn(|cx| self.poll_handshake(cx, &wire, &mut inflow, port, &mut begun));
        match agreed.await {
            Ok(Agreed { version, suite }) => {
                let encryption = Encryption { version, suite, first: false };
                self.tls = Some(TlsLayer { wire, inflow, encryption });
                Ok(())
            }
            Err(failure) if failure.is_clear_text() && METHODS.contains(&&begun[..]) => {
                let _ = self.stream.try_write(&[IoSlice::new(CLEAR_HTTP)]);
                Err(Failure::Http)
            }
            Err(failure) => {
                if !failure.is_clear_text() {
                    // The alert has room in the socket, or nobody reads.
                    let _ = wire.try_flush();
                }
                Err(failure)
            }
        }
    }

    fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        wire: &Encrypted,
        inflow: &mut Decrypted,
        port: &TlsPort,
        begun: &mut Vec<u8>,
    ) -> Poll<Result<Agreed, Failure>> {
        let mut buf = [0; READ_LEN];
        loop {
            if ready!(self.poll_flush(cx, wire)).is_err() {
                return Poll::Ready(Err(Failure::Ended));
            }
            let read = ready!(self.stream.poll_read(cx, &mut buf)).unwrap_or(0);
            let read = &buf[..read];
            if read.is_empty() {
                return Poll::Ready(Err(Failure::Ended));
            }
            let first = begun.len() < METHOD_LEN;
            if first {
                begun.extend_from_slice(read);
                if begun.len() < METHOD_LEN {
                    continue;
                }
            }
            let mut rest = if first { &begun[..] } else { read };
            let done = inflow.handshake(&mut rest, port).transpose();
            if let Some(done) = done {
                self.kept = rest.to_vec();
                begun.truncate(METHOD_LEN);
                return Poll::Ready(done);
            }
            begun.truncate(METHOD_LEN);
            begun.shrink_to_fit();
        }
    }

    /// Appends the bytes that come next to `input`, and returns their number; 0 at the end.
    ///
    /// # Errors
    /// Those of the socket and of TLS.
    pub(crate) async fn read(&mut self, input: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, input)).await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let before = input.len();
        let mut kept = std::mem::take(&mut self.kept);
        let mut buf = [0; READ_LEN];
        let mut read = &mut kept[..];
        loop {
            // The end may stand behind what was read last.
            let ended = match &mut self.tls {
                Some(tls) => decrypt(&mut tls.inflow, read, input)?,
                None => {
                    input.extend_from_slice(read);
                    false
                }
            };
            if ended || input.len() > before {
                return Poll::Ready(Ok(input.len() - before));
            }
            if let Some(tls) = &self.tls {
                ready!(self.poll_flush(cx, &tls.wire))?;
            }
            let len = ready!(self.stream.poll_read(cx, &mut buf))?;
            if len == 0 {
                return Poll::Ready(Ok(0));
            }
            read = &mut buf[..len];
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the socket and of TLS.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        poll_fn(|cx| {
            let wire: &dyn Wire = self.tls.as_ref().map_or(&*self.stream, |tls| &*tls.wire);
            while !rest.is_empty() {
                let write = || wire.try_write(&[IoSlice::new(rest)]);
                rest = &rest[ready!(self.poll_attempt(cx, write))?..];
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ready when TLS has written its own bytes.
    fn poll_flush(&self, cx: &mut Context<'_>, wire: &Encrypted) -> Poll<io::Result<()>> {
        self.poll_attempt(cx, || wire.try_flush())
    }

    /// Ready with the result of `attempt`, once the socket takes something.
    fn poll_attempt<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl Fn() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Ends the connection so that the last bytes arrive: unread ones would make the kernel
    /// withdraw them.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn hang_up(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.inflow.end(ClosedReason::ClientClosed);
        }
        let drain = poll_fn(|cx| {
            if let Some(tls) = &self.tls {
                ready!(self.poll_flush(cx, &tls.wire))?;
            }
            self.stream.end();
            let mut buf = [0; READ_LEN];
            while ready!(self.stream.poll_read(cx, &mut buf))? > 0 {}
            Poll::Ready(Ok(()))
        });
        timeout(LINGER_MAX, drain).await.unwrap_or(Ok(()))
    }

    /// Its socket, and TLS over it, for a connection of another kind. All that was read from it is
    /// handed out, but perhaps the end.
    pub(crate) fn into_parts(self) -> (Arc<Stream>, Option<TlsLayer>) {
        debug_assert!(self.kept.is_empty());
        (self.stream, self.tls)
    }
}

/// Appends the content of `records` to `input`. True if the other side has ended its stream.
fn decrypt(inflow: &mut Decrypted, records: &mut [u8], input: &mut Vec<u8>) -> io::Result<bool> {
    let mut used = 0;
    loop {
        match inflow.next_piece(&mut records[used..]) {
            Ok(Next::Piece(plain, len)) => {
                input.extend_from_slice(plain);
                used += len;
            }
            Ok(Next::Missing) => return Ok(false),
            Ok(Next::End) => return Ok(true),
            Err(error) => return Err(io::Error::other(error.text)),
        }
    }
}
