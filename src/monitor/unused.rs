//! The pages of features that are absent: gateways, leaf nodes and JetStream, in their empty form.
//!
//! nats: server/monitor.go `Gatewayz`, `Leafz`, `Jsz`

use serde_json::{Value, json};

use crate::monitor::params::Params;
use crate::monitor::{Refused, View};

const JSZ_FLAGS: [&str; 8] = [
    "accounts",
    "streams",
    "consumers",
    "direct-consumers",
    "config",
    "leader-only",
    "raft",
    "stream-leader-only",
];

/// `/gatewayz` without gateways.
pub fn gatewayz(view: &View<'_>) -> Value {
    json!({
        "server_id": view.server_id(),
        "now": view.date(view.now),
        "outbound_gateways": {},
        "inbound_gateways": {},
    })
}

/// `/leafz` without leaf nodes.
pub fn leafz(view: &View<'_>) -> Value {
    json!({
        "server_id": view.server_id(),
        "now": view.date(view.now),
        "leafnodes": 0,
        "leafs": [],
    })
}

/// `/jsz` without JetStream.
///
/// # Errors
/// [`Refused`] for a parameter that is not of its type.
pub fn jsz(view: &View<'_>, params: &Params) -> Result<Value, Refused> {
    for flag in JSZ_FLAGS {
        params.bool(flag)?;
    }
    params.int("offset")?;
    params.int("limit")?;
    Ok(json!({
        "memory": 0,
        "storage": 0,
        "reserved_memory": 0,
        "reserved_storage": 0,
        "accounts": 0,
        "ha_assets": 0,
        "api": { "level": 0, "total": 0, "errors": 0 },
        "server_id": view.server_id(),
        "now": view.date(view.now),
        "disabled": true,
        "config": { "max_memory": 0, "max_storage": 0 },
        "streams": 0,
        "consumers": 0,
        "messages": 0,
        "bytes": 0,
        "total": 0,
    }))
}
