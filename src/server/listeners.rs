//! `Listeners`: the ports of a server. Each opens, closes and moves on its own while the server
//! runs; INFO, gossip and the ports file follow.
//!
//! nats: server/server.go `AcceptLoop`, `startMonitoring`, `getClientConnectURLs`, `logPorts`;
//! server/route.go `startRouteAcceptLoop`

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::base::os_error::OsError;
use crate::config::options::{ConnectionType, Listen, Options, Port, Websocket};
use crate::config::route_url::HostPort;
use crate::net::drive::Shared;
use crate::net::files::{self, Ports, PortsFile};
use crate::net::http::Endpoint;
use crate::net::listener::{self, Listener};
use crate::net::ports::PortFor;
use crate::net::tasks::TaskKind;
use crate::net::upgrades::Upgrades;
use crate::route::Role;
use crate::route::other::ClientUrls;
use crate::server::start_error::StartError;

/// The ports of a server.
pub(super) struct Listeners {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    upgrades: Arc<Upgrades>,
    /// The runtime that serves them.
    runtime: Handle,
    open: BTreeMap<PortFor, Open>,
}

/// A port that is served.
struct Open {
    listener: Listener,
    /// Its address, with the port number that it got.
    listen: Listen,
}

/// A port that is bound and not served yet.
pub(super) struct Bound {
    pub(super) port_for: PortFor,
    socket: TcpListener,
    /// As in [`Open`].
    listen: Listen,
    addr: SocketAddr,
}

impl Listeners {
    /// A server without ports. To be called in the runtime that serves them.
    pub(super) fn new(shared: Arc<Shared>) -> Listeners {
        let endpoint = Endpoint::new(Arc::clone(&shared));
        let upgrades = Upgrades::new(Arc::clone(&shared));
        Listeners { shared, endpoint, upgrades, runtime: Handle::current(), open: BTreeMap::new() }
    }

    /// Binds all ports that the options ask for, or none.
    ///
    /// # Errors
    /// One of them cannot be bound.
    pub(super) fn bind_all(&self, options: &Options) -> Result<Vec<Bound>, StartError> {
        let clients = || Listen { host: options.host.clone(), port: options.port };
        let websocket = options.websocket.as_ref().map(|websocket| websocket.listen.clone());
        let ports = [
            (PortFor::Monitor, options.monitor_listen()),
            (PortFor::Websocket, websocket),
            (PortFor::Clients, (!options.no_listener).then(clients)),
            (PortFor::Routes, options.cluster.as_ref().and_then(|cluster| cluster.listen.clone())),
        ];
        let asked = ports.into_iter().filter_map(|(port_for, listen)| Some((port_for, listen?)));
        let bound = asked.map(|(port_for, listen)| self.bind(port_for, listen));
        let bound: Vec<Bound> = bound.collect::<Result<_, _>>()?;
        for Bound { port_for, addr, .. } in &bound {
            self.shared.addresses.set(*port_for, Some(*addr));
        }
        Ok(bound)
    }

    fn bind(&self, port_for: PortFor, listen: Listen) -> Result<Bound, StartError> {
        let _guard = self.runtime.enter();
        let bound = listener::bind(&listen).and_then(|socket| {
            let addr = local_addr(&socket, &listen)?;
            Ok((socket, addr))
        });
        let (socket, addr) = bound.map_err(|error| StartError::Listen {
            port_for,
            listen: listen.clone(),
            error,
        })?;
        let listen = Listen { port: Port::Number(addr.port()), ..listen };
        if port_for == PortFor::Monitor {
            let is_encrypted = self.shared.tls.get(port_for).is_some();
            let scheme = if is_encrypted { "https" } else { "http" };
            tracing::info!("Starting {scheme} monitor on {}", shown(&listen));
        }
        Ok(Bound { port_for, socket, listen, addr })
    }

