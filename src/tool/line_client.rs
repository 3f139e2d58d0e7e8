//! A small NATS client over any stream of bytes: TCP for the helper commands, an in-process pipe
//! for programs that embed the server.
//!
//! Two tasks serve a connection. The reader hands messages to subscriptions; the writer sends the
//! one buffer that all handles fill, so that publications in a row share a write.
//!
//! Limits, and what happens there: [`OUTBOUND_MAX`] bytes wait to be written, then publishing
//! waits; [`SUBSCRIPTION_MAX`] messages wait in a subscription, then further ones are dropped and
//! counted. A slow subscription never holds up another, nor the answers to PING.
//!
//! Not supported: TLS of its own, reconnecting. Full client libraries have these.

pub mod server_op;
mod shared;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::base::os_error::OsError;
use crate::codec::connect::{Connect, Credentials};
use crate::codec::encoder;
use crate::codec::headers;
use crate::codec::info::Info;

use server_op::{ServerOp, ServerOpErr, ServerOps};
use shared::{Channel, Shared, State, run_reader, run_writer};

pub use server_op::Message;

/// Bytes that may wait to be written before publishing waits.
pub const OUTBOUND_MAX: usize = 1024 * 1024;

/// Messages that may wait in one subscription before further ones are dropped.
pub const SUBSCRIPTION_MAX: usize = 64 * 1024;

/// Time for a server to greet and to answer CONNECT.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const READ_LEN: usize = 16 * 1024;

/// Name and credentials of the client.
///
/// ```
/// let mut options = dialtone::LineOptions::default();
/// options.name = Some("orders".into());
/// options.token = Some("secret".into());
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct LineOptions {
    /// Shown in monitoring.
    pub name: Option<String>,
    /// User name, with `pass`.
    pub user: Option<String>,
    /// Password, with `user`.
    pub pass: Option<String>,
    /// Token in place of user and password.
    pub token: Option<String>,
    /// Seed of the user's nkey (`SU...`), which signs what the server asks for.
    pub seed: Option<String>,
    /// User JWT, with its `seed`.
    pub jwt: Option<String>,
    /// Do not deliver own publications to own subscriptions.
    pub no_echo: bool,
}

impl fmt::Debug for LineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The reason for a failure of a method of [`LineClient`].
#[derive(Debug)]
#[non_exhaustive]
pub enum LineErr {
    /// The stream failed while connecting.
    Io(io::Error),
    /// The answer while connecting is no NATS.
    Protocol(ServerOpErr),
    /// The server wants TLS, and the stream is not encrypted.
    TlsRequired,
    /// TLS was asked for, and the server has none.
    TlsMissing,
    /// TLS or WebSocket has failed, or a file of keys cannot be used.
    Transport(String),
    /// The seed is not that of a user's nkey.
    InvalidSeed,
    /// The server said `-ERR` with this text.
    Refused(Box<str>),
    /// The connection has ended, for this reason.
    Closed(Box<str>),
    /// A subject, reply or queue name that is empty or has blanks in it.
    InvalidSubject,
    /// A header name or value that has a line end in it, or a name that has a colon.
    InvalidHeader,
    /// The server has headers turned off.
    HeadersUnsupported,
    /// Headers and payload are larger than the server's `max_payload`, here in bytes.
    PayloadTooLarge(usize),
    /// The subject of the request has no subscriber.
    NoResponders,
    /// No answer in time.
    TimedOut,
}

impl fmt::Display for LineErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(err) if is_end(err) => f.write_str("the server has closed the connection"),
            Self::Io(err) => OsError(err).fmt(f),
            Self::Protocol(err) => err.fmt(f),
            Self::TlsRequired => f.write_str("the server requires TLS"),
            Self::TlsMissing => f.write_str("the server does not encrypt"),
            Self::Transport(text) => f.write_str(text),
            Self::InvalidSeed => f.write_str("the seed is not that of a user's nkey"),
            Self::Refused(text) => write!(f, "the server refused: {text}"),
            Self::Closed(reason) => write!(f, "connection closed: {reason}"),
            Self::InvalidSubject => f.write_str("subjects must not be empty nor contain blanks"),
            Self::InvalidHeader => f.write_str("headers must not contain line ends"),
            Self::HeadersUnsupported => f.write_str("the server does not support headers"),
            Self::PayloadTooLarge(max) => write!(f, "payload larger than the {max} bytes allowed"),
            Self::NoResponders => f.write_str("no responders are available for the request"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// True if the other side is gone. The library of TLS says so at length.
fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

impl std::error::Error for LineErr {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(err) => Some(err),
            Self::Protocol(err) => Some(err),
            _ => None,
        }
    }
}

