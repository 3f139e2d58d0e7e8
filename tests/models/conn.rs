//! A connection as far as it is written to and woken.

#[path = "../../src/conn/flow.rs"]
pub(crate) mod flow;
#[path = "../../src/conn/flush.rs"]
pub(crate) mod flush;
#[path = "../../src/conn/frames.rs"]
pub(crate) mod frames;
#[path = "outbound.rs"]
pub(crate) mod outbound;

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::base::sync::{AtomicBool, Mutex, rank};
use crate::conn::flow::{Flow, Wire};

pub(crate) mod about {
    /// Nothing is logged here.
    pub(crate) struct Packed;
}

pub(crate) struct Conn {
    pub(crate) slot: u32,
    pub(crate) kind: outbound::Kind,
    flow: Mutex<Flow, { rank::FLOW }>,
    is_closed: AtomicBool,
}

impl Conn {
    /// A connection, and how its owner learns that it is needed.
    pub(crate) fn new(wire: Option<Arc<dyn Wire>>) -> (Arc<Conn>, Arc<Owner>) {
        let owner = Arc::new(Owner(loom::sync::Notify::new()));
        let conn = Conn {
            slot: 0,
            kind: outbound::Kind,
            flow: Mutex::default(),
            is_closed: AtomicBool::new(false),
        };
        conn.flow.lock().wire = wire;
        conn.set_owner(&Waker::from(Arc::clone(&owner)));
        (Arc::new(conn), owner)
    }
}

/// Stands for the task of a connection.
pub(crate) struct Owner(loom::sync::Notify);

impl Owner {
    /// Waits to be woken. Loom sees it when nobody will.
    pub(crate) fn wait(&self) {
        self.0.wait();
    }
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}
