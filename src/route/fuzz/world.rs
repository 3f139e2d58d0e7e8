//! Servers in memory that form a cluster: byte queues between them, and a hand-moved clock.
//!
//! Nothing happens by itself: [`World::carry`] moves bytes, [`World::pass`] moves the clock and
//! handles everything due, and connections end where a test ends them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::{Kind, ServerId};
use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::client::fuzz::Bench;
use crate::codec::info::Info;
use crate::config::options::{Cluster, Listen, Options, Port};
use crate::config::route_url::RouteUrl;
use crate::conn::{Conn, Wire};
use crate::machine::Machine;
use crate::machine::session::{Session, Step};
use crate::parser::{Parser, RouteOp, RouteRules};
use crate::registry::Registry;
use crate::route::fuzz::nats_server::{NatsRoute, NatsServer};
use crate::route::fuzz::with_imports;
use crate::route::mesh::{Dial, Mesh, Place};
use crate::route::other::ClientUrls;
use crate::route::{Role, Route};

/// Bytes that a wire takes before the other side has to read.
const WIRE_ROOM: usize = 16 * 1024;

/// Port for other servers, on all of them.
const ROUTE_PORT: u16 = 6222;

/// A cluster.
pub(crate) struct World {
    pub(crate) random: Rng,
    pub(crate) now: Moment,
    pub(crate) servers: Vec<WorldServer>,
    pub(crate) cables: Vec<Cable>,
    /// Messages that have crossed a cable.
    pub(crate) crossed: Vec<Crossing>,
    calls: Vec<Call>,
    /// Servers with the same number can reach each other.
    pub(crate) sides: Vec<usize>,
    pub(crate) plan: Plan,
}

/// The shape of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The number of servers.
    pub(crate) count: usize,
    /// The settings of each dialtone.
    pub(crate) settings: fn(usize) -> Cluster,
    /// Those whose bit is set are nats-servers.
    pub(crate) nats_servers: u32,
    /// The number of them, from the first, that are routes in the configuration of all.
    pub(crate) listed: usize,
}

/// One server with its clients, which a nats-server does not have.
pub(crate) struct WorldServer {
    pub(crate) id: String,
    pub(crate) bench: Bench,
    brain: Brain,
}

/// The state of a server in the cluster.
enum Brain {
    Dialtone(Arc<Mesh>),
    NatsServer(Arc<NatsServer>),
}

/// The machine at one end of a cable.
enum Speaker {
    Dialtone(Box<Session<Route>>),
    NatsServer(Session<NatsRoute>),
}

/// Does the same with a session of either kind.
macro_rules! either {
    ($speaker:expr, $session:ident => $does:expr) => {
        match $speaker {
            Speaker::Dialtone($session) => $does,
            Speaker::NatsServer($session) => $does,
        }
    };
}

/// A connection between two servers; the first end is that of the server that dialled.
pub(crate) struct Cable {
    pub(crate) ends: [End; 2],
}

/// One end of it.
pub(crate) struct End {
    /// Index of its server.
    pub(crate) server: usize,
    pub(crate) conn: Arc<Conn>,
    speaker: Speaker,
    /// Reads the same bytes, for the messages among them.
    tap: Parser<RouteRules>,
    wire: Arc<Queue>,
    /// Compression agreed on by both ends from now on; the cable carries plain bytes.
    compressed: bool,
    /// It has left its mesh.
    gone: bool,
    /// No trace of it is left there.
    forgotten: bool,
}

/// A message that has crossed a cable.
pub(crate) struct Crossing {
    /// Index of the server that it left.
    pub(crate) from: usize,
    /// Index of the server where it arrived.
    pub(crate) to: usize,
    pub(crate) payload: Vec<u8>,
}

/// A dial under way.
struct Call {
    server: usize,
    dial: Dial,
    due: Moment,
}

/// A wire that holds the written bytes until they are carried.
#[derive(Default)]
struct Queue(Mutex<Vec<u8>>);