impl From<io::Error> for LineErr {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

impl From<ServerOpErr> for LineErr {
    fn from(err: ServerOpErr) -> Self {
        Self::Protocol(err)
    }
}

/// A connection to a server: a small client over any stream of bytes, without TLS and reconnecting,
/// which full client libraries have. Clones share it; it closes when the last clone
/// and the last subscription are gone.
///
/// ```
/// use std::time::Duration;
///
/// use dialtone::{LineErr, LineOptions, OutboundMessage, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().no_listener().start().await?;
/// let client = server.client(&LineOptions::default()).await?;
///
/// let mut requests = client.subscribe("time", Some("clocks")).await?;
/// let answering = tokio::spawn({
///     let client = client.clone();
///     async move {
///         let request = requests.next().await.expect("somebody asks");
///         let reply = request.reply.as_ref().expect("it is a request");
///         let headers = [("Zone".to_owned(), request.header("zone").is_some().to_string())];
///         let mut answer = OutboundMessage::new(reply, "ten past four");
///         answer.headers = &headers;
///         client.send(&answer).await
///     }
/// });
/// let answer = client.request("time", "", Duration::from_secs(5)).await?;
/// assert_eq!(answer.payload, "ten past four");
/// assert_eq!(answer.header("Zone"), Some(&b"false"[..]));
/// answering.await??;
///
/// let nobody = client.request("date", "", Duration::from_secs(5)).await;
/// assert!(matches!(nobody, Err(LineErr::NoResponders)));
/// # server.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LineClient {
    shared: Arc<Shared>,
    /// Closes when its last clone drops; the two tasks hold `shared` only.
    _open: Arc<CloseOnDrop>,
}

