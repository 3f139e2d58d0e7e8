//! The ops of the route port.
//!
//! Interest and messages that come from leaf nodes are read and ignored; the real server announces
//! the capability for them, and this one does not.
//! nats: server/route.go `processRoutedMsgArgs`, `processRoutedHeaderMsgArgs`, `processRemoteSub`,
//! `processRemoteUnsub`, `processRoutedOriginClusterMsgArgs`

use std::ops::Range;

use smallvec::SmallVec;

use crate::base::errors::ProtoErr;
use crate::parser::client::{hpub_line, pub_line};
use crate::parser::line::{
    Alike, Args, LineLimits, args, bare, cut, is_separator, parse_size, plain_line, plain_publish,
    size, split, tail_of, whole_line, with_payload, words,
};
use crate::parser::{Bare, Found, Grammar, Publication, Publish};

/// One operation of another server.
#[derive(Debug, PartialEq)]
pub enum RouteOp<'a> {
    /// `INFO {json}`: the JSON text.
    Info(&'a [u8]),
    /// `CONNECT {json}`: the JSON text.
    Connect(&'a [u8]),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR text`.
    Err(&'a [u8]),
    /// `RS+ account subject [queue weight]`.
    Sub {
        /// Account; empty on a dedicated connection.
        account: &'a [u8],
        /// Subject, not yet validated.
        subject: &'a [u8],
        /// Queue group and the number of its members there; 0 for an invalid number.
        queue: Option<(&'a [u8], u32)>,
    },
    /// `RS- account subject [queue]`.
    Unsub {
        /// Account; empty on a dedicated connection.
        account: &'a [u8],
        /// Subject as given in RS+.
        subject: &'a [u8],
        /// Queue group as given in RS+.
        queue: Option<&'a [u8]>,
    },
    /// `RMSG` or `HMSG` with its whole message.
    Msg(RoutedMsg<'a>),
    /// Something without a meaning here: `SUB`, `PUB`, `A+`, `LS+`, `LMSG` and their like.
    Ignored,
}

/// A message on its way from another server, all slices of one piece of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoutedMsg<'a> {
    /// Account; empty on a dedicated connection.
    pub account: &'a [u8],
    /// The message, as if it had been published here. Its tail is also empty if there are both a
    /// reply subject and queue groups, because their names then stand inside of it.
    pub publish: Publish<'a>,
    /// Queue groups: one member of each gets the message.
    pub queues: Queues<'a>,
}

/// Names of queue groups, as they stand in the control line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Queues<'a> {
    text: &'a [u8],
}

impl<'a> Queues<'a> {
    /// Names between blanks.
    pub fn new(text: &'a [u8]) -> Queues<'a> {
        Queues { text }
    }

    /// The names between their blanks.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// True if no group is named.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The names, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.text.split(is_separator).filter(|name| !name.is_empty())
    }
}

/// Facts about a route that the parser needs; its machine changes them after CONNECT and INFO.
#[derive(Debug, Clone, Copy)]
pub struct RouteRules {
    /// Longest argument text of one control line, in bytes: sixteen times that of clients, since a
    /// line may name an account and many queue groups.
    pub max_control_line: usize,
    /// Longest message, in bytes: more than other servers let their clients publish.
    pub max_payload: usize,
    /// The connection belongs to one account, and its lines do not name it.
    pub account_absent: bool,
    /// Only CONNECT is accepted: the other server dialled and has yet to send it.
    pub connect_first: bool,
}

/// Facts about a message besides its [`Publication`].
#[derive(Debug, Clone)]
pub enum Routed {
    /// `RMSG` or `HMSG`.
    Msg {
        /// Account; empty on a dedicated connection.
        account: Range<usize>,
        /// From the first queue name to the end of the last.
        queues: Range<usize>,
    },
    /// It is skipped.
    Ignored,
}

/// The result of [`Grammar::find`] for a route.
type RouteFound<'a> = Result<Found<RouteOp<'a>, Routed>, ProtoErr>;

impl Grammar for RouteRules {
    type Op<'a> = RouteOp<'a>;
    type Plain<'a> = RoutedMsg<'a>;
    type Extra = Routed;

    fn max_control_line(&self) -> usize {
        self.max_control_line
    }

    #[inline]
    fn plain<'a>(&self, input: &'a [u8]) -> Option<(RoutedMsg<'a>, usize)> {
        plain_msg(input, self)
    }

    #[inline]
    fn alike<'a>(&self, first: &RoutedMsg<'_>, text: &'a [u8]) -> Option<Alike<'a>> {
        Alike::new(&first.publish, text, START, self.limits())
    }

    fn find<'a>(&self, buf: &'a [u8], scanned: usize) -> RouteFound<'a> {
        if self.connect_first && !buf[0].eq_ignore_ascii_case(&b'C') {
            return Err(ProtoErr::AuthorizationViolation);
        }
        let max = self.max_control_line;
        let second = buf.get(1).map(u8::to_ascii_uppercase);
        match (buf[0].to_ascii_uppercase(), second) {
            (b'R' | b'L' | b'P' | b'H' | b'A', None) => cut(buf, scanned),
            (b'R', Some(b'S')) => self.interest(buf, b"RS+", b"RS-", scanned),
            (b'R', _) => self.msg(buf, b"RMSG", scanned, RouteRules::rmsg_line),
            (b'H', Some(b'P')) => self.msg(buf, b"HPUB", scanned, |_, buf, args| {
                Ok((hpub_line(buf, args)?, Routed::Ignored))
            }),
            (b'H', _) => self.msg(buf, b"HMSG", scanned, RouteRules::hmsg_line),
            (b'P', Some(b'I')) => bare(buf, b"PING", scanned, RouteOp::Ping, Bare::Ping),
            (b'P', Some(b'O')) => bare(buf, b"PONG", scanned, RouteOp::Pong, Bare::Pong),
            (b'P', _) => self.msg(buf, b"PUB", scanned, |_, buf, args| {
                Ok((pub_line(buf, args)?, Routed::Ignored))
            }),
            (b'L', Some(b'S')) => self.interest(buf, b"LS+", b"LS-", scanned),
            (b'L', _) => self.msg(buf, b"LMSG", scanned, RouteRules::lmsg_line),
            (b'A', Some(b'+')) => self.ignored(buf, b"A+", scanned),
            (b'A', _) => self.ignored(buf, b"A-", scanned),
            (b'S', _) => self.ignored(buf, b"SUB", scanned),
            (b'U', _) => self.unsub(buf, b"UNSUB", scanned),
            (b'C', _) => whole_line(buf, b"CONNECT", scanned, max, RouteOp::Connect),
            (b'I', _) => whole_line(buf, b"INFO", scanned, max, RouteOp::Info),
            (b'-', _) => whole_line(buf, b"-ERR", scanned, max, RouteOp::Err),
            (b'+', _) => bare(buf, b"+OK", scanned, RouteOp::Ok, Bare::Ok),
            _ => Err(ProtoErr::UnknownOp),
        }
    }

    fn bare<'a>(bare: Bare) -> RouteOp<'a> {
        match bare {
            Bare::Ping => RouteOp::Ping,
            Bare::Pong => RouteOp::Pong,
            Bare::Ok => RouteOp::Ok,
        }
    }

    fn message<'a>(publication: &Publication, routed: &Routed, buf: &'a [u8]) -> RouteOp<'a> {
        match routed {
            Routed::Msg { account, queues } => RouteOp::Msg(RoutedMsg {
                account: &buf[account.clone()],
                publish: publication.of(buf),
                queues: Queues { text: &buf[queues.clone()] },
            }),
            Routed::Ignored => RouteOp::Ignored,
        }
    }
}

