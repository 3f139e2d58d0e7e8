//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.
//!
//! For embedding: [`Server::builder`] starts a server inside the program, [`Server::client`] talks
//! to it without a port. ARCHITECTURE.md lists the modules by what they may know of each other.

mod account;
mod auth;
mod base;
mod client;
mod clock;
mod codec;
pub mod config;
mod conn;
mod deliver;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod logging;
mod machine;
mod monitor;
mod net;
mod parser;
#[doc(hidden)]
pub mod program;
mod registry;
mod route;
mod server;
mod sublist;
mod tool;

pub use base::errors::ClosedReason;
pub use codec::info::Info;
pub use config::options::Options;
pub use server::{Builder, PortFor, Server, StartError};
pub use tool::line_client::server_op::ServerOpErr;
pub use tool::line_client::{LineClient, LineErr, LineOptions, Message, Publish, Subscription};
