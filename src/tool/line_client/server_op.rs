//! Reads the ops of a server: INFO, MSG, HMSG, PING, PONG, +OK, -ERR.
//!
//! Resumable: bytes go in as they come, whole operations come out. Payloads are not copied, they
//! are slices of the input buffer. Knows no stream.
//!
//! ```text
//! buffer:  | line, no LF so far |          |      scanned <= len; the search for LF goes on there
//!          0                    scanned    len
//! ```
//!
//! After the line of a MSG the buffer starts with its payload, and `head` holds its length.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::headers;
use crate::codec::info::Info;

/// Longest line, bytes. INFO lists every server of the cluster in one.
const LINE_MAX: usize = 64 * 1024;

/// Largest accepted message, header block included, bytes: the largest `max_payload` possible
/// with the default `max_pending`.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// One whole operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOp {
    /// The server's facts about itself.
    Info(Box<Info>),
    /// Needs a PONG as answer.
    Ping,
    /// Answer to PING.
    Pong,
    /// A verb was accepted; verbose connections only.
    Ok,
    /// The text of an `-ERR` line, without its quotes.
    Err(Box<str>),
    /// A message for the subscription `sid`.
    Msg {
        /// Subscription as numbered by this client.
        sid: u64,
        /// The message.
        message: Message,
    },
}

/// A message as it was delivered, from a [`Subscriber`](crate::Subscriber) or a request.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Subject that it was published to.
    pub subject: Bytes,
    /// Reply subject, if an answer is wanted.
    pub reply: Option<Bytes>,
    /// Header block as it came, `NATS/1.0` and so on; empty if there is none.
    pub header_block: Bytes,
    /// The payload.
    pub payload: Bytes,
}

impl Message {
    /// The first header with this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        headers::find(&self.header_block, name)
    }

    /// Names and values of all headers, without the blanks around them.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        headers::iter(&self.header_block)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject)
            .field("reply", &self.reply)
            .field("header_len", &self.header_block.len())
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// The server broke the protocol; nothing after that can be understood. See
/// [`LineErr::Protocol`](crate::LineErr).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerOpErr {
    /// A line longer than 64 KiB.
    LineTooLong,
    /// A message larger than 64 MiB.
    MessageTooLarge,
    /// A verb that servers do not send to clients.
    UnknownVerb,
    /// Arguments of MSG or HMSG that cannot be read, or an sid that is no number.
    Arguments,
    /// INFO without the JSON it should have.
    Info,
    /// No CRLF behind a payload.
    PayloadEnd,
}

impl fmt::Display for ServerOpErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineTooLong => "the server sent a line without end",
            Self::MessageTooLarge => "the server sent a message above the limit of this client",
            Self::UnknownVerb => "the server sent what is no NATS protocol",
            Self::Arguments => "the server sent a message whose line cannot be read",
            Self::Info => "the server sent an INFO that cannot be read",
            Self::PayloadEnd => "the server sent a payload of another length than it said",
        })
    }
}

impl std::error::Error for ServerOpErr {}

/// Bytes from a server on their way to operations.
#[derive(Debug, Default)]
pub struct ServerOps {
    buffer: BytesMut,
    /// Bytes of the buffer known to hold no LF.
    scanned: usize,
    /// The line of a message whose payload is not complete.
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    subject: Bytes,
    sid: u64,
    reply: Option<Bytes>,
    header_len: usize,
    total_len: usize,
}

impl ServerOps {
    /// The buffer for new bytes: append only.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole operation; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`ServerOpErr`], after which the connection is of no use.
    pub fn next_op(&mut self) -> Result<Option<ServerOp>, ServerOpErr> {
        if let Some(head) = self.head.take() {
            return self.finish_message(head);
        }
        let Some(line) = self.next_line()? else { return Ok(None) };
        let verb_len = line.iter().position(|&byte| is_blank(byte)).unwrap_or(line.len());
        let arguments = line.slice(verb_len..);
        let verb = &line[..verb_len];
        if verb.eq_ignore_ascii_case(b"MSG") {
            let head = Head::read(&arguments, false)?;
            self.finish_message(head)
        } else if verb.eq_ignore_ascii_case(b"HMSG") {
            let head = Head::read(&arguments, true)?;
            self.finish_message(head)
        } else if verb.eq_ignore_ascii_case(b"PING") {
            Ok(Some(ServerOp::Ping))
        } else if verb.eq_ignore_ascii_case(b"PONG") {
            Ok(Some(ServerOp::Pong))
        } else if verb.eq_ignore_ascii_case(b"+OK") {
            Ok(Some(ServerOp::Ok))
        } else if verb.eq_ignore_ascii_case(b"-ERR") {
            let text = String::from_utf8_lossy(arguments.trim_ascii());
            Ok(Some(ServerOp::Err(text.trim_matches('\'').into())))
        } else if verb.eq_ignore_ascii_case(b"INFO") {
            let info = Info::read(&arguments).map_err(|_| ServerOpErr::Info)?;
            Ok(Some(ServerOp::Info(Box::new(info))))
        } else {
            Err(ServerOpErr::UnknownVerb)
        }
    }

