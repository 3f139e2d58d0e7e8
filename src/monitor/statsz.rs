//! The statistics of a server, as it publishes them and answers `STATSZ` requests.
//!
//! nats: server/events.go `ServerStats`, `sendStatsz`, `routeStat`

use serde::Serialize;

use crate::base::moment::Moment;
use crate::base::stats::{PerKind, Traffic};
use crate::codec::date::Date;
use crate::codec::info::is_default;
use crate::monitor::View;
use crate::monitor::accountz::Volume;
use crate::monitor::json::Float;
use crate::monitor::varz::ByKind;
use crate::route::mesh::Mesh;
use crate::route::view::RouteView;

/// The document, in the real server's order.
#[derive(Debug, Serialize)]
pub struct Statsz {
    pub start: Date,
    pub mem: u64,
    pub cores: usize,
    pub cpu: Float,
    pub connections: usize,
    pub total_connections: u64,
    pub active_accounts: usize,
    pub subscriptions: usize,
    pub sent: Volume,
    pub sent_to_clients: Volume,
    pub received: Volume,
    pub received_from_clients: Volume,
    pub slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_consumer_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_default")]
    pub stale_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_connection_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_default")]
    pub stalled_clients: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteStat>,
    pub active_servers: usize,
    pub gomaxprocs: usize,
}

/// One connection to another server.
#[derive(Debug, Serialize)]
pub struct RouteStat {
    pub rid: u64,
    pub name: String,
    pub sent: Volume,
    pub received: Volume,
    /// Bytes.
    pub pending: usize,
}

/// Makes the document. `active_servers` are this one and those known to it.
pub fn statsz(view: &View<'_>, active_servers: usize) -> Statsz {
    let registry = view.registry;
    let totals = registry.totals();
    let all = Traffic {
        in_msgs: totals.in_msgs,
        in_bytes: totals.in_bytes,
        out_msgs: totals.out_msgs,
        out_bytes: totals.out_bytes,
    };
    let of_clients = all.without(registry.route_traffic());
    let process = (view.process)();
    let by_kind = |counts: PerKind<u64>| (counts.total() > 0).then(|| ByKind::from(counts));
    let accounts = || view.settings.accounts.iter();
    let subscriptions = accounts().map(|one| view.sublist_stats(one).num_subscriptions as usize);
    Statsz {
        start: view.date(Moment::START),
        mem: process.mem,
        cores: process.cores,
        cpu: Float(process.cpu),
        connections: registry.client_count(),
        total_connections: registry.total_connections(),
        active_accounts: accounts().filter(|one| one.usage().client_count > 0).count(),
        subscriptions: subscriptions.sum(),
        sent: Volume { msgs: all.out_msgs, bytes: all.out_bytes },
        sent_to_clients: Volume { msgs: of_clients.out_msgs, bytes: of_clients.out_bytes },
        received: Volume { msgs: all.in_msgs, bytes: all.in_bytes },
        received_from_clients: Volume { msgs: of_clients.in_msgs, bytes: of_clients.in_bytes },
        slow_consumers: totals.slow_consumers,
        slow_consumer_stats: by_kind(totals.slow),
        stale_connections: totals.stale.total(),
        stale_connection_stats: by_kind(totals.stale),
        stalled_clients: totals.stalled_clients,
        routes: view.mesh.map(Mesh::routes).unwrap_or_default().iter().map(RouteStat::of).collect(),
        active_servers,
        gomaxprocs: view.settings.options.workers.unwrap_or(process.cores),
    }
}

impl RouteStat {
    fn of(route: &RouteView) -> RouteStat {
        let conn = &route.conn;
        let received = conn.received();
        RouteStat {
            rid: conn.cid.0,
            name: route.server_name.to_string(),
            sent: Volume { msgs: received.out_msgs, bytes: received.out_bytes },
            received: Volume { msgs: conn.in_msgs.load(), bytes: conn.in_bytes.load() },
            pending: received.pending_bytes,
        }
    }
}
