//! `Extras`: the state of a connection that is more than open and idle.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Sleep;

use crate::base::moment::Moment;
use crate::codec::encoder;
use crate::deliver::{Ongoing, Unwritten};
use crate::net::checks::Ticket;
use crate::net::compressed::Compressed;
use crate::net::drive::coalescing::CoalescedReads;
use crate::net::drive::handshake::Handshake;
use crate::net::drive::stall::Stall;
use crate::net::drive::write_deadline::WriteDeadline;
use crate::net::lane::LaneEntry;
use crate::net::layer::Inflow;

/// State of a task that has something left to handle or to write, or whose connection has layers
/// or coalesced reads.
#[derive(Default)]
pub(super) struct Extras {
    /// Input read and not handled yet, because that would take too long, a receiver is lagging,
    /// or the machine is waiting.
    pub(super) backlog: Vec<u8>,
    /// The message before that, which is not yet delivered to all its receivers.
    pub(super) ongoing: Option<Box<Ongoing>>,
    /// Connections with frames of this task that it still has to write.
    pub(super) unwritten: Vec<Unwritten>,
    /// Its place in the lane of tasks that go on, or of connections that end.
    pub(super) lane: Option<LaneEntry>,
    /// Publishing pauses for a receiver.
    pub(super) stalled: Option<Stall>,
    /// The check that the machine waits for.
    pub(super) check: Option<Ticket>,
    pub(super) write: Option<WriteDeadline>,
    /// The TLS handshake that comes before anything of NATS.
    pub(super) handshake: Option<Box<Handshake>>,
    /// The layers, from the socket to the parser.
    pub(super) layers: Vec<LayerInput>,
    /// The writing half of the layer that compresses, which may get another level.
    pub(super) compressed: Option<Arc<Compressed>>,
    pub(super) coalescing: Option<Box<CoalescedReads>>,
    /// Ends the closing of a connection whose other side does not read.
    pub(super) linger: Option<Pin<Box<Sleep>>>,
}

/// The reading half of one layer.
pub(super) struct LayerInput {
    pub(super) inflow: Box<dyn Inflow>,
    /// Input that has yet to go through it, after all input kept above it. `None` if it has said
    /// that more is missing; without a byte it has to be asked for the end.
    pub(super) kept: Option<Vec<u8>>,
}

impl Extras {
    /// Puts a layer on top of the others. Input that waits for the parser has to go through it.
    pub(super) fn add_layer(&mut self, inflow: Box<dyn Inflow>) {
        let kept = Some(std::mem::take(&mut self.backlog));
        self.layers.push(LayerInput { inflow, kept });
    }

    /// Takes the first waiting input, with the index of the layer that it waits for; the number of
    /// layers stands for the parser.
    pub(super) fn take_kept(&mut self) -> Option<(usize, Vec<u8>)> {
        if !self.backlog.is_empty() {
            return Some((self.layers.len(), std::mem::take(&mut self.backlog)));
        }
        let mut from_top = self.layers.iter_mut().enumerate().rev();
        from_top.find_map(|(index, layer)| Some((index, layer.kept.take()?)))
    }

    /// True if no input waits, except perhaps a PING.
    pub(super) fn asks_nothing(&self) -> bool {
        (self.backlog.is_empty() || self.backlog == encoder::PING)
            && self.layers.iter().all(|layer| layer.kept.as_ref().is_none_or(Vec::is_empty))
    }

    /// True if a message is partly delivered, and its match is kept.
    pub(super) fn has_begun(&self) -> bool {
        self.ongoing.as_ref().is_some_and(|ongoing| ongoing.is_begun())
    }

    /// The number of bundles and targets kept for such a message.
    pub(super) fn held_count(&self) -> usize {
        self.ongoing.as_ref().map_or(0, |ongoing| ongoing.held_count())
    }

    /// True if all of it is empty.
    pub(super) fn is_over(&self) -> bool {
        let Extras { backlog, ongoing, unwritten, lane, .. } = self;
        let Extras { stalled, check, write, handshake, layers, coalescing, linger, .. } = self;
        backlog.is_empty()
            && ongoing.is_none()
            && unwritten.is_empty()
            && lane.is_none()
            && stalled.is_none()
            && check.is_none()
            && write.is_none()
            && handshake.is_none()
            && layers.is_empty()
            && coalescing.is_none()
            && linger.is_none()
    }

    /// The next time for the task to run.
    pub(super) fn due(&self) -> Moment {
        let write = self.write.map_or(Moment::NEVER, |deadline| deadline.due);
        let stalled = self.stalled.as_ref().map_or(Moment::NEVER, |stall| stall.until);
        let handshake = self.handshake.as_ref().map_or(Moment::NEVER, |handshake| handshake.due);
        write.min(stalled).min(handshake)
    }
}
