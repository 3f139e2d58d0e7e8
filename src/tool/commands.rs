//! The helper commands `pub`, `sub`, `req` and `reply`: a first look at a server without
//! installing a client.
//!
//! Messages for people go to the writer that is passed in: payloads unchanged, all else from others
//! with unprintable bytes escaped. Errors are returned, for the caller to show likewise and to exit
//! with 1. Not supported: several servers.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::time::timeout;

use crate::base::os_error::OsError;
use crate::base::quoted::{Escaped, Quoted};
use crate::base::subject::is_valid_publish;
use crate::bounded_file;
use crate::codec::headers;
use crate::config::cli::{Action, ClientCommand, UrlCredentials};
use crate::tool::line_client::{
    CONNECT_TIMEOUT, LineClient, LineErr, LineOptions, Message, OutboundMessage, Subscriber,
};
use crate::tool::transport;

/// Bytes that a body from standard input may have. No server takes as many by default.
const BODY_LEN_MAX: usize = 64 * 1024 * 1024;

/// The reason why a command failed.
#[derive(Debug)]
pub enum CommandErr {
    /// No connection to this server.
    Connect(String, LineErr),
    /// This file of keys cannot be read.
    File(PathBuf, String),
    /// There is no seed, or no JWT, in it.
    NoKey(PathBuf),
    /// No answer on this subject.
    Request(String, LineErr),
    /// Nobody can subscribe to this subject.
    Subject(String),
    /// The connection failed later, or the server refused the request.
    Line(LineErr),
    /// Standard input cannot be read.
    Input(io::Error),
    /// It holds more than [`BODY_LEN_MAX`].
    BodyTooLarge,
    /// The output cannot be written.
    Output(io::Error),
}

impl fmt::Display for CommandErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(address, err) => write!(f, "cannot connect to {address}: {err}"),
            Self::File(file, err) => write!(f, "{}: {err}", file.display()),
            Self::NoKey(file) => write!(f, "{}: no credentials of a user", file.display()),
            Self::Request(subject, LineErr::NoResponders) => {
                write!(f, "no responders: nobody subscribes to \"{subject}\"")
            }
            Self::Request(subject, LineErr::TimedOut) => {
                write!(f, "no answer on \"{subject}\" in time")
            }
            Self::Subject(subject) => write!(f, "\"{subject}\" is no subject to publish on"),
            Self::Request(_, err) | Self::Line(err) => err.fmt(f),
            Self::Input(err) => write!(f, "input: {}", OsError(err)),
            Self::BodyTooLarge => write!(f, "input: more than {BODY_LEN_MAX} bytes"),
            Self::Output(err) => write!(f, "output: {}", OsError(err)),
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

/// Connects, performs the action, and disconnects. An interrupt from the keyboard, or a reader
/// that closes our output, ends it without error. A body missing on the command line is first
/// read from `input`, to its end; without `input` it is empty.
///
/// # Errors
/// [`CommandErr`], among others if a request is not answered.
pub async fn run(
    client: &ClientCommand,
    input: Option<impl Read>,
    out: &mut impl Write,
) -> Result<(), CommandErr> {
    let piped = match (&client.action, input) {
        (Action::Publish { body: None, .. } | Action::Request { body: None, .. }, Some(input)) => {
            read_body(input)?
        }
        _ => Vec::new(),
    };
    let line = connect(client).await?;
    let result = tokio::select! {
        result = run_action(&line, client, &piped, out) => result,
        interrupt = tokio::signal::ctrl_c() => interrupt.map_err(CommandErr::Output),
    };
    let drained = timeout(CONNECT_TIMEOUT, line.drain()).await;
    match result {
        Err(CommandErr::Output(err)) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Ok(()) => Ok(drained.map_err(|_| LineErr::TimedOut)??),
        Err(err) => Err(err),
    }
}

