//! `Mesh`: the servers of the cluster known to this one, and the next dials.
//!
//! Another server is known by its id, and may have several connections to us, each in a *place* of
//! its own: an index of the pool, or an account. A second connection in a place is a *spare*: its
//! input counts, but no interest is announced on it; it takes the place when the first one ends.
//! With simultaneous dials the two sides may number the two connections in opposite order. Messages
//! follow the interest announced on a connection, so both work until the server with the smaller id
//! closes its spare. Between two dialtones that happens at once, before clients rely on them; a
//! nats-server may just be closing the other one.
//!
//! Knows no socket and no resolver: an address is text, the time an argument. One lock protects all
//! of it, taken when a connection comes or goes, never for a message.
//! nats: server/route.go `addRoute`, `removeRoute`

mod gossip;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::{ProtoErr, RouteErr};
use crate::base::fnv::{FNV_BASIS, fnv1a};
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
use crate::route::other::{Other, RouteConn, Spare, forwarded_info};
use crate::route::view::RouteView;

pub use crate::route::dials::{Dial, DialFailure, Place};

/// All that is known of the cluster, behind one lock.
pub struct Mesh {
    registry: Arc<Registry>,
    state: Mutex<State, { rank::MESH }>,
}

struct State {
    /// The INFO of this server on all routes.
    info: Info,
    servers: BTreeMap<Box<str>, Other>,
    /// Accepted connections that are not registered yet, the oldest first.
    newcomers: VecDeque<Arc<Conn>>,
    dials: Dials,
    /// Port of the listener for other servers.
    port: u16,
    /// The addresses last found to be our own.
    own_addresses: VecDeque<Box<str>>,
    waker: Option<Waker>,
    stopped: bool,
}

/// Lines about a server for others, with their connections.
pub type Gossip = Vec<(Arc<Conn>, Vec<u8>)>;

/// The result of registering a connection.
pub struct Registered {
    /// Its place.
    pub place: Place,
    /// True if both servers have a pool.
    pub pooled: bool,
    /// True if another connection has the place: no interest is announced on this one for now.
    pub spare: bool,
    /// True for a spare of two dialtones that dialled each other at the same time.
    pub crossed: bool,
    /// Lines to be sent to other servers.
    pub gossip: Gossip,
    /// True if more dials follow the answer to a PING: see [`Mesh::confirmed`].
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

    /// Sets the waker to call when [`next_due`](Mesh::next_due) becomes earlier.
    pub fn set_waker(&self, waker: &Waker) {
        self.state.lock().waker = Some(waker.clone());
    }

    /// The time to ask for the next dial; `NEVER` while there is none.
    pub fn next_due(&self) -> Moment {
        let state = self.state.lock();
        if state.stopped { Moment::NEVER } else { state.dials.next_due() }
    }

    /// The next dial that is due. Several may be under way at the same time.
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

    /// True for an address found to be this server's own, text of a socket address: not to be tried
    /// again. A dial without another address is [`dial_failed`](Mesh::dial_failed).
    pub fn is_self(&self, address: &str) -> bool {
        self.state.lock().own_addresses.iter().any(|own| **own == *address)
    }

    /// Handles a dial that reached no server. Returns facts for the log.
    pub fn dial_failed(&self, dial: &Dial, now: Moment) -> DialFailure {
        let mut state = self.state.lock();
        let failure = state.dials.failed(dial, now);
        state.wake_dialler();
        failure
    }

    /// Takes over the settings in force, in place of those before: dials the servers that are new
    /// among the routes, and leaves those that are gone. What the other servers have to know anew
    /// is their INFO: see [`listening`](Mesh::listening).
    ///
    /// nats-differs: there, an account gets or loses its own connections while others stay.
    pub fn renew(&self, before: &RouteSettings, now: Moment) {
        let settings = self.registry.settings();
        let (old, new) = (&before.cluster, &settings.routes.cluster);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let renamed = new.name.as_ref().filter(|name| **name != state.info.cluster);
        if let Some(name) = renamed {
            (state.info.cluster, state.info.cluster_dynamic) = (name.clone(), false);
        }
        state.dials.set_patience(new.connect_retries, new.connect_backoff);
        let removed: Vec<_> = old.routes.iter().filter(|url| !new.routes.contains(url)).collect();
        let left: Vec<u64> =
            removed.iter().flat_map(|url| state.dials.remove_explicit(url)).collect();
        for url in new.routes.iter().filter(|url| !old.routes.contains(url)) {
            state.dials.add_explicit(url, now);
        }
        let moved = before.dedicated != settings.routes.dedicated || old.pool_size != new.pool_size;
        let recompressed = old.compression != new.compression;
        for (_, member) in state.servers.values().flat_map(Other::all) {
            let dial = member.dial.as_ref();
            if moved || dial.is_some_and(|dial| left.contains(&dial.target)) {
                member.conn.close(ClosedReason::RouteRemoved, false);
            } else if recompressed && new.compression.needs_agreement(member.compression) {
                member.conn.close(ClosedReason::ClientClosed, false);
            }
        }
        state.wake_dialler();
        drop(guard);
        removed.iter().for_each(|url| tracing::info!("Removed route {url}"));
        if let Some(name) = renamed {
            tracing::info!("Cluster name updated to {name}");
        }
    }

