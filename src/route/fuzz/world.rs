//! Servers in memory that form a cluster: byte queues between them, and a hand-moved clock.
//!
//! Nothing happens by itself: [`World::carry`] moves bytes, [`World::pass`] moves the clock and
//! does what is due, and connections end where a test ends them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use crate::client::fuzz::Bench;
use crate::conn::{Conn, Wire};
use crate::errors::{ClosedReason, ProtoErr};
use crate::ids::{Kind, ServerId};
use crate::info::Info;
use crate::machine::Machine;
use crate::moment::Moment;
use crate::options::{Cluster, Listen, Options, Port};
use crate::parser::{Parser, RouteOp, RouteRules};
use crate::route::mesh::{Dial, Mesh};
use crate::route::{Role, Route};
use crate::route_url::RouteUrl;

/// Bytes that a wire takes before the other side has to read.
const WIRE_ROOM: usize = 16 * 1024;

/// Port for other servers, on all of them.
const ROUTE_PORT: u16 = 6222;

/// A cluster.
pub(crate) struct World {
    pub(crate) random: Rng,
    pub(crate) now: Moment,
    pub(crate) servers: Vec<Server>,
    pub(crate) cables: Vec<Cable>,
    /// Messages that have crossed a cable.
    pub(crate) crossed: Vec<Crossing>,
    calls: Vec<Call>,
    /// Servers with the same number can reach each other.
    pub(crate) sides: Vec<usize>,
    settings: fn(usize) -> Cluster,
}

/// One server with its clients.
pub(crate) struct Server {
    pub(crate) id: String,
    pub(crate) bench: Bench,
    pub(crate) mesh: Arc<Mesh>,
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
    route: Route,
    parser: Parser<RouteRules>,
    wire: Arc<Queue>,
    /// What both ends say would be compressed from now on; the cable carries it as it is.
    compressed: bool,
    /// It has left its mesh.
    gone: bool,
    /// And nothing of it is left there.
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

/// A wire that holds what was written until it is carried.
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
    /// `count` servers that have each other as configured routes, themselves included, and nothing
    /// done yet. `settings` are those of the cluster of each server.
    pub(crate) fn new(count: usize, seed: u64, settings: fn(usize) -> Cluster) -> World {
        let mut world = World {
            random: Rng::with_seed(seed),
            now: Moment::START,
            servers: Vec::new(),
            cables: Vec::new(),
            crossed: Vec::new(),
            calls: Vec::new(),
            sides: vec![0; count],
            settings,
        };
        for index in 0..count {
            let server = world.start(index, count);
            world.servers.push(server);
        }
        world
    }

    fn start(&mut self, index: usize, count: usize) -> Server {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = "N".to_owned();
        let letter = || char::from(*self.random.choice(letters).expect("there are some"));
        id.extend(std::iter::repeat_with(letter).take(ServerId::LEN - 1));
        let routes = (0..count).filter_map(|other| RouteUrl::parse(&url(other)).ok()).collect();
        let listen = Some(Listen { host: "0.0.0.0".into(), port: Port::Number(ROUTE_PORT) });
        let cluster = Cluster { listen, routes, name: Some("c".into()), ..(self.settings)(index) };
        let options = Options { cluster: Some(cluster), ..Options::default() };
        let mut bench = Bench::with_id(&id, options, 0);
        bench.delivery.now = self.now;
        bench.registry.change_info(|info| {
            info.server_id.clone_from(&id);
            info.server_name.clone_from(&id);
            info.go = Info::GO.to_owned();
            info.headers = true;
        });
        let mesh = Mesh::new(Arc::clone(&bench.registry), self.random.u64(..));
        mesh.listening(ROUTE_PORT, vec![format!("client.{index}:4222")]);
        Server { id, bench, mesh }
    }

