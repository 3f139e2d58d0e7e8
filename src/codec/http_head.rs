//! The heads of HTTP/1: of a request, from bytes to values; of an answer, from values to bytes.
//!
//! Knows no page, no socket and no time. It accepts and refuses the same heads as Go's server,
//! except that it refuses a header line continued on the next one.
//! nats: Go's net/http `readRequest`, `http1ServerSupportsRequest`; net/url `ParseRequestURI`

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::Write;
use std::time::SystemTime;

use httparse::{EMPTY_HEADER, Header, Status};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use memchr::{memchr, memmem};

use crate::base::percent;

/// Header lines of a request at most.
const HEADERS_MAX: usize = 100;

/// The head of a valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path of the target, with percent signs where Go puts them, so in ASCII. It begins with
    /// a slash, or is `*`, or is empty.
    pub path: String,
    /// The query of the target, as it was sent.
    pub query: String,
    /// The version of the answer.
    pub version: Version,
    /// The other side wants to send more requests on this connection, and can.
    pub keep_alive: bool,
    /// Bytes of the body, which follow the head.
    pub body_len: u64,
}

/// The methods that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Options,
    Connect,
    Other,
}

/// The versions that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, or any later 1.x.
    Http11,
}

/// The reason to refuse a request before its page is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It is no request, or an ambiguous one; with the reason if Go gives one.
    Malformed(&'static str),
    /// It asks for no page, and for nothing else that the server can do.
    NoPath,
    /// It expects more than an answer.
    Expectation,
    /// The head is too long, or has too many lines.
    TooLarge,
    /// An unsupported encoding of the body.
    TransferEncoding,
    /// Another version of HTTP.
    Version,
}

/// The length of the head at the start of `input`, its blank line included. None if its end has
/// not come; the bytes `searched` before are not searched again.
pub fn head_len(input: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(2);
    let ends = [&b"\n\r\n"[..], b"\n\n"]
        .map(|end| memmem::find(&input[from..], end).map(|at| from + at + end.len()));
    ends.into_iter().flatten().min()
}

/// True if the first line of `input` has come and begins no request, whatever follows.
///
/// nats: Go's net/http `readRequest`
pub fn is_hopeless(input: &[u8]) -> bool {
    first_line(input).is_some_and(|(line, _)| request_line(line).is_none())
}

/// The first line, without its end, and the bytes behind it.
fn first_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = memchr(b'\n', input)?;
    let line = &input[..len];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &input[len + 1..]))
}

impl RequestHead {
    /// Reads a whole head, with a `look` at its header lines.
    ///
    /// # Errors
    /// [`Rejected`]; the connection ends after it.
    pub fn read<T>(
        head: &[u8],
        look: impl FnOnce(&RequestHead, &Headers<'_>) -> T,
    ) -> Result<(RequestHead, T), Rejected> {
        const MALFORMED: Rejected = Rejected::Malformed("");
        let (line, rest) = first_line(head).ok_or(MALFORMED)?;
        let (method, target, version) = request_line(line).ok_or(MALFORMED)?;
        let (path, query) = split_target(method, target).ok_or(MALFORMED)?;
        let mut room = [EMPTY_HEADER; HEADERS_MAX];
        let headers = match httparse::parse_headers(rest, &mut room) {
            Ok(Status::Complete((_, headers))) => Headers(headers),
            Err(httparse::Error::TooManyHeaders) => return Err(Rejected::TooLarge),
            Ok(Status::Partial) | Err(_) => return Err(MALFORMED),
        };
        let version = version.ok_or(Rejected::Version)?;
        headers.check_host(version, method)?;
        if path == "*" && method != Method::Options {
            return Err(Rejected::NoPath);
        }
        let expects_word = headers.check_expectation()?;
        let body_len = headers.body_len()?;
        let keep_alive = match version {
            Version::Http10 => headers.asks("Connection", "keep-alive"),
            Version::Http11 => !headers.asks("Connection", "close"),
        };
        let request = RequestHead {
            method,
            path,
            query,
            version,
            // The start of the next request is not known, or ambiguous.
            keep_alive: keep_alive
                && method != Method::Connect
                && !(expects_word && body_len != Some(0))
                && body_len.is_some(),
            body_len: body_len.unwrap_or(0),
        };
        let looked = look(&request, &headers);
        Ok((request, looked))
    }
}

/// Method, target and version; no version if it is unsupported.
fn request_line(line: &[u8]) -> Option<(Method, &[u8], Option<Version>)> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if method.is_empty() || !method.iter().all(is_token) {
        return None;
    }
    let method = match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"OPTIONS" => Method::Options,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    let version = match version.strip_prefix(b"HTTP/")? {
        b"1.0" => Some(Version::Http10),
        [b'1', b'.', b'0'..=b'9'] => Some(Version::Http11),
        [b'0'..=b'9', b'.', b'0'..=b'9'] => None,
        _ => return None,
    };
    Some((method, target, version))
}

