//! Subject transforms: from a published subject to another one, in the language of mappings and
//! imports.
//!
//! A transform has a source, a pattern, and a destination, whose tokens are text, wildcards of the
//! source (`$1`, `{{wildcard(1)}}`), other functions of them (`{{split(1,-)}}`), or a final `>` for
//! the rest of the subject. A function is a whole token; all else is text, `a$1` and `{{}}` too. A
//! [`Transform`] may use all functions; an [`ImportTransform`] only moves tokens, so it has an
//! inverse. Lengths count bytes: a function may cut a character in two.
//! nats: server/subject_transform.go
//!
//! nats-differs: there, the wildcard 0 or a negative one is the first token, a negative modulus
//! counts from 2^32 down, and a token may hold two functions, of which one has an effect: they are
//! errors here. Also there, `partition` of a whole subject hashes nothing where the source has no
//! wildcard, and the inverse of three wildcards in another order may not be the inverse.

mod error;
mod function;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write;

use fastrand::Rng;
use smallvec::SmallVec;

use crate::base::subject::{
    is_open_ended, is_valid_pattern, is_valid_subscription, matches, tokens,
};

use function::Function;

pub use error::{Fault, TransformError};

/// The transform of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Box<[u8]>,
    /// The tokens of the destination.
    parts: Box<[Part]>,
}

/// The transform of an import: it moves tokens, and loses none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportTransform(Transform);

/// A token of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    function: Function,
    /// The tokens of the subject that it uses, from 0.
    tokens: Box<[usize]>,
}

impl Transform {
    /// The transform from subjects that match `source`.
    ///
    /// # Errors
    /// One of the two is not valid, or they do not fit together.
    /// nats: server/sublist.go `ValidateMapping`
    pub fn new(source: &str, destination: &str) -> Result<Transform, TransformError> {
        check_destination(destination)?;
        Transform::compile(source, destination, |_| true)
    }

    /// nats: server/subject_transform.go `NewSubjectTransformWithStrict`
    fn compile(
        source: &str,
        destination: &str,
        is_allowed: impl Fn(&Function) -> bool,
    ) -> Result<Transform, TransformError> {
        let open_ended = is_open_ended(source.as_bytes());
        if !is_valid_pattern(source.as_bytes())
            || !is_valid_subscription(destination.as_bytes())
            || destination.split('.').any(|token| token == "*")
            || open_ended != is_open_ended(destination.as_bytes())
        {
            return Err(TransformError::InvalidSubject);
        }
        let is_wildcard = |(_, token): &(usize, &str)| *token == "*";
        let wildcards: Vec<usize> =
            source.split('.').enumerate().filter(is_wildcard).map(|(at, _)| at).collect();
        let rest_at = source.split('.').count() - 1;
        let is_literal = wildcards.is_empty() && !open_ended;
        let part = |token: &str| {
            let (function, mut numbers) = Function::parse(token)?;
            if !is_allowed(&function) {
                return Err(Fault::FunctionInImport.at(token));
            }
            match &function {
                Function::Text(text) if text.iter().any(u8::is_ascii_whitespace) => {
                    return Err(TransformError::InvalidSubject);
                }
                Function::Rest => return Ok(Part { function, tokens: [rest_at].into() }),
                Function::Partition(_) if is_literal => numbers.clear(),
                _ if is_literal && !numbers.is_empty() => {
                    return Err(Fault::WildcardOutOfRange.at(token));
                }
                _ => {}
            }
            let token_of = |&number: &i64| {
                let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                at.and_then(|at| wildcards.get(at))
                    .copied()
                    .ok_or_else(|| Fault::WildcardOutOfRange.at(&format!("{token}: [{number}]")))
            };
            let tokens = numbers.iter().map(token_of).collect::<Result<_, _>>()?;
            Ok(Part { function, tokens })
        };
        let parts = destination.split('.').map(part).collect::<Result<_, _>>()?;
        Ok(Transform { source: source.as_bytes().into(), parts })
    }