    /// Cuts one line off the buffer, without its end.
    fn next_line(&mut self) -> Result<Option<Bytes>, ServerOpErr> {
        let Some(lf) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            return if self.scanned > LINE_MAX { Err(ServerOpErr::LineTooLong) } else { Ok(None) };
        };
        let len = self.scanned + lf;
        if len > LINE_MAX {
            return Err(ServerOpErr::LineTooLong);
        }
        self.scanned = 0;
        let mut line = self.buffer.split_to(len + 1).freeze();
        line.truncate(len - usize::from(line[..len].ends_with(b"\r")));
        Ok(Some(line))
    }

    fn finish_message(&mut self, head: Head) -> Result<Option<ServerOp>, ServerOpErr> {
        if self.buffer.len() < head.total_len + 2 {
            self.buffer.reserve(head.total_len + 2 - self.buffer.len());
            self.head = Some(head);
            return Ok(None);
        }
        let mut payload = self.buffer.split_to(head.total_len).freeze();
        if !self.buffer.starts_with(b"\r\n") {
            return Err(ServerOpErr::PayloadEnd);
        }
        self.buffer.advance(2);
        let header_block = payload.split_to(head.header_len);
        let message = Message { subject: head.subject, reply: head.reply, header_block, payload };
        Ok(Some(ServerOp::Msg { sid: head.sid, message }))
    }
}

impl Head {
    /// Reads `<subject> <sid> [reply] [header size] <total size>`. Messages that begin inside the
    /// real server have two spaces where the reply would be, so any run of blanks separates.
    fn read(arguments: &Bytes, with_headers: bool) -> Result<Self, ServerOpErr> {
        let words = arguments.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty());
        let words: smallvec::SmallVec<[&[u8]; 5]> = words.take(6).collect();
        let (subject, sid, reply, header_len, total_len) = match (with_headers, &words[..]) {
            (false, &[subject, sid, len]) => (subject, sid, None, None, len),
            (false, &[subject, sid, reply, len]) => (subject, sid, Some(reply), None, len),
            (true, &[subject, sid, header, len]) => (subject, sid, None, Some(header), len),
            (true, &[subject, sid, reply, header, len]) => {
                (subject, sid, Some(reply), Some(header), len)
            }
            _ => return Err(ServerOpErr::Arguments),
        };
        let total_len = decimal(total_len)?;
        let header_len = header_len.map_or(Ok(0), decimal)?;
        if header_len > total_len {
            return Err(ServerOpErr::Arguments);
        }
        Ok(Self {
            subject: arguments.slice_ref(subject),
            sid: decimal(sid)?,
            reply: reply.map(|reply| arguments.slice_ref(reply)),
            header_len: size(header_len)?,
            total_len: size(total_len)?,
        })
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Digits only: no sign, no blanks.
fn decimal(digits: &[u8]) -> Result<u64, ServerOpErr> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ServerOpErr::Arguments);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| ServerOpErr::Arguments)?;
    digits.parse().map_err(|_| ServerOpErr::Arguments)
}

fn size(len: u64) -> Result<usize, ServerOpErr> {
    let len = usize::try_from(len).ok().filter(|&len| len <= MESSAGE_MAX);
    len.ok_or(ServerOpErr::MessageTooLarge)
}

/// Fuzz body: bytes from a server give the same operations, and the same error, whether they come
/// at once or in two pieces or one by one.
///
/// # Panics
/// If they differ.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_server_ops(bytes: &[u8]) {
    let whole = read_pieces([bytes]);
    assert_eq!(read_pieces(bytes.chunks(1)), whole, "one by one");
    // Every split point of a short input, some of a long one.
    for split in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
        let (head, tail) = bytes.split_at(split);
        assert_eq!(read_pieces([head, tail]), whole, "split at {split}");
    }
}

