//! The words `pub`, `sub`, `req` and `reply`: one client action against a running server.
//!
//! Not in nats-server, whose users install a second program for this.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::{CliError, Words};
use crate::base::duration;
use crate::base::limits;
use crate::config::route_url::percent_decoded;

/// The server that is meant if neither flag nor environment names one.
const URL_DEFAULT: &str = "nats://127.0.0.1:4222";

/// Time to wait for an answer.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// One action as a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The server to connect to.
    pub server: ServerUrl,
    /// Headers of each message that is sent, name and value.
    pub headers: Vec<(String, String)>,
    /// What to do there.
    pub action: Action,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishes one message.
    Publish {
        /// Where to.
        subject: Vec<u8>,
        /// What; none means what standard input brings.
        body: Option<Vec<u8>>,
    },
    /// Prints what arrives.
    Subscribe {
        /// Where from, wildcards allowed.
        subject: Vec<u8>,
        /// Queue group to share with.
        queue: Option<String>,
        /// Messages after which to end.
        count: Option<u64>,
    },
    /// Publishes one request and prints the first answer.
    Request {
        /// Where to.
        subject: Vec<u8>,
        /// What; none means what standard input brings.
        body: Option<Vec<u8>>,
        /// Time to wait for the answer.
        timeout: Duration,
    },
    /// Answers each request.
    Reply {
        /// Where from, wildcards allowed.
        subject: Vec<u8>,
        /// The answer; may be empty.
        body: Vec<u8>,
        /// Queue group to share with.
        queue: Option<String>,
        /// Requests after which to end.
        count: Option<u64>,
    },
}

/// A server and how to log in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What to show there.
    pub credentials: Credentials,
}

/// What a client shows to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
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
struct Draft {
    server: Option<String>,
    headers: Vec<(String, String)>,
    queue: Option<String>,
    count: Option<u64>,
    timeout: Option<Duration>,
    /// Subject and body.
    words: Vec<OsString>,
}

/// Reads what follows `word`. Flags may stand between the other words.
pub(super) fn parse(
    word: &str,
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Client, CliError> {
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
    let server = draft.server.take().or_else(|| environment("NATS_URL"));
    let server = ServerUrl::parse(server.as_deref().unwrap_or(URL_DEFAULT))?;
    let headers = std::mem::take(&mut draft.headers);
    Ok(Client { server, headers, action: draft.action(word)? })
}

impl Draft {
    /// Reads a flag if the next word is one.
    fn flag(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, CliError> {
        let Some(flag) = words.next_flag()? else { return Ok(false) };
        let receives = matches!(word, "sub" | "reply");
        match flag.name {
            "s" | "server" => self.server = Some(words.text(flag)?),
            "H" | "header" if word != "sub" => {
                let written = words.str(flag)?;
                let (name, value) = written.split_once(':').ok_or_else(|| flag.invalid(written))?;
                let has_line_end = written.contains(['\r', '\n']);
                if name.is_empty() || name.contains(' ') || has_line_end {
                    return Err(flag.invalid(written));
                }
                self.headers.push((name.to_owned(), value.trim().to_owned()));
            }
            "queue" if receives => self.queue = Some(words.text(flag)?),
            "count" if receives => {
                let written = words.str(flag)?;
                let count = written.parse().ok().filter(|&count| count > 0);
                self.count = Some(count.ok_or_else(|| flag.invalid(written))?);
            }
            "timeout" if word == "req" => {
                let written = words.str(flag)?;
                let ns = duration::parse_ns(written).ok().and_then(|ns| u64::try_from(ns).ok());
                self.timeout = Some(Duration::from_nanos(ns.ok_or_else(|| flag.invalid(written))?));
            }
            name => {
                let text = format!("flag provided but not defined for {word}: -{name}");
                return Err(CliError::new(text));
            }
        }
        Ok(true)
    }

    fn action(self, word: &str) -> Result<Action, CliError> {
        let Self { queue, count, timeout, words, .. } = self;
        let words_max = if word == "sub" { 1 } else { 2 };
        if words.len() > words_max {
            let text = format!("{word}: unexpected word {:?}", words[words_max]);
            return Err(CliError::new(text));
        }
        let mut words = words.into_iter().map(OsString::into_vec);
        let subject = words
            .next()
            .filter(|subject| !subject.is_empty() && !subject.iter().any(u8::is_ascii_whitespace))
            .ok_or_else(|| CliError::new(format!("{word} needs a subject without blanks")))?;
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
    /// Reads `[nats://][USER[:PASSWORD]@]HOST[:PORT]`; a user without password is a token.
    ///
    /// # Errors
    /// Another scheme, or no host.
    pub fn parse(url: &str) -> Result<Self, CliError> {
        let wrong = |why: &str| {
            // Whatever stands before the address may be a secret.
            let shown = url.rsplit_once('@').map_or(url, |(_, address)| address);
            CliError::new(format!("server address {shown:?}: {why}"))
        };
        let rest = match url.split_once("://") {
            Some(("nats", rest)) => rest,
            Some(("tls", _)) => return Err(wrong("TLS is not supported yet")),
            Some(_) => return Err(wrong("expected nats://HOST:PORT")),
            None => url,
        };
        let rest = rest.trim_end_matches('/');
        let (login, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let credentials = match login.split_once(':') {
            _ if login.is_empty() => Credentials::None,
            Some((user, password)) => Credentials::User {
                user: percent_decoded(user).map_err(|_| wrong("bad % in the user"))?,
                password: percent_decoded(password).map_err(|_| wrong("bad % in the password"))?,
            },
            None => {
                Credentials::Token(percent_decoded(login).map_err(|_| wrong("bad % in the token"))?)
            }
        };
        let (host, port) = match address.strip_prefix('[').and_then(|a| a.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => {
                (host, Some(port.strip_prefix(':').ok_or_else(|| wrong("expected a port"))?))
            }
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong("the port is no number"))?,
            None => limits::PORT_DEFAULT,
        };
        Ok(Self { host: host.to_owned(), port, credentials })
    }
}

// Passwords and tokens never reach a log by way of `{:?}`.
impl fmt::Debug for Credentials {
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
