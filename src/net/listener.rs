//! `Listener`: a port, from its binding to its end.
//!
//! nats: server/server.go `AcceptLoop`, `acceptConnections`; server/route.go `startRouteAcceptLoop`

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::base::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN};
use crate::config::options::Listen;
use crate::net::drive::Shared;
use crate::net::tasks::TaskKind;

/// Connections accepted before other tasks get a turn, the new ones among them.
const ACCEPTS_PER_TURN: u32 = 16;

/// Connections that the kernel completes before the server accepts them.
const BACKLOG: i32 = 4096;

/// A port, served until [`stop`](Listener::stop).
pub(crate) struct Listener {
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Serves a port: accepts connections of its `socket`, in a task of the entered runtime.
    pub(crate) fn start(socket: TcpListener, kind: TaskKind, shared: Arc<Shared>) -> Listener {
        Listener { accepting: tokio::spawn(accept(socket, kind, shared)) }
    }

    /// Closes the port. After that new connections are refused, and those waiting for an accept are
    /// reset. Accepted ones stay.
    pub(crate) async fn stop(self) {
        self.accepting.abort();
        // The task drops its socket when it ends, which may be after its turn.
        let _ = self.accepting.await;
    }
}

/// Binds the address in `listen`. `0.0.0.0` means every address of the machine, with IPv6 if the
/// machine has it.
///
/// # Errors
/// The name has no address, or the kernel refuses it.
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

/// Accepts connections until the task is aborted.
async fn accept(socket: TcpListener, kind: TaskKind, shared: Arc<Shared>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut accepted = 0_u32;
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                pause = ACCEPT_PAUSE_MIN;
                kind.start(stream, canonical(remote), &shared).await;
                accepted = accepted.wrapping_add(1);
                if accepted.is_multiple_of(ACCEPTS_PER_TURN) {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                let name = kind.as_str();
                tracing::error!("Temporary {name} Accept Error ({error}), sleeping {pause:?}");
                tokio::time::sleep(pause).await;
                pause = Duration::min(pause * 2, ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// An IPv4 address in its own form, also from a listener for both kinds.
fn canonical(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net;

    use super::*;

    /// Otherwise a client that waits for an accept would hold a connection without a server.
    #[tokio::test]
    async fn a_port_that_is_stopped_refuses_and_resets() {
        let bound = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = bound.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            // Too busy to accept a connection.
            let _bound = bound;
            std::future::pending::<()>().await;
        });
        let listener = Listener { accepting };
        let mut waiting = net::TcpStream::connect(address).unwrap();
        listener.stop().await;
        let ended = waiting.read(&mut [0]).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
        let refused = net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
