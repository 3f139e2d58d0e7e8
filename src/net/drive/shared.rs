//! `Shared`: the state shared by the tasks of a server, outside of the core.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::base::moment::Moment;
use crate::clock::Clock;
use crate::monitor::{CertEnds, View};
use crate::net::arenas::Arenas;
use crate::net::checks::Checks;
use crate::net::lane::Lane;
use crate::net::ports::{Addresses, PerPort, PortFor};
use crate::net::process::Meter;
use crate::net::sweep::Sweep;
use crate::net::tls::TlsPort;
use crate::registry::Registry;
use crate::route::mesh::Mesh;
use crate::system::Reloaded;

/// The number of connections that end at the same time.
const ENDING_COUNT: usize = 1;

/// The state shared by all tasks of a server.
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    /// None without a cluster.
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) sweep: Sweep,
    /// The encryption of connections that begin from now on.
    pub(crate) tls: PerPort<Arc<TlsPort>>,
    /// The lane of tasks with more work than a turn: as many at a time as there are threads.
    pub(super) long: Lane,
    /// The lane of connections that end.
    pub(super) endings: Lane,
    pub(crate) clock: Clock,
    pub(crate) checks: Checks,
    pub(crate) arenas: Arenas,
    /// Signals that a connection has left the server, or has hung up.
    pub(crate) left: Notify,
    /// True while the server stops and the other servers do not have all messages of its clients
    /// yet.
    pub(crate) passing_on: AtomicBool,
    pub(crate) addresses: Addresses,
    /// The threads of the server.
    pub(crate) runtime: Handle,
    /// Reads the configuration again; none before the server is ready.
    pub(crate) reload: OnceLock<Reload>,
    meter: Mutex<Meter>,
}

/// Starts a reload, and hands its result on.
pub(crate) type Reload = Box<dyn Fn(Reloaded) + Send + Sync>;

impl Shared {
    /// To be called in the server's runtime.
    pub(crate) fn new(registry: Arc<Registry>, mesh: Option<Arc<Mesh>>, clock: Clock) -> Shared {
        let runtime = Handle::current();
        Shared {
            registry,
            mesh,
            sweep: Sweep::default(),
            tls: PerPort::default(),
            long: Lane::new(runtime.metrics().num_workers()),
            endings: Lane::new(ENDING_COUNT),
            clock,
            checks: Checks::default(),
            arenas: Arenas::default(),
            left: Notify::new(),
            passing_on: AtomicBool::new(false),
            addresses: Addresses::default(),
            runtime,
            reload: OnceLock::new(),
            meter: Mutex::new(Meter::new()),
        }
    }

    /// Lends a view of the server's present state, for monitoring and services.
    pub(crate) fn with_view<R>(&self, look: impl FnOnce(&View<'_>) -> R) -> R {
        let now = self.clock.now();
        let port = |port_for| self.addresses.get(port_for).map_or(0, |addr| addr.port());
        let cert_end = |port_for| self.tls.get(port_for).and_then(|tls| tls.cert_end);
        look(&View {
            registry: &self.registry,
            settings: &self.registry.settings(),
            mesh: self.mesh.as_deref(),
            now,
            start: self.clock.wall(Moment::START),
            cert_ends: CertEnds {
                clients: cert_end(PortFor::Clients),
                routes: cert_end(PortFor::Routes),
                websocket: cert_end(PortFor::Websocket),
            },
            monitor_port: port(PortFor::Monitor),
            websocket_port: port(PortFor::Websocket),
            process: &|| self.meter.lock().read(now),
        })
    }
}
