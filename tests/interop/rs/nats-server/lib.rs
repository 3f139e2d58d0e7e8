//! The launcher that async-nats's own tests expect under the name `nats-server`.
//!
//! Starts the program `nats-server` found in PATH with `-l` and `-P` files in a folder of its own,
//! reads its address from the log, kills it on drop.
//! Invariant: a `Server` is ready (its log says so) before anyone holds it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// Time for a server to become ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// One running server process.
pub struct Server {
    /// The arguments after the files, kept for `restart`.
    args: Vec<String>,
    child: Child,
    /// Holds `log` and `pid`; removed on drop.
    folder: PathBuf,
}

/// Starts a server with nothing but a free port.
pub fn run_basic_server() -> Server {
    run_server("")
}

/// Starts a server on a free port; `config` is a path, empty for none.
pub fn run_server(config: &str) -> Server {
    run_server_with_port(config, None)
}

/// Starts a server on a port that may be named.
pub fn run_server_with_port(config: &str, port: Option<&str>) -> Server {
    Server::start(&["-p", port.unwrap_or("-1")], config)
}

/// Asks a server to enter lame duck mode, through a second process as an operator would.
pub fn set_lame_duck_mode(server: &Server) {
    let asked =
        Command::new("nats-server").args(["--signal", &format!("ldm={}", server.pid())]).status();
    assert!(asked.expect("nats-server in PATH").success(), "the signal was not delivered");
}

impl Server {
    fn start(args: &[&str], config: &str) -> Self {
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        if !config.is_empty() {
            args.extend(["-c".to_owned(), config.to_owned()]);
        }
        let mut server = Self::spawn(args);
        server.await_line("Server is ready");
        server
    }

    fn spawn(args: Vec<String>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let nth = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("interop-{}-{nth}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for the server's files");
        let child = Command::new("nats-server")
            .arg("--store_dir")
            .arg(folder.join("store"))
            .arg("-l")
            .arg(folder.join("log"))
            .arg("-P")
            .arg(folder.join("pid"))
            .args(&args)
            .spawn()
            .expect("nats-server in PATH");
        Self { args, child, folder }
    }

    /// Kills the server and starts it again with the same arguments.
    pub fn restart(&mut self) {
        // Its port is free only when it is gone; the assignment below would end it too late.
        self.kill();
        let mut again = Self::spawn(self.args.clone());
        again.await_line("Server is ready");
        *self = again;
    }

    /// `nats://localhost:PORT`, or `tls://` when the server's INFO demands it.
    pub fn client_url(&self) -> String {
        let info = self.info();
        let scheme = if info["tls_required"] == true { "tls" } else { "nats" };
        format!("{scheme}://localhost:{}", port_of(&info))
    }

    /// The port of the client listener, as INFO names it.
    pub fn client_port(&self) -> u16 {
        port_of(&self.info())
    }

    /// The contents of the `-P` file: digits only.
    fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.folder.join("pid")).expect("a pid file");
        text.parse().expect("a pid file with digits only")
    }

    /// The first line a new connection is greeted with.
    fn info(&self) -> serde_json::Value {
        let log = fs::read_to_string(self.folder.join("log")).expect("a log file");
        let mark = "Listening for client connections on ";
        let addr = log.split_once(mark).and_then(|(_, rest)| rest.split_whitespace().next());
        let addr = addr.expect("the client listener in the log").replace("0.0.0.0", "localhost");
        let mut line = String::new();
        BufReader::new(TcpStream::connect(addr).expect("a connection"))
            .read_line(&mut line)
            .expect("a line of greeting");
        let json = line.strip_prefix("INFO ").expect("INFO first");
        serde_json::from_str(json).expect("JSON after INFO")
    }

    fn await_line(&mut self, text: &str) {
        let late = Instant::now() + READY_WITHIN;
        loop {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if log.contains(text) {
                return;
            }
            let ended = self.child.try_wait().expect("a child to wait for");
            assert!(ended.is_none(), "nats-server {:?} ended ({ended:?}):\n{log}", self.args);
            assert!(Instant::now() < late, "nats-server {:?} is not ready:\n{log}", self.args);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn port_of(info: &serde_json::Value) -> u16 {
    info["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port in INFO")
}

/// Three servers joined by routes.
pub struct Cluster {
    /// In the order of their names, `node1` to `node3`.
    pub servers: Vec<Server>,
}

/// Starts three servers, each with the routes to the others and the same configuration.
pub fn run_cluster(config: &str) -> Cluster {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let servers = (0..3)
        .map(|nth| {
            let listen = format!("nats://127.0.0.1:{}", ports[nth]);
            let others = ports.iter().filter(|port| **port != ports[nth]);
            let routes: Vec<_> = others.map(|port| format!("nats://127.0.0.1:{port}")).collect();
            let name = format!("node{}", nth + 1);
            let mut args = vec!["-p", "-1", "--cluster", &listen, "--cluster_name", "cluster"];
            let routes = routes.join(",");
            args.extend(["--routes", &routes, "-n", &name]);
            Server::start(&args, config)
        })
        .collect();
    let cluster = Cluster { servers };
    cluster.await_routes();
    cluster
}

impl Cluster {
    /// The URL of the first server.
    pub fn client_url(&self) -> String {
        self.servers[0].client_url()
    }

    /// Waits until every server tells new clients of all three.
    fn await_routes(&self) {
        let late = Instant::now() + READY_WITHIN;
        let knows_all = |server: &Server| {
            let info = server.info();
            let urls = info["connect_urls"].as_array().cloned().unwrap_or_default();
            let port =
                |url: &serde_json::Value| url.as_str()?.rsplit(':').next().map(str::to_owned);
            let mut ports: Vec<_> = urls.iter().filter_map(port).collect();
            ports.sort();
            ports.dedup();
            ports.len() == self.servers.len()
        };
        while !self.servers.iter().all(knows_all) {
            assert!(Instant::now() < late, "the three servers have not found each other");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A free port below the range from which the system gives some to connections.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id() * 97 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (place % 22_768) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