fn read_body(input: impl Read) -> Result<Vec<u8>, CommandErr> {
    let mut body = Vec::new();
    input.take(BODY_LEN_MAX as u64 + 1).read_to_end(&mut body).map_err(CommandErr::Input)?;
    if body.len() > BODY_LEN_MAX { Err(CommandErr::BodyTooLarge) } else { Ok(body) }
}

async fn connect(client: &ClientCommand) -> Result<LineClient, CommandErr> {
    let ClientCommand { server, files, .. } = client;
    let refused = |err| CommandErr::Connect(format!("{}:{}", server.host, server.port), err);
    let mut options = LineOptions { name: Some("dialtone".into()), ..LineOptions::default() };
    match &server.credentials {
        UrlCredentials::None => {}
        UrlCredentials::User { user, password } => {
            options.user = Some(user.clone());
            options.pass = Some(password.clone());
        }
        UrlCredentials::Token(token) => options.token = Some(token.clone()),
    }
    if let Some(file) = &files.nkey {
        options.seed = Some(word_of(file, "SU")?);
    }
    if let Some(file) = &files.creds {
        options.jwt = Some(word_of(file, "eyJ")?);
        options.seed = Some(word_of(file, "SU")?);
    }
    let line = timeout(CONNECT_TIMEOUT, transport::connect(server, files, &options)).await;
    line.unwrap_or(Err(LineErr::TimedOut)).map_err(refused)
}

/// The line of a file of credentials that begins so: seeds and JWTs do.
fn word_of(file: &Path, start: &str) -> Result<String, CommandErr> {
    let text = bounded_file::read_text(file);
    let text = text.map_err(|error| CommandErr::File(file.to_owned(), error))?;
    let word = text.lines().map(str::trim).find(|line| line.starts_with(start));
    word.map(str::to_owned).ok_or_else(|| CommandErr::NoKey(file.to_owned()))
}

async fn run_action(
    line: &LineClient,
    client: &ClientCommand,
    piped: &[u8],
    out: &mut impl Write,
) -> Result<(), CommandErr> {
    let headers = &client.headers;
    match &client.action {
        Action::Publish { subject, body } => {
            let body = body.as_deref().unwrap_or(piped);
            if !is_valid_publish(subject) {
                return Err(CommandErr::Subject(String::from_utf8_lossy(subject).into_owned()));
            }
            line.send(&message(subject, headers, body)).await?;
            line.flush().await?;
            writeln!(out, "Published {} bytes to {}", body.len(), Quoted(subject))?;
        }
        Action::Subscribe { subject, queue, count } => {
            let mut subscriber = subscribe(line, subject, queue.as_deref(), out).await?;
            for number in 1..=count.unwrap_or(u64::MAX) {
                show(number, &next(line, &mut subscriber).await?, out)?;
            }
        }
        Action::Request { subject, body, timeout } => {
            writeln!(out, "Sending request on {}", Quoted(subject))?;
            let sent_at = Instant::now();
            let request = message(subject, headers, body.as_deref().unwrap_or(piped));
            let refused = async {
                match line.flush().await {
                    Ok(()) => std::future::pending().await,
                    Err(error) => Err(error),
                }
            };
            let answer = tokio::select! {
                biased;
                answer = line.send_request(&request, *timeout) => answer,
                refused = refused => refused,
            };
            let shown = || String::from_utf8_lossy(subject).into_owned();
            let answer = answer.map_err(|err| CommandErr::Request(shown(), err))?;
            writeln!(out, "Received with rtt {:?}", sent_at.elapsed())?;
            show_content(&answer, out)?;
        }
        Action::Reply { subject, body, queue, count } => {
            let mut subscriber = subscribe(line, subject, queue.as_deref(), out).await?;
            for number in 1..=count.unwrap_or(u64::MAX) {
                let request = next(line, &mut subscriber).await?;
                show(number, &request, out)?;
                match &request.reply {
                    Some(reply) => line.send(&message(reply, headers, body)).await?,
                    None => writeln!(out, "(no reply subject, so no answer)")?,
                }
            }
        }
    }
    Ok(())
}