    /// Serves a port.
    pub(super) fn serve(&mut self, bound: Bound) {
        debug_assert!(self.shared.reload.get().is_some(), "a client may ask for it at once");
        let Bound { port_for, socket, listen, .. } = bound;
        let kind = match port_for {
            PortFor::Clients => {
                tracing::info!("Listening for client connections on {}", shown(&listen));
                if let Some(tls) = self.shared.tls.get(port_for) {
                    let how = if tls.allow_non_tls { "available" } else { "required" };
                    tracing::info!("TLS {how} for client connections");
                }
                TaskKind::Client(ConnectionType::Standard)
            }
            PortFor::Routes => {
                tracing::info!("Listening for route connections on {}", shown(&listen));
                let settings = self.shared.registry.settings();
                if settings.routes.cluster.tls.as_ref().is_some_and(|tls| tls.insecure) {
                    tracing::warn!(
                        "TLS certificate chain and hostname of solicited routes will not be \
                         verified. DO NOT USE IN PRODUCTION!"
                    );
                }
                TaskKind::Route(Role::Accepted)
            }
            PortFor::Websocket => {
                let is_encrypted = self.shared.tls.get(port_for).is_some();
                let scheme = if is_encrypted { "wss" } else { "ws" };
                tracing::info!("Listening for websocket clients on {scheme}://{}", shown(&listen));
                if !is_encrypted {
                    tracing::warn!("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
                }
                TaskKind::Websocket(Arc::clone(&self.upgrades))
            }
            PortFor::Monitor => TaskKind::Monitor(Arc::clone(&self.endpoint)),
        };
        let _guard = self.runtime.enter();
        let listener = Listener::start(socket, kind, Arc::clone(&self.shared));
        self.open.insert(port_for, Open { listener, listen });
    }

    /// Opens a port at `listen`. If it was open elsewhere, it closes there once the new one is
    /// bound; earlier only if the two have the same number and exclude each other.
    ///
    /// # Errors
    /// The new one cannot be bound. The port stays open where it was.
    #[cfg_attr(not(test), expect(dead_code, reason = "nothing reloads"))]
    pub(super) async fn open(
        &mut self,
        port_for: PortFor,
        listen: Listen,
    ) -> Result<(), StartError> {
        let own = self.open.get(&port_for);
        let has_number = own.is_some_and(|own| own.listen.port == listen.port);
        let bound = match self.bind(port_for, listen.clone()) {
            Err(StartError::Listen { error, .. })
                if has_number && error.kind() == io::ErrorKind::AddrInUse =>
            {
                self.rebind(port_for, listen).await?
            }
            bound => bound?,
        };
        let old = self.open.remove(&port_for);
        self.move_to(port_for, Some(bound));
        if let Some(old) = old {
            old.listener.stop().await;
        }
        Ok(())
    }

    /// Closes a port before it binds it at `listen`.
    async fn rebind(&mut self, port_for: PortFor, listen: Listen) -> Result<Bound, StartError> {
        let old = self.stop(port_for).await;
        self.bind(port_for, listen).inspect_err(|_| {
            self.move_to(port_for, old.and_then(|old| self.bind(port_for, old).ok()));
        })
    }

    /// Closes a port. Connections accepted by it stay.
    #[cfg_attr(not(test), expect(dead_code, reason = "nothing reloads"))]
    pub(super) async fn close(&mut self, port_for: PortFor) {
        self.stop(port_for).await;
        self.move_to(port_for, None);
    }

    /// Closes the ports for clients, for lame duck mode, of which another INFO tells.
    pub(super) async fn close_to_clients(&mut self) {
        for port_for in [PortFor::Clients, PortFor::Websocket] {
            self.stop(port_for).await;
            self.shared.addresses.set(port_for, None);
        }
        self.renew_ports();
    }

    /// Closes all ports, at the end of the server: no INFO follows.
    pub(super) async fn close_all(&mut self) {
        while let Some((_, open)) = self.open.pop_first() {
            open.listener.stop().await;
        }
    }

    async fn stop(&mut self, port_for: PortFor) -> Option<Listen> {
        let Open { listener, listen } = self.open.remove(&port_for)?;
        listener.stop().await;
        Some(listen)
    }

    /// Announces the new address of a port, if it is open, and serves it there.
    fn move_to(&mut self, port_for: PortFor, bound: Option<Bound>) {
        self.shared.addresses.set(port_for, bound.as_ref().map(|bound| bound.addr));
        self.announce();
        self.renew_ports();
        if let Some(bound) = bound {
            self.serve(bound);
        }
    }

    fn renew_ports(&self) {
        if let Err(error) = self.write_ports() {
            tracing::warn!("Could not write the ports file: {}", OsError(&error));
        }
    }

    /// Announces the addresses of the ports to clients and other servers, in INFO; the hosts are
    /// the configured ones. The address of a port that has closed stays.
    pub(super) fn announce(&self) {
        let Shared { registry, mesh, addresses, .. } = &*self.shared;
        let settings = registry.settings();
        let options = &settings.options;
        let clients = addresses.get(PortFor::Clients);
        let websocket = options.websocket.as_ref().zip(addresses.get(PortFor::Websocket));
        registry.change_info(|info| {
            let port = clients.map_or(info.port, |addr| addr.port());
            let advertised = options.advertised(port);
            (info.host, info.port) = advertised.unwrap_or_else(|| (options.host.clone(), port));
            if let (Some(told), Some((websocket, addr))) = (&mut info.websocket, websocket) {
                (told.host, told.port) = (websocket.listen.host.clone(), addr.port());
            }
        });
        if let Some(mesh) = mesh {
            let port = addresses.get(PortFor::Routes).map_or(0, |addr| addr.port());
            let standard = clients.map(|addr| {
                client_urls(
                    &options.host,
                    options.client_advertise.as_deref(),
                    addr,
                    files::public_ips,
                )
            });
            let websocket = websocket.map(|(Websocket { listen, advertise, .. }, addr)| {
                client_urls(&listen.host, advertise.as_deref(), addr, files::public_ips)
            });
            let urls = ClientUrls {
                standard: standard.unwrap_or_default(),
                websocket: websocket.unwrap_or_default(),
            };
            mesh.listening(port, urls);
        }
    }

    /// Writes the addresses of the ports into the ports file, if one is configured.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write_ports(&self) -> io::Result<Option<PortsFile>> {
        let settings = self.shared.registry.settings();
        let options = &settings.options;
        let Some(folder) = &options.ports_file_dir else { return Ok(None) };
        PortsFile::write(folder, &Ports::of(&self.shared.addresses, options)).map(Some)
    }
}

