//! `Drive`: the task of one connection, a hand-written future over the machine of its kind.
//!
//! Each poll writes pending bytes, handles deadlines, reads a few times into the worker's scratch,
//! handles the ops there, and hands their frames to the receivers, inline. A turn is limited by
//! work of any kind. While work remains, the task queues itself again after the other tasks and
//! after a poll of the sockets, so that no connection starves the others; tasks with more work than
//! a turn stand in a lane.
//!
//! nats: server/client.go `readLoop`, `writeLoop`, `flushClients`

mod closing;
mod coalescing;
mod extras;
mod handshake;
mod layers;
mod shared;
mod stall;
mod write_deadline;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::auth::Verdict;
use crate::base::closed_reason::ClosedReason;
use crate::base::left::Left;
use crate::base::limits::FIRST_PING_MAX;
use crate::base::moment::Moment;
use crate::client::Client;
use crate::conn::{Conn, Flushed};
use crate::deliver::{Budget, Delivery, Resumed};
use crate::machine::session::{Session, Step};
use crate::machine::{Layer, Machine};
use crate::net::drive::coalescing::CoalescedReads;
use crate::net::drive::extras::Extras;
use crate::net::drive::handshake::Handshake;
use crate::net::drive::stall::Published;
use crate::net::drive::write_deadline::WriteDeadline;
use crate::net::layer::Inflow;
use crate::net::pace::Pace;
use crate::net::stream::Stream;
use crate::net::tls::{Side, TlsPort};
use crate::net::worker::{self, Worker};
use crate::parser::Refused;
use crate::registry::settings::Settings;

pub(crate) use shared::Shared;

/// The turn of a task after idleness. Any number of tasks may have one at once.
const FIRST_TURN: Budget = Budget { work_ns_max: 500_000 / SLOWER, splits: false };

/// A turn of a task that goes on. Few have one at once, and it stages enough frames per write.
const LONG_TURN: Budget = Budget { work_ns_max: 2_000_000 / SLOWER, splits: true };

/// Slowdown of a debug build, about.
const SLOWER: usize = if cfg!(debug_assertions) { 10 } else { 1 };

/// Most reads of one poll, and the work, in portions worth a write, after which it reads no more.
const READS_MAX: usize = 4;
const READ_ON_NS_MAX: usize = 64_000;

/// The task of one connection.
pub(crate) struct Drive<M: Machine> {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    session: Session<M>,
    phase: Phase,
    /// The next entry of this connection in the sweep.
    armed: Moment,
    pace: Pace,
    /// `None` most of the time: input is handled at once, nothing waits to be written, there are no
    /// layers, and no reads are coalesced.
    extras: Option<Box<Extras>>,
}

// Tokio adds 104 bytes and rounds up to 128: one byte more here is 128 more for each connection.
const _: () = assert!(size_of::<Drive<Client>>() + 104 <= 256);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first poll, in which the server sends INFO.
    Start {
        surplus: bool,
    },
    /// Before or in the TLS handshake: no NATS op is read.
    Handshake,
    Open,
    /// Publishing pauses because a receiver is lagging.
    Stalled,
    /// No input is handled any more; the task waits for its turn to end.
    Leaving,
    /// The connection ends; pending bytes are still written.
    Closing,
    /// All is written and our half of the stream has ended; the task waits for the other side's
    /// end.
    Ended,
}

/// The progress of handling input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    /// All is handled; more input or the end of a pause wakes the task.
    All,
    /// More may remain: the task has to come again.
    Part,
    /// The machine or a layer is waiting, and wakes the task when it can go on.
    UpToAnswer,
    /// The rest of the input has to go through this layer.
    UpToLayer(Layer),
}

impl<M: Machine> Drive<M> {
    /// The task of a connection; one in `surplus` gets an error and is closed.
    pub(crate) fn new(
        shared: Arc<Shared>,
        stream: Arc<Stream>,
        machine: M,
        surplus: bool,
    ) -> Drive<M> {
        let settings = shared.registry.settings();
        Drive {
            shared,
            stream,
            session: Session::new(machine, &settings),
            phase: Phase::Start { surplus },
            armed: Moment::NEVER,
            pace: Pace::default(),
            extras: None,
        }
    }

