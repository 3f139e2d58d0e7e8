//! `Syslog`: a system log, this machine's own or another one, as the place of the lines.
//!
//! Only the log's thread writes here, and waits for nobody longer than [`WAIT_MAX`]. What cannot be
//! sent is lost and counted; the connection is made anew, at most once in [`RETRY_PAUSE`].
//! nats: logger/syslog.go; Go's log/syslog

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::options::SyslogUrl;

/// The sockets of this machine's own system log.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Time for a connection, and for one line.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Time between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of a line in a datagram: what one holds over IPv4 and IPv6.
const DATAGRAM_LEN_MAX: usize = 65_000;

/// An open system log.
pub(super) struct Syslog {
    /// None for this machine's own.
    url: Option<SyslogUrl>,
    /// None while it cannot be reached.
    socket: Option<Socket>,
    /// The time of the next attempt.
    retry_at: Instant,
    /// Lines lost since the last one that was sent.
    lost: u64,
}

enum Socket {
    LocalDatagram(UnixDatagram),
    LocalStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    /// Connects to the system log of that address, or to this machine's own.
    ///
    /// # Errors
    /// It cannot be reached, or, by UDP, its host is not known.
    pub(super) fn connect(url: Option<&SyslogUrl>) -> io::Result<Syslog> {
        let socket = Some(connect(url)?);
        Ok(Syslog { url: url.cloned(), socket, retry_at: Instant::now(), lost: 0 })
    }

    /// Sends a line, and before it the number of those that were lost, as `about_lost` words it.
    pub(super) fn send(&mut self, line: &str, about_lost: impl FnOnce(u64) -> String) {
        if self.lost > 0 && self.write_or_reconnect(&about_lost(self.lost)).is_ok() {
            self.lost = 0;
        }
        if self.write_or_reconnect(line).is_err() {
            self.lost += 1;
        }
    }

    fn write_or_reconnect(&mut self, line: &str) -> io::Result<()> {
        if self.write(line).is_ok() {
            return Ok(());
        }
        self.socket = None;
        let now = Instant::now();
        if now < self.retry_at {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.retry_at = now + RETRY_PAUSE;
        self.socket = Some(connect(self.url.as_ref())?);
        self.write(line)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let datagram = &line.as_bytes()[..line.len().min(DATAGRAM_LEN_MAX)];
        match &mut self.socket {
            None => Err(io::ErrorKind::NotConnected.into()),
            Some(Socket::LocalDatagram(socket)) => socket.send(datagram).map(|_| ()),
            Some(Socket::Udp(socket)) => socket.send(datagram).map(|_| ()),
            Some(Socket::LocalStream(stream)) => stream.write_all(line.as_bytes()),
            Some(Socket::Tcp(stream)) => stream.write_all(line.as_bytes()),
        }
    }
}

fn connect(url: Option<&SyslogUrl>) -> io::Result<Socket> {
    match url {
        None => local(&LOCAL),
        Some(SyslogUrl::Unix(path)) => local_stream(path),
        Some(SyslogUrl::Udp(address)) => first(address, |address| {
            let unspecified = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(unspecified)?;
            socket.connect(address)?;
            Ok(Socket::Udp(socket))
        }),
        Some(SyslogUrl::Tcp(address)) => first(address, |address| {
            let stream = TcpStream::connect_timeout(&address, WAIT_MAX)?;
            stream.set_write_timeout(Some(WAIT_MAX))?;
            Ok(Socket::Tcp(stream))
        }),
    }
}

/// Connects to the first address of a host that can be reached; else tells why the last one cannot.
fn first(
    host: impl ToSocketAddrs,
    connect: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in host.to_socket_addrs()? {
        match connect(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The first of these that takes datagrams, else the first that takes a stream.
fn local(paths: &[&str]) -> io::Result<Socket> {
    let datagram = |path: &&str| {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        socket.set_write_timeout(Some(WAIT_MAX)).ok()?;
        Some(Socket::LocalDatagram(socket))
    };
    let stream = |path: &&str| local_stream(Path::new(path)).ok();
    let found = paths.iter().find_map(datagram).or_else(|| paths.iter().find_map(stream));
    found.ok_or_else(|| io::Error::other("Unix syslog delivery error"))
}

fn local_stream(path: &Path) -> io::Result<Socket> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    Ok(Socket::LocalStream(stream))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn lines_are_lost_and_counted_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let listener = UnixListener::bind(&path).unwrap();
        let mut syslog = Syslog::connect(Some(&SyslogUrl::Unix(path.clone()))).unwrap();
        let mut send = |line: &str, again: bool| {
            if again {
                syslog.retry_at = Instant::now();
            }
            syslog.send(line, |count| format!("{count} lost\n"));
        };
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        send("a\n", true);
        let listener = UnixListener::bind(&path).unwrap();
        send("too early for another attempt\n", false);
        send("b\n", true);
        let (stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream).lines().take(2);
        assert_eq!(lines.collect::<io::Result<Vec<_>>>().unwrap(), ["2 lost", "b"]);
    }

    #[test]
    fn this_machines_own_takes_datagrams_or_a_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name).to_str().unwrap().to_owned();
        let [none, stream, datagram] = ["none", "stream", "datagram"].map(path);
        assert!(local(&[&none]).is_err());
        let _stream = UnixListener::bind(&stream).unwrap();
        assert!(matches!(local(&[&none, &stream]), Ok(Socket::LocalStream(_))));
        let _datagram = UnixDatagram::bind(&datagram).unwrap();
        assert!(matches!(local(&[&stream, &datagram]), Ok(Socket::LocalDatagram(_))));
    }
}