/// The contents of a message's control line.
type MsgLine = Result<(Publication, Routed), ProtoErr>;

impl RouteRules {
    fn limits(&self) -> LineLimits {
        LineLimits { line: self.max_control_line, payload: self.max_payload }
    }

    /// `RS+` or `RS-`; `LS+` or `LS-`, which are ignored.
    fn interest<'a>(
        &self,
        buf: &'a [u8],
        plus: &[u8],
        minus: &'static [u8],
        scanned: usize,
    ) -> RouteFound<'a> {
        match buf.get(2) {
            None => cut(buf, scanned),
            Some(b'+') => self.sub(buf, plus, scanned),
            Some(_) => self.unsub(buf, minus, scanned),
        }
    }

    fn sub<'a>(&self, buf: &'a [u8], name: &[u8], scanned: usize) -> RouteFound<'a> {
        let Some(args) = args(buf, name, scanned, self.max_control_line)? else {
            return cut(buf, scanned);
        };
        let has_origin = name[0] == b'L';
        let split = split(buf, &args);
        let words = split.as_slice().get(usize::from(has_origin)..).unwrap_or_default();
        let (account, subject, queue) = match self.take_account(words) {
            (account, [subject]) => (account, subject, None),
            (account, [subject, queue, weight]) => {
                let weight = parse_size(&buf[weight.clone()]).unwrap_or(0);
                (account, subject, Some((&buf[queue.clone()], weight as u32)))
            }
            _ => return Err(ProtoErr::Arguments(if has_origin { "LS+" } else { "RS+" })),
        };
        if has_origin {
            return Ok(Found::Op(RouteOp::Ignored, args.line_len));
        }
        let op = RouteOp::Sub { account: &buf[account], subject: &buf[subject.clone()], queue };
        Ok(Found::Op(op, args.line_len))
    }

    fn unsub<'a>(&self, buf: &'a [u8], name: &'static [u8], scanned: usize) -> RouteFound<'a> {
        let Some(args) = args(buf, name, scanned, self.max_control_line)? else {
            return cut(buf, scanned);
        };
        let split = split(buf, &args);
        let (account, subject, queue) = match self.take_account(split.as_slice()) {
            (account, [subject]) => (account, subject, None),
            (account, [subject, queue]) => (account, subject, Some(&buf[queue.clone()])),
            _ => return Err(ProtoErr::Arguments("RS-")),
        };
        if name[0] == b'L' {
            return Ok(Found::Op(RouteOp::Ignored, args.line_len));
        }
        let op = RouteOp::Unsub { account: &buf[account], subject: &buf[subject.clone()], queue };
        Ok(Found::Op(op, args.line_len))
    }

    /// An op that is skipped; only the length of its arguments is checked.
    fn ignored<'a>(&self, buf: &'a [u8], name: &[u8], scanned: usize) -> RouteFound<'a> {
        whole_line(buf, name, scanned, self.max_control_line, |_| RouteOp::Ignored)
    }

    /// An op with a payload, whose control line is read by `line`.
    fn msg<'a>(
        &self,
        buf: &'a [u8],
        name: &[u8],
        scanned: usize,
        line: fn(&RouteRules, &[u8], Args) -> MsgLine,
    ) -> RouteFound<'a> {
        let Some(args) = args(buf, name, scanned, self.max_control_line)? else {
            return cut(buf, scanned);
        };
        let (publication, routed) = line(self, buf, args)?;
        if publication.message.len() > self.max_payload {
            return Err(ProtoErr::MaxPayload);
        }
        with_payload::<RouteRules>(buf, publication, routed)
    }

    /// `[account] subject [reply] size`, or with queue groups.
    fn rmsg_line(&self, buf: &[u8], args: Args) -> MsgLine {
        let words: Line = words(buf, &args).collect();
        let (account, words) = self.take_account(&words);
        msg_line(buf, args, "RMSG", account, words, 1)
    }

    /// `[account] subject [reply] header-size size`, or with queue groups.
    fn hmsg_line(&self, buf: &[u8], args: Args) -> MsgLine {
        let words: Line = words(buf, &args).collect();
        let (account, words) = self.take_account(&words);
        msg_line(buf, args, "HMSG", account, words, 2)
    }

    /// The same as HMSG behind the cluster it comes from.
    fn lmsg_line(&self, buf: &[u8], args: Args) -> MsgLine {
        let words: Line = words(buf, &args).skip(1).collect();
        let (account, words) = self.take_account(&words);
        let (publication, _) = msg_line(buf, args, "LMSG", account, words, 2)?;
        Ok((publication, Routed::Ignored))
    }

    /// The account of the line, empty if the line names none, and the words behind it.
    fn take_account<'w>(&self, words: &'w [Range<usize>]) -> (Range<usize>, &'w [Range<usize>]) {
        match words {
            [account, words @ ..] if !self.account_absent => (account.clone(), words),
            _ => (0..0, words),
        }
    }
}