/// Addresses for clients, `host:port` each, in the form that other servers use.
///
/// nats: server/server.go `getConnectURLs`
fn client_urls(
    host: &str,
    advertise: Option<&str>,
    addr: SocketAddr,
    public_ips: impl FnOnce() -> Vec<IpAddr>,
) -> Vec<String> {
    if let Some(HostPort(host, port)) =
        advertise.and_then(|written| HostPort::read(written, addr.port()))
    {
        return vec![shown_addr(host, port)];
    }
    if !addr.ip().is_unspecified() {
        return vec![shown_addr(host, addr.port())];
    }
    let public_ips = public_ips();
    if public_ips.is_empty() {
        tracing::error!("Address {host:?} can not be resolved properly");
    }
    public_ips.into_iter().map(|ip| SocketAddr::new(ip, addr.port()).to_string()).collect()
}

/// The address of a listener; a socket for both families shows the IPv4 one if that is configured.
fn local_addr(listener: &TcpListener, listen: &Listen) -> io::Result<SocketAddr> {
    let addr = listener.local_addr()?;
    let ip = match addr.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() && listen.host == "0.0.0.0" => {
            IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
        }
        ip => ip,
    };
    Ok(SocketAddr::new(ip, addr.port()))
}

/// Host as configured, with or without brackets, and port.
fn shown_addr(host: &str, port: u16) -> String {
    HostPort(host.trim_matches(['[', ']']), port).to_string()
}

