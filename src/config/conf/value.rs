//! The tree of a configuration file: values, each with the place it came from.
//!
//! Knows types and positions; `apply` knows the meaning of settings. The typed readers of [`Field`]
//! turn a wrong type into a [`Problem`] that names the setting.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Position, Problem, Severity};
use crate::base::duration;

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    DateTime(String),
    Array(Vec<Node>),
    Map(Map),
}

/// A value and its position: that of its key, or its own in an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) position: Position,
    /// True if some `$NAME` referred to it, so that it need not be a setting.
    pub(super) used_as_variable: bool,
}

/// Keys, as written, and their values, in the order of the keys. A file of many users is a tree of
/// small maps, so each takes no more than its entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map(Box<[(String, Node)]>);

/// The entries of a map of which more may come. A key that comes twice keeps the last value.
pub(super) type Entries = BTreeMap<String, Node>;

/// A setting: a key and its value.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    /// The key as written.
    pub(super) name: &'a str,
    pub(super) node: &'a Node,
}

impl Value {
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

impl Node {
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

impl Map {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in the order of their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(String, Node)> {
        self.0.iter()
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (String, Node)> {
        self.0.into_iter()
    }

    /// The settings in the order of the file, so that of two spellings the later one wins.
    pub(super) fn fields(&self) -> Vec<Field<'_>> {
        let mut fields: Vec<_> = self.entries().map(|(name, node)| Field { name, node }).collect();
        fields.sort_by_key(|field| (field.node.position.line, field.node.position.column));
        fields
    }
}

impl From<Entries> for Map {
    fn from(entries: Entries) -> Map {
        Map(entries.into_iter().collect())
    }
}

impl<'a> Field<'a> {
    /// The key in lower case, to compare settings.
    pub(super) fn key(&self) -> String {
        self.name.to_ascii_lowercase()
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

    pub(super) fn map(&self) -> Result<&'a Map, Problem> {
        match &self.node.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.mismatch("a map")),
        }
    }

    pub(super) fn array(&self) -> Result<&'a [Node], Problem> {
        match &self.node.value {
            Value::Array(nodes) => Ok(nodes),
            _ => Err(self.mismatch("an array")),
        }
    }

    /// One string, or an array of strings.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        let Value::Array(nodes) = &self.node.value else {
            return match &self.node.value {
                Value::Text(text) => Ok(vec![text.clone()]),
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
