//! The helper commands `pub`, `sub`, `req` and `reply`: a first look at a server without
//! installing a client.
//!
//! What is shown goes to the writer that is passed in; errors are returned, for the caller to
//! show and to exit with 1. Not supported: TLS, nkeys, credentials files, several servers.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    headers,
    limits::PORT_DEFAULT,
    line_client::{
        CONNECT_TIMEOUT, LineClient, LineErr, LineOptions, Message, Publish, Subscription,
    },
};

/// Queue group of `reply` if none is named: several of them share the requests.
pub const REPLY_QUEUE_DEFAULT: &str = "dialtone-reply";

/// Patience of `req` if none is told.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// One helper command with all it needs.
#[derive(Clone, Debug)]
pub struct Call {
    /// `[nats://][user:pass@|token@]host[:port]`.
    pub server: String,
    /// Credentials, before those in `server`.
    pub options: LineOptions,
    /// What to do there.
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish.
    Pub {
        /// Where to.
        subject: String,
        /// Where answers are awaited, by somebody else.
        reply: Option<String>,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The payload.
        body: Vec<u8>,
        /// How many times.
        count: u64,
    },
    /// Show what is published.
    Sub {
        /// Subject, may have wildcards.
        subject: String,
        /// Share the messages with others of this group.
        queue: Option<String>,
        /// End after so many messages.
        count: Option<u64>,
    },
    /// Publish and show the first answer.
    Req {
        /// Where to.
        subject: String,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The payload.
        body: Vec<u8>,
        /// Patience.
        timeout: Duration,
    },
    /// Answer requests.
    Reply {
        /// Subject, may have wildcards.
        subject: String,
        /// Share the requests with others of this group.
        queue: String,
        /// The answer; without one, the request's payload is sent back.
        body: Option<Vec<u8>>,
        /// End after so many requests.
        count: Option<u64>,
    },
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum CommandErr {
    /// The server's address cannot be understood; it holds what is wrong.
    Server(&'static str),
    /// No connection to this server.
    Connect(String, LineErr),
    /// No answer on this subject.
    Request(String, LineErr),
    /// The connection failed later, or the server refused what was asked.
    Line(LineErr),
    /// What should be shown cannot be written.
    Output(io::Error),
}

impl fmt::Display for CommandErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(wrong) => write!(f, "server address: {wrong}"),
            Self::Connect(address, err) => write!(f, "cannot connect to {address}: {err}"),
            Self::Request(subject, LineErr::NoResponders) => {
                write!(f, "no responders: nobody subscribes to \"{subject}\"")
            }
            Self::Request(subject, LineErr::TimedOut) => {
                write!(f, "no answer on \"{subject}\" in time")
            }
            Self::Request(_, err) | Self::Line(err) => err.fmt(f),
            Self::Output(err) => write!(f, "output: {err}"),
        }
    }
}

impl std::error::Error for CommandErr {}

impl From<LineErr> for CommandErr {
    fn from(err: LineErr) -> Self {
        Self::Line(err)
    }
}

impl From<io::Error> for CommandErr {
    fn from(err: io::Error) -> Self {
        Self::Output(err)
    }
}

/// Connects, does what the call says, and disconnects. An interrupt from the keyboard, or a
/// reader that closes our output, ends it without error.
///
/// # Errors
/// [`CommandErr`], among others if a request is not answered.
pub async fn run(call: &Call, out: &mut impl Write) -> Result<(), CommandErr> {
    let address = Address::read(&call.server).map_err(CommandErr::Server)?;
    let host_port = (address.host.as_str(), address.port);
    let client = LineClient::connect_tcp(host_port, &address.options(&call.options)).await;
    let client = client
        .map_err(|err| CommandErr::Connect(format!("{}:{}", address.host, address.port), err))?;
    let result = tokio::select! {
        result = run_command(&client, &call.command, out) => result,
        interrupt = tokio::signal::ctrl_c() => interrupt.map_err(CommandErr::Output),
    };
    let drained = timeout(CONNECT_TIMEOUT, client.drain()).await;
    match result {
        Err(CommandErr::Output(err)) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Ok(()) => Ok(drained.map_err(|_| LineErr::TimedOut)??),
        Err(err) => Err(err),
    }
}

