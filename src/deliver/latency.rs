//! Measurements of requests to services, published in the account with the service.
//!
//! If a client of this server answers, this server measures all of it. Otherwise the other server
//! measures the service, on its own clock, and publishes that in the system account, for this
//! server alone.
//!
//! nats: server/accounts.go `sendTrackingLatency`, `sendBadRequestTrackingLatency`,
//! `sendBackendErrorTrackingLatency`, `sendReplyInterestLostTrackLatency`; server/client.go
//! `trackRemoteReply`, `setupResponseServiceImport`; server/events.go `remoteLatencyUpdate`

use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::account::responses::Response;
use crate::account::samples::{Part, Sample};
use crate::base::moment::Moment;
use crate::base::secrets;
use crate::codec::client_info::ClientInfo;
use crate::codec::date::Date;
use crate::codec::encoder;
use crate::codec::service_latency::{HeaderMap, RemoteLatency, ServiceLatency};
use crate::codec::trace_headers;
use crate::config::imports::{ServiceExport, ServiceImport};
use crate::config::options::Sampling;
use crate::conn::Conn;
use crate::deliver::Delivery;
use crate::deliver::row::{Publisher, Scope};
use crate::parser::Publish;

/// Time to make a measurement, nanoseconds, about.
const SAMPLE_NS: usize = 5_000;

/// Begins the subject for measurements from other servers.
const REMOTE: &[u8] = b"$SYS.LATENCY.M2.";

/// The subject for measurements of other servers that are for this one.
pub fn remote_subject(server_name: &str) -> Vec<u8> {
    [REMOTE, &secrets::server_hash(server_name)].concat()
}

/// True for the subject of a measurement from another server.
pub(super) fn is_remote(subject: &[u8]) -> bool {
    subject.starts_with(REMOTE)
}

/// The end of a request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It has no reply subject.
    BadRequest = 400,
    /// Nobody waits for the answer any more.
    RequestTimeout = 408,
    /// It reached nobody.
    ServiceUnavailable = 503,
    /// No answer came in time.
    ServiceTimeout = 504,
}

impl Failure {
    fn description(self) -> &'static str {
        match self {
            Failure::BadRequest => "Bad Request",
            Failure::RequestTimeout => "Request Timeout",
            Failure::ServiceUnavailable => "Service Unavailable",
            Failure::ServiceTimeout => "Service Timeout",
        }
    }
}

impl Delivery {
    /// The sample for a request, if it is to be measured.
    pub(super) fn sample(
        &mut self,
        import: &ServiceImport,
        publish: &Publish<'_>,
        conn: &Conn,
    ) -> Option<Box<Sample>> {
        let latency = import.export.latency.as_ref().filter(|_| !self.is_only_traced())?;
        let by_chance = match latency.sampling {
            Sampling::Percent(percent) => self.picks.random.u8(..100) < percent,
            Sampling::Headers => false,
        };
        let header = match by_chance {
            true => HeaderMap::new(),
            false => trace_headers::sampled(publish.header())?,
        };
        let hash = secrets::server_hash(&self.registry.info().server_name);
        conn.want_rtt();
        Some(Box::new(Sample {
            mark: [b".", &hash[..], b".T"].concat().into(),
            requestor: self.client_info(conn, import.share),
            header,
            start: self.now,
        }))
    }

    /// Publishes the measurement of a request that has failed.
    pub fn report_failure(
        &mut self,
        server: &Arc<Account>,
        export: &ServiceExport,
        sample: &Sample,
        failure: Failure,
    ) {
        let measured = ServiceLatency {
            status: failure as u16,
            description: failure.description().into(),
            ..self.measurement(sample)
        };
        self.publish_sample(server, export, measured);
    }

    /// The same, if the request was measured.
    pub fn report(&mut self, server: &Arc<Account>, response: &Response, failure: Failure) {
        if let Some(sample) = &response.sample {
            self.report_failure(server, &response.export, sample, failure);
        }
    }

    /// Measures a request that is answered on `reply` by this publisher.
    pub(super) fn measure_answer(
        &mut self,
        server: &Arc<Account>,
        reply: &[u8],
        response: &Response,
        publisher: Publisher<'_>,
    ) {
        let Response { export, sample: Some(sample), .. } = response else { return };
        let elapsed = nanos(self.now - sample.start);
        let mut measured = self.measurement(sample);
        measured.status = 200;
        measured.total = sample.requestor.rtt as i64 + elapsed;
        if publisher.conn.kind.is_client() {
            let responder = self.client_info(publisher.conn, true);
            measured.service = (elapsed - responder.rtt as i64).max(0);
            measured.responder = Some(responder);
            return self.publish_sample(server, export, measured);
        }
        measured.service = elapsed;
        self.join_part(server, reply, Part::M1(measured, Arc::clone(export)));
    }

