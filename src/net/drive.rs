//! `Drive`: the task of one connection, a hand-written future over the machine of its kind.
//!
//! Each poll: finish what the socket did not take, see what is due, read once into the worker's
//! scratch, handle the ops in it, hand what they staged to its receivers, inline. A read that
//! filled the scratch means that there is more: the task queues itself again behind the others, so
//! that no connection starves its neighbours.
//!
//! nats: server/client.go `readLoop`, `writeLoop`, `flushClients`

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::clock::Clock;
use crate::compression::Level;
use crate::conn::conn_event;
use crate::conn::{Conn, Flushed};
use crate::deliver::Delivery;
use crate::errors::{ClosedReason, ProtoErr};
use crate::ids::Kind;
use crate::limits::STALL_PER_READ_MAX;
use crate::moment::Moment;
use crate::net::compressed::Compressed;
use crate::net::machine::Machine;
use crate::net::s2::Decompressor;
use crate::net::stream::Stream;
use crate::net::sweep::Sweep;
use crate::net::worker::{self, Worker};
use crate::parser::Parser;
use crate::registry::Registry;
use crate::route::mesh::Mesh;

/// Staged bytes after which a task lets others go first, although its input is not handled.
const WORK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads of one poll at most, and staged bytes after which it reads no more. Others wait meanwhile;
/// but to queue up again costs more than a read, since it wakes another thread.
const READS_MAX: usize = 4;
const READ_ON_BYTES_MAX: usize = 256 * 1024;

/// How long a connection that ends may take to write what is pending.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// What all tasks of a server need.
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    /// None without a cluster.
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) sweep: Sweep,
    pub(crate) clock: Clock,
}

/// The task of one connection.
pub(crate) struct Drive<M: Machine> {
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    stream: Arc<Stream>,
    machine: M,
    parser: Parser<M::Rules>,
    /// Input that was read and is not handled yet, because its handling would have taken too long
    /// or a receiver is far behind.
    backlog: Vec<u8>,
    /// Set once the connection is compressed: what is read, and what is written.
    inflow: Option<Box<Inflow>>,
    outflow: Option<Arc<Compressed>>,
    phase: Phase,
    /// The receiver for which publishing pauses.
    stalled_by: Option<Arc<Conn>>,
    /// The next entry of this connection in the sweep.
    armed: Moment,
    /// What is pending must be written by then.
    write_due: Moment,
    /// Bytes that will have been written when the write deadline is met.
    write_goal: u64,
    /// Ends the closing of a connection whose other side does not read.
    linger: Option<Pin<Box<Sleep>>>,
}

/// What is read of a compressed connection.
struct Inflow {
    decompressor: Decompressor,
    /// Input behind the backlog, not decompressed yet.
    kept: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first poll, in which the server speaks first.
    Start {
        surplus: bool,
    },
    Open,
    /// Publishing pauses: a receiver is far behind.
    Stalled {
        until: Moment,
    },
    /// Nothing is read any more; what is pending is still written.
    Closing,
}

/// How the handling of input ended.
enum Handled {
    /// All of it is handled.
    All,
    /// The rest is in the backlog; the task has to come again.
    Rest,
    /// The rest, if any, is in the backlog; the task is woken later.
    Stalled,
    /// The connection ends.
    Closed,
}

impl<M: Machine> Drive<M> {
    /// The task of a connection; one in `surplus` is told so and closed.
    pub(crate) fn new(
        shared: Arc<Shared>,
        conn: Arc<Conn>,
        stream: Arc<Stream>,
        machine: M,
        surplus: bool,
    ) -> Drive<M> {
        let parser = Parser::new(machine.rules());
        Drive {
            shared,
            conn,
            stream,
            machine,
            parser,
            backlog: Vec::new(),
            inflow: None,
            outflow: None,
            phase: Phase::Start { surplus },
            stalled_by: None,
            armed: Moment::NEVER,
            write_due: Moment::NEVER,
            write_goal: 0,
            linger: None,
        }
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        worker.delivery.now = self.shared.clock.now();
        if let Phase::Start { surplus } = self.phase {
            self.phase = Phase::Open;
            self.conn.own(cx.waker());
            self.machine.start(&mut worker.delivery);
            if surplus {
                self.fail(&ProtoErr::MaxConnections, &mut worker.delivery);
            }
            self.commit(&mut worker.delivery);
        }
        self.poll_flush(cx, &worker.delivery);
        if let Some(reason) = self.conn.closed() {
            return self.poll_close(cx, reason, &mut worker.delivery);
        }
        self.handle_deadlines(cx, &mut worker.delivery);
        let done = self.poll_input(cx, worker);
        if let Some(reason) = self.conn.closed() {
            return self.poll_close(cx, reason, &mut worker.delivery);
        }
        self.arm();
        done
    }

