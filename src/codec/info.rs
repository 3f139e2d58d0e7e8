//! The INFO line: facts about a server, for clients and for other servers.
//!
//! Fields stand in the real server's order; empty, zero and false ones are left out like there.
//! Not supported: JetStream's `jetstream`, `domain`, `api_lvl`; `xkey`, which only an auth callout
//! uses; fields of gateways and leaf nodes.
//! nats: server/server.go `Info`, `generateInfoJSON`

use serde::{Deserialize, Serialize};

/// Mode of gossip: the server that this INFO is about does not forward INFO in return.
pub const GOSSIP_DISABLED: u8 = 1;
/// Mode of gossip: the INFO is forwarded, although the server is known only by gossip.
pub const GOSSIP_OVERRIDE: u8 = 2;

/// Facts about a server, as [`LineClient::info`](crate::LineClient::info) shows them: the JSON
/// object of INFO. Missing fields read as empty, unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Info {
    /// Public server nkey, 56 characters.
    pub server_id: String,
    /// Configured name, else the same as `server_id`.
    pub server_name: String,
    /// Version of nats-server whose behaviour this is; clients switch features by it.
    pub version: String,
    /// 1: INFO may come again at any time.
    pub proto: u8,
    /// Commit of the build, seven digits; sent to clients only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Go version of the real server; some clients print it.
    pub go: String,
    /// Address for clients, as configured or advertised.
    pub host: String,
    /// Port for clients, as configured or advertised.
    pub port: u16,
    /// HPUB and HMSG are understood.
    pub headers: bool,
    /// CONNECT needs credentials.
    #[serde(skip_serializing_if = "is_default")]
    pub auth_required: bool,
    /// TLS must begin right after this line.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_required: bool,
    /// TLS needs a client certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_verify: bool,
    /// TLS may begin right after this line.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_available: bool,
    /// Largest payload with its headers, bytes; -1: no limit.
    pub max_payload: i32,
    /// `nats-route://host:port/`: the address for routes of the server in a forwarded INFO.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ip: String,
    /// Connection id.
    #[serde(skip_serializing_if = "is_default")]
    pub client_id: u64,
    /// The client's address as the server sees it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    /// Text to sign with an nkey, 15 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// Cluster name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The name is generated.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cluster_dynamic: bool,
    /// `host:port` of the servers of the cluster, this one first; on a route those of the sender.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// The same for websocket clients; not sent to clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ws_connect_urls: Vec<String>,
    /// Other values of the above for websocket clients, if there is a port for them.
    #[serde(skip)]
    pub(crate) websocket: Option<WebsocketInfo>,
    /// The server is about to stop: reconnect elsewhere.
    #[serde(skip_serializing_if = "is_default")]
    pub ldm: bool,
    /// Compression offered for a route, or in use from now on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) compression: String,
    /// Marks the INFO that follows the first PONG.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) connect_info: bool,
    /// The account this connection belongs to; with `connect_info` only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) remote_account: String,
    /// The account is the system account.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) acc_is_sys: bool,
    /// Subjects whose interest the sender announces; none means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) import: Option<Subjects>,
    /// Subjects whose interest the sender honours; none means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) export: Option<Subjects>,
    /// The sender's own pool size; 0 if it does not pool.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) route_pool_size: i64,
    /// Index of this connection, sent by the dialling server.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) route_pool_idx: i64,
    /// The account that this connection is dedicated to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) route_account: String,
    /// Id of a reload that gave that account its own connection; echoed without the account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) route_acc_add_reqid: String,
    /// 0: the reader decides whether it forwards a dialled route; 1: it does not; 2: it does.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) gossip_mode: u8,
}

/// Values in the INFO of clients that come by WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebsocketInfo {
    /// Address of their port, as configured.
    pub(crate) host: String,
    /// That port.
    pub(crate) port: u16,
    /// CONNECT needs credentials.
    pub(crate) auth_required: bool,
    /// The port has TLS.
    pub(crate) encrypted: bool,
}