impl Wire for Queue {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut held = self.0.lock();
        let mut room = WIRE_ROOM.saturating_sub(held.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = held.len();
        for slice in slices {
            let taken = slice.len().min(room);
            held.extend_from_slice(&slice[..taken]);
            room -= taken;
        }
        Ok(held.len() - before)
    }
}

impl World {
    /// Servers that have done nothing yet.
    pub(crate) fn new(plan: Plan, seed: u64) -> World {
        let mut world = World {
            random: Rng::with_seed(seed),
            now: Moment::START,
            servers: Vec::new(),
            cables: Vec::new(),
            crossed: Vec::new(),
            calls: Vec::new(),
            sides: vec![0; plan.count],
            plan,
        };
        for index in 0..plan.count {
            let server = world.start(index);
            world.servers.push(server);
        }
        world
    }

    fn start(&mut self, index: usize) -> WorldServer {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = "N".to_owned();
        let letter = || char::from(*self.random.choice(letters).expect("there are some"));
        id.extend(std::iter::repeat_with(letter).take(ServerId::LEN - 1));
        let listed = (0..self.plan.listed).filter_map(|other| RouteUrl::parse(&url(other)).ok());
        let routes: Vec<RouteUrl> = listed.collect();
        let listen = Some(Listen { host: "0.0.0.0".into(), port: Port::Number(ROUTE_PORT) });
        let is_nats_server = self.plan.nats_servers >> index & 1 == 1;
        let settings = match is_nats_server {
            false => (self.plan.settings)(index),
            true => Cluster::default(),
        };
        let cluster = Cluster { listen, routes, name: Some("c".into()), ..settings };
        let options = Options { cluster: Some(cluster), ..Options::default() };
        let options = with_imports(options);
        let mut bench = Bench::with_id(&id, options, 0);
        bench.delivery.now = self.now;
        bench.registry.change_info(|info| {
            info.server_id.clone_from(&id);
            info.server_name.clone_from(&id);
            info.go = Info::GO.to_owned();
            info.headers = true;
        });
        let mesh = Mesh::new(Arc::clone(&bench.registry), self.random.u64(..));
        let standard = vec![format!("client.{index}:4222")];
        mesh.listening(ROUTE_PORT, ClientUrls { standard, ..ClientUrls::default() });
        if !is_nats_server {
            return WorldServer { id, bench, brain: Brain::Dialtone(mesh) };
        }
        let mut info = mesh.info(&Place::FIRST, "off", 0);
        info.go = "go1.27.2".to_owned();
        let mut listed = bench.registry.settings().routes.cluster.routes.clone();
        listed.retain(|url| url.host != host(index));
        let server = NatsServer::new(info, listed, self.now, self.random.fork());
        WorldServer { id, bench, brain: Brain::NatsServer(Arc::new(server)) }
    }

    /// Ends a server at once, with all its connections, and starts another one in its place.
    pub(crate) fn restart(&mut self, index: usize) {
        for at in 0..self.cables.len() {
            if self.cables[at].ends.iter().any(|end| end.server == index) {
                self.cut(at);
            }
        }
        self.calls.retain(|call| call.server != index);
        let server = self.start(index);
        self.servers[index] = server;
    }

    /// Ends a connection for both sides; bytes on their way are lost.
    pub(crate) fn cut(&mut self, at: usize) {
        (0..2).for_each(|side| self.lose(at, side));
    }

    /// Ends a connection for one side, where nothing more arrives; the other side notices later.
    pub(crate) fn lose(&mut self, at: usize, side: usize) {
        self.cables[at].ends[side].wire.0.lock().clear();
        self.hang_up(at, side, ClosedReason::ReadError);
        self.reap();
    }

