//! Resumable parser of the client port: bytes in, [`Op`] out.
//!
//! Works in place on what the socket gave. Only an op that is cut by the end of the input is
//! copied, into [`Unfinished`], which is freed as soon as the op is whole: an idle connection holds
//! nothing. Knows no socket, no subscription and no policy beyond [`Rules`].
//!
//! Layout of a publication, with the offsets of [`Publication`] counted from its first byte:
//!
//! ```text
//! HPUB orders.new _INBOX.7 12 17\r\nNATS/1.0\r\n\r\nhello\r\n
//!      subject    reply    |  |    message                 total
//!      |          |        |  size
//!      |          |        header_len
//!      |          tail (what MSG needs behind its sid, byte for byte)
//! ```
//!
//! Invariants: subject <= tail <= message <= total; no byte is searched twice for its line end;
//! what is kept of a control line never exceeds `max_control_line` by more than one op name; the
//! memory of a payload never exceeds twice what has arrived, nor the size of its op.
//!
//! nats: server/parser.go `parse`, server/client.go `processPub`, `processHeaderPub`, `splitArg`

use std::ops::Range;

use memchr::memchr;

use crate::errors::ProtoErr;

/// One operation of a client. Slices borrow from the input or from the parser's unfinished op.
#[derive(Debug, PartialEq)]
pub enum Op<'a> {
    /// `CONNECT {json}`: the JSON text, blanks around it removed.
    Connect(&'a [u8]),
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
#[derive(Debug, PartialEq)]
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
    /// `[reply ][header-size ]size CRLF message CRLF` as it arrived: what MSG (of PUB) or HMSG (of
    /// HPUB) carries behind its sid. Empty when the line was not written with single blanks and
    /// CRLF.
    pub tail: &'a [u8],
}

impl Publish<'_> {
    /// Header block and payload in bytes: what statistics count.
    pub fn len(&self) -> usize {
        self.message.len()
    }

    /// True when there is neither header nor payload.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty()
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

/// What the parser has to know of its connection; the client changes it after CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Longest argument text of one control line, in bytes.
    pub max_control_line: usize,
    /// Largest message (header block and payload), in bytes; `usize::MAX` for unlimited.
    pub max_payload: usize,
    /// HPUB was negotiated.
    pub headers: bool,
    /// Nothing but CONNECT is accepted: credentials are required and have not come yet.
    pub connect_first: bool,
}

/// The parser of one connection: [`Rules`] and at most one unfinished op.
#[derive(Debug)]
pub struct Parser {
    /// Current limits; read for each op.
    pub rules: Rules,
    unfinished: Option<Box<Unfinished>>,
}

/// An op cut by the end of the input: its bytes from the op name on.
#[derive(Debug)]
struct Unfinished {
    bytes: Vec<u8>,
    part: Part,
}

/// What the unfinished op waits for.
#[derive(Debug)]
enum Part {
    /// Its line end; `scanned` bytes are known to hold none.
    ExpectLineEnd { scanned: usize },
    /// The rest of its payload and the CRLF behind it.
    ExpectPayload(Publication),
    /// The line end of an op without arguments, of which nothing is kept.
    ExpectBareLineEnd(Bare),
    /// Nothing: the op was given out and may be freed.
    Done,
}

/// Ops whose line is skipped up to its end, whatever it holds and however long it is.
#[derive(Debug, Clone, Copy)]
enum Bare {
    Ping,
    Pong,
    Ok,
}

impl Bare {
    fn op(self) -> Op<'static> {
        match self {
            Bare::Ping => Op::Ping,
            Bare::Pong => Op::Pong,
            Bare::Ok => Op::Ok,
        }
    }
}

/// Offsets of a publication whose control line is understood, from the op's first byte.
#[derive(Debug, Clone)]
struct Publication {
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

