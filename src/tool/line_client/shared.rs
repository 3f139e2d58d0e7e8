//! The shared state of the handles of one connection and its two tasks, and these tasks.
//!
//! Invariant: once `end` is set nothing is added to the buffer, and nobody is left waiting: each
//! wait for an answer, a PONG or a message ends because its sender is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::base::os_error::OsError;
use crate::codec::encoder;
use crate::codec::info::Info;
use crate::tool::line_client::server_op::{Message, ServerOp, ServerOps};
use crate::tool::line_client::{LineErr, OUTBOUND_MAX, READ_LEN, is_end};

const CLOSED_HERE: &str = "by this client";
const CLOSED_THERE: &str = "by the server";

/// The meeting point of one connection.
pub(super) struct Shared {
    /// Prefix of the reply subjects of requests: `_INBOX.<random>.`. A token follows.
    inbox: String,
    state: Mutex<State>,
    /// Wakes the writer: the buffer has something in it, or the connection has ended.
    work: Notify,
    /// Wakes all other waiting tasks: the buffer has room, or the connection has ended.
    changed: Notify,
}

/// The part under the lock.
pub(super) struct State {
    pub(super) info: Info,
    /// Bytes that the writer has not taken.
    pub(super) outbound: Vec<u8>,
    /// The server sent PING. One PONG answers several, so that no flood of them fills the buffer.
    pong_due: bool,
    /// Waiting flushes, in the order of the PINGs in `outbound`.
    pub(super) pongs: VecDeque<oneshot::Sender<()>>,
    /// First `-ERR` since the last flush.
    pub(super) refused: Option<Box<str>>,
    subscriptions: HashMap<u64, Channel>,
    last_sid: u64,
    requests: HashMap<u64, oneshot::Sender<Message>>,
    last_token: u64,
    /// Subscription to the answers of all requests, made with the first one.
    inbox_sid: Option<u64>,
    /// The reason of the connection's end.
    end: Option<Box<str>>,
}

/// The channel for the messages of one subscription.
pub(super) struct Channel {
    /// Has room for each message that may wait.
    pub(super) sender: mpsc::Sender<Message>,
    /// Messages that found no room.
    pub(super) dropped: Arc<AtomicU64>,
    /// Messages since the subscription began.
    pub(super) received: u64,
    /// The number of messages after which it ends.
    pub(super) max: Option<u64>,
}

impl Shared {
    pub(super) fn new(info: Info) -> Self {
        let state = State {
            info,
            outbound: Vec::new(),
            pong_due: false,
            pongs: VecDeque::new(),
            refused: None,
            subscriptions: HashMap::new(),
            last_sid: 0,
            requests: HashMap::new(),
            last_token: 0,
            inbox_sid: None,
            end: None,
        };
        Self {
            inbox: format!("_INBOX.{:032x}.", fastrand::u128(..)),
            state: Mutex::new(state),
            work: Notify::new(),
            changed: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Waits until the buffer has room, then lets `write` add to it.
    pub(super) async fn write(&self, write: impl FnOnce(&mut State)) -> Result<(), LineErr> {
        write(&mut *self.room().await?);
        self.work.notify_one();
        Ok(())
    }

    async fn room(&self) -> Result<MutexGuard<'_, State>, LineErr> {
        loop {
            let changed = self.changed.notified();
            if let Some(result) = self.try_room() {
                return result;
            }
            changed.await;
        }
    }

    fn try_room(&self) -> Option<Result<MutexGuard<'_, State>, LineErr>> {
        let state = self.state.lock();
        if let Some(reason) = &state.end {
            return Some(Err(LineErr::Closed(reason.clone())));
        }
        (state.outbound.len() < OUTBOUND_MAX).then_some(Ok(state))
    }

    /// Adds a subscription; its SUB is still to be written.
    pub(super) fn add_subscription(&self, channel: Channel) -> u64 {
        let mut state = self.state.lock();
        let sid = state.next_sid();
        // After the end a subscription is empty from the start: its sender is dropped here.
        if state.end.is_none() {
            state.subscriptions.insert(sid, channel);
        }
        sid
    }

    /// Ends a subscription now or after `max` messages since its begin. Does not wait for room:
    /// there are no more such lines than subscriptions.
    pub(super) fn unsubscribe(&self, sid: u64, max: Option<u64>) {
        let mut state = self.state.lock();
        let Some(channel) = state.subscriptions.get_mut(&sid) else { return };
        channel.max = max;
        if max.is_none_or(|max| channel.received >= max) {
            state.subscriptions.remove(&sid);
        }
        encoder::write_unsub(&mut state.outbound, sid.to_string().as_bytes(), max);
        drop(state);
        self.work.notify_one();
    }

    /// Tells the server to deliver nothing more to any subscription. Their channels are kept for
    /// messages under way.
    pub(super) fn unsubscribe_all(&self) {
        let state = &mut *self.state.lock();
        for sid in state.subscriptions.keys() {
            encoder::write_unsub(&mut state.outbound, sid.to_string().as_bytes(), None);
        }
    }

