//! Trace lines of the input from another server, in the real server's form and without secrets.
//!
//! nats: server/client.go `traceInOp`, server/parser.go `parse`

use crate::config::options::Log;
use crate::conn::{Conn, conn_event};
use crate::machine::traced::{self, redacted, words};
use crate::parser::{RouteOp, RoutedMsg};

/// Traces one op other than a message.
#[inline]
pub(super) fn op(conn: &Conn, op: &RouteOp<'_>) {
    if tracing::enabled!(tracing::Level::TRACE) {
        trace_op(conn, op);
    }
}

/// Traces a message with its payload. True if anything is traced.
#[inline]
pub(super) fn message(conn: &Conn, msg: &RoutedMsg<'_>, log: &Log) -> bool {
    let traced = tracing::enabled!(tracing::Level::TRACE);
    if traced {
        conn_event!(TRACE, conn, "<<- [{}]", message_line(msg));
        traced::message(conn, &msg.publish, log);
    }
    traced
}

#[cold]
fn trace_op(conn: &Conn, op: &RouteOp<'_>) {
    let text = match op {
        RouteOp::Connect(json) => format!("CONNECT {}", redacted(json)),
        RouteOp::Sub { account, subject, queue } => {
            let weight = queue.map(|(_, weight)| weight.to_string()).unwrap_or_default();
            let queue = queue.map_or(&b""[..], |(name, _)| name);
            words(&[b"RS+", account, subject, queue, weight.as_bytes()])
        }
        RouteOp::Unsub { account, subject, queue } => {
            words(&[b"RS-", account, subject, queue.unwrap_or(b"")])
        }
        RouteOp::Ping => "PING".to_owned(),
        RouteOp::Pong => "PONG".to_owned(),
        RouteOp::Msg(_) | RouteOp::Ok | RouteOp::Err(_) | RouteOp::Info(_) | RouteOp::Ignored => {
            return;
        }
    };
    conn_event!(TRACE, conn, "<<- [{text}]");
}

#[cold]
fn message_line(msg: &RoutedMsg<'_>) -> String {
    let publish = &msg.publish;
    let verb: &[u8] = if publish.header_len.is_some() { b"HMSG" } else { b"RMSG" };
    let header_len = publish.header_len.map(|len| len.to_string()).unwrap_or_default();
    let mark: &[u8] = match (msg.queues.is_empty(), publish.reply.is_empty()) {
        (true, _) => b"",
        (false, true) => b"|",
        (false, false) => b"+",
    };
    words(&[
        verb,
        msg.account,
        publish.subject,
        mark,
        publish.reply,
        msg.queues.text(),
        header_len.as_bytes(),
        publish.size_text,
    ])
}
