//! `Shared`: what the tasks of a server share, besides what the core knows of.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::net::arenas::Arenas;
use crate::net::checks::Checks;
use crate::net::lane::Lane;
use crate::net::sweep::Sweep;
use crate::registry::Registry;
use crate::route::mesh::Mesh;

/// Connections that end at the same time.
const ENDING_COUNT: usize = 1;

/// What all tasks of a server need.
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    /// None without a cluster.
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) sweep: Sweep,
    /// Those that go on for more than a turn: as many at a time as there are threads.
    pub(super) long: Lane,
    /// Those that end.
    pub(super) endings: Lane,
    pub(crate) clock: Clock,
    pub(crate) checks: Checks,
    pub(crate) arenas: Arenas,
    /// A connection is served no more, or has hung up.
    pub(crate) left: Notify,
    /// The server stops, and the other servers have what clients published here.
    pub(crate) passed_on: AtomicBool,
}

impl Shared {
    /// To be called in the runtime that serves.
    pub(crate) fn new(registry: Arc<Registry>, mesh: Option<Arc<Mesh>>, clock: Clock) -> Shared {
        Shared {
            registry,
            mesh,
            sweep: Sweep::default(),
            long: Lane::new(Handle::current().metrics().num_workers()),
            endings: Lane::new(ENDING_COUNT),
            clock,
            checks: Checks::default(),
            arenas: Arenas::default(),
            left: Notify::new(),
            passed_on: AtomicBool::new(false),
        }
    }
}