impl LineClient {
    /// Connects over TCP.
    ///
    /// # Errors
    /// As [`LineClient::connect`].
    pub async fn connect_tcp(
        address: impl ToSocketAddrs,
        options: &LineOptions,
    ) -> Result<Self, LineErr> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = stream.await.map_err(|_| LineErr::TimedOut)??;
        stream.set_nodelay(true)?;
        Self::connect(stream, options).await
    }

    /// Connects over a stream whose other end a server holds. Must be called within a tokio
    /// runtime, which runs the two tasks of the connection.
    ///
    /// # Errors
    /// If the stream fails, the other end is no NATS server, it refuses the credentials, or it
    /// takes longer than 5 seconds.
    pub async fn connect<S>(stream: S, options: &LineOptions) -> Result<Self, LineErr>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::connect_over(stream, false, options).await
    }

    /// Connects over a stream that is `encrypted`, or not.
    pub(super) async fn connect_over<S>(
        mut stream: S,
        encrypted: bool,
        options: &LineOptions,
    ) -> Result<Self, LineErr>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut ops = ServerOps::default();
        let handshake = shake_hands(&mut stream, encrypted, &mut ops, options);
        let info = timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| LineErr::TimedOut)??;
        let shared = Arc::new(Shared::new(info));
        let (reader, writer) = tokio::io::split(stream);
        tokio::spawn(run_writer(writer, Arc::clone(&shared)));
        tokio::spawn(run_reader(reader, ops, Arc::clone(&shared)));
        Ok(Self { _open: Arc::new(CloseOnDrop(Arc::clone(&shared))), shared })
    }

    /// The latest INFO of the server.
    #[must_use]
    pub fn info(&self) -> Info {
        self.shared.state().info.clone()
    }

    /// Publishes. Returns once the message is in the buffer; [`flush`](Self::flush) waits for the
    /// server.
    ///
    /// # Errors
    /// If the subject cannot be sent, the payload is too large, or the connection has ended.
    pub async fn publish(
        &self,
        subject: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), LineErr> {
        self.send(&OutboundMessage::new(&subject, &payload)).await
    }

    /// Publishes with a reply subject or headers.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn send(&self, message: &OutboundMessage<'_>) -> Result<(), LineErr> {
        let mut header_block = Vec::new();
        message.check(&self.shared.state().info, &mut header_block)?;
        let OutboundMessage { subject, reply, payload, .. } = *message;
        let write = |state: &mut State| {
            let out = &mut state.outbound;
            if header_block.is_empty() {
                encoder::write_pub(out, subject, reply, payload);
            } else {
                encoder::write_hpub(out, subject, reply, &header_block, payload);
            }
        };
        self.shared.write(write).await
    }

    /// Subscribes; with a queue name, as a member of that queue group.
    ///
    /// # Errors
    /// If subject or queue cannot be sent, or the connection has ended. A lack of permission is
    /// an error of the next [`flush`](Self::flush).
    pub async fn subscribe(
        &self,
        subject: impl AsRef<[u8]>,
        queue: Option<&str>,
    ) -> Result<Subscriber, LineErr> {
        let subject = subject.as_ref();
        let queue = queue.map(str::as_bytes);
        check_word(subject)?;
        queue.map_or(Ok(()), check_word)?;
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let channel = Channel { sender, dropped: Arc::clone(&dropped), received: 0, max: None };
        let sid = self.shared.add_subscription(channel);
        // From here on, dropping the subscriber cleans up after a failure.
        let subscriber = Subscriber { sid, receiver, dropped, client: self.clone() };
        let sid = sid.to_string();
        let write = |state: &mut State| {
            encoder::write_sub(&mut state.outbound, subject, queue, sid.as_bytes());
        };
        self.shared.write(write).await?;
        Ok(subscriber)
    }

    /// Publishes and waits for the first answer.
    ///
    /// # Errors
    /// [`LineErr::NoResponders`] if the subject has no subscriber, [`LineErr::TimedOut`] if no
    /// answer comes within `patience`, else as [`publish`](Self::publish).
    pub async fn request(
        &self,
        subject: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        patience: Duration,
    ) -> Result<Message, LineErr> {
        self.send_request(&OutboundMessage::new(&subject, &payload), patience).await
    }

    /// Publishes with headers and waits for the first answer. The reply subject is this client's.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn send_request(
        &self,
        message: &OutboundMessage<'_>,
        patience: Duration,
    ) -> Result<Message, LineErr> {
        let (sender, receiver) = oneshot::channel();
        let (token, reply) = self.shared.add_request(sender);
        let request = Request { token, shared: &self.shared };
        let answer = async {
            self.send(&OutboundMessage { reply: Some(reply.as_bytes()), ..*message }).await?;
            receiver.await.map_err(|_| self.shared.end())
        };
        let answer = timeout(patience, answer).await.map_err(|_| LineErr::TimedOut)?;
        drop(request);
        let answer = answer?;
        let status = headers::status(&answer.header_block);
        if answer.payload.is_empty() && status.is_some_and(|s| s.0 == headers::NO_RESPONDERS) {
            return Err(LineErr::NoResponders);
        }
        Ok(answer)
    }

    /// Waits until the server has processed everything sent before.
    ///
    /// # Errors
    /// [`LineErr::Refused`] with the first `-ERR` since the last flush, or if the connection has
    /// ended.
    pub async fn flush(&self) -> Result<(), LineErr> {
        let (sender, receiver) = oneshot::channel();
        let write = |state: &mut State| {
            state.outbound.extend_from_slice(encoder::PING);
            state.pongs.push_back(sender);
        };
        self.shared.write(write).await?;
        receiver.await.map_err(|_| self.shared.end())?;
        let refused = self.shared.state().refused.take();
        refused.map_or(Ok(()), |text| Err(LineErr::Refused(text)))
    }

    /// Ends all subscriptions once the server has delivered all messages under way, then closes.
    /// Pending messages can still be read.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn drain(&self) -> Result<(), LineErr> {
        self.shared.unsubscribe_all();
        let flushed = self.flush().await;
        self.close();
        flushed
    }

    /// Closes after writing the buffer. Subscriptions end.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Waits for the end of the connection, and returns its reason.
    pub async fn closed(&self) -> LineErr {
        self.shared.ended().await;
        self.shared.end()
    }
}

impl fmt::Debug for LineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineClient(..)")
    }
}

/// A message to publish, with all that it may have, for [`LineClient::send`]; [`LineClient`] shows
/// one.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct OutboundMessage<'a> {
    /// The subject.
    pub subject: &'a [u8],
    /// The reply subject, to request an answer.
    pub reply: Option<&'a [u8]>,
    /// Names and values.
    pub headers: &'a [(String, String)],
    /// The payload.
    pub payload: &'a [u8],
}

