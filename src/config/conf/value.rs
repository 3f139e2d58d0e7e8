//! The tree of a configuration file: values, each with the place it came from.
//!
//! Knows types and positions; `apply` knows the meaning of settings. The typed readers of [`Field`]
//! turn a wrong type into a [`Problem`] that names the setting. All parts of a tree stand in one
//! [`Bump`], which drops none of them: it gives back the memory of all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bumpalo::Bump;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{Position, Problem, Severity};
use crate::base::duration;

/// A value of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'t> {
    Text(&'t str),
    Integer(i64),
    Float(f64),
    Bool(bool),
    DateTime(&'t str),
    Array(&'t [Node<'t>]),
    Map(Map<'t>),
}

/// A value and its place: that of its key, or its own in an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Node<'t> {
    pub(super) value: Value<'t>,
    pub(super) place: Place<'t>,
    /// True if some `$NAME` referred to it, so that it need not be a setting.
    pub(super) used_as_variable: bool,
}

/// A place in a text. A file of many users has a million of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place<'t> {
    /// The name of the file.
    pub(super) file: &'t &'t str,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Keys, as written, and their values, in the order of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Map<'t>(&'t [Entry<'t>]);

type Entry<'t> = (&'t str, Node<'t>);

/// The entries of a map of which more may come. A key that comes twice keeps the last value.
#[derive(Default)]
pub(super) struct Entries<'t> {
    /// In the order of the file.
    all: Vec<Entry<'t>>,
    /// The positions of keys among the first so many entries: variables ask for them.
    places: HashMap<&'t str, usize, RandomState>,
    placed_count: usize,
}

/// A setting: a key and its value.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    /// The key as written.
    pub(super) name: &'a str,
    pub(super) node: &'a Node<'a>,
}

impl Value<'_> {
    /// The type in words for error texts.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::DateTime(_) => "date",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
        }
    }
}

impl From<Place<'_>> for Position {
    fn from(Place { file, line, column }: Place<'_>) -> Position {
        Position { file: (*file).into(), line, column }
    }
}

impl Node<'_> {
    /// The place of this value.
    pub(super) fn position(&self) -> Position {
        self.place.into()
    }

    /// An error at this place.
    pub(super) fn error(&self, text: impl Into<String>) -> Problem {
        self.problem(Severity::Error, text)
    }

    /// A problem at this place.
    pub(super) fn problem(&self, severity: Severity, text: impl Into<String>) -> Problem {
        Problem { severity, position: Some(self.position()), text: text.into() }
    }

    /// Nodes in this tree, itself included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Array(nodes) => nodes.iter().map(Self::count).sum::<usize>(),
            Value::Map(map) => map.0.iter().map(|(_, node)| node.count()).sum(),
            _ => 0,
        }
    }
}

impl<'t> Map<'t> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in the order of their keys.
    pub(super) fn entries(&self) -> &'t [Entry<'t>] {
        self.0
    }

    /// The settings in the order of the file, so that of two spellings the later one wins.
    pub(super) fn fields(&self) -> SmallVec<[Field<'t>; 4]> {
        let fields = self.0.iter().map(|(name, node)| Field { name, node });
        let mut fields: SmallVec<[_; 4]> = fields.collect();
        fields.sort_by_key(|field| (field.node.place.line, field.node.place.column));
        fields
    }
}

impl<'t> Entries<'t> {
    pub(super) fn push(&mut self, key: &'t str, node: Node<'t>) {
        self.all.push((key, node));
    }

    pub(super) fn extend(&mut self, map: Map<'t>) {
        self.all.extend_from_slice(map.0);
    }

