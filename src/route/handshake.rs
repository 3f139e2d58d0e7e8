//! Handshake of two servers: CONNECT from the dialling one, INFO from both, compression if they
//! agree on it, then a place in the mesh.
//!
//! nats: server/route.go `processRouteConnect`, `processRouteInfo`, `sendRouteConnect`

use std::time::Duration;

use crate::auth::certificate::{CertName, Certificate};
use crate::auth::{Identity, Verdict};
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::{ProtoErr, RouteErr};
use crate::base::limits::{ROUTE_FIRST_PING, ROUTE_SPARE_MAX, TRACES_PROTO};
use crate::base::moment::Moment;
use crate::base::quoted::Quoted;
use crate::base::table::Walk;
use crate::codec::connect::{Connect, Credentials, RouteConnect};
use crate::codec::encoder;
use crate::codec::info::Info;
use crate::config::compression::Agreed;
use crate::config::options::{Cluster, ConnectionType, Login, Tls};
use crate::conn::{About, Label, conn_event};
use crate::deliver::Delivery;
use crate::machine::PendingLogin;
use crate::registry::settings::Settings;
use crate::route::mesh::{Dial, Place, Unregistered};
use crate::route::{Open, Role, Route, State, write_ping};

impl Route {
    /// Sends CONNECT to a dialled server.
    pub(super) fn send_connect(&self, dial: &Dial, delivery: &mut Delivery) {
        let (cluster, cluster_dynamic) = self.mesh.cluster_name();
        let login = dial.login.as_ref();
        let connect = RouteConnect {
            echo: true,
            user: login.map(|login| login.user.as_str().into()),
            pass: login.map(|login| login.password.as_deref().unwrap_or("").into()),
            tls_required: self.conn.encryption().is_some(),
            headers: !delivery.settings.options.no_header_support,
            name: Some(self.registry.server_id.as_str().into()),
            cluster: Some(cluster.into()),
            cluster_dynamic,
            ..RouteConnect::default()
        };
        delivery
            .staging
            .add_proto_with(&self.conn, |frames| encoder::write_connect(frames, &connect));
        conn_event!(DEBUG, &self.conn, "Route connect msg sent");
    }

    /// nats-differs: a second CONNECT is ignored.
    pub(super) fn handle_connect(
        &mut self,
        json: &[u8],
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        if !matches!(self.state, State::ExpectConnect) {
            return Ok(());
        }
        let connect = RouteConnect::read(json).map_err(|_| ProtoErr::Arguments("CONNECT"))?;
        let verdict = self.check_login(&connect, &delivery.settings);
        self.log_in(connect, verdict, delivery)
    }

    /// Goes on with a CONNECT, or waits for the check of its credentials. One that was accepted
    /// before only stays so.
    pub(super) fn log_in(
        &mut self,
        connect: RouteConnect,
        verdict: Verdict,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        match verdict {
            Verdict::Admitted(_) => {}
            Verdict::Refused => return Err(ProtoErr::AuthorizationViolation),
            Verdict::Pending(check) => {
                self.proven = Some(check.hash());
                self.login = Some(PendingLogin { connect, check: Some(check) });
                return Ok(());
            }
        }
        if !matches!(self.state, State::ExpectConnect) {
            self.accepted = Some(Box::new(connect));
            return Ok(());
        }
        if connect.lang.is_some() {
            return Err(ProtoErr::RoutePort);
        }
        if let Some(gateway) = connect.gateway {
            return Err(RouteErr::Gateway(gateway).into());
        }
        let theirs = connect.cluster.as_deref().unwrap_or_default();
        let server_id = connect.name.as_deref().unwrap_or_default();
        if !self.mesh.accept_cluster(theirs, connect.cluster_dynamic, server_id) {
            return Err(self.cluster_conflict(theirs).into());
        }
        self.verbose = connect.verbose;
        self.take_headers(connect.headers, &delivery.settings);
        self.accepted = Some(Box::new(connect));
        self.state = State::ExpectInfo;
        self.handshake_due = delivery.now + delivery.settings.routes.stale_after();
        Ok(())
    }

    fn cluster_conflict(&self, theirs: &str) -> RouteErr {
        let (ours, _) = self.mesh.cluster_name();
        RouteErr::ClusterName { theirs: theirs.into(), ours: ours.into() }
    }

