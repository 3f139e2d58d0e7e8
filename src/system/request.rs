//! `Request`: a request to a service.

use crate::account::Account;
use crate::conn::Conn;

/// A request to a service.
pub(super) struct Request<'a> {
    /// The account of the requester.
    pub(super) account: &'a Account,
    /// The connection of the requester.
    pub(super) conn: &'a Conn,
}
