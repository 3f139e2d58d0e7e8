//! Resumable parser of a port: bytes in, ops out. The [`Grammar`] defines the ops: [`ClientRules`]
//! for the client port, [`RouteRules`] for the route port.
//!
//! Works in place on the input. Only an op that is cut by the end of the input is copied, into
//! [`Unfinished`], which is freed as soon as the op is whole: an idle connection holds nothing.
//! Knows no socket, no subscription and no policy beyond the rules.
//!
//! Layout of a message, with the offsets of [`Publication`] counted from its first byte:
//!
//! ```text
//! HPUB orders.new _INBOX.7 12 17\r\nNATS/1.0\r\n\r\nhello\r\n
//!      subject    reply    |  |    message                 total
//!      |          |        |  size
//!      |          |        header_len
//!      |          tail (the part of MSG behind its sid, byte for byte)
//! ```
//!
//! Invariants: subject <= tail <= message <= total; no byte is searched twice for its line end;
//! the kept part of a control line never exceeds `max_control_line` by more than one op name; the
//! memory of a payload never exceeds twice what has arrived, nor the size of its op.
//!
//! nats: server/parser.go `parse`, server/client.go `processPub`, `processHeaderPub`, `splitArg`

mod client;
mod line;
mod refused;
mod route;

use std::fmt;
use std::ops::Range;

use memchr::memchr;

use crate::base::errors::ProtoErr;

pub use client::{ClientRules, Op, Publish, Tail};
pub use line::{Alike, parse_size};
pub use refused::Refused;
pub use route::{Queues, RouteOp, RouteRules, RoutedMsg};

/// The ops of one port, and their limits.
pub trait Grammar: Sized {
    /// One operation. Slices borrow from the input or from the parser's unfinished op.
    type Op<'a>;
    /// The most common operation: a message with nothing unusual in it.
    type Plain<'a>;
    /// Facts about a message besides its [`Publication`], as offsets from its first byte.
    type Extra: Clone + fmt::Debug;

    /// Longest argument text of one control line, in bytes.
    fn max_control_line(&self) -> usize;

    /// The message at the start of `input`, and its length, if it is whole and plainly written.
    /// Everything else is left to [`find`](Grammar::find).
    fn plain<'a>(&self, input: &'a [u8]) -> Option<(Self::Plain<'a>, usize)>;

    /// The messages like `first`, which is written as `text`, if such messages may share a match.
    fn alike<'a>(&self, first: &Self::Plain<'_>, text: &'a [u8]) -> Option<Alike<'a>>;

    /// Reads the op at the start of `buf`, which is not empty; `buf[..scanned]` holds no line end.
    ///
    /// # Errors
    /// The errors of [`Parser::next`].
    fn find<'a>(
        &self,
        buf: &'a [u8],
        scanned: usize,
    ) -> Result<Found<Self::Op<'a>, Self::Extra>, ProtoErr>;

    /// The op without arguments.
    fn bare<'a>(bare: Bare) -> Self::Op<'a>;

    /// The op of a message that is whole in `buf`.
    fn message<'a>(publication: &Publication, extra: &Self::Extra, buf: &'a [u8]) -> Self::Op<'a>;
}

/// The parser of one connection: its rules and at most one unfinished op.
#[derive(Debug)]
pub struct Parser<G: Grammar = ClientRules> {
    /// Current limits; read for each op.
    pub rules: G,
    unfinished: Option<Box<Unfinished<G::Extra>>>,
}

/// The input behind a plain message, from which its machine may take more of the same kind.
#[derive(Debug)]
pub struct Remaining<'p, 'a, G: Grammar = ClientRules> {
    rules: &'p G,
    /// That message.
    text: &'a [u8],
    input: &'p mut &'a [u8],
}

