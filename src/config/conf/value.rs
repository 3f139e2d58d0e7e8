//! The tree of a configuration file: values, each with the place it came from.
//!
//! Knows types and positions; `apply` knows the meaning of settings. The typed readers of [`Field`]
//! turn a wrong type into a [`Problem`] that names the setting. All parts of a tree stand in one
//! [`Bump`], which drops none of them: it gives back the memory of all.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bumpalo::Bump;
use foldhash::fast::RandomState;
use memchr::{memchr_iter, memrchr};

use super::{Position, Problem, Severity};
use crate::base::duration;

/// A value of the file.
#[derive(Clone, Copy)]
pub(super) enum Value<'t> {
    Text(&'t str),
    Integer(i64),
    Float(f64),
    Bool(bool),
    DateTime(&'t str),
    Array(&'t [Node<'t>]),
    Map(Map<'t>),
}

/// A value, its key in a map, and the place of the key; in an array, its own place. A file of many
/// users has a million of them.
#[derive(Clone, Copy)]
pub(super) struct Node<'t> {
    pub(super) value: Value<'t>,
    text: &'t Text<'t>,
    /// Offset of its place.
    at: u32,
    /// Length of the key there, and [`USED`].
    key_len: u32,
}

/// A bit of [`Node::key_len`]: some `$NAME` referred to it, so that it need not be a setting.
const USED: u32 = 1 << 31;

/// Longest text: offsets and lengths fit into 31 bits.
pub(super) const TEXT_LEN_MAX: usize = USED as usize - 1;

/// A text: that of a file or a variable.
pub(super) struct Text<'t> {
    pub(super) name: &'t str,
    pub(super) text: &'t str,
    /// The line that was asked for last: the next one is often near.
    last: Cell<Line>,
}

/// The line of a place.
#[derive(Clone, Copy)]
struct Line {
    /// Offset of the place.
    at: usize,
    /// From 1.
    number: usize,
    /// Offset of its first character.
    start: usize,
}

/// A place in a text.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    text: &'t Text<'t>,
    at: usize,
}

/// Keys, as written, and their values, in the order of the file.
#[derive(Clone, Copy)]
pub(super) struct Map<'t>(&'t [Node<'t>]);

/// The entries of a map of which more may come, in the order of the file. A key that comes twice
/// keeps the last value.
#[derive(Default)]
pub(super) struct Entries<'t> {
    all: Vec<Node<'t>>,
    /// The positions of keys among the first so many entries: variables ask for them.
    places: HashMap<&'t str, usize, RandomState>,
    placed_count: usize,
}

/// So many keys are compared with each other, which takes no table.
const FEW: usize = 8;

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

impl<'t> Text<'t> {
    pub(super) fn new(name: &'t str, text: &'t str) -> Text<'t> {
        Text { name, text, last: Cell::new(Line { at: 0, number: 1, start: 0 }) }
    }

    /// The line of the character at that offset.
    fn line(&self, at: usize) -> Line {
        let (bytes, last) = (self.text.as_bytes(), self.last.get());
        let ends = |from, to| memchr_iter(b'\n', &bytes[from..to]).count();
        let (number, before) = match at < last.at {
            true => (last.number - ends(at, last.at), 0),
            false => (last.number + ends(last.at, at), last.start),
        };
        let end = memrchr(b'\n', &bytes[before..at]);
        let line = Line { at, number, start: end.map_or(before, |end| before + end + 1) };
        self.last.set(line);
        line
    }
}

impl<'t> Place<'t> {
    pub(super) fn new(text: &'t Text<'t>, at: usize) -> Place<'t> {
        Place { text, at }
    }
}

impl From<Place<'_>> for Position {
    fn from(Place { text, at }: Place<'_>) -> Position {
        let Line { number, start, .. } = text.line(at);
        let column = at - start + usize::from(number > 1);
        Position { file: text.name.into(), line: number as u32, column: column as u32 }
    }
}

