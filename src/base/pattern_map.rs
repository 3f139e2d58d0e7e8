//! `PatternMap`: values by pattern, found by a subject that the pattern matches.
//!
//! Of several patterns the most specific one counts: the first token in which two patterns differ
//! decides, text before `*` before `>`. So a pattern that another one covers stands before it, and
//! a literal subject before all others. A search visits each node once at most, however many
//! branches match: a node is one beginning of patterns.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::base::subject::{has_empty_token, split_first, tokens};

/// Values by pattern.
#[derive(Clone, Debug)]
pub struct PatternMap<V> {
    /// The root first.
    nodes: Vec<Node<V>>,
}

/// The patterns with one beginning.
#[derive(Clone, Debug)]
struct Node<V> {
    literals: HashMap<Box<[u8]>, usize, RandomState>,
    /// The node behind `*`.
    any: Option<usize>,
    /// The value of the pattern that ends here.
    value: Option<V>,
    /// The value of the pattern that goes on with `>`.
    rest: Option<V>,
}

/// A branch that is still to be searched.
enum Branch<'s> {
    /// From that node on, for the rest of the subject.
    Node(usize, Option<&'s [u8]>),
    /// The `>` of that node.
    Rest(usize),
}

impl<V> PatternMap<V> {
    /// Puts a value in, in place of an earlier one for the same pattern, which is a valid subject
    /// of a subscription.
    pub fn insert(&mut self, pattern: &[u8], value: V) {
        let mut at = 0;
        for token in tokens(pattern) {
            if token == b">" {
                self.nodes[at].rest = Some(value);
                return;
            }
            let new = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match token {
                b"*" => *node.any.get_or_insert(new),
                _ => *node.literals.entry(token.into()).or_insert(new),
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].value = Some(value);
    }

    /// The value of the most specific pattern that matches `subject`, or covers it, if the subject
    /// is a pattern itself.
    #[must_use]
    pub fn find(&self, subject: &[u8]) -> Option<&V> {
        if has_empty_token(subject) {
            return None;
        }
        let mut branches = vec![Branch::Node(0, Some(subject))];
        while let Some(branch) = branches.pop() {
            let (at, subject) = match branch {
                Branch::Rest(at) => return self.nodes[at].rest.as_ref(),
                Branch::Node(at, subject) => (at, subject),
            };
            let node = &self.nodes[at];
            let Some(subject) = subject else {
                if node.value.is_some() {
                    return node.value.as_ref();
                }
                continue;
            };
            // The last branch comes first.
            if node.rest.is_some() {
                branches.push(Branch::Rest(at));
            }
            let (token, rest) = split_first(subject);
            if token != b">" {
                branches.extend(node.any.map(|next| Branch::Node(next, rest)));
                branches.extend(node.literals.get(token).map(|&next| Branch::Node(next, rest)));
            }
        }
        None
    }
}

impl<V> Default for PatternMap<V> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { literals: HashMap::default(), any: None, value: None, rest: None }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::base::subject::covers;

    fn map(patterns: &[&'static str]) -> PatternMap<&'static str> {
        let mut map = PatternMap::default();
        for pattern in patterns {
            map.insert(pattern.as_bytes(), *pattern);
        }
        map
    }

    #[test]
    fn the_most_specific_pattern_counts() {
        let patterns = ["f.>", "f.*", "*.x", "f.x", "f.*.k", "*.*.k", ">", "f.x.>"];
        let table = [
            ("f.x", "f.x"),
            ("f.y", "f.*"),
            ("g.x", "*.x"),
            ("f.x.k", "f.x.>"),
            ("f.y.k", "f.*.k"),
            ("f.y.l", "f.>"),
            ("g.y.k", "*.*.k"),
            ("g", ">"),
            // A pattern is covered as a whole.
            ("f.*", "f.*"),
            ("f.>", "f.>"),
            ("*.x", "*.x"),
            ("*.y", ">"),
        ];
        for (subject, expected) in table {
            for turned in 0..patterns.len() {
                let mut patterns = patterns;
                patterns.rotate_left(turned);
                assert_eq!(map(&patterns).find(subject.as_bytes()), Some(&expected), "{subject}");
            }
        }
        let some = map(&patterns[..6]);
        for subject in ["f", "g.y", "", "f..k", "f.x.", ">", "f"] {
            assert_eq!(some.find(subject.as_bytes()), None, "{subject}");
        }
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one() {
        let mut map = PatternMap::default();
        for (pattern, value) in [("a.*", 1), ("a.>", 2), ("a.*", 3), ("a.>", 4)] {
            map.insert(pattern.as_bytes(), value);
        }
        assert_eq!((map.find(b"a.b"), map.find(b"a.b.c")), (Some(&3), Some(&4)));
    }

    /// Against a list of patterns, of which one that another one covers counts before it.
    #[test]
    fn some_covering_pattern_is_found_if_there_is_one() {
        let mut random = Rng::with_seed(7);
        let mut subject = |wild: bool| {
            let mut tokens: Vec<&str> = Vec::new();
            for _ in 0..=random.usize(..3) {
                tokens.push(if wild && random.u8(..3) == 0 {
                    "*"
                } else {
                    ["a", "b"][random.usize(..2)]
                });
            }
            if wild && random.u8(..4) == 0 {
                tokens.push(">");
            }
            tokens.join(".")
        };
        for _ in 0..500 {
            let patterns: Vec<String> = (0..6).map(|_| subject(true)).collect();
            let mut map = PatternMap::default();
            for pattern in &patterns {
                map.insert(pattern.as_bytes(), pattern.as_str());
            }
            for wild in [false, true] {
                let subject = subject(wild);
                let is_over = |pattern: &&String| covers(pattern.as_bytes(), subject.as_bytes());
                let covering: Vec<&String> = patterns.iter().filter(is_over).collect();
                let found = map.find(subject.as_bytes()).copied();
                assert_eq!(found.is_some(), !covering.is_empty(), "{patterns:?} {subject}");
                let Some(found) = found else { continue };
                assert!(covers(found.as_bytes(), subject.as_bytes()), "{patterns:?} {subject}");
                let is_narrower = |other: &&&String| {
                    other.as_str() != found && covers(found.as_bytes(), other.as_bytes())
                };
                assert_eq!(covering.iter().find(is_narrower), None, "{patterns:?} {subject}");
            }
        }
    }
}