/// Messages like a plain one, directly behind it. Those that are not taken stay in the input. Each
/// is parsed where it is staged, so that a row is one walk over the input and no list.
#[derive(Debug)]
pub struct Followers<'p, 'a>(Option<(Alike<'a>, &'p mut &'a [u8])>);

/// An op cut by the end of the input: its bytes from the op name on.
#[derive(Debug)]
struct Unfinished<E> {
    bytes: Vec<u8>,
    part: Part<E>,
}

/// The missing part of an unfinished op.
#[derive(Debug)]
pub enum Part<E> {
    /// Its line end; `scanned` bytes are known to hold none.
    ExpectLineEnd {
        /// Bytes from the op's first one.
        scanned: usize,
    },
    /// The rest of its payload and the CRLF behind it.
    ExpectPayload(Publication, E),
    /// The line end of an op without arguments, of which nothing is kept.
    ExpectBareLineEnd(Bare),
    /// Nothing: the op was given out and may be freed.
    Done,
}

/// Ops whose line is skipped up to its end, with any content and of any length.
#[derive(Debug, Clone, Copy)]
pub enum Bare {
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
}

/// Offsets of a message whose control line is understood, from the op's first byte.
#[derive(Debug, Clone)]
pub struct Publication {
    subject: Range<usize>,
    reply: Range<usize>,
    header_len: Option<usize>,
    size: Range<usize>,
    /// Start of the tail; 0 when the line cannot be passed on as it is.
    tail: usize,
    message: Range<usize>,
}

impl Publication {
    /// Bytes of the whole op, the CRLF behind the payload included.
    fn total(&self) -> usize {
        self.message.end + 2
    }

    fn of<'a>(&self, buf: &'a [u8]) -> Publish<'a> {
        let tail = if self.tail == 0 { &buf[..0] } else { &buf[self.tail..self.total()] };
        Publish {
            subject: &buf[self.subject.clone()],
            reply: &buf[self.reply.clone()],
            header_len: self.header_len,
            size_text: &buf[self.size.clone()],
            message: &buf[self.message.clone()],
            tail,
        }
    }

    /// True if the payload in `buf` is whole.
    ///
    /// # Errors
    /// [`ProtoErr::UnknownOp`] at the first byte behind the payload that is not its CRLF.
    fn is_whole(&self, buf: &[u8]) -> Result<bool, ProtoErr> {
        let end = self.message.end;
        match buf.get(end..) {
            None | Some([]) | Some([b'\r']) => Ok(false),
            Some([b'\r', b'\n', ..]) => Ok(true),
            Some(_) => Err(ProtoErr::UnknownOp),
        }
    }
}

/// The start of the input.
#[derive(Debug)]
pub enum Found<O, E> {
    /// A whole op and its length in bytes.
    Op(O, usize),
    /// An op that goes on behind the input.
    Cut(Part<E>),
}

impl<G: Grammar> Parser<G> {
    /// A parser at the start of a stream.
    pub fn new(rules: G) -> Parser<G> {
        Parser { rules, unfinished: None }
    }

    /// The next whole op of `input`, and the number of bytes used up. `None` if it used up all of
    /// them; the start of an op is then kept for the next call.
    ///
    /// # Errors
    /// A [`ProtoErr`] ends the connection: nothing behind it can be understood.
    pub fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<(Option<G::Op<'a>>, usize), ProtoErr> {
        if let Some(unfinished) = &self.unfinished {
            if !matches!(unfinished.part, Part::Done) {
                return self.resume(input);
            }
            self.unfinished = None;
        }
        if input.is_empty() {
            return Ok((None, 0));
        }
        match self.rules.find(input, 0)? {
            Found::Op(op, len) => Ok((Some(op), len)),
            Found::Cut(part) => {
                self.unfinished = Some(Box::new(Unfinished::new(input, part)));
                Ok((None, input.len()))
            }
        }
    }

    /// True if there is neither input nor an op kept of earlier input, not even one given out.
    #[inline]
    pub fn is_through(&self, input: &[u8]) -> bool {
        input.is_empty() && self.unfinished.is_none()
    }