    /// The same with TLS, if the port has it; the side that dials begins.
    pub(crate) fn encrypted(mut self, port: Option<Arc<TlsPort>>, side: Side) -> Drive<M> {
        if let Some(port) = port {
            self.extras().handshake = Some(Box::new(Handshake::new(port, side)));
        }
        self
    }

    /// The same with a layer, whose other half its connection writes through already.
    pub(crate) fn layered(mut self, inflow: Box<dyn Inflow>) -> Drive<M> {
        self.extras().add_layer(inflow);
        self
    }

    fn conn(&self) -> &Arc<Conn> {
        self.session.machine.conn()
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        worker.delivery.now = self.shared.clock.now();
        if worker.delivery.now >= self.armed {
            self.armed = Moment::NEVER;
        }
        worker.delivery.staging.start_turn(FIRST_TURN);
        if let Phase::Start { surplus } = self.phase {
            self.conn().set_owner(cx.waker());
            self.start(surplus, &mut worker.delivery);
            self.commit(&mut worker.delivery);
            // By then CONNECT has brought the first PING near. An early wake-up is cheaper than a
            // second entry in the sweep, which would stay there for minutes.
            self.arm_at(worker.delivery.now + FIRST_PING_MAX);
        }
        self.poll_flush(cx, &worker.delivery);
        if let Some(reason) = self.conn().closed() {
            return self.poll_close(cx, reason, worker);
        }
        if self.phase == Phase::Handshake && self.poll_handshake(cx, worker).is_pending() {
            return match self.conn().closed() {
                Some(reason) => self.poll_close(cx, reason, worker),
                None => {
                    self.arm_at(self.extras.as_ref().map_or(Moment::NEVER, |b| b.due()));
                    Poll::Pending
                }
            };
        }
        self.handle_deadlines(cx, &mut worker.delivery);
        if self.poll_layers(cx).is_pending()
            || self.is_paused(&worker.delivery)
            || self.session.machine.is_waiting()
        {
            if self.extras.is_some() && self.write_on(&mut worker.delivery) == Handled::Part {
                come_again(cx);
            }
        } else if !self.conn().is_closed()
            && let Poll::Ready(budget) = self.poll_lane(cx)
        {
            worker.delivery.staging.start_turn(budget);
            self.take_turn(cx, worker);
        }
        self.watch_end(cx, &mut worker.delivery);
        if let Some(reason) = self.conn().closed() {
            return self.poll_close(cx, reason, worker);
        }
        self.arm(&worker.delivery.settings);
        Poll::Pending
    }

    /// Ready when the task may have a turn: a long one if it goes on with earlier work.
    fn poll_lane(&mut self, cx: &mut Context<'_>) -> Poll<Budget> {
        let Some(extras) = &mut self.extras else { return Poll::Ready(FIRST_TURN) };
        let begun = extras.has_begun();
        extras.lane.take_if(|entry| entry.is_over());
        if begun {
            extras.lane.get_or_insert_default();
        }
        let Some(entry) = &mut extras.lane else { return Poll::Ready(FIRST_TURN) };
        if !begun {
            entry.leave();
        }
        entry.poll(cx, &self.shared.long).map(|()| LONG_TURN)
    }

    /// Reads and handles input, hands the staged frames to their receivers, and schedules the task
    /// again for remaining work.
    fn take_turn(&mut self, cx: &mut Context<'_>, worker: &mut Worker) {
        let Worker { scratch, delivery } = worker;
        let heard_before = self.session.machine.heard_at();
        let (in_msgs, in_bytes) = (&delivery.counters.in_msgs, &delivery.counters.in_bytes);
        let (msgs_before, bytes_before) = (in_msgs.load(), in_bytes.load());
        self.end_hold(cx);
        let handled = self.read_on(cx, scratch, delivery);
        self.commit(delivery);
        let published = Published {
            msgs: delivery.counters.in_msgs.load() - msgs_before,
            bytes: delivery.counters.in_bytes.load() - bytes_before,
        };
        if let Some(heard_before) = heard_before {
            self.coalesce(cx, delivery.now, delivery.now - heard_before, published.msgs);
        }
        let paused = self.pause(cx, &published, delivery);
        let full = self.poll_layers(cx).is_pending();
        self.end_turn(cx, handled, paused || full);
    }

