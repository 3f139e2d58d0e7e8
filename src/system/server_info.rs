//! `ServerInfo`: this server, in each of its messages.
//!
//! nats: server/events.go `ServerInfo`

use std::collections::BTreeMap;

use serde::Serialize;

use crate::codec::date::Date;
use crate::monitor::View;
use crate::monitor::varz::FEATURE_FLAGS;

/// This server, in the real server's order.
#[derive(Serialize)]
pub(super) struct ServerInfo<'a> {
    name: String,
    host: String,
    id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster: String,
    ver: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: Date,
}

/// This server, as `IDZ` answers.
#[derive(Serialize)]
pub(super) struct ServerId<'a> {
    name: String,
    host: String,
    id: &'a str,
}

impl ServerInfo<'_> {
    /// For the message with that number.
    pub(super) fn new<'a>(view: &View<'a>, seq: u64) -> ServerInfo<'a> {
        let info = view.registry.info();
        let options = &view.settings.options;
        ServerInfo {
            name: info.server_name,
            host: info.host,
            id: view.registry.server_id.as_str(),
            cluster: view.cluster_name(),
            ver: info.version,
            tags: &options.server_tags,
            metadata: &options.server_metadata,
            feature_flags: BTreeMap::from(FEATURE_FLAGS),
            jetstream: false,
            flags: 0,
            seq,
            time: Date(view.wall()),
        }
    }
}

impl ServerId<'_> {
    pub(super) fn new<'a>(view: &View<'a>) -> ServerId<'a> {
        let info = view.registry.info();
        let id = view.registry.server_id.as_str();
        ServerId { name: info.server_name, host: info.host, id }
    }
}
