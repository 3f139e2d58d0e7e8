//! `Dials`: which servers to reach, by which connection, and when to try again.
//!
//! A *target* is an address: one of the configuration, which is tried for ever, or one that was
//! heard of, which is tried a few times. Which server answers there is known once one did. A dial
//! is *waiting* for its time, or *under way* until it is told what became of it.
//! nats: server/route.go `connectToRoute`, `reConnectToRoute`, `processImplicitRoute`

use std::time::Duration;

use crate::limits::{
    IMPLICIT_ATTEMPTS_MIN, ROUTE_RETRY_JITTER, ROUTE_RETRY_PAUSE, ROUTE_RETRY_PAUSE_MAX,
};
use crate::moment::Moment;
use crate::route_url::{RouteLogin, RouteUrl};

/// Which of the connections to another server one is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The one of this index in the pool, which begins with the only one where there is no pool.
    Pool(usize),
    /// The one that carries this account alone.
    Account(Box<str>),
}

impl Place {
    /// The one that is dialled first.
    pub const FIRST: Place = Place::Pool(0);
}

/// One attempt to reach another server. It ends in [`Mesh::dial_failed`](super::mesh::Mesh), or in
/// a [`Route`](crate::route::Route) of [`Role::Solicited`](crate::route::Role), which tells the
/// mesh when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Name or address, IPv6 without brackets. To be resolved anew for each attempt.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// Credentials for the other server.
    pub login: Option<RouteLogin>,
    /// What the connection is for.
    pub place: Place,
    /// It is a server of the configuration.
    pub explicit: bool,
    /// As it was in the INFO that told of the server.
    pub gossip_mode: u8,
    pub(super) target: u32,
}

/// All targets and dials.
pub(super) struct Dials {
    targets: Vec<Target>,
    targets_made: u32,
    dials: Vec<Pending>,
    /// Attempts of a target that was heard of.
    implicit_attempts: u64,
    /// Each pause is twice as long as the one before.
    backoff: bool,
    random: fastrand::Rng,
}

/// An address.
struct Target {
    number: u32,
    url: RouteUrl,
    explicit: bool,
    gossip_mode: u8,
    /// Id of the server that answered there last, or is said to be there.
    server: Option<Box<str>>,
    /// Somebody answered at some time.
    reached: bool,
}

/// A dial and its time.
struct Pending {
    target: u32,
    place: Place,
    /// When it is due; `None` while it is under way.
    due: Option<Moment>,
    /// Failures in a row.
    failures: u64,
}

/// What is worth telling about a failed dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// It is worth an error in the log.
    pub report: bool,
    /// Which attempt it was, from 1.
    pub attempt: u64,
}

impl Dials {
    /// Targets from the configuration, all due at once.
    pub(super) fn new(
        routes: &[RouteUrl],
        retries: usize,
        backoff: bool,
        random: fastrand::Rng,
    ) -> Dials {
        let mut dials = Dials {
            targets: Vec::new(),
            targets_made: 0,
            dials: Vec::new(),
            implicit_attempts: (retries as u64 + 1).max(IMPLICIT_ATTEMPTS_MIN),
            backoff,
            random,
        };
        for url in routes {
            let target = dials.add(url.clone(), true, 0, None);
            dials.schedule(target, Place::FIRST, Moment::START);
        }
        dials
    }

    fn add(
        &mut self,
        url: RouteUrl,
        explicit: bool,
        gossip_mode: u8,
        server: Option<Box<str>>,
    ) -> u32 {
        let number = self.targets_made;
        self.targets_made += 1;
        let target = Target { number, url, explicit, gossip_mode, server, reached: false };
        self.targets.push(target);
        number
    }

    /// Hears of a server that is not connected: it is dialled, unless the configuration has it.
    pub(super) fn hear_of(&mut self, server: &str, url: RouteUrl, gossip_mode: u8, now: Moment) {
        let is_server = |target: &Target| target.server.as_deref() == Some(server);
        let is_there = |target: &Target| {
            target.url.port == url.port && target.url.host.eq_ignore_ascii_case(&url.host)
        };
        let explicit = |target: &Target| target.explicit && (is_server(target) || is_there(target));
        if self.targets.iter().any(explicit) {
            return;
        }
        let known = self.targets.iter_mut().find(|target| is_server(target));
        let number = match known {
            Some(target) => {
                (target.url, target.gossip_mode) = (url, gossip_mode);
                target.number
            }
            None => self.add(url, false, gossip_mode, Some(server.into())),
        };
        self.schedule(number, Place::FIRST, now);
    }

