//! `Server`: builds, starts and stops everything; the handle for embedding.
//!
//! A server has worker threads of its own, whatever runtime starts it, so that its thread-local
//! belongings serve it alone and an embedding program's tasks cannot hold up its clients.
//! nats: server/server.go `NewServer`, `Start`, `Shutdown`

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::base::errors::ClosedReason;
use crate::base::ids::{Kind, ServerId};
use crate::base::limits::{MAX_PAYLOAD_DISCOURAGED, PROTO, PROTOCOL_VERSION, SHUTDOWN_MAX};
use crate::base::os_error::OsError;
use crate::client::Client;
use crate::clock::Clock;
use crate::codec::info::Info;
use crate::config::options::{Credential, Listen, Login, Options, OptionsError, Port};
use crate::config::route_url::HostPort;
use crate::conn::Conn;
use crate::machine::Machine;
use crate::net::drive::Shared;
use crate::net::files::{Ports, PortsFile};
use crate::net::listener::Listener;
use crate::net::{dial, files, http, listener};
use crate::registry::Registry;
use crate::route::mesh::Mesh;
use crate::tool::line_client::{LineClient, LineErr, LineOptions};

/// A running server. It stops when it is shut down or dropped.
pub struct Server {
    shared: Arc<Shared>,
    client_addr: SocketAddr,
    monitor_addr: Option<SocketAddr>,
    cluster_addr: Option<SocketAddr>,
    runtime: Mutex<Option<Runtime>>,
    listeners: Mutex<Vec<Listener>>,
    ports_file: Mutex<Option<PortsFile>>,
    stopped: watch::Sender<bool>,
}

/// Options on their way to a [`Server`].
#[derive(Debug, Default, Clone)]
pub struct Builder {
    options: Options,
    /// Instead of that in the options, whichever was given first.
    host: Option<String>,
    /// See `host`.
    port: Option<Port>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The options do not fit each other.
    Options(OptionsError),
    /// A port cannot be listened on.
    Listen {
        /// For whom.
        port_for: PortFor,
        /// Where.
        listen: Listen,
        /// Why not.
        error: io::Error,
    },
    /// A file cannot be written.
    File {
        /// What it is for.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There are no threads to be had.
    Runtime(io::Error),
}

/// For whom a server listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortFor {
    /// Clients.
    Clients,
    /// Monitoring.
    Monitor,
    /// Other servers.
    Routes,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Options(error) => error.fmt(f),
            StartError::Listen { port_for, listen, error } => {
                let port = listen.port.bind_number();
                let shown = shown_addr(&listen.host, port);
                let cause = match error.raw_os_error() {
                    Some(_) => format!("listen tcp {shown}: bind: {}", OsError(error)),
                    None => format!("listen tcp: lookup {}: {}", listen.host, OsError(error)),
                };
                match port_for {
                    PortFor::Clients => {
                        write!(f, "Error listening on port: {shown}, \"{cause}\"")
                    }
                    PortFor::Monitor => {
                        write!(
                            f,
                            "Can't start monitoring: can't listen to the monitor port: {cause}"
                        )
                    }
                    PortFor::Routes => {
                        write!(f, "Error listening on router port: {port} - {cause}")
                    }
                }
            }
            StartError::File { what, path, error } => {
                let error = OsError(error);
                write!(f, "Could not write {what} file {}: {error}", path.display())
            }
            StartError::Runtime(error) => write!(f, "Could not start worker threads: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Builder {
    /// Takes all options at once, but for those that have a method here and were set by it.
    #[must_use]
    pub fn options(mut self, options: Options) -> Builder {
        self.options = options;
        self
    }

    /// Address to listen on.
    #[must_use]
    pub fn host(mut self, host: &str) -> Builder {
        self.host = Some(host.to_owned());
        self
    }

    /// Port to listen on; 0 for any that is free.
    #[must_use]
    pub fn port(mut self, port: u16) -> Builder {
        self.port = Some(if port == 0 { Port::Free } else { Port::Number(port) });
        self
    }

    /// Starts the server; clients can connect when it is done.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Server, StartError> {
        let Builder { mut options, host, port } = self;
        options.host = host.unwrap_or(options.host);
        options.port = port.unwrap_or(options.port);
        Server::start(options)
    }
}

