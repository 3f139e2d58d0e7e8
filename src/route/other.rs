//! `Other`: another server of the cluster, with its connections to this one.
//!
//! nats: server/route.go `addRoute`

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::limits::{CONNECT_URL_LEN_MAX, CONNECT_URLS_MAX};
use crate::codec::info::{Info, Subjects};
use crate::conn::Conn;
use crate::route::dials::{Dial, Place};

/// Addresses for clients, `host:port` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientUrls {
    /// For most clients.
    pub standard: Vec<String>,
    /// For those that come by WebSocket.
    pub websocket: Vec<String>,
}

/// Another server.
pub(super) struct Other {
    pub(super) name: Box<str>,
    /// The size of the pool; 0 if either server has none.
    pub(super) pool_size: usize,
    /// Its addresses for clients; empty once it is about to stop.
    pub(super) client_urls: ClientUrls,
    pub(super) members: BTreeMap<Place, RouteConn>,
    pub(super) spares: Vec<Spare>,
}

/// A connection that waits for its place.
pub(super) struct Spare {
    pub(super) place: Place,
    pub(super) member: RouteConn,
    /// The INFO to forward about it if it gets its place.
    pub(super) forwarded: Info,
}

/// A registered connection.
#[derive(Clone)]
pub(super) struct RouteConn {
    pub(super) conn: Arc<Conn>,
    /// The dial that made it; none if the other server dialled.
    pub(super) dial: Option<Dial>,
    pub(super) compression: &'static str,
    pub(super) import: Option<Subjects>,
    pub(super) export: Option<Subjects>,
}

impl Other {
    /// A server after its first INFO, without connections.
    pub(super) fn new(info: &Info) -> Other {
        Other {
            name: info.server_name.as_str().into(),
            pool_size: 0,
            client_urls: ClientUrls {
                standard: accepted(&info.connect_urls),
                websocket: accepted(&info.ws_connect_urls),
            },
            members: BTreeMap::new(),
            spares: Vec::new(),
        }
    }

    /// The first connection of its pool, or the only one without a pool.
    pub(super) fn of_pool(&self) -> Option<&RouteConn> {
        let mut members = self.members.iter();
        members.find(|(place, _)| matches!(place, Place::Pool(_))).map(|(_, member)| member)
    }

    /// Members and spares, each with its place, taken or awaited.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Place, &RouteConn)> {
        let spares = self.spares.iter().map(|spare| (&spare.place, &spare.member));
        self.members.iter().chain(spares)
    }

    /// The connection that carries this account alone.
    pub(super) fn dedicated(&self, account: &str) -> Option<&RouteConn> {
        self.members.get(&Place::Account(account.into()))
    }

    pub(super) fn count(&self) -> usize {
        self.members.len() + self.spares.len()
    }

    pub(super) fn find_mut(&mut self, conn: &Conn) -> Option<&mut RouteConn> {
        let spares = self.spares.iter_mut().map(|spare| &mut spare.member);
        self.members.values_mut().chain(spares).find(|member| member.conn.cid == conn.cid)
    }
}

/// INFO in the form for other servers: with an address to dial, and the account of the connection.
pub(super) fn forwarded_info(info: &Info, conn: &Conn, place: &Place) -> Info {
    let mut forwarded = info.clone();
    forwarded.nonce.clear();
    if let Place::Account(account) = place {
        forwarded.route_account = account.to_string();
    }
    if forwarded.ip.is_empty()
        && let Some(remote) = conn.remote()
    {
        let address = core::net::SocketAddr::new(remote.ip(), forwarded.port);
        forwarded.ip = format!("nats-route://{address}/");
    }
    forwarded
}

/// Addresses of a server for clients, up to the limit for one server.
fn accepted(urls: &[String]) -> Vec<String> {
    let urls = urls.iter().filter(|url| url.len() <= CONNECT_URL_LEN_MAX);
    urls.take(CONNECT_URLS_MAX).cloned().collect()
}
