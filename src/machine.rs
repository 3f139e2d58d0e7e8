//! `Machine`: the protocol of one kind of connection, as its task drives it.
//!
//! Knows no kind of connection and no socket: the owner of the bytes drives it, in the server or in
//! a test.

pub mod pings;
pub mod session;
pub(crate) mod traced;

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
use crate::parser::{Grammar, Publish, Refused, Remaining};
use crate::registry::settings::Settings;

/// An op as the machine `M` takes it.
pub type OpOf<'a, M> = <<M as Machine>::Rules as Grammar>::Op<'a>;

/// A message as the machine `M` takes it.
pub type MsgOf<'a, M> = <<M as Machine>::Rules as Grammar>::Plain<'a>;

/// A CONNECT whose credentials are being checked.
pub struct PendingLogin<C> {
    /// Its options.
    pub connect: C,
    /// The check, until a caller takes it to run it.
    pub check: Option<Check>,
}

/// A layer that two sides have agreed to put between their sockets and their parsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// S2 streams. If the layer is there already, only its level changes.
    Compression(Level),
}

/// The protocol of a connection: ops and times in, frames into the staging. The drive is compiled
/// for each kind.
pub trait Machine: Unpin + Send + 'static {
    /// The grammar of its parser.
    type Rules: Grammar<Extra: Send> + Unpin + Send;

    /// True if it pauses when a receiver is lagging.
    const STALLS: bool;

    /// Time for a closing connection to write its pending bytes, and for the other side to end.
    const LINGER_MAX: Duration;

    /// The connection of this machine.
    fn conn(&self) -> &Arc<Conn>;

    /// The present rules for the parser.
    fn rules(&self, settings: &Settings) -> Self::Rules;

    /// True if this op may change the rules or the layers. The rules may also change after a wait.
    fn changes_rules(op: &OpOf<'_, Self>) -> bool;

    /// Stages the first frames of the connection.
    fn start(&mut self, delivery: &mut Delivery);

    /// Handles the arrival of input, a whole op or not.
    #[inline]
    fn heard(&mut self, _now: Moment) {}

    /// Handles one op.
    ///
    /// # Errors
    /// The caller has to end the connection with the returned error.
    fn handle_op(&mut self, op: &OpOf<'_, Self>, delivery: &mut Delivery) -> Result<(), ProtoErr>;

    /// Handles a message, and the messages like it at the start of the `remaining` input, if that
    /// is given.
    ///
    /// # Errors
    /// As [`handle_op`](Machine::handle_op).
    fn handle_msg<'a>(
        &mut self,
        msg: &MsgOf<'a, Self>,
        remaining: Option<Remaining<'_, 'a, Self::Rules>>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr>;

    /// Handles the news that a message delivered in several turns has had no receiver.
    fn handle_unreached(&mut self, _msg: &Publish<'_>, _delivery: &mut Delivery) {}

    /// The layer that the two sides have just agreed on. The caller commits the staged frames below
    /// it, passes all later bytes of both directions through it, and calls
    /// [`handle_layer`](Machine::handle_layer) if the layer is new.
    #[inline]
    fn take_layer(&mut self) -> Option<Layer> {
        None
    }

    /// Handles a new layer.
    fn handle_layer(&mut self, _delivery: &mut Delivery) {}

    /// Handles the end of the TLS handshake: the time for the login begins.
    fn handle_encrypted(&mut self, _delivery: &mut Delivery) {}

    /// True while the answer to an op is still to come. Until then no other op is handled, and
    /// nothing more is read; deadlines and the machine's own work go on.
    #[inline]
    fn is_waiting(&self) -> bool {
        false
    }

    /// The check that it waits for, to be run by the caller.
    fn take_check(&mut self) -> Option<Check> {
        None
    }

    /// Handles the result of the check.
    ///
    /// # Errors
    /// As [`handle_op`](Machine::handle_op).
    fn handle_verdict(
        &mut self,
        _verdict: Verdict,
        _delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        Ok(())
    }

    /// Does a bounded piece of its own work, or writes the answer that it waits for.
    ///
    /// # Errors
    /// The caller has to end the connection with the returned error.
    fn continue_work(&mut self, _delivery: &mut Delivery) -> Result<Left, ProtoErr> {
        Ok(Left::Nothing)
    }

    /// The time of its last op, if its reads may be coalesced.
    #[inline]
    fn heard_at(&self) -> Option<Moment> {
        None
    }

    /// The next time for [`handle_deadline`](Machine::handle_deadline).
    fn deadline(&self, _settings: &Settings) -> Moment {
        Moment::NEVER
    }

    /// Handles new settings. The worker has taken them over.
    ///
    /// # Errors
    /// As [`handle_op`](Machine::handle_op).
    fn handle_settings(&mut self, _delivery: &mut Delivery) -> Result<(), ProtoErr> {
        Ok(())
    }

    /// Handles a change of INFO.
    fn handle_news(&mut self, _delivery: &mut Delivery) {}

    /// Handles everything due by now.
    ///
    /// # Errors
    /// The caller has to end the connection with the returned error.
    fn handle_deadline(&mut self, _delivery: &mut Delivery) -> Result<(), ProtoErr> {
        Ok(())
    }

    /// Handles a write that has missed its deadline.
    fn handle_slow_write(&self, _settings: &Settings) {}

    /// Writes the `-ERR` of a fatal error, if it has one, and returns the reason to close.
    fn fail(&self, refused: Refused<'_>, delivery: &mut Delivery) -> ClosedReason;

    /// Takes the connection out of the server. The caller commits the staged frames.
    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery);

    /// Removes a bounded batch of its remaining subscriptions after [`close`](Machine::close), and
    /// stages the changes for routes.
    fn forget(&mut self, delivery: &mut Delivery) -> Left;

    /// Time for the other side to read the pending bytes.
    fn write_deadline(options: &Options) -> Duration;

    /// True if a write may miss its deadline as long as some bytes move.
    fn forgives_slow_writes(options: &Options) -> bool;
}
