//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.
//!
//! For embedding: [`Server::builder`] starts a server inside the program, [`Server::client`] talks
//! to it without a port. ARCHITECTURE.md lists the modules by what they may know of each other.

pub mod account;
pub mod auth;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod compression;
pub mod conf;
pub mod conn;
pub mod connect;
pub mod deliver;
pub mod duration;
pub mod encoder;
pub mod errors;
#[cfg(test)]
mod fuzzing;
pub mod headers;
pub mod http_head;
pub mod ids;
pub mod info;
pub mod limits;
pub mod line_client;
pub mod logging;
pub mod machine;
pub mod moment;
pub mod monitor;
pub mod net;
pub mod options;
pub mod os_error;
pub mod outbound;
pub mod parser;
pub mod permissions;
pub mod pings;
pub mod registry;
pub mod route;
pub mod route_url;
pub mod server;
pub mod stats;
pub mod subject;
pub mod sublist;
mod sync;
pub mod table;
pub mod turns;

pub use line_client::{LineClient, LineOptions};
pub use options::Options;
pub use server::{Builder, Server, StartError};
