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

/// Something that only some ports have, by port; replaced while they are open.
#[derive(Debug)]
pub(crate) struct PerPort<T>(Mutex<BTreeMap<PortFor, T>>);

/// The addresses of a server's open ports.
pub(crate) type Addresses = PerPort<SocketAddr>;

impl<T: Clone> PerPort<T> {
    /// That of a port, if it has one.
    pub(crate) fn get(&self, port_for: PortFor) -> Option<T> {
        self.0.lock().get(&port_for).cloned()
    }

    /// Replaces all of them, and returns those before.
    pub(crate) fn replace(&self, ports: BTreeMap<PortFor, T>) -> BTreeMap<PortFor, T> {
        std::mem::replace(&mut *self.0.lock(), ports)
    }

    /// Stores that of a port; none if it has none any more.
    pub(crate) fn set(&self, port_for: PortFor, value: Option<T>) {
        let mut ports = self.0.lock();
        match value {
            Some(value) => ports.insert(port_for, value),
            None => ports.remove(&port_for),
        };
    }
}

impl<T> Default for PerPort<T> {
    fn default() -> PerPort<T> {
        PerPort(Mutex::default())
    }
}
