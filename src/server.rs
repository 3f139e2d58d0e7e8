//! `Server`: the handle of a running server, for embedding, and its shutdown.
//!
//! A server has worker threads of its own, whichever runtime starts it. So its thread-local state
//! serves it alone, and the tasks of an embedding program cannot delay its clients.
//! nats: server/server.go `Shutdown`

pub(crate) mod builder;
mod info;
mod lame_duck;
mod listeners;
pub(crate) mod origin;
mod reload;
pub(crate) mod reload_error;
mod start;
pub(crate) mod start_error;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::base::closed_reason::ClosedReason;
use crate::base::limits::SHUTDOWN_MAX;
use crate::client::Client;
use crate::conn::Conn;
use crate::machine::Machine;
use crate::monitor::params::Params;
use crate::monitor::{QueryError, connz, varz};
use crate::net::drive::Shared;
use crate::net::ports::PortFor;
use crate::net::tasks;
use crate::registry::events::Event;
use crate::server::listeners::Listeners;
use crate::server::reload::Reloader;
use crate::tool::line_client::{LineClient, LineErr, LineOptions};

/// A running server. It stops when it is shut down or dropped.
///
/// Several may run in one process. Each has worker threads of its own, so that its clients and the
/// program's tasks do not delay each other. [The crate's page](crate) shows a server in use.
pub struct Server {
    shared: Arc<Shared>,
    runtime: Mutex<Option<Runtime>>,
    reloader: Arc<Reloader>,
    stopped: watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("id", &self.id())
            .field("client_addr", &self.client_addr())
            .field("monitor_addr", &self.monitor_addr())
            .field("cluster_addr", &self.cluster_addr())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Address for clients, unless there is [no listener](crate::Builder::no_listener).
    #[must_use]
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.shared.addresses.get(PortFor::Clients)
    }

    /// Address of the monitoring endpoint, if it is on.
    #[must_use]
    pub fn monitor_addr(&self) -> Option<SocketAddr> {
        self.shared.addresses.get(PortFor::Monitor)
    }

    /// Address for other servers of the cluster, if the server has a cluster port.
    #[must_use]
    pub fn cluster_addr(&self) -> Option<SocketAddr> {
        self.shared.addresses.get(PortFor::Routes)
    }

    /// The address for clients that come by WebSocket, if there is one.
    #[must_use]
    pub fn websocket_addr(&self) -> Option<SocketAddr> {
        self.shared.addresses.get(PortFor::Websocket)
    }

    /// The public nkey of the server, 56 characters.
    #[must_use]
    pub fn id(&self) -> &str {
        self.shared.registry.server_id.as_str()
    }

    /// A connection within the process, without a port: the client's end of a stream of bytes, for
    /// any NATS client that takes one. The server greets it with INFO.
    ///
    /// ```
    /// use dialtone::{LineClient, LineOptions, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::builder().no_listener().start().await?;
    /// let client = LineClient::connect(server.connect()?, &LineOptions::default()).await?;
    /// client.publish("orders.new", "four teapots").await?;
    /// client.flush().await?;
    /// # server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The server has been stopped or is in [lame duck mode](Server::lame_duck), or there is no
    /// descriptor left.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the stream needs one.
    pub fn connect(&self) -> io::Result<impl AsyncRead + AsyncWrite + Send + Sync + Unpin + use<>> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        {
            let runtime = self.runtime.lock();
            let runtime = runtime.as_ref().filter(|_| !self.is_lame_duck());
            let runtime = runtime.ok_or(io::ErrorKind::NotConnected)?;
            let _guard = runtime.enter();
            tasks::start_local(UnixStream::from_std(ours)?, &self.shared);
        }
        UnixStream::from_std(theirs)
    }

    /// A client within the process: publish, subscribe, request, without a port. Its tasks run in
    /// the caller's runtime.
    ///
    /// # Errors
    /// As [`LineClient::connect`]; a stopped server does not answer.
    pub async fn client(&self, options: &LineOptions) -> Result<LineClient, LineErr> {
        LineClient::connect(self.connect()?, options).await
    }

    /// The page `/varz`: identity of the server, limits, resources and counters, under
    /// nats-server's names.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = dialtone::Server::builder().no_listener().start().await?;
    /// assert_eq!(server.varz()["connections"], 0);
    /// # server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn varz(&self) -> Value {
        self.shared.with_view(|view| to_value(varz::varz(view)))
    }

    /// The page `/connz` for this query, such as `state=closed&subs=1`: connections of clients and
    /// the reasons of their ends ([`ClosedReason::as_str`]). It lists 1,024 of them unless `limit`
    /// is given.
    ///
    /// # Errors
    /// The query cannot be read, or names something that does not exist.
    pub fn connz(&self, query: &str) -> Result<Value, QueryError> {
        let query = connz::Query::read(&Params::read(query))?;
        self.shared.with_view(|view| Ok(to_value(connz::connz(view, query)?)))
    }

    /// Stops the server. It refuses new connections, writes the pending bytes of the others and
    /// closes them. Every message that a client knows to have arrived has been sent to the other
    /// servers.
    pub async fn shutdown(&self) {
        let runtime = self.runtime.lock().take();
        if let Some(runtime) = runtime {
            tracing::info!("Initiating Shutdown...");
            let listeners = Arc::clone(&self.reloader.listeners);
            let ended = runtime.spawn(end(Arc::clone(&self.shared), listeners));
            let _ = timeout(SHUTDOWN_MAX, ended).await;
            runtime.shutdown_background();
            self.reloader.remove_ports_file();
            tracing::info!("Server Exiting..");
            if let Some(logger) = &self.reloader.origin.logger {
                logger.flush();
            }
            self.stopped.send_replace(true);
        }
        self.stopped().await;
    }

    /// Waits until the server has been shut down.
    pub async fn stopped(&self) {
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
            self.reloader.remove_ports_file();
        }
    }
}

