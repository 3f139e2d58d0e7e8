//! The monitoring endpoint: HTTP/1 around the pages of [`View`](crate::monitor::View).
//!
//! No connection is refused and none can fill it up: of many connections those give way whose other
//! side has been waited for longest ([`Crowd`]), and so do the readers of long pages. Short pages,
//! a probe's among them, are made at once by the task of their connection; a list is made by a
//! thread for blocking work, as fast as it is read ([`List`]).
//! nats: server/server.go `startMonitoring`; Go's net/http `conn.serve`

mod lists;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::codec::http_head::{AnswerWriter, RequestHead};
use crate::monitor::Page;
use crate::net::crowd::{Crowd, Entered, Seat};
use crate::net::drive::Shared;
use crate::net::http::lists::List;
use crate::net::ports::PortFor;
use crate::net::requests::Requests;
use crate::net::transport::Transport;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 1024;

/// Lists in the making or on their way at the same time. Each takes a thread that mostly sleeps,
/// three pieces, and 16 bytes for a connection in it.
const LISTS_MAX: usize = 64;

/// Time for a request, for the next one on a connection that is kept, and for the TLS handshake
/// before the first.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

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
async fn serve_one(
    stream: TcpStream,
    remote: SocketAddr,
    endpoint: Arc<Endpoint>,
    entered: Entered,
) {
    let Entered { mut seat, evicted, room: _room } = entered;
    seat.wait();
    // A closed socket fails here, and its first read reports that.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_LEN);
    let served = async {
        let tls = endpoint.shared.tls.get(PortFor::Monitor);
        let opened =
            Transport::open(stream, remote, tls.as_deref(), HEAD_TIME_MAX, "monitoring").await;
        let Some(transport) = opened else { return Ok(()) };
        seat.wait();
        Connection { requests: Requests::new(transport), endpoint, seat }.serve().await
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::debug!("Monitoring connection ended: {error}");
            }
        }
        _ = evicted => tracing::debug!("Monitoring connection gave way to another one"),
    }
}

/// One connection.
struct Connection {
    requests: Requests,
    endpoint: Arc<Endpoint>,
    seat: Seat,
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let Ok(request) = timeout(HEAD_TIME_MAX, self.requests.next(|_, _| ())).await else {
                return Ok(());
            };
            let keep_alive = match request? {
                None => return Ok(()),
                Some(Ok((request, ()))) => {
                    self.seat.wait();
                    self.respond(request).await?
                }
                Some(Err(rejected)) => {
                    self.requests.write(rejected.answer().as_bytes()).await?;
                    false
                }
            };
            if !keep_alive {
                return self.requests.hang_up().await;
            }
            self.seat.wait();
        }
    }

    /// Answers; any method as GET. True if the connection is kept.
    async fn respond(&mut self, request: RequestHead) -> io::Result<bool> {
        if let Some(page) = self.endpoint.list(&request) {
            return self.respond_with_list(page, request).await;
        }
        let (bytes, keep_alive) = self.endpoint.answer(&request);
        self.requests.write(&bytes).await?;
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
                self.requests.write(&piece).await?;
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
    pub(crate) async fn serve(self: &Arc<Endpoint>, stream: TcpStream, remote: SocketAddr) {
        let entered = self.connections.enter().await;
        tokio::spawn(serve_one(stream, remote, Arc::clone(self), entered));
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
