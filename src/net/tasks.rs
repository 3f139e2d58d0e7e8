//! `TaskKind`: the kinds of connections that a port accepts, and the start of their tasks.
//!
//! nats: server/server.go `createClient`; server/route.go `createRoute`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::base::ids::Kind;
use crate::base::limits::ROUTE_PROBE_INTERVAL;
use crate::client::Client;
use crate::codec::upgrade::Upgrade;
use crate::config::options::ConnectionType;
use crate::conn::{About, Conn, Wire};
use crate::monitor::View;
use crate::net::drive::{Drive, Shared};
use crate::net::http::Endpoint;
use crate::net::ports::PortFor;
use crate::net::stream::Stream;
use crate::net::tls::Side;
use crate::net::transport::Transport;
use crate::net::upgrades::Upgrades;
use crate::net::websocket::{Framed, Unframed};
use crate::route::{Role, Route};
use crate::system::{Outside, Reloaded, System, Work};

/// The kind of task for the connections of a port.
pub(crate) enum TaskKind {
    /// A client, connected in this way.
    Client(ConnectionType),
    /// Another server.
    Route(Role),
    /// A client that upgrades to WebSocket first.
    Websocket(Arc<Upgrades>),
    /// A reader of monitoring pages.
    Monitor(Arc<Endpoint>),
}

impl TaskKind {
    /// Its name in the log.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            TaskKind::Client(_) => "Client",
            TaskKind::Route(_) => "Route",
            TaskKind::Websocket(_) => "WebSocket",
            TaskKind::Monitor(_) => "Monitor",
        }
    }

    /// Starts the task of an accepted connection.
    pub(super) async fn start(&self, stream: TcpStream, remote: SocketAddr, shared: &Arc<Shared>) {
        match self {
            TaskKind::Client(connection_type) => {
                // It fails for a closed socket, which its first read notices.
                let _ = stream.set_nodelay(true);
                start_client(Stream::Tcp(stream), Some(remote), *connection_type, shared);
            }
            TaskKind::Route(role) => start_route(stream, remote, role.clone(), shared),
            TaskKind::Websocket(upgrades) => {
                let _ = stream.set_nodelay(true);
                let entered = upgrades.enter().await;
                let (upgrades, shared) = (Arc::clone(upgrades), Arc::clone(shared));
                tokio::spawn(async move {
                    let upgraded = upgrades.upgrade(stream, remote, entered).await;
                    if let Some((transport, upgrade)) = upgraded {
                        start_websocket(transport, remote, upgrade, &shared);
                    }
                });
            }
            TaskKind::Monitor(endpoint) => endpoint.serve(stream, remote).await,
        }
    }
}

/// Starts the task of a client within the process.
pub(crate) fn start_local(stream: UnixStream, shared: &Arc<Shared>) {
    start_client(Stream::Local(stream), None, ConnectionType::InProcess, shared);
}

fn start_client(
    stream: Stream,
    remote: Option<SocketAddr>,
    connection_type: ConnectionType,
    shared: &Arc<Shared>,
) {
    let surplus = is_full(shared);
    let (stream, conn) = add(Kind::Client, stream, remote, shared);
    let client = new_client(conn, connection_type, shared);
    let is_remote = connection_type == ConnectionType::Standard;
    let tls = is_remote.then(|| shared.tls.get(PortFor::Clients)).flatten();
    let drive = Drive::new(Arc::clone(shared), stream, client, surplus);
    tokio::spawn(drive.encrypted(tls, Side::Accepts));
}

/// Starts the task of a client whose connection is a WebSocket now; in lame duck mode it ends.
fn start_websocket(
    transport: Transport,
    remote: SocketAddr,
    mut upgrade: Upgrade,
    shared: &Arc<Shared>,
) {
    if shared.registry.is_lame_duck() {
        return;
    }
    let surplus = is_full(shared);
    let (stream, tls) = transport.into_parts();
    let below = match &tls {
        Some(tls) => Arc::clone(&tls.wire) as Arc<dyn Wire>,
        None => Arc::clone(&stream) as Arc<dyn Wire>,
    };
    let framed = Arc::new(Framed::new(below, &upgrade));
    let unframed = Box::new(Unframed::new(Arc::clone(&framed), &upgrade));
    let conn = register(Kind::Client, framed, Some(remote), shared);
    conn.set_websocket();
    conn.set_about(&About { forwarded: upgrade.forwarded.take(), ..About::default() });
    if let Some(tls) = &tls {
        conn.set_encryption(tls.encryption);
    }
    let client = new_client(conn, ConnectionType::Websocket, shared).with_cookies(upgrade.cookies);
    let mut drive = Drive::new(Arc::clone(shared), stream, client, surplus);
    if let Some(tls) = tls {
        drive = drive.layered(tls.inflow);
    }
    tokio::spawn(drive.layered(unframed));
}