    /// The message at the start of `input`, and its length, if it is whole and holds nothing
    /// unusual; [`next`](Parser::next) is for everything else. It is the common case, spared the
    /// detour over an op.
    #[inline]
    pub fn next_plain<'a>(&self, input: &'a [u8]) -> Option<(G::Plain<'a>, usize)> {
        match self.unfinished {
            None => self.rules.plain(input),
            Some(_) => None,
        }
    }

    /// Takes the plain message that [`next_plain`](Parser::next_plain) found off the start of
    /// `input`, its first `len` bytes, and gives the input behind it.
    #[inline]
    pub fn take_plain<'p, 'a>(
        &'p self,
        input: &'p mut &'a [u8],
        len: usize,
    ) -> Remaining<'p, 'a, G> {
        let (text, rest) = input.split_at(len);
        *input = rest;
        Remaining { rules: &self.rules, text, input }
    }

    /// The op that [`next`](Parser::next) has just refused, as far as it has arrived: at the start
    /// of the same `input`, or in the kept bytes.
    pub fn current<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        match &self.unfinished {
            Some(unfinished) if !matches!(unfinished.part, Part::Done) => &unfinished.bytes,
            _ => input,
        }
    }

    /// Bytes kept of an unfinished op.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn kept_len(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.bytes.capacity())
    }

    /// Goes on with the unfinished op, taking from `input` no more than it needs.
    fn resume<'a>(&'a mut self, input: &'a [u8]) -> Result<(Option<G::Op<'a>>, usize), ProtoErr> {
        let Parser { rules, unfinished } = self;
        let Unfinished { bytes, part } =
            &mut **unfinished.as_mut().expect("only called with an unfinished op");
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match part {
                Part::ExpectBareLineEnd(bare) => {
                    let op = G::bare(*bare);
                    let Some(line_end) = memchr(b'\n', rest) else {
                        return Ok((None, input.len()));
                    };
                    *part = Part::Done;
                    return Ok((Some(op), used + line_end + 1));
                }
                Part::ExpectLineEnd { scanned } => {
                    if rest.is_empty() {
                        return Ok((None, used));
                    }
                    let wanted = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    // Anything longer is refused below, so there is no reason to keep it.
                    let kept_max = rules.max_control_line() + OP_NAME_MAX + LINE_SLACK;
                    let take = wanted.min(kept_max.saturating_sub(bytes.len()).max(1));
                    let scanned = *scanned;
                    bytes.extend_from_slice(&rest[..take]);
                    used += take;
                    let cut = match rules.find(bytes, scanned)? {
                        Found::Op(..) => None,
                        Found::Cut(part) => Some(part),
                    };
                    match cut {
                        None => break,
                        Some(Part::ExpectLineEnd { scanned }) => {
                            let surplus = surplus_blanks(bytes);
                            *part = Part::ExpectLineEnd { scanned: scanned - surplus.len() };
                            bytes.drain(surplus);
                        }
                        Some(next) => *part = next,
                    }
                }
                Part::ExpectPayload(publication, extra) => {
                    let total = publication.total();
                    let take = (total - bytes.len()).min(rest.len());
                    if bytes.capacity() - bytes.len() < take {
                        // Twice as much, as usual, but no more than there will be.
                        let room = total.min((bytes.len() + take).max(bytes.capacity() * 2));
                        bytes.reserve_exact(room - bytes.len());
                    }
                    bytes.extend_from_slice(&rest[..take]);
                    used += take;
                    if !publication.is_whole(bytes)? {
                        return Ok((None, used));
                    }
                    let op = G::message(publication, extra, bytes);
                    *part = Part::Done;
                    return Ok((Some(op), used));
                }
                Part::Done => unreachable!("a finished op is freed before the next one is read"),
            }
        }
        // The whole line is here: it is read once more, for its op borrows from where it is kept.
        *part = Part::Done;
        match rules.find(bytes, 0)? {
            Found::Op(op, _) => Ok((Some(op), used)),
            Found::Cut(_) => unreachable!("the same bytes were whole a moment ago"),
        }
    }
}

impl<'p, 'a> Followers<'p, 'a> {
    /// The messages in `remaining` that are like `first`, the plain one in front of it.
    #[inline]
    pub fn new<G: Grammar>(
        remaining: Option<Remaining<'p, 'a, G>>,
        first: &G::Plain<'_>,
    ) -> Followers<'p, 'a> {
        let row = |remaining: Remaining<'p, 'a, G>| {
            Some((remaining.rules.alike(first, remaining.text)?, remaining.input))
        };
        Followers(remaining.and_then(row))
    }
}

impl<'a> Iterator for Followers<'_, 'a> {
    type Item = Tail<'a>;

    // A call would cost as much as to find the message.
    #[inline(always)]
    fn next(&mut self) -> Option<Tail<'a>> {
        let (alike, input) = self.0.as_mut()?;
        let (tail, len) = alike.find(input)?;
        **input = &input[len..];
        Some(tail)
    }
}

impl<E> Unfinished<E> {
    /// Keeps the start of an op from `input`; `part` is missing.
    fn new(input: &[u8], part: Part<E>) -> Unfinished<E> {
        match part {
            Part::ExpectBareLineEnd(_) => Unfinished { bytes: Vec::new(), part },
            Part::ExpectLineEnd { scanned } => {
                let surplus = surplus_blanks(input);
                let part = Part::ExpectLineEnd { scanned: scanned - surplus.len() };
                let bytes = [&input[..surplus.start], &input[surplus.end..]].concat();
                Unfinished { bytes, part }
            }
            Part::ExpectPayload(..) | Part::Done => Unfinished { bytes: input.to_vec(), part },
        }
    }
}

/// The blanks behind the op name from the third on: there may be any number, so they are not kept.
/// Two show as much as all of them: the line cannot be passed on as it is.
fn surplus_blanks(op: &[u8]) -> Range<usize> {
    let Some(name_len) = line::name_len(op) else { return 0..0 };
    let blanks = op[name_len..].iter().take_while(|byte| line::is_blank(byte)).count();
    name_len + blanks.min(KEPT_BLANKS)..name_len + blanks
}

/// Blanks behind the op name that are kept of an unfinished line.
const KEPT_BLANKS: usize = 2;

/// Bytes besides name and arguments that a kept line may hold: blanks, CR and LF.
const LINE_SLACK: usize = KEPT_BLANKS + 2;

/// Length of the longest op name.
const OP_NAME_MAX: usize = "CONNECT".len();

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;