    /// Ends a server at once, with all its connections, and starts another one in its place.
    pub(crate) fn restart(&mut self, index: usize) {
        for at in 0..self.cables.len() {
            if self.cables[at].ends.iter().any(|end| end.server == index) {
                self.cut(at);
            }
        }
        self.calls.retain(|call| call.server != index);
        let server = self.start(index, self.servers.len());
        self.servers[index] = server;
    }

    /// Ends a connection for both sides; what is on its way is lost.
    pub(crate) fn cut(&mut self, at: usize) {
        for side in 0..2 {
            self.cables[at].ends[side].wire.0.lock().clear();
            self.hang_up(at, side, ClosedReason::ReadError);
        }
        self.reap();
    }

    /// Moves the clock and does all that is due then.
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

    /// Who wants to dial does so, and is connected or fails some time later.
    fn dial(&mut self) {
        for index in 0..self.servers.len() {
            while let Some(dial) = self.servers[index].mesh.next_dial(self.now) {
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
            let mesh = &self.servers[call.server].mesh;
            let reachable = self.sides[target] == self.sides[call.server];
            if !reachable || mesh.is_self(&address(target)) {
                mesh.dial_failed(&call.dial, now);
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
        // Some connections are lost before anything is said.
        if self.random.u8(..30) == 0 {
            self.cut(self.cables.len() - 1);
        }
    }

    fn end(&mut self, index: usize, role: Role, remote: String) -> End {
        let Server { bench, mesh, .. } = &mut self.servers[index];
        let wire = Arc::new(Queue::default());
        let remote = remote.parse().ok();
        let conn = bench.registry.add(|cid, slot| {
            Conn::new(cid, Kind::Route, slot, remote, self.now, Arc::clone(&wire) as Arc<dyn Wire>)
        });
        conn.own(Waker::noop());
        let registry = Arc::clone(&bench.registry);
        let mut route = Route::new(registry, Arc::clone(mesh), Arc::clone(&conn), role);
        route.start(&mut bench.delivery);
        bench.delivery.commit(&conn);
        let parser = Parser::new(route.rules());
        End {
            server: index,
            conn,
            route,
            parser,
            wire,
            compressed: false,
            gone: false,
            forgotten: false,
        }
    }

    /// Carries up to `max` bytes from one end of a cable to the other, and tells whether any were.
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

    /// What arrived at an end.
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
            let reason = end.route.fail((&error).into(), &mut bench.delivery);
            bench.delivery.commit(&end.conn);
            end.conn.close(reason, false);
        } else {
            bench.delivery.commit(&end.conn);
        }
    }

    /// What the task of an end does whenever it is polled. True if there was something to do.
    fn turn(&mut self, at: usize, side: usize) -> bool {
        let now = self.now;
        let end = &mut self.cables[at].ends[side];
        let bench = &mut self.servers[end.server].bench;
        if end.gone && !end.forgotten {
            end.forgotten = !end.route.forget(&mut bench.delivery);
            return true;
        }
        if end.gone || end.conn.is_closed() {
            return false;
        }
        let due = match now >= end.route.deadline() {
            true => end.route.handle_deadline(&mut bench.delivery),
            false => Ok(()),
        };
        let more = match due.and_then(|()| end.route.handle_turn(&mut bench.delivery)) {
            Ok(more) => more,
            Err(error) => {
                let reason = end.route.fail((&error).into(), &mut bench.delivery);
                bench.delivery.commit(&end.conn);
                end.conn.close(reason, false);
                return true;
            }
        };
        bench.delivery.commit(&end.conn);
        end.conn.flush(&bench.registry.policy, now);
        more
    }

    fn hang_up(&mut self, at: usize, side: usize, reason: ClosedReason) {
        let end = &self.cables[at].ends[side];
        if !end.gone {
            end.conn.close(reason, true);
        }
    }

    /// Connections that were closed leave their mesh.
    pub(crate) fn reap(&mut self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            for cable in &mut self.cables {
                for end in &mut cable.ends {
                    let Some(reason) = end.conn.closed().filter(|_| !end.gone) else { continue };
                    let bench = &mut self.servers[end.server].bench;
                    end.conn.flush(&bench.registry.policy, self.now);
                    end.route.close(reason, &mut bench.delivery);
                    bench.delivery.commit(&end.conn);
                    end.conn.hang_up();
                    end.gone = true;
                    again = true;
                }
            }
        }
    }

