//! A server under load: started on a free port, watched through /proc, ended by kill.
//!
//! CPU is the sum of the nanosecond clocks of all its threads; memory is the kernel's figure for
//! the process. Knows nothing of the load.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::transport::{Endpoint, Transport};
use crate::wire::{Dialect, fault};
use crate::{tls, websocket};

/// Longest wait until a started server accepts.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// A program that can be put under load.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Column head and key in the record.
    pub(crate) name: &'static str,
    /// The executable.
    pub(crate) program: PathBuf,
    /// Further arguments, besides address and port.
    pub(crate) args: Vec<String>,
    /// Its dialect.
    pub(crate) dialect: Dialect,
}

impl Target {
    /// First line of `--version`.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output();
        let text = output.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        text.unwrap_or_default().lines().next().unwrap_or("unknown").trim().to_owned()
    }

    /// Starts `count` servers, each of which knows the ones before it; gossip joins the rest.
    ///
    /// # Errors
    /// As [`Target::start`].
    pub(crate) fn start_cluster(&self, count: usize) -> io::Result<Server> {
        let ports = free_ports(count)?;
        let url = |port: &u16| format!("nats://127.0.0.1:{port}");
        let mut servers = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let routes = ports[..index].iter().map(url).collect::<Vec<_>>().join(",");
            let mut args = vec!["--cluster_name", "load", "--cluster"];
            let own = url(port);
            args.push(&own);
            if index > 0 {
                args.extend(["--routes", &routes]);
            }
            servers.push(self.start(&args)?);
        }
        let mut first = servers.remove(0);
        first.peers = servers;
        Ok(first)
    }

    /// Starts one server with a monitoring port.
    ///
    /// # Errors
    /// As [`Target::start`].
    pub(crate) fn start_with_monitor(&self) -> io::Result<Server> {
        let port = free_ports(1)?[0];
        let mut server = self.start(&["-m", &port.to_string()])?;
        server.monitor = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(server)
    }

    /// Starts one server whose clients use `transport`.
    ///
    /// # Errors
    /// As [`Target::start`].
    pub(crate) fn start_for(&self, transport: &Transport) -> io::Result<Server> {
        let mut server = match transport {
            Transport::Bare => self.start(&[])?,
            Transport::Tls(_) => self.start(&tls::SERVER_ARGS)?,
            Transport::WebSocket => self.start_with_websocket()?,
        };
        server.endpoint.transport = transport.clone();
        Ok(server)
    }

    /// Starts one server with a port for WebSocket, which no argument opens. That port is bound
    /// before the one for clients.
    fn start_with_websocket(&self) -> io::Result<Server> {
        let port = free_ports(1)?[0];
        let mut conf = NamedTempFile::new()?;
        conf.write_all(websocket::conf(port).as_bytes())?;
        let mut server = self.start(&["-c", &conf.path().to_string_lossy()])?;
        server.endpoint.addr.set_port(port);
        Ok(server)
    }

    /// Starts the program on a free loopback port and waits until it accepts.
    ///
    /// # Errors
    /// The program is missing, ends at once, does not accept in time, or runs as the child of a
    /// wrapper, whose CPU and memory would be measured in its place.
    pub(crate) fn start(&self, more_args: &[&str]) -> io::Result<Server> {
        let port = free_ports(1)?[0];
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = Command::new(&self.program)
            .args(&self.args)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(more_args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|err| fault(err.kind(), &format!("{}: {err}", self.program.display())))?;
        let endpoint = Endpoint { addr, transport: Transport::Bare };
        let mut server =
            Server { child, endpoint, dialect: self.dialect, peers: Vec::new(), monitor: None };
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect(addr).is_err() {
            if let Some(status) = server.child.try_wait()? {
                let text = format!("{} ended at start: {status}", self.program.display());
                return Err(fault(ErrorKind::Other, &text));
            }
            if Instant::now() > deadline {
                let text = format!("{} does not accept", self.program.display());
                return Err(fault(ErrorKind::TimedOut, &text));
            }
            thread::sleep(Duration::from_millis(5));
        }
        server.refuse_wrapper(&self.program)?;
        Ok(server)
    }
}

/// Free loopback ports, all different.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Its address for the clients of the load.
    pub(crate) endpoint: Endpoint,
    /// Its dialect.
    pub(crate) dialect: Dialect,
    /// Clustered with it.
    pub(crate) peers: Vec<Server>,
    /// Its address for monitoring, if it has one.
    monitor: Option<SocketAddr>,
}

impl Server {
    /// CPU time used so far by all threads and those of its peers, user and kernel, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum = self.peers.iter().map(Server::cpu_ns).sum::<io::Result<u64>>()?;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let first = text.split_ascii_whitespace().next().unwrap_or_default();
            sum += first.parse::<u64>().unwrap_or(0);
        }
        Ok(sum)
    }

    /// One field of /proc/PID/status in bytes: `VmRSS`, `VmHWM` or `RssAnon`; with that of its
    /// peers.
    pub(crate) fn memory(&self, field: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
        let own = kilobytes.map(|kilobytes: u64| kilobytes * 1024).ok_or_else(|| {
            fault(ErrorKind::NotFound, &format!("no {field} in /proc: did the server end?"))
        })?;
        let peers = self.peers.iter().map(|peer| peer.memory(field)).sum::<io::Result<u64>>()?;
        Ok(own + peers)
    }

    /// The subscriptions that it has by its own account, of which some may be its own.
    ///
    /// # Errors
    /// It has no monitoring port, or does not answer there.
    pub(crate) fn subscriptions(&self) -> io::Result<u64> {
        let monitor = self.monitor.ok_or_else(|| fault(ErrorKind::NotFound, "no monitoring"))?;
        let mut stream = TcpStream::connect(monitor)?;
        stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let field = page.lines().find_map(|line| line.trim().strip_prefix("\"subscriptions\": "));
        let number = field.and_then(|number| number.trim_end_matches(',').parse().ok());
        number.ok_or_else(|| fault(ErrorKind::InvalidData, "/varz has no subscriptions"))
    }

    /// The process must be the program itself: a script that does not `exec` hides the server.
    fn refuse_wrapper(&self, program: &Path) -> io::Result<()> {
        let running = fs::read_link(format!("/proc/{}/exe", self.child.id()))?;
        if running.file_name() == program.file_name() {
            return Ok(());
        }
        let text = format!(
            "{} runs as {}: give the path of the server's own executable",
            program.display(),
            running.display()
        );
        Err(fault(ErrorKind::Unsupported, &text))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The executable that `name` means in PATH.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
