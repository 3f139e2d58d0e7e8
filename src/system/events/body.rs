//! The documents of events, in the real server's order.
//!
//! nats: server/events.go `TypedEvent`, `ConnectEventMsg`, `DisconnectEventMsg`, `AccountNumConns`,
//! `ServerStatsMsg`

use serde::Serialize;

use crate::base::closed_reason::ClosedReason;
use crate::codec::client_info::ClientInfo;
use crate::codec::date::Date;
use crate::codec::msg_trace::Story;
use crate::conn::Conn;
use crate::monitor::accountz::Volume;
use crate::monitor::statsz::Statsz;
use crate::system::server_info::ServerInfo;

/// An event with its kind, number and date.
#[derive(Serialize)]
pub(super) struct Advisory<'a, T> {
    #[serde(rename = "type")]
    pub(super) type_: &'static str,
    pub(super) id: &'a str,
    /// The time of the event, not that of sending it.
    pub(super) timestamp: Date,
    pub(super) server: ServerInfo<'a>,
    #[serde(flatten)]
    pub(super) body: T,
}

/// The client of an event.
#[derive(Serialize)]
pub(super) struct ClientBody<'a> {
    pub(super) client: ClientInfo<'a>,
    #[serde(flatten)]
    pub(super) end: Option<End>,
}

/// The end of its connection: its traffic, as seen by the client, and the reason.
#[derive(Serialize)]
pub(super) struct End {
    sent: Volume,
    received: Volume,
    reason: &'static str,
}

/// The statistics of this server.
#[derive(Serialize)]
pub(super) struct StatszBody<'a> {
    pub(super) server: ServerInfo<'a>,
    pub(super) statsz: Statsz,
}

/// The trace of a message.
#[derive(Serialize)]
pub(super) struct TraceBody<'a> {
    pub(super) server: ServerInfo<'a>,
    #[serde(flatten)]
    pub(super) story: &'a Story,
}

/// `type` of each kind of event.
pub(super) const CONNECT: &str = "io.nats.server.advisory.v1.client_connect";
pub(super) const DISCONNECT: &str = "io.nats.server.advisory.v1.client_disconnect";
pub(super) const ACCOUNT_CONNECTIONS: &str = "io.nats.server.advisory.v1.account_connections";

impl End {
    pub(super) fn new(conn: &Conn, reason: ClosedReason) -> End {
        let traffic = conn.traffic();
        End {
            sent: Volume::received(&traffic),
            received: Volume::sent(&traffic),
            reason: reason.as_str(),
        }
    }
}