    /// Reads and handles, as long as it is this task's turn.
    fn poll_input(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        if let Phase::Stalled { until } = self.phase {
            let policy = &self.shared.registry.policy;
            let behind = self.stalled_by.as_ref().is_some_and(|slow| slow.is_far_behind(policy));
            if behind && worker.delivery.now < until {
                return Poll::Pending;
            }
            self.stalled_by = None;
            self.phase = Phase::Open;
        }
        let Worker { scratch, delivery } = worker;
        delivery.staging.start_turn();
        if !self.backlog.is_empty() || self.has_compressed_input() {
            match self.handle_kept(delivery, cx) {
                Handled::All => {}
                Handled::Rest => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Handled::Stalled | Handled::Closed => return Poll::Pending,
            }
        }
        for _ in 0..READS_MAX {
            let len = match self.stream.poll_read(cx, scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => {
                    self.conn.close(ClosedReason::ReadError, true);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(len)) => len,
            };
            if len == 0 {
                self.conn.close(ClosedReason::ClientClosed, false);
                return Poll::Pending;
            }
            self.conn.set_last_activity(delivery.now);
            match self.handle_read(&scratch[..len], delivery, cx) {
                Handled::All => {}
                Handled::Rest => break,
                Handled::Stalled | Handled::Closed => return Poll::Pending,
            }
            if delivery.staging.work_bytes() >= READ_ON_BYTES_MAX {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles what was read.
    #[inline]
    fn handle_read(&mut self, read: &[u8], delivery: &mut Delivery, cx: &Context<'_>) -> Handled {
        if self.inflow.is_some() {
            return self.handle_compressed(read, delivery, cx);
        }
        match self.handle(read, delivery, cx) {
            Handled::All if self.has_compressed_input() => self.handle_kept(delivery, cx),
            handled => handled,
        }
    }

    /// Handles what was read before.
    fn handle_kept(&mut self, delivery: &mut Delivery, cx: &Context<'_>) -> Handled {
        let backlog = std::mem::take(&mut self.backlog);
        match self.handle(&backlog, delivery, cx) {
            Handled::All => {}
            handled => return handled,
        }
        let Some(inflow) = &mut self.inflow else { return Handled::All };
        let kept = std::mem::take(&mut inflow.kept);
        self.handle_compressed(&kept, delivery, cx)
    }

    /// Handles what is in `input`, piece by piece.
    fn handle_compressed(
        &mut self,
        input: &[u8],
        delivery: &mut Delivery,
        cx: &Context<'_>,
    ) -> Handled {
        let Some(mut inflow) = self.inflow.take() else { return Handled::All };
        let mut rest = input;
        let handled = loop {
            match inflow.decompressor.next(rest) {
                Ok((None, _)) => break Handled::All,
                Ok((Some(plain), used)) => {
                    rest = &rest[used..];
                    match self.handle(plain, delivery, cx) {
                        Handled::All => {}
                        handled => {
                            inflow.kept.extend_from_slice(rest);
                            break handled;
                        }
                    }
                }
                Err(error) => {
                    conn_event!(ERROR, &self.conn, "Error decompressing: {error}");
                    self.conn.close(ClosedReason::ReadError, true);
                    break Handled::Closed;
                }
            }
        };
        self.inflow = Some(inflow);
        handled
    }

    fn has_compressed_input(&self) -> bool {
        self.inflow.as_ref().is_some_and(|inflow| !inflow.kept.is_empty())
    }

    /// What is staged still goes out as it is; all that follows, and all that is read behind this
    /// op, is compressed.
    fn compress(&mut self, level: Level, rest: &mut &[u8], delivery: &mut Delivery) {
        if let Some(outflow) = &self.outflow {
            outflow.set_level(level);
            return;
        }
        self.commit(delivery);
        let stream = Arc::clone(&self.stream);
        self.outflow = Some(self.conn.rewire(|clear| Compressed::new(stream, level, clear)));
        let kept = std::mem::take(rest).to_vec();
        self.inflow = Some(Box::new(Inflow { decompressor: Decompressor::new(), kept }));
        self.machine.handle_compressed(delivery);
    }

    /// Handles the ops in `input` and hands what they staged to its receivers.
    fn handle(&mut self, input: &[u8], delivery: &mut Delivery, cx: &Context<'_>) -> Handled {
        let mut rest = input;
        let outcome = loop {
            match self.handle_next(&mut rest, delivery) {
                Ok(true) => {}
                Ok(false) => break Handled::All,
                Err(error) => {
                    self.fail(&error, delivery);
                    return Handled::Closed;
                }
            }
            if delivery.staging.is_full() {
                self.commit(delivery);
                if delivery.staging.work_bytes() >= WORK_BYTES_MAX
                    || M::STALLS && delivery.staging.has_stalled()
                {
                    break Handled::Rest;
                }
            }
        };
        self.commit(delivery);
        self.backlog.extend_from_slice(rest);
        if let Some(slow) = delivery.staging.take_stalled()
            && M::STALLS
            && !Arc::ptr_eq(&slow, &self.conn)
            && slow.stall(cx.waker(), &self.shared.registry.policy, delivery.now)
        {
            delivery.counters.stalled_clients.add(1);
            self.stalled_by = Some(slow);
            self.phase = Phase::Stalled { until: delivery.now + STALL_PER_READ_MAX };
            return Handled::Stalled;
        }
        outcome
    }

    /// Handles the next op of `rest`; false when there is none.
    #[inline]
    fn handle_next(&mut self, rest: &mut &[u8], delivery: &mut Delivery) -> Result<bool, ProtoErr> {
        if let Some((plain, used)) = self.parser.next_plain(rest) {
            *rest = &rest[used..];
            self.machine.handle_plain(&plain, delivery)?;
            return Ok(true);
        }
        self.handle_any(rest, delivery)
    }

    fn handle_any(&mut self, rest: &mut &[u8], delivery: &mut Delivery) -> Result<bool, ProtoErr> {
        let machine = &mut self.machine;
        // The op is let go of before the rules change, whatever it borrows.
        {
            let (op, used) = self.parser.next(rest)?;
            *rest = &rest[used..];
            let Some(op) = op else { return Ok(false) };
            if !M::changes_rules(&op) {
                machine.handle_op(&op, delivery)?;
                return Ok(true);
            }
            if machine.is_slow() {
                tokio::task::block_in_place(|| machine.handle_op(&op, delivery))?;
            } else {
                machine.handle_op(&op, delivery)?;
            }
        }
        self.parser.rules = machine.rules();
        if let Some(level) = machine.take_compression() {
            self.compress(level, rest, delivery);
        }
        Ok(true)
    }

    /// Ends the connection because of what the other side did.
    fn fail(&self, error: &ProtoErr, delivery: &mut Delivery) {
        let reason = self.machine.fail(error, delivery);
        self.commit(delivery);
        self.conn.close(reason, false);
    }

    fn commit(&self, delivery: &mut Delivery) {
        delivery.commit(&self.shared.registry.policy, &self.conn);
    }

    /// Writes what the socket did not take before.
    fn poll_flush(&mut self, cx: &mut Context<'_>, delivery: &Delivery) {
        let policy = &self.shared.registry.policy;
        loop {
            let progress = self.conn.progress();
            if !progress.blocked {
                self.write_due = Moment::NEVER;
                return;
            }
            if self.write_due == Moment::NEVER || progress.written >= self.write_goal {
                self.write_goal = progress.written + progress.pending_bytes as u64;
                self.write_due = delivery.now + M::write_deadline(&self.shared.registry.options);
            }
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.conn.close(ClosedReason::WriteError, true),
            }
            match self.conn.flush(policy, delivery.now) {
                Flushed::Idle | Flushed::Blocked => {}
                Flushed::Failed => return,
            }
        }
    }

    fn handle_deadlines(&mut self, cx: &Context<'_>, delivery: &mut Delivery) {
        if delivery.now >= self.armed {
            self.armed = Moment::NEVER;
        }
        if delivery.now >= self.write_due {
            self.handle_write_due(delivery);
        }
        if let Err(error) = self.machine.handle_deadline(delivery) {
            return self.fail(&error, delivery);
        }
        if self.machine.handle_turn(delivery) {
            cx.waker().wake_by_ref();
        }
        self.commit(delivery);
    }

    /// The write deadline has passed.
    fn handle_write_due(&mut self, delivery: &mut Delivery) {
        let options = &self.shared.registry.options;
        let progress = self.conn.progress();
        delivery.counters.slow_consumers.add(1);
        delivery.counters.slow_routes.add(u64::from(self.conn.kind == Kind::Route));
        conn_event!(
            INFO,
            &self.conn,
            "Slow Consumer Detected: WriteDeadline of {} exceeded with {} total bytes.",
            crate::duration::Display(M::write_deadline(options)),
            progress.pending_bytes
        );
        let moved = self.write_goal > progress.written + progress.pending_bytes as u64;
        if M::forgives_slow_writes(options) && moved {
            self.write_due = Moment::NEVER;
            return;
        }
        self.conn.close(ClosedReason::SlowConsumerWriteDeadline, true);
    }

    /// Sees to it that the task is woken for its next deadline.
    fn arm(&mut self) {
        let until = match self.phase {
            Phase::Stalled { until } => until,
            Phase::Start { .. } | Phase::Open | Phase::Closing => Moment::NEVER,
        };
        let due = self.machine.deadline().min(self.write_due).min(until);
        if due < self.armed {
            self.armed = due;
            self.shared.sweep.add(due, self.conn.cid);
        }
    }

    /// Writes what is pending, for a while, then leaves.
    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        reason: ClosedReason,
        delivery: &mut Delivery,
    ) -> Poll<()> {
        if self.phase != Phase::Closing {
            self.phase = Phase::Closing;
            self.machine.close(reason, delivery);
            self.commit(delivery);
        }
        self.poll_flush(cx, delivery);
        if self.conn.progress().pending_bytes > 0 {
            let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER_MAX)));
            if linger.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.conn.hang_up();
        Poll::Ready(())
    }
}

impl<M: Machine> Future for Drive<M> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drive = self.get_mut();
        let registry = Arc::clone(&drive.shared.registry);
        worker::with(&registry, |worker| drive.poll_with(cx, worker))
    }
}