    /// Checks the credentials of the other server, and that it names no account; or in their place
    /// its certificate.
    ///
    /// nats: server/auth.go `isRouterAuthorized`
    pub(super) fn check_login(&self, connect: &RouteConnect, settings: &Settings) -> Verdict {
        let cluster = &settings.routes.cluster;
        if let Some(tls) = &cluster.tls
            && (tls.verify_and_map || tls.verify_cert_and_check_known_urls)
        {
            return match self.has_known_name(tls, cluster) {
                true => Verdict::Admitted(Identity::unrestricted(None)),
                false => Verdict::Refused,
            };
        }
        let credentials = Credentials {
            user: connect.user.clone(),
            pass: connect.pass.clone(),
            ..Credentials::default()
        };
        let connect = Connect {
            account: connect.account.clone(),
            new_account: connect.new_account,
            credentials: Some(Box::new(credentials)),
            ..Connect::default()
        };
        settings.routes.authenticator.check(&connect, b"", ConnectionType::Standard)
    }

    /// True if a name in the other server's certificate is that of the cluster's user, or of a host
    /// among the routes.
    fn has_known_name(&self, tls: &Tls, cluster: &Cluster) -> bool {
        let shown = self.conn.certificates();
        let Some(certificate) = shown.first().and_then(|der| Certificate::read(der)) else {
            return false;
        };
        let is_user = |name: &str| {
            let user = matches!(&cluster.login, Login::Single { user, .. } if user == name);
            user && tls.verify_and_map
        };
        let is_host = |name: &str| {
            tls.verify_cert_and_check_known_urls
                && cluster.routes.iter().any(|url| covers(name, &url.host))
        };
        let known = certificate.names().any(|name| match &name {
            CertName::Dns(name) => is_host(name) || is_user(name),
            CertName::Email(name) | CertName::Uri(name) => is_user(name),
            CertName::WithDomain(name) | CertName::Subject(name) => is_user(name),
            // Only its text counts.
            CertName::Listed(_) => false,
        });
        if !known {
            let subject = certificate.plain_subject();
            let subject = Quoted(subject.as_bytes());
            conn_event!(DEBUG, &self.conn, "User in cert [{subject}], not found");
        }
        known
    }

    pub(super) fn handle_info(
        &mut self,
        info: &Info,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        if let State::Open(open) = &self.state {
            if *open.server_id != *info.server_id {
                self.mesh.handle_gossip(&open.server_id, info, delivery.now);
                return Ok(());
            }
            if info.ldm {
                self.mesh.lame_duck(&open.server_id);
            }
            if self.mesh.permits(&self.conn, &open.server_id, info) {
                self.announce_anew();
            }
            return Ok(());
        }
        if info.server_id == self.registry.server_id.as_str() {
            self.end = Unregistered::OwnServer;
            return Err(ProtoErr::Refused(ClosedReason::DuplicateRoute));
        }
        if !info.cluster.is_empty()
            && !self.mesh.accept_cluster(&info.cluster, info.cluster_dynamic, &info.server_id)
        {
            let error = self.cluster_conflict(&info.cluster);
            conn_event!(ERROR, &self.conn, "{error}");
            return Err(ProtoErr::Refused(ClosedReason::ClusterNameConflict));
        }
        let accepted = matches!(self.role, Role::Accepted);
        if accepted && info.server_name == self.registry.info().server_name {
            let name = Quoted(info.server_name.as_bytes());
            conn_event!(ERROR, &self.conn, "Remote server has a duplicate name: {name}");
            return Err(ProtoErr::Refused(ClosedReason::DuplicateServerName));
        }
        if self.agreed.is_none() {
            let compression = &delivery.settings.routes.cluster.compression;
            let rtt = match self.conn.rtt() {
                0 => delivery.now - self.conn.start,
                rtt => Duration::from_nanos(rtt),
            };
            let agreed = compression.agree(&info.compression, rtt)?;
            self.agreed = Some(agreed);
            if let Agreed::S2(level) = agreed {
                if !accepted {
                    self.send_info(self.compression(&delivery.settings), delivery);
                }
                self.start_compression = Some(level);
                return Ok(());
            }
        }
        self.register(info, delivery)
    }

