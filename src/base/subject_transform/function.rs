//! The functions of a destination: their spelling, and their effect.
//!
//! nats: server/subject_transform.go `indexPlaceHolders`, `TransformTokenizedSubject`

use std::io::Write;

use fastrand::Rng;

use super::error::{Fault, TransformError};
use crate::base::fnv::{FNV_BASIS, fnv1a};
use crate::base::subject::tokens;

/// A token of a destination, as a function of tokens of the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// These bytes.
    Text(Box<[u8]>),
    /// The subject from the token on.
    Rest,
    /// The token.
    Wildcard,
    /// The number of a part among so many: a hash of the tokens, or of the subject if there are
    /// none.
    Partition(u32),
    /// A number below this one.
    Random(u32),
    /// The token, with dots in place of a separator.
    Split(Box<[u8]>),
    /// Pieces of the token, with dots between them, by so many bytes; the whole token if it is not
    /// longer, or if that is 0.
    Cut(Cut, usize),
}

/// Pieces of a token, by `n` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The first `n` bytes, and the rest.
    SplitFromLeft,
    /// The last `n` bytes behind the rest.
    SplitFromRight,
    /// Pieces of `n` bytes, the last one perhaps shorter.
    SliceFromLeft,
    /// Pieces of `n` bytes, the first one perhaps shorter.
    SliceFromRight,
    /// The first `n` bytes.
    Left,
    /// The last `n` bytes.
    Right,
}

/// The name of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Wildcard,
    Partition,
    Random,
    Split,
    Cut(Cut),
}

/// The names as written. The first letter of each word may be a small one.
const NAMES: [(&str, Name); 10] = [
    ("Wildcard", Name::Wildcard),
    ("Partition", Name::Partition),
    ("Random", Name::Random),
    ("Split", Name::Split),
    ("SplitFromLeft", Name::Cut(Cut::SplitFromLeft)),
    ("SplitFromRight", Name::Cut(Cut::SplitFromRight)),
    ("SliceFromLeft", Name::Cut(Cut::SliceFromLeft)),
    ("SliceFromRight", Name::Cut(Cut::SliceFromRight)),
    ("Left", Name::Cut(Cut::Left)),
    ("Right", Name::Cut(Cut::Right)),
];

/// True for a token between double braces.
pub(super) fn is_function(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

/// The name of a function, and its arguments, from a token between double braces.
pub(super) fn named<'a>(token: &'a str) -> Option<(Name, Vec<&'a str>)> {
    let call = token.strip_prefix("{{")?.strip_suffix("}}")?.trim_matches(is_blank);
    let (written, arguments) = call.strip_suffix(')')?.split_once('(')?;
    let written = written.trim_end_matches(is_blank);
    let is_it = |name: &str| {
        let is_like =
            |(name, written): (char, char)| written == name || name.to_ascii_lowercase() == written;
        name.len() == written.len() && name.chars().zip(written.chars()).all(is_like)
    };
    let (_, name) = NAMES.iter().find(|(name, _)| is_it(name))?;
    let argument = |(at, text): (usize, &'a str)| match at {
        0 => text,
        _ => text.trim_start_matches(is_blank),
    };
    Some((*name, arguments.split(',').enumerate().map(argument).collect()))
}

impl Function {
    /// The function that a token stands for, and the numbers of the wildcards that it uses, from 1.
    pub(super) fn parse(token: &str) -> Result<(Function, Vec<i64>), TransformError> {
        if token == ">" {
            return Ok((Function::Rest, Vec::new()));
        }
        if let Some(Ok(number)) = token.strip_prefix('$').map(str::parse) {
            return Ok((Function::Wildcard, vec![number]));
        }
        if !is_function(token) {
            return Ok((Function::Text(token.as_bytes().into()), Vec::new()));
        }
        let (name, arguments) = named(token).ok_or_else(|| Fault::UnknownFunction.at(token))?;
        Function::called(name, &arguments).map_err(|fault| fault.at(token))
    }

