//! `Flow`: the write state of one connection.
//!
//! A thread with frames for an idle connection writes them itself, outside the lock, under the
//! `flushing` flag; others only append meanwhile, and the flusher writes their frames, too. When
//! the socket takes no more, it sets `blocked` and wakes the owning task, which goes on when the
//! socket is writable; until then all threads only append.
//!
//! ```text
//!           send                      short write, or too many rounds
//!   idle ---------> flushing --------------------------------------> blocked
//!    ^                 | all written                                    |
//!    +-----------------+<-----------------------------------------------+  owner: all written
//! ```
//!
//! Invariants: at most one of `flushing` and `blocked`; if neither is set, the queue holds only
//! frames `append`ed by a caller that has yet to call `send`; after `closed` is set nothing is
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

/// The writing half of a connection's socket, or a layer over it.
pub trait Wire: Send + Sync {
    /// Writes the bytes that the socket takes at once. After `WouldBlock` the caller offers the
    /// same bytes first: a layer may have encoded them.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the connection.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes frames of the layers themselves, independent of the queue.
    ///
    /// # Errors
    /// `WouldBlock` when some is left; anything else ends the connection.
    fn try_flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// The certificates that the other side has shown, in DER and its own first.
    fn certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// The write state and the name in logs, under one lock. Nothing is logged under it.
#[derive(Default)]
pub(super) struct Flow {
    /// `None` once the connection has ended: remaining references hold no socket.
    pub(super) wire: Option<Arc<dyn Wire>>,
    pub(super) outbound: Outbound,
    pub(super) flushing: bool,
    pub(super) blocked: bool,
    pub(super) closed: Option<ClosedReason>,
    /// True if it was closed without writing the pending bytes.
    pub(super) discarded: bool,
    /// Pauses of publishers because of it.
    pub(super) stalls: u32,
    /// Wakes the task that owns the connection.
    pub(super) owner: Option<Waker>,
    pub(super) out_msgs: u64,
    pub(super) out_bytes: u64,
    /// Here because logs read it under any other lock.
    pub(super) about: Option<Packed>,
    /// Some from the moment it is blocked until the owner sees that it is not blocked any more.
    pub(super) lag: Option<Box<Lag>>,
}

pub(super) type FlowGuard<'a> = Locked<'a, Flow, { rank::FLOW }>;

/// Write progress of a connection with a full socket.
#[derive(Default)]
pub(super) struct Lag {
    /// Publishers that wait until less is pending.
    pub(super) stalled: Vec<Waker>,
    /// Bytes that the socket has taken since.
    pub(super) written: u64,
    /// Time of the last progress while blocked, or of the block itself; unknown until the owner has
    /// looked.
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

    /// True if no thread writes, and nothing waits for the socket.
    pub(super) fn is_idle(&self) -> bool {
        !self.flushing && !self.blocked
    }

    pub(super) fn is_lagging(&self, policy: &Policy) -> bool {
        self.closed.is_none()
            && self.blocked
            && self.outbound.pending_bytes() > policy.stall_pending()
    }
}

impl Lag {
    /// True if the socket has taken nothing for [`STALL_PATIENCE`].
    pub(super) fn is_stuck(&self, now: Moment) -> bool {
        self.progress_at.is_some_and(|at| now - at >= STALL_PATIENCE)
    }
}

/// The outcome of sending frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Written or waiting.
    Done,
    /// Waiting for the sender to [`send`](crate::conn::Conn::send) again.
    Appended,
    /// Waiting, and the connection is lagging: publishers should pause.
    Stall,
    /// Dropped by the policy.
    Dropped,
    /// The connection was closed by these frames: it reads too slowly.
    SlowConsumer,
    /// It was closed before.
    Closed,
}

/// The outcome of a flush by the owning task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left for the owner to do.
    Idle,
    /// Others go on appending: the owner has to flush again, after other tasks.
    Part,
    /// The socket takes no more.
    Blocked,
    /// The socket is broken.
    Failed,
}

/// Bytes written and pending, for the write deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the socket has taken since it was first blocked; 0 again once the owner has seen
    /// it unblocked.
    pub written: u64,
    /// Bytes that wait.
    pub pending_bytes: usize,
    /// True if they wait for the socket.
    pub blocked: bool,
    /// Time of the last progress while blocked, or of the block itself; unknown until the owner has
    /// looked.
    pub progress_at: Option<Moment>,
}
