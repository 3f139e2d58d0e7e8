//! `Drive`: the task of one connection, a hand-written future.
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

use crate::client::Client;
use crate::clock::Clock;
use crate::conn::conn_event;
use crate::conn::{Conn, Flushed, Progress};
use crate::deliver::Delivery;
use crate::duration;
use crate::errors::{ClosedReason, ProtoErr};
use crate::limits::{FIRST_PING_MAX, STALL_PER_READ_MAX};
use crate::moment::Moment;
use crate::net::stream::Stream;
use crate::net::sweep::Sweep;
use crate::net::worker::{self, Worker};
use crate::options::WriteTimeout;
use crate::parser::{Op, Parser};
use crate::registry::Registry;

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
    pub(crate) sweep: Sweep,
    pub(crate) clock: Clock,
}

/// The task of one client connection.
pub(crate) struct Drive {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    client: Client,
    parser: Parser,
    phase: Phase,
    /// The next entry of this connection in the sweep.
    armed: Moment,
    /// `None` most of the time: input is handled at once and nothing waits to be written.
    behind: Option<Box<Behind>>,
}

// Tokio adds 104 bytes and rounds up to 128: one byte more here is 128 more for each connection.
const _: () = assert!(size_of::<Drive>() + 104 <= 256);

/// What a task has to remember only while it is behind, with handling or with writing.
#[derive(Default)]
struct Behind {
    /// Input that was read and is not handled yet, because its handling would have taken too long
    /// or a receiver is far behind.
    backlog: Vec<u8>,
    /// The receiver for which publishing pauses, and until when at most.
    stalled: Option<(Arc<Conn>, Moment)>,
    write: Option<WriteDeadline>,
    /// Ends the closing of a connection whose client does not read.
    linger: Option<Pin<Box<Sleep>>>,
}

/// By when what is pending must be written.
#[derive(Clone, Copy)]
struct WriteDeadline {
    start: Moment,
    due: Moment,
    /// Bytes that had been written at its start.
    from: u64,
    /// Bytes that will have been written when it is met.
    goal: u64,
    /// One before it was not met, and forgiven.
    retried: bool,
}

impl WriteDeadline {
    fn new(now: Moment, span: Duration, progress: Progress, retried: bool) -> WriteDeadline {
        let Progress { written, pending_bytes, .. } = progress;
        let goal = written + pending_bytes as u64;
        WriteDeadline { start: now, due: now + span, from: written, goal, retried }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first poll, in which the server speaks first.
    Start {
        surplus: bool,
    },
    Open,
    /// Publishing pauses: a receiver is far behind.
    Stalled,
    /// Nothing is read any more; what is pending is still written.
    Closing,
}

/// How far the handling of input got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    /// There is nothing more to handle now; more input or the end of a pause wakes the task.
    All,
    /// There may be more: the task has to come again.
    Part,
}

impl Drive {
    /// The task of a connection; one in `surplus` is told so and closed.
    pub(crate) fn new(
        shared: Arc<Shared>,
        stream: Arc<Stream>,
        client: Client,
        surplus: bool,
    ) -> Drive {
        let parser = Parser::new(client.rules());
        Drive {
            shared,
            stream,
            client,
            parser,
            phase: Phase::Start { surplus },
            armed: Moment::NEVER,
            behind: None,
        }
    }

    fn conn(&self) -> &Arc<Conn> {
        self.client.conn()
    }

    fn behind(&mut self) -> &mut Behind {
        self.behind.get_or_insert_default()
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        worker.delivery.now = self.shared.clock.now();
        if let Phase::Start { surplus } = self.phase {
            self.phase = Phase::Open;
            self.conn().own(cx.waker());
            self.client.start(&mut worker.delivery);
            if surplus {
                let reason = self.client.fail(&ProtoErr::MaxConnections, &mut worker.delivery);
                self.end(reason, false, &mut worker.delivery);
            }
            self.commit(&mut worker.delivery);
            // By then CONNECT has brought the first PING near. This look in time is cheaper than a
            // second entry in the sweep, which would stay there for minutes.
            self.arm_at(worker.delivery.now + FIRST_PING_MAX);
        }
        self.poll_flush(cx, &worker.delivery);
        if let Some(reason) = self.conn().closed() {
            return self.poll_close(cx, reason, &mut worker.delivery);
        }
        self.handle_deadlines(&mut worker.delivery);
        if !self.is_paused(worker.delivery.now) {
            self.take_turn(cx, worker);
        }
        if let Some(reason) = self.conn().closed() {
            return self.poll_close(cx, reason, &mut worker.delivery);
        }
        self.arm();
        Poll::Pending
    }

