//! `/varz`: the server as a whole. Its identity, limits, resources and counters.
//!
//! nats: server/monitor.go `Varz`, `createVarz`, `updateVarzRuntimeFields`

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::base::ids::Kind;
use crate::base::limits;
use crate::base::moment::Moment;
use crate::base::stats::PerKind;
use crate::codec::date::Date;
use crate::codec::info::is_default;
use crate::config::options::{Login, Tls, Websocket, WriteTimeout};
use crate::config::origin::Origin;
use crate::config::route_url::RouteUrl;
use crate::monitor::View;
use crate::monitor::json::{Float, Uptime};
use crate::monitor::unused::Empty;
use crate::route::mesh::Mesh;

/// The switches of JetStream's internals in 2.15.1, with their defaults.
///
/// nats: server/feature_flags.go
pub const FEATURE_FLAGS: [(&str, bool); 4] = [
    ("js_ack_fc_v2", false),
    ("js_api_reply_v2", false),
    ("js_raft_delete_range", true),
    ("js_snapshot_sources", false),
];

/// The document, in the real server's order.
#[derive(Debug, Serialize)]
pub struct Varz {
    pub server_id: String,
    pub server_name: String,
    pub version: String,
    pub proto: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    pub go: String,
    pub host: String,
    pub port: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_verify: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// -1 if no client may connect.
    pub max_connections: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_subscriptions: u64,
    /// Nanoseconds.
    pub ping_interval: u64,
    pub ping_max: usize,
    pub http_host: String,
    pub http_port: u16,
    pub http_base_path: String,
    pub https_port: u16,
    pub auth_timeout: Float,
    pub max_control_line: usize,
    pub max_payload: i32,
    pub max_pending: usize,
    pub cluster: ClusterVarz,
    pub gateway: Empty,
    pub leaf: Empty,
    pub mqtt: Empty,
    pub websocket: WebsocketVarz,
    pub jetstream: Empty,
    pub tls_timeout: Float,
    /// Nanoseconds.
    pub write_deadline: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_timeout: Option<&'static str>,
    pub start: Date,
    pub now: Date,
    pub uptime: Uptime,
    pub mem: u64,
    pub cores: usize,
    pub gomaxprocs: usize,
    pub cpu: Float,
    pub connections: usize,
    pub total_connections: u64,
    pub routes: usize,
    pub remotes: usize,
    pub leafnodes: usize,
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub in_client_msgs: u64,
    pub in_client_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
    pub out_client_msgs: u64,
    pub out_client_bytes: u64,
    pub slow_consumers: u64,
    pub stale_connections: u64,
    pub stalled_clients: u64,
    pub subscriptions: usize,
    pub http_req_stats: BTreeMap<&'static str, u64>,
    pub config_load_time: Date,
    pub config_digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    pub feature_flags: BTreeMap<&'static str, bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_account: Option<String>,
    pub slow_consumer_stats: ByKind,
    pub stale_connection_stats: ByKind,
    pub disk_io_wait_stats: DiskIoWaitStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_not_after: Option<Date>,
}

/// The block of the cluster; empty without one.
#[derive(Debug, Default, Serialize)]
pub struct ClusterVarz {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_timeout: Option<Float>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_timeout: Option<Float>,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_verify: bool,
    /// Negative without a pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<i64>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_deadline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_timeout: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_not_after: Option<Date>,
}

/// The block of the port for WebSocket; empty without one.
#[derive(Debug, Default, Serialize)]
pub struct WebsocketVarz {
    #[serde(skip_serializing_if = "is_default")]
    pub host: String,
    #[serde(skip_serializing_if = "is_default")]
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_auth_user: Option<String>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub handshake_timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_timeout: Option<Float>,
    #[serde(skip_serializing_if = "is_default")]
    pub no_tls: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_map: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_pinned_certs: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub same_origin: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub compression: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_not_after: Option<Date>,
}

/// A counter for each kind of connection.
#[derive(Debug, Default, Serialize)]
pub struct ByKind {
    pub clients: u64,
    pub routes: u64,
    pub gateways: u64,
    pub leafs: u64,
}

/// Nothing waits for disks here.
#[derive(Debug, Default, Serialize)]
pub struct DiskIoWaitStats {
    pub waiters: u64,
    pub waits: u64,
    pub wait_time: u64,
    pub max_wait_time: u64,
}

