//! `Left`: whether a bounded piece of work was the last one.

/// What a bounded piece of work has left to be done.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// There is more: who asked for this piece asks for the next one.
    More,
    /// All is done, or somebody sees to it that the task is woken for the rest.
    Nothing,
}