    /// Schedules the task again for remaining work, in the order of the lane. It also leaves the
    /// lane only after the other tasks, because the next task in it runs at once.
    fn end_turn(&mut self, cx: &mut Context<'_>, handled: Handled, paused: bool) {
        let unwritten = self.has_unwritten();
        let held_up = paused || handled == Handled::UpToAnswer;
        if unwritten || handled == Handled::Part && !held_up {
            self.extras().lane.get_or_insert_default();
            come_again(cx);
        }
        let Some(extras) = &mut self.extras else { return };
        if held_up {
            extras.lane = None;
        } else if handled != Handled::Part
            && !unwritten
            && let Some(entry) = &mut extras.lane
        {
            entry.end();
            come_again(cx);
        }
    }

    /// Ends a hold whose time is over.
    fn end_hold(&mut self, cx: &mut Context<'_>) {
        if let Some(extras) = &mut self.extras {
            extras.coalescing.take_if(|reads| reads.poll_alarm(cx, &self.stream));
        }
    }

    /// Coalesces the reads of a hurried connection. A turn has just brought `messages`, `gap` after
    /// the last.
    #[inline]
    fn coalesce(&mut self, cx: &mut Context<'_>, now: Moment, gap: Duration, messages: u64) {
        let sent = || self.session.machine.conn().traffic().out_msgs;
        if let Some(extras) = &mut self.extras
            && extras.coalescing.is_some()
        {
            extras.coalescing.take_if(|reads| {
                reads.handle_reads(cx, (&self.stream, &mut self.pace), (now, messages), sent)
            });
        } else if self.pace.count_turn(gap, messages) {
            let reads = CoalescedReads::new(cx, now, sent());
            self.extras().coalescing = Some(Box::new(reads));
        }
    }

    /// Reads and handles until nothing is left to read, or the turn is over.
    fn read_on(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        delivery: &mut Delivery,
    ) -> Handled {
        if self.extras.is_some() {
            let handled = self.go_on(delivery);
            if handled != Handled::All {
                return handled;
            }
        }
        for _ in 0..READS_MAX {
            if self.conn().is_closed() {
                return Handled::All;
            }
            let len = match self.stream.poll_read(cx, scratch) {
                Poll::Pending => return Handled::All,
                Poll::Ready(Err(_)) => {
                    self.end(ClosedReason::ReadError, true, delivery);
                    return Handled::All;
                }
                Poll::Ready(Ok(len)) => len,
            };
            if len == 0 {
                self.end(ClosedReason::ClientClosed, false, delivery);
                return Handled::All;
            }
            let handled = self.handle_read(cx, &mut scratch[..len], delivery);
            if handled != Handled::All {
                return handled;
            }
            // Small staged portions go out together with those of the next read.
            if delivery.staging.is_thin() {
                continue;
            }
            self.commit(delivery);
            if delivery.staging.work_ns() >= READ_ON_NS_MAX
                || M::STALLS && delivery.staging.has_stalled()
            {
                break;
            }
        }
        Handled::Part
    }

    /// Handles the bytes of a read.
    #[inline]
    fn handle_read(
        &mut self,
        cx: &mut Context<'_>,
        read: &mut [u8],
        delivery: &mut Delivery,
    ) -> Handled {
        if self.extras.is_some() && self.is_layered() {
            let handled = self.handle_from(0, read, delivery);
            return match self.handle_kept(handled, delivery) {
                Handled::All if self.poll_layers(cx).is_pending() => Handled::UpToAnswer,
                handled => handled,
            };
        }
        match self.handle(read, delivery) {
            handled @ Handled::UpToLayer(_) => self.handle_kept(handled, delivery),
            handled => handled,
        }
    }

    /// Goes on with the work that the last turn left.
    fn go_on(&mut self, delivery: &mut Delivery) -> Handled {
        if self.write_on(delivery) == Handled::Part || self.deliver_on(delivery) == Handled::Part {
            return Handled::Part;
        }
        self.handle_kept(Handled::All, delivery)
    }

