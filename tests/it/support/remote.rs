//! Another server, played by a test: it speaks the route protocol line by line.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tls::{self, Means};
use super::{Client, PATIENCE, Server};

/// One connection of a played server.
pub(crate) struct Remote {
    pub(crate) line: Client,
    /// The first INFO of the other side.
    pub(crate) info: Value,
}

/// A server id that looks real: 56 characters, ending in `name` in capitals.
pub(crate) fn server_id(name: &str) -> String {
    format!("N{:A>55}", name.to_uppercase())
}

/// A CONNECT line of the server `name` in the cluster `mesh`, with other members than usual.
pub(crate) fn connect_line(name: &str, members: &Value) -> String {
    let usual = json!({
        "echo": true, "verbose": false, "pedantic": false, "tls_required": false,
        "headers": true, "name": server_id(name), "cluster": "mesh",
    });
    format!("CONNECT {}\r\n", overlaid(usual, members))
}

/// An INFO line of the server `name`, which neither pools nor compresses, with other members.
pub(crate) fn info_line(name: &str, members: &Value) -> String {
    let usual = json!({
        "server_id": server_id(name), "server_name": name, "version": "2.15.1", "proto": 1,
        "go": "go1.27", "host": "127.0.0.1", "port": 1, "headers": true, "max_payload": 1_048_576,
        "cluster": "mesh", "compression": "off",
    });
    format!("INFO {}\r\n", overlaid(usual, members))
}

/// `usual` with these members put in; those that are null are left out.
fn overlaid(mut usual: Value, members: &Value) -> Value {
    let object = usual.as_object_mut().unwrap();
    for (key, value) in members.as_object().unwrap() {
        object.insert(key.clone(), value.clone());
    }
    object.retain(|_, value| !value.is_null());
    usual
}

impl Remote {
    /// Connects to the route port and reads INFO.
    pub(crate) fn open(server: &Server) -> Remote {
        Remote::greeted(Client::silent(server.route_port()).steady())
    }

    /// The same by `means`.
    pub(crate) fn encrypted(server: &Server, means: &Means) -> Result<Remote, String> {
        Ok(Remote::greeted(tls::connect(server.route_port(), means)?.steady()))
    }

    fn greeted(mut line: Client) -> Remote {
        let first = line.frame();
        let json = first.strip_prefix(b"INFO ").expect("the side that accepts speaks first");
        Remote { info: serde_json::from_slice(json).expect("JSON"), line }
    }

    /// Connects as the server `name` and waits until it belongs to the cluster.
    pub(crate) fn join(server: &Server, name: &str) -> Remote {
        Remote::join_with(server, name, &json!({}))
    }

    /// As [`join`](Remote::join), with other members of INFO.
    pub(crate) fn join_with(server: &Server, name: &str, info: &Value) -> Remote {
        let mut remote = Remote::open(server);
        remote.send(&connect_line(name, &json!({})));
        remote.send(&info_line(name, info));
        remote.fence();
        remote
    }

    /// Leaves PINGs unanswered from now on.
    pub(crate) fn silent(mut self) -> Remote {
        self.line = self.line.unsteady();
        self
    }

    /// Accepts a server that dials this one, without a word.
    pub(crate) fn accept(listener: &TcpListener) -> Client {
        Client::from_stream(Remote::accept_stream(listener))
    }

    pub(super) fn accept_stream(listener: &TcpListener) -> TcpStream {
        let deadline = Instant::now() + PATIENCE;
        listener.set_nonblocking(true).unwrap();
        loop {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            assert!(Instant::now() < deadline, "nobody dials");
            // Accepting knows no deadline of its own.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.line.send(text);
    }

    /// Reads exactly this text, but for interest of the system account.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        self.skip_system();
        self.line.expect(text);
    }

    /// Waits until all sent lines are handled. Returns the lines that came meanwhile.
    #[track_caller]
    pub(crate) fn fence(&mut self) -> Vec<String> {
        self.send("PING\r\n");
        let mut came = Vec::new();
        loop {
            let frame = self.line.frame();
            match &*frame {
                b"PONG\r\n" => return came,
                frame if is_system(frame) => {}
                frame => came.push(String::from_utf8_lossy(frame).into_owned()),
            }
        }
    }

    /// Reads at least `count` frames that may come in any order, and sorts them.
    #[track_caller]
    pub(crate) fn read_sorted(&mut self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut came = Vec::new();
        while came.len() < count {
            assert!(Instant::now() < deadline, "expected {count} frames, got {came:?}");
            came.extend(self.fence());
        }
        came.sort();
        came
    }

    /// Counts `+OK` up to the next PONG.
    #[track_caller]
    pub(crate) fn read_oks(&mut self) -> usize {
        let mut count = 0;
        loop {
            match &*self.line.frame() {
                b"PONG\r\n" => return count,
                b"+OK\r\n" => count += 1,
                frame => assert!(is_system(frame), "{}", frame.escape_ascii()),
            }
        }
    }

    /// Waits for the end of the connection. Returns the lines before it.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> String {
        let rest = self.line.read_to_end();
        let frames = super::frames::split(&rest);
        let frames = frames.into_iter().filter(|frame| !is_system(frame) && *frame != b"PING\r\n");
        frames.map(String::from_utf8_lossy).collect()
    }

    /// Drops the lines about the system account of the other side.
    #[track_caller]
    pub(crate) fn skip_system(&mut self) {
        loop {
            let frame = self.line.frame();
            if !is_system(&frame) {
                return self.line.put_back(&frame);
            }
        }
    }
}

/// Interest and messages of the system account, which dialtone does not have.
fn is_system(frame: &[u8]) -> bool {
    [&b"RS+ $SYS "[..], b"RS- $SYS ", b"RMSG $SYS "].iter().any(|start| frame.starts_with(start))
}

/// A port of this machine on which only the test listens.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}