/// Time to publish the last events.
const EVENTS_MAX: Duration = Duration::from_secs(1);

/// Ends all connections. The order makes sure that no client has an answer for a message that is
/// lost: first the ports close; then clients are served no more, and all their messages are in the
/// queues of the routes; these queues are written; clients get their last answers at the end.
async fn end(shared: Arc<Shared>, listeners: Arc<tokio::sync::Mutex<Listeners>>) {
    let registry = &shared.registry;
    registry.note(Event::Shutdown, &registry.settings());
    let published = async {
        while registry.system().is_some_and(|system| !system.is_closed()) {
            shared.left.notified().await;
        }
    };
    let _ = timeout(EVENTS_MAX, published).await;
    listeners.lock().await.close_all().await;
    if let Some(mesh) = &shared.mesh {
        mesh.stop();
    }
    let (clients, routes): (Vec<_>, Vec<_>) =
        registry.stop().into_iter().partition(|conn| conn.kind.is_client());
    shared.passing_on.store(true, Ordering::Release);
    close(&clients);
    let served = async {
        while registry.client_count() > 0 {
            shared.left.notified().await;
        }
    };
    // A client whose last turn takes longer gets no answer to it, and delays no other client.
    let _ = timeout(Client::LINGER_MAX, served).await;
    close(&routes);
    hung_up(&routes, &shared).await;
    shared.passing_on.store(false, Ordering::Release);
    clients.iter().for_each(|conn| conn.wake());
    hung_up(&clients, &shared).await;
}

/// Waits until all these connections have ended.
async fn hung_up(conns: &[Arc<Conn>], shared: &Shared) {
    for conn in conns {
        while !conn.has_hung_up() {
            shared.left.notified().await;
        }
    }
}

fn to_value(document: impl serde::Serialize) -> Value {
    serde_json::to_value(document).expect("plain data under texts")
}

fn close(conns: &[Arc<Conn>]) {
    conns.iter().for_each(|conn| conn.close(ClosedReason::ServerShutdown, false));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::config::options::{Login, Options};

    /// Regression: a login moved a worker to a new thread, whose counters were never freed. The
    /// hash is one of the test vectors of crypt_blowfish.
    #[tokio::test]
    async fn logins_make_no_workers() {
        const WORKERS: usize = 2;
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let mut options = Options { workers: Some(WORKERS), ..Options::default() };
        options.authorization.login = Login::Token(hash.to_owned());
        options.authorization.timeout = Some(Duration::from_secs(60));
        let server = Server::builder().options(options).port(0).start().await.unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], server.client_addr().unwrap().port()));
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
