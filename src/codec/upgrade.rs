//! The request that makes a WebSocket of an HTTP connection, and the answer to it.
//!
//! Judges the request. Knows no frame, no socket and no user.
//! nats: server/websocket.go `wsUpgrade`, `wsReturnHTTPError`, `checkOrigin`, `wsAcceptKey`

#[cfg(test)]
mod tests;

use core::net::IpAddr;

use data_encoding::BASE64;
use sha1_smol::Sha1;

use crate::codec::connect::Credentials;
use crate::codec::http_head::{Headers, Method, RequestHead};
use crate::codec::websocket::Agreed;
use crate::config::options::Websocket;
use crate::config::origin::Origin;

/// The hashed text is the key of the request, and this. RFC 6455, 1.3
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const DEFLATE: &str = "permessage-deflate";

/// Payload of one frame for a browser.
const FRAME_LEN_FOR_BROWSERS: usize = 4096;

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// Proves that the server has understood.
    accept: String,
    /// The part of the server that is asked for.
    pub wanted: Wanted,
    /// The protocol of frames.
    pub agreed: Agreed,
    /// The length of frames to the client.
    pub frame_len_max: FrameLenMax,
    /// The address of the client, from a proxy in between; an IPv6 address stands in brackets.
    pub forwarded: Option<Box<str>>,
    /// The credentials in its cookies.
    pub cookies: Option<Box<Credentials>>,
}

/// The part of the server that a request asks for, by the end of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That for clients.
    Clients,
    /// That for leaf nodes, which there is not.
    Leafnodes,
}

/// Payload of one frame to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLenMax {
    /// As a message by itself.
    pub plain: usize,
    /// As a part of a message that is compressed.
    pub compressed: usize,
}

/// The reason why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedUpgrade {
    /// Status of the answer.
    pub status: u16,
    /// For the log.
    pub why: String,
}

impl Upgrade {
    /// Judges a request.
    ///
    /// # Errors
    /// [`RefusedUpgrade`]: the first thing about it that is wrong.
    pub fn read(
        request: &RequestHead,
        headers: &Headers<'_>,
        options: &Websocket,
    ) -> Result<Upgrade, RefusedUpgrade> {
        let refused = |status, why: &str| RefusedUpgrade { status, why: why.to_owned() };
        if request.path.ends_with("/mqtt") {
            return Err(refused(404, "mqtt websocket endpoint not enabled"));
        }
        if request.method != Method::Get {
            return Err(refused(405, "request method must be GET"));
        }
        let host = text(headers.first("Host"));
        if host.is_empty() {
            return Err(refused(400, "'Host' missing in request"));
        }
        for (name, word) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
            if !headers.asks(name, word) {
                return Err(refused(400, &format!("invalid value for header '{name}'")));
            }
        }
        let key = headers.first("Sec-WebSocket-Key").unwrap_or_default();
        if key.is_empty() {
            return Err(refused(400, "key missing"));
        }
        if !is_key(key) {
            return Err(refused(400, "invalid websocket key"));
        }
        if !headers.asks("Sec-WebSocket-Version", "13") {
            return Err(refused(400, "invalid version"));
        }
        check_origin(headers, host, options)
            .map_err(|why| refused(403, &format!("origin not allowed: {why}")))?;
        let agreed = Agreed {
            masked: headers.first("Nats-No-Masking") != Some(b"true"),
            compressed: options.compression && offers_deflate(headers),
        };
        let is_leafnode = request.path.ends_with("/leafnode");
        Ok(Upgrade {
            accept: accept(key),
            wanted: if is_leafnode { Wanted::Leafnodes } else { Wanted::Clients },
            agreed,
            frame_len_max: FrameLenMax::of(text(headers.first("User-Agent"))),
            forwarded: forwarded(headers),
            cookies: cookies(headers, options),
        })
    }

    /// The answer, with these headers besides.
    pub fn answer<'a>(&self, more: impl Iterator<Item = (&'a String, &'a String)>) -> String {
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            self.accept
        );
        if self.agreed.compressed {
            answer += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                       client_no_context_takeover\r\n";
        }
        if !self.agreed.masked {
            answer += "Nats-No-Masking: true\r\n";
        }
        for (name, value) in more {
            answer += &format!("{name}: {value}\r\n");
        }
        answer + "\r\n"
    }
}