    /// Registers the other server by its complete INFO.
    fn register(&mut self, info: &Info, delivery: &mut Delivery) -> Result<(), ProtoErr> {
        let now = delivery.now;
        let dial = match &self.role {
            Role::Accepted => None,
            Role::Solicited(dial) => Some(dial),
        };
        self.take_headers(info.headers, &delivery.settings);
        let agreed = self.agreed.unwrap_or(Agreed::NotSupported);
        let registered = self.mesh.register(&self.conn, dial, info, agreed, now);
        if let Err(ProtoErr::Route(error)) = &registered
            && matches!(**error, RouteErr::NotDedicated(_))
        {
            self.end = Unregistered::NotDedicated;
        }
        let registered = registered?;
        delivery.staging.mark(&self.conn);
        self.take_name(info);
        if let Some(account) = registered.place.account() {
            let before = self.counted_by(&delivery.settings);
            self.conn.set_dedicated();
            self.conn.set_about(&About { account: Some(account.into()), ..self.conn.about() });
            self.counted_by(&delivery.settings).join(&self.conn);
            before.leave(&self.conn);
        }
        for (conn, line) in registered.gossip {
            delivery.staging.add_proto(&conn, &line);
        }
        let open = Box::new(Open {
            server_id: info.server_id.as_str().into(),
            name: info.server_name.as_str().into(),
            place: registered.place,
            pooled: registered.pooled,
            spare: registered.spare,
            confirm: registered.confirm,
            linked: 0,
            carried: Vec::new(),
            announcing: Vec::new(),
            // Settings may have changed since it came.
            review: (!self.conn.subscriptions().is_empty()).then(Walk::new),
        });
        conn_event!(DEBUG, &self.conn, "Registering remote route {:?}", info.server_id);
        self.handshake_due = Moment::NEVER;
        if open.spare {
            // By then the other server has closed one of the two, if that is its part.
            let patience = match self.mesh.yields_to(&open.server_id) {
                true if registered.crossed => Duration::ZERO,
                true => ROUTE_SPARE_MAX,
                false => ROUTE_SPARE_MAX * 4,
            };
            self.handshake_due = now + patience;
        }
        self.pings.begin(now, ROUTE_FIRST_PING);
        self.silence.begin(now, delivery.settings.routes.cluster.silence_max);
        if open.confirm {
            self.pings.sent(now);
            write_ping(&self.conn, delivery);
        }
        self.state = State::Open(open);
        // Later turns announce interest, so that it does not overtake the staged INFO.
        self.conn.wake();
        Ok(())
    }

    /// Stores the name of the other server, for traces, and whether it takes these.
    fn take_name(&self, info: &Info) {
        if info.proto >= TRACES_PROTO {
            self.conn.set_takes_traces();
        }
        let name = (!info.server_name.is_empty()).then(|| info.server_name.as_str().into());
        // Logs show none.
        let named = Some(Label::default());
        self.conn.set_about(&About { name, named, ..About::default() });
    }

    /// Stores whether the other server takes headers.
    fn take_headers(&self, theirs: bool, settings: &Settings) {
        self.conn.set_headers(theirs && !settings.options.no_header_support);
    }

    /// The name of the compression in INFO.
    pub(super) fn compression(&self, settings: &Settings) -> &'static str {
        let configured = &settings.routes.cluster.compression;
        self.agreed.map_or(configured.as_str(), |agreed| configured.as_str_agreed(agreed))
    }

    pub(super) fn send_info(&self, compression: &str, delivery: &mut Delivery) {
        let info = match (&self.state, &self.role) {
            (State::Open(open), _) => self.mesh.info(&open.place, compression, 0),
            (_, Role::Accepted) => self.mesh.info(&Place::FIRST, compression, 0),
            (_, Role::Solicited(dial)) => {
                self.mesh.info(&dial.place, compression, dial.gossip_mode)
            }
        };
        delivery.staging.add_proto_with(&self.conn, |frames| info.write(frames));
    }
}

/// True if a DNS name in a certificate is that host; a `*` stands for its first label.
///
/// nats: server/auth.go `dnsAltNameMatches`
fn covers(name: &str, host: &str) -> bool {
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((_, of_host))) => domain.eq_ignore_ascii_case(of_host),
        _ => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_certificates_cover_hosts() {
        for (name, host) in [("a.b", "A.b"), ("*.b", "a.b"), ("*.b.c", "a.B.c"), ("a", "a")] {
            assert!(covers(name, host), "{name} {host}");
        }
        for (name, host) in [("*.b", "b"), ("*.b", "a.a.b"), ("*.*", "a.b"), ("a.*", "a.b")] {
            assert!(!covers(name, host), "{name} {host}");
        }
    }
}
