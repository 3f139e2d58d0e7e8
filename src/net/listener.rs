//! The ports of the server: binding them, and taking in clients and routes until they are stopped.
//!
//! nats: server/server.go `AcceptLoop`, `createClient`; server/route.go `startRouteAcceptLoop`

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::base::ids::Kind;
use crate::base::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, ROUTE_PROBE_INTERVAL};
use crate::client::Client;
use crate::config::options::{ConnectionType, Listen};
use crate::conn::{Conn, Wire};
use crate::net::drive::{Drive, Shared};
use crate::net::stream::Stream;
use crate::route::{Role, Route};

/// Connections that are accepted before others have their turn, those included that have just come.
const ACCEPTS_PER_TURN: u32 = 16;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 4096;

/// A port that is served until it is [stopped](Listener::stop).
pub(crate) struct Listener {
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Serves a port: `accept` holds its socket and takes in who comes.
    pub(crate) fn start(accept: impl Future<Output = ()> + Send + 'static) -> Listener {
        Listener { accepting: tokio::spawn(accept) }
    }

    /// Closes the port. When that is done nobody is taken in any more: who comes is refused, who
    /// waits to be accepted is reset. Those that were accepted stay.
    pub(crate) async fn stop(self) {
        self.accepting.abort();
        // The task lets go of its socket when it ends, which may be after its turn.
        let _ = self.accepting.await;
    }
}

/// Binds where `listen` says. `0.0.0.0` means every address of the machine, IPv6 too, as far as the
/// machine has it.
///
/// # Errors
/// The name has no address, or the kernel refuses the one it has.
pub(crate) fn bind(listen: &Listen) -> io::Result<TcpListener> {
    let port = listen.port.bind_number();
    if listen.host == "0.0.0.0" {
        let all = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        if let Ok(listener) = bind_address(all, true) {
            return Ok(listener);
        }
    }
    let host = listen.host.trim_matches(['[', ']']);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in (host, port).to_socket_addrs()? {
        match bind_address(address, false) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_address(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack && !address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What is done with a connection that was accepted.
type Admit = fn(TcpStream, SocketAddr, &Arc<Shared>);

/// Accepts clients for ever.
pub(crate) async fn accept_clients(listener: TcpListener, shared: Arc<Shared>) {
    accept(listener, "Client", admit_tcp, shared).await;
}

/// Accepts other servers for ever.
pub(crate) async fn accept_routes(listener: TcpListener, shared: Arc<Shared>) {
    let admit: Admit = |stream, remote, shared| admit_route(stream, remote, Role::Accepted, shared);
    accept(listener, "Route", admit, shared).await;
}

async fn accept(listener: TcpListener, what: &str, admit: Admit, shared: Arc<Shared>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut accepted = 0_u32;
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                pause = ACCEPT_PAUSE_MIN;
                admit(stream, canonical(remote), &shared);
                accepted = accepted.wrapping_add(1);
                if accepted.is_multiple_of(ACCEPTS_PER_TURN) {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                tracing::error!("Temporary {what} Accept Error ({error}), sleeping {pause:?}");
                tokio::time::sleep(pause).await;
                pause = Duration::min(pause * 2, ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// An IPv4 address as such, also where the listener takes both kinds.
fn canonical(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

fn admit_tcp(stream: TcpStream, remote: SocketAddr, shared: &Arc<Shared>) {
    // It fails for a socket that is gone already, which its first read notices.
    let _ = stream.set_nodelay(true);
    admit(Stream::Tcp(stream), Some(remote), ConnectionType::Standard, shared);
}

/// Takes in a client within the process.
pub(crate) fn admit_local(stream: UnixStream, shared: &Arc<Shared>) {
    admit(Stream::Local(stream), None, ConnectionType::InProcess, shared);
}

/// Starts the task of a new connection.
fn admit(
    stream: Stream,
    remote: Option<SocketAddr>,
    connection_type: ConnectionType,
    shared: &Arc<Shared>,
) {
    let registry = &shared.registry;
    let settings = registry.settings();
    let surplus = registry.client_count() >= settings.options.max_connections;
    let (stream, conn) = add(Kind::Client, stream, remote, shared);
    let nonce = if settings.authenticator.needs_nonce() { nonce() } else { Box::default() };
    let client = Client::new(Arc::clone(registry), conn, connection_type, nonce);
    tokio::spawn(Drive::new(Arc::clone(shared), stream, client, surplus));
}

/// Starts the task of a new connection to another server.
pub(crate) fn admit_route(stream: TcpStream, remote: SocketAddr, role: Role, shared: &Arc<Shared>) {
    let Some(mesh) = &shared.mesh else { return };
    watch_closely(&stream, shared.registry.settings().routes.cluster.silence_max);
    let (stream, conn) = add(Kind::Route, Stream::Tcp(stream), Some(remote), shared);
    let route = Route::new(Arc::clone(&shared.registry), Arc::clone(mesh), conn, role);
    tokio::spawn(Drive::new(Arc::clone(shared), stream, route, false));
}

/// Registers a new connection.
fn add(
    kind: Kind,
    stream: Stream,
    remote: Option<SocketAddr>,
    shared: &Shared,
) -> (Arc<Stream>, Arc<Conn>) {
    let start = shared.clock.now();
    let stream = Arc::new(stream);
    let wire = Arc::clone(&stream) as Arc<dyn Wire>;
    let conn = shared.registry.add(|cid, slot| Conn::new(cid, kind, slot, remote, start, wire));
    (stream, conn)
}

/// Has the kernel notice within `silence_max` that nothing of the other side arrives any more,
/// whether there is something to send or not.
fn watch_closely(stream: &TcpStream, silence_max: Duration) {
    // Without these a socket works all the same, and pings notice later.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(silence_max / 2).with_interval(ROUTE_PROBE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(silence_max));
}

/// 11 random bytes as 15 characters of base64url. Who could foresee them could have them signed
/// before: they come from the system.
///
/// nats: server/nkey.go `generateNonce`
fn nonce() -> Box<str> {
    let mut bytes = [0_u8; 11];
    getrandom::fill(&mut bytes).expect("a system that accepts connections has random bytes");
    data_encoding::BASE64URL_NOPAD.encode(&bytes).into()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net;

    use super::*;

    /// Who waits to be accepted would else hold a connection that nobody serves.
    #[tokio::test]
    async fn a_port_that_is_stopped_refuses_and_resets() {
        let bound = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = bound.local_addr().unwrap();
        let listener = Listener::start(async move {
            // Too busy to accept anybody.
            let _bound = bound;
            std::future::pending::<()>().await;
        });
        let mut waiting = net::TcpStream::connect(address).unwrap();
        listener.stop().await;
        let ended = waiting.read(&mut [0]).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
        let refused = net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
