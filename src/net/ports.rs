//! The ports of a server: their purposes and their addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use parking_lot::Mutex;

/// The purpose of a port, as [`StartError::Listen`](crate::StartError::Listen) reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PortFor {
    /// Clients.
    Clients,
    /// Monitoring.
    Monitor,
    /// Other servers.
    Routes,
    /// Clients that come by WebSocket.
    Websocket,
}

/// The addresses of a server's open ports.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<BTreeMap<PortFor, SocketAddr>>);

impl Addresses {
    /// The address of a port; none if it is not open.
    pub(crate) fn get(&self, port_for: PortFor) -> Option<SocketAddr> {
        self.0.lock().get(&port_for).copied()
    }

    /// Stores the address of an open port; none for a closed one.
    pub(crate) fn set(&self, port_for: PortFor, addr: Option<SocketAddr>) {
        let mut addresses = self.0.lock();
        match addr {
            Some(addr) => addresses.insert(port_for, addr),
            None => addresses.remove(&port_for),
        };
    }
}
