//! `/routez`: the connections to other servers, one by one.
//!
//! nats: server/monitor.go `Routez`

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::codec::date::Date;
use crate::codec::info::Subjects;
use crate::monitor::View;
use crate::monitor::connz::rtt;
use crate::monitor::json::Uptime;
use crate::monitor::params::Subs;
use crate::monitor::subsz::{self, DetailList, Known, SubjectList};
use crate::route::mesh::Place;
use crate::route::view::RouteView;

/// The document.
#[derive(Serialize)]
pub struct Routez<'a> {
    pub server_id: &'a str,
    pub server_name: String,
    pub now: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<Subjects>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<Subjects>,
    pub num_routes: usize,
    pub routes: Routes<'a>,
}

/// The connections; their records are made as they are written.
pub struct Routes<'a> {
    view: &'a View<'a>,
    subs: Subs,
    listed: Vec<RouteView>,
}

impl Serialize for Routes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listed = self.listed.iter();
        serializer.collect_seq(listed.map(|route| RouteInfo::new(self.view, route, self.subs)))
    }
}

/// One connection.
#[derive(Serialize)]
pub struct RouteInfo {
    pub rid: u64,
    pub remote_id: Box<str>,
    pub remote_name: Box<str>,
    pub did_solicit: bool,
    pub is_configured: bool,
    pub ip: String,
    pub port: u16,
    pub start: Date,
    pub last_activity: Date,
    pub rtt: String,
    pub uptime: Uptime,
    pub idle: Uptime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<Subjects>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<Subjects>,
    /// Bytes.
    pub pending_size: usize,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions_list: Option<SubjectList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions_list_detail: Option<DetailList>,
    /// The account, if the connection carries only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<str>>,
    pub compression: &'static str,
}

/// Makes the document.
pub fn routez<'a>(view: &'a View<'a>, subs: Subs) -> Routez<'a> {
    let own = view.mesh.map(|mesh| mesh.info(&Place::FIRST, "", 0)).unwrap_or_default();
    let listed = view.mesh.map(|mesh| mesh.routes()).unwrap_or_default();
    Routez {
        server_id: view.server_id(),
        server_name: view.registry.info().server_name,
        now: view.date(view.now),
        import: own.import,
        export: own.export,
        num_routes: listed.len(),
        routes: Routes { view, subs, listed },
    }
}

impl RouteInfo {
    fn new(view: &View<'_>, route: &RouteView, subs: Subs) -> RouteInfo {
        let conn = &route.conn;
        let traffic = conn.traffic();
        let (subscriptions_list, subscriptions_list_detail) =
            subsz::lists(subs, || Known::Open(Arc::clone(conn)));
        RouteInfo {
            rid: conn.cid.0,
            remote_id: route.server_id.clone(),
            remote_name: route.server_name.clone(),
            did_solicit: route.solicited,
            is_configured: route.configured,
            ip: conn.remote().map_or_else(String::new, |remote| remote.ip().to_string()),
            port: conn.remote().map_or(0, |remote| remote.port()),
            start: view.date(conn.start),
            last_activity: view.date(conn.last_activity()),
            rtt: rtt(conn.rtt()),
            uptime: Uptime(view.now.since(conn.start)),
            idle: Uptime(view.now.since(conn.last_activity())),
            import: route.import.clone(),
            export: route.export.clone(),
            pending_size: conn.received().pending_bytes,
            in_msgs: traffic.in_msgs,
            out_msgs: traffic.out_msgs,
            in_bytes: traffic.in_bytes,
            out_bytes: traffic.out_bytes,
            subscriptions: conn.subscriptions().len(),
            subscriptions_list,
            subscriptions_list_detail,
            account: match &route.place {
                Place::Account(account) => Some(account.clone()),
                Place::Pool(_) => None,
            },
            compression: route.compression,
        }
    }
}
