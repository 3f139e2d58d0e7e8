//! The accounts of the configuration, and their limits.

use crate::config::options::SubjectMapping;

/// An account besides `$G` and `$SYS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountOptions {
    /// Its name.
    pub name: String,
    /// Its limits, besides those of the server.
    pub limits: AccountLimits,
    /// Its mappings.
    pub mappings: Vec<SubjectMapping>,
}

/// The limits of an account, besides those of the server; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountLimits {
    /// Clients of the account.
    pub max_connections: Option<usize>,
    /// Subscriptions of each of them.
    pub max_subscriptions: Option<usize>,
    /// Bytes of a message, headers included.
    pub max_payload: Option<usize>,
}

impl AccountOptions {
    /// An account without limits of its own.
    #[must_use]
    pub fn new(name: impl Into<String>) -> AccountOptions {
        AccountOptions { name: name.into(), ..AccountOptions::default() }
    }
}
