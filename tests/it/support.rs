//! The tools of the tests: server processes, a line-speaking client, an HTTP reader.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod machines;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod remote;
pub(crate) mod server;

pub(crate) use client::Client;
pub(crate) use cluster::{Cluster, Flavor};
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
                let which = $crate::support::Which::Dialtone;
                if which.available() {
                    with(which);
                }
            }

            #[test]
            fn real() {
                let which = $crate::support::Which::Real;
                if which.available() {
                    with(which);
                }
            }
        }
    )*};
}

/// Subscriptions that dialtone has itself, for its services.
pub(crate) const OWN_SUBSCRIPTIONS: usize = 1;

/// Time to wait for something that must happen. Reaching it is a failure, so it is long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
