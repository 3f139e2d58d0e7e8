//! The start of a server: its id, ports, files and tasks.
//!
//! nats: server/server.go `NewServer`, `Start`

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;

use crate::base::ids::ServerId;
use crate::base::limits::{MAX_PAYLOAD_DISCOURAGED, PROTOCOL_VERSION};
use crate::base::moment::Moment;
use crate::base::secrets::Key;
use crate::clock::Clock;
use crate::config::check::Checked;
use crate::config::options::{Credential, HandshakeFirst, Login, Options};
use crate::net::drive::Shared;
use crate::net::files::PortsFile;
use crate::net::ports::PortFor;
use crate::net::tls::TlsPort;
use crate::net::{dial, files, tasks};
use crate::registry::{Birth, Registry};
use crate::route::mesh::Mesh;
use crate::server::listeners::Listeners;
use crate::server::origin::Origin;
use crate::server::reload::Reloader;
use crate::server::start_error::StartError;
use crate::server::{Server, info};

impl Server {
    /// Starts a server and leaves the log to the caller.
    pub(crate) fn start(checked: Checked<'_>, origin: Origin) -> Result<Server, StartError> {
        let server_id = new_server_id();
        log_start(checked.options, &server_id);
        let runtime = new_runtime(checked.options).map_err(StartError::Runtime)?;
        let opened = {
            let _guard = runtime.enter();
            Server::open(checked, origin, server_id)
        };
        match opened {
            Ok(server) => {
                *server.runtime.lock() = Some(runtime);
                Ok(server)
            }
            Err(error) => {
                // Dropping it would wait for its threads and panic: this is an async context.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Opens the ports and serves them in the entered runtime, which the caller then stores.
    fn open(
        checked: Checked<'_>,
        origin: Origin,
        server_id: ServerId,
    ) -> Result<Server, StartError> {
        let clock = Clock::start();
        let registry = Arc::new(Registry::new(server_id, checked));
        registry.set_birth(Birth { date: clock.wall(Moment::START), key: new_key() });
        registry.set_info(info::first(&registry));
        let settings = registry.settings();
        let options = &settings.options;
        let mesh = (options.cluster.is_some())
            .then(|| Mesh::new(Arc::clone(&registry), fastrand::u64(..)));
        let tls = TlsPort::load_all(options, origin.rustls.clone()).map_err(StartError::Tls)?;
        let shared = Arc::new(Shared::new(registry, mesh, clock));
        shared.tls.replace(tls);
        let listeners = Listeners::new(Arc::clone(&shared));
        let bound = listeners.bind_all(options)?;
        listeners.announce();
        let ports_file = write_files(options, &listeners)?;
        // Before the first client, who may ask for a reload.
        let reloader = Reloader::new(Arc::clone(&shared), listeners, ports_file, origin);
        {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                shared.sweep.run(Arc::clone(&shared.registry), shared.clock).await;
            });
        }
        tasks::start_system(&shared);
        let (routes, others): (Vec<_>, Vec<_>) =
            bound.into_iter().partition(|bound| bound.port_for == PortFor::Routes);
        let mut listeners = reloader.listeners.try_lock().expect("no reload without a client");
        others.into_iter().for_each(|bound| listeners.serve(bound));
        tracing::info!("Server is ready");
        if let Some(mesh) = &shared.mesh {
            log_cluster(mesh);
            routes.into_iter().for_each(|bound| listeners.serve(bound));
            tokio::spawn(dial::run(Arc::clone(&shared), Arc::clone(mesh)));
        }
        drop(listeners);
        let (stopped, _) = watch::channel(false);
        Ok(Server { shared, runtime: Mutex::default(), reloader, stopped })
    }
}

fn new_runtime(options: &Options) -> io::Result<Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    if let Some(workers) = options.workers {
        builder.worker_threads(workers.max(1));
    }
    builder.thread_name("dialtone").enable_all().build()
}

/// Draws an id. The key has no private half, because a server signs nothing; the code that makes
/// one would take 100 KB of memory.
fn new_server_id() -> ServerId {
    let mut key = [0; 32];
    fastrand::fill(&mut key);
    ServerId::of_key(key)
}

/// The key of a server's secrets. It comes from the system: an attacker who could predict them
/// could answer requests of others.
fn new_key() -> Key {
    let mut key = Key::default();
    getrandom::fill(&mut key).expect("a system that accepts connections has random bytes");
    key
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
    if options.tls.as_ref().is_some_and(|tls| tls.handshake_first == HandshakeFirst::Yes) {
        tracing::warn!(
            "Clients that are not using \"TLS Handshake First\" option will fail to connect"
        );
    }
    let websocket = options.websocket.as_ref().map(|websocket| &websocket.login);
    if [&options.authorization.login].into_iter().chain(websocket).any(has_plain_password) {
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

fn log_cluster(mesh: &Mesh) {
    let (name, generated) = mesh.cluster_name();
    tracing::info!("Cluster name is {name}");
    if generated {
        tracing::warn!("Cluster name was dynamically generated, consider setting one");
    }
}

/// Writes the files for programs that look for this server, or none of them.
///
/// nats-differs: the real server logs a failure and runs without the file.
fn write_files(options: &Options, listeners: &Listeners) -> Result<Option<PortsFile>, StartError> {
    let pid_file = options.pid_file.as_deref();
    if let Some(path) = pid_file {
        files::write_pid(path).map_err(|error| file_error("pid", path, error))?;
    }
    listeners.write_ports().map_err(|error| {
        pid_file.map(files::forget);
        file_error("ports", options.ports_file_dir.as_deref().unwrap_or(Path::new("")), error)
    })
}

fn file_error(what: &'static str, path: &Path, error: io::Error) -> StartError {
    StartError::File { what, path: path.to_owned(), error }
}
