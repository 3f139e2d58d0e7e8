//! `WriteTimeout`: the answer to a connection that does not read.

/// The answer to a write that passes its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteTimeout {
    /// Closes clients, keeps routes that made some progress.
    #[default]
    Default,
    /// Closes.
    Close,
    /// Keeps the connection as long as each write moved some bytes.
    Retry,
}