    /// True if a subject may become several others.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.function, Function::Random(_)))
    }

    /// Appends the transformed subject in place of one that matches the source. It has an empty
    /// token, and so matches nothing, where `split` found only separators.
    pub fn apply(&self, subject: &[u8], random: &mut Rng, out: &mut Vec<u8>) {
        debug_assert!(matches(&self.source, subject), "it is of another source");
        for (at, part) in self.parts.iter().enumerate() {
            if at > 0 {
                out.push(b'.');
            }
            part.function.apply(subject, &part.tokens, random, out);
        }
    }
}

impl ImportTransform {
    /// The transform from subjects that match `source`. Each `*` of the destination counts as the
    /// next wildcard: `a.*.*` is `a.$1.$2`.
    ///
    /// # Errors
    /// One of the two is not valid, they do not fit together, or the transform has no inverse.
    pub fn new(source: &str, destination: &str) -> Result<ImportTransform, TransformError> {
        let destination = with_placeholders(destination);
        let is_allowed = |function: &Function| {
            matches!(function, Function::Text(_) | Function::Wildcard | Function::Rest)
        };
        let transform = Transform::compile(source, &destination, is_allowed)?;
        let is_moved = |part: &&Part| part.function == Function::Wildcard;
        let moved = || transform.parts.iter().filter(is_moved).map(|part| part.tokens[0]);
        let distinct_count = moved().collect::<BTreeSet<usize>>().len();
        if distinct_count < source.split('.').filter(|token| *token == "*").count() {
            return Err(Fault::NotUsingAllWildcards.at(&destination));
        }
        if distinct_count < moved().count() {
            return Err(Fault::UsingWildcardTwice.at(&destination));
        }
        Ok(ImportTransform(transform))
    }

    /// The pattern of the subjects that it transforms.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.0.source
    }

    /// The pattern of the subjects that it makes.
    #[must_use]
    pub fn destination(&self) -> Box<[u8]> {
        let tokens = self.0.parts.iter().map(|part| match &part.function {
            Function::Text(text) => &**text,
            Function::Rest => &b">"[..],
            _ => &b"*"[..],
        });
        tokens.collect::<SmallVec<[&[u8]; 8]>>().join(&b'.').into()
    }

    /// The inverse: from the subjects that this one makes, back.
    #[must_use]
    pub fn reversed(&self) -> ImportTransform {
        let Transform { source, parts } = &self.0;
        let moved_to = |from: usize| {
            let uses = |part: &Part| part.function == Function::Wildcard && *part.tokens == [from];
            parts.iter().position(uses).expect("each wildcard is used")
        };
        let part = |(at, token): (usize, &[u8])| match token {
            b"*" => Part { function: Function::Wildcard, tokens: [moved_to(at)].into() },
            b">" => Part { function: Function::Rest, tokens: [parts.len() - 1].into() },
            text => Part { function: Function::Text(text.into()), tokens: [].into() },
        };
        let parts = tokens(source).enumerate().map(part).collect();
        ImportTransform(Transform { source: self.destination(), parts })
    }

    /// Appends the transformed subject in place of one that matches the source. A pattern that the
    /// source covers may stand for a subject.
    pub fn apply(&self, subject: &[u8], out: &mut Vec<u8>) {
        // No function of it is random.
        self.0.apply(subject, &mut Rng::with_seed(0), out);
    }
}

/// A destination that moves no token: `foo.*.*` becomes `foo.$1.$2`.
///
/// nats: server/subject_transform.go `transformTokenize`
#[must_use]
pub fn with_placeholders(pattern: &str) -> String {
    let mut with = String::with_capacity(pattern.len() + 8);
    let mut number = 0;
    for (at, token) in pattern.split('.').enumerate() {
        if at > 0 {
            with.push('.');
        }
        if token == "*" {
            number += 1;
            let _ = write!(with, "${number}");
        } else {
            with.push_str(token);
        }
    }
    with
}

/// Checks what a file may say of a destination, whatever its source.
fn check_destination(destination: &str) -> Result<(), TransformError> {
    let mut is_over = false;
    for token in destination.split('.') {
        if token.is_empty() || is_over {
            return Err(Fault::InvalidTransform.at(token));
        }
        if function::is_function(token) {
            if function::named(token).is_none() {
                return Err(Fault::UnknownFunction.at(token));
            }
        } else if token.contains(|char: char| char.is_ascii_whitespace()) {
            return Err(Fault::InvalidTransform.at(""));
        }
        is_over = token == ">";
    }
    Ok(())
}
