//! The client port: binding it, and accepting until the server stops.
//!
//! nats: server/server.go `AcceptLoop`, `createClient`

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::client::Client;
use crate::conn::{Conn, Wire};
use crate::ids::Kind;
use crate::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN};
use crate::net::drive::{Drive, Shared};
use crate::net::stream::Stream;
use crate::options::{ConnectionType, Listen};

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 4096;

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

/// Accepts clients for ever.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                pause = ACCEPT_PAUSE_MIN;
                admit_tcp(stream, remote, &shared);
            }
            Err(error) => {
                tracing::error!("Temporary Client Accept Error ({error}), sleeping {pause:?}");
                tokio::time::sleep(pause).await;
                pause = Duration::min(pause * 2, ACCEPT_PAUSE_MAX);
            }
        }
    }
}

fn admit_tcp(stream: TcpStream, remote: SocketAddr, shared: &Arc<Shared>) {
    // Without it a socket that is gone already is noticed by its first read.
    let _ = stream.set_nodelay(true);
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
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
    let surplus = registry.conn_count() >= registry.options.max_connections;
    let start = shared.clock.now();
    let stream = Arc::new(stream);
    let wire = Arc::clone(&stream) as Arc<dyn Wire>;
    let conn = registry.add(|cid, slot| Conn::new(cid, Kind::Client, slot, remote, start, wire));
    let nonce = if registry.authenticator.needs_nonce() { nonce() } else { Box::default() };
    let client = Client::new(Arc::clone(registry), conn, connection_type, nonce);
    tokio::spawn(Drive::new(Arc::clone(shared), stream, client, surplus));
}

/// 11 random bytes as 15 characters of base64url.
///
/// nats: server/nkey.go `generateNonce`
fn nonce() -> Box<str> {
    let mut bytes = [0_u8; 11];
    fastrand::fill(&mut bytes);
    data_encoding::BASE64URL_NOPAD.encode(&bytes).into()
}
