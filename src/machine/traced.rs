//! Parts of the trace lines of clients and of other servers, in the real server's form and without
//! secrets; the lines of the server's own client.
//!
//! nats: server/client.go `traceMsgInternal`, `removeSecretsFromTrace`, `setTraceLevel`

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::base::quoted::Quoted;
use crate::config::options::Log;
use crate::conn::{Conn, conn_event};
use crate::parser::Publish;

/// Traces headers and payload of a message that has come from a connection, or its headers alone.
pub(crate) fn message(conn: &Conn, publish: &Publish<'_>, log: &Log) {
    if let Some(payload) = shown_payload(publish, log) {
        conn_event!(TRACE, conn, "<<- MSG_PAYLOAD: [{payload}]");
    }
}

/// Traces a message of the server's own client, if that is asked for.
pub(crate) fn own_message(publish: &Publish<'_>, log: &Log) {
    if !log.trace_verbose {
        return;
    }
    let remote = "SYSTEM";
    let [subject, reply] = [publish.subject, publish.reply].map(String::from_utf8_lossy);
    tracing::trace!(remote, "<<- [PUB {subject} {reply} {}]", publish.len());
    if let Some(payload) = shown_payload(publish, log) {
        tracing::trace!(remote, "<<- MSG_PAYLOAD: [{payload}]");
    }
}

/// Headers and payload of a message, or its headers alone; none if there is nothing to show.
fn shown_payload(publish: &Publish<'_>, log: &Log) -> Option<String> {
    let shown = if log.trace_headers {
        publish.header().strip_suffix(b"\r\n\r\n").unwrap_or(publish.header())
    } else {
        publish.message
    };
    let max = if log.max_traced_msg_len == 0 { shown.len() } else { log.max_traced_msg_len };
    (!shown.is_empty()).then(|| payload(shown, max))
}

/// A payload in quotes, cut after `max` bytes.
fn payload(shown: &[u8], max: usize) -> String {
    let Some(cut) = shown.get(..max).filter(|cut| cut.len() < shown.len()) else {
        return Quoted(shown).to_string();
    };
    let quoted = Quoted(cut).to_string();
    format!("{}...\"", &quoted[..quoted.len() - 1])
}

/// Joins the parts that are not empty.
pub(crate) fn words(parts: &[&[u8]]) -> String {
    let mut text = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let blank = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{blank}{}", String::from_utf8_lossy(part));
    }
    text
}

/// The members of CONNECT with secret values.
const SECRETS: [&str; 5] = ["pass", "auth_token", "jwt", "sig", "proxy_sig"];

/// CONNECT's JSON with its secrets replaced. Any JSON other than an object is not shown at all.
pub(crate) fn redacted(json: &[u8]) -> String {
    const REDACTED: &str = "[REDACTED]";
    let Ok(Members(mut members)) = serde_json::from_slice(json) else {
        return REDACTED.to_owned();
    };
    for (name, value) in &mut members {
        if SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            *value = REDACTED.into();
        }
    }
    let members: Vec<_> =
        members.iter().map(|(name, value)| format!("{}:{value}", Value::from(&**name))).collect();
    format!("{{{}}}", members.join(","))
}

/// The members of a JSON object, in the order of its text.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_payload_is_cut_inside_its_quotes() {
        assert_eq!(payload(b"a\"\0", 3), "\"a\\\"\\x00\"");
        assert_eq!(payload(b"abcd", 3), "\"abc...\"");
    }

    #[test]
    fn secrets_are_not_shown() {
        let json = br#"{"user":"a\"", "PASS":"x","auth_token":{"y":1},"echo":false}"#;
        let shown = r#"{"user":"a\"","PASS":"[REDACTED]","auth_token":"[REDACTED]","echo":false}"#;
        assert_eq!(redacted(json), shown);
        assert_eq!(redacted(b"{pass:secret"), "[REDACTED]");
    }
}
