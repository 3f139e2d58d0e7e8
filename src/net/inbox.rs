//! `Inbox`: the stream of a connection that reads its own deliveries.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Most bytes that it holds; further ones wait in the queue of the connection.
const LEN_MAX: usize = 64 * 1024;

/// Delivered bytes that are not read yet.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
    /// The waker of the reading task.
    reader: Option<Waker>,
}

impl Inbox {
    /// Reads into `buf`, or wakes the task when there are bytes to read. 0 at the end.
    pub(super) fn poll_read(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<usize> {
        let mut state = self.0.lock();
        if state.bytes.is_empty() && !state.ended {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if state.bytes.len() == LEN_MAX {
            // More may wait in the queue, which the task itself has to flush into the inbox.
            cx.waker().wake_by_ref();
        }
        let len = buf.len().min(state.bytes.len());
        buf[..len].copy_from_slice(&state.bytes[..len]);
        state.bytes.drain(..len);
        if state.bytes.is_empty() {
            state.bytes = Vec::new();
        }
        Poll::Ready(len)
    }

    /// Ready when it takes more; else its task will read, and poll again by itself.
    pub(super) fn poll_write_ready(&self) -> Poll<()> {
        if self.0.lock().bytes.len() < LEN_MAX { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes the bytes that fit.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let before = state.bytes.len();
        for slice in slices {
            let room = LEN_MAX - state.bytes.len();
            state.bytes.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        if state.bytes.len() == before {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (written, reader) = (state.bytes.len() - before, state.reader.take());
        drop(state);
        reader.inspect(Waker::wake_by_ref);
        Ok(written)
    }

    /// Marks the end of the stream, and wakes the reader.
    pub(super) fn end(&self) {
        self.0.lock().ended = true;
    }
}
