//! Dialling other servers: one task asks the mesh for dials, and each dial is a task of its own.
//!
//! Each dial resolves its name anew, and tries some of the addresses, in any order.
//! nats: server/route.go `connectToRoute`, server/server.go `getRandomIP`

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::limits::{ROUTE_ADDRESSES_MAX, ROUTE_CONNECT_MAX, ROUTE_RESOLVE_MAX};
use crate::base::moment::Moment;
use crate::base::os_error::OsError;
use crate::config::route_url::HostPort;
use crate::net::drive::Shared;
use crate::net::tasks::start_route;
use crate::route::Role;
use crate::route::mesh::{Dial, DialFailure, Mesh};

/// Makes the dials of the mesh until the server stops.
pub(crate) async fn run(shared: Arc<Shared>, mesh: Arc<Mesh>) {
    loop {
        while let Some(dial) = mesh.next_dial(shared.clock.now()) {
            tokio::spawn(attempt(Arc::clone(&shared), Arc::clone(&mesh), dial));
        }
        wait_due(&shared, &mesh).await;
    }
}

/// Waits until the mesh may have a dial.
async fn wait_due(shared: &Shared, mesh: &Mesh) {
    loop {
        let due = mesh.next_due();
        let now = shared.clock.now();
        if due <= now {
            return;
        }
        let earlier = poll_fn(|cx| {
            mesh.set_waker(cx.waker());
            if mesh.next_due() < due { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = earlier => {}
            () = sleep_until(Instant::now() + due.since(now)), if due != Moment::NEVER => {}
        }
    }
}

/// Tries the addresses of `dial` until one answers.
async fn attempt(shared: Arc<Shared>, mesh: Arc<Mesh>, dial: Dial) {
    match connect(&mesh, &dial).await {
        Ok((stream, remote)) => {
            start_route(stream, remote, Role::Solicited(dial), &shared);
        }
        Err(error) => {
            let DialFailure { report, attempt } = mesh.dial_failed(&dial, shared.clock.now());
            let text = "Error trying to connect to route (attempt";
            if report {
                tracing::error!("{text} {attempt}): {error}");
            } else {
                tracing::debug!("{text} {attempt}): {error}");
            }
        }
    }
}

/// The reason that a dial failed, in Go's words.
enum DialError {
    /// Every address is this server's own.
    NoAddress,
    /// The name has no address.
    Lookup(String, io::Error),
    /// The last address tried did not answer.
    Connect(SocketAddr, io::Error),
    /// It took too long.
    Timeout(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::NoAddress => f.write_str("no IP available"),
            DialError::Lookup(host, error) => write!(f, "lookup {host}: {}", OsError(error)),
            DialError::Connect(address, error) => {
                write!(f, "dial tcp {address}: connect: {}", OsError(error))
            }
            DialError::Timeout(what) => write!(f, "{what}: i/o timeout"),
        }
    }
}

async fn connect(mesh: &Mesh, dial: &Dial) -> Result<(TcpStream, SocketAddr), DialError> {
    let Dial { host, port, .. } = dial;
    let target = HostPort(host, *port);
    let found = timeout(ROUTE_RESOLVE_MAX, lookup_host((&**host, *port)))
        .await
        .map_err(|_| DialError::Timeout(format!("lookup {host}")))?;
    let found = found.map_err(|error| DialError::Lookup(host.to_string(), error))?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    fastrand::shuffle(&mut addresses);
    addresses.truncate(ROUTE_ADDRESSES_MAX);
    let mut last = DialError::NoAddress;
    for address in addresses {
        if mesh.is_self(&address.to_string()) {
            continue;
        }
        tracing::debug!("Trying to connect to route on {target} ({address})");
        match timeout(ROUTE_CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = DialError::Connect(address, error),
            Err(_) => last = DialError::Timeout(format!("dial tcp {address}")),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_in_go() {
        let refused = || io::Error::from_raw_os_error(111);
        let address = "[::1]:6222".parse().unwrap();
        let cases = [
            (
                DialError::Lookup("a".into(), io::Error::other("no such host")),
                "lookup a: no such host",
            ),
            (
                DialError::Connect(address, refused()),
                "dial tcp [::1]:6222: connect: connection refused",
            ),
            (DialError::Timeout(format!("dial tcp {address}")), "dial tcp [::1]:6222: i/o timeout"),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }
}