    /// Publishing still pauses for a receiver that is far behind.
    fn is_paused(&mut self, now: Moment) -> bool {
        if self.phase != Phase::Stalled {
            return false;
        }
        let policy = &self.shared.registry.policy;
        if let Some(behind) = &mut self.behind {
            if let Some((slow, until)) = &behind.stalled
                && now < *until
                && slow.is_far_behind(policy)
            {
                return true;
            }
            behind.stalled = None;
        }
        self.phase = Phase::Open;
        false
    }

    /// Reads and handles, hands what that staged to its receivers, and has the task woken for what
    /// is left.
    fn take_turn(&mut self, cx: &mut Context<'_>, worker: &mut Worker) {
        let Worker { scratch, delivery } = worker;
        delivery.staging.start_turn();
        let handled = self.read_on(cx, scratch, delivery);
        self.commit(delivery);
        if !self.pause(cx, delivery) && handled == Handled::Part {
            cx.waker().wake_by_ref();
        }
    }

    /// Reads and handles until nothing is left to read, or others should have their turn.
    fn read_on(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        delivery: &mut Delivery,
    ) -> Handled {
        if let Some(behind) = &mut self.behind
            && !behind.backlog.is_empty()
        {
            let backlog = std::mem::take(&mut behind.backlog);
            if self.handle(&backlog, delivery) == Handled::Part {
                return Handled::Part;
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
            self.conn().set_last_activity(delivery.now);
            if self.handle(&scratch[..len], delivery) == Handled::Part {
                return Handled::Part;
            }
            // What is staged in small portions goes out together with what the next read brings.
            if !delivery.staging.is_thin() {
                self.commit(delivery);
            }
            if delivery.staging.work_bytes() >= READ_ON_BYTES_MAX || delivery.staging.has_stalled()
            {
                break;
            }
        }
        Handled::Part
    }

    /// Handles the ops in `input`; what takes too long is left in the backlog.
    fn handle(&mut self, input: &[u8], delivery: &mut Delivery) -> Handled {
        let mut rest = input;
        loop {
            match self.handle_next(&mut rest, delivery) {
                Ok(true) => {}
                Ok(false) => return Handled::All,
                Err(error) => {
                    let reason = self.client.fail(&error, delivery);
                    self.end(reason, false, delivery);
                    return Handled::All;
                }
            }
            if delivery.staging.is_full() {
                self.commit(delivery);
                if delivery.staging.work_bytes() >= WORK_BYTES_MAX || delivery.staging.has_stalled()
                {
                    self.behind().backlog.extend_from_slice(rest);
                    return Handled::Part;
                }
            }
        }
    }

    /// Pauses if a receiver was found far behind, until it has caught up or for a moment.
    fn pause(&mut self, cx: &Context<'_>, delivery: &mut Delivery) -> bool {
        let Some(slow) = delivery.staging.take_stalled() else { return false };
        if Arc::ptr_eq(&slow, self.conn())
            || !slow.stall(cx.waker(), &self.shared.registry.policy, delivery.now)
        {
            return false;
        }
        delivery.counters.stalled_clients.add(1);
        self.behind().stalled = Some((slow, delivery.now + STALL_PER_READ_MAX));
        self.phase = Phase::Stalled;
        true
    }

    /// Handles the next op of `rest`; false when there is none.
    #[inline]
    fn handle_next(&mut self, rest: &mut &[u8], delivery: &mut Delivery) -> Result<bool, ProtoErr> {
        if let Some((publish, used)) = self.parser.next_plain(rest) {
            *rest = &rest[used..];
            self.client.handle_publish(&publish, delivery)?;
            return Ok(true);
        }
        self.handle_any(rest, delivery)
    }

    fn handle_any(&mut self, rest: &mut &[u8], delivery: &mut Delivery) -> Result<bool, ProtoErr> {
        let (op, used) = self.parser.next(rest)?;
        *rest = &rest[used..];
        let Some(op) = op else { return Ok(false) };
        if !matches!(op, Op::Connect(_)) {
            self.client.handle_op(&op, delivery)?;
            return Ok(true);
        }
        let client = &mut self.client;
        if client.is_connect_slow() {
            tokio::task::block_in_place(|| client.handle_op(&op, delivery))?;
        } else {
            client.handle_op(&op, delivery)?;
        }
        self.parser.rules = self.client.rules();
        Ok(true)
    }

    /// Ends the connection; what is staged goes out before.
    fn end(&self, reason: ClosedReason, discard: bool, delivery: &mut Delivery) {
        self.commit(delivery);
        self.conn().close(reason, discard);
    }

    fn commit(&self, delivery: &mut Delivery) {
        delivery.commit(&self.shared.registry.policy, self.conn());
    }

    /// Writes what the socket did not take before.
    fn poll_flush(&mut self, cx: &mut Context<'_>, delivery: &Delivery) {
        let policy = &self.shared.registry.policy;
        loop {
            let progress = self.conn().progress();
            let met = |deadline: &mut WriteDeadline| {
                !progress.blocked || progress.written >= deadline.goal
            };
            if let Some(behind) = &mut self.behind
                && let Some(deadline) = behind.write.take_if(met)
                && deadline.retried
                && self.conn().closed().is_none()
            {
                self.tell_recovered(deadline, delivery.now);
            }
            if !progress.blocked {
                return;
            }
            let span = self.shared.registry.options.write_deadline;
            let deadline = &mut self.behind.get_or_insert_default().write;
            deadline.get_or_insert_with(|| WriteDeadline::new(delivery.now, span, progress, false));
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.conn().close(ClosedReason::WriteError, true),
            }
            match self.conn().flush(policy, delivery.now) {
                Flushed::Idle | Flushed::Blocked => {}
                Flushed::Failed => return,
            }
        }
    }

