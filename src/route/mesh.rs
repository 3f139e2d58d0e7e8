//! `Mesh`: the servers of the cluster as this one knows them, and whom to dial when.
//!
//! Another server is known by its id, and may have several connections to us, each in a *place* of
//! its own: an index of the pool, or an account. Who comes second in a place is a *spare*: it is
//! heard, but told of no interest, and takes the place when the first one ends. When both sides
//! dial each other at the same time, each may have made the other's first the second; as messages
//! follow the interest that came by a connection, both go on working until the one with the smaller
//! id lets go of its spare. Between two dialtones that is at once, before anybody relies on them;
//! a nats-server may just be closing the other one.
//!
//! Knows no socket and no resolver: an address is text, the time an argument. All of it is behind
//! one lock, which is taken when a connection comes or goes, never for a message.
//! nats: server/route.go `addRoute`, `removeRoute`

mod gossip;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::{ProtoErr, RouteErr};
use crate::base::limits::{OWN_ADDRESSES_MAX, ROUTE_NEWCOMERS_MAX, ROUTE_SPARE_MAX, ROUTES_MAX};
use crate::base::moment::Moment;
use crate::base::sync::{Mutex, rank};
use crate::codec::info::{GOSSIP_OVERRIDE, Info};
use crate::config::compression::Agreed;
use crate::config::options::Cluster;
use crate::conn::Conn;
use crate::registry::Registry;
use crate::registry::settings::{RouteSettings, Settings};
use crate::route::dials::Dials;
use crate::route::other::{Member, Other, Spare, forwarded_info};
use crate::route::view::RouteView;

pub use crate::route::dials::{Dial, Failure, Place};

/// All that is known of the cluster, behind one lock.
pub struct Mesh {
    registry: Arc<Registry>,
    state: Mutex<State, { rank::MESH }>,
}

struct State {
    /// What INFO says on every route of this server.
    info: Info,
    servers: BTreeMap<Box<str>, Other>,
    /// Accepted connections that are not registered yet, the oldest first.
    newcomers: VecDeque<Arc<Conn>>,
    dials: Dials,
    /// Port that the listener for other servers got.
    port: u16,
    /// Addresses that turned out to be our own, the last ones.
    own_addresses: VecDeque<Box<str>>,
    waker: Option<Waker>,
    stopped: bool,
}

/// Lines by which other servers learn of one, and the connections on which they go out.
pub type Gossip = Vec<(Arc<Conn>, Vec<u8>)>;

/// What registering a connection has led to.
pub struct Registered {
    /// Where it is.
    pub place: Place,
    /// Both servers have a pool.
    pub pooled: bool,
    /// Another connection has the place: no interest is announced on this one for now.
    pub spare: bool,
    /// It is a spare because both servers, two dialtones, dialled each other at the same time.
    pub crossed: bool,
    /// Lines to be sent to other servers.
    pub gossip: Gossip,
    /// After the answer to a PING there is more to dial: see [`Mesh::confirmed`].
    pub confirm: bool,
}

impl Mesh {
    /// A mesh of this server alone. `seed` feeds the jitter of its timers.
    pub fn new(registry: Arc<Registry>, seed: u64) -> Arc<Mesh> {
        let settings = registry.settings();
        let cluster = &settings.routes.cluster;
        let mut random = fastrand::Rng::with_seed(seed);
        let dynamic = cluster.name.is_none();
        let name = cluster.name.clone().unwrap_or_else(|| {
            std::iter::repeat_with(|| random.alphanumeric()).take(GENERATED_NAME_LEN).collect()
        });
        let Cluster { routes, connect_retries, connect_backoff, .. } = cluster;
        let dials = Dials::new(routes, *connect_retries, *connect_backoff, random);
        let info = Info { cluster: name, cluster_dynamic: dynamic, ..Info::default() };
        let state = State {
            info,
            servers: BTreeMap::new(),
            newcomers: VecDeque::new(),
            dials,
            port: 0,
            own_addresses: VecDeque::new(),
            waker: None,
            stopped: false,
        };
        let state = Mutex::new(state);
        Arc::new(Mesh { registry, state })
    }

    /// Who waits for [`next_due`](Mesh::next_due) to come earlier than it was.
    pub fn set_waker(&self, waker: &Waker) {
        self.state.lock().waker = Some(waker.clone());
    }

    /// When to ask for the next dial; `NEVER` while there is none.
    pub fn next_due(&self) -> Moment {
        let state = self.state.lock();
        if state.stopped { Moment::NEVER } else { state.dials.next_due() }
    }

    /// Whom to dial now. Several may be under way at the same time.
    pub fn next_dial(&self, now: Moment) -> Option<Dial> {
        let mut state = self.state.lock();
        let State { servers, dials, stopped, .. } = &mut *state;
        if *stopped {
            return None;
        }
        dials.next(now, |server, place| match servers.get(server) {
            None => *place == Place::FIRST,
            Some(other) => !other.members.contains_key(place),
        })
    }