async fn run_command(
    client: &LineClient,
    command: &Command,
    out: &mut impl Write,
) -> Result<(), CommandErr> {
    match command {
        Command::Pub { subject, reply, headers, body, count } => {
            let reply = reply.as_deref().map(str::as_bytes);
            let publish = Publish { subject: subject.as_bytes(), reply, headers, payload: body };
            for _ in 0..*count {
                client.send(&publish).await?;
            }
            client.flush().await?;
            let len = body.len();
            match count {
                1 => writeln!(out, "Published {len} bytes to \"{subject}\"")?,
                _ => writeln!(out, "Published {len} bytes to \"{subject}\", {count} times")?,
            }
            Ok(())
        }
        Command::Sub { subject, queue, count } => {
            let subscription = client.subscribe(subject, queue.as_deref()).await?;
            client.flush().await?;
            writeln!(out, "Subscribing on \"{subject}\"")?;
            show_messages(client, subscription, *count, out).await
        }
        Command::Req { subject, headers, body, timeout } => {
            let subject_bytes = subject.as_bytes();
            let publish = Publish { subject: subject_bytes, reply: None, headers, payload: body };
            writeln!(out, "Sending request on \"{subject}\"")?;
            let sent_at = Instant::now();
            let answer = client.send_request(&publish, *timeout).await;
            let answer = answer.map_err(|err| CommandErr::Request(subject.clone(), err))?;
            writeln!(out, "Received with rtt {:?}", sent_at.elapsed())?;
            show_content(&answer, out)
        }
        Command::Reply { subject, queue, body, count } => {
            let subscription = client.subscribe(subject, Some(queue)).await?;
            client.flush().await?;
            writeln!(out, "Listening on \"{subject}\" in group \"{queue}\"")?;
            answer_requests(client, subscription, body.as_deref(), *count, out).await
        }
    }
}

async fn show_messages(
    client: &LineClient,
    mut subscription: Subscription,
    count: Option<u64>,
    out: &mut impl Write,
) -> Result<(), CommandErr> {
    for number in 1..=count.unwrap_or(u64::MAX) {
        let message = next(client, &mut subscription).await?;
        show(number, &message, out)?;
    }
    Ok(())
}

async fn answer_requests(
    client: &LineClient,
    mut subscription: Subscription,
    body: Option<&[u8]>,
    count: Option<u64>,
    out: &mut impl Write,
) -> Result<(), CommandErr> {
    for number in 1..=count.unwrap_or(u64::MAX) {
        let request = next(client, &mut subscription).await?;
        show(number, &request, out)?;
        match &request.reply {
            Some(reply) => client.publish(reply, body.unwrap_or(&request.payload)).await?,
            None => writeln!(out, "(no reply subject, so no answer)")?,
        }
    }
    Ok(())
}

async fn next(client: &LineClient, subscription: &mut Subscription) -> Result<Message, CommandErr> {
    match subscription.next().await {
        Some(message) => Ok(message),
        None => Err(client.closed().await.into()),
    }
}

fn show(number: u64, message: &Message, out: &mut impl Write) -> Result<(), CommandErr> {
    let subject = String::from_utf8_lossy(&message.subject);
    write!(out, "[#{number}] Received on \"{subject}\"")?;
    if let Some(reply) = &message.reply {
        write!(out, " with reply \"{}\"", String::from_utf8_lossy(reply))?;
    }
    writeln!(out)?;
    show_content(message, out)
}

/// Headers one a line, an empty line behind them, then the payload as it is.
fn show_content(message: &Message, out: &mut impl Write) -> Result<(), CommandErr> {
    if let Some((status, description)) = headers::status(&message.header_block) {
        writeln!(out, "Status: {status} {}", String::from_utf8_lossy(description))?;
    }
    for (name, value) in headers::iter(&message.header_block) {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        writeln!(out, "{name}: {value}")?;
    }
    if !message.header_block.is_empty() {
        writeln!(out)?;
    }
    out.write_all(&message.payload)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Where a server is, and what its URL says about credentials.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
    user: Option<String>,
    pass: Option<String>,
}

