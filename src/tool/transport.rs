//! The way to a server, as its address and INFO ask for it: TCP or WebSocket, encrypted or not.
//!
//! Not supported: passwords of keys, names of certificates other than the host's, proxies.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_websockets::{ClientBuilder, Error as WebSocketError, Message, WebSocketStream};

use crate::codec::info::Info;
use crate::config::cli::{KeyFiles, Scheme, ServerUrl};
use crate::pem_files;
use crate::server_name::server_name;
use crate::tool::line_client::{LineClient, LineErr, LineOptions};

/// Bytes of an INFO before the handshake.
const INFO_LEN_MAX: usize = 64 * 1024;

/// Connects to that server.
///
/// # Errors
/// As [`LineClient::connect`]; the handshake fails, or a file cannot be read.
pub(super) async fn connect(
    server: &ServerUrl,
    files: &KeyFiles,
    options: &LineOptions,
) -> Result<LineClient, LineErr> {
    let mut stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
    stream.set_nodelay(true)?;
    match server.scheme {
        Scheme::Ws => {
            let stream = upgrade(server, stream).await?;
            LineClient::connect_over(stream, false, options).await
        }
        Scheme::Wss => {
            let stream = upgrade(server, encrypt(server, files, stream).await?).await?;
            LineClient::connect_over(stream, true, options).await
        }
        Scheme::Nats | Scheme::Tls if files.tls_first => {
            let stream = encrypt(server, files, stream).await?;
            LineClient::connect_over(stream, true, options).await
        }
        Scheme::Nats | Scheme::Tls => {
            let line = read_line(&mut stream).await?;
            let json = line.strip_prefix(b"INFO ").unwrap_or_default();
            // If it is no INFO, the client says so.
            let info = Info::read(json).unwrap_or_default();
            let wanted = server.scheme == Scheme::Tls || files.ask_for_tls();
            let encrypts = info.tls_required || wanted && info.tls_available;
            if !encrypts {
                if wanted && !json.is_empty() {
                    return Err(LineErr::TlsMissing);
                }
                let stream = replayed(line, stream);
                return LineClient::connect_over(stream, false, options).await;
            }
            let stream = replayed(line, encrypt(server, files, stream).await?);
            LineClient::connect_over(stream, true, options).await
        }
    }
}

/// A stream that brings these bytes first.
fn replayed<S>(first: Vec<u8>, stream: S) -> impl AsyncRead + AsyncWrite + Send + Unpin
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (reader, writer) = tokio::io::split(stream);
    tokio::io::join(Cursor::new(first).chain(reader), writer)
}

/// Reads a line and not a byte more: the handshake follows.
async fn read_line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < INFO_LEN_MAX {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

/// Encrypts a stream.
async fn encrypt<S>(
    server: &ServerUrl,
    files: &KeyFiles,
    stream: S,
) -> Result<TlsStream<S>, LineErr>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = client_config(files).map_err(LineErr::Transport)?;
    let name = server_name(&server.host);
    let name = name.map_err(|error| LineErr::Transport(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    stream.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => LineErr::Transport(format!("tls: {error}")),
        _ => LineErr::Io(error),
    })
}

fn client_config(files: &KeyFiles) -> Result<ClientConfig, String> {
    let text = |error: Error| error.to_string();
    let provider = Arc::new(ring::default_provider());
    let trust = pem_files::authorities(files.tls_ca.as_deref(), "--tlsca", &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(text)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust));
    Ok(match &files.tls_pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let pair = pem_files::key_pair(pair, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
    })
}

/// Asks the server for WebSocket.
async fn upgrade<S>(server: &ServerUrl, stream: S) -> Result<Messages<S>, LineErr>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = |error: &dyn std::fmt::Display| LineErr::Transport(format!("websocket: {error}"));
    let host = match server.host.contains(':') {
        true => format!("[{}]", server.host),
        false => server.host.clone(),
    };
    let uri = format!("ws://{host}:{}/{}", server.port, server.path);
    let builder = ClientBuilder::new().uri(&uri).map_err(|error| text(&error))?;
    let (stream, _) = builder.connect_on(stream).await.map_err(|error| match error {
        WebSocketError::Io(error) => LineErr::Io(error),
        error => text(&error),
    })?;
    Ok(Messages { stream, rest: Bytes::new() })
}

fn io_error(error: WebSocketError) -> io::Error {
    match error {
        WebSocketError::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// The stream of bytes in the messages of a WebSocket.
struct Messages<S> {
    stream: WebSocketStream<S>,
    /// Unread bytes of the last message.
    rest: Bytes,
}

impl<S> AsyncRead for Messages<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) if message.is_binary() || message.is_text() => {
                    self.rest = BytesMut::from(message.into_payload()).freeze();
                }
                Some(Ok(message)) if !message.is_close() => {}
                Some(Ok(_)) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl<S> AsyncWrite for Messages<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(io_error)?;
        let message = Message::binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.stream).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx).map_err(io_error)
    }
}
