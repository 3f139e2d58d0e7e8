//! Servers of both kinds that form one cluster, and a fence that says when interest has arrived.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::proxy::Proxy;
use super::server::Setup;
use super::{Client, PATIENCE, Server, Which, http, lasting_port, tls};

/// The common settings of the servers of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// A pool of three connections and one for `$SYS`, no compression.
    Default,
    /// One connection for everything.
    Single,
    /// S2.
    Compressed,
    /// Servers prove themselves by user and password.
    Authorized,
    /// TLS, and S2 above it.
    Encrypted,
}

impl Flavor {
    /// Settings inside the block `cluster`.
    fn settings(self) -> String {
        match self {
            Flavor::Default => String::new(),
            Flavor::Single => "pool_size: -1".to_owned(),
            Flavor::Compressed => "compression: s2_fast".to_owned(),
            Flavor::Authorized => "authorization { user: mesh, password: secret }".to_owned(),
            Flavor::Encrypted => format!("compression: s2_fast\n{}", tls::conf("")),
        }
    }

    fn credentials(self) -> &'static str {
        match self {
            Flavor::Authorized => "mesh:secret@",
            Flavor::Default | Flavor::Single | Flavor::Compressed | Flavor::Encrypted => "",
        }
    }

    /// TCP connections between two servers.
    pub(crate) fn route_count(self) -> usize {
        match self {
            Flavor::Single => 1,
            Flavor::Default | Flavor::Compressed | Flavor::Authorized | Flavor::Encrypted => 4,
        }
    }
}

/// A running cluster. Every server has monitoring.
pub(crate) struct Cluster {
    flavor: Flavor,
    servers: Vec<Server>,
    watches: Vec<Watch>,
    /// In front of the servers, where there are any.
    proxies: Vec<Proxy>,
    /// Of the server that is being started.
    more_settings: String,
    /// Servers and fences so far, for names that are new.
    started: usize,
    fences: usize,
}

/// A client of one server that finds the interest known there.
struct Watch {
    client: Client,
    inbox: String,
}

impl Cluster {
    /// One server of each kind in this order; each dials all before it.
    pub(crate) fn start(kinds: &[Which], flavor: Flavor) -> Cluster {
        Cluster::start_with(kinds, flavor, "")
    }

    /// The same, with more in each configuration. Clients need no login all the same.
    pub(crate) fn start_with(kinds: &[Which], flavor: Flavor, conf: &str) -> Cluster {
        let mut cluster = Cluster::of(flavor, Vec::new());
        for &which in kinds {
            cluster.add(which, |setup| setup.more_conf(conf));
        }
        cluster.settle();
        cluster
    }

    /// The first server alone, then all others, which know of that one only. Each of them waits
    /// for a moment of its own before it starts; nothing is awaited afterwards.
    pub(crate) fn start_around_first(kinds: &[Which], random: &mut Rng) -> Cluster {
        let mut cluster = Cluster::of(Flavor::Default, Vec::new());
        cluster.add(kinds[0], |setup| setup);
        let mut setup = || {
            cluster.started += 1;
            let pause = Duration::from_millis(random.u64(..40));
            (Server::with().monitored().conf(cluster.conf(1, lasting_port())), pause)
        };
        let setups: Vec<_> = kinds[1..].iter().map(|&which| (which, setup())).collect();
        let servers: Vec<Server> = thread::scope(|scope| {
            let starting = setups.into_iter().map(|(which, (setup, pause))| {
                scope.spawn(move || {
                    thread::sleep(pause);
                    setup.start(which)
                })
            });
            let starting: Vec<_> = starting.collect();
            starting.into_iter().map(|starting| starting.join().expect("it starts")).collect()
        });
        for server in servers {
            cluster.watches.push(Watch::new(&server, cluster.watches.len() + 1));
            cluster.servers.push(server);
        }
        cluster
    }

    /// As [`start`](Cluster::start), but all connections between servers go through relays, and
    /// every server dials every other.
    pub(crate) fn relayed(kinds: &[Which], flavor: Flavor) -> Cluster {
        let proxies = kinds.iter().map(|_| Proxy::start()).collect();
        let mut cluster = Cluster::of(flavor, proxies);
        for (index, &which) in kinds.iter().enumerate() {
            cluster.insert(index, which, None, |setup| setup);
        }
        cluster.settle();
        cluster
    }