fn message<'a>(
    subject: &'a [u8],
    headers: &'a [(String, String)],
    payload: &'a [u8],
) -> OutboundMessage<'a> {
    OutboundMessage { subject, reply: None, headers, payload }
}

async fn subscribe(
    line: &LineClient,
    subject: &[u8],
    queue: Option<&str>,
    out: &mut impl Write,
) -> Result<Subscriber, CommandErr> {
    let subscriber = line.subscribe(subject, queue).await?;
    line.flush().await?;
    write!(out, "Subscribing on {}", Quoted(subject))?;
    match queue {
        Some(queue) => writeln!(out, " in group \"{queue}\"")?,
        None => writeln!(out)?,
    }
    out.flush()?;
    Ok(subscriber)
}

async fn next(line: &LineClient, subscriber: &mut Subscriber) -> Result<Message, CommandErr> {
    match subscriber.next().await {
        Some(message) => Ok(message),
        None => Err(line.closed().await.into()),
    }
}

fn show(number: u64, message: &Message, out: &mut impl Write) -> Result<(), CommandErr> {
    write!(out, "[#{number}] Received on {}", Quoted(&message.subject))?;
    match &message.reply {
        Some(reply) => writeln!(out, " with reply {}", Quoted(reply))?,
        None => writeln!(out)?,
    }
    show_content(message, out)
}