    /// Stores the permissions that another server has announced for a connection. True if it may
    /// take subjects now that it did not take before.
    pub fn permits(&self, conn: &Conn, server_id: &str, info: &Info) -> bool {
        let mut state = self.state.lock();
        let other = state.servers.get_mut(server_id);
        let Some(member) = other.and_then(|other| other.find_mut(conn)) else { return false };
        let changed = member.export != info.export;
        (member.import, member.export) = (info.import.clone(), info.export.clone());
        changed
    }

    /// Stops all further dials, because the server stops.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
    }

    /// The name of the cluster, and true if it is generated.
    pub fn cluster_name(&self) -> (String, bool) {
        let state = self.state.lock();
        (state.info.cluster.clone(), state.info.cluster_dynamic)
    }

    /// Accepts the cluster named by another server in CONNECT or INFO, perhaps by taking over its
    /// name; then routes of the old one are closed. False if the names conflict.
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

    /// Adds an accepted connection. If too many have not yet sent INFO, closes the oldest of them:
    /// a server sends it at once, so silent strangers keep no server out.
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

    /// Removes an accepted connection that ended unregistered.
    pub fn turned_away(&self, conn: &Arc<Conn>) {
        self.state.lock().forget_newcomer(conn);
    }

    /// Registers a connection whose INFO has come. A dialled one gets ours, appended to its queue
    /// before other threads find the connection here: the other server takes the first INFO as
    /// ours, and all later ones as gossip.
    ///
    /// # Errors
    /// It does not fit: the caller has to close it.
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
        if dial.is_some_and(|dial| !state.dials.wants(dial)) {
            return Err(ProtoErr::Refused(ClosedReason::RouteRemoved));
        }
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
        let member = RouteConn {
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
            // If its pool is missing, no other server may know of it.
            let forwarded = Info { gossip_mode: GOSSIP_OVERRIDE, ..forwarded };
            self.seek(state, &info.server_id, &forwarded, now);
        }
        if let Some(dial) = dial {
            state.dials.reached(dial, &info.server_id);
        }
        if is_new {
            self.change_client_urls(state);
        }
        // One dial less is under way.
        state.wake_dialler();
        let confirm = dial.is_some() && pooled && !spare;
        Ok(Registered { place, pooled, spare, crossed, gossip, confirm })
    }

    /// Handles the answer of a dialled server: schedules dials for the missing connections.
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

    /// True if the connection has its place, and is not a spare.
    pub fn is_member(&self, conn: &Conn, server_id: &str) -> bool {
        let state = self.state.lock();
        let other = state.servers.get(server_id);
        other.is_some_and(|other| other.members.values().any(|member| member.conn.cid == conn.cid))
    }

    /// True if this server closes its spare: the one with the smaller id does.
    pub fn yields_to(&self, server_id: &str) -> bool {
        self.registry.server_id.as_str() < server_id
    }

    /// Removes a registered connection. If a spare takes its place, the other server may have been
    /// away for all, and gossip about it goes out again.
    ///
    /// nats-differs: the real server has no spares.
    pub fn closed(&self, conn: &Conn, server_id: &str, now: Moment) -> Gossip {
        let mut state = self.state.lock();
        let State { servers, dials, .. } = &mut *state;
        let Some(other) = servers.get_mut(server_id) else { return Gossip::new() };
        let its = |member: &RouteConn| member.conn.cid == conn.cid;
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

    /// Handles the end of a connection before it was registered.
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

    /// Stores the new compression of a connection, as monitoring names it.
    pub fn compresses(&self, conn: &Conn, server_id: &str, compression: &'static str) {
        let mut state = self.state.lock();
        let other = state.servers.get_mut(server_id);
        if let Some(member) = other.and_then(|other| other.find_mut(conn)) {
            member.compression = compression;
        }
    }

    /// The port for other servers.
    pub fn port(&self) -> u16 {
        self.state.lock().port
    }

    /// True if that server is connected.
    pub fn knows(&self, server_id: &str) -> bool {
        self.state.lock().servers.contains_key(server_id)
    }

    /// The number of other servers connected.
    pub fn server_count(&self) -> usize {
        self.state.lock().servers.len()
    }
}

/// The end of a connection that was never registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unregistered {
    /// Worth another attempt.
    Retry,
    /// One of the two servers has no pool, so there are no connections for single accounts.
    NotDedicated,
    /// This server itself was at the other end.
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

    /// Puts a connection into its place. Returns the gossip about it: for the first connection of a
    /// pool, and for each connection of an account.
    fn insert(&mut self, place: &Place, member: RouteConn, forwarded: &Info) -> Gossip {
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
    fnv1a(FNV_BASIS, account.as_bytes()) as usize % pool_size
}

/// True if a connection in that place carries the account.
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

/// The place of a connection.
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

    /// Observed between two real servers.
    #[test]
    fn accounts_have_the_real_servers_place_in_a_pool() {
        for (account, places) in [("$G", [0, 2, 0, 3, 8]), ("$SYS", [0; 5])] {
            let of = |pool_size| pool_index(account, pool_size);
            assert_eq!([2, 3, 4, 5, 10].map(of), places, "{account}");
            assert_eq!([0, 1].map(of), [0, 0]);
        }
    }
}