impl Address {
    fn read(url: &str) -> Result<Self, &'static str> {
        let rest = match url.split_once("://") {
            Some(("nats", rest)) => rest,
            Some(("tls", _)) => return Err("TLS is not supported by this command"),
            Some(_) => return Err("it must start with nats://"),
            None => url,
        };
        let rest = rest.trim_end_matches('/');
        let (credentials, host_port) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, pass) = match credentials.split_once(':') {
            Some((user, pass)) => (Some(user.into()), Some(pass.into())),
            None => ((!credentials.is_empty()).then(|| credentials.into()), None),
        };
        // An IPv6 address stands in brackets if a port follows, else it may stand bare.
        let bare_ipv6 = host_port.matches(':').count() > 1 && !host_port.contains(']');
        let (host, port) = match host_port.rsplit_once(':') {
            Some((host, port)) if !bare_ipv6 && !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "the port must be a number up to 65535")?)
            }
            _ => (host_port, PORT_DEFAULT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("the host is missing");
        }
        Ok(Self { host: host.into(), port, user, pass })
    }

    /// `options` completed from the URL. A user without password is a token, as with other
    /// clients.
    fn options(&self, options: &LineOptions) -> LineOptions {
        let mut options = options.clone();
        if options.user.is_none() && options.token.is_none() {
            match &self.pass {
                Some(_) => (options.user, options.pass) = (self.user.clone(), self.pass.clone()),
                None => options.token.clone_from(&self.user),
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_client::tests::connected;

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses() {
        let address = |url: &str| {
            let address = Address::read(url)?;
            Ok::<_, &'static str>(format!("{} {}", address.host, address.port))
        };
        for (url, expected) in [
            ("localhost", "localhost 4222"),
            ("nats://localhost", "localhost 4222"),
            ("nats://u:p@localhost:1234/", "localhost 1234"),
            ("nats://a@b@[::1]:1234", "::1 1234"),
            ("[::1]", "::1 4222"),
            ("::1", "::1 4222"),
        ] {
            assert_eq!(address(url).as_deref(), Ok(expected), "{url}");
        }
        for url in ["", "nats://", "tls://x", "http://x", "x:y", "x:99999", "u:p@"] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn credentials_of_the_url_come_second() {
        let with = |url: &str, user: Option<&str>| {
            let given = LineOptions { user: user.map(str::to_owned), ..LineOptions::default() };
            let options = Address::read(url).unwrap().options(&given);
            (options.user, options.pass, options.token)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(with("u:p@x", None), (some("u"), some("p"), None));
        assert_eq!(with("t@x", None), (None, None, some("t")));
        assert_eq!(with("u:p@x", Some("v")), (some("v"), None, None));
    }

    #[tokio::test]
    async fn pub_tells_what_was_published() {
        let (client, mut server) = connected().await;
        let command = Command::Pub {
            subject: "x".into(),
            reply: None,
            headers: Vec::new(),
            body: b"hello".into(),
            count: 1,
        };
        let serve = async {
            for line in ["PUB x 5", "hello", "PING"] {
                server.expect(line).await;
            }
            server.say("PONG\r\n").await;
        };
        let mut out = Vec::new();
        let (result, ()) = tokio::join!(run_command(&client, &command, &mut out), serve);
        result.unwrap();
        assert_eq!(text(out), "Published 5 bytes to \"x\"\n");
    }

    #[tokio::test]
    async fn sub_shows_messages_and_ends_after_count() {
        let (client, mut server) = connected().await;
        let command = Command::Sub { subject: "x.*".into(), queue: None, count: Some(2) };
        let serve = async {
            server.expect("SUB x.* 1").await;
            server.expect("PING").await;
            server.say("PONG\r\nMSG x.a 1 2\r\nhi\r\n").await;
            server.say("HMSG x.b 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nho\r\n").await;
        };
        let mut out = Vec::new();
        let (result, ()) = tokio::join!(run_command(&client, &command, &mut out), serve);
        result.unwrap();
        assert_eq!(
            text(out),
            "Subscribing on \"x.*\"\n\
             [#1] Received on \"x.a\"\nhi\n\
             [#2] Received on \"x.b\" with reply \"r\"\nA: b\n\nho\n"
        );
    }

    #[tokio::test]
    async fn sub_fails_when_it_is_not_permitted() {
        let (client, mut server) = connected().await;
        let command = Command::Sub { subject: "x".into(), queue: None, count: None };
        let serve = async {
            server.expect("SUB x 1").await;
            server.expect("PING").await;
            server.say("-ERR 'Permissions Violation for Subscription to \"x\"'\r\nPONG\r\n").await;
        };
        let mut out = io::sink();
        let (result, ()) = tokio::join!(run_command(&client, &command, &mut out), serve);
        assert_eq!(
            result.unwrap_err().to_string(),
            "the server refused: Permissions Violation for Subscription to \"x\""
        );
    }

    #[tokio::test]
    async fn reply_sends_requests_back() {
        let (client, mut server) = connected().await;
        let command = Command::Reply {
            subject: "x".into(),
            queue: REPLY_QUEUE_DEFAULT.into(),
            body: None,
            count: Some(1),
        };
        let serve = async {
            server.expect("SUB x dialtone-reply 1").await;
            server.expect("PING").await;
            server.say("PONG\r\nMSG x 1 r 2\r\nhi\r\n").await;
            server.expect("PUB r 2").await;
            server.expect("hi").await;
        };
        let mut out = io::sink();
        let (result, ()) = tokio::join!(run_command(&client, &command, &mut out), serve);
        result.unwrap();
    }

    #[tokio::test]
    async fn req_names_the_subject_that_nobody_answers() {
        let (client, mut server) = connected().await;
        let command = Command::Req {
            subject: "x".into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: REQUEST_TIMEOUT_DEFAULT,
        };
        let serve = async {
            let sub = server.hear().await;
            let inbox = sub.strip_prefix("SUB ").unwrap().strip_suffix("* 1").unwrap().to_owned();
            server.say(&format!("HMSG {inbox}1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n")).await;
        };
        let mut out = io::sink();
        let (result, ()) = tokio::join!(run_command(&client, &command, &mut out), serve);
        assert_eq!(result.unwrap_err().to_string(), "no responders: nobody subscribes to \"x\"");
    }
}
