//! INFO of this server, from its settings.
//!
//! nats: server/server.go `NewServer`, server/reload.go `tlsOption.Apply`, `maxPayloadOption.Apply`

use crate::base::limits::{PROTO, PROTOCOL_VERSION};
use crate::codec::info::{Info, WebsocketInfo};
use crate::config::options::{ConnectionType, Tls};
use crate::registry::Registry;
use crate::registry::settings::Settings;

/// The first INFO, without the address, which [`Listeners`](super::listeners) announce.
pub(super) fn first(registry: &Registry) -> Info {
    let settings = registry.settings();
    let options = &settings.options;
    let id = registry.server_id.to_string();
    let mut info = Info {
        server_name: options.server_name.clone().unwrap_or_else(|| id.clone()),
        server_id: id,
        version: PROTOCOL_VERSION.to_owned(),
        proto: PROTO,
        git_commit: option_env!("DIALTONE_COMMIT").map(str::to_owned),
        go: Info::GO.to_owned(),
        headers: !options.no_header_support,
        websocket: options.websocket.as_ref().map(|websocket| WebsocketInfo {
            encrypted: websocket.tls.is_some(),
            ..WebsocketInfo::default()
        }),
        ..Info::default()
    };
    describe(&settings, &mut info);
    info
}

/// Sets the fields of INFO that other settings change.
pub(super) fn describe(settings: &Settings, info: &mut Info) {
    let options = &settings.options;
    let auth_required = |by| settings.clients(by).authenticator.required();
    info.tls_required = options.tls.is_some() && !options.allow_non_tls;
    info.tls_verify = options.tls.as_ref().is_some_and(Tls::verifies);
    info.tls_available = options.tls.is_some() && options.allow_non_tls;
    info.auth_required = auth_required(ConnectionType::Standard);
    if let Some(websocket) = &mut info.websocket {
        websocket.auth_required = auth_required(ConnectionType::Websocket);
    }
    info.max_payload = options.max_payload;
}