/// The arguments of a message; more than eight only with many queue groups.
type Line = SmallVec<[Range<usize>; 8]>;

/// `subject names sizes`, where the names are nothing, `reply`, `| queue ...` or
/// `+ reply [queue ...]`.
fn msg_line(
    buf: &[u8],
    args: Args,
    verb: &'static str,
    account: Range<usize>,
    words: &[Range<usize>],
    sizes: usize,
) -> MsgLine {
    let wrong = || ProtoErr::Arguments(verb);
    let (subject, words) = words.split_first().ok_or_else(wrong)?;
    let names_count = words.len().checked_sub(sizes).ok_or_else(wrong)?;
    let (names, sizes) = words.split_at(names_count);
    let (reply, queues) = match names {
        [] => (0..0, names),
        [reply] => (reply.clone(), &names[1..]),
        [sign, reply, queues @ ..] if buf[sign.clone()] == *b"+" => (reply.clone(), queues),
        [sign, queues @ ..] if buf[sign.clone()] == *b"|" => (0..0, queues),
        _ => return Err(wrong()),
    };
    let (header_len, size_text) = match sizes {
        [header_len, size] => (self::size(&buf[header_len.clone()], verb)?, size.clone()),
        [size] => (0, size.clone()),
        _ => return Err(wrong()),
    };
    let len = size(&buf[size_text.clone()], verb)?;
    if header_len > len {
        return Err(wrong());
    }
    // Words of the tail follow each other unless queue names stand between them. As in HPUB, a
    // header block of no bytes makes it a plain message.
    let is_plain = header_len == 0;
    let tail = match (reply.is_empty(), queues) {
        _ if is_plain && sizes.len() > 1 => 0,
        (true, _) => tail_of(buf, &args, sizes),
        (false, []) => tail_of(buf, &args, &words[names_count - 1..]),
        _ => 0,
    };
    let publication = Publication {
        subject: subject.clone(),
        reply,
        header_len: (!is_plain).then_some(header_len),
        size: size_text,
        tail,
        message: args.line_len..args.line_len + len,
    };
    let queues = match queues {
        [first, .., last] => first.start..last.end,
        [only] => only.clone(),
        [] => 0..0,
    };
    Ok((publication, Routed::Msg { account, queues }))
}

/// A whole RMSG or HMSG without queue groups, in the form of every server. Everything else, wrong
/// or only cut off, is left to [`RouteRules::find`].
#[inline]
fn plain_msg<'a>(buf: &'a [u8], rules: &RouteRules) -> Option<(RoutedMsg<'a>, usize)> {
    let (op, line) = buf.split_first_chunk()?;
    let has_header = match op {
        b"RMSG " => false,
        b"HMSG " => true,
        _ => return None,
    };
    if rules.connect_first {
        return None;
    }
    let (blanks, count, end) = plain_line::<4>(line)?;
    let (account, subject_at, blanks) = match rules.account_absent {
        true => (&line[..0], 0, &blanks[..count]),
        false if count == 0 || blanks[0] == 0 => return None,
        false => (&line[..blanks[0]], blanks[0] + 1, &blanks[1..count]),
    };
    let publish = plain_publish(line, subject_at, blanks, end, has_header, rules.limits())?;
    let used = START + subject_at + publish.subject.len() + 1 + publish.tail.len();
    Some((RoutedMsg { account, publish, queues: Queues::default() }, used))
}

/// Offset of the arguments in RMSG and HMSG.
const START: usize = "RMSG ".len();

#[cfg(test)]
mod tests;