impl FrameLenMax {
    /// Browsers take frames of some KiB better than long ones; of a compressed message Safari takes
    /// only one.
    fn of(user_agent: &str) -> FrameLenMax {
        let is_browser = user_agent.starts_with("Mozilla/");
        let is_safari = user_agent.contains("Version/") && user_agent.contains("Safari/");
        let max = |limited| if limited { FRAME_LEN_FOR_BROWSERS } else { usize::MAX };
        FrameLenMax { plain: max(is_browser), compressed: max(is_browser && !is_safari) }
    }
}

/// Text as far as it is ASCII; the rest means nothing here.
fn text(value: Option<&[u8]>) -> &str {
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

/// Base64 of 16 bytes. As in Go, the bits that say nothing may be anything.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    BASE64.encode(&hash.digest().bytes())
}

/// Some element of some extension is the name of the one that there is, whatever its parameters.
fn offers_deflate(headers: &Headers<'_>) -> bool {
    let lists = headers.values("Sec-WebSocket-Extensions");
    let mut words = lists.flat_map(|list| list.split(|byte| b",;".contains(byte)));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(DEFLATE.as_bytes()))
}

/// Only browsers send an origin that can be trusted; a request without one passes.
fn check_origin(headers: &Headers<'_>, host: &str, options: &Websocket) -> Result<(), String> {
    let Websocket { same_origin, allowed_origins: allowed, tls, .. } = options;
    let names = ["Origin", "Sec-WebSocket-Origin"];
    let given = names.map(|name| headers.first(name).unwrap_or_default());
    let Some(given) = given.into_iter().find(|given| !given.is_empty()) else { return Ok(()) };
    if !same_origin && allowed.is_empty() {
        return Ok(());
    }
    let origin =
        Origin::parse(&String::from_utf8_lossy(given)).map_err(|error| error.to_string())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    if *same_origin && origin != Origin::of_host(scheme, host) {
        return Err("not same origin".to_owned());
    }
    if !allowed.is_empty() && !allowed.contains(&origin) {
        return Err("not in the allowed list".to_owned());
    }
    Ok(())
}

fn forwarded(headers: &Headers<'_>) -> Option<Box<str>> {
    let given = text(headers.first("X-Forwarded-For"));
    Some(match given.parse().ok()? {
        IpAddr::V4(_) => given.into(),
        IpAddr::V6(_) => format!("[{given}]").into(),
    })
}

/// The credentials that cookies carry. The last one of a name counts.
fn cookies(headers: &Headers<'_>, options: &Websocket) -> Option<Box<Credentials>> {
    let mut found = Credentials::default();
    let Websocket { user_cookie, pass_cookie, token_cookie, .. } = options;
    for cookie in headers.values("Cookie").flat_map(|line| line.split(|byte| *byte == b';')) {
        let Some((name, value)) = read_cookie(text(Some(cookie))) else { continue };
        let fields = [
            (user_cookie, &mut found.user),
            (pass_cookie, &mut found.pass),
            (token_cookie, &mut found.auth_token),
        ];
        if let Some((_, field)) =
            fields.into_iter().find(|(wanted, _)| wanted.as_deref() == Some(name))
        {
            *field = (!value.is_empty()).then(|| value.into());
        }
    }
    (found != Credentials::default()).then(|| Box::new(found))
}

/// Name and value of a cookie, without quotes around it.
///
/// nats: Go's net/http `readCookies`
fn read_cookie(cookie: &str) -> Option<(&str, &str)> {
    let cookie = cookie.trim_matches([' ', '\t']);
    let (name, value) = cookie.split_once('=').unwrap_or((cookie, ""));
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = unquoted.unwrap_or(value);
    let is_of_value = |byte: u8| matches!(byte, b' '..=b'~') && !b"\";\\".contains(&byte);
    value.bytes().all(is_of_value).then_some((name.trim_matches([' ', '\t']), value))
}

/// Judges any head, as the server does with all that a browser may send.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_upgrade(head: &[u8]) {
    use crate::config::options::{Listen, Port};

    let mut options = Websocket::new(Listen { host: String::new(), port: Port::Free });
    (options.same_origin, options.compression) = (true, true);
    options.user_cookie = Some("u".to_owned());
    let judged =
        RequestHead::read(head, |request, headers| Upgrade::read(request, headers, &options));
    let Ok((_, judged)) = judged else { return };
    match judged {
        Ok(upgrade) => {
            let answer = upgrade.answer(std::iter::empty());
            assert_eq!(answer.find("\r\n\r\n"), Some(answer.len() - 4), "{answer:?}");
            let shown = upgrade.forwarded.unwrap_or_default();
            assert!(!shown.contains(|c: char| c.is_whitespace() || c.is_control()), "{shown:?}");
        }
        Err(refused) => assert!([400, 403, 404, 405].contains(&refused.status)),
    }
}
