//! A server process of either kind, on ports of its own choice, that ends with its `Server`.
//!
//! Readiness is the log line `Server is ready`, read from a pipe; nothing here sleeps. With a log
//! file there is no such line, and the ports file is awaited instead.
//! nats: server/log.go, server/server.go `logPorts`

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;

/// Which server to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// The one under test.
    Dialtone,
    /// The reference.
    Real,
}

impl Which {
    /// The executable.
    pub(crate) fn executable(self) -> &'static Path {
        static REAL: OnceLock<PathBuf> = OnceLock::new();
        match self {
            Which::Dialtone => Path::new(env!("CARGO_BIN_EXE_dialtone")),
            Which::Real => REAL.get_or_init(|| {
                find_real().expect("nats-server is installed, or NATS_SERVER says where it is")
            }),
        }
    }
}

fn find_real() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "NATS_SERVER={} is not a file", path.display());
        return Some(path);
    }
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop");
    let known = ["nats-server", "server/bin/nats-server"].map(|name| interop.join(name));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).map(|dir| dir.join("nats-server"));
    let script = known.into_iter().chain(on_path).find(|path| path.is_file())?;
    Some(behind_script(script))
}

/// A version manager puts a slow script into `PATH`. The script becomes the server, so the process
/// itself shows the real file; started directly it saves its start-up time per server.
fn behind_script(found: PathBuf) -> PathBuf {
    let mut magic = [0; 4];
    let read = fs::File::open(&found).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_err() || magic == *b"\x7fELF" {
        return found;
    }
    let server = Setup::default().start_executable(Which::Real, &found);
    fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap_or(found)
}

/// The arguments and files of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    flags: Vec<String>,
    conf: Option<String>,
    environment: Vec<(&'static str, PathBuf)>,
    log_to_file: bool,
    log_unread: bool,
    port: Option<u16>,
    namespace: Option<String>,
}

impl Setup {
    /// Adds command line words.
    pub(crate) fn flags<S: Into<String>>(mut self, flags: impl IntoIterator<Item = S>) -> Setup {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// Sets the text of the configuration file.
    pub(crate) fn conf(mut self, text: impl Into<String>) -> Setup {
        self.conf = Some(text.into());
        self
    }

    /// Adds to the text of the configuration file.
    pub(crate) fn more_conf(mut self, text: &str) -> Setup {
        self.conf.get_or_insert_default().push_str(text);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn environment(mut self, name: &'static str, value: PathBuf) -> Setup {
        self.environment.push((name, value));
        self
    }

    /// Opens the monitoring port.
    pub(crate) fn monitored(self) -> Setup {
        self.flags(["-m", "-1"])
    }

    /// Says that a flag or setting sends the log to a file, so that standard error stays empty.
    pub(crate) fn log_to_file(mut self) -> Setup {
        self.log_to_file = true;
        self
    }

    /// Never reads the server's standard error.
    pub(crate) fn log_unread(mut self) -> Setup {
        self.log_unread = true;
        self
    }

    /// Listens on this port: a [`lasting_port`](super::lasting_port) if another server takes it
    /// later.
    pub(crate) fn port(mut self, port: u16) -> Setup {
        self.port = Some(port);
        self
    }

    /// Runs it in a network namespace, without connection to the outside.
    pub(crate) fn inside(mut self, namespace: &str) -> Setup {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(self, which: Which) -> Server {
        self.start_executable(which, which.executable())
    }

    /// Starts the server if it can start; else its last words.
    pub(crate) fn try_start(self, which: Which) -> Result<Server, String> {
        let mut server = self.spawn(which, which.executable());
        server.find_log("Server is ready")?;
        server.read_ports_file();
        Ok(server)
    }

    /// As [`start`](Setup::start), by this name of the executable.
    pub(crate) fn start_executable(self, which: Which, executable: &Path) -> Server {
        let to_file = self.log_to_file || self.log_unread;
        let mut server = self.spawn(which, executable);
        if to_file {
            server.wait_ports_file();
        } else if let Err(log) = server.find_log("Server is ready") {
            // Killed by whom, or not ended at all: its log does not say.
            panic!("{which:?} is not ready ({:?}):\n{log}", server.child.try_wait());
        }
        server.read_ports_file();
        server
    }

    fn spawn(self, which: Which, executable: &Path) -> Server {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());
        let mut command = match &self.namespace {
            None => Command::new(executable),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(executable);
                command
            }
        };
        command.args(["-a", "127.0.0.1", "-p", &port, "--ports_file_dir"]).arg(dir.path());
        if let Some(text) = &self.conf {
            let path = dir.path().join("server.conf");
            fs::write(&path, text).expect("the configuration file");
            command.arg("-c").arg(path);
        }
        command.args(&self.flags).current_dir(dir.path()).envs(self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let log = Arc::new(Log::default());
        if !self.log_unread {
            log.follow(child.stderr.take().expect("piped"));
        }
        log.follow(child.stdout.take().expect("piped"));
        Server { which, child, dir, log, ports: BTreeMap::new() }
    }
}

/// The output of the server so far.
#[derive(Default)]
struct Log {
    lines: Mutex<LogLines>,
    grown: Condvar,
}

#[derive(Default)]
struct LogLines {
    lines: Vec<String>,
    /// Pipes still open: at zero the process has ended.
    open: usize,
}

impl Log {
    fn follow(self: &Arc<Log>, pipe: impl Read + Send + 'static) {
        self.lines.lock().unwrap().open += 1;
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).into_owned();
                log.lines.lock().unwrap().lines.push(text);
                log.grown.notify_all();
            }
            log.lines.lock().unwrap().open -= 1;
            log.grown.notify_all();
        });
    }
}

