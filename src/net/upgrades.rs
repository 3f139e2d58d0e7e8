//! `Upgrades`: connections to the port for WebSocket, from their accept to the answer that upgrades
//! them.
//!
//! They are not in the registry yet. None is refused and none can fill the port up: of many that
//! have not upgraded, the one gives way that has been waited for longest ([`Crowd`]).
//! nats: server/websocket.go `startWebsocketServer`, `wsUpgrade`

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::codec::http_head::{AnswerHead, AnswerWriter, Method, RequestHead, reason};
use crate::codec::upgrade::{RefusedUpgrade, Upgrade, Wanted};
use crate::config::options::Websocket;
use crate::monitor::paths;
use crate::net::crowd::{Crowd, Entered, Seat};
use crate::net::drive::Shared;
use crate::net::ports::PortFor;
use crate::net::requests::Requests;
use crate::net::transport::Transport;

/// Connections that have not upgraded, at the same time.
const UPGRADES_MAX: usize = 4096;

/// The state shared by all these connections.
pub(crate) struct Upgrades {
    shared: Arc<Shared>,
    connections: Arc<Crowd>,
}

/// The next step of a connection after an answer.
enum Next {
    Upgraded(Upgrade),
    /// With another request.
    Kept,
    Ended,
}

impl Upgrades {
    /// One for all ports.
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Upgrades> {
        Arc::new(Upgrades { shared, connections: Crowd::new(UPGRADES_MAX) })
    }

    /// Takes a seat, when there is room.
    pub(crate) async fn enter(&self) -> Entered {
        self.connections.enter().await
    }

    /// Answers requests until one of them upgrades the connection; `None` if it ends without that.
    pub(crate) async fn upgrade(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        entered: Entered,
    ) -> Option<(Transport, Upgrade)> {
        let Entered { mut seat, evicted, room: _room } = entered;
        let upgraded = async {
            seat.wait();
            let mut requests = Requests::new(self.open(stream, remote).await?);
            let served = self.serve(&mut requests, remote, &mut seat).await;
            let upgrade = served.unwrap_or_else(|error| {
                tracing::debug!(%remote, "websocket handshake ended: {error}");
                None
            });
            Some((requests.into_transport(), upgrade?))
        };
        tokio::select! {
            upgraded = upgraded => upgraded,
            _ = evicted => None,
        }
    }

    /// Begins with the TLS handshake, on a port that has it.
    ///
    /// nats-differs: there, neither the rate of handshakes nor a time of their own is known here.
    async fn open(&self, stream: TcpStream, remote: SocketAddr) -> Option<Transport> {
        let tls = self.shared.tls.get(PortFor::Websocket);
        let time_max = tls.as_ref().map(|tls| tls.timeout).unwrap_or_default();
        if tls.as_ref().is_some_and(|tls| !tls.begin(self.shared.clock.now())) {
            return None;
        }
        Transport::open(stream, remote, tls.as_deref(), time_max, "websocket").await
    }

    async fn serve(
        &self,
        requests: &mut Requests,
        remote: SocketAddr,
        seat: &mut Seat,
    ) -> io::Result<Option<Upgrade>> {
        loop {
            let settings = self.shared.registry.settings();
            let Some(options) = &settings.options.websocket else { return Ok(None) };
            seat.wait();
            let next = timeout(
                options.handshake_timeout,
                requests.next(|request, headers| Upgrade::read(request, headers, options)),
            );
            let Ok(next) = next.await else { return Ok(None) };
            seat.work();
            let (request, judged) = match next? {
                None => return Ok(None),
                Some(Ok(next)) => next,
                Some(Err(rejected)) => {
                    requests.write(rejected.answer().as_bytes()).await?;
                    requests.hang_up().await?;
                    return Ok(None);
                }
            };
            match self.answer(requests, remote, &request, judged, options).await? {
                Next::Upgraded(upgrade) => return Ok(Some(upgrade)),
                Next::Kept => {}
                Next::Ended => return Ok(None),
            }
        }
    }

    async fn answer(
        &self,
        requests: &mut Requests,
        remote: SocketAddr,
        request: &RequestHead,
        judged: Result<Upgrade, RefusedUpgrade>,
        options: &Websocket,
    ) -> io::Result<Next> {
        let path = paths::clean(&request.path);
        let (head, body) = match judged {
            _ if path != request.path && request.method != Method::Connect => {
                let answer = paths::redirect(request, &path);
                (answer.head, answer.body.into_bytes())
            }
            Err(RefusedUpgrade { status, why }) => {
                tracing::error!(%remote, "websocket handshake error: {why}");
                refusal(status)
            }
            Ok(_) if request.body_len > 0 || requests.has_read_on() => {
                let why = "client sent data before handshake is complete";
                tracing::error!(%remote, "websocket handshake error: {why}");
                return Ok(Next::Ended);
            }
            Ok(upgrade) => {
                let answer = upgrade.answer(options.headers.iter());
                requests.write(answer.as_bytes()).await?;
                if upgrade.wanted == Wanted::Leafnodes {
                    tracing::error!("Not configured to accept leaf node connections");
                    return Ok(Next::Ended);
                }
                return Ok(Next::Upgraded(upgrade));
            }
        };
        let date = self.shared.with_view(|view| view.wall());
        let mut writer = AnswerWriter::new(request, head, date);
        let mut answer = Vec::new();
        writer.write(&body, true, &mut answer);
        requests.write(&answer).await?;
        if writer.keep_alive() {
            return Ok(Next::Kept);
        }
        requests.hang_up().await?;
        Ok(Next::Ended)
    }
}

/// nats: Go's net/http `Error`
fn refusal(status: u16) -> (AnswerHead, Vec<u8>) {
    let headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Sec-Websocket-Version", "13"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let headers = headers.map(|(name, value)| (name, value.into())).to_vec();
    (AnswerHead { status, headers }, format!("{}\n", reason(status)).into_bytes())
}
