//! Control lines: their ends and their arguments. Shared by the grammars.
//!
//! nats: server/parser.go `parse`, server/client.go `splitArg`, server/util.go `parseSize`

use std::ops::Range;

use memchr::memchr;

use crate::base::errors::ProtoErr;
use crate::parser::{Bare, Found, Grammar, OP_NAME_MAX, Part, Publication, Publish, Tail};

/// The op goes on behind `buf`, of which `scanned` bytes and those after them hold no line end.
pub(super) fn cut<O, E>(buf: &[u8], scanned: usize) -> Result<Found<O, E>, ProtoErr> {
    Ok(Found::Cut(Part::ExpectLineEnd { scanned: buf.len().max(scanned) }))
}

/// Ops that need no blank behind the name.
const BLANK_OPTIONAL: [&[u8]; 2] = [b"CONNECT", b"INFO"];

/// Bytes of the op name at the start of `op`, of which [`args`] has found no fault; none if it may
/// go on.
pub(super) fn name_len(op: &[u8]) -> Option<usize> {
    let whole = BLANK_OPTIONAL.iter().find(|name| has_name(op, name) == Ok(true));
    match whole {
        Some(name) => Some(name.len()),
        None => op.iter().take(OP_NAME_MAX + 1).position(is_blank),
    }
}

pub(super) fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
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
pub(super) fn bare<O, E>(
    buf: &[u8],
    name: &[u8],
    scanned: usize,
    op: O,
    bare: Bare,
) -> Result<Found<O, E>, ProtoErr> {
    if !has_name(buf, name)? {
        return cut(buf, scanned);
    }
    match memchr(b'\n', &buf[name.len()..]) {
        Some(at) => Ok(Found::Op(op, name.len() + at + 1)),
        None => Ok(Found::Cut(Part::ExpectBareLineEnd(bare))),
    }
}

/// The argument text of one control line: `buf[start..end]`, and the length of the line with its
/// end.
pub(super) struct Args {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line_len: usize,
}

/// Finds the argument text behind the op `name`, at most `max` bytes; `None` when the line is not
/// whole.
///
/// The first byte behind the blanks always belongs to the arguments, even a line end, as in the
/// real server.
pub(super) fn args(
    buf: &[u8],
    name: &[u8],
    scanned: usize,
    max: usize,
) -> Result<Option<Args>, ProtoErr> {
    if !has_name(buf, name)? {
        return Ok(None);
    }
    match buf.get(name.len()) {
        None => return Ok(None),
        Some(b' ' | b'\t') => {}
        Some(_) if BLANK_OPTIONAL.contains(&name) => {}
        Some(_) => return Err(ProtoErr::UnknownOp),
    }
    let mut start = name.len();
    while buf.get(start).is_some_and(is_blank) {
        start += 1;
    }
    let from = scanned.max(start + 1);
    let line_end = match buf.get(from..) {
        Some(rest) => memchr(b'\n', rest).map(|at| from + at),
        None => None,
    };
    let Some(line_end) = line_end else {
        if buf.len() - start > max + usize::from(buf.ends_with(b"\r")) {
            return Err(ProtoErr::MaxControlLine);
        }
        return Ok(None);
    };
    let end = if buf[line_end - 1] == b'\r' { line_end - 1 } else { line_end };
    if end - start.min(end) > max {
        return Err(ProtoErr::MaxControlLine);
    }
    Ok(Some(Args { start: start.min(end), end, line_len: line_end + 1 }))
}

/// An op whose only argument is the rest of its line.
pub(super) fn whole_line<'a, O, E>(
    buf: &'a [u8],
    name: &[u8],
    scanned: usize,
    max: usize,
    op: fn(&'a [u8]) -> O,
) -> Result<Found<O, E>, ProtoErr> {
    match args(buf, name, scanned, max)? {
        Some(args) => Ok(Found::Op(op(&buf[args.start..args.end]), args.line_len)),
        None => cut(buf, scanned),
    }
}

