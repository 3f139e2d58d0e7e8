//! Trace lines of a client's input, in the real server's form and without secrets.
//!
//! nats: server/client.go `traceInOp`

use crate::config::options::Log;
use crate::conn::subscription::Subscription;
use crate::conn::{Conn, conn_event};
use crate::machine::traced::{self, redacted, words};
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
#[cold]
pub(super) fn mapping(conn: &Conn, published: &[u8], subject: &[u8]) {
    let [published, subject] = [published, subject].map(String::from_utf8_lossy);
    conn_event!(TRACE, conn, "<<- [MAPPING {published} -> {subject}]");
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
    traced::message(conn, publish, log);
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