    fn of(flavor: Flavor, proxies: Vec<Proxy>) -> Cluster {
        let (servers, watches) = (Vec::new(), Vec::new());
        let more_settings = String::new();
        Cluster { flavor, servers, watches, proxies, more_settings, started: 0, fences: 0 }
    }

    /// The relay in front of a server.
    pub(crate) fn proxy(&self, index: usize) -> &Proxy {
        &self.proxies[index]
    }

    /// Kills all servers at once and starts them anew on their ports.
    pub(crate) fn restart_all(&mut self) {
        self.watches.clear();
        let old: Vec<_> = self.servers.drain(..).collect();
        let ports = |server: &Server| (server.which(), server.port(), server.route_port());
        let ports: Vec<_> = old.iter().map(ports).collect();
        drop(old);
        for (index, (which, port, route_port)) in ports.into_iter().enumerate() {
            self.insert(index, which, Some((port, route_port)), |setup| setup);
        }
    }

    /// One more server, which dials all others. `more` adds to its set-up.
    pub(crate) fn add(&mut self, which: Which, more: impl FnOnce(Setup) -> Setup) {
        self.insert(self.servers.len(), which, None, more);
    }

    /// One more server, with further settings in its block `cluster`.
    pub(crate) fn add_with(&mut self, which: Which, settings: &str) {
        self.more_settings = settings.to_owned();
        self.add(which, |setup| setup);
        self.more_settings.clear();
    }

    /// A new server in the place, and on the ports, of one that has ended.
    pub(crate) fn replace(&mut self, index: usize, which: Which) {
        let old = self.take(index);
        let ports = (old.port(), old.route_port());
        assert_eq!(old.stop().code(), Some(0));
        self.insert(index, which, Some(ports), |setup| setup);
    }

    /// Starts a server that has ended anew, on its ports.
    pub(crate) fn restart(&mut self, index: usize) {
        let mut old = self.take(index);
        old.wait_exit();
        let ports = (old.port(), old.route_port());
        self.insert(index, old.which(), Some(ports), |setup| setup);
    }

    /// Takes a server out of the cluster; it goes on running.
    pub(crate) fn take(&mut self, index: usize) -> Server {
        self.watches.remove(index);
        self.servers.remove(index)
    }

    fn insert(
        &mut self,
        index: usize,
        which: Which,
        ports: Option<(u16, u16)>,
        more: impl FnOnce(Setup) -> Setup,
    ) {
        self.started += 1;
        let (port, route_port) = ports.unwrap_or_else(|| (lasting_port(), lasting_port()));
        let setup = Server::with().monitored().conf(self.conf(index, route_port)).port(port);
        let server = more(setup).start(which);
        if let Some(proxy) = self.proxies.get(index) {
            proxy.aim(server.route_port());
        }
        self.watches.insert(index, Watch::new(&server, self.started));
        self.servers.insert(index, server);
    }

    /// The configuration of the next server.
    fn conf(&self, index: usize, route_port: u16) -> String {
        let url = |port| format!("\"nats://{}127.0.0.1:{port}\"", self.flavor.credentials());
        let mut ports: Vec<u16> = self.proxies.iter().map(Proxy::port).collect();
        let mut advertise = String::new();
        if ports.is_empty() {
            ports.extend(self.servers.iter().map(Server::route_port));
        } else {
            advertise = format!("advertise: \"127.0.0.1:{}\"", ports.remove(index));
        }
        let routes: Vec<String> = ports.into_iter().map(url).collect();
        let lines = [
            "name: mesh",
            &format!("listen: \"127.0.0.1:{route_port}\""),
            &self.flavor.settings(),
            &self.more_settings,
            &advertise,
            &format!("routes: [{}]", routes.join(", ")),
        ];
        format!("server_name: s{}\ncluster {{\n{}\n}}\n", self.started, lines.join("\n"))
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// A client of each server.
    pub(crate) fn clients(&self, members: &str) -> Vec<Client> {
        self.servers.iter().map(|server| Client::connect(server, members)).collect()
    }

    /// Waits until every server knows of all interest that the others had when this was called.
    ///
    /// Interest travels in order. So a subscription made now is known elsewhere only after all that
    /// were made before; and a request there shows when it is known: no 503 comes.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        self.settle_among(&Vec::from_iter(0..self.servers.len()));
    }

