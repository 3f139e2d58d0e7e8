//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.
//!
//! For embedding: [`Server::builder`] starts a server inside the program, [`Server::client`] talks
//! to it without a port. ARCHITECTURE.md lists the modules by what they may know of each other.

pub mod account;
pub mod auth;
pub mod base;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod conn;
pub mod deliver;
pub mod logging;
pub mod machine;
pub mod monitor;
pub mod net;
pub mod parser;
pub mod registry;
pub mod route;
pub mod server;
pub mod sublist;
pub mod tool;

pub use config::options::Options;
pub use server::{Builder, Server, StartError};
pub use tool::line_client::{LineClient, LineOptions};
