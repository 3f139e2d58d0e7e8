//! The statistics of a server, as it publishes them and answers `STATSZ` requests.
//!
//! nats: server/events.go `ServerStats`, `sendStatsz`, `routeStat`

use std::sync::Arc;

use serde::Serialize;

use crate::account::Account;
use crate::base::moment::Moment;
use crate::base::stats::PerKind;
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
    let all = totals.traffic();
    let of_clients = all.without(registry.route_traffic());
    let process = (view.process)();
    let by_kind = |counts: PerKind<u64>| (counts.total() > 0).then(|| ByKind::from(counts));
    let is_active = |account: &&Arc<Account>| account.usage().client_count > 0;
    Statsz {
        start: view.date(Moment::START),
        mem: process.mem,
        cores: process.cores,
        cpu: Float(process.cpu),
        connections: registry.client_count(),
        total_connections: registry.total_connections(),
        active_accounts: view.settings.accounts.iter().filter(is_active).count(),
        subscriptions: view.subscription_count(),
        sent: Volume::sent(&all),
        sent_to_clients: Volume::sent(&of_clients),
        received: Volume::received(&all),
        received_from_clients: Volume::received(&of_clients),
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