    /// Whether the payload in `buf` is whole.
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

/// What stands at the start of the input.
enum Found<'a> {
    /// A whole op and its length in bytes.
    Op(Op<'a>, usize),
    /// An op that goes on behind the input.
    Cut(Part),
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new(rules: Rules) -> Parser {
        Parser { rules, unfinished: None }
    }

    /// The next whole op of `input`, and how many bytes of it are used up. `None` when that is all
    /// of them; what is left of an op is then kept for the next call.
    ///
    /// # Errors
    /// The connection has to be ended: nothing sensible can be read behind a [`ProtoErr`].
    pub fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<(Option<Op<'a>>, usize), ProtoErr> {
        if let Some(unfinished) = &self.unfinished {
            if !matches!(unfinished.part, Part::Done) {
                return self.resume(input);
            }
            self.unfinished = None;
        }
        if input.is_empty() {
            return Ok((None, 0));
        }
        match find(input, 0, &self.rules)? {
            Found::Op(op, len) => Ok((Some(op), len)),
            Found::Cut(part) => {
                self.unfinished = Some(Box::new(Unfinished::new(input, part)));
                Ok((None, input.len()))
            }
        }
    }

    /// The publication at the start of `input`, and its length, if it is a whole PUB that holds
    /// nothing unusual; [`next`](Parser::next) is for everything else. So the common case is spared
    /// the detour over an [`Op`].
    #[inline]
    pub fn next_plain<'a>(&self, input: &'a [u8]) -> Option<(Publish<'a>, usize)> {
        match self.unfinished {
            None => plain_pub(input, &self.rules),
            Some(_) => None,
        }
    }

    /// Bytes kept of an unfinished op.
    pub fn kept_len(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.bytes.capacity())
    }

    /// Goes on with the unfinished op, taking from `input` no more than it needs.
    fn resume<'a>(&'a mut self, input: &'a [u8]) -> Result<(Option<Op<'a>>, usize), ProtoErr> {
        let Parser { rules, unfinished } = self;
        let Unfinished { bytes, part } =
            &mut **unfinished.as_mut().expect("only called with an unfinished op");
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match part {
                Part::ExpectBareLineEnd(bare) => {
                    let op = bare.op();
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
                    let kept_max = rules.max_control_line + OP_NAME_MAX + LINE_SLACK;
                    let take = wanted.min(kept_max.saturating_sub(bytes.len()).max(1));
                    let scanned = *scanned;
                    bytes.extend_from_slice(&rest[..take]);
                    used += take;
                    match find(bytes, scanned, rules)? {
                        Found::Op(..) => break,
                        Found::Cut(Part::ExpectLineEnd { scanned }) => {
                            let surplus = surplus_blanks(bytes);
                            *part = Part::ExpectLineEnd { scanned: scanned - surplus.len() };
                            bytes.drain(surplus);
                        }
                        Found::Cut(next) => *part = next,
                    }
                }
                Part::ExpectPayload(publication) => {
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
                    let publication = publication.clone();
                    *part = Part::Done;
                    return Ok((Some(Op::Publish(publication.of(bytes))), used));
                }
                Part::Done => unreachable!("a finished op is freed before the next one is read"),
            }
        }
        // The whole line is here: it is read once more, for its op borrows from where it is kept.
        *part = Part::Done;
        match find(bytes, 0, rules)? {
            Found::Op(op, _) => Ok((Some(op), used)),
            Found::Cut(_) => unreachable!("the same bytes were whole a moment ago"),
        }
    }
}

impl Unfinished {
    /// Keeps what is needed of an op that `part` is missing of and that `input` begins.
    fn new(input: &[u8], part: Part) -> Unfinished {
        match part {
            Part::ExpectBareLineEnd(_) => Unfinished { bytes: Vec::new(), part },
            Part::ExpectLineEnd { scanned } => {
                let surplus = surplus_blanks(input);
                let part = Part::ExpectLineEnd { scanned: scanned - surplus.len() };
                let bytes = [&input[..surplus.start], &input[surplus.end..]].concat();
                Unfinished { bytes, part }
            }
            Part::ExpectPayload(_) | Part::Done => Unfinished { bytes: input.to_vec(), part },
        }
    }
}

