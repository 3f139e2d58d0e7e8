//! `NatsServer`: a model of nats-server's dials and gossip.
//!
//! It has a pool of three connections and one for `$SYS`, no clients and no interest. Unlike a
//! dialtone it dials both at once, keeps no second connection in one place, and forgets a server
//! known only by gossip if it cannot be reached.
//! nats: server/route.go `connectToRoute`, `processRouteInfo`, `addRoute`, `processImplicitRoute`,
//! `forwardNewRouteInfoToKnownServers`, `removeRoute`; server/client.go `reconnect`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Cid;
use crate::base::left::Left;
use crate::base::limits::{ROUTE_RETRY_JITTER, ROUTE_RETRY_PAUSE, SYSTEM_ACCOUNT};
use crate::base::moment::Moment;
use crate::codec::connect::RouteConnect;
use crate::codec::encoder;
use crate::codec::info::Info;
use crate::config::options::Options;
use crate::config::route_url::RouteUrl;
use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::parser::{Refused, Remaining, RouteOp, RouteRules, RoutedMsg};
use crate::registry::Registry;
use crate::registry::settings::Settings;
use crate::route::Role;
use crate::route::mesh::{Dial, Place};

const POOL_SIZE: usize = 3;

const GOSSIP_DISABLED: u8 = 1;
const GOSSIP_OVERRIDE: u8 = 2;

/// One server.
pub(super) struct NatsServer(Mutex<State>);

struct State {
    /// Its facts for INFO.
    info: Info,
    /// The routes of its configuration.
    listed: Vec<RouteUrl>,
    dials: Vec<(Dial, Moment)>,
    links: BTreeMap<Cid, Link>,
    /// The connections to each other server.
    pools: BTreeMap<String, [Option<Cid>; POOL_SIZE]>,
    systems: BTreeMap<String, Cid>,
    random: Rng,
}

/// The state of one connection.
struct Link {
    conn: Arc<Conn>,
    /// The way to dial it again; of an accepted one, the way to its server.
    dial: Dial,
    solicited: bool,
    /// Another connection in its place was closed, for which this one may be closed there.
    retries: bool,
    gives_up: bool,
    /// The id of the server at its other end, once that is known.
    remote: Option<String>,
    /// The next place in the pool is dialled when it answers.
    goes_on: bool,
}

/// The machine of one connection.
pub(super) struct NatsRoute {
    server: Arc<NatsServer>,
    registry: Arc<Registry>,
    conn: Arc<Conn>,
    role: Role,
}

impl NatsServer {
    /// A new server, which is to dial those `listed`.
    pub(super) fn new(info: Info, listed: Vec<RouteUrl>, now: Moment, random: Rng) -> NatsServer {
        let both = [Place::FIRST, Place::Account(SYSTEM_ACCOUNT.into())];
        let dials = both.iter().flat_map(|place| {
            listed.iter().map(move |url| (dial(url, place.clone(), true, 0), now))
        });
        NatsServer(Mutex::new(State {
            info,
            dials: dials.collect(),
            listed,
            links: BTreeMap::new(),
            pools: BTreeMap::new(),
            systems: BTreeMap::new(),
            random,
        }))
    }

    /// The next dial due.
    pub(super) fn next_dial(&self, now: Moment) -> Option<Dial> {
        let dials = &mut self.0.lock().dials;
        let at = dials.iter().position(|(_, due)| *due <= now)?;
        Some(dials.swap_remove(at).0)
    }

    /// Handles a dial that reached no server: tries again if it is of the configuration.
    pub(super) fn dial_failed(&self, dial: &Dial, now: Moment) {
        if dial.explicit {
            self.0.lock().dials.push((dial.clone(), now + ROUTE_RETRY_PAUSE));
        }
    }

    /// The number of connections to each other server.
    pub(super) fn connections(&self) -> BTreeMap<String, usize> {
        let state = self.0.lock();
        let pools = state.pools.iter();
        let mut counts: BTreeMap<String, usize> =
            pools.map(|(id, pool)| (id.clone(), pool.iter().flatten().count())).collect();
        for id in state.systems.keys() {
            *counts.entry(id.clone()).or_default() += 1;
        }
        counts
    }
}