impl Server {
    /// A server on nats-server's defaults, to be changed and started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(options: Options) -> Result<Server, StartError> {
        options.check().map_err(StartError::Options)?;
        let server_id = new_server_id();
        log_start(&options, &server_id);
        let runtime = new_runtime(&options).map_err(StartError::Runtime)?;
        let opened = {
            let _guard = runtime.enter();
            Server::open(options, server_id)
        };
        match opened {
            Ok(server) => {
                *server.runtime.lock() = Some(runtime);
                Ok(server)
            }
            Err(error) => {
                // Dropped it would wait for its threads and panic: this is an async context.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Opens the ports and serves them in the entered runtime, which the caller puts into place.
    fn open(options: Options, server_id: ServerId) -> Result<Server, StartError> {
        let clock = Clock::start();
        let monitor = bind_monitor(&options)?;
        let listen = Listen { host: options.host.clone(), port: options.port };
        let clients = Bound::new(listen, PortFor::Clients)?;
        let routes = bind_routes(&options)?;
        let client_addr = clients.addr;
        let monitor_addr = monitor.as_ref().map(|bound| bound.addr);
        let cluster_addr = routes.as_ref().map(|bound| bound.addr);
        let registry = Arc::new(Registry::new(server_id, options));
        registry.set_info(info(&registry, client_addr));
        let settings = registry.settings();
        let options = &settings.options;
        let mesh = options.cluster.is_some().then(|| {
            let mesh = Mesh::new(Arc::clone(&registry), fastrand::u64(..));
            let port = cluster_addr.map_or(0, |addr| addr.port());
            mesh.listening(port, client_urls(options, client_addr, files::public_ips()));
            mesh
        });
        let shared = Arc::new(Shared::new(registry, mesh, clock));
        let ports_file = write_files(options, client_addr, monitor_addr, cluster_addr)?;
        {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                shared.sweep.run(Arc::clone(&shared.registry), shared.clock).await;
            });
        }
        let monitor = monitor.map(|bound| {
            let registry = Arc::clone(&shared.registry);
            let mesh = shared.mesh.clone();
            Listener::start(http::serve(bound.listener, registry, mesh, shared.clock))
        });
        tracing::info!("Listening for client connections on {}", clients.shown);
        let accept = listener::accept_clients(clients.listener, Arc::clone(&shared));
        let clients = Listener::start(accept);
        tracing::info!("Server is ready");
        let routes = join_cluster(&shared, routes);
        let listeners = [Some(clients), routes, monitor].into_iter().flatten().collect();
        let (stopped, _) = watch::channel(false);
        Ok(Server {
            shared,
            client_addr,
            monitor_addr,
            cluster_addr,
            runtime: Mutex::default(),
            listeners: Mutex::new(listeners),
            ports_file: Mutex::new(ports_file),
            stopped,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where monitoring answers, if it is on.
    #[must_use]
    pub fn monitor_addr(&self) -> Option<SocketAddr> {
        self.monitor_addr
    }

    /// Where other servers of the cluster connect, if they can.
    #[must_use]
    pub fn cluster_addr(&self) -> Option<SocketAddr> {
        self.cluster_addr
    }

    /// The server's public nkey, 56 characters.
    #[must_use]
    pub fn id(&self) -> &str {
        self.shared.registry.server_id.as_str()
    }

    /// A client within the process: publish, subscribe, request, without a port. Its tasks run in
    /// the caller's runtime.
    ///
    /// # Errors
    /// As [`LineClient::connect`]; a stopped server does not answer.
    pub async fn client(&self, options: &LineOptions) -> Result<LineClient, LineErr> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        {
            let runtime = self.runtime.lock();
            let Some(runtime) = runtime.as_ref() else {
                return Err(io::Error::from(io::ErrorKind::NotConnected).into());
            };
            let _guard = runtime.enter();
            listener::admit_local(UnixStream::from_std(ours)?, &self.shared);
        }
        LineClient::connect(UnixStream::from_std(theirs)?, options).await
    }

    /// Stops. Whoever connects is refused; connections get what is pending and are closed; all that
    /// a client was told to have arrived has been passed on to the other servers.
    pub async fn shutdown(&self) {
        let runtime = self.runtime.lock().take();
        if let Some(runtime) = runtime {
            tracing::info!("Initiating Shutdown...");
            let listeners = std::mem::take(&mut *self.listeners.lock());
            let ended = runtime.spawn(end(Arc::clone(&self.shared), listeners));
            let _ = timeout(SHUTDOWN_MAX, ended).await;
            runtime.shutdown_background();
            self.remove_ports_file();
            tracing::info!("Server Exiting..");
            self.stopped.send_replace(true);
        }
        self.stopped().await;
    }

    /// Waits until the server has been shut down.
    pub async fn stopped(&self) {
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    fn remove_ports_file(&self) {
        if let Some(Err(error)) = self.ports_file.lock().take().map(PortsFile::remove) {
            tracing::warn!("Could not remove the ports file: {}", OsError(&error));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
            self.remove_ports_file();
        }
    }
}

/// Ends all that connects this server with others, in an order that leaves no client with an answer
/// for what nobody gets. Nobody comes any more; no client is served any more, and what they all
/// published is in the queues of the routes; those are written to their end; clients are told last.
async fn end(shared: Arc<Shared>, listeners: Vec<Listener>) {
    for listener in listeners {
        listener.stop().await;
    }
    if let Some(mesh) = &shared.mesh {
        mesh.stop();
    }
    let registry = &shared.registry;
    let (routes, clients): (Vec<_>, Vec<_>) =
        registry.stop().into_iter().partition(|conn| conn.kind == Kind::Route);
    close(&clients);
    let served = async {
        while registry.client_count() > 0 {
            shared.left.notified().await;
        }
    };
    // A client whose last turn takes longer has no answer to it, and holds up nobody else.
    let _ = timeout(Client::LINGER_MAX, served).await;
    close(&routes);
    hung_up(&routes, &shared).await;
    shared.passed_on.store(true, Ordering::Release);
    clients.iter().for_each(|conn| conn.wake());
    hung_up(&clients, &shared).await;
}

/// Waits until all of these have ended.
async fn hung_up(conns: &[Arc<Conn>], shared: &Shared) {
    for conn in conns {
        while !conn.has_hung_up() {
            shared.left.notified().await;
        }
    }
}

fn close(conns: &[Arc<Conn>]) {
    conns.iter().for_each(|conn| conn.close(ClosedReason::ServerShutdown, false));
}

fn new_runtime(options: &Options) -> io::Result<Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    if let Some(workers) = options.workers {
        builder.worker_threads(workers.max(1));
    }
    builder.thread_name("dialtone").enable_all().build()
}

/// Draws an id. The key has no private half, as a server signs nothing; to make one would keep
/// 100 KB more of this program in memory.
fn new_server_id() -> ServerId {
    let mut key = [0; 32];
    fastrand::fill(&mut key);
    ServerId::of_key(key)
}

fn log_start(options: &Options, server_id: &ServerId) {
    let name = options.server_name.as_deref().unwrap_or(server_id.as_str());
    tracing::info!("Starting dialtone");
    tracing::info!("  Version:  {PROTOCOL_VERSION}");
    tracing::info!("  Release:  {}", env!("CARGO_PKG_VERSION"));
    if let Some(cluster) = options.cluster.as_ref().and_then(|cluster| cluster.name.as_ref()) {
        tracing::info!("  Cluster:  {cluster}");
    }
    tracing::info!("  Name:     {name}");
    tracing::info!("  ID:       {server_id}");
    if has_plain_password(&options.authorization.login) {
        tracing::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    if options.max_payload > MAX_PAYLOAD_DISCOURAGED {
        tracing::warn!(
            "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor \
             performance"
        );
    }
    if let Some(file) = &options.config_file {
        let digest = options.config_digest.as_deref().unwrap_or_default();
        tracing::info!("Using configuration file: {} ({digest})", file.display());
    }
}

fn has_plain_password(login: &Login) -> bool {
    let plain = |secret: &str| !secret.is_empty() && !secret.starts_with("$2");
    match login {
        Login::Open => false,
        Login::Single { password, .. } => plain(password),
        Login::Token(token) => plain(token),
        Login::Users(users) => users.iter().any(|user| match &user.credential {
            Credential::Password { password, .. } => plain(password),
            Credential::Nkey(_) => false,
        }),
    }
}

/// A port that is listened on.
struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    /// The host as configured, and the port that was to be had: as the log shows it.
    shown: String,
}

impl Bound {
    fn new(listen: Listen, port_for: PortFor) -> Result<Bound, StartError> {
        let bound = listener::bind(&listen).and_then(|listener| {
            let addr = local_addr(&listener, &listen)?;
            let shown = shown_addr(&listen.host, addr.port());
            Ok(Bound { listener, addr, shown })
        });
        bound.map_err(|error| StartError::Listen { port_for, listen, error })
    }
}

fn bind_monitor(options: &Options) -> Result<Option<Bound>, StartError> {
    let Some(listen) = options.http_listen() else { return Ok(None) };
    let bound = Bound::new(listen, PortFor::Monitor)?;
    tracing::info!("Starting http monitor on {}", bound.shown);
    Ok(Some(bound))
}

fn bind_routes(options: &Options) -> Result<Option<Bound>, StartError> {
    let Some(cluster) = &options.cluster else { return Ok(None) };
    let listen = cluster.listen.clone();
    listen.map(|listen| Bound::new(listen, PortFor::Routes)).transpose()
}

/// Takes in other servers and dials those that are configured.
fn join_cluster(shared: &Arc<Shared>, routes: Option<Bound>) -> Option<Listener> {
    let mesh = shared.mesh.as_ref()?;
    let (name, generated) = mesh.cluster_name();
    tracing::info!("Cluster name is {name}");
    if generated {
        tracing::warn!("Cluster name was dynamically generated, consider setting one");
    }
    let listener = routes.map(|bound| {
        tracing::info!("Listening for route connections on {}", bound.shown);
        Listener::start(listener::accept_routes(bound.listener, Arc::clone(shared)))
    });
    tokio::spawn(dial::run(Arc::clone(shared), Arc::clone(mesh)));
    listener
}

/// Where clients can connect, `host:port` each, as other servers tell theirs.
///
/// nats: server/server.go `getClientConnectURLs`
fn client_urls(options: &Options, addr: SocketAddr, public_ips: Vec<IpAddr>) -> Vec<String> {
    if options.client_advertise.is_some()
        && let Some((host, port)) = options.advertised(addr.port())
    {
        return vec![shown_addr(&host, port)];
    }
    if !addr.ip().is_unspecified() {
        return vec![shown_addr(&options.host, addr.port())];
    }
    if public_ips.is_empty() {
        tracing::error!("Address {:?} can not be resolved properly", options.host);
    }
    public_ips.into_iter().map(|ip| SocketAddr::new(ip, addr.port()).to_string()).collect()
}

/// Where it listens; a socket for both families shows the IPv4 one if that is configured.
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

fn info(registry: &Registry, addr: SocketAddr) -> Info {
    let settings = registry.settings();
    let options = &settings.options;
    let id = registry.server_id.to_string();
    let (host, port) =
        options.advertised(addr.port()).unwrap_or_else(|| (options.host.clone(), addr.port()));
    Info {
        server_name: options.server_name.clone().unwrap_or_else(|| id.clone()),
        server_id: id,
        version: PROTOCOL_VERSION.to_owned(),
        proto: PROTO,
        git_commit: option_env!("DIALTONE_COMMIT").map(str::to_owned),
        go: Info::GO.to_owned(),
        host,
        port,
        headers: !options.no_header_support,
        auth_required: settings.authenticator.required(),
        max_payload: options.max_payload,
        ..Info::default()
    }
}

/// Writes the files by which others find this server, or none of them.
///
/// nats-differs: the real server logs a failure and runs without the file.
fn write_files(
    options: &Options,
    client: SocketAddr,
    monitor: Option<SocketAddr>,
    cluster: Option<SocketAddr>,
) -> Result<Option<PortsFile>, StartError> {
    let pid_file = options.pid_file.as_deref();
    if let Some(path) = pid_file {
        files::write_pid(path).map_err(|error| file_error("pid", path, error))?;
    }
    let Some(folder) = &options.ports_file_dir else { return Ok(None) };
    let written = PortsFile::write(folder, &Ports::new(client, monitor, cluster));
    written.map(Some).map_err(|error| {
        pid_file.map(files::forget);
        file_error("ports", folder, error)
    })
}

fn file_error(what: &'static str, path: &std::path::Path, error: io::Error) -> StartError {
    StartError::File { what, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// What went wrong: a machine without network told `0.0.0.0`, where nobody can connect.
    #[test]
    fn clients_are_told_where_they_can_connect() {
        let urls = |host: &str, ips: &[&str]| {
            let options = Options { host: host.to_owned(), ..Options::default() };
            let addr = SocketAddr::new(host.parse().unwrap(), 4222);
            client_urls(&options, addr, ips.iter().map(|ip| ip.parse().unwrap()).collect())
        };
        let public = ["192.0.2.7", "2001:db8::7"];
        assert_eq!(urls("0.0.0.0", &public), ["192.0.2.7:4222", "[2001:db8::7]:4222"]);
        assert_eq!(urls("127.0.0.1", &public), ["127.0.0.1:4222"]);
        assert_eq!(urls("0.0.0.0", &[]), [""; 0]);
        assert_eq!(urls("::", &[]), [""; 0]);
    }

    /// What went wrong: a login moved a worker to a new thread, whose counters stayed for ever. The
    /// hash is one of the test vectors of crypt_blowfish.
    #[tokio::test]
    async fn logins_make_no_workers() {
        const WORKERS: usize = 2;
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let mut options = Options { workers: Some(WORKERS), ..Options::default() };
        options.authorization.login = Login::Token(hash.to_owned());
        options.authorization.timeout = Duration::from_secs(60);
        let server = Server::builder().options(options).port(0).start().await.unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], server.client_addr().port()));
        let clients = (0..30).map(|_| {
            let mut client = TcpStream::connect(addr).unwrap();
            client.write_all(b"CONNECT {\"auth_token\":\"wrong\"}\r\nPING\r\n").unwrap();
            client
        });
        for mut client in clients.collect::<Vec<_>>() {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("-ERR 'Authorization Violation'\r\n"), "{answer}");
        }
        assert!(server.shared.registry.writer_count() <= WORKERS);
        server.shutdown().await;
    }
}
