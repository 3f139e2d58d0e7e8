//! The ops of the client port.
//!
//! nats: server/client.go `processPub`, `processHeaderPub`, `parseSub`, `processUnsub`

use crate::base::errors::ProtoErr;
use crate::parser::line::{
    Alike, Args, LineLimits, args, bare, cut, plain_line, plain_publish, size, split, tail_of,
    whole_line, with_payload,
};
use crate::parser::{Bare, Found, Grammar, Publication};

/// One operation of a client. Slices borrow from the input or from the parser's unfinished op.
#[derive(Debug, PartialEq)]
pub enum Op<'a> {
    /// `CONNECT {json}`: the JSON text, blanks around it removed.
    Connect(&'a [u8]),
    /// Something else begins although CONNECT has to come first. It uses up nothing: a caller that
    /// allows it changes the rules, and reads it then.
    BeforeConnect,
    /// `PUB` or `HPUB` with its whole message.
    Publish(Publish<'a>),
    /// `SUB subject [queue] sid`.
    Sub {
        /// Subject, not yet validated.
        subject: &'a [u8],
        /// Queue group; `None` for a plain subscription.
        queue: Option<&'a [u8]>,
        /// Chosen by the client, any bytes without blanks.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsub {
        /// As given in SUB.
        sid: &'a [u8],
        /// The second argument as text; `None` when it is missing.
        max: Option<&'a [u8]>,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `INFO {json}` from a client.
    Info(&'a [u8]),
    /// `-ERR text` from a client.
    Err(&'a [u8]),
}

/// A publication, all slices of one piece of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Publish<'a> {
    /// Subject as published, opaque bytes without blanks.
    pub subject: &'a [u8],
    /// Reply subject; empty when there is none.
    pub reply: &'a [u8],
    /// Length of the header block in `message`; `None` for PUB.
    pub header_len: Option<usize>,
    /// The total size as the client wrote it (`0002` stays `0002`).
    pub size_text: &'a [u8],
    /// Header block and payload, without the final CRLF.
    pub message: &'a [u8],
    /// `[reply ][header-size ]size CRLF message CRLF` as it arrived: the part of MSG (for PUB) or
    /// HMSG (for HPUB) behind the sid. Empty unless the line was written with single blanks and
    /// CRLF.
    pub tail: &'a [u8],
}

impl Publish<'_> {
    /// Header block and payload in bytes, as statistics count them.
    pub fn len(&self) -> usize {
        self.message.len()
    }

    /// The header block; empty for PUB.
    pub fn header(&self) -> &[u8] {
        &self.message[..self.header_len.unwrap_or(0)]
    }

    /// The message without its header block.
    pub fn payload(&self) -> &[u8] {
        &self.message[self.header_len.unwrap_or(0)..]
    }
}

/// The part of a delivered message behind its sid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail<'a> {
    /// `[reply ][header-size ]size CRLF message CRLF`.
    pub text: &'a [u8],
    /// Header block and payload in bytes.
    pub len: usize,
}

/// Facts about the connection that the parser needs; the client changes them after CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct ClientRules {
    /// Longest argument text of one control line, in bytes.
    pub max_control_line: usize,
    /// Largest message (header block and payload), in bytes; `usize::MAX` for unlimited.
    pub max_payload: usize,
    /// HPUB was negotiated.
    pub headers: bool,
    /// Login is pending: anything but CONNECT is [`Op::BeforeConnect`].
    pub connect_first: bool,
}

impl Grammar for ClientRules {
    type Op<'a> = Op<'a>;
    type Plain<'a> = Publish<'a>;
    type Extra = ();

    fn max_control_line(&self) -> usize {
        self.max_control_line
    }