impl State {
    fn own_info(&self, dial: Option<&Dial>, index: usize) -> Info {
        let mut info = self.info.clone();
        info.route_pool_idx = index as i64;
        if let Some(dial) = dial {
            info.gossip_mode = dial.gossip_mode;
            if let Place::Account(account) = &dial.place {
                info.route_account = account.to_string();
            }
        }
        info
    }

    /// Handles the first INFO on a connection. Returns the INFO to forward, by connection.
    fn register(&mut self, cid: Cid, mut info: Info) -> Result<Vec<(Cid, Info)>, ProtoErr> {
        let duplicate = Err(ProtoErr::Refused(ClosedReason::DuplicateRoute));
        let is_self = info.server_id == self.info.server_id;
        let Some(link) = self.links.get_mut(&cid) else { return duplicate };
        if is_self {
            link.gives_up = true;
            return duplicate;
        }
        link.remote = Some(info.server_id.clone());
        if let Some(remote) = link.conn.remote()
            && info.ip.is_empty()
        {
            info.ip = format!("nats-route://{}:{}/", remote.ip(), info.port);
        }
        if !link.solicited {
            let url = RouteUrl::parse(&info.ip).expect("an address of ours");
            let place = match &*info.route_account {
                "" => Place::FIRST,
                account => Place::Account(account.into()),
            };
            link.dial = dial(&url, place, false, 0);
        }
        if link.dial.place != Place::FIRST {
            info.route_account = SYSTEM_ACCOUNT.to_owned();
            return self.register_system(cid, info);
        }
        self.register_pooled(cid, info)
    }

    fn register_system(&mut self, cid: Cid, info: Info) -> Result<Vec<(Cid, Info)>, ProtoErr> {
        if let Some(&known) = self.systems.get(&info.server_id) {
            return Err(self.refuse(cid, Some(known), true));
        }
        self.systems.insert(info.server_id.clone(), cid);
        if self.links[&cid].solicited {
            self.introduce(cid, 0);
        }
        Ok(if self.systems.len() > 1 { self.gossip(cid, info) } else { Vec::new() })
    }

    fn register_pooled(&mut self, cid: Cid, info: Info) -> Result<Vec<(Cid, Info)>, ProtoErr> {
        let solicited = self.links[&cid].solicited;
        let pool = *self.pools.entry(info.server_id.clone()).or_default();
        let known: Vec<Cid> = pool.iter().flatten().copied().collect();
        let mut index = Some(info.route_pool_idx as usize);
        if solicited {
            index = pool.iter().position(Option::is_none);
            let dial = self.links[&cid].dial.clone();
            known.iter().for_each(|known| self.upgrade(*known, &dial));
        } else if let Some(taken) = pool[info.route_pool_idx as usize] {
            return Err(self.refuse(cid, Some(taken), false));
        } else if let Some(solicited) = known.iter().find(|known| self.links[known].solicited) {
            let dial = self.links[solicited].dial.clone();
            self.upgrade(cid, &dial);
        }
        let Some(index) = index else { return Err(self.refuse(cid, None, true)) };
        self.pools.entry(info.server_id.clone()).or_default()[index] = Some(cid);
        if solicited {
            self.introduce(cid, index);
            self.links.get_mut(&cid).expect("it is there").goes_on = known.len() + 1 < POOL_SIZE;
        }
        let is_forwarded = known.is_empty() && self.pools.len() > 1;
        Ok(if is_forwarded { self.gossip(cid, info) } else { Vec::new() })
    }

    /// Introduces itself on a connection that it has dialled.
    fn introduce(&self, cid: Cid, index: usize) {
        let Link { conn, dial, .. } = &self.links[&cid];
        let mut own = Vec::new();
        self.own_info(Some(dial), index).write(&mut own);
        conn.append(&own);
    }

    /// Notes that the server is one that this one dials.
    fn upgrade(&mut self, cid: Cid, dial: &Dial) {
        let link = self.links.get_mut(&cid).expect("it is there");
        if !link.solicited || dial.explicit && !link.dial.explicit {
            (link.dial.host, link.dial.port) = (dial.host.clone(), dial.port);
        }
        link.solicited = true;
        link.dial.explicit |= dial.explicit;
    }