/// The blanks behind the op name from the third on: there may be any number, so they are not kept.
/// Two tell as much as all of them: that the line cannot be passed on as it is.
fn surplus_blanks(op: &[u8]) -> Range<usize> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let name = &op[..op.len().min(OP_NAME_MAX + 1)];
    let Some(name_len) = name.iter().position(is_blank) else { return 0..0 };
    let blanks = op[name_len..].iter().take_while(|byte| is_blank(byte)).count();
    name_len + blanks.min(KEPT_BLANKS)..name_len + blanks
}

/// Blanks behind the op name that are kept of an unfinished line.
const KEPT_BLANKS: usize = 2;

/// Bytes besides name and arguments that a kept line may hold: blanks, CR and LF.
const LINE_SLACK: usize = KEPT_BLANKS + 2;

/// Digits of a size at most.
const SIZE_DIGITS_MAX: usize = 9;

/// Length of the longest op name.
const OP_NAME_MAX: usize = "CONNECT".len();

/// Reads the op at the start of `buf`, which is not empty; `buf[..scanned]` holds no line end.
fn find<'a>(buf: &'a [u8], scanned: usize, rules: &Rules) -> Result<Found<'a>, ProtoErr> {
    if rules.connect_first && !buf[0].eq_ignore_ascii_case(&b'C') {
        return Err(ProtoErr::AuthorizationViolation);
    }
    match buf[0] {
        b'P' | b'p' => match buf.get(1) {
            Some(b'U' | b'u') => {
                let Some(args) = args(buf, b"PUB", scanned, rules)? else {
                    return cut(buf, scanned);
                };
                publish(buf, pub_line(buf, args)?, rules)
            }
            Some(b'I' | b'i') => bare(buf, b"PING", Bare::Ping, scanned),
            Some(b'O' | b'o') => bare(buf, b"PONG", Bare::Pong, scanned),
            Some(_) => Err(ProtoErr::UnknownOp),
            None => cut(buf, scanned),
        },
        b'H' | b'h' => {
            let Some(args) = args(buf, b"HPUB", scanned, rules)? else { return cut(buf, scanned) };
            if !rules.headers {
                return Err(ProtoErr::Arguments("HPUB"));
            }
            publish(buf, hpub_line(buf, args)?, rules)
        }
        b'S' | b's' => {
            let Some(args) = args(buf, b"SUB", scanned, rules)? else { return cut(buf, scanned) };
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
            let Some(args) = args(buf, b"UNSUB", scanned, rules)? else { return cut(buf, scanned) };
            let split = split(buf, &args);
            let (sid, max) = match split.as_slice() {
                [sid] => (sid, None),
                [sid, max] => (sid, Some(max)),
                _ => return Err(ProtoErr::Arguments("UNSUB")),
            };
            let op = Op::Unsub { sid: &buf[sid.clone()], max: max.map(|max| &buf[max.clone()]) };
            Ok(Found::Op(op, args.line_len))
        }
        b'C' | b'c' => whole_line(buf, b"CONNECT", scanned, rules, Op::Connect),
        b'I' | b'i' => whole_line(buf, b"INFO", scanned, rules, Op::Info),
        b'-' => whole_line(buf, b"-ERR", scanned, rules, Op::Err),
        b'+' => bare(buf, b"+OK", Bare::Ok, scanned),
        _ => Err(ProtoErr::UnknownOp),
    }
}

/// The op goes on behind `buf`, of which `scanned` bytes and those after them hold no line end.
fn cut<'a>(buf: &[u8], scanned: usize) -> Result<Found<'a>, ProtoErr> {
    Ok(Found::Cut(Part::ExpectLineEnd { scanned: buf.len().max(scanned) }))
}

/// Checks the op name in `buf` as far as it has arrived; false when it is not whole yet.
fn has_name(buf: &[u8], name: &[u8]) -> Result<bool, ProtoErr> {
    let len = name.len().min(buf.len());
    if !buf[..len].eq_ignore_ascii_case(&name[..len]) {
        return Err(ProtoErr::UnknownOp);
    }
    Ok(len == name.len())
}

