//! One binary for all tests that speak to a server process: dialtone, and the real one beside it.
//!
//! `NATS_SERVER` names the real server's executable (else `target/interop/`, else `PATH`). If there
//! is none when the tests are compiled, those that need it are ignored, by name, unless
//! `DIALTONE_REQUIRE_NATS_SERVER=1`; and they fail if it is not there when they run.

// A test that cannot go on ends by panicking.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

mod account_imports;
mod account_limits;
mod anonymous;
mod chaos;
mod cli;
mod clients;
mod cluster;
mod configuration;
mod differential;
mod drain;
mod embedding;
mod events;
mod https;
mod hurry;
mod jetstream;
mod lame_duck;
mod limits;
mod liveness;
mod logins;
mod logs;
mod monitor;
mod monitor_port;
mod msg_trace;
mod nkeys;
mod ports_file;
mod reload;
mod rolling_restart;
mod servers;
mod service_imports;
mod services;
mod sessions;
mod shutdown;
mod slow_consumer;
mod soak;
mod syslog;
mod system;
mod tls;
mod transcripts;
mod websocket;
