//! `Samples`: requests to the services of an account whose time is being measured.
//!
//! A server that passes a measured request on keeps a [`Sample`] with it. The server of the client
//! that answers knows the request only by its reply subject: it notes the time of its arrival. If
//! these are two servers, each makes a part of the measurement, and the parts reach the requester's
//! server in any order.
//! nats: server/client.go `rrTracking`; server/accounts.go `sendTrackingLatency`

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::Account;
use crate::base::moment::Moment;
use crate::codec::client_info::ClientInfo;
use crate::codec::service_latency::{HeaderMap, ServiceLatency};
use crate::config::imports::ServiceExport;

/// Entries of a list here, at most: then the older half is forgotten.
const ENTRIES_MAX: usize = if cfg!(test) { 8 } else { 4_096 };

/// A request that is measured.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Ends its reply subject, which so names the requester's server: `.<hash>.T`.
    pub mark: Box<[u8]>,
    /// The client that asks.
    pub requestor: ClientInfo<'static>,
    /// The headers by which it asks to be measured.
    pub header: HeaderMap,
    /// The time when it was passed on.
    pub start: Moment,
}

/// A part of a measurement.
#[derive(Debug, Clone)]
pub enum Part {
    /// That of the requester's server.
    M1(ServiceLatency<'static>, Arc<ServiceExport>),
    /// That of the other server.
    M2(ServiceLatency<'static>),
}

/// The requests of an account that are being measured, by their reply subjects.
#[derive(Debug, Default)]
pub(super) struct Samples {
    parts: Recent<Part>,
    /// Requests from other servers, by the times of their arrival.
    arrived: Recent<Moment>,
}

/// Entries in two generations, of which the older one is forgotten when the younger one is full.
#[derive(Debug)]
struct Recent<T> {
    young: BTreeMap<Box<[u8]>, T>,
    old: BTreeMap<Box<[u8]>, T>,
}

impl Account {
    /// Keeps a part of the measurement for this reply subject, or takes the other one.
    pub fn join_part(&self, reply: &[u8], part: Part) -> Option<(Part, Part)> {
        let mut samples = self.samples.lock();
        let samples = samples.get_or_insert_default();
        match samples.parts.take(reply) {
            Some(other) => Some((other, part)),
            None => {
                samples.parts.insert(reply, part);
                None
            }
        }
    }

    /// Notes that a measured request of another server has arrived.
    pub fn note_arrival(&self, reply: &[u8], now: Moment) {
        self.samples.lock().get_or_insert_default().arrived.insert(reply, now);
    }

    /// The time when the request that is answered on this subject arrived, once.
    pub fn take_arrival(&self, reply: &[u8]) -> Option<Moment> {
        self.samples.lock().as_mut()?.arrived.take(reply)
    }
}

/// True for the reply subject of a request that is measured.
pub fn is_measured(reply: &[u8]) -> bool {
    reply.starts_with(b"_R_.") && reply.ends_with(b".T")
}

impl<T> Recent<T> {
    fn insert(&mut self, key: &[u8], value: T) {
        if self.young.len() >= ENTRIES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.into(), value);
    }

    fn take(&mut self, key: &[u8]) -> Option<T> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent { young: BTreeMap::new(), old: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recent_ones_are_remembered() {
        let account = Account::new(0, "A");
        let reply = |number: usize| format!("_R_.a.{number:06}.h.T").into_bytes();
        for number in 0..ENTRIES_MAX * 3 {
            account.note_arrival(&reply(number), Moment(number as u64));
        }
        let known = (0..ENTRIES_MAX * 3)
            .filter(|&number| account.take_arrival(&reply(number)) == Some(Moment(number as u64)));
        let known: Vec<_> = known.collect();
        assert_eq!(known, (ENTRIES_MAX * 2..ENTRIES_MAX * 3).collect::<Vec<_>>());
        assert_eq!(account.take_arrival(&reply(ENTRIES_MAX * 3 - 1)), None, "only once");
    }
}
