//! The words `pub`, `sub`, `req` and `reply`: one client action against a running server.
//!
//! Not in nats-server, whose users install a second program for this.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::flag::{Flag, Section};
use super::{CliError, Command, Words, Written};
use crate::base::duration;
use crate::base::limits;
use crate::config::options::CertFiles;
use crate::config::route_url::{HostPort, percent_decoded};

/// The server if neither flag nor environment names one.
const URL_DEFAULT: &str = "nats://127.0.0.1:4222";

/// Time to wait for an answer.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Characters of the seed of an nkey.
const SEED_LEN: usize = 58;

/// The words, each an [`Action`].
pub(super) const WORDS: [&str; 4] = ["pub", "sub", "req", "reply"];

/// One action as a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCommand {
    /// The server to connect to.
    pub server: ServerUrl,
    /// Files of keys and certificates.
    pub files: KeyFiles,
    /// Headers of each message sent, name and value.
    pub headers: Vec<(String, String)>,
    /// The action.
    pub action: Action,
}

/// The action of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishes one message.
    Publish {
        /// Its subject.
        subject: Vec<u8>,
        /// Its body; none means standard input.
        body: Option<Vec<u8>>,
    },
    /// Prints each message that arrives.
    Subscribe {
        /// The subject, wildcards allowed.
        subject: Vec<u8>,
        /// Queue group to share with.
        queue: Option<String>,
        /// Messages after which to end.
        count: Option<u64>,
    },
    /// Publishes one request and prints the first answer.
    Request {
        /// Its subject.
        subject: Vec<u8>,
        /// Its body; none means standard input.
        body: Option<Vec<u8>>,
        /// Time to wait for the answer.
        timeout: Duration,
    },
    /// Answers each request.
    Reply {
        /// The subject, wildcards allowed.
        subject: Vec<u8>,
        /// The answer; may be empty.
        body: Vec<u8>,
        /// Queue group to share with.
        queue: Option<String>,
        /// Requests after which to end.
        count: Option<u64>,
    },
}

/// Files of keys and certificates, and their use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// Authorities for the certificate of the server; none means those of the system.
    pub tls_ca: Option<PathBuf>,
    /// The client's certificate, with its key.
    pub tls_pair: Option<CertFiles>,
    /// Begins the handshake before INFO.
    pub tls_first: bool,
    /// A user JWT and the seed of its key.
    pub creds: Option<PathBuf>,
    /// The seed of a user's nkey.
    pub nkey: Option<PathBuf>,
}

impl KeyFiles {
    /// True if they have a meaning only for an encrypted connection.
    pub fn ask_for_tls(&self) -> bool {
        self.tls_ca.is_some() || self.tls_pair.is_some()
    }
}

/// The way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP, encrypted if the server asks for it.
    Nats,
    /// TCP, encrypted.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket, encrypted.
    Wss,
}

/// A server and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// The way to it.
    pub scheme: Scheme,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The path of a WebSocket, without its first slash; else empty.
    pub path: String,
    /// The credentials.
    pub credentials: UrlCredentials,
}

/// The credentials of a client.
#[derive(Clone, PartialEq, Eq)]
pub enum UrlCredentials {
    /// Nothing.
    None,
    /// A name and a password.
    User {
        /// The name.
        user: String,
        /// The password, plain.
        password: String,
    },
    /// A token.
    Token(String),
}

/// Flags and words of an action while they are read.
#[derive(Default)]
pub(super) struct Draft {
    server: Option<String>,
    files: KeyFiles,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    headers: Vec<(String, String)>,
    queue: Option<String>,
    count: Option<u64>,
    timeout: Option<Duration>,
    help: bool,
    /// Subject and body.
    words: Vec<OsString>,
}

/// The effect of a flag of these words.
pub(super) struct Effect {
    /// The words with this flag.
    pub(super) words: &'static [&'static str],
    keep: Keep,
}

/// Keeps the value of a flag.
type Keep = for<'a> fn(&mut Draft, Written<'a>, &mut Words<'a>) -> Result<(), CliError>;

