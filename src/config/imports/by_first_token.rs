//! `ByFirstToken`: values with patterns, to visit only those that may overlap another pattern.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::base::subject;

/// Values with patterns.
pub(super) struct ByFirstToken<T> {
    values: Vec<T>,
    /// The pattern of a value.
    pattern: fn(&T) -> &[u8],
    /// Positions in the values; of none if they are few.
    by_token: HashMap<Box<[u8]>, Vec<usize>, RandomState>,
}

/// So many values are looked at one after the other, which takes no table.
const FEW: usize = 8;

impl<T> ByFirstToken<T> {
    pub(super) fn new(pattern: fn(&T) -> &[u8]) -> ByFirstToken<T> {
        ByFirstToken { values: Vec::new(), pattern, by_token: HashMap::default() }
    }

    /// Adds a value.
    pub(super) fn push(&mut self, value: T) {
        self.values.push(value);
        if self.values.len() <= FEW {
            return;
        }
        let from = if self.by_token.is_empty() { 0 } else { self.values.len() - 1 };
        for (at, value) in self.values.iter().enumerate().skip(from) {
            let (token, _) = subject::split_first((self.pattern)(value));
            match self.by_token.get_mut(token) {
                Some(known) => known.push(at),
                None => {
                    self.by_token.insert(token.into(), vec![at]);
                }
            }
        }
    }

    /// All values.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    /// Those whose patterns may overlap this one, and others perhaps.
    pub(super) fn near(&self, pattern: &[u8]) -> impl Iterator<Item = &T> {
        let (token, _) = subject::split_first(pattern);
        let are_all = token == b"*" || token == b">" || self.values.len() < 2;
        let all = if are_all { &self.values[..] } else { &[] };
        let tokens = if are_all { [None; 3] } else { [Some(token), Some(b"*"), Some(b">")] };
        all.iter().chain(tokens.into_iter().flatten().flat_map(|token| self.of(token)))
    }

    /// Those whose patterns begin with this token.
    fn of(&self, token: &[u8]) -> impl Iterator<Item = &T> {
        let few = if self.by_token.is_empty() { &self.values[..] } else { &[] };
        let is_of = move |value: &&T| subject::split_first((self.pattern)(value)).0 == token;
        let listed = self.by_token.get(token).into_iter().flatten();
        few.iter().filter(is_of).chain(listed.map(|&at| &self.values[at]))
    }
}