/// `PING`, `PONG` or `+OK`: all bytes up to the line end are skipped.
fn bare<'a>(buf: &'a [u8], name: &[u8], bare: Bare, scanned: usize) -> Result<Found<'a>, ProtoErr> {
    if !has_name(buf, name)? {
        return cut(buf, scanned);
    }
    match memchr(b'\n', &buf[name.len()..]) {
        Some(at) => Ok(Found::Op(bare.op(), name.len() + at + 1)),
        None => Ok(Found::Cut(Part::ExpectBareLineEnd(bare))),
    }
}

/// The argument text of one control line: `buf[start..end]`, and the length of the line with its
/// end.
struct Args {
    start: usize,
    end: usize,
    line_len: usize,
}

/// Finds the argument text behind the op `name`; `None` when the line is not whole.
///
/// The first byte behind the blanks belongs to the arguments whatever it is, even a line end: so
/// does the real server.
fn args(buf: &[u8], name: &[u8], scanned: usize, rules: &Rules) -> Result<Option<Args>, ProtoErr> {
    if !has_name(buf, name)? {
        return Ok(None);
    }
    let blank_optional = name == b"CONNECT" || name == b"INFO";
    match buf.get(name.len()) {
        None => return Ok(None),
        Some(b' ' | b'\t') => {}
        Some(_) if blank_optional => {}
        Some(_) => return Err(ProtoErr::UnknownOp),
    }
    let mut start = name.len();
    while let Some(b' ' | b'\t') = buf.get(start) {
        start += 1;
    }
    let from = scanned.max(start + 1);
    let line_end = match buf.get(from..) {
        Some(rest) => memchr(b'\n', rest).map(|at| from + at),
        None => None,
    };
    let Some(line_end) = line_end else {
        if buf.len() - start > rules.max_control_line + usize::from(buf.ends_with(b"\r")) {
            return Err(ProtoErr::MaxControlLine);
        }
        return Ok(None);
    };
    let end = if buf[line_end - 1] == b'\r' { line_end - 1 } else { line_end };
    if end - start.min(end) > rules.max_control_line {
        return Err(ProtoErr::MaxControlLine);
    }
    Ok(Some(Args { start: start.min(end), end, line_len: line_end + 1 }))
}

/// An op whose only argument is the rest of its line.
fn whole_line<'a>(
    buf: &'a [u8],
    name: &[u8],
    scanned: usize,
    rules: &Rules,
    op: fn(&'a [u8]) -> Op<'a>,
) -> Result<Found<'a>, ProtoErr> {
    match args(buf, name, scanned, rules)? {
        Some(args) => Ok(Found::Op(op(&buf[args.start..args.end]), args.line_len)),
        None => cut(buf, scanned),
    }
}

/// One argument more than any op takes, which tells "too many" from "all".
const ARGS_MAX: usize = 5;

/// The arguments of a line, as offsets into its buffer.
struct Split {
    ranges: [Range<usize>; ARGS_MAX],
    count: usize,
}

impl Split {
    fn as_slice(&self) -> &[Range<usize>] {
        &self.ranges[..self.count]
    }
}

