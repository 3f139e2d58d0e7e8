//! INFO between servers: about this one, and gossip about others; addresses for clients.
//!
//! nats: server/route.go `processImplicitRoute`, `forwardNewRouteInfoToKnownServers`

use std::sync::Arc;

use crate::base::limits::{ROUTE_PROTO, ROUTE_RETRY_PAUSE};
use crate::base::moment::Moment;
use crate::codec::info::{GOSSIP_DISABLED, GOSSIP_OVERRIDE, Info, Subjects};
use crate::config::options::{self, Login};
use crate::config::route_url::{HostPort, RouteLogin, RouteUrl};
use crate::registry::settings::RouteSettings;
use crate::route::dials::{Dial, Place};
use crate::route::mesh::{Gossip, Mesh, State};
use crate::route::other::ClientUrls;

impl Mesh {
    /// Sets the addresses of this server: the bound `port` for other servers, in place of the
    /// configured one, and the addresses for clients that other servers forward to theirs.
    pub fn listening(&self, port: u16, client_urls: ClientUrls) {
        let base = self.registry.info();
        let settings = self.registry.settings();
        let RouteSettings { cluster, authenticator, .. } = &settings.routes;
        let listen_port = port;
        let listen_host = cluster.listen.as_ref().map(|listen| listen.host.clone());
        let (host, port, ip) = match cluster.advertise.as_deref() {
            None => (listen_host.unwrap_or_default(), port, String::new()),
            Some(advertise) => {
                let own = HostPort(advertise, port);
                let address = HostPort::read(advertise, port).unwrap_or(own);
                (address.0.to_owned(), address.1, format!("nats-route://{address}/"))
            }
        };
        let advertise = !cluster.no_advertise;
        let client_urls = if advertise { client_urls } else { ClientUrls::default() };
        let mut state = self.state.lock();
        state.port = listen_port;
        let permissions = cluster.permissions.as_ref();
        let subjects = |of: fn(&options::Permissions) -> &options::SubjectPermission| {
            permissions.map(of).and_then(announced)
        };
        state.info = Info {
            host,
            port,
            ip,
            proto: ROUTE_PROTO,
            git_commit: None,
            auth_required: authenticator.required(),
            tls_required: cluster.tls.is_some(),
            tls_verify: cluster.tls.is_some(),
            tls_available: false,
            client_id: 0,
            connect_urls: client_urls.standard,
            ws_connect_urls: client_urls.websocket,
            cluster: state.info.cluster.clone(),
            cluster_dynamic: state.info.cluster_dynamic,
            import: subjects(|permissions| &permissions.publish),
            export: subjects(|permissions| &permissions.subscribe),
            route_pool_size: cluster.pool_size.unwrap_or(0) as i64,
            ..base
        };
        self.change_client_urls(&state);
    }

    /// The INFO for a route.
    ///
    /// nats-differs: no nonce, which no server would sign.
    pub fn info(&self, place: &Place, compression: &str, gossip_mode: u8) -> Info {
        self.state.lock().info(place, compression, gossip_mode)
    }

    /// Handles gossip: an INFO about another server than `source`, the one at the end of the
    /// connection, or about one connection to it.
    pub fn handle_gossip(&self, source: &str, info: &Info, now: Moment) {
        if info.server_id != self.registry.server_id.as_str() {
            self.seek(&mut self.state.lock(), source, info, now);
        }
    }

    /// Schedules dials to a server for missing connections: the one that INFO names, and the first
    /// of its pool. If INFO names another one, the pool has a second to come by itself or by
    /// gossip.
    ///
    /// nats-differs: the real server waits without end, although that gossip may be lost.
    pub(super) fn seek(&self, state: &mut State, source: &str, info: &Info, now: Moment) {
        let account = &*info.route_account;
        let settings = self.registry.settings();
        if !account.is_empty() && !settings.routes.is_dedicated(account) {
            return;
        }
        let other = state.servers.get(info.server_id.as_str());
        let has_pool = other.is_some_and(|other| other.of_pool().is_some());
        let is_there = other.is_some_and(|other| other.dedicated(account).is_some());
        let pool = (!has_pool).then_some(Place::FIRST);
        let dedicated = (!account.is_empty() && !is_there).then(|| Place::Account(account.into()));
        let due = match account.is_empty() || has_pool {
            true => now,
            false => now + ROUTE_RETRY_PAUSE,
        };
        for place in pool.into_iter().chain(dedicated) {
            let Ok(mut url) = RouteUrl::parse(&info.ip) else { return };
            if info.auth_required
                && let Login::Single { user, password } = &settings.routes.cluster.login
            {
                let password = Some(password.clone());
                url.login = Some(RouteLogin { user: user.clone(), password });
            }
            state.dials.handle_gossip(source, &info.server_id, url, info.gossip_mode, place, due);
            state.wake_dialler();
        }
    }

    /// Handles the lame duck mode of another server: its addresses are not given to clients any
    /// more.
    pub fn lame_duck(&self, server_id: &str) {
        let mut state = self.state.lock();
        if let Some(other) = state.servers.get_mut(server_id) {
            other.client_urls = ClientUrls::default();
            self.change_client_urls(&state);
        }
    }

