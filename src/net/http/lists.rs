//! Long pages, made piece by piece as their readers take them.
//!
//! A thread of its own makes each, and waits while its reader has pieces to take; so a slow reader
//! costs a few pieces, and the part that it does not read is never made. Only one thread works at a
//! time, so that pages take one core at most.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{self, JoinHandle};

use crate::codec::http_head::{AnswerWriter, RequestHead};
use crate::monitor::{Body, Page};
use crate::net::http::Endpoint;

/// Bytes of a piece, or a few more.
const PIECE_LEN: usize = 64 * 1024;

/// Pieces that are ready and not yet taken by the reader. One more is in the making, and one on its
/// way into the socket.
const READY_MAX: usize = 1;

/// A page in the making.
pub(super) struct List {
    /// Bytes of the answer, its head first.
    pub(super) pieces: mpsc::Receiver<Vec<u8>>,
    /// True if the connection is kept; only then the pieces are complete.
    pub(super) made: JoinHandle<io::Result<bool>>,
}

impl List {
    /// Starts to make the answer to a request; `room` is held until that ends.
    pub(super) fn start(
        endpoint: Arc<Endpoint>,
        page: Page,
        request: RequestHead,
        room: OwnedSemaphorePermit,
    ) -> List {
        let (ready, pieces) = mpsc::channel(READY_MAX);
        let made = task::spawn_blocking(move || {
            let _room = room;
            make(&endpoint, page, &request, ready)
        });
        List { pieces, made }
    }
}

fn make(
    endpoint: &Endpoint,
    page: Page,
    request: &RequestHead,
    ready: mpsc::Sender<Vec<u8>>,
) -> io::Result<bool> {
    let held = Some(endpoint.making.lock());
    endpoint.shared.with_view(|view| {
        let answer = view.answer(page, &request.query);
        let writer = AnswerWriter::new(request, answer.head, view.wall());
        let making = &endpoint.making;
        let mut pieces = Pieces { writer, body: Vec::new(), ready, making, held };
        match answer.body {
            Body::Text(text) => pieces.write_all(text.as_bytes())?,
            Body::Document(document) => document.write_json(&mut pieces)?,
        }
        pieces.send(true)?;
        Ok(pieces.writer.keep_alive())
    })
}

/// Takes the text of a page, and hands it on in pieces.
struct Pieces<'a> {
    writer: AnswerWriter<'a>,
    body: Vec<u8>,
    ready: mpsc::Sender<Vec<u8>>,
    making: &'a Mutex<()>,
    /// Held while it works.
    held: Option<MutexGuard<'a, ()>>,
}

impl Pieces<'_> {
    /// Waits until the reader has room.
    ///
    /// # Errors
    /// There is no reader any more.
    fn send(&mut self, last: bool) -> io::Result<()> {
        let mut piece = Vec::with_capacity(self.body.len() + 256);
        self.writer.write(&self.body, last, &mut piece);
        self.body.clear();
        if let Some(held) = self.held.take() {
            MutexGuard::unlock_fair(held);
        }
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.ready.blocking_send(piece).map_err(gone)?;
        self.held = (!last).then(|| self.making.lock());
        Ok(())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(text);
        if self.body.len() >= PIECE_LEN {
            self.send(false)?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
