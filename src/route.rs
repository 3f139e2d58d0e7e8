//! `Route`: the machine behind one connection to another server of the cluster.
//!
//! ```text
//!   accepted:   ExpectConnect -- CONNECT --> ExpectInfo -- INFO --> Open
//!   solicited:                               ExpectInfo -- INFO --> Open
//! ```
//!
//! With compression agreed on, one more INFO comes from each side before `Open`.
//! nats: server/route.go `createRoute`, `processRouteConnect`, `processRouteInfo`

pub mod mesh;

use std::sync::Arc;

use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::errors::{ClosedReason, ProtoErr};
use crate::moment::Moment;
use crate::parser::{RouteOp, RouteRules, RoutedMsg};
use crate::registry::Registry;

use mesh::{Dial, Mesh};

/// Which side opened the connection.
#[derive(Debug, Clone)]
pub enum Role {
    /// The other server connected to our cluster port.
    Accepted,
    /// We connected because [`Mesh::next_dial`] said so.
    Solicited(Dial),
}

/// One connection to another server.
pub struct Route {
    conn: Arc<Conn>,
}

impl Route {
    /// The machine of a new connection.
    pub fn new(_registry: Arc<Registry>, _mesh: Arc<Mesh>, conn: Arc<Conn>, _role: Role) -> Route {
        Route { conn }
    }

    /// What the parser has to hold the other server to.
    pub fn rules(&self) -> RouteRules {
        RouteRules { max_control_line: 65536, account_absent: false, connect_first: false }
    }

    /// Handles one op.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    pub fn handle_op(&mut self, _op: &RouteOp<'_>, _d: &mut Delivery) -> Result<(), ProtoErr> {
        Ok(())
    }

    /// Handles a message.
    ///
    /// # Errors
    /// As [`handle_op`](Route::handle_op).
    pub fn handle_msg(&mut self, _msg: &RoutedMsg<'_>, _d: &mut Delivery) -> Result<(), ProtoErr> {
        Ok(())
    }

    // After each INFO op: `take_compression(&mut self) -> Option<Compression>`: if it is some, what is
    // staged so far has to be committed in clear, everything after it and all input behind this op
    // is compressed; then call `handle_compressed(&mut self, delivery)`.

    /// Speaks first: INFO, or CONNECT of the side that dialled.
    pub fn start(&mut self, _delivery: &mut Delivery) {}

    /// When [`handle_deadline`](Route::handle_deadline) is due next.
    pub fn deadline(&self) -> Moment {
        Moment::NEVER
    }

    /// Handles what is due by now.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    pub fn handle_deadline(&mut self, _delivery: &mut Delivery) -> Result<(), ProtoErr> {
        Ok(())
    }

    /// Goes on announcing local interest, a bounded piece per call, while the connection's queue is
    /// short. True if the task has to come again by itself; else it is enough to call this whenever
    /// the task is polled (a queue that was full wakes it when it has drained).
    pub fn handle_turn(&mut self, _delivery: &mut Delivery) -> bool {
        false
    }

    /// Writes the `-ERR` of what ended the connection, if it has one, and tells the reason.
    pub fn fail(&self, error: &ProtoErr, delivery: &mut Delivery) -> ClosedReason {
        error.write_err(delivery.staging.frames(&self.conn));
        error.closes().unwrap_or(ClosedReason::ProtocolViolation)
    }

    /// Leaves the mesh: no interest of the other server stays. To be committed by the caller.
    pub fn close(&mut self, _reason: ClosedReason, _delivery: &mut Delivery) {}
}