    fn handle_deadlines(&mut self, delivery: &mut Delivery) {
        if delivery.now >= self.armed {
            self.armed = Moment::NEVER;
        }
        if let Some(behind) = &self.behind
            && let Some(deadline) = behind.write
            && delivery.now >= deadline.due
        {
            self.handle_write_due(deadline, delivery);
        }
        if let Err(error) = self.client.handle_deadline(delivery) {
            let reason = self.client.fail(&error, delivery);
            self.end(reason, false, delivery);
        }
        self.commit(delivery);
    }

    /// The write deadline has passed before its goal was reached.
    ///
    /// To retry helps whoever takes something meanwhile. The first time of a row is forgiven: it
    /// began with a write of which the socket took a part.
    /// nats: server/client.go `handleWriteTimeout`
    fn handle_write_due(&mut self, missed: WriteDeadline, delivery: &mut Delivery) {
        let Shared { registry, .. } = &*self.shared;
        let options = &registry.options;
        let retries = options.write_timeout == WriteTimeout::Retry;
        if retries {
            // What was read of a full socket in small bites has not made it writable for tokio.
            self.conn().flush(&registry.policy, delivery.now);
        }
        let progress = self.conn().progress();
        delivery.counters.slow_consumers.add(1);
        let state = if missed.retried { "State" } else { "Detected" };
        conn_event!(
            INFO,
            self.conn(),
            "Slow Consumer {state}: WriteDeadline of {} exceeded with {} total bytes.",
            duration::Display(options.write_deadline),
            missed.goal - missed.from
        );
        if retries && (!missed.retried || progress.written > missed.from) {
            let span = options.write_deadline;
            let next = WriteDeadline::new(delivery.now, span, progress, true);
            self.behind.get_or_insert_default().write = Some(next);
            return;
        }
        self.conn().close(ClosedReason::SlowConsumerWriteDeadline, true);
    }

    fn tell_recovered(&self, met: WriteDeadline, now: Moment) {
        conn_event!(
            INFO,
            self.conn(),
            "Slow Consumer Recovered: Flush took {:.3}s with {} total bytes.",
            (now - met.start).as_secs_f64(),
            met.goal - met.from
        );
    }

    /// Sees to it that the task is woken for its next deadline.
    fn arm(&mut self) {
        let mut due = self.client.deadline();
        if let Some(behind) = &self.behind {
            if behind.is_over() {
                self.behind = None;
            } else {
                due = due.min(behind.due());
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

    /// Writes what is pending, for a while, then leaves.
    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        reason: ClosedReason,
        delivery: &mut Delivery,
    ) -> Poll<()> {
        if self.phase != Phase::Closing {
            self.phase = Phase::Closing;
            self.client.close(reason, delivery.now);
        }
        self.poll_flush(cx, delivery);
        if self.conn().progress().pending_bytes > 0 {
            let linger = self.behind().linger.get_or_insert_with(|| Box::pin(sleep(LINGER_MAX)));
            if linger.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.conn().hang_up();
        Poll::Ready(())
    }
}

impl Behind {
    /// Nothing is left to be remembered.
    fn is_over(&self) -> bool {
        let Behind { backlog, stalled, write, linger } = self;
        backlog.is_empty() && stalled.is_none() && write.is_none() && linger.is_none()
    }

    /// When the task has to look again.
    fn due(&self) -> Moment {
        let write = self.write.map_or(Moment::NEVER, |deadline| deadline.due);
        self.stalled.as_ref().map_or(write, |&(_, until)| write.min(until))
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drive = self.get_mut();
        let registry = Arc::clone(&drive.shared.registry);
        worker::with(&registry, |worker| drive.poll_with(cx, worker))
    }
}
