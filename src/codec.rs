//! Bytes to values and back, for everything but the ops of a port: those are the
//! [parser](crate::parser)'s.
//!
//! Uses nothing else of this crate.

pub mod connect;
pub mod encoder;
pub mod escaping;
pub mod headers;
pub mod http_head;
pub mod info;