    /// The value of a key so far.
    pub(super) fn find(&mut self, key: &str) -> Option<&mut Node<'t>> {
        for (at, (key, _)) in self.all.iter().enumerate().skip(self.placed_count) {
            self.places.insert(key, at);
        }
        self.placed_count = self.all.len();
        self.places.get(key).map(|&at| &mut self.all[at].1)
    }

    /// Takes all of them out, as a map in `memory`.
    pub(super) fn close(&mut self, memory: &'t Bump) -> Map<'t> {
        // Of equal keys the last one comes first, and stays.
        self.all.reverse();
        self.all.sort_by_key(|(key, _)| *key);
        self.all.dedup_by_key(|(key, _)| *key);
        let map = Map(memory.alloc_slice_copy(&self.all));
        self.all.clear();
        self.places.clear();
        self.placed_count = 0;
        map
    }
}

impl<'a> Field<'a> {
    /// The key in lower case, to compare settings.
    pub(super) fn key(&self) -> Cow<'a, str> {
        match self.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.name.to_ascii_lowercase().into(),
            false => self.name.into(),
        }
    }

    /// An error at this setting.
    pub(super) fn error(&self, text: impl Into<String>) -> Problem {
        self.node.error(text)
    }

    /// An error that names the expected type.
    pub(super) fn mismatch(&self, wanted: &str) -> Problem {
        self.error(format!("{}: expected {wanted}, got {}", self.name, self.node.value.kind()))
    }

    pub(super) fn text(&self) -> Result<&'a str, Problem> {
        match self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.mismatch("a string")),
        }
    }

    /// A string, or none if it is empty.
    pub(super) fn some_text(&self) -> Result<Option<String>, Problem> {
        let text = self.text()?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    pub(super) fn bool(&self) -> Result<bool, Problem> {
        match self.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.mismatch("a bool (true or false, without quotes)")),
        }
    }

    pub(super) fn integer(&self) -> Result<i64, Problem> {
        match self.node.value {
            Value::Integer(value) => Ok(value),
            _ => Err(self.mismatch("an integer")),
        }
    }

    /// A number of bytes or things, not negative.
    pub(super) fn count(&self) -> Result<usize, Problem> {
        let value = self.integer()?;
        usize::try_from(value)
            .map_err(|_| self.error(format!("{} can not be negative: {value}", self.name)))
    }

    /// A count for which 0 means the default.
    pub(super) fn count_or(&self, default: usize) -> Result<usize, Problem> {
        Ok(match self.count()? {
            0 => default,
            count => count,
        })
    }

    /// A count for which every negative number means 0.
    pub(super) fn count_or_none(&self) -> Result<usize, Problem> {
        Ok(usize::try_from(self.integer()?).unwrap_or(0))
    }

    pub(super) fn map(&self) -> Result<Map<'a>, Problem> {
        match self.node.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.mismatch("a map")),
        }
    }

    pub(super) fn array(&self) -> Result<&'a [Node<'a>], Problem> {
        match self.node.value {
            Value::Array(nodes) => Ok(nodes),
            _ => Err(self.mismatch("an array")),
        }
    }

    /// One string, or an array of strings.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        let Value::Array(nodes) = &self.node.value else {
            return match &self.node.value {
                Value::Text(text) => Ok(vec![text.to_string()]),
                _ => Err(self.mismatch("a string or an array of strings")),
            };
        };
        nodes.iter().map(|node| Ok(Field { node, ..*self }.text()?.to_owned())).collect()
    }

    /// A duration string with its sign, in nanoseconds.
    fn duration_ns(&self) -> Result<i64, Problem> {
        duration::parse_ns(self.text()?)
            .map_err(|error| self.error(format!("error parsing {}: {error}", self.name)))
    }

    /// A duration string, not negative; 0 means the default.
    pub(super) fn duration_or(&self, default: Duration) -> Result<Duration, Problem> {
        match u64::try_from(self.duration_ns()?) {
            Ok(0) => Ok(default),
            Ok(ns) => Ok(Duration::from_nanos(ns)),
            Err(_) => Err(self.error(format!("invalid {}, needs to be positive", self.name))),
        }
    }
}