    /// Refuses a second connection in a place that is `taken`.
    fn refuse(&mut self, cid: Cid, taken: Option<Cid>, gives_up: bool) -> ProtoErr {
        let link = self.links.get_mut(&cid).expect("it is there");
        link.gives_up |= gives_up;
        let (dial, solicited) = (link.dial.clone(), link.solicited);
        if let Some(taken) = taken.and_then(|taken| self.links.get_mut(&taken)) {
            if solicited && !taken.solicited {
                taken.solicited = true;
                taken.dial = dial.clone();
            }
            taken.dial.explicit |= dial.explicit;
            taken.retries = true;
        }
        ProtoErr::Refused(ClosedReason::DuplicateRoute)
    }

    /// The INFO to forward about a new server, by connection.
    fn gossip(&self, cid: Cid, info: Info) -> Vec<(Cid, Info)> {
        let Link { dial, solicited, .. } = &self.links[&cid];
        let implicit = *solicited && !dial.explicit && dial.gossip_mode != GOSSIP_OVERRIDE;
        if implicit || info.gossip_mode == GOSSIP_DISABLED {
            return Vec::new();
        }
        let of_account = !info.route_account.is_empty();
        let systems = self.systems.iter().filter(|_| of_account);
        let pools =
            self.pools.iter().filter(|(id, _)| !of_account || !self.systems.contains_key(*id));
        let first = pools.filter_map(|(id, pool)| Some((id, pool.iter().flatten().next()?)));
        let forwarded = systems.chain(first).filter(|(id, _)| **id != info.server_id);
        let forwarded = forwarded.map(|(_, &to)| {
            let explicit = if *solicited { dial.explicit } else { self.links[&to].dial.explicit };
            let gossip_mode = match explicit {
                true => GOSSIP_OVERRIDE,
                false if *solicited => 0,
                false => GOSSIP_DISABLED,
            };
            (to, Info { gossip_mode, ..info.clone() })
        });
        forwarded.collect()
    }

    /// Handles gossip about a third server.
    fn handle_gossip(&mut self, info: &Info, now: Moment) {
        let id = &info.server_id;
        let known = match &*info.route_account {
            "" => self.pools.contains_key(id),
            _ => self.systems.contains_key(id),
        };
        let url = RouteUrl::parse(&info.ip).expect("an address of ours");
        let is_listed = self.listed.iter().any(|listed| listed.host == url.host);
        if known || is_listed || *id == self.info.server_id {
            return;
        }
        let place = match &*info.route_account {
            "" => Place::FIRST,
            account => Place::Account(account.into()),
        };
        self.dials.push((dial(&url, place, false, info.gossip_mode), now));
    }

    fn close(&mut self, cid: Cid, now: Moment) {
        let Some(link) = self.links.remove(&cid) else { return };
        self.systems.retain(|_, system| *system != cid);
        for pool in self.pools.values_mut() {
            pool.iter_mut().for_each(|place| *place = place.filter(|known| *known != cid));
        }
        self.pools.retain(|_, pool| pool.iter().any(Option::is_some));
        if link.gives_up || !link.solicited && !link.retries {
            return;
        }
        let jitter =
            Duration::from_micros(self.random.u64(..ROUTE_RETRY_JITTER.as_micros() as u64));
        let pause = if link.dial.explicit { ROUTE_RETRY_PAUSE } else { Duration::ZERO };
        self.dials.push((Dial { gossip_mode: 0, ..link.dial }, now + pause + jitter));
    }
}

/// Used until the other server is known.
const NOWHERE: RouteUrl = RouteUrl { host: String::new(), port: 0, login: None };

fn dial(url: &RouteUrl, place: Place, explicit: bool, gossip_mode: u8) -> Dial {
    let host = url.host.as_str().into();
    Dial { host, port: url.port, login: None, place, explicit, gossip_mode, target: 0 }
}

impl NatsRoute {
    pub(super) fn new(
        server: Arc<NatsServer>,
        registry: Arc<Registry>,
        conn: Arc<Conn>,
        role: Role,
    ) -> NatsRoute {
        NatsRoute { server, registry, conn, role }
    }