    /// Writes frames that this task has appended for other connections.
    fn write_on(&mut self, delivery: &mut Delivery) -> Handled {
        let unwritten = &mut self.extras().unwritten;
        while let Some(receiver) = unwritten.pop() {
            delivery.staging.write(&receiver);
            if delivery.staging.is_turn_over() {
                return Handled::Part;
            }
        }
        *unwritten = Vec::new();
        Handled::All
    }

    fn has_unwritten(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| !extras.unwritten.is_empty())
    }

    /// Goes on with the message that the last turn did not deliver to all its receivers.
    fn deliver_on(&mut self, delivery: &mut Delivery) -> Handled {
        let Some(ongoing) = self.extras().ongoing.take() else { return Handled::All };
        match delivery.resume(ongoing) {
            Resumed::Part(ongoing) => {
                self.extras().ongoing = Some(ongoing);
                Handled::Part
            }
            Resumed::All(mut delivered) => {
                if !delivered.reached() {
                    self.session.machine.handle_unreached(&delivered.publish(), delivery);
                }
                if let Some(next) = delivered.take_next() {
                    self.extras().ongoing = Some(next);
                    return Handled::Part;
                }
                match M::STALLS && delivery.staging.has_stalled() {
                    true => Handled::Part,
                    false => Handled::All,
                }
            }
        }
    }

    /// Goes on with kept input of earlier reads, after progress `handled`.
    fn handle_kept(&mut self, mut handled: Handled, delivery: &mut Delivery) -> Handled {
        loop {
            match handled {
                Handled::All => {}
                Handled::UpToLayer(layer) => self.add_layer(layer, delivery),
                Handled::Part | Handled::UpToAnswer => return handled,
            }
            if self.conn().is_closed() {
                return Handled::All;
            }
            let Some((index, mut kept)) = self.extras().take_kept() else { return Handled::All };
            handled = self.handle_from(index, &mut kept, delivery);
        }
    }

    /// Handles the ops in `input`; the rest, after the end of the turn or after an unanswered op,
    /// goes to the backlog.
    fn handle(&mut self, input: &[u8], delivery: &mut Delivery) -> Handled {
        self.session.machine.heard(delivery.now);
        let mut rest = input;
        loop {
            match self.session.step(&mut rest, delivery) {
                Ok(Step::Handled) => {}
                Ok(Step::Layer(layer)) => {
                    self.extras().backlog.extend_from_slice(rest);
                    return Handled::UpToLayer(layer);
                }
                Ok(Step::Unanswered) => {
                    self.begin_check();
                    self.extras().backlog.extend_from_slice(rest);
                    return Handled::UpToAnswer;
                }
                Ok(Step::Missing) => return Handled::All,
                Err(error) => {
                    let reason = self.session.fail(&error, rest, delivery);
                    self.end(reason, false, delivery);
                    return Handled::All;
                }
            }
            if delivery.staging.is_full() {
                self.commit(delivery);
                if delivery.staging.is_turn_over() || M::STALLS && delivery.staging.has_stalled() {
                    self.extras().backlog.extend_from_slice(rest);
                    return Handled::Part;
                }
            }
        }
    }

    /// Queues the check that the machine waits for, if there is one.
    fn begin_check(&mut self) {
        if let Some(check) = self.session.machine.take_check() {
            let ticket = self.shared.checks.add(check, self.conn());
            self.extras().check = Some(ticket);
        }
    }

    fn fail(&mut self, refused: Refused<'_>, delivery: &mut Delivery) {
        let reason = self.session.machine.fail(refused, delivery);
        self.end(reason, false, delivery);
    }

    /// Ends the connection, after committing the staged frames.
    fn end(&mut self, reason: ClosedReason, discard: bool, delivery: &mut Delivery) {
        self.commit(delivery);
        self.conn().close(reason, discard);
    }

    /// Hands the staged frames to their receivers, and keeps the writes that the turn has no time
    /// for.
    fn commit(&mut self, delivery: &mut Delivery) {
        delivery.commit(self.conn());
        if delivery.has_left() {
            let extras = self.extras();
            extras.unwritten.append(&mut delivery.staging.take_unwritten());
            extras.ongoing = match extras.ongoing.take() {
                Some(first) => Some(first.before(delivery.take_ongoing())),
                None => delivery.take_ongoing(),
            };
        }
    }

    /// Writes pending bytes that the socket did not take before.
    fn poll_flush(&mut self, cx: &mut Context<'_>, delivery: &Delivery) {
        let policy = &delivery.settings.policy;
        loop {
            let progress = self.conn().progress();
            if let Some(extras) = &mut self.extras
                && let Some(deadline) = extras.write.take_if(|deadline| deadline.is_met(progress))
                && deadline.retried
                && self.conn().closed().is_none()
            {
                deadline.log_recovered(self.conn(), delivery.now);
            }
            if !progress.blocked {
                return;
            }
            let options = &delivery.settings.options;
            let deadline = &mut self.extras.get_or_insert_default().write;
            deadline
                .get_or_insert_with(|| WriteDeadline::new::<M>(delivery.now, options, progress));
            match self.conn().flush(policy, delivery.now) {
                Flushed::Idle => {}
                Flushed::Part => return come_again(cx),
                // Writability is edge-triggered: only after a refused write does the socket report
                // room again.
                Flushed::Blocked => match self.stream.poll_write_ready(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        return self.conn().close(ClosedReason::WriteError, true);
                    }
                },
                Flushed::Failed => return,
            }
        }
    }

    fn handle_deadlines(&mut self, cx: &mut Context<'_>, delivery: &mut Delivery) {
        if let Some(extras) = &mut self.extras
            && let Some(deadline) = &mut extras.write
            && delivery.now >= deadline.due
        {
            deadline.handle_due(&self.session.machine, delivery);
        }
        if let Err(error) = self.session.machine.handle_deadline(delivery) {
            return self.fail((&error).into(), delivery);
        }
        let verdict = self.take_verdict();
        match self.session.resume(verdict, delivery) {
            Ok(Left::More) => come_again(cx),
            Ok(Left::Nothing) => {}
            Err(error) => return self.fail((&error).into(), delivery),
        }
        // New settings may have asked for one.
        self.begin_check();
        self.commit(delivery);
    }

    /// The verdict of the check that the machine waits for, once it is known.
    #[inline]
    fn take_verdict(&mut self) -> Option<Verdict> {
        let extras = self.extras.as_mut()?;
        let verdict = extras.check.as_ref()?.take_verdict()?;
        extras.check = None;
        Some(verdict)
    }

    /// Ends a connection whose other side has left before its check was made, so that it does not
    /// take the place of waiting ones. Not if there is more input after the login.
    fn watch_end(&mut self, cx: &mut Context<'_>, delivery: &mut Delivery) {
        if let Some(extras) = &self.extras
            && extras.check.is_some()
            && extras.asks_nothing()
            && self.stream.poll_eof(cx).is_ready()
        {
            self.end(ClosedReason::ClientClosed, false, delivery);
        }
    }

    /// Makes the sweep wake the task for its next deadline.
    fn arm(&mut self, settings: &Settings) {
        let mut due = self.session.machine.deadline(settings);
        if let Some(extras) = &self.extras {
            if extras.is_over() {
                self.extras = None;
            } else {
                due = due.min(extras.due());
            }
        }
        self.arm_at(due);
    }

    fn arm_at(&mut self, due: Moment) {
        if due < self.armed {
            self.armed = due;
            self.shared.sweep.add(due, self.conn().slot);
        }
    }
}

/// Schedules another poll of the task, after the other tasks and after a poll of the sockets. A
/// task that wakes itself would let the thread poll the sockets only now and then, while the other
/// threads may sleep.
fn come_again(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

impl<M: Machine> Future for Drive<M> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drive = self.get_mut();
        let shared = Arc::clone(&drive.shared);
        worker::with(&shared.registry, &shared.arenas, |worker| drive.poll_with(cx, worker))
    }
}

#[cfg(test)]
mod tests;