/// True if no further client has room.
fn is_full(shared: &Shared) -> bool {
    shared.registry.client_count() >= shared.registry.settings().options.max_connections
}

fn new_client(conn: Arc<Conn>, connection_type: ConnectionType, shared: &Shared) -> Client {
    let registry = &shared.registry;
    let needs_nonce = registry.settings().clients(connection_type).authenticator.needs_nonce();
    let nonce = if needs_nonce { nonce() } else { Box::default() };
    Client::new(Arc::clone(registry), conn, connection_type, nonce)
}

/// Starts the task of a connection to another server, dialled by either side.
pub(super) fn start_route(stream: TcpStream, remote: SocketAddr, role: Role, shared: &Arc<Shared>) {
    let Some(mesh) = &shared.mesh else { return };
    watch_closely(&stream, shared.registry.settings().routes.cluster.silence_max);
    let side = match &role {
        Role::Accepted => Side::Accepts,
        Role::Solicited(dial) => Side::dials(&dial.host, remote.ip()),
    };
    let (stream, conn) = add(Kind::Route, Stream::Tcp(stream), Some(remote), shared);
    let route = Route::new(Arc::clone(&shared.registry), Arc::clone(mesh), conn, role);
    let drive = Drive::new(Arc::clone(shared), stream, route, false);
    tokio::spawn(drive.encrypted(shared.tls.get(PortFor::Routes), side));
}

/// Starts the task of the server's own client.
pub(crate) fn start_system(shared: &Arc<Shared>) {
    let (stream, conn) = add(Kind::System, Stream::Inbox(Box::default()), None, shared);
    conn.set_headers(true);
    let outside = Box::new(AroundSystem(Arc::clone(shared)));
    let system = System::new(Arc::clone(&shared.registry), conn, outside);
    tokio::spawn(Drive::new(Arc::clone(shared), stream, system, false));
}

/// The parts of the server outside of the core, for its own client.
struct AroundSystem(Arc<Shared>);

impl Outside for AroundSystem {
    fn look(&self, look: &mut dyn FnMut(&View<'_>)) {
        self.0.with_view(look);
    }

    fn work(&self, work: Work) {
        let shared = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || shared.with_view(work));
    }

    fn reload(&self, done: Reloaded) {
        match self.0.reload.get() {
            Some(reload) => reload(done),
            None => done(Err("server is not ready".to_owned())),
        }
    }
}

/// Registers a new connection that writes to its socket.
fn add(
    kind: Kind,
    stream: Stream,
    remote: Option<SocketAddr>,
    shared: &Shared,
) -> (Arc<Stream>, Arc<Conn>) {
    let stream = Arc::new(stream);
    let conn = register(kind, Arc::clone(&stream) as Arc<dyn Wire>, remote, shared);
    (stream, conn)
}

fn register(
    kind: Kind,
    wire: Arc<dyn Wire>,
    remote: Option<SocketAddr>,
    shared: &Shared,
) -> Arc<Conn> {
    let start = shared.clock.now();
    shared.registry.add(|cid, slot| Conn::new(cid, kind, slot, remote, start, wire))
}

/// Makes the kernel notice within `silence_max` that nothing arrives from the other side any more,
/// during traffic and without.
fn watch_closely(stream: &TcpStream, silence_max: Duration) {
    // Without these options a socket works, too, and PINGs notice later.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(silence_max / 2).with_interval(ROUTE_PROBE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(silence_max));
}

/// 11 random bytes as 15 characters of base64url. They come from the system, because an attacker
/// who could predict them could get them signed in advance.
///
/// nats: server/nkey.go `generateNonce`
fn nonce() -> Box<str> {
    let mut bytes = [0_u8; 11];
    getrandom::fill(&mut bytes).expect("a system that accepts connections has random bytes");
    data_encoding::BASE64URL_NOPAD.encode(&bytes).into()
}
