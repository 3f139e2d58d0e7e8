//! `Session`: the protocol of one connection: its machine, and the parser ruled by it.
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

/// Time to handle an op without its effects, or to find none, nanoseconds, about; not for plain
/// messages.
const OP_NS: usize = 100;

/// The protocol of one connection.
pub struct Session<M: Machine> {
    /// The machine.
    pub machine: M,
    parser: Parser<M::Rules>,
}

/// The outcome of the next op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Handled, perhaps with several messages like it.
    Handled,
    /// Not complete yet.
    Missing,
    /// Handled and not answered: the next op has to wait as long as the machine waits.
    Unanswered,
    /// Handled, and all later input comes through a layer: see [`take_layer`](Machine::take_layer).
    Layer(Layer),
}

impl<M: Machine> Session<M> {
    /// The protocol of a new connection.
    pub fn new(machine: M, settings: &Settings) -> Session<M> {
        let parser = Parser::new(machine.rules(settings));
        Session { machine, parser }
    }

    /// Handles the next op of `input`, or several messages like it, and takes them from it.
    ///
    /// # Errors
    /// The caller has to end the connection: see [`fail`](Session::fail).
    #[inline]
    pub fn step(&mut self, input: &mut &[u8], delivery: &mut Delivery) -> Result<Step, ProtoErr> {
        if self.parser.is_through(input) {
            delivery.staging.add_work(OP_NS);
            return Ok(Step::Missing);
        }
        let plain = self.parser.next_plain(input);
        if let Some((msg, used)) = &plain {
            self.machine.handle_msg(msg, Some(self.parser.take_plain(input, *used)), delivery)?;
            return Ok(Step::Handled);
        }
        self.step_any(input, delivery)
    }

    fn step_any(&mut self, input: &mut &[u8], delivery: &mut Delivery) -> Result<Step, ProtoErr> {
        let machine = &mut self.machine;
        delivery.staging.add_work(OP_NS);
        // The block ends the op's borrow before the rules change.
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

    /// Gives the machine new settings, any news and the `verdict` that it waits for, and lets it go
    /// on with its own work.
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
        let reloaded = self.machine.conn().is_called() && self.answer_call(delivery)?;
        if let Some(verdict) = verdict {
            self.machine.handle_verdict(verdict, delivery)?;
        }
        let left = self.machine.continue_work(delivery)?;
        if waited || reloaded {
            self.parser.rules = self.machine.rules(&delivery.settings);
        }
        Ok(left)
    }

    /// Gives the machine new settings and any news. True for new settings.
    #[cold]
    fn answer_call(&mut self, delivery: &mut Delivery) -> Result<bool, ProtoErr> {
        let reloaded = self.machine.conn().take_settings();
        if reloaded {
            self.machine.handle_settings(delivery)?;
        }
        if self.machine.conn().take_news() {
            self.machine.handle_news(delivery);
        }
        Ok(reloaded)
    }

    /// Writes the `-ERR` for the error of a step that ended before `input`, and returns the reason
    /// to close.
    pub fn fail(&self, error: &ProtoErr, input: &[u8], delivery: &mut Delivery) -> ClosedReason {
        let op = self.parser.current(input);
        self.machine.fail(Refused { error, op }, delivery)
    }
}