    #[inline]
    fn plain<'a>(&self, input: &'a [u8]) -> Option<(Publish<'a>, usize)> {
        plain_pub(input, self)
    }

    #[inline]
    fn alike<'a>(&self, first: &Publish<'_>, text: &'a [u8]) -> Option<Alike<'a>> {
        Alike::new(first, text, START, self.limits())
    }

    fn find<'a>(&self, buf: &'a [u8], scanned: usize) -> Result<Found<Op<'a>, ()>, ProtoErr> {
        let max = self.max_control_line;
        if self.connect_first && !buf[0].eq_ignore_ascii_case(&b'C') {
            return Ok(Found::Op(Op::BeforeConnect, 0));
        }
        match buf[0] {
            b'P' | b'p' => match buf.get(1) {
                Some(b'U' | b'u') => {
                    let Some(args) = args(buf, b"PUB", scanned, max)? else {
                        return cut(buf, scanned);
                    };
                    self.publish(buf, pub_line(buf, args)?)
                }
                Some(b'I' | b'i') => bare(buf, b"PING", scanned, Op::Ping, Bare::Ping),
                Some(b'O' | b'o') => bare(buf, b"PONG", scanned, Op::Pong, Bare::Pong),
                Some(_) => Err(ProtoErr::UnknownOp),
                None => cut(buf, scanned),
            },
            b'H' | b'h' => {
                let Some(args) = args(buf, b"HPUB", scanned, max)? else {
                    return cut(buf, scanned);
                };
                if !self.headers {
                    return Err(ProtoErr::HeadersNotSupported);
                }
                self.publish(buf, hpub_line(buf, args)?)
            }
            b'S' | b's' => {
                let Some(args) = args(buf, b"SUB", scanned, max)? else { return cut(buf, scanned) };
                let split = split(buf, &args);
                let (subject, queue, sid) = match split.as_slice() {
                    [subject, sid] => (subject, None, sid),
                    [subject, queue, sid] => (subject, Some(queue), sid),
                    _ => return Err(ProtoErr::Arguments("SUB")),
                };
                let op = Op::Sub {
                    subject: &buf[subject.clone()],
                    queue: queue.map(|queue| &buf[queue.clone()]),
                    sid: &buf[sid.clone()],
                };
                Ok(Found::Op(op, args.line_len))
            }
            b'U' | b'u' => {
                let Some(args) = args(buf, b"UNSUB", scanned, max)? else {
                    return cut(buf, scanned);
                };
                let split = split(buf, &args);
                let (sid, max) = match split.as_slice() {
                    [sid] => (sid, None),
                    [sid, max] => (sid, Some(max)),
                    _ => return Err(ProtoErr::Arguments("UNSUB")),
                };
                let op =
                    Op::Unsub { sid: &buf[sid.clone()], max: max.map(|max| &buf[max.clone()]) };
                Ok(Found::Op(op, args.line_len))
            }
            b'C' | b'c' => whole_line(buf, b"CONNECT", scanned, max, Op::Connect),
            b'I' | b'i' => whole_line(buf, b"INFO", scanned, max, Op::Info),
            b'-' => whole_line(buf, b"-ERR", scanned, max, Op::Err),
            b'+' => bare(buf, b"+OK", scanned, Op::Ok, Bare::Ok),
            _ => Err(ProtoErr::UnknownOp),
        }
    }

    fn bare<'a>(bare: Bare) -> Op<'a> {
        match bare {
            Bare::Ping => Op::Ping,
            Bare::Pong => Op::Pong,
            Bare::Ok => Op::Ok,
        }
    }

    fn message<'a>(publication: &Publication, (): &(), buf: &'a [u8]) -> Op<'a> {
        Op::Publish(publication.of(buf))
    }
}

impl ClientRules {
    fn limits(&self) -> LineLimits {
        LineLimits { line: self.max_control_line, payload: self.max_payload }
    }

    /// Checks the size of a publication and gives it out when its payload is whole.
    fn publish<'a>(
        &self,
        buf: &'a [u8],
        publication: Publication,
    ) -> Result<Found<Op<'a>, ()>, ProtoErr> {
        if publication.message.len() > self.max_payload {
            return Err(ProtoErr::MaxPayload);
        }
        with_payload::<ClientRules>(buf, publication, ())
    }
}

/// A whole PUB or HPUB in the form of every client library: single blanks, CRLF, nothing unusual.
/// Everything else, wrong or only cut off, is left to [`ClientRules::find`].
#[inline]
fn plain_pub<'a>(buf: &'a [u8], rules: &ClientRules) -> Option<(Publish<'a>, usize)> {
    if rules.connect_first {
        return None;
    }
    let (publish, start) = if let Some(line) = buf.strip_prefix(b"PUB ") {
        let (blanks, count, end) = plain_line::<2>(line)?;
        (plain_publish(line, 0, &blanks[..count], end, false, rules.limits())?, START)
    } else if rules.headers {
        let line = buf.strip_prefix(b"HPUB ")?;
        let (blanks, count, end) = plain_line::<3>(line)?;
        (plain_publish(line, 0, &blanks[..count], end, true, rules.limits())?, START + 1)
    } else {
        return None;
    };
    Some((publish, start + publish.subject.len() + 1 + publish.tail.len()))
}

/// Offset of the subject in a plain PUB.
const START: usize = "PUB ".len();

/// The control line of PUB.
pub(super) fn pub_line(buf: &[u8], args: Args) -> Result<Publication, ProtoErr> {
    let split = split(buf, &args);
    let (subject, reply, size_text) = match split.as_slice() {
        [subject, size] => (subject.clone(), 0..0, size.clone()),
        [subject, reply, size] => (subject.clone(), reply.clone(), size.clone()),
        _ => return Err(ProtoErr::Arguments("PUB")),
    };
    let len = size(&buf[size_text.clone()], "PUB")?;
    Ok(Publication {
        subject,
        reply,
        header_len: None,
        size: size_text,
        tail: tail_of(buf, &args, &split.as_slice()[1..]),
        message: args.line_len..args.line_len + len,
    })
}

/// The control line of HPUB.
pub(super) fn hpub_line(buf: &[u8], args: Args) -> Result<Publication, ProtoErr> {
    let split = split(buf, &args);
    let (subject, reply, header_text, size_text) = match split.as_slice() {
        [subject, header, size] => (subject.clone(), 0..0, header.clone(), size.clone()),
        [subject, reply, header, size] => {
            (subject.clone(), reply.clone(), header.clone(), size.clone())
        }
        _ => return Err(ProtoErr::Arguments("HPUB")),
    };
    let header_len = size(&buf[header_text.clone()], "HPUB")?;
    let len = size(&buf[size_text.clone()], "HPUB")?;
    if header_len > len {
        return Err(ProtoErr::Arguments("HPUB"));
    }
    // A header block of no bytes makes it a plain message.
    let is_plain = header_len == 0;
    Ok(Publication {
        subject,
        reply,
        header_len: (!is_plain).then_some(header_len),
        size: size_text,
        tail: if is_plain { 0 } else { tail_of(buf, &args, &split.as_slice()[1..]) },
        message: args.line_len..args.line_len + len,
    })
}