    /// Takes the measurement of another server.
    pub(super) fn take_remote(&mut self, json: &[u8]) -> Option<()> {
        let remote: RemoteLatency<'static> = serde_json::from_slice(json).ok()?;
        let server = Arc::clone(self.settings.accounts.find(remote.account.as_bytes())?);
        // Whether the request is known is not asked: another thread may be handling its answer.
        self.join_part(&server, remote.req_id.as_bytes(), Part::M2(remote.m2));
        Some(())
    }

    /// Publishes a measurement made by two servers when both parts of it are there.
    fn join_part(&mut self, server: &Arc<Account>, reply: &[u8], part: Part) {
        if let Some(
            (Part::M1(mut m1, export), Part::M2(m2)) | (Part::M2(m2), Part::M1(mut m1, export)),
        ) = server.join_part(reply, part)
        {
            m1.merge(m2);
            self.publish_sample(server, &export, m1);
        }
    }

    /// Reports to the requester's server how long a client took to answer on `subject`, if the
    /// request was measured and came from there.
    #[cold]
    pub fn measure_service(&mut self, account: &Account, subject: &[u8], conn: &Arc<Conn>) {
        let Some(start) = account.take_arrival(subject) else { return };
        let Some(system_account) = self.settings.system_account().cloned() else { return };
        let Some(hash) = subject.rsplit(|byte| *byte == b'.').nth(1) else { return };
        let responder = self.client_info(conn, true);
        let total = nanos(self.now - start);
        let service = (total - responder.rtt as i64).max(0);
        let m2 = ServiceLatency {
            timestamp: ServiceLatency::NO_DATE.into(),
            status: 200,
            start: self.date(start).into(),
            service,
            total: service + responder.rtt as i64,
            responder: Some(responder),
            ..ServiceLatency::default()
        };
        let remote = RemoteLatency {
            account: (&*account.name).into(),
            req_id: String::from_utf8_lossy(subject),
            m2,
        };
        let subject = [REMOTE, hash].concat();
        self.publish_json(&system_account, &subject, &remote.to_json());
    }

    /// A client as measurements show it.
    fn client_info(&self, conn: &Conn, shared: bool) -> ClientInfo<'static> {
        let mut info = if shared { self.registry.client_info(conn) } else { ClientInfo::default() };
        if shared {
            let server = self.registry.info();
            info.server = server.server_name.into();
            info.cluster = server.cluster.into();
        }
        info.acc = conn.about().account().to_owned().into();
        info.rtt = conn.rtt();
        info
    }

    fn measurement(&self, sample: &Sample) -> ServiceLatency<'static> {
        let sent = Moment(sample.start.0.saturating_sub(sample.requestor.rtt));
        ServiceLatency {
            requestor: Some(sample.requestor.clone()),
            header: sample.header.clone(),
            start: self.date(sent).into(),
            ..ServiceLatency::default()
        }
    }

    fn publish_sample(
        &mut self,
        server: &Arc<Account>,
        export: &ServiceExport,
        mut measured: ServiceLatency<'static>,
    ) {
        let Some(latency) = &export.latency else { return };
        measured.type_ = ServiceLatency::TYPE.into();
        measured.id = self.draw_id().into();
        measured.timestamp = self.date(self.now).into();
        self.publish_json(server, latency.subject.as_bytes(), &measured.to_json());
    }

    /// Draws the number of an event.
    pub fn draw_id(&mut self) -> String {
        let secrets = &mut self.secrets;
        let id = [&secrets.draw::<10>()[..], &secrets.draw::<10>(), &secrets.draw::<2>()];
        String::from_utf8_lossy(&id.concat()).into_owned()
    }

    /// Publishes a document as this server.
    fn publish_json(&mut self, account: &Arc<Account>, subject: &[u8], json: &[u8]) {
        let Some(own) = self.registry.system() else { return };
        self.staging.add_work(SAMPLE_NS);
        let mut size_text = Vec::new();
        encoder::write_decimal(&mut size_text, json.len() as u64);
        let publish = Publish {
            subject,
            reply: b"",
            header_len: None,
            size_text: &size_text,
            message: json,
            tail: b"",
        };
        let publisher = Publisher { conn: &own, echo: true };
        // It is a message of its own, on no way.
        let (way, traced) = (std::mem::take(&mut self.way), self.set_traced(None));
        self.deliver_one(account, &publish, Scope::ALL, publisher);
        self.way = way;
        self.set_traced(traced);
    }

    fn date(&self, moment: Moment) -> String {
        Date(self.registry.date(moment)).to_string()
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
