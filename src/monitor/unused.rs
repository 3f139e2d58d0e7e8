//! The documents of features that are absent: gateways, leaf nodes, JetStream and Go's runtime, in
//! their empty form.
//!
//! nats: server/monitor.go `Gatewayz`, `Leafz`, `Jsz`, `Raftz`, `Ipqueuesz`, `expvarz`, `profilez`

use serde::Serialize;

use crate::base::quoted::Quoted;
use crate::codec::date::Date;
use crate::codec::json::{JsonError, Reader};
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

/// The document of `EXPVARZ`.
#[derive(Debug, Default, Serialize)]
pub struct Expvarz {
    pub memstats: Empty,
    pub cmdline: [Empty; 0],
}

/// The document of `PROFILEZ`.
#[derive(Debug, Serialize)]
pub struct Profilez {
    pub profile: Option<Empty>,
    pub error: String,
}

/// `PROFILEZ` without Go's profiler.
pub fn profilez(name: &str) -> Profilez {
    let error = match name {
        "" => "Profile name not specified".to_owned(),
        _ => format!("Profile {} not found", Quoted(name.as_bytes())),
    };
    Profilez { profile: None, error }
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

/// Checks the parameters of `/jsz`.
///
/// # Errors
/// [`QueryError`] for one that is not of its type.
pub fn check_jsz(params: &Params) -> Result<(), QueryError> {
    for flag in JSZ_FLAGS {
        params.bool(flag)?;
    }
    params.int("offset")?;
    params.int("limit")?;
    Ok(())
}

/// Takes the value of an option of one of these documents that changes nothing.
///
/// # Errors
/// [`JsonError`] if it is of another type.
pub fn overlay(option: &str, options: &[(&str, Type)], reader: &mut Reader<'_>) -> Overlaid {
    match options.iter().find(|(known, _)| *known == option) {
        Some((_, Type::Bool)) => reader.overlay_bool(&mut false),
        Some((_, Type::Int)) => reader.overlay_number(&mut 0_i64, "int"),
        Some((_, Type::Duration)) => reader.overlay_number(&mut 0_i64, "time.Duration"),
        Some((_, Type::String)) => reader.overlay_string(&mut String::new(), "string"),
        None => reader.skip(),
    }
}

/// The result of [`overlay`].
type Overlaid = Result<(), JsonError>;

/// The type of an option.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Bool,
    Int,
    Duration,
    String,
}

/// The options of `GATEWAYZ`.
pub const GATEWAYZ: &[(&str, Type)] = &[
    ("name", Type::String),
    ("accounts", Type::Bool),
    ("account_name", Type::String),
    ("subscriptions", Type::Bool),
    ("subscriptions_detail", Type::Bool),
];

/// The options of `LEAFZ`.
pub const LEAFZ: &[(&str, Type)] = &[("subscriptions", Type::Bool), ("account", Type::String)];

/// The options of `JSZ`, but for `leader_only`.
pub const JSZ: &[(&str, Type)] = &[
    ("account", Type::String),
    ("accounts", Type::Bool),
    ("streams", Type::Bool),
    ("consumer", Type::Bool),
    ("direct_consumer", Type::Bool),
    ("config", Type::Bool),
    ("offset", Type::Int),
    ("limit", Type::Int),
    ("raft", Type::Bool),
    ("stream_leader_only", Type::Bool),
];

/// The options of `RAFTZ`.
pub const RAFTZ: &[(&str, Type)] = &[("account", Type::String), ("group", Type::String)];

/// The options of `IPQUEUESZ`.
pub const IPQUEUESZ: &[(&str, Type)] = &[("all", Type::Bool), ("filter", Type::String)];

/// The options of `PROFILEZ`, but for `name`.
pub const PROFILEZ: &[(&str, Type)] = &[("debug", Type::Int), ("duration", Type::Duration)];

/// `/jsz` without JetStream.
pub fn jsz(view: &View<'_>) -> Jsz {
    Jsz {
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
    }
}