/// Path and query of a target: `/path?query`, a whole URL, `*`, or `host:port` for CONNECT.
fn split_target(method: Method, target: &[u8]) -> Option<(String, String)> {
    if target.is_empty() || target.iter().any(u8::is_ascii_control) {
        return None;
    }
    if target == b"*" {
        return Some(("*".to_owned(), String::new()));
    }
    let rest = match target {
        [b'/', ..] => target,
        _ if method == Method::Connect => b"",
        _ => behind_authority(target)?,
    };
    let query_at = memchr(b'?', rest).unwrap_or(rest.len());
    let (path, query) = rest.split_at(query_at);
    let query = query.strip_prefix(b"?").unwrap_or_default();
    Some((escaped_path(path)?, String::from_utf8_lossy(query).into_owned()))
}

/// The text after `scheme://authority`; none without slashes.
fn behind_authority(url: &[u8]) -> Option<&[u8]> {
    let colon = memchr(b':', url)?;
    let (scheme, rest) = (&url[..colon], &url[colon + 1..]);
    let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(is_of_scheme) {
        return None;
    }
    let Some(rest) = rest.strip_prefix(b"//") else { return Some(b"") };
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    Some(&rest[end..])
}

/// A path as sent if no byte of it needs a percent sign, else with all that Go puts.
///
/// nats: net/url `URL.EscapedPath`
fn escaped_path(path: &[u8]) -> Option<String> {
    let decoded = percent::decode(path).ok()?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(byte);
    let is_valid = |byte: &u8| is_plain(byte) || b"!'()*[]%".contains(byte);
    if path.iter().all(is_valid) {
        return Some(String::from_utf8_lossy(path).into_owned());
    }
    let mut escaped = String::with_capacity(path.len());
    for byte in decoded {
        if is_plain(&byte) {
            escaped.push(byte.into());
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    Some(escaped)
}

/// The header lines of a request.
pub struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of the lines with this name, in their order.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value)
    }

    /// The first of them.
    pub fn first(&self, name: &'static str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// True if the values list this word.
    pub fn asks(&self, name: &'static str, word: &str) -> bool {
        let mut words = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    fn check_host(&self, version: Version, method: Method) -> Result<(), Rejected> {
        let mut hosts = self.values("Host");
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Rejected::Malformed(""));
        }
        let may_lack = version == Version::Http10 || method == Method::Connect;
        let is_of_host =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte);
        match host {
            None if may_lack => Ok(()),
            None => Err(Rejected::Malformed("missing required Host header")),
            Some(host) if host.iter().all(is_of_host) => Ok(()),
            Some(_) => Err(Rejected::Malformed("malformed Host header")),
        }
    }

    /// True if it waits for `100 Continue` before it sends its body. The answer comes instead.
    fn check_expectation(&self) -> Result<bool, Rejected> {
        let expects = self.values("Expect").any(|value| !value.is_empty());
        if expects && !self.asks("Expect", "100-continue") {
            return Err(Rejected::Expectation);
        }
        Ok(expects)
    }

    /// The length of the body; none if only the body shows its end.
    fn body_len(&self) -> Result<Option<u64>, Rejected> {
        let mut encodings = self.values("Transfer-Encoding");
        if let Some(encoding) = encodings.next() {
            let is_known = encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
            return if is_known { Ok(None) } else { Err(Rejected::TransferEncoding) };
        }
        let mut lens = self.values("Content-Length").map(<[u8]>::trim_ascii);
        let Some(len) = lens.next() else { return Ok(Some(0)) };
        let digits = std::str::from_utf8(len).ok().filter(|text| !text.starts_with('+'));
        match digits.and_then(|text| text.parse().ok()) {
            Some(parsed) if lens.all(|other| other == len) => Ok(Some(parsed)),
            _ => Err(Rejected::Malformed("")),
        }
    }
}

