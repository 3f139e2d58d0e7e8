//! `Flow`: everything about writing to one connection.
//!
//! Whoever has frames for an idle connection writes them itself, outside the lock, under the
//! `flushing` flag; others only append meanwhile, and the flusher takes what came. When the socket
//! takes no more, `blocked` is set and the owning task woken: it goes on when the socket is
//! writable, and until then everybody only appends.
//!
//! ```text
//!           send                      short write, or too many rounds
//!   idle ---------> flushing --------------------------------------> blocked
//!    ^                 | all written                                    |
//!    +-----------------+<-----------------------------------------------+  owner: all written
//! ```
//!
//! Invariants: at most one of `flushing` and `blocked`; who sees neither finds the queue empty, but
//! for what was appended by somebody who is about to send; after `closed` is set nothing is
//! appended. `tests/models` plays all orders of the steps.
//! nats: server/client.go `queueOutbound`, `flushOutbound`, `closeConnection`

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;

use crate::base::closed_reason::ClosedReason;
use crate::base::limits::STALL_PATIENCE;
use crate::base::moment::Moment;
use crate::base::sync::{Locked, rank};
use crate::conn::about::Packed;
use crate::conn::outbound::{Outbound, Policy};

/// The socket of a connection, as far as writing goes, or a layer over it.
pub trait Wire: Send + Sync {
    /// Writes what the socket takes at once. What is offered after `WouldBlock` begins with the
    /// same bytes: a layer may have made something of them.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the connection.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes what layers have to say by themselves, whatever the queue holds.
    ///
    /// # Errors
    /// `WouldBlock` when some is left; anything else ends the connection.
    fn try_flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything about writing, and what logs say of it, under one lock. Nothing is logged under it.
#[derive(Default)]
pub(super) struct Flow {
    /// `None` once the connection has ended: what still refers to it holds no socket.
    pub(super) wire: Option<Arc<dyn Wire>>,
    pub(super) outbound: Outbound,
    pub(super) flushing: bool,
    pub(super) blocked: bool,
    pub(super) closed: Option<ClosedReason>,
    /// Closed without writing what was pending.
    pub(super) discarded: bool,
    /// How often publishers paused because of it.
    pub(super) stalls: u32,
    /// Wakes the task that owns the connection.
    pub(super) owner: Option<Waker>,
    pub(super) out_msgs: u64,
    pub(super) out_bytes: u64,
    /// Here because logs ask for it, whatever else is locked.
    pub(super) about: Option<Packed>,
    /// There from the moment it is blocked until the owner has seen that it is so no more.
    pub(super) lag: Option<Box<Lag>>,
}

pub(super) type FlowGuard<'a> = Locked<'a, Flow, { rank::FLOW }>;

/// How a connection gets on whose socket takes no more.
#[derive(Default)]
pub(super) struct Lag {
    /// Publishers that wait until less is pending.
    pub(super) stalled: Vec<Waker>,
    /// Bytes that the socket has taken since.
    pub(super) written: u64,
    /// When the socket last took something of what it had blocked, or had just blocked; unknown
    /// until the owner has looked.
    pub(super) progress_at: Option<Moment>,
}

impl Flow {
    /// Counts bytes that the socket has taken.
    pub(super) fn release(&mut self, written: usize) {
        self.outbound.release(written);
        if let Some(lag) = &mut self.lag {
            lag.written += written as u64;
        }
    }

    /// Bytes that the socket has taken since it was blocked.
    pub(super) fn written(&self) -> u64 {
        self.lag.as_ref().map_or(0, |lag| lag.written)
    }

    /// Nobody writes, and nothing waits for the socket.
    pub(super) fn is_idle(&self) -> bool {
        !self.flushing && !self.blocked
    }

    pub(super) fn is_far_behind(&self, policy: &Policy) -> bool {
        self.closed.is_none() && self.blocked && self.outbound.pending_bytes() > policy.far_behind()
    }
}

impl Lag {
    /// The socket has taken nothing for [`STALL_PATIENCE`].
    pub(super) fn is_stuck(&self, now: Moment) -> bool {
        self.progress_at.is_some_and(|at| now - at >= STALL_PATIENCE)
    }
}

/// What became of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Written or waiting.
    Done,
    /// Waiting for who sent it to [`send`](crate::conn::Conn::send) again.
    Appended,
    /// Waiting, and the connection is far behind: publishers should pause.
    Stall,
    /// Dropped by the policy.
    Dropped,
    /// The connection was closed by these frames: it reads too slowly.
    SlowConsumer,
    /// It was closed before.
    Closed,
}

/// How far the owning task got with what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left for the owner to do.
    Idle,
    /// Others go on appending: the owner has to come again, behind its neighbours.
    Part,
    /// The socket takes no more.
    Blocked,
    /// The socket is broken.
    Failed,
}

/// How much is pending and was written, for the write deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the socket has taken since it was first blocked; from 0 again once the owner saw
    /// that it is blocked no more.
    pub written: u64,
    /// Bytes that wait.
    pub pending_bytes: usize,
    /// They wait for the socket.
    pub blocked: bool,
    /// When it last took something while it was blocked, or was blocked; unknown until the owner
    /// has looked.
    pub progress_at: Option<Moment>,
}
