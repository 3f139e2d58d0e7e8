//! Reload: a running server takes over new settings, all of them or none.
//!
//! Everything that can fail comes first: reading, checking, the comparison with the settings in
//! force, and the files of certificates and of the log. Then the settings are replaced as a whole,
//! and each connection judges itself by them in its next turn (`client/reload.rs`, `route.rs`).
//! nats: server/reload.go `ReloadOptions`, `applyOptions`

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::account::Account;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::os_error::OsError;
use crate::config::check::Checked;
use crate::config::conf::Loaded;
use crate::config::options::{Options, Port};
use crate::conn::{Conn, conn_event};
use crate::logging::Logger;
use crate::net::drive::Shared;
use crate::net::files::{self, PortsFile};
use crate::net::ports::PortFor;
use crate::net::tls::TlsPort;
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::server::listeners::Listeners;
use crate::server::origin::Origin;
use crate::server::reload_error::ReloadError;
use crate::server::start_error::StartError;
use crate::server::{Server, info};

impl Server {
    /// Reads the configuration file again, and takes over all that has changed; settings of the
    /// builder go before it as at the start. Clients that are no users any more, or that have too
    /// many of something, are disconnected; subscriptions that are not permitted any more end. All
    /// others notice nothing. The log reports each change.
    ///
    /// # Errors
    /// The file is invalid, or names a change that needs a new start, such as another port. Then
    /// nothing has changed.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        self.reloader.reload().await
    }

    /// Takes over these options, as [`reload`](Server::reload) does those of a file.
    ///
    /// ```
    /// use dialtone::{Options, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut options = Options::default();
    /// let server = Server::builder().no_listener().options(options.clone()).start().await?;
    /// options.no_listener = true;
    /// options.max_payload = 1024;
    /// server.reload_options(options.clone()).await?;
    /// assert_eq!(server.varz()["max_payload"], 1024);
    ///
    /// options.max_payload = 2048;
    /// options.server_name = Some("other".to_owned());
    /// let refused = server.reload_options(options).await.unwrap_err().to_string();
    /// assert_eq!(refused, "config reload not supported for ServerName: old=, new=other");
    /// assert_eq!(server.varz()["max_payload"], 1024);
    /// # server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`reload`](Server::reload).
    pub async fn reload_options(&self, mut options: Options) -> Result<(), ReloadError> {
        let _reloading = self.reloader.reloading.lock().await;
        let before = self.reloader.running()?.settings();
        let checked = Checked::new(&mut options, Some(before.accounts.imports_digest()));
        let checked = checked.map_err(|error| ReloadError::Invalid(error.into()))?;
        self.reloader.replace(checked, before).await
    }
}

/// The parts of a server that take over new settings.
pub(super) struct Reloader {
    shared: Arc<Shared>,
    /// Nothing: the right to replace the settings in force, from the look at them on.
    reloading: tokio::sync::Mutex<()>,
    /// The ports. A task that opens or closes them holds the lock until that is done.
    pub(super) listeners: Arc<tokio::sync::Mutex<Listeners>>,
    ports_file: Mutex<Option<PortsFile>>,
    pub(super) origin: Origin,
}

impl Reloader {
    /// Those of a server that starts. From now on its own client may ask for a reload, too.
    pub(super) fn new(
        shared: Arc<Shared>,
        listeners: Listeners,
        ports_file: Option<PortsFile>,
        origin: Origin,
    ) -> Arc<Reloader> {
        let (listeners, ports_file) = (Arc::new(listeners.into()), Mutex::new(ports_file));
        let reloader =
            Arc::new(Reloader { shared, reloading: ().into(), listeners, ports_file, origin });
        let weak = Arc::downgrade(&reloader);
        reloader.shared.reload.get_or_init(|| {
            Box::new(move |done| {
                let Some(reloader) = weak.upgrade() else { return };
                let runtime = reloader.shared.runtime.clone();
                // Reading a large file takes long.
                spawn_blocking(move || {
                    let reloaded = runtime.block_on(reloader.reload());
                    done(reloaded.map_err(|error| error.to_string()));
                });
            })
        });
        reloader
    }

