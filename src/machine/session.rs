//! `Session`: the protocol of one connection, its machine and the parser that it rules.
//!
//! Bytes and times go in, frames are staged. Knows no socket: the task of a connection drives it,
//! and so do tests, fuzz bodies and benches.

use crate::auth::Verdict;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::left::Left;
use crate::deliver::Delivery;
use crate::machine::{Layer, Machine};
use crate::parser::{Parser, Refused};
use crate::registry::settings::Settings;

/// What an op takes, besides what it leads to, in nanoseconds about; not for messages as clients
/// write them.
const OP_NS: usize = 100;

/// The protocol of one connection.
pub struct Session<M: Machine> {
    /// What decides.
    pub machine: M,
    parser: Parser<M::Rules>,
}

/// What became of the next op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is handled, or several messages alike are.
    Handled,
    /// It is not whole yet.
    Missing,
    /// It is handled and not answered: what follows has to wait until the machine does not.
    Unanswered,
    /// It is handled, and from there on there is a layer: see
    /// [`take_layer`](Machine::take_layer).
    Layer(Layer),
}

impl<M: Machine> Session<M> {
    /// The protocol of a connection that has not begun.
    pub fn new(machine: M, settings: &Settings) -> Session<M> {
        let parser = Parser::new(machine.rules(settings));
        Session { machine, parser }
    }

    /// Handles the next op of `input`, or several messages alike, and takes them from it.
    ///
    /// # Errors
    /// The connection has to be ended: see [`fail`](Session::fail).
    #[inline]
    pub fn step(&mut self, input: &mut &[u8], delivery: &mut Delivery) -> Result<Step, ProtoErr> {
        if let Some((msg, used)) = self.parser.next_plain(input) {
            self.machine.handle_msg(&msg, Some(self.parser.rest(input, used)), delivery)?;
            return Ok(Step::Handled);
        }
        self.step_any(input, delivery)
    }

    fn step_any(&mut self, input: &mut &[u8], delivery: &mut Delivery) -> Result<Step, ProtoErr> {
        let machine = &mut self.machine;
        delivery.staging.add_work(OP_NS);
        // A block ends what the op borrows before the rules change.
        {
            let (op, used) = self.parser.next(input)?;
            *input = &input[used..];
            let Some(op) = op else { return Ok(Step::Missing) };
            machine.handle_op(&op, delivery)?;
            if machine.is_waiting() {
                return Ok(Step::Unanswered);
            }
            if !M::changes_rules(&op) {
                return Ok(Step::Handled);
            }
        }
        self.parser.rules = machine.rules(&delivery.settings);
        Ok(machine.take_layer().map_or(Step::Handled, Step::Layer))
    }

    /// Lets the machine hear of news, and of the `verdict` that it waits for, if it is there, and
    /// go on with work of its own.
    ///
    /// # Errors
    /// As [`step`](Session::step).
    #[inline]
    pub fn resume(
        &mut self,
        verdict: Option<Verdict>,
        delivery: &mut Delivery,
    ) -> Result<Left, ProtoErr> {
        let waited = self.machine.is_waiting();
        let news = self.machine.conn().take_news();
        if news {
            self.machine.handle_news(delivery);
        }
        if let Some(verdict) = verdict {
            self.machine.handle_verdict(verdict, delivery)?;
        }
        let left = self.machine.continue_work(delivery)?;
        if waited || news {
            self.parser.rules = self.machine.rules(&delivery.settings);
        }
        Ok(left)
    }

    /// Writes the `-ERR` of what a step has ended with, before `input`, and tells the reason.
    pub fn fail(&self, error: &ProtoErr, input: &[u8], delivery: &mut Delivery) -> ClosedReason {
        let op = self.parser.current(input);
        self.machine.fail(Refused { error, op }, delivery)
    }
}
