//! `Translation`: the subjects of an import, as both accounts call them.

use crate::base::subject;
use crate::base::subject_transform::{ImportTransform, TransformError};
use crate::config::imports::Kind;

/// The subjects of an import, as both accounts call them.
#[derive(Debug, PartialEq)]
pub struct Translation {
    /// In the exporting account.
    remote: Box<[u8]>,
    /// In the importing account.
    local: Box<[u8]>,
    way: Way,
}

/// The way from one name to the other.
#[derive(Debug, PartialEq)]
enum Way {
    /// Both names are the same.
    Same,
    /// The remote subject is literal.
    Fixed,
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
        let is_literal = subject::is_literal(remote.as_bytes());
        let way = if remote == local {
            Way::Same
        } else if is_literal && kind == Kind::Service {
            Way::Fixed
        } else {
            let to_local = ImportTransform::new(remote, local)?;
            if !is_literal {
                return Ok(Translation::moved(to_local));
            }
            Way::Fixed
        };
        Ok(Translation { remote: remote.as_bytes().into(), local: local.as_bytes().into(), way })
    }

    fn moved(to_local: ImportTransform) -> Translation {
        let to_remote = to_local.reversed();
        let (remote, local) = (to_local.source().into(), to_local.destination());
        Translation { remote, local, way: Way::Moved(Box::new(Moved { to_local, to_remote })) }
    }

    /// The pattern in the exporting account.
    pub fn remote(&self) -> &[u8] {
        &self.remote
    }

    /// The pattern in the importing account.
    pub fn local(&self) -> &[u8] {
        &self.local
    }

    /// True if both accounts call the subjects the same.
    pub fn is_same(&self) -> bool {
        self.way == Way::Same
    }

    /// The importer's name for a subject of the exporter that the import matches; perhaps in
    /// `room`.
    pub fn to_local<'a>(&'a self, remote: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.way {
            Way::Same => remote,
            Way::Fixed => &self.local,
            Way::Moved(moved) => transformed(&moved.to_local, remote, room),
        }
    }

    /// The exporter's name for a subject of the importer that the import matches; perhaps in
    /// `room`. A pattern that the import covers may stand for a subject.
    pub fn to_remote<'a>(&'a self, local: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.way {
            Way::Same => local,
            Way::Fixed => &self.remote,
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

fn transformed<'a>(transform: &ImportTransform, subject: &[u8], room: &'a mut Vec<u8>) -> &'a [u8] {
    room.clear();
    let is_made = transform.apply(subject, room);
    debug_assert!(is_made, "the import matches it");
    room
}
