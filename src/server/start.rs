//! The start of a server: its id, its ports, its files, and who serves them.
//!
//! nats: server/server.go `NewServer`, `Start`

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;

use crate::base::ids::ServerId;
use crate::base::limits::{MAX_PAYLOAD_DISCOURAGED, PROTO, PROTOCOL_VERSION};
use crate::clock::Clock;
use crate::codec::info::Info;
use crate::config::options::{Credential, Listen, Login, Options};
use crate::config::route_url::HostPort;
use crate::net::drive::Shared;
use crate::net::files::{Ports, PortsFile};
use crate::net::listener::Listener;
use crate::net::process::Meter;
use crate::net::{dial, files, http, listener};
use crate::registry::Registry;
use crate::route::mesh::Mesh;
use crate::server::Server;
use crate::server::start_error::{PortFor, StartError};

impl Server {
    /// Starts a server and leaves the log to the caller.
    pub(crate) fn start(options: Options) -> Result<Server, StartError> {
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
        let clients = bind_clients(&options)?;
        let routes = bind_routes(&options)?;
        let client_addr = clients.as_ref().map(|bound| bound.addr);
        let monitor_addr = monitor.as_ref().map(|bound| bound.addr);
        let cluster_addr = routes.as_ref().map(|bound| bound.addr);
        let registry = Arc::new(Registry::new(server_id, options));
        registry.set_info(info(&registry, client_addr));
        let settings = registry.settings();
        let options = &settings.options;
        let mesh = options.cluster.is_some().then(|| {
            let mesh = Mesh::new(Arc::clone(&registry), fastrand::u64(..));
            let port = cluster_addr.map_or(0, |addr| addr.port());
            let urls = client_addr.map(|addr| client_urls(options, addr, files::public_ips()));
            mesh.listening(port, urls.unwrap_or_default());
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
        let clients = clients.map(|bound| {
            tracing::info!("Listening for client connections on {}", bound.shown);
            Listener::start(listener::accept_clients(bound.listener, Arc::clone(&shared)))
        });
        tracing::info!("Server is ready");
        let routes = join_cluster(&shared, routes);
        let listeners = [clients, routes, monitor].into_iter().flatten().collect();
        let (stopped, _) = watch::channel(false);
        Ok(Server {
            shared,
            client_addr,
            monitor_addr,
            cluster_addr,
            runtime: Mutex::default(),
            listeners: Mutex::new(listeners),
            ports_file: Mutex::new(ports_file),
            meter: Mutex::new(Meter::new()),
            logger: None,
            stopped,
        })
    }
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

fn bind_clients(options: &Options) -> Result<Option<Bound>, StartError> {
    if options.no_listener {
        return Ok(None);
    }
    let listen = Listen { host: options.host.clone(), port: options.port };
    Bound::new(listen, PortFor::Clients).map(Some)
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

fn info(registry: &Registry, client_addr: Option<SocketAddr>) -> Info {
    let settings = registry.settings();
    let options = &settings.options;
    let id = registry.server_id.to_string();
    let port = client_addr.map_or(0, |addr| addr.port());
    let (host, port) = options.advertised(port).unwrap_or_else(|| (options.host.clone(), port));
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
    client: Option<SocketAddr>,
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
}
