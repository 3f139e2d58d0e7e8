//! `ServiceLatency`: the measurement of one request to a service.
//!
//! The requester's server publishes it. If the answer came from another server, it waits for the
//! measurement that was made there, the `m2` of a [`RemoteLatency`].
//! nats: server/accounts.go `ServiceLatency`, `remoteLatency`, `merge`

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::client_info::ClientInfo;
use crate::codec::escaping::Escaping;

/// Values of headers by their names, as Go spells these.
pub type HeaderMap = BTreeMap<String, Vec<String>>;

/// The measurement of one request, in the real server's order; spans in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceLatency<'a> {
    /// [`ServiceLatency::TYPE`].
    #[serde(rename = "type")]
    pub type_: Cow<'a, str>,
    /// A number of its own.
    pub id: Cow<'a, str>,
    /// Its date.
    pub timestamp: Cow<'a, str>,
    /// 200, or the kind of failure.
    pub status: u16,
    /// The failure.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'a, str>,
    /// The client that has asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requestor: Option<ClientInfo<'a>>,
    /// The client that has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responder: Option<ClientInfo<'a>>,
    /// The headers by which the request asked to be measured.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub header: HeaderMap,
    /// The date when the requester sent it.
    pub start: Cow<'a, str>,
    /// The time of the service alone.
    pub service: i64,
    /// The time of the servers.
    pub system: i64,
    /// All of it.
    pub total: i64,
}

/// A measurement made by the server of the client that answers, for the requester's one.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteLatency<'a> {
    /// The account with the service.
    pub account: Cow<'a, str>,
    /// The reply subject of the request there.
    pub req_id: Cow<'a, str>,
    /// The measurement.
    pub m2: ServiceLatency<'a>,
}

impl ServiceLatency<'_> {
    /// `type` of every measurement that is published.
    pub const TYPE: &'static str = "io.nats.server.metric.v1.service_latency";

    /// Date of one that is not published.
    pub const NO_DATE: &'static str = "0001-01-01T00:00:00Z";

    /// Takes over the times of the server where the answer came from.
    pub fn merge(&mut self, m2: ServiceLatency<'static>) {
        let rtt = m2.responder.as_ref().map_or(0, |responder| responder.rtt as i64);
        self.system = (self.service - (m2.service + rtt)).max(0);
        self.service = m2.service.max(0);
        self.responder = m2.responder;
    }

    /// It as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

impl RemoteLatency<'_> {
    /// It as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    serde_json::to_writer(Escaping(&mut json), value).expect("plain data into memory");
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded between two real servers.
    const M2: &str = concat!(
        r#"{"account":"A","req_id":"_R_.SDXTQR.awb3ls.sQnRv29R.T","m2":{"type":"","id":"","#,
        r#""timestamp":"0001-01-01T00:00:00Z","status":200,"responder":{"host":"127.0.0.1","#,
        r#""id":8,"acc":"A","rtt":192876,"server":"S2","cluster":"CC","kind":"Client","#,
        r#""client_type":"nats"},"start":"2026-11-29T19:38:10.60086331Z","service":200637954,"#,
        r#""system":0,"total":200830181}}"#
    );

    #[test]
    fn what_comes_from_a_real_server_goes_out_the_same() {
        let remote: RemoteLatency<'static> = serde_json::from_str(M2).unwrap();
        assert_eq!(String::from_utf8(remote.to_json()).unwrap(), M2);
        let mut m1 =
            ServiceLatency { status: 200, service: 201_342_810, ..ServiceLatency::default() };
        m1.merge(remote.m2);
        assert_eq!((m1.service, m1.system), (200_637_954, 511_980));
        assert_eq!(m1.responder.unwrap().server, "S2");
    }
}