    /// Moves the clock and handles everything due then.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        for server in &mut self.servers {
            server.bench.delivery.now = self.now;
        }
        self.dial();
        for at in 0..self.cables.len() {
            for side in 0..2 {
                self.turn(at, side);
            }
        }
        self.reap();
    }

    /// Starts all dials that are due; each connects or fails some time later.
    fn dial(&mut self) {
        for index in 0..self.servers.len() {
            while let Some(dial) = self.servers[index].brain.next_dial(self.now) {
                let delay = Duration::from_millis(self.random.u64(..60));
                self.calls.push(Call { server: index, dial, due: self.now + delay });
            }
        }
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.calls).into_iter().partition(|call| call.due <= now);
        self.calls = later;
        for call in due {
            let target = target(&call.dial);
            let brain = &self.servers[call.server].brain;
            let reachable = self.sides[target] == self.sides[call.server];
            if !reachable || brain.is_self(&address(target)) {
                brain.dial_failed(&call.dial, now);
            } else {
                self.connect(call, target);
            }
        }
    }

    fn connect(&mut self, call: Call, target: usize) {
        let caller = call.server;
        let solicited = self.end(caller, Role::Solicited(call.dial), address(target));
        let remote = format!("10.0.0.{}:{}", caller + 1, 40_000 + self.cables.len() % 20_000);
        let accepted = self.end(target, Role::Accepted, remote);
        self.cables.push(Cable { ends: [solicited, accepted] });
        // Some connections are lost before their first byte.
        if self.random.u8(..30) == 0 {
            self.cut(self.cables.len() - 1);
        }
    }

    fn end(&mut self, index: usize, role: Role, remote: String) -> End {
        let WorldServer { bench, brain, .. } = &mut self.servers[index];
        let wire = Arc::new(Queue::default());
        let remote = remote.parse().ok();
        let conn = bench.registry.add(|cid, slot| {
            Conn::new(cid, Kind::Route, slot, remote, self.now, Arc::clone(&wire) as Arc<dyn Wire>)
        });
        conn.set_owner(Waker::noop());
        let registry = Arc::clone(&bench.registry);
        let mut speaker = brain.speaker(registry, Arc::clone(&conn), role);
        either!(&mut speaker, session => session.machine.start(&mut bench.delivery));
        bench.delivery.commit(&conn);
        let tap = Parser::new(
            either!(&speaker, session => session.machine.rules(&bench.delivery.settings)),
        );
        End {
            server: index,
            conn,
            speaker,
            tap,
            wire,
            compressed: false,
            gone: false,
            forgotten: false,
        }
    }

    /// Carries up to `max` bytes from one end of a cable to the other. True if any were.
    pub(crate) fn carry(&mut self, at: usize, side: usize, max: usize) -> bool {
        let [one, other] = &self.cables[at].ends;
        if self.sides[one.server] != self.sides[other.server] {
            return false;
        }
        let from = &mut self.cables[at].ends[side];
        let bytes: Vec<u8> = {
            let mut held = from.wire.0.lock();
            let len = held.len().min(max);
            held.drain(..len).collect()
        };
        if bytes.is_empty() {
            if from.gone && from.wire.0.lock().is_empty() {
                self.hang_up(at, 1 - side, ClosedReason::ClientClosed);
                self.reap();
            }
            return false;
        }
        self.turn(at, side);
        self.feed(at, 1 - side, &bytes);
        self.turn(at, 1 - side);
        self.reap();
        true
    }

    /// Carries everything until nothing is on its way any more.
    pub(crate) fn carry_all(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.cables.len() {
                for side in 0..2 {
                    moved |= self.turn(at, side);
                    moved |= self.carry(at, side, usize::MAX);
                }
            }
            self.reap();
            self.cables.retain(|cable| !cable.ends.iter().all(|end| end.forgotten));
            if !moved {
                return;
            }
        }
    }

    /// Handles the bytes that arrived at an end.
    fn feed(&mut self, at: usize, side: usize, input: &[u8]) {
        let from = self.cables[at].ends[1 - side].server;
        let end = &mut self.cables[at].ends[side];
        if end.gone || end.conn.is_closed() {
            return;
        }
        let to = end.server;
        let bench = &mut self.servers[to].bench;
        let crossed = |payload: &[u8]| {
            self.crossed.push(Crossing { from, to, payload: payload.to_vec() });
        };
        if let Err(error) = end.handle(input, bench, crossed) {
            end.fail(&error, bench);
        } else {
            bench.delivery.commit(&end.conn);
        }
    }

    /// A turn of the task at an end. True if there was something to do.
    fn turn(&mut self, at: usize, side: usize) -> bool {
        let now = self.now;
        let end = &mut self.cables[at].ends[side];
        let bench = &mut self.servers[end.server].bench;
        if end.gone && !end.forgotten {
            let left =
                either!(&mut end.speaker, session => session.machine.forget(&mut bench.delivery));
            end.forgotten = left == Left::Nothing;
            return true;
        }
        if end.gone || end.conn.is_closed() {
            return false;
        }
        let delivery = &mut bench.delivery;
        let done = either!(&mut end.speaker, session => {
            let due = match now >= session.machine.deadline(&delivery.settings) {
                true => session.machine.handle_deadline(delivery),
                false => Ok(()),
            };
            due.and_then(|()| session.resume(None, delivery))
        });
        let left = match done {
            Ok(left) => left,
            Err(error) => {
                end.fail(&error, bench);
                return true;
            }
        };
        bench.delivery.commit(&end.conn);
        end.conn.flush(&bench.registry.settings().policy, now);
        left == Left::More
    }

    fn hang_up(&mut self, at: usize, side: usize, reason: ClosedReason) {
        let end = &self.cables[at].ends[side];
        if !end.gone {
            end.conn.close(reason, true);
        }
    }

    /// Removes closed connections from their mesh.
    pub(crate) fn reap(&mut self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            for cable in &mut self.cables {
                for end in &mut cable.ends {
                    let Some(reason) = end.conn.closed().filter(|_| !end.gone) else { continue };
                    let bench = &mut self.servers[end.server].bench;
                    end.conn.flush(&bench.registry.settings().policy, self.now);
                    let delivery = &mut bench.delivery;
                    either!(&mut end.speaker, session => session.machine.close(reason, delivery));
                    bench.delivery.commit(&end.conn);
                    end.conn.hang_up();
                    end.gone = true;
                    again = true;
                }
            }
        }
    }

    /// True if each server has all the connections to each other one, and no spare ones.
    pub(crate) fn is_whole(&self) -> bool {
        let cluster =
            |server: &WorldServer| server.bench.registry.settings().options.cluster.clone();
        let size = |server: &WorldServer| cluster(server).and_then(|cluster| cluster.pool_size);
        let accounts = |server: &WorldServer| {
            cluster(server).map_or(0, |cluster| cluster.dedicated_accounts(Some("$SYS")).len())
        };
        self.servers.iter().enumerate().all(|(at, server)| {
            let mut counts = server.brain.connections();
            self.servers.iter().enumerate().filter(|(other, _)| *other != at).all(|(_, other)| {
                let wanted = match (size(server), size(other)) {
                    (Some(ours), Some(theirs)) => {
                        ours.max(theirs) + accounts(server).min(accounts(other))
                    }
                    _ => 1,
                };
                counts.remove(&other.id) == Some(wanted)
            }) && counts.is_empty()
        })
    }

    /// Lets time pass until the mesh is whole and nothing more happens.
    ///
    /// # Panics
    /// If that takes longer than allowed.
    pub(crate) fn settle(&mut self) {
        self.sides.fill(0);
        let mut quiet = Duration::ZERO;
        let start = self.now;
        while quiet < SETTLED {
            if self.now.since(start) >= SETTLE_MAX {
                let ids: Vec<&str> = self.servers.iter().map(|server| &*server.id).collect();
                let known: Vec<_> =
                    self.servers.iter().map(|server| server.brain.connections()).collect();
                panic!("the mesh does not become whole: {ids:?} have {known:#?}");
            }
            let step = Duration::from_millis(50);
            self.pass(step);
            self.carry_all();
            quiet = if self.is_whole() { quiet + step } else { Duration::ZERO };
        }
    }
}