/// Makes the document.
pub fn varz(view: &View<'_>) -> Varz {
    let registry = view.registry;
    let options = &view.settings.options;
    let info = registry.info();
    let totals = registry.totals();
    let of_clients = totals.traffic().without(registry.route_traffic());
    let process = (view.process)();
    let start = view.date(Moment::START);
    Varz {
        server_id: view.server_id().to_owned(),
        server_name: info.server_name,
        version: info.version,
        proto: limits::PROTO,
        git_commit: info.git_commit,
        go: info.go,
        host: info.host,
        port: info.port,
        // In INFO it is false if there is a `no_auth_user`.
        auth_required: options.authorization.login != Login::Open,
        tls_required: info.tls_required,
        tls_verify: info.tls_verify,
        connect_urls: info.connect_urls,
        max_connections: match options.max_connections {
            0 => -1,
            count => i64::try_from(count).unwrap_or(i64::MAX),
        },
        max_subscriptions: options.max_subscriptions as u64,
        ping_interval: nanos(options.ping_interval),
        ping_max: options.ping_max,
        http_host: options.monitor_listen().map_or_else(String::new, |listen| listen.host),
        http_port: if options.https.is_none() { view.monitor_port } else { 0 },
        http_base_path: options.http_base_path.trim_end_matches('/').to_owned(),
        https_port: if options.https.is_some() { view.monitor_port } else { 0 },
        auth_timeout: seconds(options.auth_timeout()),
        max_control_line: options.max_control_line,
        max_payload: options.max_payload,
        max_pending: options.max_pending,
        cluster: view.mesh.map(|mesh| cluster(mesh, view)).unwrap_or_default(),
        gateway: Empty {},
        leaf: Empty {},
        mqtt: Empty {},
        websocket: (options.websocket.as_ref())
            .map(|websocket| WebsocketVarz::of(websocket, view))
            .unwrap_or_default(),
        jetstream: Empty {},
        tls_timeout: tls_timeout(options.tls.as_ref()),
        write_deadline: nanos(options.write_deadline),
        write_timeout: write_timeout(options.write_timeout),
        start,
        now: view.date(view.now),
        uptime: Uptime(view.now.since(Moment::START)),
        mem: process.mem,
        cores: process.cores,
        gomaxprocs: options.workers.unwrap_or(process.cores),
        cpu: Float(process.cpu),
        connections: registry.client_count(),
        total_connections: registry.total_connections(),
        routes: view.mesh.map_or(0, |mesh| mesh.routes().len()),
        remotes: view.mesh.map_or(0, Mesh::server_count),
        leafnodes: 0,
        in_msgs: totals.in_msgs,
        in_bytes: totals.in_bytes,
        in_client_msgs: of_clients.in_msgs,
        in_client_bytes: of_clients.in_bytes,
        out_msgs: totals.out_msgs,
        out_bytes: totals.out_bytes,
        out_client_msgs: of_clients.out_msgs,
        out_client_bytes: of_clients.out_bytes,
        slow_consumers: totals.slow_consumers,
        stale_connections: totals.stale.total(),
        stalled_clients: totals.stalled_clients,
        subscriptions: view.subscription_count(),
        http_req_stats: registry.http_requests(),
        config_load_time: view.date(view.settings.since),
        config_digest: options.config_digest.clone().unwrap_or_default(),
        tags: options.server_tags.clone(),
        metadata: options.server_metadata.clone(),
        feature_flags: BTreeMap::from(FEATURE_FLAGS),
        system_account: options.system_account().map(str::to_owned),
        slow_consumer_stats: ByKind::from(totals.slow),
        stale_connection_stats: ByKind::from(totals.stale),
        disk_io_wait_stats: DiskIoWaitStats::default(),
        tls_cert_not_after: view.cert_ends.clients.map(Date),
    }
}

fn cluster(mesh: &Mesh, view: &View<'_>) -> ClusterVarz {
    let cluster = &view.settings.routes.cluster;
    let listen = cluster.listen.as_ref();
    let write_deadline = cluster.write_deadline;
    ClusterVarz {
        name: Some(mesh.cluster_name().0),
        addr: listen.map(|listen| listen.host.clone()),
        cluster_port: listen.map(|_| mesh.port()),
        auth_timeout: Some(seconds(cluster.auth_timeout())),
        urls: cluster.routes.iter().map(RouteUrl::to_string).collect(),
        tls_timeout: Some(tls_timeout(cluster.tls.as_ref())),
        tls_required: cluster.tls.is_some(),
        tls_verify: cluster.tls.is_some(),
        pool_size: Some(cluster.pool_size.map_or(-1, |size| size as i64)),
        write_deadline: (write_deadline != limits::WRITE_DEADLINE_DEFAULT)
            .then(|| nanos(write_deadline)),
        write_timeout: write_timeout(cluster.write_timeout),
        tls_cert_not_after: view.cert_ends.routes.map(Date),
    }
}

impl WebsocketVarz {
    fn of(websocket: &Websocket, view: &View<'_>) -> WebsocketVarz {
        let pinned_certs = websocket.tls.iter().flat_map(|tls| &tls.pinned_certs);
        WebsocketVarz {
            host: websocket.listen.host.clone(),
            port: view.websocket_port,
            advertise: websocket.advertise.clone(),
            no_auth_user: websocket.no_auth_user.clone(),
            handshake_timeout: nanos(websocket.handshake_timeout),
            auth_timeout: websocket.auth_timeout.map(seconds),
            no_tls: websocket.no_tls,
            tls_map: websocket.tls.as_ref().is_some_and(|tls| tls.verify_and_map),
            tls_pinned_certs: pinned_certs.map(|pin| HEXLOWER.encode(pin)).collect(),
            same_origin: websocket.same_origin,
            allowed_origins: websocket.allowed_origins.iter().map(Origin::to_string).collect(),
            compression: websocket.compression,
            tls_cert_not_after: view.cert_ends.websocket.map(Date),
        }
    }
}

impl From<PerKind<u64>> for ByKind {
    fn from(counts: PerKind<u64>) -> ByKind {
        let (clients, routes) = (counts[Kind::Client], counts[Kind::Route]);
        ByKind { clients, routes, ..ByKind::default() }
    }
}

fn tls_timeout(tls: Option<&Tls>) -> Float {
    seconds(tls.map_or(limits::TLS_TIMEOUT_DEFAULT, |tls| tls.timeout))
}

fn write_timeout(write_timeout: WriteTimeout) -> Option<&'static str> {
    match write_timeout {
        WriteTimeout::Default => None,
        WriteTimeout::Close => Some("close"),
        WriteTimeout::Retry => Some("retry"),
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(span: Duration) -> Float {
    Float(span.as_secs_f64())
}
