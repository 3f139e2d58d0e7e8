//! The tools of the tests: server processes, a line-speaking client, an HTTP reader.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod machines;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod remote;
pub(crate) mod server;
pub(crate) mod skeleton;
pub(crate) mod tls;
pub(crate) mod websocket;

pub(crate) use client::Client;
pub(crate) use cluster::{Cluster, Flavor};
pub(crate) use ports::lasting_port;
pub(crate) use remote::Remote;
pub(crate) use server::{Server, Which};

use std::time::Duration;

/// Makes two tests of each function: one with dialtone, one with the real server.
macro_rules! for_both {
    ($($(#[doc = $doc:literal])* fn $name:ident($which:ident) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn with($which: $crate::support::Which) $body

            #[test]
            fn dialtone() {
                with($crate::support::Which::Dialtone);
            }

            #[test]
            #[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
            fn real() {
                with($crate::support::Which::Real);
            }
        }
    )*};
}

/// Subscriptions that dialtone has itself and other servers get to know.
pub(crate) const ANNOUNCED_SUBSCRIPTIONS: usize = 51;

/// All that it has itself: also imports of `$G` and `$SYS`, and two for its own clients.
pub(crate) const OWN_SUBSCRIPTIONS: usize = 4 + 1 + 2 + ANNOUNCED_SUBSCRIPTIONS;

/// Makes a test that starts servers of these kinds.
macro_rules! test_of {
    ($name:ident [$(Dialtone)*] $body:block) => {
        #[test]
        fn $name() $body
    };
    ($name:ident [$($which:ident)*] $body:block) => {
        #[test]
        #[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
        fn $name() $body
    };
}

/// Time to wait for something that must happen. Reaching it is a failure, so it is long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
