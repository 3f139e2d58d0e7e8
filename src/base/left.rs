//! `Left`: the rest of a bounded piece of work, some or none.

/// The rest of a bounded piece of work.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// More remains: the caller asks for the next piece.
    More,
    /// All is done, or another event wakes the task for the rest.
    Nothing,
}

impl Left {
    /// The rest of two pieces.
    pub fn and(self, other: Left) -> Left {
        if self == Left::More { self } else { other }
    }
}