    /// Whether every server has all the connections to every other one, and none to spare.
    pub(crate) fn is_whole(&self) -> bool {
        let size = |server: &Server| server.mesh.cluster.pool_size;
        let accounts = |server: &Server| server.mesh.cluster.dedicated_accounts(false).len();
        self.servers.iter().enumerate().all(|(at, server)| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            let routes = server.mesh.routes();
            for route in &routes {
                *counts.entry(&route.server_id).or_default() += 1;
            }
            self.servers.iter().enumerate().filter(|(other, _)| *other != at).all(|(_, other)| {
                let wanted = match (size(server), size(other)) {
                    (Some(ours), Some(theirs)) => {
                        ours.max(theirs) + accounts(server).min(accounts(other))
                    }
                    _ => 1,
                };
                counts.remove(other.id.as_str()) == Some(wanted)
            }) && counts.is_empty()
        })
    }

    /// Lets time pass until the mesh is whole and nothing more happens.
    ///
    /// # Panics
    /// If that takes longer than it may.
    pub(crate) fn settle(&mut self) {
        self.sides.fill(0);
        let mut quiet = Duration::ZERO;
        let start = self.now;
        while quiet < SETTLED {
            assert!(self.now.since(start) < SETTLE_MAX, "the mesh does not become whole");
            let step = Duration::from_millis(50);
            self.pass(step);
            self.carry_all();
            quiet = if self.is_whole() { quiet + step } else { Duration::ZERO };
        }
    }
}

/// How long a mesh that is whole is watched: spares are let go of by then.
const SETTLED: Duration = Duration::from_secs(6);

/// How long a mesh may take to become whole: a stale connection is noticed and dialled anew.
const SETTLE_MAX: Duration = Duration::from_secs(180);

impl End {
    fn handle(
        &mut self,
        mut input: &[u8],
        bench: &mut Bench,
        mut crossed: impl FnMut(&[u8]),
    ) -> Result<(), ProtoErr> {
        let End { route, parser, conn, compressed, .. } = self;
        let delivery = &mut bench.delivery;
        loop {
            if let Some((msg, used)) = parser.next_plain(input) {
                let before = input;
                route.handle_msg(&msg, Some(parser.rest(&mut input, used)), delivery)?;
                let mut row = &before[..before.len() - input.len()];
                let mut again = Parser::new(parser.rules);
                while let (Some(RouteOp::Msg(msg)), used) = again.next(row)? {
                    crossed(msg.publish.payload());
                    row = &row[used..];
                }
                continue;
            }
            let (op, used) = parser.next(input)?;
            input = &input[used..];
            let Some(op) = op else { return Ok(()) };
            if let RouteOp::Msg(msg) = &op {
                crossed(msg.publish.payload());
            }
            route.handle_op(&op, delivery)?;
            if Route::changes_rules(&op) {
                parser.rules = route.rules();
                if route.take_compression().is_some() && !std::mem::replace(compressed, true) {
                    delivery.commit(conn);
                    route.handle_compressed(delivery);
                }
            }
        }
    }
}

/// As servers are configured to find another one.
fn url(index: usize) -> String {
    format!("nats://{}", address(index))
}

fn address(index: usize) -> String {
    format!("10.0.0.{}:{ROUTE_PORT}", index + 1)
}

/// Index of the server that a dial leads to.
fn target(dial: &Dial) -> usize {
    let last = dial.host.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
    last.expect("an address of ours") - 1
}