#[cfg(any(test, feature = "fuzz"))]
fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<ServerOp>, Option<ServerOpErr>) {
    let mut reader = ServerOps::default();
    let mut ops = Vec::new();
    for piece in pieces {
        reader.buffer_mut().extend_from_slice(piece);
        loop {
            match reader.next_op() {
                Ok(Some(op)) => ops.push(op),
                Ok(None) => break,
                Err(err) => return (ops, Some(err)),
            }
        }
        assert!(reader.scanned <= reader.buffer.len());
    }
    (ops, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(bytes: &[u8]) -> Vec<ServerOp> {
        let (ops, err) = read_pieces([bytes]);
        assert_eq!(err, None);
        ops
    }

    fn error(bytes: &[u8]) -> Option<ServerOpErr> {
        read_pieces([bytes]).1
    }

    fn msg(sid: u64, subject: &str, reply: Option<&str>, headers: &str, payload: &str) -> ServerOp {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let message = Message {
            subject: bytes(subject),
            reply: reply.map(bytes),
            header_block: bytes(headers),
            payload: bytes(payload),
        };
        ServerOp::Msg { sid, message }
    }

    #[test]
    fn each_operation_is_read() {
        assert_eq!(
            ops(b"+OK\r\nPING\r\npong\n-ERR 'Invalid Subject'\r\n"),
            [ServerOp::Ok, ServerOp::Ping, ServerOp::Pong, ServerOp::Err("Invalid Subject".into())]
        );
        assert_eq!(
            ops(b"MSG a.b 7 2\r\nhi\r\nMSG a 7 r 0\r\n\r\n\
              HMSG a 8 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
            [
                msg(7, "a.b", None, "", "hi"),
                msg(7, "a", Some("r"), "", ""),
                msg(8, "a", Some("r"), "NATS/1.0\r\n\r\n", "hi")
            ]
        );
        let info = Info { server_name: "n".into(), port: 4222, ..Info::default() };
        let mut line = Vec::new();
        info.write(&mut line);
        assert_eq!(ops(&line), [ServerOp::Info(Box::new(info))]);
    }

    #[test]
    fn an_empty_reply_field_of_the_real_server_is_no_reply() {
        assert_eq!(ops(b"MSG _I.x 1  3\r\nabc\r\n"), [msg(1, "_I.x", None, "", "abc")]);
    }

    #[test]
    fn what_is_not_complete_waits() {
        for bytes in [&b"PIN"[..], b"MSG a 1 2\r\nhi", b"MSG a 1 2\r\nhi\r", b"MSG a 1 1048576\r\n"]
        {
            assert_eq!(ops(bytes), [], "{bytes:?}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        assert_eq!(error(b"HTTP/1.1 400 Bad Request\r\n"), Some(ServerOpErr::UnknownVerb));
        assert_eq!(error(b"\r\n"), Some(ServerOpErr::UnknownVerb));
        assert_eq!(error(b"INFO {\r\n"), Some(ServerOpErr::Info));
        assert_eq!(error(b"MSG a 1 2\r\nhix\r\n"), Some(ServerOpErr::PayloadEnd));
        for line in ["MSG a", "MSG a 1", "MSG a 1 r s 2", "MSG a 1 +2", "MSG a x 2", "HMSG a 1 3 2"]
        {
            assert_eq!(error(format!("{line}\r\n").as_bytes()), Some(ServerOpErr::Arguments));
        }
        let beyond = format!("MSG a 1 {}\r\n", MESSAGE_MAX + 1);
        assert_eq!(error(beyond.as_bytes()), Some(ServerOpErr::MessageTooLarge));
        assert_eq!(error(&[b'x'; LINE_MAX + 1]), Some(ServerOpErr::LineTooLong));
    }

    #[test]
    fn fuzz_corpus_and_its_mutations() {
        crate::base::fuzzing::run("server_ops", 900, fuzz_server_ops, |random, corpus| {
            let mut bytes = random.choice(corpus).unwrap().clone();
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"\r\n 0M").unwrap()),
                _ => drop(bytes.remove(at)),
            }
            bytes
        });
    }
}