    /// An address that turned out to be this server's own, text of a socket address: not to be
    /// tried again. If a dial has no other, it is [`dial_failed`](Mesh::dial_failed).
    pub fn is_self(&self, address: &str) -> bool {
        self.state.lock().own_addresses.iter().any(|own| **own == *address)
    }

    /// Nobody was reached. Tells whether it is worth an error in the log, and which attempt it was.
    pub fn dial_failed(&self, dial: &Dial, now: Moment) -> Failure {
        let mut state = self.state.lock();
        let failure = state.dials.failed(dial, now);
        state.wake_dialler();
        failure
    }

    /// No more dials from now on: the server stops.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
    }

    /// The name of the cluster, and whether it was generated.
    pub fn cluster_name(&self) -> (String, bool) {
        let state = self.state.lock();
        (state.info.cluster.clone(), state.info.cluster_dynamic)
    }

    /// Accepts the cluster that another server names in CONNECT or INFO, perhaps by taking over its
    /// name; then routes of the old one are closed. False if the two do not belong together.
    ///
    /// nats: server/route.go `processRouteConnect`, `removeAllRoutesExcept`
    pub fn accept_cluster(&self, theirs: &str, dynamic: bool, server_id: &str) -> bool {
        let mut state = self.state.lock();
        let ours = &state.info.cluster;
        if ours == theirs {
            return true;
        }
        if !state.info.cluster_dynamic || dynamic && ours.as_str() >= theirs {
            return false;
        }
        state.info.cluster = theirs.to_owned();
        state.info.cluster_dynamic = dynamic;
        for (id, other) in &state.servers {
            if **id != *server_id {
                for (_, member) in other.all() {
                    member.conn.close(ClosedReason::ClusterNameConflict, false);
                }
            }
        }
        self.change_client_urls(&state);
        true
    }

    /// Somebody has connected. If too many have who did not say yet who they are, the oldest of
    /// them has to go: a server says so at once, so that strangers who say nothing keep none out.
    ///
    /// nats-differs: the real server keeps all of them, for as long as a handshake may take.
    pub fn welcome(&self, conn: &Arc<Conn>) {
        let mut state = self.state.lock();
        state.newcomers.push_back(Arc::clone(conn));
        let full = state.newcomers.len() > ROUTE_NEWCOMERS_MAX;
        let oldest = if full { state.newcomers.pop_front() } else { None };
        drop(state);
        if let Some(oldest) = oldest {
            oldest.close(ClosedReason::MaxConnectionsExceeded, false);
        }
    }

    /// Somebody who had connected has ended, unregistered.
    pub fn turned_away(&self, conn: &Arc<Conn>) {
        self.state.lock().forget_newcomer(conn);
    }

    /// Registers a connection whose INFO has come. One that we dialled gets our own, which is
    /// appended to its queue before anybody else finds the connection here: to the other server the
    /// first INFO tells who we are, all others are gossip.
    ///
    /// # Errors
    /// It does not fit: it has to be closed.
    pub fn register(
        &self,
        conn: &Arc<Conn>,
        dial: Option<&Dial>,
        info: &Info,
        agreed: Agreed,
        now: Moment,
    ) -> Result<Registered, ProtoErr> {
        let settings = self.registry.settings();
        let routes = &settings.routes;
        let mut state = self.state.lock();
        let pooled = info.route_pool_size > 0 && routes.cluster.pool_size.is_some();
        let place = place(dial, info, pooled, &settings)?;
        let state = &mut *state;
        if state.servers.values().map(Other::count).sum::<usize>() >= ROUTES_MAX {
            return Err(ProtoErr::Refused(ClosedReason::MaxConnectionsExceeded));
        }
        state.forget_newcomer(conn);
        if let Some(dial) = dial {
            let compression = routes.cluster.compression.as_str_agreed(agreed);
            let mut own = Vec::new();
            state.info(&dial.place, compression, dial.gossip_mode).write(&mut own);
            conn.append(&own);
        }
        let is_new = !state.servers.contains_key(info.server_id.as_str());
        let other =
            state.servers.entry(info.server_id.as_str().into()).or_insert_with(|| Other::new(info));
        if pooled {
            other.pool_size = routes.pool_size(info.route_pool_size);
        }
        let member = Member {
            conn: Arc::clone(conn),
            dial: dial.cloned(),
            compression: agreed.as_str(),
            import: info.import.clone(),
            export: info.export.clone(),
        };
        let first = other.members.get(&place).map(|first| (&first.conn, first.dial.is_some()));
        let crossed = info.is_dialtone()
            && first.is_some_and(|(first, dialled)| {
                dialled != dial.is_some() && conn.start - first.start < ROUTE_SPARE_MAX
            });
        let spare = first.is_some();
        let forwarded = forwarded_info(info, conn, &place);
        let mut gossip = Gossip::new();
        if spare {
            other.spares.push(Spare { place: place.clone(), member, forwarded });
        } else {
            gossip = state.insert(&place, member, &forwarded);
            // Nobody else here may have heard of its pool, if that is missing.
            let forwarded = Info { gossip_mode: GOSSIP_OVERRIDE, ..forwarded };
            self.seek(state, &info.server_id, &forwarded, now);
        }
        if let Some(dial) = dial {
            state.dials.reached(dial, &info.server_id);
        }
        if is_new {
            self.change_client_urls(state);
        }
        // A dial less is under way.
        state.wake_dialler();
        let confirm = dial.is_some() && pooled && !spare;
        Ok(Registered { place, pooled, spare, crossed, gossip, confirm })
    }

    /// A server that we dialled has answered: the connections that are still missing may follow.
    pub fn confirmed(&self, dial: &Dial, server_id: &str, now: Moment) {
        let mut state = self.state.lock();
        let State { servers, dials, .. } = &mut *state;
        let Some(other) = servers.get(server_id) else { return };
        let missing = |place: &Place| !other.members.contains_key(place);
        let mut pool = (0..other.pool_size).map(Place::Pool);
        if let Some(place) = pool.find(missing) {
            dials.go_on(dial, place, now);
        }
        let settings = self.registry.settings();
        let accounts =
            settings.routes.dedicated.iter().map(|account| Place::Account(account.as_str().into()));
        accounts.filter(missing).for_each(|place| dials.go_on(dial, place, now));
        state.wake_dialler();
    }

    /// The connection is not a spare any more: it has the place now.
    pub fn is_member(&self, conn: &Conn, server_id: &str) -> bool {
        let state = self.state.lock();
        let other = state.servers.get(server_id);
        other.is_some_and(|other| other.members.values().any(|member| member.conn.cid == conn.cid))
    }

    /// Which of two servers lets go of its spare: the one with the smaller id.
    pub fn yields_to(&self, server_id: &str) -> bool {
        self.registry.server_id.as_str() < server_id
    }

    /// A connection that was registered has ended. If a spare takes its place, the other server may
    /// have been away for everybody, and others are told of it again.
    ///
    /// nats-differs: the real server has no spares.
    pub fn closed(&self, conn: &Conn, server_id: &str, now: Moment) -> Gossip {
        let mut state = self.state.lock();
        let State { servers, dials, .. } = &mut *state;
        let Some(other) = servers.get_mut(server_id) else { return Gossip::new() };
        let its = |member: &Member| member.conn.cid == conn.cid;
        if let Some(at) = other.spares.iter().position(|spare| its(&spare.member)) {
            other.spares.swap_remove(at);
            return Gossip::new();
        }
        let found = other.members.iter().find(|(_, member)| its(member));
        let Some(place) = found.map(|(place, _)| place.clone()) else { return Gossip::new() };
        let Some(member) = other.members.remove(&place) else { return Gossip::new() };
        if let Some(at) = other.spares.iter().position(|spare| spare.place == place) {
            let Spare { member, forwarded, .. } = other.spares.swap_remove(at);
            member.conn.wake();
            return state.insert(&place, member, &forwarded);
        }
        if let Some(dial) = &member.dial {
            dials.lost(dial, now);
        }
        if other.members.is_empty() {
            servers.remove(server_id);
            dials.gone(server_id, now);
            self.change_client_urls(&state);
        }
        state.wake_dialler();
        Gossip::new()
    }

    /// A connection has ended before it was registered.
    pub fn failed(&self, conn: &Conn, dial: &Dial, end: Unregistered, now: Moment) {
        let mut state = self.state.lock();
        match end {
            Unregistered::Retry => _ = state.dials.failed(dial, now),
            Unregistered::NotDedicated => state.dials.forget(dial),
            Unregistered::OwnServer => {
                if let Some(remote) = conn.remote() {
                    state.own_addresses.push_back(remote.to_string().into());
                    if state.own_addresses.len() > OWN_ADDRESSES_MAX {
                        state.own_addresses.pop_front();
                    }
                }
                state.dials.failed(dial, now);
                let literal = dial.host.parse::<core::net::IpAddr>().is_ok();
                if literal || !dial.explicit {
                    state.dials.forget(dial);
                    state.dials.drop_target(dial.target);
                }
            }
        }
        state.wake_dialler();
    }

    /// All registered connections, for monitoring.
    pub fn routes(&self) -> Vec<RouteView> {
        let state = self.state.lock();
        let mut routes = Vec::new();
        for (id, other) in &state.servers {
            for (place, member) in other.all() {
                routes.push(RouteView {
                    conn: Arc::clone(&member.conn),
                    server_id: id.clone(),
                    server_name: other.name.clone(),
                    solicited: member.dial.is_some(),
                    configured: state.dials.is_explicit(id),
                    place: place.clone(),
                    compression: member.compression,
                    import: member.import.clone(),
                    export: member.export.clone(),
                });
            }
        }
        routes
    }

    /// A connection is compressed in another way from now on, as monitoring names it.
    pub fn compresses(&self, conn: &Conn, server_id: &str, compression: &'static str) {
        let mut state = self.state.lock();
        let other = state.servers.get_mut(server_id);
        if let Some(member) = other.and_then(|other| other.find_mut(conn)) {
            member.compression = compression;
        }
    }

    /// The port where other servers can connect.
    pub fn port(&self) -> u16 {
        self.state.lock().port
    }

    /// How many other servers are connected.
    pub fn server_count(&self) -> usize {
        self.state.lock().servers.len()
    }
}

