//! The pages of features that are absent: gateways, leaf nodes and JetStream, in their empty form.
//!
//! nats: server/monitor.go `Gatewayz`, `Leafz`, `Jsz`

use serde::Serialize;

use crate::codec::date::Date;
use crate::monitor::params::Params;
use crate::monitor::{QueryError, View};

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

/// A block with nothing in it.
#[derive(Debug, Default, Serialize)]
pub struct Empty {}

/// The document of `/gatewayz`.
#[derive(Debug, Serialize)]
pub struct Gatewayz {
    pub server_id: String,
    pub now: Date,
    pub outbound_gateways: Empty,
    pub inbound_gateways: Empty,
}

/// The document of `/leafz`.
#[derive(Debug, Serialize)]
pub struct Leafz {
    pub server_id: String,
    pub now: Date,
    pub leafnodes: u64,
    pub leafs: [Empty; 0],
}

/// The document of `/jsz`.
#[derive(Debug, Serialize)]
pub struct Jsz {
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub accounts: u64,
    pub ha_assets: u64,
    pub api: JszApi,
    pub server_id: String,
    pub now: Date,
    pub disabled: bool,
    pub config: JszConfig,
    pub streams: u64,
    pub consumers: u64,
    pub messages: u64,
    pub bytes: u64,
    pub total: u64,
}

/// Requests to JetStream's interface.
#[derive(Debug, Default, Serialize)]
pub struct JszApi {
    pub level: u64,
    pub total: u64,
    pub errors: u64,
}

/// Limits of JetStream.
#[derive(Debug, Default, Serialize)]
pub struct JszConfig {
    pub max_memory: u64,
    pub max_storage: u64,
}

/// `/gatewayz` without gateways.
pub fn gatewayz(view: &View<'_>) -> Gatewayz {
    Gatewayz {
        server_id: view.server_id().to_owned(),
        now: view.date(view.now),
        outbound_gateways: Empty {},
        inbound_gateways: Empty {},
    }
}

/// `/leafz` without leaf nodes.
pub fn leafz(view: &View<'_>) -> Leafz {
    let server_id = view.server_id().to_owned();
    Leafz { server_id, now: view.date(view.now), leafnodes: 0, leafs: [] }
}

/// `/jsz` without JetStream.
///
/// # Errors
/// [`QueryError`] for a parameter that is not of its type.
pub fn jsz(view: &View<'_>, params: &Params) -> Result<Jsz, QueryError> {
    for flag in JSZ_FLAGS {
        params.bool(flag)?;
    }
    params.int("offset")?;
    params.int("limit")?;
    Ok(Jsz {
        memory: 0,
        storage: 0,
        reserved_memory: 0,
        reserved_storage: 0,
        accounts: 0,
        ha_assets: 0,
        api: JszApi::default(),
        server_id: view.server_id().to_owned(),
        now: view.date(view.now),
        disabled: true,
        config: JszConfig::default(),
        streams: 0,
        consumers: 0,
        messages: 0,
        bytes: 0,
        total: 0,
    })
}
