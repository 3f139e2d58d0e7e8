//! A relay in front of a route port that fails on command: cuts, freezes, delays, keeps some out.
//!
//! Servers advertise the relay's port as theirs, so that other servers dial it.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// The relay of one server.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The server's port; 0 while it does not listen.
    target: u16,
    links: Vec<Link>,
    accepted: usize,
    /// Nothing moves, without any notice.
    frozen: bool,
    /// Bytes that may pass in a millisecond; 0 for any number.
    bytes_per_ms: usize,
    /// Servers, by id, that do not get through.
    kept_out: HashSet<String>,
    closed: bool,
}

/// Both ends of one connection, for cutting it.
struct Link {
    number: usize,
    dialler: Option<String>,
    ends: [TcpStream; 2],
}

impl Proxy {
    /// A relay to nowhere.
    pub(crate) fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.state.lock().unwrap().closed {
                    return;
                }
                accepting.link(stream);
            }
        });
        Proxy { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the server's port.
    pub(crate) fn aim(&self, target: u16) {
        self.shared.state.lock().unwrap().target = target;
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.shared.cut(|_| true);
    }

    /// Lets nothing through, in either direction, or everything that has waited.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.state.lock().unwrap().frozen = frozen;
        self.shared.changed.notify_all();
    }

    /// Lets so many bytes through in a millisecond; 0 for any number.
    pub(crate) fn throttle(&self, bytes_per_ms: usize) {
        self.shared.state.lock().unwrap().bytes_per_ms = bytes_per_ms;
    }

    /// Keeps servers out by their ids, those that are in, too. The others may come.
    pub(crate) fn keep_out<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let ids: HashSet<String> = ids.into_iter().map(str::to_owned).collect();
        self.shared.state.lock().unwrap().kept_out.clone_from(&ids);
        self.shared.cut(|link| link.dialler.as_ref().is_some_and(|id| ids.contains(id)));
    }

    /// The number of connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.state.lock().unwrap().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().closed = true;
        self.shared.changed.notify_all();
        self.cut();
        // Ends the accepting thread.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn cut(&self, which: impl Fn(&Link) -> bool) {
        for link in self.state.lock().unwrap().links.iter().filter(|link| which(link)) {
            link.shutdown();
        }
    }

    /// Connects a newcomer with the server; two threads carry the bytes.
    fn link(self: &Arc<Shared>, dialler: TcpStream) {
        let mut state = self.state.lock().unwrap();
        state.accepted += 1;
        let number = state.accepted;
        let target = state.target;
        drop(state);
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
        for stream in [&dialler, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let ends = [clone(&dialler), clone(&server)];
        self.state.lock().unwrap().links.push(Link { number, dialler: None, ends });
        let pumps = [(clone(&dialler), clone(&server), true), (server, dialler, false)];
        for (from, to, names_itself) in pumps {
            let shared = Arc::clone(self);
            thread::spawn(move || shared.pump(number, from, to, names_itself));
        }
    }

    fn pump(&self, number: usize, mut from: TcpStream, mut to: TcpStream, names_itself: bool) {
        let mut buf = vec![0; 64 * 1024];
        let mut unnamed = names_itself;
        loop {
            let len = match from.read(&mut buf) {
                Ok(len) if len > 0 => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => break,
            };
            if unnamed {
                unnamed = false;
                if !self.name(number, &buf[..len]) {
                    break;
                }
            }
            if !self.pass_on(&buf[..len], &mut to) {
                break;
            }
        }
        let mut state = self.state.lock().unwrap();
        if let Some(at) = state.links.iter().position(|link| link.number == number) {
            state.links.swap_remove(at).shutdown();
        }
    }

    /// Writes these bytes as fast as they may pass; false if that is over.
    fn pass_on(&self, mut bytes: &[u8], to: &mut TcpStream) -> bool {
        while !bytes.is_empty() {
            let piece = match self.wait_thawed() {
                None => return false,
                Some(0) => bytes,
                Some(bytes_per_ms) => {
                    thread::sleep(Duration::from_millis(1));
                    &bytes[..bytes_per_ms.min(bytes.len())]
                }
            };
            if to.write_all(piece).is_err() {
                return false;
            }
            bytes = &bytes[piece.len()..];
        }
        true
    }

    /// Notes the dialling server, by its CONNECT; false if that one is kept out.
    fn name(&self, number: usize, first: &[u8]) -> bool {
        let text = String::from_utf8_lossy(first);
        let name = text.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let mut state = self.state.lock().unwrap();
        let kept_out = name.is_some_and(|name| state.kept_out.contains(name));
        if let Some(link) = state.links.iter_mut().find(|link| link.number == number) {
            link.dialler = name.map(str::to_owned);
        }
        !kept_out
    }

    /// Waits while nothing may move. Returns the rate, or none at the end.
    fn wait_thawed(&self) -> Option<usize> {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |state| state.frozen && !state.closed).unwrap();
        (!state.closed).then_some(state.bytes_per_ms)
    }
}

impl Link {
    fn shutdown(&self) {
        for end in &self.ends {
            // It may be closed already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
