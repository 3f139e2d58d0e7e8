//! `TransformError`: a source and a destination that make no transform.
//!
//! nats: server/errors.go `mappingDestinationErr`

use std::fmt;

/// A source and a destination that make no transform.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformError {
    /// The source or the destination is no subject, or only one of them ends in `>`.
    InvalidSubject,
    /// A fault of the destination.
    Destination {
        /// The fault.
        fault: Fault,
        /// The token that has it, or the destination; may be empty.
        at: String,
    },
}

/// A fault of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An empty token, blanks in a token, or a token behind `>`.
    InvalidTransform,
    /// There is no such function.
    UnknownFunction,
    /// A function has too few arguments.
    NotEnoughArguments,
    /// A function has too many arguments.
    TooManyArguments,
    /// An argument is no number, or one out of its range.
    InvalidArgument,
    /// The source has no such wildcard.
    WildcardOutOfRange,
    /// An import has to keep all wildcards.
    NotUsingAllWildcards,
    /// An import has to keep each wildcard in one place.
    UsingWildcardTwice,
    /// An import may only move wildcards.
    FunctionInImport,
}

impl Fault {
    pub(super) fn at(self, at: &str) -> TransformError {
        TransformError::Destination { fault: self, at: at.to_owned() }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidTransform => "invalid transform",
            Self::UnknownFunction => "unknown function",
            Self::NotEnoughArguments => "not enough arguments passed to the function",
            Self::TooManyArguments => "too many arguments passed to the function",
            Self::InvalidArgument => "function argument is invalid or in the wrong format",
            Self::WildcardOutOfRange => "wildcard index out of range",
            Self::NotUsingAllWildcards => "not using all of the token wildcard(s)",
            Self::UsingWildcardTwice => "using a token wildcard twice",
            Self::FunctionInImport => {
                "the only mapping function allowed for import transforms is {{Wildcard()}}"
            }
        }
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSubject => f.write_str("invalid subject"),
            Self::Destination { fault, at } => {
                write!(f, "invalid mapping destination: {}", fault.as_str())?;
                if at.is_empty() { Ok(()) } else { write!(f, " in {at}") }
            }
        }
    }
}

impl std::error::Error for TransformError {}
