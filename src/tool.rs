//! The other side of a connection: a small client, and the commands that are made of it.
//!
//! Imports `base`, `codec` and `config`, and nothing of the server.

pub mod commands;
pub mod line_client;