    /// Enters lame duck mode: no client here or elsewhere is given an address of this server any
    /// more. Clients here get the other addresses with the INFO that tells them of the mode.
    ///
    /// nats: server/server.go `sendLDMToRoutes`
    pub fn enter_lame_duck(&self) {
        let mut state = self.state.lock();
        state.info.ldm = true;
        state.info.connect_urls.clear();
        state.info.ws_connect_urls.clear();
        let (urls, ws_urls) = self.client_urls(&state, &self.registry.info());
        self.registry
            .amend_info(|info| (info.connect_urls, info.ws_connect_urls) = (urls, ws_urls));
        let mut line = Vec::new();
        state.info.write(&mut line);
        for member in state.servers.values().filter_map(|other| other.members.values().next()) {
            member.conn.append(&line);
            member.conn.wake();
        }
    }

    /// Sends clients the addresses of the cluster, if they have changed.
    pub(super) fn change_client_urls(&self, state: &State) {
        let cluster = &state.info.cluster;
        let known = self.registry.info();
        let (urls, ws_urls) = self.client_urls(state, &known);
        let is_news = known.connect_urls != urls || known.ws_connect_urls != ws_urls;
        if is_news || known.cluster != *cluster {
            self.registry.change_info(|info| {
                (info.connect_urls, info.ws_connect_urls) = (urls, ws_urls);
                info.cluster.clone_from(cluster);
            });
        }
    }

    /// The addresses for clients, by either way; `known` is the INFO that clients have now.
    fn client_urls(&self, state: &State, known: &Info) -> (Vec<String>, Vec<String>) {
        let own = &state.info;
        (
            self.cluster_urls(state, &known.connect_urls, &own.connect_urls, |urls| &urls.standard),
            self.cluster_urls(state, &known.ws_connect_urls, &own.ws_connect_urls, |urls| {
                &urls.websocket
            }),
        )
    }

    /// The `own` addresses and those of others; `known` are those that clients have now.
    fn cluster_urls(
        &self,
        state: &State,
        known: &[String],
        own: &[String],
        of: fn(&ClientUrls) -> &[String],
    ) -> Vec<String> {
        let mut others = Vec::new();
        if !self.registry.settings().routes.cluster.no_advertise {
            let urls = state.servers.values().flat_map(|other| of(&other.client_urls));
            others.extend(urls.cloned());
            others.sort_unstable();
            others.dedup();
        }
        // The own addresses are included once there are others.
        if known.is_empty() && others.is_empty() {
            return Vec::new();
        }
        [own, &others].concat()
    }
}

impl State {
    pub(super) fn info(&self, place: &Place, compression: &str, gossip_mode: u8) -> Info {
        let mut info = self.info.clone();
        match place {
            Place::Pool(index) => info.route_pool_idx = *index as i64,
            Place::Account(account) => info.route_account = account.to_string(),
        }
        info.compression = compression.to_owned();
        info.gossip_mode = gossip_mode;
        info
    }

    /// Gossip about a new server, or about its connection for an account, for the other servers. A
    /// server with account connections only gets none about a pool: that follows when its own pool
    /// comes.
    pub(super) fn gossip(&self, dial: Option<&Dial>, info: &Info) -> Gossip {
        let explicit = dial.map(|dial| dial.explicit);
        let implicit =
            dial.is_some_and(|dial| !dial.explicit && dial.gossip_mode != GOSSIP_OVERRIDE);
        if implicit || info.gossip_mode == GOSSIP_DISABLED {
            return Gossip::new();
        }
        let mut forwarded = info.clone();
        let others = || self.servers.iter().filter(|(id, _)| ***id != *forwarded.server_id);
        let account = forwarded.route_account.clone();
        let of_account = !account.is_empty();
        // As long as no other server has one, all of them are still to come.
        if of_account && !others().any(|(_, other)| other.dedicated(&account).is_some()) {
            return Gossip::new();
        }
        let mut lines = Gossip::new();
        for (id, other) in others().filter(|(_, other)| !of_account || other.pool_size > 0) {
            let Some(member) = other.dedicated(&account).or_else(|| other.of_pool()) else {
                continue;
            };
            forwarded.gossip_mode = match explicit {
                Some(true) => GOSSIP_OVERRIDE,
                None if self.dials.is_explicit(id) => GOSSIP_OVERRIDE,
                None => GOSSIP_DISABLED,
                Some(false) => 0,
            };
            let mut line = Vec::new();
            forwarded.write(&mut line);
            lines.push((Arc::clone(&member.conn), line));
        }
        lines
    }
}

/// Subjects as INFO shows them; none if all are allowed.
fn announced(permission: &options::SubjectPermission) -> Option<Subjects> {
    let options::SubjectPermission { allow, deny } = permission;
    (allow.is_some() || !deny.is_empty())
        .then(|| Subjects { allow: allow.clone().unwrap_or_default(), deny: deny.clone() })
}
