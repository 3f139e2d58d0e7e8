//! Files about this process for other programs: pid file and ports file.
//!
//! nats: server/server.go `logPid`, `logPorts`, `deletePortsFile`, `resolveHostPorts`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::options::Options;
use crate::net::ports::{Addresses, PortFor};

/// Only the owner needs the target of signals.
const PID_FILE_MODE: u32 = 0o600;

/// Addresses of the listeners, as URLs. A listener that is off has none and is left out.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// For clients, `nats://127.0.0.1:4222`, or `tls://` if they have to encrypt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    /// For monitoring, `http://127.0.0.1:8222`, or `https://`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
    /// For other servers, `nats://127.0.0.1:6222`, or `tls://`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// For clients by WebSocket, `ws://127.0.0.1:8080`, or `wss://`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub websocket: Vec<String>,
}

/// A ports file that was written. It stays until [`PortsFile::remove`].
#[derive(Debug)]
pub struct PortsFile {
    path: PathBuf,
}

/// Writes the digits of the own process id, without line end. The file stays after the end, as
/// the real server leaves it.
///
/// # Errors
/// The file cannot be written.
pub fn write_pid(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(PID_FILE_MODE).open(path)?;
    write!(file, "{}", std::process::id()).inspect_err(|_| forget(path))
}

/// Removes a file of a server whose start failed.
pub(crate) fn forget(path: &Path) {
    // The error of the start is the one to report.
    let _ = fs::remove_file(path);
}

impl Ports {
    /// The URLs of these listeners: one each, or one per address of this machine for a listener on
    /// all of them.
    pub(crate) fn of(addresses: &Addresses, options: &Options) -> Self {
        let of = |port_for, plain, encrypted, is_encrypted| {
            let scheme = if is_encrypted { encrypted } else { plain };
            addresses.get(port_for).map(|addr| urls(scheme, addr)).unwrap_or_default()
        };
        let clients_encrypt = options.tls.is_some() && !options.allow_non_tls;
        let routes_encrypt = options.cluster.as_ref().is_some_and(|cluster| cluster.tls.is_some());
        let websocket = options.websocket.as_ref();
        let websocket_encrypts = websocket.is_some_and(|websocket| websocket.tls.is_some());
        Self {
            nats: of(PortFor::Clients, "nats", "tls", clients_encrypt),
            monitoring: of(PortFor::Monitor, "http", "https", options.https.is_some()),
            cluster: of(PortFor::Routes, "nats", "tls", routes_encrypt),
            websocket: of(PortFor::Websocket, "ws", "wss", websocket_encrypts),
        }
    }
}

impl PortsFile {
    /// Writes `<executable>_<pid>.ports` into `folder`, as JSON. It appears whole: no program that
    /// waits for it reads half of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(folder: &Path, ports: &Ports) -> io::Result<Self> {
        let executable = std::env::args_os().next().unwrap_or_default();
        let mut name = Path::new(&executable).file_name().unwrap_or_default().to_owned();
        name.push(format!("_{}.ports", std::process::id()));
        let path = folder.join(name);
        let partial = path.with_extension("ports.partial");
        let json = serde_json::to_vec(ports)?;
        let written = fs::write(&partial, json).and_then(|()| fs::rename(&partial, &path));
        written.inspect_err(|_| forget(&partial))?;
        Ok(Self { path })
    }

    /// Takes it away again.
    ///
    /// # Errors
    /// It is gone already, or cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

fn urls(scheme: &str, addr: SocketAddr) -> Vec<String> {
    let ips = if addr.ip().is_unspecified() { own_ips() } else { vec![addr.ip()] };
    let addrs = ips.into_iter().map(|ip| SocketAddr::new(ip, addr.port()));
    addrs.map(|addr| format!("{scheme}://{addr}")).collect()
}

/// Addresses for clients that know this server only by name, if it listens on all addresses: those
/// of this machine, except the ones that only the machine itself can reach.
///
/// nats: server/server.go `getNonLocalIPsIfHostIsIPAny`
pub(crate) fn public_ips() -> Vec<IpAddr> {
    let is_public = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast();
    own_ips().into_iter().filter(is_public).collect()
}

/// The addresses of this machine, interface by interface; none if they are unknown.
/// nats-differs: addresses valid only on one link are left out, because without the link's name no
/// client can use them.
fn own_ips() -> Vec<IpAddr> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.sort_by_key(|interface| interface.index);
    interfaces.iter().map(if_addrs::Interface::ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_only_digits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "a longer text that was there before").unwrap();
        write_pid(&path).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn a_ports_file_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = Addresses::default();
        addresses.set(PortFor::Clients, "127.0.0.1:4222".parse().ok());
        addresses.set(PortFor::Websocket, "[::1]:8222".parse().ok());
        let ports = Ports::of(&addresses, &Options::default());
        let file = PortsFile::write(dir.path(), &ports).unwrap();
        let path = file.path.clone();
        let text = fs::read_to_string(&path).unwrap();
        let wanted = r#"{"nats":["nats://127.0.0.1:4222"],"websocket":["ws://[::1]:8222"]}"#;
        assert_eq!(text, wanted);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.ends_with(&format!("_{}.ports", std::process::id())), "{name}");
        file.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn all_addresses_are_told_one_by_one() {
        let addresses = Addresses::default();
        addresses.set(PortFor::Clients, "0.0.0.0:4222".parse().ok());
        let ports = Ports::of(&addresses, &Options::default());
        assert!(ports.nats.contains(&"nats://127.0.0.1:4222".to_owned()), "{ports:?}");
        assert!(!ports.nats.iter().any(|url| url.contains("0.0.0.0")), "{ports:?}");
        assert!(!serde_json::to_string(&ports).unwrap().contains("monitoring"));
    }
}
