//! `Translation`: the subjects of an import, as both accounts call them.
//!
//! Most imports keep the subject, or put a prefix before it: these need one text.

use crate::base::subject;
use crate::base::subject_transform::{ImportTransform, TransformError};
use crate::config::imports::Kind;

/// The subjects of an import, as both accounts call them.
#[derive(Debug, PartialEq)]
pub struct Translation {
    /// In the importing account.
    local: Box<[u8]>,
    way: Way,
}

/// The way to the name in the exporting account.
#[derive(Debug, PartialEq)]
enum Way {
    /// The local name without so many bytes in front.
    Behind(usize),
    /// This one, without a wildcard.
    Fixed(Box<[u8]>),
    /// Tokens move.
    Moved(Box<Moved>),
}

#[derive(Debug, PartialEq)]
struct Moved {
    to_local: ImportTransform,
    to_remote: ImportTransform,
}

impl Translation {
    /// The subjects of an import. Those of a service are valid.
    ///
    /// # Errors
    /// They do not go together.
    pub(super) fn new(
        kind: Kind,
        remote: &str,
        local: &str,
    ) -> Result<Translation, TransformError> {
        let literal = subject::is_literal(remote.as_bytes());
        let way = if is_behind(remote, local) {
            Way::Behind(local.len() - remote.len())
        } else if literal && kind == Kind::Service {
            Way::Fixed(remote.as_bytes().into())
        } else {
            let to_local = ImportTransform::new(remote, local)?;
            if !literal {
                let to_remote = to_local.reversed();
                let local = to_local.destination();
                let way = Way::Moved(Box::new(Moved { to_local, to_remote }));
                return Ok(Translation { local, way });
            }
            Way::Fixed(remote.as_bytes().into())
        };
        Ok(Translation { local: local.as_bytes().into(), way })
    }

    /// The pattern in the exporting account.
    pub fn remote(&self) -> &[u8] {
        match &self.way {
            Way::Behind(prefix_len) => &self.local[*prefix_len..],
            Way::Fixed(remote) => remote,
            Way::Moved(moved) => moved.to_local.source(),
        }
    }

    /// The pattern in the importing account.
    pub fn local(&self) -> &[u8] {
        &self.local
    }

    /// True if both accounts call the subjects the same.
    pub fn is_same(&self) -> bool {
        matches!(self.way, Way::Behind(0))
    }

    /// The importer's name for a subject of the exporter that the import matches; perhaps in
    /// `room`.
    pub fn to_local<'a>(&'a self, remote: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        room.clear();
        match &self.way {
            Way::Behind(0) => remote,
            Way::Behind(prefix_len) => {
                room.extend_from_slice(&self.local[..*prefix_len]);
                room.extend_from_slice(remote);
                room
            }
            Way::Fixed(_) => &self.local,
            Way::Moved(moved) => transformed(&moved.to_local, remote, room),
        }
    }

    /// The exporter's name for a subject of the importer that the import matches; perhaps in
    /// `room`. A pattern that the import covers may stand for a subject.
    pub fn to_remote<'a>(&'a self, local: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.way {
            Way::Behind(prefix_len) => &local[*prefix_len..],
            Way::Fixed(remote) => remote,
            Way::Moved(moved) => transformed(&moved.to_remote, local, room),
        }
    }

    /// The exporter's pattern for the part of the import that a local pattern covers; `None` if
    /// there is none.
    ///
    /// nats: server/client.go `addShadowSubscriptions`
    pub fn remote_part(&self, local: &[u8]) -> Option<Box<[u8]>> {
        let part = subject::intersection(local, &self.local)?;
        Some(self.to_remote(&part, &mut Vec::new()).into())
    }
}

/// True if the local name is the remote one, or that behind a prefix without functions.
fn is_behind(remote: &str, local: &str) -> bool {
    let Some(prefix) = local.strip_suffix(remote) else { return false };
    let is_plain = |prefix: &str| {
        let may_be_more = |char: char| char.is_ascii_whitespace() || matches!(char, '$' | '{');
        subject::is_valid_publish(prefix.as_bytes()) && !prefix.contains(may_be_more)
    };
    prefix.is_empty() || prefix.strip_suffix('.').is_some_and(is_plain)
}

fn transformed<'a>(transform: &ImportTransform, subject: &[u8], room: &'a mut Vec<u8>) -> &'a [u8] {
    room.clear();
    let is_made = transform.apply(subject, room);
    debug_assert!(is_made, "the import matches it");
    room
}