    /// Adds a wait for one answer; returns its number and the reply subject to send.
    pub(super) fn add_request(&self, sender: oneshot::Sender<Message>) -> (u64, String) {
        let mut state = self.state.lock();
        if state.inbox_sid.is_none() && state.end.is_none() {
            let sid = state.next_sid();
            state.inbox_sid = Some(sid);
            let (subject, sid) = (format!("{}*", self.inbox), sid.to_string());
            encoder::write_sub(&mut state.outbound, subject.as_bytes(), None, sid.as_bytes());
        }
        state.last_token += 1;
        let token = state.last_token;
        if state.end.is_none() {
            state.requests.insert(token, sender);
        }
        (token, format!("{}{token}", self.inbox))
    }

    pub(super) fn remove_request(&self, token: u64) {
        self.state.lock().requests.remove(&token);
    }

    /// The error of each call after the end.
    pub(super) fn end(&self) -> LineErr {
        LineErr::Closed(self.state.lock().end.clone().unwrap_or_default())
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state.lock().end.is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Ends the connection from this side; the rest of the buffer is still written.
    pub(super) fn close(&self) {
        self.finish(CLOSED_HERE.into());
    }

    /// Ends the connection because it failed.
    fn fail(&self, reason: Box<str>) {
        self.state.lock().outbound.clear();
        self.finish(reason);
    }

    fn finish(&self, reason: Box<str>) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(reason);
        }
        state.subscriptions.clear();
        state.requests.clear();
        state.pongs.clear();
        drop(state);
        self.work.notify_one();
        self.changed.notify_waiters();
    }

    /// Handles one operation of the server.
    fn handle_op(&self, op: ServerOp) {
        let mut state = self.state.lock();
        match op {
            ServerOp::Msg { sid, message } => state.deliver(sid, message),
            ServerOp::Ping => {
                state.pong_due = true;
                self.work.notify_one();
            }
            ServerOp::Pong => {
                if let Some(waiting) = state.pongs.pop_front() {
                    // It may have given up waiting.
                    let _ = waiting.send(());
                }
            }
            ServerOp::Info(info) => state.info = *info,
            ServerOp::Err(text) => drop(state.refused.get_or_insert(text)),
            ServerOp::Ok => {}
        }
    }
}

impl State {
    fn next_sid(&mut self) -> u64 {
        self.last_sid += 1;
        self.last_sid
    }

    fn deliver(&mut self, sid: u64, message: Message) {
        if self.inbox_sid == Some(sid) {
            let token = message.subject.rsplit(|&byte| byte == b'.').next();
            let token = token.and_then(|token| std::str::from_utf8(token).ok()?.parse().ok());
            if let Some(waiting) = token.and_then(|token: u64| self.requests.remove(&token)) {
                let _ = waiting.send(message);
            }
            return;
        }
        // Messages under way when the subscription ended are dropped.
        let Some(channel) = self.subscriptions.get_mut(&sid) else { return };
        channel.received += 1;
        let last = channel.max.is_some_and(|max| channel.received >= max);
        if channel.sender.try_send(message).is_err() {
            channel.dropped.fetch_add(1, Relaxed);
        }
        if last {
            self.subscriptions.remove(&sid);
        }
    }
}

/// Reads until the end, from either side.
pub(super) async fn run_reader<S>(mut stream: ReadHalf<S>, mut ops: ServerOps, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite,
{
    loop {
        loop {
            match ops.next_op() {
                Ok(Some(op)) => shared.handle_op(op),
                Ok(None) => break,
                Err(err) => return shared.fail(err.to_string().into()),
            }
        }
        let buffer = ops.buffer_mut();
        buffer.reserve(READ_LEN);
        let read = tokio::select! {
            read = stream.read_buf(buffer) => read,
            () = shared.ended() => return,
        };
        match read {
            Err(err) if !is_end(&err) => return shared.fail(OsError(&err).to_string().into()),
            Ok(0) | Err(_) => {
                // A server sends the reason before it closes.
                let reason = shared.state().refused.clone();
                return shared.fail(reason.unwrap_or(CLOSED_THERE.into()));
            }
            Ok(_) => {}
        }
    }
}

/// Writes the buffer, until the connection has ended and the buffer is empty.
pub(super) async fn run_writer<S>(mut stream: WriteHalf<S>, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite,
{
    let mut batch = Vec::new();
    loop {
        batch.clear();
        let ended = {
            let state = &mut *shared.state.lock();
            std::mem::swap(&mut state.outbound, &mut batch);
            if std::mem::take(&mut state.pong_due) {
                batch.extend_from_slice(encoder::PONG);
            }
            state.end.is_some()
        };
        if batch.is_empty() {
            if ended {
                break;
            }
            shared.work.notified().await;
            continue;
        }
        if batch.len() >= OUTBOUND_MAX {
            shared.changed.notify_waiters();
        }
        let written = async {
            stream.write_all(&batch).await?;
            stream.flush().await
        };
        if let Err(err) = written.await {
            return shared.fail(OsError(&err).to_string().into());
        }
    }
    // The other side may have closed already, which is just as good.
    let _ = stream.shutdown().await;
}
