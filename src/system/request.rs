//! `Request`: a request to a service.

use crate::account::Account;
use crate::conn::Conn;

/// A request to a service.
pub(super) struct Request<'a> {
    /// The client of another account that asks by its import.
    pub(super) importer: Option<Importer<'a>>,
}

/// A requester in an account that imports the service.
pub(super) struct Importer<'a> {
    pub(super) account: &'a Account,
    pub(super) conn: &'a Conn,
}