/// How a connection ended that never was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unregistered {
    /// It is worth another attempt.
    Retry,
    /// One of the two servers has no pool, so there are no connections for single accounts.
    NotDedicated,
    /// This server was at the other end as well.
    OwnServer,
}

impl State {
    fn wake_dialler(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn forget_newcomer(&mut self, conn: &Arc<Conn>) {
        if let Some(at) = self.newcomers.iter().position(|newcomer| Arc::ptr_eq(newcomer, conn)) {
            self.newcomers.remove(at);
        }
    }

    /// Puts a connection into its place. Gives what others are to be told: a pool with its first
    /// connection, each connection for an account.
    fn insert(&mut self, place: &Place, member: Member, forwarded: &Info) -> Gossip {
        let Some(other) = self.servers.get_mut(forwarded.server_id.as_str()) else {
            return Gossip::new();
        };
        let is_forwarded = matches!(place, Place::Account(_)) || other.of_pool().is_none();
        let dial = member.dial.clone();
        other.members.insert(place.clone(), member);
        if is_forwarded { self.gossip(dial.as_ref(), forwarded) } else { Gossip::new() }
    }
}

/// The index of an account in a pool of that size.
///
/// nats: server/route.go `computeRoutePoolIdx`
fn pool_index(account: &str, pool_size: usize) -> usize {
    if pool_size <= 1 {
        return 0;
    }
    let hash = account
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % pool_size
}

/// Tells whether an account belongs on a connection in that place.
pub fn carries(place: &Place, pooled: bool, account: &str, routes: &RouteSettings) -> bool {
    if !pooled {
        return true;
    }
    match place {
        Place::Account(own) => **own == *account,
        Place::Pool(index) => {
            let pool_size = routes.cluster.pool_size.unwrap_or(1);
            !routes.is_dedicated(account) && *index == pool_index(account, pool_size)
        }
    }
}

/// Where a connection belongs.
fn place(
    dial: Option<&Dial>,
    info: &Info,
    pooled: bool,
    settings: &Settings,
) -> Result<Place, ProtoErr> {
    let account = match dial {
        None => info.route_account.as_str(),
        Some(Dial { place: Place::Account(account), .. }) => account,
        Some(_) => "",
    };
    if !account.is_empty() {
        let account: Box<str> = account.into();
        if settings.accounts.find(account.as_bytes()).is_none() {
            return Err(RouteErr::AccountMissing(account).into());
        }
        if !pooled {
            return Err(RouteErr::NotDedicated(account).into());
        }
        if !settings.routes.is_dedicated(&account) {
            return Err(RouteErr::NoRouteForAccount(account).into());
        }
        return Ok(Place::Account(account));
    }
    let index = info.route_pool_idx;
    match dial {
        _ if !pooled => Ok(Place::FIRST),
        Some(_) if index != 0 => Err(RouteErr::PoolIndexSet(index).into()),
        Some(dial) => Ok(dial.place.clone()),
        None => {
            let pool_size = settings.routes.pool_size(info.route_pool_size);
            let valid = usize::try_from(index).ok().filter(|&index| index < pool_size);
            let invalid = RouteErr::PoolIndex { index, pool_size: info.route_pool_size };
            valid.map(Place::Pool).ok_or_else(|| invalid.into())
        }
    }
}

/// Characters of a generated cluster name.
const GENERATED_NAME_LEN: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    /// As two real servers were seen to do.
    #[test]
    fn accounts_have_the_real_servers_place_in_a_pool() {
        for (account, places) in [("$G", [0, 2, 0, 3, 8]), ("$SYS", [0; 5])] {
            let of = |pool_size| pool_index(account, pool_size);
            assert_eq!([2, 3, 4, 5, 10].map(of), places, "{account}");
            assert_eq!([0, 1].map(of), [0, 0]);
        }
    }
}