/// The flags of these words, in the order of the help.
pub(super) static FLAGS: Section<Effect> = Section {
    title: "pub, sub, req, reply \
            (the body of pub and req, if not given, is read from a pipe or file)",
    flags: &[
        Flag {
            names: &["-s", "--server"],
            argument: "URL",
            help: "nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT],\n\
                   tls://..., ws://... or wss://...\n\
                   (default: $NATS_URL, else nats://127.0.0.1:4222)",
            effect: Effect {
                words: &["pub", "sub", "req", "reply"],
                keep: |draft, written, words| {
                    draft.server = Some(words.text(written)?);
                    Ok(())
                },
            },
        },
        file(&["--tlsca"], "authorities of the server's certificate", |draft, written, words| {
            draft.files.tls_ca = Some(words.path(written)?);
            Ok(())
        }),
        file(&["--tlscert"], "certificate of this client", |draft, written, words| {
            draft.tls_cert = Some(words.path(written)?);
            Ok(())
        }),
        file(&["--tlskey"], "its private key", |draft, written, words| {
            draft.tls_key = Some(words.path(written)?);
            Ok(())
        }),
        Flag {
            names: &["--tlsfirst"],
            argument: "",
            help: "encrypt before the server says INFO",
            effect: Effect {
                words: &WORDS,
                keep: |draft, written, _| {
                    draft.files.tls_first = written.bool()?;
                    Ok(())
                },
            },
        },
        file(&["--creds"], "credentials: a user JWT and its seed", |draft, written, words| {
            draft.files.creds = Some(secret_file(written, words)?);
            Ok(())
        }),
        file(&["--nkey"], "seed of the user's nkey", |draft, written, words| {
            draft.files.nkey = Some(secret_file(written, words)?);
            Ok(())
        }),
        Flag {
            names: &["-H", "--header"],
            argument: "NAME:VALUE",
            help: "header of the message, may be given again",
            effect: Effect { words: &["pub", "req", "reply"], keep: keep_header },
        },
        Flag {
            names: &["--queue"],
            argument: "NAME",
            help: "sub, reply: share the messages with this group",
            effect: Effect {
                words: &["sub", "reply"],
                keep: |draft, written, words| {
                    draft.queue = Some(words.text(written)?);
                    Ok(())
                },
            },
        },
        Flag {
            names: &["--count"],
            argument: "N",
            help: "sub, reply: end after N messages",
            effect: Effect { words: &["sub", "reply"], keep: keep_count },
        },
        Flag {
            names: &["--timeout"],
            argument: "DURATION",
            help: "req: how long to wait for the answer (default 2s)",
            effect: Effect { words: &["req"], keep: keep_timeout },
        },
    ],
};

/// A flag of all words that names a file.
const fn file(names: &'static [&'static str], help: &'static str, keep: Keep) -> Flag<Effect> {
    Flag { names, argument: "FILE", help, effect: Effect { words: &WORDS, keep } }
}

/// A file that holds a seed, and not the seed itself: no error about the file may show that.
fn secret_file<'a>(written: Written<'a>, words: &mut Words<'a>) -> Result<PathBuf, CliError> {
    let path = words.path(written)?;
    let text = path.to_string_lossy();
    let is_of_seed = |byte: u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
    if text.len() == SEED_LEN && text.starts_with('S') && text.bytes().all(is_of_seed) {
        let text = format!("--{} names a file with the seed, and takes no seed", written.name);
        return Err(CliError::new(text));
    }
    Ok(path)
}

fn keep_header<'a>(
    draft: &mut Draft,
    written: Written<'a>,
    words: &mut Words<'a>,
) -> Result<(), CliError> {
    let header = words.str(written)?;
    let (name, value) = header.split_once(':').ok_or_else(|| written.invalid(header))?;
    if name.is_empty() || name.contains(' ') || header.contains(['\r', '\n']) {
        return Err(written.invalid(header));
    }
    draft.headers.push((name.to_owned(), value.trim().to_owned()));
    Ok(())
}

fn keep_count<'a>(
    draft: &mut Draft,
    written: Written<'a>,
    words: &mut Words<'a>,
) -> Result<(), CliError> {
    let count = words.str(written)?;
    let number = count.parse().ok().filter(|&number| number > 0);
    draft.count = Some(number.ok_or_else(|| written.invalid(count))?);
    Ok(())
}

fn keep_timeout<'a>(
    draft: &mut Draft,
    written: Written<'a>,
    words: &mut Words<'a>,
) -> Result<(), CliError> {
    let timeout = words.str(written)?;
    let ns = duration::parse_ns(timeout).ok().and_then(|ns| u64::try_from(ns).ok());
    draft.timeout = Some(Duration::from_nanos(ns.ok_or_else(|| written.invalid(timeout))?));
    Ok(())
}

/// Reads everything after `word`. Flags may stand between the other words.
pub(super) fn parse(
    word: &str,
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Command, CliError> {
    let mut words = Words::new(args);
    let mut draft = Draft::default();
    loop {
        let before = words.rest.len();
        if draft.flag(word, &mut words)? {
            continue;
        }
        if words.rest.len() < before {
            // After `--` there are no flags, so that a body may begin with a dash.
            draft.words.extend(words.rest().iter().cloned());
            break;
        }
        match words.next_word() {
            Some(next) => draft.words.push(next.to_owned()),
            None => break,
        }
    }
    if draft.help {
        return Ok(Command::Help);
    }
    let server = draft.server.take().or_else(|| environment("NATS_URL"));
    let server = ServerUrl::parse(server.as_deref().unwrap_or(URL_DEFAULT))?;
    let headers = std::mem::take(&mut draft.headers);
    let files = draft.files()?;
    let command = ClientCommand { server, files, headers, action: draft.action(word)? };
    Ok(Command::Client(Box::new(command)))
}

impl Action {
    /// The word that asks for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "pub",
            Self::Subscribe { .. } => "sub",
            Self::Request { .. } => "req",
            Self::Reply { .. } => "reply",
        }
    }
}

