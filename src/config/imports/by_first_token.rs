//! `ByFirstToken`: values with patterns, to visit only those that may overlap another pattern.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::base::subject;

/// Values with patterns.
pub(super) struct ByFirstToken<T> {
    values: Vec<T>,
    /// Positions in the values.
    by_token: HashMap<Box<[u8]>, Vec<usize>, RandomState>,
}

impl<T> ByFirstToken<T> {
    pub(super) fn new() -> ByFirstToken<T> {
        ByFirstToken { values: Vec::new(), by_token: HashMap::default() }
    }

    /// Adds a value under a pattern.
    pub(super) fn push(&mut self, pattern: &[u8], value: T) {
        let (token, _) = subject::split_first(pattern);
        let at = self.values.len();
        match self.by_token.get_mut(token) {
            Some(known) => known.push(at),
            None => {
                self.by_token.insert(token.into(), vec![at]);
            }
        }
        self.values.push(value);
    }

    /// All values.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    /// Those whose patterns may overlap this one, and others perhaps.
    pub(super) fn near(&self, pattern: &[u8]) -> impl Iterator<Item = &T> {
        let (token, _) = subject::split_first(pattern);
        let is_wild = token == b"*" || token == b">";
        let all = if is_wild { &self.values[..] } else { &[] };
        let tokens = if is_wild { [None; 3] } else { [Some(token), Some(b"*"), Some(b">")] };
        let some = tokens.into_iter().flatten().filter_map(|token| self.by_token.get(token));
        all.iter().chain(some.flatten().map(|&at| &self.values[at]))
    }
}