impl<'t> Node<'t> {
    /// A value of a map, behind its key at this place.
    pub(super) fn entry(key: &str, place: Place<'t>, value: Value<'t>) -> Node<'t> {
        let node = Node { key_len: key.len() as u32, ..Node::element(place, value) };
        debug_assert_eq!(node.key(), key, "it stands at its place");
        node
    }

    /// A value of an array.
    pub(super) fn element(Place { text, at }: Place<'t>, value: Value<'t>) -> Node<'t> {
        Node { value, text, at: at as u32, key_len: 0 }
    }

    /// Its key, as written; empty in an array.
    pub(super) fn key(&self) -> &'t str {
        let (at, len) = (self.at as usize, (self.key_len & !USED) as usize);
        &self.text.text[at..at + len]
    }

    pub(super) fn is_used_as_variable(&self) -> bool {
        self.key_len & USED != 0
    }

    pub(super) fn set_used_as_variable(&mut self) {
        self.key_len |= USED;
    }

    /// The place of this value.
    pub(super) fn position(&self) -> Position {
        Place::new(self.text, self.at as usize).into()
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
            Value::Map(map) => map.0.iter().map(Self::count).sum(),
            _ => 0,
        }
    }
}

impl<'t> Map<'t> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn nodes(&self) -> &'t [Node<'t>] {
        self.0
    }

    /// The settings: of two spellings the later one wins.
    pub(super) fn fields(self) -> impl Iterator<Item = Field<'t>> {
        self.0.iter().map(|node| Field { name: node.key(), node })
    }
}

impl<'t> Entries<'t> {
    pub(super) fn push(&mut self, node: Node<'t>) {
        self.all.push(node);
    }

    pub(super) fn extend(&mut self, map: Map<'t>) {
        self.all.extend_from_slice(map.0);
    }

    /// The value of a key so far.
    pub(super) fn find(&mut self, key: &str) -> Option<&mut Node<'t>> {
        for (at, node) in self.all.iter().enumerate().skip(self.placed_count) {
            self.places.insert(node.key(), at);
        }
        self.placed_count = self.all.len();
        self.places.get(key).map(|&at| &mut self.all[at])
    }

    /// Takes all of them out, as a map in `memory`.
    pub(super) fn close(&mut self, memory: &'t Bump) -> Map<'t> {
        self.drop_replaced();
        let map = Map(memory.alloc_slice_copy(&self.all));
        self.all.clear();
        self.places.clear();
        self.placed_count = 0;
        map
    }

    /// Of equal keys only the last one stays.
    fn drop_replaced(&mut self) {
        if self.all.len() > FEW {
            let mut keys: HashSet<_, RandomState> = HashSet::default();
            self.all.reverse();
            self.all.retain(|node| keys.insert(node.key()));
            self.all.reverse();
            return;
        }
        for at in (0..self.all.len()).rev() {
            let (key, later) = (self.all[at].key(), &self.all[at + 1..]);
            if later.iter().any(|later| later.key() == key) {
                self.all.remove(at);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_from_zero_on_the_first_line_only() {
        let text = Text::new("f", "debug: 1\n\n trace: 1\n\u{e9}: [ a ]");
        let wanted = [(0, (1, 0)), (8, (1, 8)), (9, (2, 1)), (11, (3, 2)), (25, (4, 6))];
        let orders: [&[usize]; 3] = [&[0, 1, 2, 3, 4], &[4, 3, 2, 1, 0], &[2, 2, 4, 0, 3, 1]];
        for at in orders.concat() {
            let (at, line_and_column) = wanted[at];
            let position = Position::from(Place::new(&text, at));
            assert_eq!((position.line, position.column), line_and_column, "{at}");
        }
    }

    #[test]
    fn a_key_that_comes_twice_keeps_the_last_value() {
        for others in [0, FEW] {
            let memory = Bump::new();
            let text = Text::new("f", "abaxyzuvwcde");
            let mut entries = Entries::default();
            for (at, key) in text.text.split_inclusive(|_| true).enumerate().take(3 + others) {
                entries.push(Node::entry(key, Place::new(&text, at), Value::Integer(at as i64)));
            }
            let map = entries.close(&memory);
            let keys: String = map.fields().map(|field| field.name).collect();
            assert_eq!(keys, text.text[1..3 + others]);
            assert!(matches!(map.nodes()[1].value, Value::Integer(2)));
        }
    }
}