/// An address as the log shows it.
fn shown(listen: &Listen) -> String {
    shown_addr(&listen.host, listen.port.bind_number())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener as Occupant, TcpStream};

    use super::*;
    use crate::config::options::Cluster;
    use crate::config::route_url::RouteUrl;
    use crate::server::Server;
    use crate::server::builder::Builder;
    use crate::tool::line_client::{LineClient, LineOptions, Subscriber};

    const HOST: &str = "127.0.0.1";

    fn listen(host: &str, addr: SocketAddr) -> Listen {
        Listen { host: host.to_owned(), port: Port::Number(addr.port()) }
    }

    fn free() -> Listen {
        Listen { host: HOST.to_owned(), port: Port::Free }
    }

    async fn member(builder: Builder, routes: Vec<RouteUrl>) -> Server {
        let name = Some("ports".to_owned());
        let cluster = Cluster { name, listen: Some(free()), routes, ..Cluster::default() };
        builder.cluster(cluster).start().await.unwrap()
    }

    async fn open(server: &Server, port_for: PortFor, listen: Listen) -> Result<(), StartError> {
        server.reloader.listeners.lock().await.open(port_for, listen).await
    }

    async fn close(server: &Server, port_for: PortFor) {
        server.reloader.listeners.lock().await.close(port_for).await;
    }

    fn clients_of(server: &Server) -> SocketAddr {
        server.client_addr().unwrap()
    }

    async fn connect(addr: SocketAddr) -> LineClient {
        LineClient::connect_tcp(addr, &LineOptions::default()).await.unwrap()
    }

    fn is_refused(addr: SocketAddr) -> bool {
        TcpStream::connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    /// A message from a client of one server to a client of the other.
    async fn carry(sender: &LineClient, heard: &mut Subscriber, text: &'static str) {
        sender.publish("carried", text).await.unwrap();
        while heard.next().await.unwrap().payload != text {}
    }

    /// The client port closes, opens again and moves; its connections stay, and a route goes on
    /// carrying.
    #[tokio::test]
    async fn a_port_comes_and_goes_while_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { ports_file_dir: Some(folder.path().to_owned()), ..Options::default() };
        let builder = Server::builder().options(options).host(HOST).port(0).name("moves");
        let server = member(builder, Vec::new()).await;
        let route = RouteUrl::parse(&format!("nats://{}", server.cluster_addr().unwrap())).unwrap();
        let other = member(Server::builder().no_listener(), vec![route]).await;
        let receiver = other.client(&LineOptions::default()).await.unwrap();
        let mut heard = receiver.subscribe("carried", None).await.unwrap();
        receiver.flush().await.unwrap();
        let first = clients_of(&server);
        let stays = connect(first).await;
        let soon = std::time::Duration::from_millis(10);
        while tokio::time::timeout(soon, heard.next()).await.is_err() {
            stays.publish("carried", "is the route there?").await.unwrap();
        }
        let told = || {
            let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
            let addr = clients_of(&server);
            std::fs::read_to_string(file.path()).unwrap().contains(&format!("\"nats://{addr}\""))
                && server.varz()["port"] == addr.port()
        };
        assert!(told());

        close(&server, PortFor::Clients).await;
        assert!(is_refused(first));
        assert_eq!((server.client_addr(), &server.varz()["port"]), (None, &first.port().into()));
        carry(&stays, &mut heard, "closed").await;

        open(&server, PortFor::Clients, listen(HOST, first)).await.unwrap();
        assert_eq!((clients_of(&server), told()), (first, true));
        let stays_too = connect(first).await;
        carry(&stays_too, &mut heard, "open again").await;

        open(&server, PortFor::Clients, free()).await.unwrap();
        let second = clients_of(&server);
        assert!(second != first && is_refused(first) && told());
        for (client, text) in [
            (&stays, "by the first"),
            (&stays_too, "by the first again"),
            (&connect(second).await, "by the second"),
        ] {
            carry(client, &mut heard, text).await;
        }

        close(&server, PortFor::Routes).await;
        assert_eq!(server.cluster_addr(), None);
        carry(&stays, &mut heard, "no other route").await;
    }

    #[tokio::test]
    async fn a_port_that_cannot_be_had_leaves_the_old_one() {
        let server = Server::builder().host(HOST).port(0).start().await.unwrap();
        let old = clients_of(&server);
        let occupant = Occupant::bind((HOST, 0)).unwrap();
        let taken = listen(HOST, occupant.local_addr().unwrap());
        let error = open(&server, PortFor::Clients, taken).await.unwrap_err();
        assert!(error.to_string().contains("address already in use"), "{error}");
        assert_eq!(clients_of(&server), old);
        connect(old).await;
        // Its present address, and one that excludes the present one.
        for host in [HOST, "0.0.0.0", HOST] {
            open(&server, PortFor::Clients, listen(host, old)).await.unwrap();
            connect(old).await;
        }
        let _occupant = Occupant::bind(("127.0.0.2", old.port())).unwrap();
        open(&server, PortFor::Clients, listen("0.0.0.0", old)).await.unwrap_err();
        assert_eq!(clients_of(&server), old);
        connect(old).await;
    }

    #[tokio::test]
    async fn monitoring_moves_and_says_where_it_is() {
        let server = Server::builder().no_listener().start().await.unwrap();
        assert_eq!(server.varz()["http_port"], 0);
        for _ in 0..2 {
            open(&server, PortFor::Monitor, free()).await.unwrap();
            let addr = server.monitor_addr().unwrap();
            assert_eq!(server.varz()["http_port"], addr.port());
            TcpStream::connect(addr).unwrap();
        }
        close(&server, PortFor::Monitor).await;
        assert_eq!(server.varz()["http_port"], 0);
    }

    /// Regression: a machine without network announced `0.0.0.0`, where no client can connect.
    #[test]
    fn clients_are_told_where_they_can_connect() {
        let urls = |host: &str, ips: &[&str]| {
            let addr = SocketAddr::new(host.parse().unwrap(), 4222);
            client_urls(host, None, addr, || ips.iter().map(|ip| ip.parse().unwrap()).collect())
        };
        let public = ["192.0.2.7", "2001:db8::7"];
        assert_eq!(urls("0.0.0.0", &public), ["192.0.2.7:4222", "[2001:db8::7]:4222"]);
        assert_eq!(urls("127.0.0.1", &public), ["127.0.0.1:4222"]);
        assert_eq!(urls("0.0.0.0", &[]), [""; 0]);
        assert_eq!(urls("::", &[]), [""; 0]);
    }
}
