//! Control lines: where one ends, and what stands in it. Shared by the grammars.
//!
//! nats: server/parser.go `parse`, server/client.go `splitArg`, server/util.go `parseSize`

use std::ops::Range;

use memchr::memchr;

use crate::errors::ProtoErr;
use crate::parser::{Bare, Found, Grammar, Part, Publication};

/// The op goes on behind `buf`, of which `scanned` bytes and those after them hold no line end.
pub(super) fn cut<O, E>(buf: &[u8], scanned: usize) -> Result<Found<O, E>, ProtoErr> {
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
/// The first byte behind the blanks belongs to the arguments whatever it is, even a line end: so
/// does the real server.
pub(super) fn args(
    buf: &[u8],
    name: &[u8],
    scanned: usize,
    max: usize,
) -> Result<Option<Args>, ProtoErr> {
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

/// One argument more than any op without a payload takes, which tells "too many" from "all".
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
pub(super) fn split(buf: &[u8], args: &Args) -> Split {
    let mut split = Split { ranges: [const { 0..0 }; ARGS_MAX], count: 0 };
    for (word, range) in words(buf, args).zip(&mut split.ranges) {
        *range = word;
        split.count += 1;
    }
    split
}

/// Every argument of a line, however many there are.
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

/// Where the arguments `tail`, the last of their line, start, if there are single blanks between
/// them and CRLF behind them; else 0.
pub(super) fn tail_of(buf: &[u8], args: &Args, tail: &[Range<usize>]) -> usize {
    let single_blanks =
        tail.windows(2).all(|pair| pair[1].start == pair[0].end + 1 && buf[pair[0].end] == b' ');
    let ends_plainly =
        tail.last().is_some_and(|last| buf[last.end] == b'\r' && last.end + 2 == args.line_len);
    if single_blanks && ends_plainly { tail[0].start } else { 0 }
}

/// The control line of a message as every library writes it, ended by blank, size and CRLF.
#[derive(Clone, Copy)]
pub(super) struct PlainLine<'a> {
    /// What stands between the op name and the blank before the size.
    pub(super) names: &'a [u8],
    /// Where that starts.
    pub(super) names_at: usize,
    /// The size as it was written.
    pub(super) size_text: &'a [u8],
    /// The size in bytes.
    pub(super) size: usize,
    /// Where the payload starts.
    message_at: usize,
}

impl PlainLine<'_> {
    /// Bytes of line, payload and CRLF.
    pub(super) fn total(&self) -> usize {
        self.message_at + self.size + 2
    }

    /// The payload, if it is whole and a CRLF stands behind it.
    #[inline]
    pub(super) fn message<'b>(&self, buf: &'b [u8]) -> Option<&'b [u8]> {
        let message = buf.get(self.message_at..self.total())?;
        message.strip_suffix(b"\r\n")
    }
}

/// The line that begins with `name` and its blank, if it is whole. Its names are not looked at.
///
/// The size is read backwards from the line end: a few nanoseconds, where to split the line costs
/// tens.
#[inline(always)]
pub(super) fn plain_line<'a>(buf: &'a [u8], name: &[u8], max: usize) -> Option<PlainLine<'a>> {
    let names_at = name.len();
    if !buf.starts_with(name) {
        return None;
    }
    let end = names_at + memchr(b'\r', &buf[names_at..])?;
    if buf.get(end + 1) != Some(&b'\n') || end - names_at > max {
        return None;
    }
    let (names, size_text, size) = last_size(&buf[names_at..end])?;
    Some(PlainLine { names, names_at, size_text, size, message_at: end + 2 })
}

/// What stands in front of the size that ends `line` and the blank before it, which is not empty;
/// the size as text and as number.
#[inline(always)]
pub(super) fn last_size(line: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let mut size_at = line.len();
    let mut size = 0;
    let mut unit = 1;
    while size_at > 0 && line.len() - size_at <= SIZE_DIGITS_MAX {
        let digit = line[size_at - 1].wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        size += usize::from(digit) * unit;
        unit *= 10;
        size_at -= 1;
    }
    let is_size = (1..=SIZE_DIGITS_MAX).contains(&(line.len() - size_at));
    if !is_size || size_at < 2 || line[size_at - 1] != b' ' {
        return None;
    }
    Some((&line[..size_at - 1], &line[size_at..], size))
}

/// Digits of a size at most.
const SIZE_DIGITS_MAX: usize = 9;