/// Subjects that may cross between two servers. A subject in both lists may not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subjects {
    /// Allowed patterns; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Denied patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl Info {
    /// The value in place of the real server's Go version.
    pub(crate) const GO: &str = concat!("dialtone ", env!("CARGO_PKG_VERSION"));

    /// True if the server is a dialtone.
    pub(crate) fn is_dialtone(&self) -> bool {
        self.go.starts_with("dialtone ")
    }

    /// The form for clients, by the way they come.
    pub(crate) fn for_clients(mut self, by_websocket: bool) -> Self {
        let urls = std::mem::take(&mut self.ws_connect_urls);
        if let Some(websocket) = self.websocket.take().filter(|_| by_websocket) {
            self.connect_urls = urls;
            (self.host, self.port) = (websocket.host, websocket.port);
            self.auth_required = websocket.auth_required;
            (self.tls_required, self.tls_available) = (websocket.encrypted, websocket.encrypted);
        }
        self
    }

    /// Appends the whole line. There is a space before its CRLF, as in the real server's.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"INFO ");
        serde_json::to_writer(&mut *out, self).expect("plain data into memory");
        out.extend_from_slice(b" \r\n");
    }

    /// Reads the argument of an INFO line. `null` stands for an empty object, as in Go.
    ///
    /// # Errors
    /// If it is not a JSON object, or a known field has the wrong type.
    pub(crate) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        if json.trim_ascii_start().starts_with(b"[") {
            // Serde would take a list for the fields in their order.
            return Err(serde::de::Error::custom("a list where an object belongs"));
        }
        serde_json::from_slice::<Option<Self>>(json).map(Option::unwrap_or_default)
    }
}

/// True for zero, empty or false, which JSON leaves out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_real_servers_shape() {
        let mut info = Info {
            server_id: "NDVY".into(),
            server_name: "n1".into(),
            version: "2.15.1".into(),
            proto: 1,
            go: "go1.27.2".into(),
            host: "127.0.0.1".into(),
            port: 21000,
            headers: true,
            max_payload: 1_048_576,
            client_id: 5,
            client_ip: "127.0.0.1".into(),
            ..Info::default()
        };
        let mut line = Vec::new();
        info.write(&mut line);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(
            text,
            "INFO {\"server_id\":\"NDVY\",\"server_name\":\"n1\",\"version\":\"2.15.1\",\
             \"proto\":1,\"go\":\"go1.27.2\",\"host\":\"127.0.0.1\",\"port\":21000,\
             \"headers\":true,\"max_payload\":1048576,\"client_id\":5,\
             \"client_ip\":\"127.0.0.1\"} \r\n"
        );
        assert_eq!(Info::read(&text.as_bytes()["INFO ".len()..]).unwrap(), info);

        info.connect_urls = vec!["a:1".into(), "b:2".into()];
        info.ldm = true;
        info.connect_info = true;
        info.remote_account = "$G".into();
        let mut line = Vec::new();
        info.write(&mut line);
        assert!(line.ends_with(
            b"\"client_ip\":\"127.0.0.1\",\"connect_urls\":[\"a:1\",\"b:2\"],\
              \"ldm\":true,\"connect_info\":true,\"remote_account\":\"$G\"} \r\n"
        ));
    }

    /// Sent by the real server to another one; without unsupported fields.
    #[test]
    fn a_routes_line_is_read_and_written() {
        let json = r#"{"server_id":"NB","server_name":"B","version":"2.15.1","proto":3,"#
            .to_owned()
            + r#""go":"go1.27.2","host":"127.0.0.1","port":21011,"headers":true,"#
            + r#""max_payload":1048576,"ip":"nats-route://127.0.0.1:21011/","#
            + r#""nonce":"GnZFiBllY9oqYPA","cluster":"X","cluster_dynamic":true,"#
            + r#""connect_urls":["127.0.0.1:21002"],"ldm":true,"compression":"off","#
            + r#""import":{"allow":["imp.>"]},"export":{"deny":["a","b.*"]},"#
            + r#""route_pool_size":3,"route_pool_idx":1,"route_account":"$SYS","#
            + r#""route_acc_add_reqid":"r","gossip_mode":1}"#;
        let info = Info::read(json.as_bytes()).unwrap();
        assert_eq!((info.route_pool_size, info.gossip_mode, info.cluster_dynamic), (3, 1, true));
        assert_eq!(info.import.as_ref().unwrap().allow, ["imp.>"]);
        let mut line = Vec::new();
        info.write(&mut line);
        assert_eq!(String::from_utf8(line).unwrap(), format!("INFO {json} \r\n"));
    }

    #[test]
    fn the_real_servers_own_line_is_read() {
        let info = Info::read(
            br#"{"server_id":"NDVY","server_name":"n1","version":"2.15.1","proto":1,
            "git_commit":"b2fd3ef","go":"go1.27.2","host":"::1","port":1,"headers":true,
            "max_payload":-1,"client_id":5,"client_ip":"::1","api_lvl":5,"xkey":"XAGF"} "#,
        );
        let info = info.unwrap();
        assert_eq!((info.max_payload, info.git_commit.as_deref()), (-1, Some("b2fd3ef")));
    }
}