/// Splits the argument text at blanks, CR and LF. Arguments beyond [`ARGS_MAX`], which is more than
/// any op takes, are not looked at.
///
/// nats-differs: there, what a CR does depends on where the bytes are cut.
fn split(buf: &[u8], args: &Args) -> Split {
    let mut split = Split { ranges: [const { 0..0 }; ARGS_MAX], count: 0 };
    let mut at = args.start;
    while at < args.end {
        if is_separator(&buf[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < args.end && !is_separator(&buf[at]) {
            at += 1;
        }
        if split.count == ARGS_MAX {
            break;
        }
        split.ranges[split.count] = start..at;
        split.count += 1;
    }
    split
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A number of 1 to 9 decimal digits, as sizes and the limit of UNSUB are written.
///
/// nats: server/util.go `parseSize`
pub fn parse_size(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > SIZE_DIGITS_MAX {
        return None;
    }
    text.iter().try_fold(0, |size, &byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then_some(size * 10 + usize::from(digit))
    })
}

fn size(text: &[u8], verb: &'static str) -> Result<usize, ProtoErr> {
    parse_size(text).ok_or(ProtoErr::Arguments(verb))
}

/// A whole PUB as every client library writes it: single blanks, CRLF, nothing unusual. Everything
/// else, wrong or only cut off, is left to [`find`], which says what it is.
///
/// The line is read once, eight bytes at a time: of each word a mask tells which bytes could end an
/// argument. To split the line byte by byte costs several times as much.
#[inline]
fn plain_pub<'a>(buf: &'a [u8], rules: &Rules) -> Option<(Publish<'a>, usize)> {
    const START: usize = "PUB ".len();
    if rules.connect_first || !buf.starts_with(b"PUB ") {
        return None;
    }
    let line = &buf[START..];
    // Where the subject ends and, if there is a reply, where that ends.
    let mut ends = [0; 2];
    let mut args = 0;
    let mut word_at = 0;
    let end = 'line: loop {
        let word = u64::from_le_bytes(*line.get(word_at..)?.first_chunk()?);
        let mut blanks = blanks_of(word);
        while blanks != 0 {
            let at = word_at + blanks.trailing_zeros() as usize / 8;
            blanks &= blanks - 1;
            match line[at] {
                b' ' => *ends.get_mut(args)? = at,
                b'\r' => break 'line at,
                _ => return None,
            }
            args += 1;
        }
        word_at += 8;
    };
    let subject_end = ends[0];
    let (reply, size_at) = match args {
        1 => (&line[..0], subject_end + 1),
        2 => (&line[subject_end + 1..ends[1]], ends[1] + 1),
        _ => return None,
    };
    if subject_end == 0 || (args == 2 && reply.is_empty()) || end > rules.max_control_line {
        return None;
    }
    let size_text = &line[size_at..end];
    let len = parse_size(size_text)?;
    let message_at = end + 2;
    let tail_len = message_at + len + 2 - (subject_end + 1);
    let tail = line.get(subject_end + 1..)?.get(..tail_len)?;
    if len > rules.max_payload || line[end + 1] != b'\n' || !tail.ends_with(b"\r\n") {
        return None;
    }
    let publish = Publish {
        subject: &line[..subject_end],
        reply,
        header_len: None,
        size_text,
        message: &line[message_at..message_at + len],
        tail,
    };
    Some((publish, START + message_at + len + 2))
}

/// The top bit of each byte of `word` that is a blank or a control character.
#[inline]
fn blanks_of(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    // No byte carries into the next: its lower seven bits and this are less than 256.
    let past_blank = (word & !TOPS) + ONES * (0x7f - b' ' as u64);
    !(past_blank | word) & TOPS
}

/// The control line of PUB.
fn pub_line(buf: &[u8], args: Args) -> Result<Publication, ProtoErr> {
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
        tail: tail_of(buf, &args, split.as_slice()),
        message: args.line_len..args.line_len + len,
    })
}

/// The control line of HPUB.
fn hpub_line(buf: &[u8], args: Args) -> Result<Publication, ProtoErr> {
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
        tail: if is_plain { 0 } else { tail_of(buf, &args, split.as_slice()) },
        message: args.line_len..args.line_len + len,
    })
}

/// Where the second argument starts, if the line has single blanks and ends in CRLF; else 0.
fn tail_of(buf: &[u8], args: &Args, split: &[Range<usize>]) -> usize {
    let single_blanks =
        split.windows(2).all(|pair| pair[1].start == pair[0].end + 1 && buf[pair[0].end] == b' ');
    let ends_plainly =
        split.last().is_some_and(|last| buf[last.end] == b'\r' && last.end + 2 == args.line_len);
    if single_blanks && ends_plainly { split[1].start } else { 0 }
}

/// Checks the size of a publication and gives it out when its payload is whole.
fn publish<'a>(
    buf: &'a [u8],
    publication: Publication,
    rules: &Rules,
) -> Result<Found<'a>, ProtoErr> {
    if publication.message.len() > rules.max_payload {
        return Err(ProtoErr::MaxPayload);
    }
    if publication.is_whole(buf)? {
        return Ok(Found::Op(Op::Publish(publication.of(buf)), publication.total()));
    }
    Ok(Found::Cut(Part::ExpectPayload(publication)))
}

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;
