//! `ClientInfo`: a client, as events and services get to know it.
//!
//! A request that an import passes on brings its requester as JSON in a header, which services
//! trust: headers of that name that the requester wrote itself do not pass.
//! nats: server/events.go `ClientInfo`; server/client.go `getClientInfo`, `setHeader`
//! nats-differs: there, only the header's usual spelling is taken out of a request.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::codec::escaping::Escaping;
use crate::codec::headers;

/// Name of the header.
pub const HEADER: &str = "Nats-Request-Info";

/// A client, in the real server's order. A service sees only `acc` and `rtt` unless the account
/// shares the others; it never sees `stop` and `name_tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo<'a> {
    /// The time of its connect, in RFC 3339.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub start: Cow<'a, str>,
    /// Its address.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub host: Cow<'a, str>,
    /// Its cid.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u64,
    /// Its account.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub acc: Cow<'a, str>,
    /// The account whose import was the last one of several.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub svc: Cow<'a, str>,
    /// Its user.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: Cow<'a, str>,
    /// Its name, as CONNECT has it; so the next two.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Cow<'a, str>,
    /// The language of its library.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub lang: Cow<'a, str>,
    /// The version of its library.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub ver: Cow<'a, str>,
    /// Its round trip time, nanoseconds; 0 while unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub rtt: u64,
    /// The name of its server.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub server: Cow<'a, str>,
    /// The cluster of that server.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cluster: Cow<'a, str>,
    /// The time of its end, in RFC 3339.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub stop: Cow<'a, str>,
    /// The name of its account.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name_tag: Cow<'a, str>,
    /// `Client`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Cow<'a, str>,
    /// `nats` or `websocket`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_type: Cow<'a, str>,
}

impl ClientInfo<'_> {
    /// Appends the header block of a request, which may be empty, with the requester as its last
    /// header.
    pub fn write_block(&self, block: &[u8], out: &mut Vec<u8>) {
        headers::write_with_last(block, HEADER, |out| self.write(out), out);
    }

    /// Appends it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(Escaping(out), self).expect("plain data into memory");
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_there() {
        let mut out = Vec::new();
        ClientInfo { acc: "B".into(), rtt: 236_273, ..ClientInfo::default() }.write(&mut out);
        assert_eq!(out, br#"{"acc":"B","rtt":236273}"#);
    }

    #[test]
    fn all_stands_in_the_real_servers_order() {
        let info = ClientInfo {
            start: "2026-11-29T19:38:10.599133107Z".into(),
            host: "127.0.0.1".into(),
            id: 11,
            acc: "D<".into(),
            svc: "B".into(),
            user: "b".into(),
            name: "reqB".into(),
            lang: "py".into(),
            ver: "9".into(),
            rtt: 7,
            server: "S1".into(),
            cluster: "CC".into(),
            stop: "2026-11-29T19:42:06.121589574Z".into(),
            name_tag: "D".into(),
            kind: "Client".into(),
            client_type: "nats".into(),
        };
        let mut out = Vec::new();
        info.write(&mut out);
        let text = concat!(
            r#"{"start":"2026-11-29T19:38:10.599133107Z","host":"127.0.0.1","id":11,"#,
            r#""acc":"D\u003c","svc":"B","user":"b","name":"reqB","lang":"py","ver":"9","rtt":7,"#,
            r#""server":"S1","cluster":"CC","stop":"2026-11-29T19:42:06.121589574Z","#,
            r#""name_tag":"D","kind":"Client","client_type":"nats"}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(serde_json::from_str::<ClientInfo<'_>>(text).unwrap(), info);
    }
}