impl fmt::Debug for OutboundMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundMessage")
            .field("subject", &self.subject.escape_ascii().to_string())
            .field("payload_len", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl<'a> OutboundMessage<'a> {
    /// A message without reply subject and headers.
    pub fn new(
        subject: &'a (impl AsRef<[u8]> + ?Sized),
        payload: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Self { subject: subject.as_ref(), payload: payload.as_ref(), reply: None, headers: &[] }
    }

    /// Checks it before sending, and appends the header block if there is one.
    fn check(&self, info: &Info, header_block: &mut Vec<u8>) -> Result<(), LineErr> {
        check_word(self.subject)?;
        self.reply.map_or(Ok(()), check_word)?;
        if !self.headers.is_empty() {
            if !info.headers {
                return Err(LineErr::HeadersUnsupported);
            }
            let broken = |text: &str| text.contains(['\r', '\n']);
            if self.headers.iter().any(|(n, v)| n.contains(':') || broken(n) || broken(v)) {
                return Err(LineErr::InvalidHeader);
            }
            headers::write(self.headers, header_block);
        }
        match usize::try_from(info.max_payload) {
            Ok(max) if header_block.len() + self.payload.len() > max => {
                Err(LineErr::PayloadTooLarge(max))
            }
            _ => Ok(()), // a negative max_payload is no limit
        }
    }
}

/// A word of the protocol must not be empty or have blanks in it.
fn check_word(word: &[u8]) -> Result<(), LineErr> {
    let separator = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    if word.is_empty() || word.iter().any(separator) {
        return Err(LineErr::InvalidSubject);
    }
    Ok(())
}

/// Messages of one subscription, from [`LineClient::subscribe`]. Unsubscribes when dropped.
#[derive(Debug)]
pub struct Subscriber {
    sid: u64,
    receiver: mpsc::Receiver<Message>,
    dropped: Arc<AtomicU64>,
    client: LineClient,
}

impl Subscriber {
    /// The next message; `None` after the last one, when the subscription or the connection has
    /// ended. May be cancelled without losing a message.
    pub async fn next(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }

    /// Ends the subscription after `max` messages, counted from its begin.
    pub fn unsubscribe_after(&self, max: u64) {
        self.client.shared.unsubscribe(self.sid, Some(max));
    }

    /// Messages lost because 65,536 were waiting.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.client.shared.unsubscribe(self.sid, None);
    }
}

/// Forgets a request on drop, answered or not.
struct Request<'a> {
    token: u64,
    shared: &'a Shared,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.shared.remove_request(self.token);
    }
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Awaits INFO, sends CONNECT and PING, and awaits PONG.
async fn shake_hands<S>(
    stream: &mut S,
    encrypted: bool,
    ops: &mut ServerOps,
    options: &LineOptions,
) -> Result<Info, LineErr>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ServerOp::Info(info) = next_op(stream, ops).await? else {
        return Err(LineErr::Protocol(ServerOpErr::UnknownVerb));
    };
    if info.tls_required && !encrypted {
        return Err(LineErr::TlsRequired);
    }
    let mut lines = Vec::new();
    encoder::write_connect(&mut lines, &options.to_connect(&info)?);
    lines.extend_from_slice(encoder::PING);
    stream.write_all(&lines).await?;
    stream.flush().await?;
    loop {
        match next_op(stream, ops).await? {
            ServerOp::Pong => return Ok(*info),
            ServerOp::Err(text) => return Err(LineErr::Refused(text)),
            _ => {}
        }
    }
}

async fn next_op<S>(stream: &mut S, ops: &mut ServerOps) -> Result<ServerOp, LineErr>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(op) = ops.next_op()? {
            return Ok(op);
        }
        let buffer = ops.buffer_mut();
        buffer.reserve(READ_LEN);
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

impl LineOptions {
    fn to_connect(&self, info: &Info) -> Result<Connect, LineErr> {
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        let mut credentials = Credentials {
            user: text(&self.user),
            pass: text(&self.pass),
            auth_token: text(&self.token),
            jwt: text(&self.jwt),
            ..Credentials::default()
        };
        if let Some(seed) = &self.seed {
            let pair = KeyPair::from_seed(seed).ok();
            let pair = pair.filter(|pair| matches!(pair.key_pair_type(), KeyPairType::User));
            let pair = pair.ok_or(LineErr::InvalidSeed)?;
            let sig = pair.sign(info.nonce.as_bytes()).map_err(|_| LineErr::InvalidSeed)?;
            credentials.sig = Some(BASE64URL_NOPAD.encode(&sig).into());
            credentials.nkey = self.jwt.is_none().then(|| pair.public_key().into());
        }
        Ok(Connect {
            verbose: false,
            pedantic: false,
            echo: !self.no_echo,
            headers: info.headers,
            no_responders: info.headers,
            protocol: 1,
            name: text(&self.name),
            lang: Some("dialtone".into()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            credentials: Some(Box::new(credentials)),
            ..Connect::default()
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
