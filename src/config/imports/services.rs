//! `Services`: the services that an account imports, found by the subject of a request.
//!
//! Each message that misses the match cache is looked for here, and few are requests: the first
//! byte of the subject tells most others apart.

use std::iter;
use std::sync::Arc;

use crate::base::subject;
use crate::config::imports::ServiceImport;

/// The services that an account imports.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// In the order of the options.
    all: Vec<Arc<ServiceImport>>,
    /// Their positions, in the order of the first tokens of their subjects.
    by_token: Vec<u32>,
    first_bytes: FirstBytes,
}

/// The first bytes of the subjects of services, a bit for each.
#[derive(Debug, Default, PartialEq, Eq)]
struct FirstBytes([u64; 4]);

impl Services {
    /// Adds a service.
    pub fn push(&mut self, import: Arc<ServiceImport>) {
        let token = first_token(&import);
        let end = self.by_token.partition_point(|&at| self.token(at) <= token);
        self.first_bytes.add(token);
        self.by_token.insert(end, self.all.len() as u32);
        self.all.push(import);
    }

    /// All of them, in the order of the options.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServiceImport>> {
        self.all.iter()
    }

    /// The number of them.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// False if a message on `subject` is no request.
    #[inline]
    pub fn may_match(&self, subject: &[u8]) -> bool {
        subject.first().is_some_and(|&byte| self.first_bytes.have(byte))
    }

    /// Those with subjects that may match this one, and others perhaps.
    pub fn near(&self, subject: &[u8]) -> impl Iterator<Item = &Arc<ServiceImport>> {
        let (first, _) = subject::split_first(subject);
        let wildcards = [&b"*"[..], b">"].into_iter().filter(move |wildcard| *wildcard != first);
        iter::once(first).chain(wildcards).flat_map(|token| self.of(token))
    }

    /// Those whose subjects begin with this token.
    fn of(&self, token: &[u8]) -> impl Iterator<Item = &Arc<ServiceImport>> {
        let start = self.by_token.partition_point(|&at| self.token(at) < token);
        let len = self.by_token[start..].partition_point(|&at| self.token(at) == token);
        self.by_token[start..start + len].iter().map(|&at| &self.all[at as usize])
    }

    fn token(&self, at: u32) -> &[u8] {
        first_token(&self.all[at as usize])
    }
}

fn first_token(import: &ServiceImport) -> &[u8] {
    subject::split_first(import.subjects.local()).0
}

impl Extend<Arc<ServiceImport>> for Services {
    fn extend<T: IntoIterator<Item = Arc<ServiceImport>>>(&mut self, imports: T) {
        imports.into_iter().for_each(|import| self.push(import));
    }
}

impl FirstBytes {
    /// Adds that of subjects with this first token.
    fn add(&mut self, token: &[u8]) {
        match token {
            b"*" | b">" => self.0 = [u64::MAX; 4],
            [first, ..] => self.0[usize::from(first / 64)] |= 1 << (first % 64),
            [] => {}
        }
    }

    #[inline]
    fn have(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }
}