impl Rejected {
    /// The whole answer.
    pub fn answer(self) -> String {
        let (status, why) = match self {
            Rejected::Malformed(why) => (400, why),
            Rejected::NoPath => (400, ""),
            Rejected::Expectation => (417, ""),
            Rejected::TooLarge => (431, ""),
            Rejected::TransferEncoding => (501, ""),
            Rejected::Version => (505, "unsupported protocol version"),
        };
        let mut line = format!("{status} {}", reason(status));
        if !why.is_empty() {
            line = line + ": " + why;
        }
        let body = match self {
            Rejected::NoPath | Rejected::Expectation => {
                return format!("HTTP/1.1 {line}\r\n{CLOSE}Content-Length: 0\r\n\r\n");
            }
            Rejected::TransferEncoding => "Unsupported transfer encoding",
            _ => &line,
        };
        let content_type = "Content-Type: text/plain; charset=utf-8\r\n";
        format!("HTTP/1.1 {line}\r\n{content_type}{CLOSE}\r\n{body}")
    }
}

const CLOSE: &str = "Connection: close\r\n";

/// Turns one answer into bytes, piece by piece.
pub struct AnswerWriter<'a> {
    request: &'a RequestHead,
    /// None once it is written.
    head: Option<AnswerHead>,
    date: SystemTime,
    chunked: bool,
    keep_alive: bool,
}

/// The head of an answer, without the headers that belong to its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    /// Status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl<'a> AnswerWriter<'a> {
    /// The answer to `request`, made at `date`.
    pub fn new(request: &'a RequestHead, head: AnswerHead, date: SystemTime) -> AnswerWriter<'a> {
        let keep_alive = request.keep_alive;
        AnswerWriter { request, head: Some(head), date, chunked: false, keep_alive }
    }

    /// Writes the next piece of the body: the head before the first one, the end after the last.
    pub fn write(&mut self, piece: &[u8], last: bool, into: &mut Vec<u8>) {
        if let Some(head) = self.head.take() {
            self.write_head(&head, last.then_some(piece.len()), into);
        }
        if self.request.method == Method::Head {
            return;
        }
        if self.chunked && !piece.is_empty() {
            write_to(into, format_args!("{:x}\r\n", piece.len()));
            into.extend_from_slice(piece);
            into.extend_from_slice(b"\r\n");
        } else {
            into.extend_from_slice(piece);
        }
        if self.chunked && last {
            into.extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// True if the connection is kept after the last piece.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Without a length, the body comes in chunks; to an older client, until the connection ends.
    fn write_head(&mut self, head: &AnswerHead, len: Option<usize>, into: &mut Vec<u8>) {
        let is_old = self.request.version == Version::Http10;
        self.chunked = len.is_none() && !is_old;
        self.keep_alive &= len.is_some() || self.chunked;
        let version = if is_old { "HTTP/1.0" } else { "HTTP/1.1" };
        write_to(into, format_args!("{version} {} {}\r\n", head.status, reason(head.status)));
        for (name, value) in &head.headers {
            write_to(into, format_args!("{name}: {value}\r\n"));
        }
        let date = Timestamp::try_from(self.date).unwrap_or_default();
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date);
        write_to(into, format_args!("Date: {}\r\n", date.unwrap_or_default()));
        if let Some(len) = len {
            write_to(into, format_args!("Content-Length: {len}\r\n"));
        } else if self.chunked {
            into.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        match (self.keep_alive, self.request.version) {
            (true, Version::Http10) => into.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, Version::Http11) => into.extend_from_slice(CLOSE.as_bytes()),
            (true, Version::Http11) | (false, Version::Http10) => {}
        }
        into.extend_from_slice(b"\r\n");
    }
}

fn write_to(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("memory takes it");
}

/// The words for a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}
