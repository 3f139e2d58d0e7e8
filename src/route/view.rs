//! `RouteView`: one connection to another server, for monitoring.

use std::sync::Arc;

use crate::codec::info::Subjects;
use crate::conn::Conn;
use crate::route::dials::Place;

/// One registered connection.
pub struct RouteView {
    /// The connection.
    pub conn: Arc<Conn>,
    /// Id of the other server.
    pub server_id: Box<str>,
    /// Its name.
    pub server_name: Box<str>,
    /// True if we dialled.
    pub solicited: bool,
    /// True if the configuration names the other server.
    pub configured: bool,
    /// Its place.
    pub place: Place,
    /// Its compression, as INFO names it.
    pub compression: &'static str,
    /// Subjects whose interest the other server announces; none means all.
    pub import: Option<Subjects>,
    /// Subjects whose interest it honours; none means all.
    pub export: Option<Subjects>,
}
