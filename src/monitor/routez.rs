//! `/routez`: the routes to other servers.
//!
//! nats: server/monitor.go `Routez`

use serde::Serialize;

use crate::monitor::View;
use crate::monitor::json::Date;

/// The document. Without a cluster there are no routes.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the real server's keys")]
pub struct Routez<'a> {
    pub server_id: &'a str,
    pub server_name: String,
    pub now: Date,
    pub num_routes: usize,
    pub routes: [(); 0],
}

/// Makes the document.
pub fn routez<'a>(view: &'a View<'_>) -> Routez<'a> {
    Routez {
        server_id: view.server_id(),
        server_name: view.registry.info().server_name,
        now: view.date(view.now),
        num_routes: 0,
        routes: [],
    }
}
