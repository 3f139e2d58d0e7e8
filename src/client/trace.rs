//! Trace lines of a client's input, in the real server's form and without secrets.
//!
//! nats: server/client.go `traceInOp`, `traceMsgInternal`, `removeSecretsFromTrace`

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::base::quoted::Quoted;
use crate::config::options::Log;
use crate::conn::Conn;
use crate::conn::conn_event;
use crate::conn::subscription::Subscription;
use crate::parser::{Op, Publish};

/// Traces one op other than a publication.
#[inline]
pub(super) fn op(conn: &Conn, op: &Op<'_>) {
    if tracing::enabled!(tracing::Level::TRACE) {
        trace_op(conn, op);
    }
}

/// Traces a publication with its payload. True if anything is traced.
#[inline]
pub(super) fn publish(conn: &Conn, publish: &Publish<'_>, log: &Log) -> bool {
    let traced = tracing::enabled!(tracing::Level::TRACE);
    if traced {
        trace_publish(conn, publish, log);
    }
    traced
}

/// Traces the other subject of a publication, or its loss.
#[inline]
pub(super) fn mapping(conn: &Conn, published: &[u8], subject: &[u8]) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let [published, subject] = [published, subject].map(String::from_utf8_lossy);
        conn_event!(TRACE, conn, "<<- [MAPPING {published} -> {subject}]");
    }
}

#[cold]
fn trace_op(conn: &Conn, op: &Op<'_>) {
    let text = match op {
        Op::Connect(json) => format!("CONNECT {}", redacted(json)),
        Op::Sub { subject, queue, sid } => words(&[b"SUB", subject, queue.unwrap_or(b""), sid]),
        Op::Unsub { sid, max } => words(&[b"UNSUB", sid, max.unwrap_or(b"")]),
        Op::Ping => "PING".to_owned(),
        Op::Pong => "PONG".to_owned(),
        Op::Publish(_) | Op::Ok | Op::Err(_) | Op::Info(_) | Op::BeforeConnect => return,
    };
    conn_event!(TRACE, conn, "<<- [{text}]");
}

#[cold]
fn trace_publish(conn: &Conn, publish: &Publish<'_>, log: &Log) {
    conn_event!(TRACE, conn, "<<- [{}]", publish_line(publish));
    let shown = if log.trace_headers {
        publish.header().strip_suffix(b"\r\n\r\n").unwrap_or(publish.header())
    } else {
        publish.message
    };
    let max = if log.max_traced_msg_len == 0 { shown.len() } else { log.max_traced_msg_len };
    if !shown.is_empty() {
        conn_event!(TRACE, conn, "<<- MSG_PAYLOAD: [{}]", payload(shown, max));
    }
}

/// A payload in quotes, cut after `max` bytes.
fn payload(shown: &[u8], max: usize) -> String {
    let Some(cut) = shown.get(..max).filter(|cut| cut.len() < shown.len()) else {
        return Quoted(shown).to_string();
    };
    let quoted = Quoted(cut).to_string();
    format!("{}...\"", &quoted[..quoted.len() - 1])
}

/// Traces the subscriptions that end with their connection.
pub(super) fn removed(conn: &Conn, subscriptions: &[Subscription]) {
    for subscription in subscriptions {
        let sid = String::from_utf8_lossy(subscription.sid());
        conn_event!(TRACE, conn, "<-> [DELSUB {sid}]");
    }
}

fn publish_line(publish: &Publish<'_>) -> String {
    match publish.header_len {
        None => words(&[b"PUB", publish.subject, publish.reply, publish.size_text]),
        Some(len) => {
            let len = len.to_string();
            let parts: [&[u8]; 5] =
                [b"HPUB", publish.subject, publish.reply, len.as_bytes(), publish.size_text];
            words(&parts)
        }
    }
}

/// Joins the parts that are not empty.
fn words(parts: &[&[u8]]) -> String {
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
fn redacted(json: &[u8]) -> String {
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