impl Draft {
    /// Reads a flag if the next word is one.
    fn flag(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, CliError> {
        let Some(written) = words.next_flag()? else { return Ok(false) };
        if matches!(written.name, "h" | "help") {
            self.help = true;
            return Ok(true);
        }
        let mut flags = FLAGS.flags.iter();
        let flag =
            flags.find(|flag| flag.is_called(written.name) && flag.effect.words.contains(&word));
        let Some(flag) = flag else {
            let text = format!("flag provided but not defined: -{}", written.name);
            return Err(CliError::flag(text));
        };
        (flag.effect.keep)(self, written, words)?;
        Ok(true)
    }

    fn files(&mut self) -> Result<KeyFiles, CliError> {
        let mut files = std::mem::take(&mut self.files);
        files.tls_pair = match (self.tls_cert.take(), self.tls_key.take()) {
            (Some(cert_file), Some(key_file)) => Some(CertFiles { cert_file, key_file }),
            (None, None) => None,
            _ => return Err(CliError::new("--tlscert and --tlskey need each other".to_owned())),
        };
        Ok(files)
    }

    fn action(self, word: &str) -> Result<Action, CliError> {
        let Self { queue, count, timeout, words, .. } = self;
        let words_max = if word == "sub" { 1 } else { 2 };
        if words.len() > words_max {
            let text = format!("unexpected word {:?}", words[words_max]);
            return Err(CliError::new(text));
        }
        let mut words = words.into_iter().map(OsString::into_vec);
        let subject = words
            .next()
            .filter(|subject| !subject.is_empty() && !subject.iter().any(u8::is_ascii_whitespace))
            .ok_or_else(|| CliError::new("needs a subject without blanks".to_owned()))?;
        let body = words.next();
        Ok(match word {
            "pub" => Action::Publish { subject, body },
            "sub" => Action::Subscribe { subject, queue, count },
            "req" => {
                let timeout = timeout.unwrap_or(TIMEOUT_DEFAULT);
                Action::Request { subject, body, timeout }
            }
            _ => Action::Reply { subject, body: body.unwrap_or_default(), queue, count },
        })
    }
}

impl ServerUrl {
    /// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/PATH]`; a user without password is a token,
    /// and only a WebSocket has a path.
    ///
    /// # Errors
    /// Another scheme, no host, or a path.
    pub fn parse(url: &str) -> Result<Self, CliError> {
        let wrong = |why: &str| {
            // Everything before the address may be a secret.
            let shown = url.rsplit_once('@').map_or(url, |(_, address)| address);
            CliError::new(format!("server address {shown:?}: {why}"))
        };
        let (scheme, rest) = match url.split_once("://") {
            Some(("nats", rest)) => (Scheme::Nats, rest),
            Some(("tls", rest)) => (Scheme::Tls, rest),
            Some(("ws", rest)) => (Scheme::Ws, rest),
            Some(("wss", rest)) => (Scheme::Wss, rest),
            Some(_) => return Err(wrong("expected nats, tls, ws or wss before ://")),
            None => (Scheme::Nats, url),
        };
        let (login, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (address, path) = address.split_once('/').unwrap_or((address, ""));
        if !path.is_empty() && matches!(scheme, Scheme::Nats | Scheme::Tls) {
            return Err(wrong("only ws:// and wss:// have a path"));
        }
        let credentials = match login.split_once(':') {
            _ if login.is_empty() => UrlCredentials::None,
            Some((user, password)) => UrlCredentials::User {
                user: percent_decoded(user).map_err(|_| wrong("bad % in the user"))?,
                password: percent_decoded(password).map_err(|_| wrong("bad % in the password"))?,
            },
            None => UrlCredentials::Token(
                percent_decoded(login).map_err(|_| wrong("bad % in the token"))?,
            ),
        };
        let (host, port) =
            HostPort::split(address).ok_or_else(|| wrong("expected HOST or HOST:PORT"))?;
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong("the port is no number"))?,
            None => match scheme {
                Scheme::Nats | Scheme::Tls => limits::PORT_DEFAULT,
                Scheme::Ws => 80,
                Scheme::Wss => 443,
            },
        };
        Ok(Self { scheme, host: host.to_owned(), port, path: path.to_owned(), credentials })
    }
}

// Passwords and tokens never reach a log by way of `{:?}`.
impl fmt::Debug for UrlCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::User { user, .. } => {
                f.debug_struct("User").field("user", user).finish_non_exhaustive()
            }
            Self::Token(_) => f.write_str("Token(..)"),
        }
    }
}
