//! The monitoring endpoint: HTTP/1 around the pages of [`View`](crate::monitor::View).
//!
//! No connection is refused and none can fill it up: of many connections those give way whose other
//! side has been waited for longest ([`Crowd`]), and so do the readers of long pages. Short pages,
//! a probe's among them, are made at once by the task of their connection; a list is made by a
//! thread for blocking work, as fast as it is read ([`List`]).
//! nats: server/server.go `startMonitoring`; Go's net/http `conn.serve`

mod crowd;
mod lists;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::codec::http_head::{AnswerWriter, Rejected, RequestHead, head_len};
use crate::monitor::Page;
use crate::net::drive::Shared;
use crate::net::http::crowd::{Crowd, Entered, Seat};
use crate::net::http::lists::List;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 1024;

/// Lists in the making or on their way at the same time. Each takes a thread that mostly sleeps,
/// three pieces, and 16 bytes for a connection in it.
const LISTS_MAX: usize = 64;

/// Longest request line with its headers, bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// Longest body that is skipped for the sake of the next request, bytes.
const BODY_LEN_MAX: u64 = 256 * 1024;

/// Time for a request, and for the next one on a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// Time for the other side to take a short answer, or a piece of a list.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// Time for the other side to read the last answer before its further bytes are refused.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// Bytes of an answer that the kernel may hold for a slow reader; it takes twice as many.
const SEND_BUFFER_LEN: usize = 128 * 1024;

/// The state shared by all requests.
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    connections: Arc<Crowd>,
    lists: Arc<Crowd>,
    /// Held by the thread that makes a piece of a list.
    making: Mutex<()>,
}

/// Serves a connection until it ends or gives way.
async fn serve_one(stream: TcpStream, endpoint: Arc<Endpoint>, entered: Entered) {
    let Entered { mut seat, evicted, room: _room } = entered;
    seat.wait();
    // A closed socket fails here, and its first read reports that.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_LEN);
    let mut connection = Connection { stream, endpoint, seat, input: Vec::new(), searched: 0 };
    tokio::select! {
        served = connection.serve() => {
            if let Err(error) = served {
                tracing::debug!("Monitoring connection ended: {error}");
            }
        }
        _ = evicted => tracing::debug!("Monitoring connection gave way to another one"),
    }
}

/// One connection.
struct Connection {
    stream: TcpStream,
    endpoint: Arc<Endpoint>,
    seat: Seat,
    /// Read and not handled.
    input: Vec<u8>,
    /// Bytes of it that were searched for the end of a head.
    searched: usize,
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let Ok(request) = timeout(HEAD_TIME_MAX, self.read_request()).await else {
                return Ok(());
            };
            let keep_alive = match request? {
                None => return Ok(()),
                Some(Ok(request)) => {
                    self.seat.wait();
                    self.respond(request).await?
                }
                Some(Err(rejected)) => {
                    write(&mut self.stream, rejected.answer().as_bytes()).await?;
                    false
                }
            };
            if !keep_alive {
                return self.hang_up().await;
            }
            self.seat.wait();
        }
    }

    /// Reads a request with its body; none after the last one.
    async fn read_request(&mut self) -> io::Result<Option<Result<RequestHead, Rejected>>> {
        let len = loop {
            if let Some(len) = head_len(&self.input, self.searched) {
                break len;
            }
            self.searched = self.input.len();
            if self.searched > HEAD_LEN_MAX {
                return Ok(Some(Err(Rejected::TooLarge)));
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        };
        let mut request = RequestHead::read(&self.input[..len]);
        self.searched = 0;
        self.input.drain(..len);
        if let Ok(request) = &mut request {
            if request.body_len > BODY_LEN_MAX {
                request.keep_alive = false;
            } else if request.keep_alive {
                self.skip(request.body_len as usize).await?;
            }
        }
        Ok(Some(request))
    }

    async fn skip(&mut self, len: usize) -> io::Result<()> {
        let mut left = len;
        loop {
            let here = left.min(self.input.len());
            self.input.drain(..here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Answers; any method as GET. True if the connection is kept.
    async fn respond(&mut self, request: RequestHead) -> io::Result<bool> {
        if let Some(page) = self.endpoint.list(&request) {
            return self.respond_with_list(page, request).await;
        }
        let (bytes, keep_alive) = self.endpoint.answer(&request);
        write(&mut self.stream, &bytes).await?;
        Ok(keep_alive)
    }

    async fn respond_with_list(&mut self, page: Page, request: RequestHead) -> io::Result<bool> {
        let Entered { mut seat, evicted, room } = self.endpoint.lists.enter().await;
        let List { mut pieces, made } =
            List::start(Arc::clone(&self.endpoint), page, request, room);
        let write = async {
            while let Some(piece) = pieces.recv().await {
                self.seat.wait();
                seat.wait();
                write(&mut self.stream, &piece).await?;
                self.seat.work();
                seat.work();
            }
            made.await?
        };
        tokio::select! {
            written = write => written,
            _ = evicted => Err(io::Error::other("a slow reader gave way")),
        }
    }

    /// Ends the connection so that the last answer arrives: unread bytes would make the kernel
    /// withdraw it.
    async fn hang_up(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let drain =
            async { while self.stream.read(&mut [0; 1024]).await.is_ok_and(|len| len > 0) {} };
        let _ = timeout(LINGER_MAX, drain).await;
        Ok(())
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIME_MAX, stream.write_all(bytes)).await?
}

impl Endpoint {
    /// One for all ports that serve pages.
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            shared,
            connections: Crowd::new(CONNECTIONS_MAX),
            lists: Crowd::new(LISTS_MAX),
            making: Mutex::default(),
        })
    }

    /// Serves a connection, when there is room.
    pub(crate) async fn serve(self: &Arc<Endpoint>, stream: TcpStream) {
        let entered = self.connections.enter().await;
        tokio::spawn(serve_one(stream, Arc::clone(self), entered));
    }

    /// The requested page, if it is a list.
    fn list(&self, request: &RequestHead) -> Option<Page> {
        self.shared
            .with_view(|view| view.page(request).ok().filter(|page| page.is_list(&request.query)))
    }

    /// The whole answer, and true if the connection is kept.
    fn answer(&self, request: &RequestHead) -> (Vec<u8>, bool) {
        self.shared.with_view(|view| {
            let answer = match view.page(request) {
                Ok(page) => view.answer(page, &request.query),
                Err(answer) => answer,
            };
            let mut writer = AnswerWriter::new(request, answer.head, view.wall());
            let mut bytes = Vec::new();
            writer.write(&answer.body.into_bytes(), true, &mut bytes);
            (bytes, writer.keep_alive())
        })
    }
}

#[cfg(test)]
mod tests;
