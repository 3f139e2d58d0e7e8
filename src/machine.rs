//! `Machine`: what the task of a connection asks of the machine behind it, a client or a route.
//!
//! Knows neither of them, and no socket: who has the bytes drives it, in the server or in a test.

pub mod pings;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Check, Verdict};
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::config::compression::Level;
use crate::config::options::Options;
use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::parser::{Grammar, Publish, Refused, Rest};
use crate::registry::settings::Settings;

/// An op as the machine `M` takes it.
pub type OpOf<'a, M> = <<M as Machine>::Rules as Grammar>::Op<'a>;

/// A message as the machine `M` takes it.
pub type MsgOf<'a, M> = <<M as Machine>::Rules as Grammar>::Plain<'a>;

/// A CONNECT whose credentials are being checked.
pub struct Login<C> {
    /// What it said.
    pub connect: C,
    /// The check, until somebody takes it to make it.
    pub check: Option<Check>,
}

/// A layer that two sides have agreed to put between their sockets and their parsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// S2 streams. Where there are some already, only their level is another one from now on.
    Compression(Level),
}

/// The machine behind a connection: ops and times in, frames into the staging. Each kind has a
/// drive compiled for it.
pub trait Machine: Unpin + Send + 'static {
    /// What its parser is held to.
    type Rules: Grammar<Extra: Send> + Unpin + Send;

    /// It pauses when a receiver is far behind.
    const STALLS: bool;

    /// Time that a connection which ends has for what is pending, and for the other side's end.
    const LINGER_MAX: Duration;

    /// The connection it is behind.
    fn conn(&self) -> &Arc<Conn>;

    /// What the parser has to hold the other side to now.
    fn rules(&self, settings: &Settings) -> Self::Rules;

    /// Whether rules or layers may be others once this op is handled. After a wait the rules
    /// may be so, too.
    fn changes_rules(op: &OpOf<'_, Self>) -> bool;

    /// Speaks first.
    fn start(&mut self, delivery: &mut Delivery);

    /// Some input is there, a whole op or not.
    #[inline]
    fn heard(&mut self, _now: Moment) {}

    /// Handles one op.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    fn handle_op(&mut self, op: &OpOf<'_, Self>, delivery: &mut Delivery) -> Result<(), ProtoErr>;

    /// Handles a message, and of the `rest` of the input, if it is given, as many of its kind as
    /// stand in a row.
    ///
    /// # Errors
    /// As [`handle_op`](Machine::handle_op).
    fn handle_msg<'a>(
        &mut self,
        msg: &MsgOf<'a, Self>,
        rest: Option<Rest<'_, 'a, Self::Rules>>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr>;

    /// A message whose delivery took several turns has reached nobody.
    fn handle_unreached(&mut self, _msg: &Publish<'_>, _delivery: &mut Delivery) {}

    /// The layer that the two sides have just agreed on. What is staged has to be committed below
    /// it; whatever is sent or read from there on goes through it, and
    /// [`handle_layer`](Machine::handle_layer) is to be called if it was not there before.
    #[inline]
    fn take_layer(&mut self) -> Option<Layer> {
        None
    }

    /// The layer is there.
    fn handle_layer(&mut self, _delivery: &mut Delivery) {}

    /// The answer to an op is still to come. Until then no other op is handled, and nothing more is
    /// read; deadlines and work of its own go on.
    fn is_waiting(&self) -> bool;

    /// A check that it waits for, to be made by somebody else.
    fn take_check(&mut self) -> Option<Check>;

    /// Hears what a check has shown.
    ///
    /// # Errors
    /// As [`handle_op`](Machine::handle_op).
    fn handle_verdict(&mut self, verdict: Verdict, delivery: &mut Delivery)
    -> Result<(), ProtoErr>;

    /// Does a bounded piece of work of its own, or gives the answer that it is waiting for.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    fn continue_work(&mut self, delivery: &mut Delivery) -> Result<Left, ProtoErr>;

    /// When its last op came, of one that may be read a moment later where it comes in many small
    /// pieces.
    #[inline]
    fn heard_at(&self) -> Option<Moment> {
        None
    }

    /// When [`handle_deadline`](Machine::handle_deadline) is due next.
    fn deadline(&self, settings: &Settings) -> Moment;

    /// Settings or INFO have changed.
    fn handle_news(&mut self, _delivery: &mut Delivery) {}

    /// Handles what is due by now.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr>;

    /// A write has missed its deadline.
    fn handle_slow_write(&self, _settings: &Settings) {}

    /// Writes the `-ERR` of what ended the connection, if it has one, and tells the reason.
    fn fail(&self, refused: Refused<'_>, delivery: &mut Delivery) -> ClosedReason;

    /// Leaves the server. What that staged is to be committed.
    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery);

    /// After that: forgets a bounded piece of what the connection leaves behind, and stages what
    /// others are to be told.
    fn forget(&mut self, delivery: &mut Delivery) -> Left;

    /// How long the other side may take to read what was pending.
    fn write_deadline(options: &Options) -> Duration;

    /// A write that missed its deadline is forgiven as long as some bytes moved.
    fn forgives_slow_writes(options: &Options) -> bool;
}