/// An op whose control line is understood: given out if its payload is whole.
pub(super) fn with_payload<G: Grammar>(
    buf: &[u8],
    publication: Publication,
    extra: G::Extra,
) -> Result<Found<G::Op<'_>, G::Extra>, ProtoErr> {
    if publication.is_whole(buf)? {
        return Ok(Found::Op(G::message(&publication, &extra, buf), publication.total()));
    }
    Ok(Found::Cut(Part::ExpectPayload(publication, extra)))
}

/// One argument more than any op without a payload takes, to tell "too many" from "all".
const ARGS_MAX: usize = 6;

/// The arguments of a line, as offsets into its buffer.
pub(super) struct Split {
    ranges: [Range<usize>; ARGS_MAX],
    count: usize,
}

impl Split {
    pub(super) fn as_slice(&self) -> &[Range<usize>] {
        &self.ranges[..self.count]
    }
}

/// Splits the argument text at blanks, CR and LF. Arguments beyond [`ARGS_MAX`], which is more than
/// any op takes, are not looked at.
///
/// nats-differs: there, the effect of a CR depends on the cuts between reads.
pub(super) fn split(buf: &[u8], args: &Args) -> Split {
    let mut split = Split { ranges: [const { 0..0 }; ARGS_MAX], count: 0 };
    for (word, range) in words(buf, args).zip(&mut split.ranges) {
        *range = word;
        split.count += 1;
    }
    split
}

/// All arguments of a line.
pub(super) fn words(buf: &[u8], args: &Args) -> impl Iterator<Item = Range<usize>> {
    let mut at = args.start;
    let text = &buf[..args.end];
    std::iter::from_fn(move || {
        let start = at + text[at..].iter().position(|byte| !is_separator(byte))?;
        let len = text[start..].iter().position(is_separator);
        at = len.map_or(text.len(), |len| start + len);
        Some(start..at)
    })
}

pub(super) fn is_separator(byte: &u8) -> bool {
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

pub(super) fn size(text: &[u8], verb: &'static str) -> Result<usize, ProtoErr> {
    parse_size(text).ok_or(ProtoErr::Arguments(verb))
}

/// The start of the arguments `tail`, the last of their line, if there are single blanks between
/// them and CRLF behind them; else 0.
pub(super) fn tail_of(buf: &[u8], args: &Args, tail: &[Range<usize>]) -> usize {
    let single_blanks =
        tail.windows(2).all(|pair| pair[1].start == pair[0].end + 1 && buf[pair[0].end] == b' ');
    let ends_plainly =
        tail.last().is_some_and(|last| buf[last.end] == b'\r' && last.end + 2 == args.line_len);
    if single_blanks && ends_plainly { tail[0].start } else { 0 }
}

/// Offsets and number of the blanks of a line, and the offset of its CR; none if there are more
/// than `N`, or tabs or line feeds before that CR.
///
/// Reads the line once, eight bytes at a time: for each word a mask shows the bytes that could end
/// an argument. To split the line byte by byte costs several times as much.
#[inline(always)]
pub(super) fn plain_line<const N: usize>(line: &[u8]) -> Option<([usize; N], usize, usize)> {
    let mut blanks = [0; N];
    let mut count = 0;
    let mut word_at = 0;
    loop {
        let word = u64::from_le_bytes(*line.get(word_at..)?.first_chunk()?);
        let mut found = blanks_of(word);
        while found != 0 {
            let at = word_at + found.trailing_zeros() as usize / 8;
            found &= found - 1;
            match line[at] {
                b' ' => *blanks.get_mut(count)? = at,
                b'\r' => return Some((blanks, count, at)),
                _ => return None,
            }
            count += 1;
        }
        word_at += 8;
    }
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

/// The message of a plain `line`, whose subject starts at `subject_at` and ends at the first of
/// `blanks`, and whose CR is at `end`; none unless it is whole.
#[inline(always)]
pub(super) fn plain_publish<'a>(
    line: &'a [u8],
    subject_at: usize,
    blanks: &[usize],
    end: usize,
    has_header: bool,
    limits: LineLimits,
) -> Option<Publish<'a>> {
    let (size_at, blanks) = match blanks {
        [header @ .., size] if has_header => (size + 1, header),
        _ => (blanks.last()? + 1, blanks),
    };
    let (subject_end, reply) = match *blanks {
        [subject_end] => (subject_end, &line[..0]),
        [subject_end, end] if end > subject_end + 1 => (subject_end, &line[subject_end + 1..end]),
        _ => return None,
    };
    if subject_end == subject_at || end > limits.line {
        return None;
    }
    let tail = plain_tail(line, subject_end + 1, size_at..end, limits.payload)?;
    let header_len = match has_header {
        false => None,
        true => Some(parse_size(&line[blanks.last()? + 1..size_at - 1])?),
    };
    // A header block of no bytes is unusual.
    if header_len.is_some_and(|header_len| header_len == 0 || header_len > tail.len) {
        return None;
    }
    Some(Publish {
        subject: &line[subject_at..subject_end],
        reply,
        header_len,
        size_text: &line[size_at..end],
        message: &line[end + 2..end + 2 + tail.len],
        tail: tail.text,
    })
}