/// A running server. Dropping it ends the process.
pub(crate) struct Server {
    which: Which,
    child: Child,
    dir: TempDir,
    log: Arc<Log>,
    /// The first URL of each kind.
    ports: BTreeMap<String, Url>,
}

/// Scheme and port of a URL.
struct Url {
    scheme: String,
    port: u16,
}

impl Server {
    /// A set-up to be filled in and started.
    pub(crate) fn with() -> Setup {
        Setup::default()
    }

    /// Starts a server with defaults.
    pub(crate) fn start(which: Which) -> Server {
        Setup::default().start(which)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The client port.
    pub(crate) fn port(&self) -> u16 {
        self.ports["nats"].port
    }

    /// The most memory that it has had so far, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// The client URL.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// The monitoring port; `monitored` must have been asked for.
    pub(crate) fn monitor_port(&self) -> u16 {
        self.ports.get("monitoring").expect("the set-up was monitored").port
    }

    /// True if that port has TLS.
    pub(crate) fn monitors_encrypted(&self) -> bool {
        self.ports["monitoring"].scheme == "https"
    }

    /// The port for routes; the set-up must have had a cluster.
    pub(crate) fn route_port(&self) -> u16 {
        self.ports.get("cluster").expect("the set-up had a cluster").port
    }

    /// The port for WebSocket; the set-up must have had one.
    pub(crate) fn websocket_port(&self) -> u16 {
        self.ports.get("websocket").expect("the set-up had a port for WebSocket").port
    }

    /// True if that port has TLS.
    pub(crate) fn has_wss(&self) -> bool {
        self.ports["websocket"].scheme == "wss"
    }

    /// Which of the two it is.
    pub(crate) fn which(&self) -> Which {
        self.which
    }

    /// The directory the server runs in; holds `server.conf` and the ports file.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The lines printed so far.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().lines.clone()
    }

    /// Waits for a log line with this text in it and returns the line.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        match self.find_log(text) {
            Ok(line) => line,
            Err(log) => panic!("{:?} did not print {text:?}, but:\n{log}", self.which),
        }
    }

    /// The line with this text in it, or all lines if it does not come.
    fn find_log(&self, text: &str) -> Result<String, String> {
        self.find_log_from(0, &[text])
    }

    /// The first line with one of these texts in it, of those from that one on.
    fn find_log_from(&self, from: usize, texts: &[&str]) -> Result<String, String> {
        let is_it = |line: &&String| texts.iter().any(|text| line.contains(text));
        let deadline = Instant::now() + PATIENCE;
        let mut held = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = held.lines.iter().skip(from).find(is_it) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if held.open == 0 || left.is_zero() {
                return Err(held.lines.join("\n"));
            }
            held = self.log.grown.wait_timeout(held, left).unwrap().0;
        }
    }

    /// Sends a signal by name (`TERM`, `HUP`, `USR2` ...).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }

    /// Replaces the configuration file, which must be there, and makes the server read it. Returns
    /// the lines about changes, or the reason why there are none.
    pub(crate) fn reload(&self, conf: &str) -> Result<Vec<String>, String> {
        fs::write(self.dir().join("server.conf"), conf).expect("the configuration file");
        self.reload_again()
    }

    /// Makes the server read its configuration file again.
    pub(crate) fn reload_again(&self) -> Result<Vec<String>, String> {
        const DONE: &str = "Reloaded server configuration";
        const FAILED: &str = "Failed to reload server configuration: ";
        let from = self.log_lines().len();
        self.signal("HUP");
        let last = match self.find_log_from(from, &[DONE, FAILED]) {
            Ok(line) => line,
            Err(log) => panic!("{:?} does not reload:\n{log}", self.which),
        };
        if let Some((_, reason)) = last.split_once(FAILED) {
            return Err(reason.to_owned());
        }
        let lines = self.log_lines().split_off(from);
        let text = |line: &String| line.split_once("[INF] ").map(|(_, text)| text.to_owned());
        Ok(lines.iter().filter_map(text).filter(|text| text.starts_with("Reload")).collect())
    }

    /// Waits until the process has ended and all it printed has been read.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut held = self.log.lines.lock().unwrap();
        while held.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{:?} did not end:\n{}", self.which, held.lines.join("\n"));
            held = self.log.grown.wait_timeout(held, left).unwrap().0;
        }
        drop(held);
        self.child.wait().expect("the status of a child")
    }

    /// Asks the server to end and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    /// The ports file, `<executable>_<pid>.ports`.
    pub(crate) fn ports_file(&self) -> Option<PathBuf> {
        let end = format!("_{}.ports", self.pid());
        let entries = fs::read_dir(self.dir()).ok()?;
        let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        paths.find(|path| path.to_string_lossy().ends_with(&end))
    }

    fn wait_ports_file(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ports_json().is_none() {
            assert!(Instant::now() < deadline, "{:?} wrote no ports file", self.which);
            // The file system tells nobody without a dependency; this is the only poll.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ports_json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(self.ports_file()?).ok()?).ok()
    }

    fn read_ports_file(&mut self) {
        self.wait_ports_file();
        let ports = self.ports_json().expect("just awaited");
        for (name, urls) in ports.as_object().unwrap() {
            let (scheme, rest) = urls[0].as_str().unwrap().split_once("://").unwrap();
            let port = rest.rsplit(':').next().unwrap().parse().unwrap();
            self.ports.insert(name.clone(), Url { scheme: scheme.to_owned(), port });
        }
        assert!(self.ports.contains_key("nats"), "the ports file has a list `nats`: {ports}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A task that panics ends its connection only, and the test might not have noticed.
        if !std::thread::panicking() {
            let lines = self.log_lines();
            let panicked = lines.iter().any(|line| line.contains("panicked at"));
            assert!(!panicked, "{:?}: {lines:#?}", self.which);
        }
    }
}
