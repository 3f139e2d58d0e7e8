//! The client side of a connection: a small client, and the commands built on it.
//!
//! Imports `base`, `codec`, `config` and `pem_files`, and nothing of the server.

pub mod commands;
pub mod line_client;
mod transport;
