//! A fire-and-forget subject bus that speaks the NATS protocol, as a value in your program.
//!
//! A [`Server`] serves unmodified NATS clients in place of nats-server, and the program itself
//! without a port: [`Server::client`] is a small client, [`Server::connect`] a stream of bytes for
//! any other.
//!
//! ```
//! use dialtone::{LineOptions, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().host("127.0.0.1").port(0).start().await?;
//! let address = server.client_addr().expect("it has a port for clients");
//! println!("other programs connect to nats://{address}");
//!
//! let client = server.client(&LineOptions::default()).await?;
//! let mut orders = client.subscribe("orders.*", None).await?;
//! client.publish("orders.new", "four teapots").await?;
//! let order = orders.next().await.expect("it was published");
//! assert_eq!(order.payload, "four teapots");
//!
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | set up a server | [`Builder`], [`Options`] and their blocks in [`config`] |
//! | read nats-server's configuration files | [`Builder::config_file`], [`config::load`] |
//! | publish, subscribe, request | [`LineClient`] |
//! | encrypt | [`Builder::tls`], [`Builder::rustls`] |
//! | look inside | [`Server::varz`], [`Server::connz`] |
//! | change settings while it runs | [`Server::reload`], [`Server::reload_options`] |
//! | stop it | [`Server::shutdown`], [`Server::lame_duck`] |
//! | keep its log | [`Builder::log`]; without it, the log is events of `tracing` |
//!
//! For Unix, because it uses Unix sockets, files and signals; it is tested on Linux.
//! ARCHITECTURE.md explains the design.

#![cfg_attr(not(feature = "internals"), warn(missing_debug_implementations))]

#[cfg(not(unix))]
compile_error!("dialtone is for Unix: it stands on its sockets, files and signals");

mod account;
mod apart;
mod auth;
mod base;
mod bounded_file;
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
mod mappings;
mod monitor;
mod net;
mod parser;
mod pem_files;
#[doc(hidden)]
pub mod program;
mod registry;
mod route;
mod server;
mod server_name;
mod sublist;
mod system;
mod tool;
mod trust;

pub use base::closed_reason::ClosedReason;
pub use codec::info::Info;
pub use config::options::Options;
pub use monitor::QueryError;
pub use net::ports::PortFor;
pub use rustls;
pub use server::Server;
pub use server::builder::Builder;
pub use server::reload_error::ReloadError;
pub use server::start_error::StartError;
pub use tool::line_client::server_op::ServerOpErr;
pub use tool::line_client::{
    LineClient, LineErr, LineOptions, Message, OutboundMessage, Subscriber,
};