/// The tail at `tail_at` in a plain `line`, whose size stands at `size`, before a CR; none unless
/// it is whole.
#[inline(always)]
fn plain_tail(
    line: &[u8],
    tail_at: usize,
    size: Range<usize>,
    max_payload: usize,
) -> Option<Tail<'_>> {
    let line_end = size.end + 1;
    let len = parse_size(&line[size])?;
    let text = line.get(tail_at..line_end + 1 + len + 2)?;
    if len > max_payload || line[line_end] != b'\n' || !text.ends_with(b"\r\n") {
        return None;
    }
    Some(Tail { text, len })
}

/// Limits of a plain line and its payload, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineLimits {
    pub(super) line: usize,
    pub(super) payload: usize,
}

/// The common part of messages in a row: they are to the same subject, with neither reply nor
/// headers, and written alike up to their size.
#[derive(Debug, Clone, Copy)]
pub struct Alike<'a> {
    /// The first of them, up to its payload.
    head: &'a [u8],
    /// Offset of the size in `head`.
    tail_at: usize,
    /// Bytes of its payload.
    len: usize,
    /// Offset of the arguments in `head`.
    start: usize,
    limits: LineLimits,
}

impl<'a> Alike<'a> {
    /// The messages like `first`, which is written as `text`, with its arguments from `start` on;
    /// none if it has a reply or headers.
    #[inline]
    pub(super) fn new(
        first: &Publish<'_>,
        text: &'a [u8],
        start: usize,
        limits: LineLimits,
    ) -> Option<Alike<'a>> {
        if !first.reply.is_empty() || first.header_len.is_some() {
            return None;
        }
        let len = first.message.len();
        let head = &text[..text.len() - len - 2];
        Some(Alike { head, tail_at: text.len() - first.tail.len(), len, start, limits })
    }

    /// The tail of the message at the start of `input`, and the length of the whole message; none
    /// if it differs.
    #[inline(always)]
    pub(super) fn find<'i>(&self, input: &'i [u8]) -> Option<(Tail<'i>, usize)> {
        let &Alike { head, tail_at, len, .. } = self;
        // Most other subjects differ at their ends, which needs no call.
        if input.get(tail_at - 2..tail_at)? != &head[tail_at - 2..tail_at] {
            return None;
        }
        // The same size needs no parsing.
        let whole_len = head.len() + len + 2;
        if let Some(whole) = input.get(..whole_len)
            && whole[..head.len()] == *head
            && whole.ends_with(b"\r\n")
        {
            return Some((Tail { text: &whole[tail_at..], len }, whole_len));
        }
        self.find_sized(input)
    }

    /// As [`find`](Alike::find), for any size.
    fn find_sized<'i>(&self, input: &'i [u8]) -> Option<(Tail<'i>, usize)> {
        let line = input.strip_prefix(&self.head[..self.tail_at])?;
        let ([], _, end) = plain_line::<0>(line)?;
        if self.tail_at - self.start + end > self.limits.line {
            return None;
        }
        let tail = plain_tail(line, 0, 0..end, self.limits.payload)?;
        Some((tail, self.tail_at + tail.text.len()))
    }
}

/// Digits of a size at most.
const SIZE_DIGITS_MAX: usize = 9;