/// Time for which a whole mesh is watched: spares are closed by then.
const SETTLED: Duration = Duration::from_secs(6);

/// Time for a mesh to become whole: a stale connection is noticed and dialled anew.
const SETTLE_MAX: Duration = Duration::from_secs(180);

impl WorldServer {
    /// The mesh of a dialtone.
    pub(crate) fn mesh(&self) -> &Mesh {
        match &self.brain {
            Brain::Dialtone(mesh) => mesh,
            Brain::NatsServer(_) => panic!("a nats-server has none"),
        }
    }
}

impl Brain {
    fn next_dial(&self, now: Moment) -> Option<Dial> {
        match self {
            Brain::Dialtone(mesh) => mesh.next_dial(now),
            Brain::NatsServer(server) => server.next_dial(now),
        }
    }

    fn is_self(&self, address: &str) -> bool {
        matches!(self, Brain::Dialtone(mesh) if mesh.is_self(address))
    }

    fn dial_failed(&self, dial: &Dial, now: Moment) {
        match self {
            Brain::Dialtone(mesh) => _ = mesh.dial_failed(dial, now),
            Brain::NatsServer(server) => server.dial_failed(dial, now),
        }
    }

    fn speaker(&self, registry: Arc<Registry>, conn: Arc<Conn>, role: Role) -> Speaker {
        let settings = registry.settings();
        match self {
            Brain::Dialtone(mesh) => {
                let route = Route::new(registry, Arc::clone(mesh), conn, role);
                Speaker::Dialtone(Box::new(Session::new(route, &settings)))
            }
            Brain::NatsServer(server) => {
                let route = NatsRoute::new(Arc::clone(server), registry, conn, role);
                Speaker::NatsServer(Session::new(route, &settings))
            }
        }
    }

