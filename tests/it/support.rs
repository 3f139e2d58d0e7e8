//! What the tests stand on: server processes, a line-speaking client, an HTTP reader.

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod random;
pub(crate) mod server;

pub(crate) use client::Client;
pub(crate) use server::{Server, Which};

use std::time::Duration;

/// How long a test waits for something that must happen. Reaching it is a failure, so it is long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