    /// The server of that id is a target of the configuration.
    pub(super) fn is_explicit(&self, server: &str) -> bool {
        let is_it = |target: &Target| target.server.as_deref() == Some(server);
        self.targets.iter().any(|target| target.explicit && is_it(target))
    }

    /// Adds a dial that is not there yet.
    fn schedule(&mut self, target: u32, place: Place, due: Moment) {
        let same = |dial: &Pending| dial.target == target && dial.place == place;
        if !self.dials.iter().any(same) {
            self.dials.push(Pending { target, place, due: Some(due), failures: 0 });
        }
    }

    /// The earliest time at which a dial is due.
    pub(super) fn next_due(&self) -> Moment {
        self.dials.iter().filter_map(|dial| dial.due).min().unwrap_or(Moment::NEVER)
    }

    /// A dial that is due, as long as it is `wanted` of the server that answered there last.
    pub(super) fn next(
        &mut self,
        now: Moment,
        wanted: impl Fn(&str, &Place) -> bool,
    ) -> Option<Dial> {
        loop {
            let is_due = |dial: &Pending| dial.due.is_some_and(|due| due <= now);
            let at = self.dials.iter().position(is_due)?;
            let Pending { target, place, .. } = &self.dials[at];
            let found = self.targets.iter().find(|known| known.number == *target);
            let Some(found) = found else {
                self.dials.swap_remove(at);
                continue;
            };
            let useful = match &found.server {
                Some(server) => wanted(server, place),
                None => *place == Place::FIRST,
            };
            if !useful {
                self.dials.swap_remove(at);
                continue;
            }
            let dial = Dial {
                host: found.url.host.as_str().into(),
                port: found.url.port,
                login: found.url.login.clone(),
                place: place.clone(),
                explicit: found.explicit,
                gossip_mode: found.gossip_mode,
                target: found.number,
            };
            self.dials[at].due = None;
            return Some(dial);
        }
    }

    /// A dial has found that server, and is settled.
    pub(super) fn reached(&mut self, dial: &Dial, server: &str) {
        self.forget(dial);
        // A target that was heard of is one server, whatever its address.
        if dial.explicit {
            let heard_of =
                |target: &Target| !target.explicit && target.server.as_deref() == Some(server);
            let doubles: Vec<u32> =
                self.targets.iter().filter(|t| heard_of(t)).map(|t| t.number).collect();
            self.targets.retain(|target| !doubles.contains(&target.number));
            self.dials.retain(|dial| !doubles.contains(&dial.target));
        }
        if let Some(target) = self.targets.iter_mut().find(|t| t.number == dial.target) {
            target.server = Some(server.into());
            target.reached = true;
        }
    }

    /// Goes on with another connection to where a dial came from.
    pub(super) fn go_on(&mut self, dial: &Dial, place: Place, now: Moment) {
        self.schedule(dial.target, place, now);
    }

    /// A connection that a dial had made is lost.
    pub(super) fn lost(&mut self, dial: &Dial, now: Moment) {
        let pause = if dial.explicit { ROUTE_RETRY_PAUSE } else { Duration::ZERO };
        let due = now + pause + self.jitter();
        self.schedule(dial.target, dial.place.clone(), due);
    }

    /// A server that others had dialled is gone: it is dialled if it is one of the configuration.
    pub(super) fn gone(&mut self, server: &str, now: Moment) {
        let due = now + ROUTE_RETRY_PAUSE + self.jitter();
        let its = self
            .targets
            .iter()
            .filter(|target| target.explicit && target.server.as_deref() == Some(server));
        for target in its.map(|target| target.number).collect::<Vec<_>>() {
            self.schedule(target, Place::FIRST, due);
        }
    }

    /// A dial reached nobody, or nobody that can be talked to. It is tried again, if it is of the
    /// configuration or has attempts left.
    pub(super) fn failed(&mut self, dial: &Dial, now: Moment) -> Failure {
        let jitter = self.jitter();
        let same = |known: &Pending| known.target == dial.target && known.place == dial.place;
        let Some(pending) = self.dials.iter_mut().find(|known| same(known)) else {
            return Failure { report: false, attempt: 0 };
        };
        pending.failures += 1;
        let attempt = pending.failures;
        let doubled = if self.backoff || !dial.explicit { attempt.min(6) as u32 - 1 } else { 0 };
        let pause = (ROUTE_RETRY_PAUSE * (1 << doubled)).min(ROUTE_RETRY_PAUSE_MAX);
        pending.due = Some(now + pause + jitter);
        let reached = self.targets.iter().any(|t| t.number == dial.target && t.reached);
        if !dial.explicit && attempt >= self.implicit_attempts {
            self.drop_target(dial.target);
        }
        let report = reached || attempt == 1 || attempt.is_multiple_of(REPORT_EVERY);
        Failure { report, attempt }
    }