    async fn reload(&self) -> Result<(), ReloadError> {
        let source = self.origin.source.as_ref().ok_or(ReloadError::NoFile)?;
        let _reloading = self.reloading.lock().await;
        let before = self.running()?.settings();
        let mut read = source().map_err(ReloadError::Source)?;
        let known = Some(before.accounts.imports_digest());
        let Loaded { checked, problems } = read.check(known).map_err(ReloadError::Invalid)?;
        self.replace(checked, before).await?;
        problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        Ok(())
    }

    /// The registry of a server that has not been stopped.
    fn running(&self) -> Result<&Registry, ReloadError> {
        let registry = &*self.shared.registry;
        if registry.is_stopped() { Err(ReloadError::Stopped) } else { Ok(registry) }
    }

    /// Takes over new settings in place of those `before`.
    async fn replace(
        &self,
        checked: Checked<'_>,
        before: Arc<Settings>,
    ) -> Result<(), ReloadError> {
        let listeners = self.listeners.lock().await;
        let registry = self.running()?;
        self.keep_ports(&before.options, checked.options);
        let options = &*checked.options;
        let changes = before.options.changes(options).map_err(ReloadError::NotReloadable)?;
        let rustls = self.origin.rustls.clone();
        let tls = TlsPort::load_all(options, rustls)
            .map_err(|why| ReloadError::Invalid(StartError::Tls(why)))?;
        let log = Logger::prepare(&before.options.log, &options.log);
        let log = log.map_err(|error| ReloadError::Invalid(error.into()))?;
        let now = self.shared.clock.now();
        // Encryption first: nobody comes in by new rules without it.
        let former_tls = self.shared.tls.replace(tls);
        registry.replace_settings(checked, now);
        let settings = registry.settings();
        registry.amend_info(|info| info::describe(&settings, info));
        if let Some(mesh) = &self.shared.mesh {
            mesh.renew(&before.routes, now);
        }
        listeners.announce();
        registry.bring_settings();
        self.renew_files(&before.options, &settings.options, &listeners);
        close_surplus(registry, &settings);
        self.close_unpinned(&former_tls);
        for change in changes {
            tracing::info!("{change}");
        }
        if let Some(logger) = &self.origin.logger {
            logger.change(log);
        }
        let digest = settings.options.config_digest.as_ref();
        let digest = digest.map(|digest| format!("({digest})")).unwrap_or_default();
        tracing::info!("Reloaded server configuration {digest}");
        self.shared.runtime.spawn(retire(before));
        Ok(())
    }

    /// Keeps the ports that were free to be chosen, whether the file still leaves the choice or
    /// names the one that was made.
    fn keep_ports(&self, old: &Options, new: &mut Options) {
        let keep = |port_for, old: Option<Port>, new: Option<&mut Port>| {
            let (Some(old), Some(new)) = (old, new) else { return };
            let bound = self.shared.addresses.get(port_for).map(|addr| Port::Number(addr.port()));
            if *new == Port::Free || old == Port::Free && Some(*new) == bound {
                *new = old;
            }
        };
        keep(PortFor::Clients, Some(old.port), Some(&mut new.port));
        let listen = |options: &Options| Some(options.cluster.as_ref()?.listen.as_ref()?.port);
        let new_cluster = new.cluster.as_mut().and_then(|cluster| cluster.listen.as_mut());
        keep(PortFor::Routes, listen(old), new_cluster.map(|listen| &mut listen.port));
        let websocket = old.websocket.as_ref().map(|websocket| websocket.listen.port);
        let new_websocket = new.websocket.as_mut().map(|websocket| &mut websocket.listen.port);
        keep(PortFor::Websocket, websocket, new_websocket);
    }

