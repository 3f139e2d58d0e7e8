//! The CONNECT of a server that dials another one.
//!
//! nats: server/route.go `connectInfo`, `sendRouteConnect`, `processRouteConnect`

use std::fmt;

use serde::Serialize;

use crate::codec::info::is_default;
use crate::codec::json::{JsonError, Reader};

/// The options of a dialling server. No text is ever empty.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct RouteConnect {
    /// Without a meaning between servers, but written.
    pub echo: bool,
    /// Wants `+OK` to RS+ and RS-.
    pub verbose: bool,
    /// Without a meaning between servers, but written.
    pub pedantic: bool,
    /// User of the cluster's authorization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<Box<str>>,
    /// Informational: the connection is encrypted.
    pub tls_required: bool,
    /// Takes HMSG.
    pub headers: bool,
    /// Its server id.
    pub name: Option<Box<str>>,
    /// Its cluster; none is refused if this server's has a name.
    pub cluster: Option<Box<str>>,
    /// The name is generated.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_dynamic: bool,
    /// Not sent by servers; refused, as from a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<str>>,
    /// The same.
    #[serde(skip_serializing_if = "is_default")]
    pub new_account: bool,
    /// Language of a client library: it is a client, on the wrong port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<Box<str>>,
    /// Name of a gateway, on the wrong port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Box<str>>,
}

impl RouteConnect {
    /// Reads the argument of CONNECT without its line end.
    ///
    /// # Errors
    /// [`JsonError`] if it is not JSON, or a known option has a value of the wrong type.
    pub fn read(json: &[u8]) -> Result<RouteConnect, JsonError> {
        let mut connect = RouteConnect { echo: true, ..RouteConnect::default() };
        let mut reader = Reader::new(json);
        if !reader.take_null()? {
            reader.object(|reader, key| connect.overlay_option(key, reader))?;
        }
        reader.end()?;
        Ok(connect)
    }

    fn overlay_option(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match key {
            "echo" => reader.overlay_bool(&mut self.echo),
            "verbose" => reader.overlay_bool(&mut self.verbose),
            "pedantic" => reader.overlay_bool(&mut self.pedantic),
            "user" => reader.overlay_text(&mut self.user),
            "pass" => reader.overlay_text(&mut self.pass),
            "tls_required" => reader.overlay_bool(&mut self.tls_required),
            "headers" => reader.overlay_bool(&mut self.headers),
            "name" => reader.overlay_text(&mut self.name),
            "cluster" => reader.overlay_text(&mut self.cluster),
            "cluster_dynamic" => reader.overlay_bool(&mut self.cluster_dynamic),
            "account" => reader.overlay_text(&mut self.account),
            "new_account" => reader.overlay_bool(&mut self.new_account),
            "lang" => reader.overlay_text(&mut self.lang),
            "gateway" => reader.overlay_text(&mut self.gateway),
            _ => reader.skip(),
        }
    }
}

// The password never reaches a log by way of `{:?}`.
impl fmt::Debug for RouteConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteConnect { user, name, cluster, .. } = self;
        f.debug_struct("RouteConnect")
            .field("user", user)
            .field("name", name)
            .field("cluster", cluster)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent by the real server, `lnoc` and its like left out.
    #[test]
    fn what_a_server_says_is_read_and_written() {
        let json = r#"{"echo":true,"verbose":false,"pedantic":false,"user":"u","pass":"p","#
            .to_owned()
            + r#""tls_required":false,"headers":true,"name":"NB","cluster":"X","#
            + r#""cluster_dynamic":true}"#;
        let connect = RouteConnect::read(json.as_bytes()).unwrap();
        assert_eq!(connect.cluster.as_deref(), Some("X"));
        assert_eq!(connect.pass.as_deref(), Some("p"));
        assert!(connect.headers && connect.cluster_dynamic && !connect.verbose);
        assert_eq!(serde_json::to_string(&connect).unwrap(), json);
        assert!(!format!("{connect:?}").contains("\"p\""));
    }

    #[test]
    fn clients_and_gateways_are_told_apart() {
        let connect = RouteConnect::read(br#"{"lang":"go","gateway":"G","lnoc":true}"#).unwrap();
        assert_eq!(connect.lang.as_deref(), Some("go"));
        assert_eq!(connect.gateway.as_deref(), Some("G"));
        assert!(RouteConnect::read(br#"{"cluster":5}"#).is_err());
        assert!(RouteConnect::read(b"{").is_err());
    }
}