    fn handle_info(&self, info: Info, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let mut state = self.server.0.lock();
        let cid = self.conn.cid;
        if let Some(remote) = state.links.get(&cid).and_then(|link| link.remote.as_ref()) {
            if *remote != info.server_id {
                state.handle_gossip(&info, delivery.now);
            }
            return Ok(());
        }
        for (to, info) in state.register(cid, info)? {
            delivery.staging.add_proto_with(&state.links[&to].conn, |frames| info.write(frames));
        }
        let link = &state.links[&cid];
        delivery.staging.mark(&link.conn);
        if link.dial.place != Place::FIRST {
            self.conn.set_dedicated();
        }
        if link.goes_on {
            delivery.staging.add_proto(&self.conn, encoder::PING);
        }
        Ok(())
    }
}

impl Machine for NatsRoute {
    type Rules = RouteRules;

    const STALLS: bool = false;
    const LINGER_MAX: Duration = Duration::ZERO;

    fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    fn rules(&self, _settings: &Settings) -> RouteRules {
        RouteRules {
            max_control_line: 64 * 1024,
            max_payload: 64 * 1024,
            account_absent: self.conn.is_dedicated(),
            connect_first: false,
        }
    }

    fn changes_rules(op: &RouteOp<'_>) -> bool {
        matches!(op, RouteOp::Info(_))
    }

    fn start(&mut self, delivery: &mut Delivery) {
        let mut state = self.server.0.lock();
        let (dial, solicited) = match &self.role {
            Role::Accepted => (dial(&NOWHERE, Place::FIRST, false, 0), false),
            Role::Solicited(dial) => (dial.clone(), true),
        };
        match solicited {
            false => {
                let info = state.own_info(None, 0);
                delivery.staging.add_proto_with(&self.conn, |frames| info.write(frames));
            }
            true => {
                let connect = RouteConnect {
                    name: Some(state.info.server_id.as_str().into()),
                    cluster: Some(state.info.cluster.as_str().into()),
                    ..RouteConnect::default()
                };
                delivery
                    .staging
                    .add_proto_with(&self.conn, |frames| encoder::write_connect(frames, &connect));
            }
        }
        let link = Link {
            conn: Arc::clone(&self.conn),
            dial,
            solicited,
            retries: false,
            gives_up: false,
            remote: None,
            goes_on: false,
        };
        state.links.insert(self.conn.cid, link);
    }

    fn handle_op(&mut self, op: &RouteOp<'_>, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        match op {
            RouteOp::Info(json) => {
                let info = Info::read(json).map_err(|_| ProtoErr::Arguments("INFO"))?;
                self.handle_info(info, delivery)
            }
            RouteOp::Ping => {
                delivery.staging.add_proto(&self.conn, encoder::PONG);
                Ok(())
            }
            RouteOp::Pong => {
                let mut state = self.server.0.lock();
                let link = state.links.get_mut(&self.conn.cid).expect("it is there");
                if std::mem::take(&mut link.goes_on) {
                    let dial = link.dial.clone();
                    state.dials.push((dial, delivery.now));
                }
                Ok(())
            }
            RouteOp::Err(_) => Err(ProtoErr::ErrReceived),
            _ => Ok(()),
        }
    }

    fn handle_msg<'a>(
        &mut self,
        _msg: &RoutedMsg<'a>,
        _remaining: Option<Remaining<'_, 'a, RouteRules>>,
        _delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        Ok(())
    }

    fn fail(&self, refused: Refused<'_>, _delivery: &mut Delivery) -> ClosedReason {
        refused.error.closes().unwrap_or(ClosedReason::ProtocolViolation)
    }

    fn close(&mut self, _reason: ClosedReason, delivery: &mut Delivery) {
        self.server.0.lock().close(self.conn.cid, delivery.now);
    }

    fn forget(&mut self, _delivery: &mut Delivery) -> Left {
        self.registry.remove(&self.conn);
        Left::Nothing
    }

    fn write_deadline(options: &Options) -> Duration {
        options.write_deadline
    }

    fn forgives_slow_writes(_options: &Options) -> bool {
        true
    }
}
