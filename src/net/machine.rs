//! `Machine`: what a `Drive` asks of the machine behind its connection, a client or a route.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::compression::Level;
use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::errors::{ClosedReason, ProtoErr};
use crate::moment::Moment;
use crate::options::{Options, WriteTimeout};
use crate::parser::{Grammar, Op, Publish, Rest, RouteOp, RouteRules, RoutedMsg, Rules};
use crate::route::Route;

/// An op as the machine `M` takes it.
pub type OpOf<'a, M> = <<M as Machine>::Rules as Grammar>::Op<'a>;

/// A plainly written message as the machine `M` takes it.
pub type PlainOf<'a, M> = <<M as Machine>::Rules as Grammar>::Plain<'a>;

/// The machine behind a connection: ops and times in, frames into the staging. Each kind has a
/// drive compiled for it.
pub trait Machine: Unpin + Send + 'static {
    /// What its parser is held to.
    type Rules: Grammar<Extra: Send> + Unpin + Send;

    /// It pauses when a receiver is far behind.
    const STALLS: bool;

    /// The connection it is behind.
    fn conn(&self) -> &Arc<Conn>;

    /// What the parser has to hold the other side to now.
    fn rules(&self) -> Self::Rules;

    /// Whether rules or compression may be others once this op is handled.
    fn changes_rules(op: &OpOf<'_, Self>) -> bool;

    /// Whether an op that may change the rules may take long.
    fn is_slow(&self) -> bool;

    /// Speaks first.
    fn start(&mut self, delivery: &mut Delivery);

    /// Handles a plainly written message, and of the `rest` of the input as many of its kind as
    /// stand in a row.
    ///
    /// # Errors
    /// As [`handle_op`](Machine::handle_op).
    fn handle_plain<'a>(
        &mut self,
        plain: &PlainOf<'a, Self>,
        rest: Rest<'_, 'a, Self::Rules>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr>;

    /// Handles one op.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    fn handle_op(&mut self, op: &OpOf<'_, Self>, delivery: &mut Delivery) -> Result<(), ProtoErr>;

    /// What the two sides have just agreed to compress with. What is staged has to be committed
    /// as it is; whatever is sent or read from there on is compressed, and
    /// [`handle_compressed`](Machine::handle_compressed) is to be called. Later only another level.
    #[inline]
    fn take_compression(&mut self) -> Option<Level> {
        None
    }

    /// The connection is compressed from here on.
    fn handle_compressed(&mut self, _delivery: &mut Delivery) {}

    /// Does a bounded piece of work of its own. True if there is more that nobody wakes it for.
    fn handle_turn(&mut self, delivery: &mut Delivery) -> bool;

    /// When [`handle_deadline`](Machine::handle_deadline) is due next.
    fn deadline(&self) -> Moment;

    /// Handles what is due by now.
    ///
    /// # Errors
    /// The connection has to be ended with what is returned.
    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr>;

    /// Writes the `-ERR` of what ended the connection, if it has one, and tells the reason.
    fn fail(&self, error: &ProtoErr, delivery: &mut Delivery) -> ClosedReason;

    /// Leaves the server. What that staged is to be committed.
    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery);

    /// After that: forgets a bounded piece of what the connection leaves behind, and stages what
    /// others are to be told. True while there is more.
    fn forget(&mut self, delivery: &mut Delivery) -> bool;

    /// How long the other side may take to read what was pending.
    fn write_deadline(options: &Options) -> Duration;

    /// A write that missed its deadline is forgiven as long as some bytes moved.
    fn forgives_slow_writes(options: &Options) -> bool;
}

impl Machine for Client {
    type Rules = Rules;

    const STALLS: bool = true;

    #[inline]
    fn conn(&self) -> &Arc<Conn> {
        self.conn()
    }

    fn rules(&self) -> Rules {
        self.rules()
    }

    #[inline]
    fn changes_rules(op: &Op<'_>) -> bool {
        matches!(op, Op::Connect(_))
    }

    fn is_slow(&self) -> bool {
        self.is_connect_slow()
    }

    fn start(&mut self, delivery: &mut Delivery) {
        self.start(delivery);
    }

    #[inline]
    fn handle_plain<'a>(
        &mut self,
        publish: &Publish<'a>,
        rest: Rest<'_, 'a>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        self.handle_publish(publish, Some(rest), delivery)
    }

    #[inline]
    fn handle_op(&mut self, op: &Op<'_>, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.handle_op(op, delivery)
    }

    #[inline]
    fn handle_turn(&mut self, _delivery: &mut Delivery) -> bool {
        false
    }

    fn deadline(&self) -> Moment {
        self.deadline()
    }

    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.handle_deadline(delivery)
    }

    fn fail(&self, error: &ProtoErr, delivery: &mut Delivery) -> ClosedReason {
        self.fail(error, delivery)
    }

    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery) {
        self.close(reason, delivery);
    }

    fn forget(&mut self, delivery: &mut Delivery) -> bool {
        self.forget(delivery)
    }

    fn write_deadline(options: &Options) -> Duration {
        options.write_deadline
    }

    fn forgives_slow_writes(options: &Options) -> bool {
        options.write_timeout == WriteTimeout::Retry
    }
}

impl Machine for Route {
    type Rules = RouteRules;

    /// One slow client would hold up everybody else on this server.
    const STALLS: bool = false;

    #[inline]
    fn conn(&self) -> &Arc<Conn> {
        self.conn()
    }

    fn rules(&self) -> RouteRules {
        self.rules()
    }

    #[inline]
    fn changes_rules(op: &RouteOp<'_>) -> bool {
        matches!(op, RouteOp::Connect(_) | RouteOp::Info(_) | RouteOp::Pong)
    }

    /// A password may be a bcrypt hash.
    fn is_slow(&self) -> bool {
        true
    }

    fn start(&mut self, delivery: &mut Delivery) {
        self.start(delivery);
    }

    #[inline]
    fn handle_plain<'a>(
        &mut self,
        msg: &RoutedMsg<'a>,
        rest: Rest<'_, 'a, RouteRules>,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        self.handle_msg(msg, Some(rest), delivery)
    }

    #[inline]
    fn handle_op(&mut self, op: &RouteOp<'_>, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.handle_op(op, delivery)
    }

    fn take_compression(&mut self) -> Option<Level> {
        self.take_compression()
    }

    fn handle_compressed(&mut self, delivery: &mut Delivery) {
        self.handle_compressed(delivery);
    }

    fn handle_turn(&mut self, delivery: &mut Delivery) -> bool {
        self.handle_turn(delivery)
    }

    fn deadline(&self) -> Moment {
        self.deadline()
    }

    fn handle_deadline(&mut self, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        self.handle_deadline(delivery)
    }

    fn fail(&self, error: &ProtoErr, delivery: &mut Delivery) -> ClosedReason {
        self.fail(error, delivery)
    }

    fn close(&mut self, reason: ClosedReason, delivery: &mut Delivery) {
        self.close(reason, delivery);
    }

    fn forget(&mut self, _delivery: &mut Delivery) -> bool {
        self.forget()
    }

    fn write_deadline(options: &Options) -> Duration {
        let cluster = options.cluster.as_ref();
        cluster.map_or(options.write_deadline, |cluster| cluster.write_deadline)
    }

    fn forgives_slow_writes(options: &Options) -> bool {
        let cluster = options.cluster.as_ref();
        cluster.is_none_or(|cluster| cluster.write_timeout != WriteTimeout::Close)
    }
}
