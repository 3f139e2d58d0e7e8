//! `Request`: what a service is asked.

use crate::account::Account;
use crate::conn::Conn;

/// What a service is asked.
pub(super) struct Request<'a> {
    /// The account in which it is asked.
    pub(super) account: &'a Account,
    /// Who asks.
    pub(super) conn: &'a Conn,
}