    /// A dial is not worth trying again.
    pub(super) fn forget(&mut self, dial: &Dial) {
        self.dials.retain(|known| known.target != dial.target || known.place != dial.place);
    }

    /// A target that was heard of is not worth anything any more.
    pub(super) fn drop_target(&mut self, number: u32) {
        self.targets.retain(|target| target.number != number || target.explicit);
        self.dials.retain(|dial| dial.target != number);
    }

    fn jitter(&mut self) -> Duration {
        let max = ROUTE_RETRY_JITTER.as_micros() as u64;
        Duration::from_micros(self.random.u64(..=max))
    }
}

/// Of the attempts to reach somebody who never answered, the first and every so-many-th is told.
///
/// nats: server/const.go `DEFAULT_CONNECT_ERROR_REPORTS`
const REPORT_EVERY: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(port: u16) -> RouteUrl {
        RouteUrl { host: "a".to_owned(), port, login: None }
    }

    fn dials(ports: &[u16], retries: usize, backoff: bool) -> Dials {
        let routes: Vec<RouteUrl> = ports.iter().map(|port| url(*port)).collect();
        Dials::new(&routes, retries, backoff, fastrand::Rng::with_seed(7))
    }

    fn next(dials: &mut Dials, now: Moment) -> Option<Dial> {
        dials.next(now, |_, _| true)
    }

    /// The pause that a failure at `now` has led to, without its jitter.
    fn pause(dials: &Dials, now: Moment) -> u64 {
        let pause = dials.next_due() - now;
        assert!(pause.subsec_millis() <= 100, "{pause:?}");
        pause.as_secs()
    }

    #[test]
    fn what_is_configured_is_tried_for_ever() {
        for (backoff, pauses) in [(false, [1; 8]), (true, [1, 2, 4, 8, 16, 30, 30, 30])] {
            let mut dials = dials(&[1], 0, backoff);
            let mut now = Moment::START;
            for (count, wanted) in (1..).zip(pauses) {
                let dial = next(&mut dials, now).unwrap();
                assert_eq!(next(&mut dials, now), None, "under way");
                let failure = dials.failed(&dial, now);
                assert_eq!(failure, Failure { report: count == 1, attempt: count });
                assert_eq!(pause(&dials, now), wanted);
                now = dials.next_due();
            }
        }
    }

    #[test]
    fn what_was_heard_of_is_given_up() {
        let mut dials = dials(&[], 11, false);
        let mut now = Moment::START;
        dials.hear_of("B", url(2), 1, now);
        dials.hear_of("B", url(2), 1, now);
        let mut attempts = 0;
        while dials.next_due() != Moment::NEVER {
            now = dials.next_due();
            let dial = next(&mut dials, now).unwrap();
            assert!(!dial.explicit && dial.gossip_mode == 1 && dial.place == Place::FIRST);
            dials.failed(&dial, now);
            attempts += 1;
        }
        assert_eq!(attempts, 12);
        dials.hear_of("B", url(2), 1, now);
        assert_eq!(dials.next_due(), now);
    }

    #[test]
    fn whom_the_configuration_names_nobody_has_to_tell_of() {
        let mut dials = dials(&[1], 0, false);
        let dial = next(&mut dials, Moment::START).unwrap();
        dials.hear_of("B", RouteUrl { host: "A".to_owned(), ..url(1) }, 0, Moment::START);
        dials.reached(&dial, "A");
        dials.hear_of("A", url(9), 0, Moment::START);
        assert_eq!(dials.next_due(), Moment::NEVER);
        assert!(dials.is_explicit("A") && !dials.is_explicit("B"));
    }

    #[test]
    fn what_is_lost_is_dialled_anew_and_only_if_it_is_missing() {
        let mut dials = dials(&[1], 0, false);
        let dial = next(&mut dials, Moment::START).unwrap();
        dials.reached(&dial, "A");
        dials.go_on(&dial, Place::Pool(1), Moment::START);
        let second = next(&mut dials, Moment::START).unwrap();
        assert_eq!(second.place, Place::Pool(1));
        dials.reached(&second, "A");
        dials.lost(&second, Moment::START);
        dials.gone("A", Moment::START);
        assert_eq!(pause(&dials, Moment::START), 1);
        let later = Moment::START + Duration::from_secs(2);
        let dial = dials.next(later, |server, place| {
            assert_eq!(server, "A");
            *place == Place::FIRST
        });
        assert_eq!(dial.unwrap().place, Place::FIRST);
        assert_eq!(dials.next_due(), Moment::NEVER, "the other one was not wanted");
    }
}