    fn called(name: Name, arguments: &[&str]) -> Result<(Function, Vec<i64>), Fault> {
        let [first, others @ ..] = arguments else { return Err(Fault::NotEnoughArguments) };
        match name {
            Name::Wildcard if *arguments == [""] => Err(Fault::NotEnoughArguments),
            Name::Wildcard if !others.is_empty() => Err(Fault::TooManyArguments),
            Name::Wildcard => Ok((Function::Wildcard, vec![number(first)?])),
            Name::Partition => {
                let modulus = modulus(first)?;
                let numbers =
                    others.iter().map(|argument| number(argument)).collect::<Result<_, _>>();
                Ok((Function::Partition(modulus), numbers?))
            }
            Name::Random if !others.is_empty() => Err(Fault::NotEnoughArguments),
            Name::Random => Ok((Function::Random(modulus(first)?), Vec::new())),
            Name::Split => {
                let [separator] = exactly_one(others)?;
                let number = number(first)?;
                // An argument with a dot would be two tokens.
                match separator.is_empty() || separator.contains(' ') {
                    true => Err(Fault::InvalidArgument),
                    false => Ok((Function::Split(separator.as_bytes().into()), vec![number])),
                }
            }
            Name::Cut(cut) => {
                let [len] = exactly_one(others)?;
                let number = number(first)?;
                let len = i32::try_from(self::number(len)?).map_err(|_| Fault::InvalidArgument)?;
                Ok((Function::Cut(cut, usize::try_from(len).unwrap_or(0)), vec![number]))
            }
        }
    }

    /// Appends its value for a subject, and for the tokens of it with these numbers.
    pub(super) fn apply(
        &self,
        subject: &[u8],
        used: &[usize],
        random: &mut Rng,
        out: &mut Vec<u8>,
    ) {
        let token = |at: usize| tokens(subject).nth(at).unwrap_or_default();
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Rest => out.extend_from_slice(rest(subject, used[0])),
            Self::Wildcard => out.extend_from_slice(token(used[0])),
            Self::Partition(count) => {
                let hash = match used {
                    [] => fnv1a(FNV_BASIS, subject),
                    _ => used.iter().fold(FNV_BASIS, |hash, &at| fnv1a(hash, token(at))),
                };
                put_number(hash.checked_rem(*count).unwrap_or(0), out);
            }
            Self::Random(count) => {
                put_number(if *count == 0 { 0 } else { random.u32(..*count) }, out);
            }
            Self::Split(separator) => split(token(used[0]), separator, out),
            Self::Cut(cut, len) => cut.apply(token(used[0]), *len, out),
        }
    }
}

impl Cut {
    fn apply(self, token: &[u8], len: usize, out: &mut Vec<u8>) {
        if len == 0 || len >= token.len() {
            return out.extend_from_slice(token);
        }
        let rest_len = token.len() - len;
        match self {
            Self::Left => out.extend_from_slice(&token[..len]),
            Self::Right => out.extend_from_slice(&token[rest_len..]),
            Self::SplitFromLeft => put_pieces([&token[..len], &token[len..]], out),
            Self::SplitFromRight => put_pieces([&token[..rest_len], &token[rest_len..]], out),
            Self::SliceFromLeft => put_pieces(token.chunks(len), out),
            Self::SliceFromRight => put_pieces(token.rchunks(len).rev(), out),
        }
    }
}

fn put_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
    }
}

/// Appends the parts between the separators, without empty ones. As in nats-server, only one
/// separator may stand in front: the dot for a second one makes an empty token.
fn split(token: &[u8], separator: &[u8], out: &mut Vec<u8>) {
    let mut rest = token;
    let mut begins_empty = false;
    for at in 0.. {
        let end = memchr::memmem::find(rest, separator);
        let part = &rest[..end.unwrap_or(rest.len())];
        begins_empty |= at == 0 && part.is_empty();
        if !part.is_empty() {
            if at > usize::from(begins_empty) {
                out.push(b'.');
            }
            out.extend_from_slice(part);
        }
        let Some(end) = end else { return };
        rest = &rest[end + separator.len()..];
    }
}

/// The subject from a token on.
fn rest(subject: &[u8], at: usize) -> &[u8] {
    let dot = at.checked_sub(1).and_then(|dots| memchr::memchr_iter(b'.', subject).nth(dots));
    &subject[dot.map_or(0, |dot| dot + 1)..]
}

fn put_number(number: u32, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("memory takes it");
}

fn exactly_one<'a>(arguments: &[&'a str]) -> Result<[&'a str; 1], Fault> {
    match *arguments {
        [] => Err(Fault::NotEnoughArguments),
        [one] => Ok([one]),
        _ => Err(Fault::TooManyArguments),
    }
}

fn number(argument: &str) -> Result<i64, Fault> {
    argument.trim_matches(' ').parse().map_err(|_| Fault::InvalidArgument)
}

/// The number of values that a function may have, up to 2^31 - 1.
fn modulus(argument: &str) -> Result<u32, Fault> {
    i32::try_from(number(argument)?)
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .ok_or(Fault::InvalidArgument)
}

/// White space as regular expressions of Go have it.
fn is_blank(char: char) -> bool {
    char.is_ascii_whitespace()
}