    /// As [`settle`](Cluster::settle), for the servers at these places only.
    #[track_caller]
    pub(crate) fn settle_among(&mut self, places: &[usize]) {
        self.fences += 1;
        let fences = self.fences;
        let all = self.watches.iter_mut().enumerate();
        let mut watches: Vec<&mut Watch> =
            all.filter(|(at, _)| places.contains(at)).map(|(_, watch)| watch).collect();
        let subject = |of: &Watch| format!("fence.{fences}.{}", of.inbox);
        for watch in &mut watches {
            let line = format!("SUB {} fence\r\n", subject(watch));
            watch.client.send(&line);
            watch.client.fence();
        }
        let subjects: Vec<String> = watches.iter().map(|watch| subject(watch)).collect();
        let mut arrived = vec![0; watches.len()];
        for (at, (watch, arrived)) in watches.iter_mut().zip(&mut arrived).enumerate() {
            for (_, subject) in subjects.iter().enumerate().filter(|&(to, _)| to != at) {
                *arrived += watch.reach(subject);
            }
        }
        for (watch, mut arrived) in watches.iter_mut().zip(arrived) {
            while arrived < subjects.len() - 1 {
                let frame = watch.client.frame();
                assert!(frame.starts_with(b"MSG fence."), "{}", frame.escape_ascii());
                arrived += 1;
            }
            watch.client.send("UNSUB fence\r\n");
            watch.client.fence();
        }
    }

    /// Waits until `/routez` of every server lists all others with all their connections.
    #[track_caller]
    pub(crate) fn wait_routes(&self) {
        let count = (self.servers.len() - 1) * self.flavor.route_count();
        for server in &self.servers {
            http::json_until(server, "/routez", |page| page["num_routes"] == count);
        }
    }

    /// Lines of the real servers' logs that an operator would have to look at.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let real = self.servers.iter().filter(|server| server.which() == Which::Real);
        real.flat_map(complaints).collect()
    }
}

/// Warnings and errors in a server's log, except those of its own configuration, and those that
/// real servers log of each other too: that one of two simultaneous connections was closed while
/// they wrote to it.
pub(crate) fn complaints(server: &Server) -> Vec<String> {
    let mut lines = server.log_lines();
    lines.retain(|line| {
        (line.contains("[WRN]") || line.contains("[ERR]"))
            && !line.contains("Plaintext passwords detected")
            && !line.contains("broken pipe")
            && !(line.contains("Error flushing") && line.contains("connection reset by peer"))
    });
    lines
}

impl Watch {
    fn new(server: &Server, number: usize) -> Watch {
        let members = r#""headers":true,"no_responders":true"#;
        let mut client = Client::connect(server, members);
        let inbox = format!("watch{number}");
        client.send(&format!("SUB {inbox} 1\r\n"));
        client.fence();
        Watch { client, inbox }
    }

    /// Publishes to `subject` until a subscriber is there. Returns the fence messages that came
    /// meanwhile.
    #[track_caller]
    fn reach(&mut self, subject: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut arrived = 0;
        loop {
            self.client.send(&format!("PUB {subject} {} 0\r\n\r\nPING\r\n", self.inbox));
            let mut reached = true;
            loop {
                let frame = self.client.frame();
                match frame.split(|&byte| byte == b' ').next() {
                    Some(b"PONG\r\n") => break,
                    Some(b"HMSG") => reached = false,
                    Some(b"MSG") => arrived += 1,
                    _ => panic!("unexpected {}", frame.escape_ascii()),
                }
            }
            if reached {
                return arrived;
            }
            assert!(Instant::now() < deadline, "the interest in {subject} never arrived");
            // What is awaited happens in another process, which tells nobody.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The entries of a server's `/routez`.
pub(crate) fn routes(server: &Server) -> Vec<Value> {
    let page = http::json(server, "/routez");
    page["routes"].as_array().cloned().unwrap_or_default()
}