    /// Closes connections whose certificates have a key that is not pinned any more; `former` are
    /// the ports before.
    fn close_unpinned(&self, former: &BTreeMap<PortFor, Arc<TlsPort>>) {
        let mut unpinned = self.shared.registry.conns();
        unpinned.retain(|conn| {
            let port_for = port_of(conn);
            let tls = conn.encryption().and_then(|_| self.shared.tls.get(port_for));
            tls.filter(|tls| tls.has_other_pins(former.get(&port_for))).is_some_and(|tls| {
                let shown = conn.certificates();
                let leaf = shown.first().map(|der| CertificateDer::from(der.as_slice()));
                !tls.is_pinned(leaf.as_ref())
            })
        });
        if !unpinned.is_empty() {
            tracing::info!("Disconnect {} clients due to pinned certs reload", unpinned.len());
            unpinned.iter().for_each(|conn| conn.close(ClosedReason::TlsHandshakeError, false));
        }
    }

    /// Removes the ports file.
    pub(super) fn remove_ports_file(&self) {
        if let Some(Err(error)) = self.ports_file.lock().take().map(PortsFile::remove) {
            tracing::warn!("Could not remove the ports file: {}", OsError(&error));
        }
    }

    /// Writes the files for programs that look for this server, where they are to be now.
    fn renew_files(&self, old: &Options, new: &Options, listeners: &Listeners) {
        if let Some(path) = new.pid_file.as_deref().filter(|_| old.pid_file != new.pid_file)
            && let Err(error) = files::write_pid(path)
        {
            tracing::error!("Failed to write pidfile: {}", OsError(&error));
        }
        if old.ports_file_dir != new.ports_file_dir {
            self.remove_ports_file();
        }
        match listeners.write_ports() {
            Ok(file) => *self.ports_file.lock() = file,
            Err(error) => tracing::error!("Could not write the ports file: {}", OsError(&error)),
        }
    }
}

/// Keeps former settings until nobody else has them. To drop those of many users takes long, and
/// would hold up the connections of a worker.
async fn retire(settings: Arc<Settings>) {
    while Arc::strong_count(&settings) > 1 {
        sleep(RETIRE_PAUSE).await;
    }
    spawn_blocking(|| drop(settings));
}

/// Time between two looks whether former settings are still in use.
const RETIRE_PAUSE: Duration = Duration::from_secs(1);

/// Closes the clients beyond the limits of the server and of accounts: those that came last.
fn close_surplus(registry: &Registry, settings: &Settings) {
    let mut clients = registry.clients();
    clients.retain(|client| !client.is_closed());
    clients.sort_unstable_by_key(|client| client.cid);
    let max = settings.options.max_connections.min(clients.len());
    let surplus = clients.split_off(max);
    if !surplus.is_empty() {
        surplus.iter().for_each(|client| refuse(client, &ProtoErr::MaxConnections));
        tracing::info!("Closed {} connections to fall within max_connections", surplus.len());
    }
    let limit_of =
        |account: &Arc<Account>| Some((account.name.clone(), account.limits().max_connections?));
    let mut left: HashMap<_, _> = settings.accounts.iter().filter_map(limit_of).collect();
    if left.is_empty() {
        return;
    }
    for client in clients {
        match left.get_mut(client.about().account()) {
            Some(0) => refuse(&client, &ProtoErr::MaxAccountConnections),
            Some(left) => *left -= 1,
            None => {}
        }
    }
}

/// The port by which a connection came, or is dialled.
fn port_of(conn: &Conn) -> PortFor {
    match conn.kind {
        Kind::Route => PortFor::Routes,
        Kind::Client | Kind::System if conn.is_websocket() => PortFor::Websocket,
        Kind::Client | Kind::System => PortFor::Clients,
    }
}

/// Ends a connection with an error, for its task.
fn refuse(conn: &Conn, error: &ProtoErr) {
    conn_event!(ERROR, conn, "{error}");
    let mut line = Vec::new();
    error.write_err(&mut line);
    conn.append(&line);
    if let Some(reason) = error.closes() {
        conn.close(reason, false);
    }
}