    /// The number of connections to each other server.
    fn connections(&self) -> BTreeMap<String, usize> {
        let mesh = match self {
            Brain::Dialtone(mesh) => mesh,
            Brain::NatsServer(server) => return server.connections(),
        };
        let mut counts = BTreeMap::new();
        for route in mesh.routes() {
            *counts.entry(route.server_id.into()).or_default() += 1;
        }
        counts
    }
}

impl End {
    fn fail(&self, error: &ProtoErr, bench: &mut Bench) {
        let delivery = &mut bench.delivery;
        let reason = either!(&self.speaker, session => session.fail(error, b"", delivery));
        bench.delivery.commit(&self.conn);
        self.conn.close(reason, false);
    }

    fn handle(
        &mut self,
        mut input: &[u8],
        bench: &mut Bench,
        mut crossed: impl FnMut(&[u8]),
    ) -> Result<(), ProtoErr> {
        let End { speaker, tap, conn, compressed, .. } = self;
        let delivery = &mut bench.delivery;
        either!(speaker, session => session.machine.heard(delivery.now));
        loop {
            tap.rules = either!(speaker, session => session.machine.rules(&delivery.settings));
            let before = input;
            let step = either!(speaker, session => session.step(&mut input, delivery))?;
            let mut read = &before[..before.len() - input.len()];
            while let (Some(op), used) = tap.next(read)? {
                read = &read[used..];
                if let RouteOp::Msg(msg) = &op {
                    crossed(msg.publish.payload());
                }
            }
            match step {
                Step::Handled => {}
                Step::Missing => return Ok(()),
                Step::Layer(_) if *compressed => {}
                Step::Layer(_) => {
                    *compressed = true;
                    delivery.commit(conn);
                    either!(speaker, session => session.machine.handle_layer(delivery));
                }
                Step::Unanswered => unreachable!("no password is a hash"),
            }
        }
    }
}

/// The address of a server in the configuration of others.
fn url(index: usize) -> String {
    format!("nats://{}", address(index))
}

fn address(index: usize) -> String {
    format!("{}:{ROUTE_PORT}", host(index))
}

fn host(index: usize) -> String {
    format!("10.0.0.{}", index + 1)
}

/// Index of the target of a dial.
fn target(dial: &Dial) -> usize {
    let last = dial.host.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
    last.expect("an address of ours") - 1
}
