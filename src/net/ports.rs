//! The ports of a server: for whom, and where.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use parking_lot::Mutex;

/// For whom a server listens on a port, as [`StartError::Listen`](crate::StartError::Listen) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PortFor {
    /// Clients.
    Clients,
    /// Monitoring.
    Monitor,
    /// Other servers.
    Routes,
}

/// Where a server listens.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<BTreeMap<PortFor, SocketAddr>>);

impl Addresses {
    /// The address of a port; none if it is not open.
    pub(crate) fn get(&self, port_for: PortFor) -> Option<SocketAddr> {
        self.0.lock().get(&port_for).copied()
    }

    /// Notes where a port is open, or that it is not.
    pub(crate) fn set(&self, port_for: PortFor, addr: Option<SocketAddr>) {
        let mut addresses = self.0.lock();
        match addr {
            Some(addr) => addresses.insert(port_for, addr),
            None => addresses.remove(&port_for),
        };
    }
}
