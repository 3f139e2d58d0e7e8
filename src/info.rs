//! The INFO line: what a server tells about itself, to clients first of all.
//!
//! Fields stand in the real server's order; those that are empty, zero or false are left out
//! where it leaves them out. Not supported: JetStream's `jetstream`, `domain`, `api_lvl`, and
//! `xkey`, which only an auth callout uses.
//! nats: server/server.go `Info`, `generateInfoJSON`

use serde::{Deserialize, Serialize};

/// The JSON object of INFO. Missing fields read as empty, unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Public server nkey, 56 characters.
    pub server_id: String,
    /// Configured name, else the same as `server_id`.
    pub server_name: String,
    /// Version of nats-server that is followed; clients switch features by it.
    pub version: String,
    /// 1: INFO may come again at any time.
    pub proto: u8,
    /// Commit the server was built from.
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
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    /// TLS must begin right after this line.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    /// TLS needs a client certificate.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    /// TLS may begin right after this line.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_available: bool,
    /// Largest payload with its headers, bytes; -1: no limit.
    pub max_payload: i32,
    /// Connection id.
    #[serde(skip_serializing_if = "is_zero")]
    pub client_id: u64,
    /// The client's address as the server sees it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    /// To be signed with an nkey, 15 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// Cluster name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// `host:port` of the servers of the cluster, this one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// The server is about to stop: reconnect elsewhere.
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    /// This is the INFO that follows the first PONG.
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    /// The account this connection belongs to; with `connect_info` only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// That account is the system account.
    #[serde(skip_serializing_if = "is_false")]
    pub acc_is_sys: bool,
}

impl Info {
    /// Appends the whole line. There is a space before its CRLF, as in the real server's.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"INFO ");
        serde_json::to_writer(&mut *out, self).expect("plain data into memory");
        out.extend_from_slice(b" \r\n");
    }

    /// Reads the argument of an INFO line. `null` stands for an empty object, as in Go.
    ///
    /// # Errors
    /// If it is not a JSON object, or a known field has the wrong type.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        if json.trim_ascii_start().starts_with(b"[") {
            // Serde would take a list for the fields in their order.
            return Err(serde::de::Error::custom("a list where an object belongs"));
        }
        serde_json::from_slice::<Option<Self>>(json).map(Option::unwrap_or_default)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
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
