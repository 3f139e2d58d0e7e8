//! The tree of a configuration file: values, each with the place it came from.
//!
//! Knows types and positions; `apply` knows the meaning of settings. The typed readers of [`Field`]
//! turn a wrong type into a [`Problem`] that names the setting.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{Position, Problem, Severity};
use crate::base::duration;

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'t> {
    Text(Cow<'t, str>),
    Integer(i64),
    Float(f64),
    Bool(bool),
    DateTime(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    Map(Map<'t>),
}

/// A value and its position: that of its key, or its own in an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node<'t> {
    pub(super) value: Value<'t>,
    pub(super) position: Position,
    /// True if some `$NAME` referred to it, so that it need not be a setting.
    pub(super) used_as_variable: bool,
}

/// Keys, as written, and their values, in the order of the keys. A file of many users is a tree of
/// small maps, so each takes no more than its entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map<'t>(Box<[(Key<'t>, Node<'t>)]>);

/// A key, as written.
pub(super) type Key<'t> = Cow<'t, str>;

/// The entries of a map of which more may come. A key that comes twice keeps the last value.
#[derive(Default)]
pub(super) struct Entries<'t> {
    /// In the order of the file.
    all: Vec<(Key<'t>, Node<'t>)>,
    /// The positions of keys among the first so many entries: variables ask for them.
    places: HashMap<Key<'t>, usize, RandomState>,
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

    /// The same apart from the text that it was read from.
    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(text.into_owned().into()),
            Self::Integer(value) => Value::Integer(value),
            Self::Float(value) => Value::Float(value),
            Self::Bool(value) => Value::Bool(value),
            Self::DateTime(text) => Value::DateTime(text.into_owned().into()),
            Self::Array(nodes) => Value::Array(nodes.into_iter().map(Node::into_owned).collect()),
            Self::Map(map) => Value::Map(Map(map
                .into_entries()
                .map(|(key, node)| (key.into_owned().into(), node.into_owned()))
                .collect())),
        }
    }
}

impl Node<'_> {
    fn into_owned(self) -> Node<'static> {
        Node {
            value: self.value.into_owned(),
            position: self.position,
            used_as_variable: self.used_as_variable,
        }
    }

    /// An error at this place.
    pub(super) fn error(&self, text: impl Into<String>) -> Problem {
        self.problem(Severity::Error, text)
    }

    /// A problem at this place.
    pub(super) fn problem(&self, severity: Severity, text: impl Into<String>) -> Problem {
        Problem { severity, position: Some(self.position.clone()), text: text.into() }
    }

    /// Nodes in this tree, itself included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Array(nodes) => nodes.iter().map(Self::count).sum::<usize>(),
            Value::Map(map) => map.entries().map(|(_, node)| node.count()).sum(),
            _ => 0,
        }
    }
}

impl<'t> Map<'t> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in the order of their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(Key<'t>, Node<'t>)> {
        self.0.iter()
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (Key<'t>, Node<'t>)> {
        self.0.into_iter()
    }

    /// The settings in the order of the file, so that of two spellings the later one wins.
    pub(super) fn fields(&self) -> SmallVec<[Field<'_>; 4]> {
        let fields = self.entries().map(|(name, node)| Field { name, node });
        let mut fields: SmallVec<[_; 4]> = fields.collect();
        fields.sort_by_key(|field| (field.node.position.line, field.node.position.column));
        fields
    }
}

impl<'t> Entries<'t> {
    pub(super) fn push(&mut self, key: Key<'t>, node: Node<'t>) {
        self.all.push((key, node));
    }

    pub(super) fn extend(&mut self, entries: impl Iterator<Item = (Key<'t>, Node<'t>)>) {
        self.all.extend(entries);
    }

    /// The value of a key so far.
    pub(super) fn find(&mut self, key: &str) -> Option<&mut Node<'t>> {
        for (at, (key, _)) in self.all.iter().enumerate().skip(self.placed_count) {
            self.places.insert(key.clone(), at);
        }
        self.placed_count = self.all.len();
        self.places.get(key).map(|&at| &mut self.all[at].1)
    }
}

impl<'t> From<Entries<'t>> for Map<'t> {
    fn from(entries: Entries<'t>) -> Map<'t> {
        let mut all = entries.all;
        // Of equal keys the last one comes first, and stays.
        all.reverse();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        Map(all.into())
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
        match &self.node.value {
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

    pub(super) fn map(&self) -> Result<&'a Map<'a>, Problem> {
        match &self.node.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.mismatch("a map")),
        }
    }

    pub(super) fn array(&self) -> Result<&'a [Node<'a>], Problem> {
        match &self.node.value {
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
