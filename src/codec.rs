//! Bytes to values and back, except the ops of a port: those belong to the
//! [parser](crate::parser).
//!
//! Uses nothing else of this crate.

pub mod client_info;
pub mod connect;
pub mod content_encoding;
pub mod date;
pub mod encoder;
pub mod escaping;
pub mod headers;
pub mod http_head;
pub mod info;
pub mod json;
pub mod msg_trace;
pub mod s2;
pub mod service_latency;
pub mod trace_headers;
pub mod upgrade;
pub mod websocket;
