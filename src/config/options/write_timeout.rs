//! `WriteTimeout`: what happens to a connection that does not read.

/// What happens to a connection whose write passes the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteTimeout {
    /// Closes clients, retries routes.
    #[default]
    Default,
    /// Closes.
    Close,
    /// Keeps the connection as long as each write moved some bytes.
    Retry,
}
