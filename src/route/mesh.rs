//! `Mesh`: the servers of the cluster as this one knows them, and whom to dial when.
//!
//! Knows no socket and no resolver: an address is text, the time an argument.
//! nats: server/route.go `addRoute`, `removeRoute`, `connectToRoute`, `processImplicitRoute`

use std::sync::Arc;
use std::task::Waker;

use crate::moment::Moment;
use crate::registry::Registry;

/// One attempt to reach another server. It ends in [`Mesh::dial_failed`], or in a
/// [`Route`](crate::route::Route) of [`Role::Solicited`](crate::route::Role), which tells the mesh
/// when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Name or address, IPv6 without brackets. To be resolved anew for each attempt.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
}

/// All that is known of the cluster, behind one lock.
pub struct Mesh {}

impl Mesh {
    /// A mesh of this server alone. `seed` feeds the jitter of its timers.
    pub fn new(_registry: Arc<Registry>, _seed: u64) -> Arc<Mesh> {
        Arc::new(Mesh {})
    }

    /// Where other servers reach this one, once the port is bound: `port` stands for the configured
    /// one. Also the address for clients, `host:port`, that other servers tell theirs.
    pub fn listening(&self, _port: u16, _client_urls: Vec<String>) {}

    /// The cluster's name: configured, generated, or taken over from another server.
    pub fn name(&self) -> String {
        String::new()
    }

    /// Who waits for [`next_due`](Mesh::next_due) to come earlier than it was.
    pub fn set_waker(&self, _waker: &Waker) {}

    /// When to ask for the next dial; `NEVER` while there is none.
    pub fn next_due(&self) -> Moment {
        Moment::NEVER
    }

    /// Whom to dial now. Several may be under way at the same time.
    pub fn next_dial(&self, _now: Moment) -> Option<Dial> {
        None
    }

    /// An address that turned out to be this server's own, text of a socket address: not to be
    /// tried again. If a dial has no other, it is [`dial_failed`](Mesh::dial_failed).
    pub fn is_self(&self, _address: &str) -> bool {
        false
    }

    /// Nobody was reached. Tells whether it is worth an error in the log, and which attempt it was.
    pub fn dial_failed(&self, _dial: &Dial, _now: Moment) -> (bool, u64) {
        (false, 0)
    }

    /// No more dials from now on: the server stops.
    pub fn stop(&self) {}
}