/// Headers one a line, an empty line behind them, then the payload as it is.
fn show_content(message: &Message, out: &mut impl Write) -> Result<(), CommandErr> {
    if let Some((status, description)) = headers::status(&message.header_block) {
        writeln!(out, "Status: {status} {}", Escaped(description))?;
    }
    for (name, value) in message.headers() {
        writeln!(out, "{}: {}", Escaped(name), Escaped(value))?;
    }
    if !message.header_block.is_empty() {
        writeln!(out)?;
    }
    out.write_all(&message.payload)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::cli::{KeyFiles, ServerUrl};
    use crate::tool::line_client::tests::connected;

    /// Runs a command while `serve` plays the server; returns the output.
    async fn run(
        line: &LineClient,
        action: Action,
        serve: impl Future<Output = ()>,
    ) -> Result<String, CommandErr> {
        let server = ServerUrl::parse("localhost").unwrap();
        let (files, headers) = (KeyFiles::default(), Vec::new());
        let client = ClientCommand { server, files, headers, action };
        let mut out = Vec::new();
        let (result, ()) = tokio::join!(run_action(line, &client, b"", &mut out), serve);
        result.map(|()| String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn pub_tells_what_was_published() {
        let (line, mut server) = connected().await;
        let action = Action::Publish { subject: "x".into(), body: Some("hello".into()) };
        let serve = async {
            for line in ["PUB x 5", "hello", "PING"] {
                server.expect(line).await;
            }
            server.say("PONG\r\n").await;
        };
        let shown = run(&line, action, serve).await.unwrap();
        assert_eq!(shown, "Published 5 bytes to \"x\"\n");
    }

    #[tokio::test]
    async fn sub_shows_messages_and_ends_after_count() {
        let (line, mut server) = connected().await;
        let action = Action::Subscribe { subject: "x.*".into(), queue: None, count: Some(2) };
        let serve = async {
            server.expect("SUB x.* 1").await;
            server.expect("PING").await;
            server.say("PONG\r\nMSG x.a 1 2\r\nhi\r\n").await;
            server.say("HMSG x.b 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nho\r\n").await;
        };
        let shown = run(&line, action, serve).await.unwrap();
        assert_eq!(
            shown,
            "Subscribing on \"x.*\"\n\
             [#1] Received on \"x.a\"\nhi\n\
             [#2] Received on \"x.b\" with reply \"r\"\nA: b\n\nho\n"
        );
    }

    #[tokio::test]
    async fn only_payloads_reach_the_terminal_unchanged() {
        let (line, mut server) = connected().await;
        let action = Action::Subscribe { subject: ">".into(), queue: None, count: Some(1) };
        let serve = async {
            server.expect("SUB > 1").await;
            server.expect("PING").await;
            server.say("PONG\r\nHMSG a\x1b[m 1 b\x07 25 27\r\nNATS/1.0\r\n").await;
            server.say("A\x1b: b\u{9b}\x7f\u{202e}\r\n\r\n\x1bo\r\n").await;
        };
        let shown = run(&line, action, serve).await.unwrap();
        assert_eq!(
            shown,
            "Subscribing on \">\"\n[#1] Received on \"a\\x1b[m\" with reply \"b\\a\"\n\
             A\\u{1b}: b\\u{9b}\\u{7f}\\u{202e}\n\n\x1bo\n"
        );
    }

    #[tokio::test]
    async fn sub_fails_when_it_is_not_permitted() {
        let (line, mut server) = connected().await;
        let action = Action::Subscribe { subject: "x".into(), queue: None, count: None };
        let serve = async {
            server.expect("SUB x 1").await;
            server.expect("PING").await;
            server.say("-ERR 'Permissions Violation for Subscription to \"x\"'\r\nPONG\r\n").await;
        };
        let result = run(&line, action, serve).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the server refused: Permissions Violation for Subscription to \"x\""
        );
    }

    #[tokio::test]
    async fn reply_answers_requests() {
        let (line, mut server) = connected().await;
        let action = Action::Reply {
            subject: "x".into(),
            queue: Some("q".into()),
            body: "ho".into(),
            count: Some(1),
        };
        let serve = async {
            server.expect("SUB x q 1").await;
            server.expect("PING").await;
            server.say("PONG\r\nMSG x 1 r 2\r\nhi\r\n").await;
            server.expect("PUB r 2").await;
            server.expect("ho").await;
        };
        run(&line, action, serve).await.unwrap();
    }

    #[tokio::test]
    async fn req_names_the_subject_that_nobody_answers() {
        let (line, mut server) = connected().await;
        let action =
            Action::Request { subject: "x".into(), body: None, timeout: Duration::from_secs(5) };
        let serve = async {
            let inbox = server.expect_inbox().await;
            server.say(&format!("HMSG {inbox}1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n")).await;
        };
        let result = run(&line, action, serve).await;
        assert_eq!(result.unwrap_err().to_string(), "no responders: nobody subscribes to \"x\"");
    }

    #[tokio::test]
    async fn req_fails_at_once_when_it_is_not_permitted() {
        let (line, mut server) = connected().await;
        let action =
            Action::Request { subject: "x".into(), body: None, timeout: Duration::from_secs(500) };
        let serve = async {
            let inbox = server.expect_inbox().await;
            for line in [&*format!("PUB x {inbox}1 0"), "", "PING"] {
                server.expect(line).await;
            }
            server.say("-ERR 'Permissions Violation for Publish to \"x\"'\r\nPONG\r\n").await;
        };
        let result = run(&line, action, serve).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the server refused: Permissions Violation for Publish to \"x\""
        );
    }

    #[tokio::test]
    async fn pub_refuses_a_subject_that_nobody_can_subscribe_to() {
        let (line, _server) = connected().await;
        for subject in ["a..b", "a.*"] {
            let action = Action::Publish { subject: subject.into(), body: Some("".into()) };
            let refused = run(&line, action, async {}).await.unwrap_err().to_string();
            assert_eq!(refused, format!("\"{subject}\" is no subject to publish on"));
        }
    }

    #[test]
    fn what_the_system_says_is_said_in_the_words_of_the_server() {
        let refused = LineErr::Io(io::Error::from_raw_os_error(111));
        let text = CommandErr::Connect("localhost:4222".into(), refused).to_string();
        assert_eq!(text, "cannot connect to localhost:4222: connection refused");
    }
}
