//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.

pub mod auth;
pub mod cli;
pub mod commands;
pub mod conf;
pub mod connect;
pub mod duration;
pub mod encoder;
pub mod errors;
pub mod headers;
pub mod ids;
pub mod info;
pub mod limits;
pub mod line_client;
pub mod options;
pub mod permissions;
pub mod stats;
pub mod subject;
pub mod sublist;
