//! The end of a task: it handles no more input, and still writes the pending bytes.
//!
//! ```text
//!   Open --> Leaving -- its turn to end --> Closing -- all written --> Ended
//! ```
//!
//! At a shutdown, and with a WebSocket, the other side's end is waited for.
//!
//! A task is over when its connection has hung up and all its subscriptions are removed.
//! nats: server/client.go `closeConnection`, `flushAndClose`

use std::future::Future;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::sleep;

use crate::base::closed_reason::ClosedReason;
use crate::base::left::Left;
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::net::drive::{Drive, Handled, Phase, READS_MAX, come_again};
use crate::net::lane::LaneEntry;
use crate::net::worker::Worker;

/// Time for a client with a too large message to read the error, before its connection is reset.
const RESET_AFTER: Duration = Duration::from_millis(100);

impl<M: Machine> Drive<M> {
    /// Writes the pending bytes, for a limited time, then leaves.
    pub(super) fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        reason: ClosedReason,
        worker: &mut Worker,
    ) -> Poll<()> {
        let Worker { scratch, delivery } = worker;
        // Kept for this poll.
        let mut entry = None;
        if !matches!(self.phase, Phase::Closing | Phase::Ended) {
            ready!(self.poll_last_message(cx, delivery));
            entry = Some(ready!(self.poll_leave(cx)));
            self.phase = Phase::Closing;
            if let Some(extras) = &mut self.extras {
                extras.check = None;
            }
            self.session.machine.close(reason, delivery);
            self.commit(delivery);
            self.shared.left.notify_one();
        }
        if self.extras.is_some() && self.write_on(delivery) == Handled::Part {
            come_again(cx);
            return Poll::Pending;
        }
        self.poll_flush(cx, delivery);
        if !self.conn().has_hung_up() && self.poll_linger(cx, reason, scratch).is_ready() {
            if reason == ClosedReason::MaxPayloadExceeded {
                self.stream.reset();
            }
            self.conn().hang_up();
            self.shared.left.notify_one();
        }
        let left = self.session.machine.forget(delivery);
        self.commit(delivery);
        if left == Left::More || self.has_unwritten() {
            come_again(cx);
            return Poll::Pending;
        }
        drop(entry);
        if self.conn().has_hung_up() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready when the message in delivery at the end of the connection has reached all receivers: a
    /// publisher that leaves loses no message.
    fn poll_last_message(&mut self, cx: &mut Context<'_>, delivery: &mut Delivery) -> Poll<()> {
        if self.extras.as_ref().is_none_or(|extras| extras.ongoing.is_none()) {
            return Poll::Ready(());
        }
        let budget = ready!(self.poll_lane(cx));
        delivery.staging.start_turn(budget);
        let handled = self.deliver_on(delivery);
        self.commit(delivery);
        if handled == Handled::Part {
            self.extras().lane.get_or_insert_default();
            come_again(cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Ready when it is the connection's turn to end: thousands that end at once do so in order,
    /// and other tasks run in between. It gets no messages meanwhile.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<LaneEntry> {
        let kept = self.extras.as_mut().and_then(|extras| extras.lane.take());
        let mut entry = kept.filter(|_| self.phase == Phase::Leaving).unwrap_or_default();
        self.phase = Phase::Leaving;
        if entry.poll(cx, &self.shared.endings).is_ready() {
            return Poll::Ready(entry);
        }
        self.extras().lane = Some(entry);
        Poll::Pending
    }

    /// Ready when all bytes are written and no end is awaited, or the time for that is over.
    ///
    /// A too large message ends in a reset, as if the rest of it lay unread in the socket. The task
    /// first reads that rest for a moment: a reset may overtake the `-ERR`, and a client that is
    /// still writing does not read.
    /// nats-differs: there the reset comes at once.
    fn poll_linger(
        &mut self,
        cx: &mut Context<'_>,
        reason: ClosedReason,
        scratch: &mut [u8],
    ) -> Poll<()> {
        let (rest, max) = match reason {
            _ if self.conn().progress().pending_bytes > 0 => (Poll::Pending, M::LINGER_MAX),
            _ if self.poll_layers_end(cx, reason).is_pending() => (Poll::Pending, M::LINGER_MAX),
            ClosedReason::ServerShutdown => (self.poll_end(cx, scratch), M::LINGER_MAX),
            ClosedReason::MaxPayloadExceeded => (self.poll_drop(cx, scratch, false), RESET_AFTER),
            _ if self.conn().is_websocket() && !self.conn().is_discarded() => {
                (self.poll_half_end(cx, scratch, false), M::LINGER_MAX)
            }
            _ => return Poll::Ready(()),
        };
        if rest.is_ready() {
            return rest;
        }
        let linger = self.extras().linger.get_or_insert_with(|| Box::pin(sleep(max)));
        linger.as_mut().poll(cx)
    }

    /// Ends our half of the stream at a shutdown, or in lame duck mode.
    ///
    /// A client that sees its end goes on at another server. Its messages are there before it, so
    /// that the order stays. A silent client is not waited for.
    fn poll_end(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        let is_client = self.conn().kind.is_client();
        if is_client && self.shared.passing_on.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.poll_half_end(cx, scratch, is_client)
    }

    /// Ends our half of the stream, and drops input until the other side has ended its own, or
    /// sends nothing and is known to be `silent`: a socket closed with unread or later input is
    /// reset, and the last written bytes may be lost.
    ///
    /// nats-differs: there, WebSocket clients often do not get the reason of the close.
    fn poll_half_end(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        silent: bool,
    ) -> Poll<()> {
        let is_first = self.phase != Phase::Ended;
        if is_first {
            self.phase = Phase::Ended;
            self.stream.end();
        }
        self.poll_drop(cx, scratch, is_first && silent)
    }

    /// Drops input. Ready when the other side has ended, or is `silent` and sends nothing.
    fn poll_drop(&self, cx: &mut Context<'_>, scratch: &mut [u8], mut silent: bool) -> Poll<()> {
        for _ in 0..READS_MAX {
            match self.stream.poll_read(cx, scratch) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => silent = false,
                Poll::Pending if silent => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
