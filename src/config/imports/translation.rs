//! `Translation`: the subjects of an import, as both accounts call them.
//!
//! Most imports keep the subject, or put a prefix before it: these need one text. Others have
//! another front, and need two.

use crate::base::subject;
use crate::base::subject_transform::{ImportTransform, TransformError};
use crate::config::imports::Kind;

/// The subjects of an import, as both accounts call them.
#[derive(Debug, PartialEq, Eq)]
pub struct Translation {
    /// In the importing account.
    local: Box<[u8]>,
    way: Way,
}

/// The way to the name in the exporting account.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// The local name without so many bytes in front.
    Behind(usize),
    /// This one, without a wildcard.
    Fixed(Box<[u8]>),
    /// Another front before the same wildcards: see [`Front`].
    Front(Front),
    /// Tokens move.
    Moved(Box<Moved>),
}

/// Both names end in so many bytes that are the same, from the first wildcard on.
#[derive(Debug, PartialEq, Eq)]
struct Front {
    remote: Box<[u8]>,
    same_len: u32,
}

#[derive(Debug, PartialEq, Eq)]
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
        } else if let Some(front) = Front::new(remote, local) {
            Way::Front(front)
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
            Way::Fixed(remote) | Way::Front(Front { remote, .. }) => remote,
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
            Way::Front(front) => {
                front.replaced(&self.local, &front.remote, remote, room);
                room
            }
            Way::Moved(moved) => transformed(&moved.to_local, remote, room),
        }
    }

    /// The exporter's name for a subject of the importer that the import matches; perhaps in
    /// `room`. A pattern that the import covers may stand for a subject.
    pub fn to_remote<'a>(&'a self, local: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.way {
            Way::Behind(prefix_len) => &local[*prefix_len..],
            Way::Fixed(remote) => remote,
            Way::Front(front) => {
                room.clear();
                front.replaced(&front.remote, &self.local, local, room);
                room
            }
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

impl Front {
    /// The way between these names, if they differ only before the first wildcard.
    fn new(remote: &str, local: &str) -> Option<Front> {
        let literal = remote.split('.').take_while(|token| !matches!(*token, "*" | ">"));
        let front_len = literal.map(|token| token.len() + 1).sum();
        let (front, same) = remote.split_at_checked(front_len)?;
        let are_plain = [front, local.strip_suffix(same)?].into_iter().all(is_plain_front);
        let is_valid = subject::is_valid_pattern(same.as_bytes()) && !same.contains(['$', '{']);
        (are_plain && is_valid)
            .then(|| Front { remote: remote.as_bytes().into(), same_len: same.len() as u32 })
    }

    /// Makes, from a subject of the pattern `from`, that of the pattern `to`.
    fn replaced(&self, to: &[u8], from: &[u8], subject: &[u8], room: &mut Vec<u8>) {
        let same_len = self.same_len as usize;
        room.extend_from_slice(&to[..to.len() - same_len]);
        room.extend_from_slice(&subject[from.len() - same_len..]);
    }
}

/// True if the local name is the remote one, or that behind a prefix without functions.
fn is_behind(remote: &str, local: &str) -> bool {
    let Some(prefix) = local.strip_suffix(remote) else { return false };
    prefix.is_empty() || is_plain_front(prefix)
}

/// True for tokens without wildcards and functions, with the dot behind them.
fn is_plain_front(front: &str) -> bool {
    let may_be_more = |char: char| char.is_ascii_whitespace() || matches!(char, '$' | '{');
    front.strip_suffix('.').is_some_and(|front| {
        subject::is_valid_publish(front.as_bytes()) && !front.contains(may_be_more)
    })
}

fn transformed<'a>(transform: &ImportTransform, subject: &[u8], room: &'a mut Vec<u8>) -> &'a [u8] {
    room.clear();
    transform.apply(subject, room);
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_that_of_the_transform() {
        for (remote, local, subject, is_front) in [
            ("q.*", "ask.A.*", "q.x", true),
            ("a.b.*.c.>", "z.*.c.>", "a.b.1.c.d.e", true),
            ("a.>", "b.>", "a.1.2", true),
            ("s.>", "from.s.>", "s.1.2", false),
            ("*.a", "b.*.a", "1.a", false),
            ("*.a", "*.b", "1.a", false),
            ("q.*", "ask.$1", "q.x", false),
            ("q.*.*", "ask.$2.$1", "q.1.2", false),
            ("q.*.r", "ask.*", "q.1.r", false),
        ] {
            let translation = Translation::new(Kind::Stream, remote, local).unwrap();
            assert_eq!(matches!(translation.way, Way::Front(_)), is_front, "{remote} {local}");
            let transform = ImportTransform::new(remote, local).unwrap();
            assert_eq!(translation.local(), &*transform.destination());
            assert_eq!(translation.remote(), remote.as_bytes());
            let (subject, mut wanted, mut room) = (subject.as_bytes(), Vec::new(), Vec::new());
            transform.apply(subject, &mut wanted);
            assert_eq!(translation.to_local(subject, &mut room), wanted, "{remote} {local}");
            assert_eq!(translation.to_remote(&wanted, &mut room), subject, "{remote} {local}");
        }
    }

    #[test]
    fn names_that_do_not_go_together_are_refused_as_by_the_transform() {
        for (remote, local) in [
            ("q.*", "ask.*.*"),
            ("q.*", "ask.>"),
            ("q.*", "a b.*"),
            ("q r.*", "a.*"),
            ("q.*", ".*"),
            ("q.*", "a..*"),
            ("q.>.r", "a.>.r"),
            ("q.*.{{x}}", "a.*.{{x}}"),
        ] {
            let refused = ImportTransform::new(remote, local).unwrap_err();
            assert_eq!(Translation::new(Kind::Stream, remote, local), Err(refused));
        }
    }
}
