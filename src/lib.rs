//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.

pub mod account;
pub mod auth;
pub mod cli;
pub mod commands;
pub mod conf;
pub mod conn;
pub mod connect;
pub mod deliver;
pub mod duration;
pub mod encoder;
pub mod errors;
pub mod headers;
pub mod ids;
pub mod info;
pub mod limits;
pub mod line_client;
pub mod moment;
pub mod options;
pub mod outbound;
pub mod parser;
pub mod permissions;
pub mod registry;
pub mod stats;
pub mod subject;
pub mod sublist;
pub mod subscription;
