//! Reaching other servers: one task asks the mesh whom to dial, and each dial is a task of its own.
//!
//! A name is resolved anew for every dial, and all its addresses are tried, in any order.
//! nats: server/route.go `connectToRoute`, server/server.go `getRandomIP`

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout};

use crate::limits::{ROUTE_CONNECT_MAX, ROUTE_RESOLVE_MAX};
use crate::moment::Moment;
use crate::net::drive::Shared;
use crate::net::listener;
use crate::os_error::OsError;
use crate::route::Role;
use crate::route::mesh::{Dial, Failure, Mesh};
use crate::route_url::HostPort;

/// Dials whom the mesh wants dialled, for ever.
pub(crate) async fn run(shared: Arc<Shared>, mesh: Arc<Mesh>) {
    loop {
        while let Some(dial) = mesh.next_dial(shared.clock.now()) {
            tokio::spawn(attempt(Arc::clone(&shared), Arc::clone(&mesh), dial));
        }
        wait_due(&shared, &mesh).await;
    }
}

/// Waits until the mesh may have somebody to dial.
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

/// Tries every address of `dial` until one answers.
async fn attempt(shared: Arc<Shared>, mesh: Arc<Mesh>, dial: Dial) {
    match connect(&mesh, &dial).await {
        Ok((stream, remote)) => {
            listener::admit_route(stream, remote, Role::Solicited(dial), &shared);
        }
        Err(error) => {
            let Failure { report, attempt } = mesh.dial_failed(&dial, shared.clock.now());
            let (target, error) = (HostPort(&dial.host, dial.port), OsError(&error));
            let text = "Error trying to connect to route (attempt";
            if report {
                tracing::error!("{text} {attempt}): dial tcp {target}: {error}");
            } else {
                tracing::debug!("{text} {attempt}): dial tcp {target}: {error}");
            }
        }
    }
}

async fn connect(mesh: &Mesh, dial: &Dial) -> io::Result<(TcpStream, SocketAddr)> {
    let target = HostPort(&dial.host, dial.port);
    let found = timeout(ROUTE_RESOLVE_MAX, lookup_host((&*dial.host, dial.port))).await?;
    let mut addresses: Vec<SocketAddr> = found?.collect();
    fastrand::shuffle(&mut addresses);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no IP available");
    for address in addresses {
        if mesh.is_self(&address.to_string()) {
            continue;
        }
        tracing::debug!("Trying to connect to route on {target} ({address})");
        match timeout(ROUTE_CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = error,
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}
