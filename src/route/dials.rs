//! `Dials`: servers to reach, the connections to them, and the times of attempts.
//!
//! A *target* is an address: one of the configuration, which is tried again and again, or one known
//! only by gossip, which is tried a few times and round robin ([`GossipSources`]). The
//! server at an address is known once it has answered. A dial is *waiting* for its time, or *under
//! way* until its result is reported.
//! nats: server/route.go `connectToRoute`, `reConnectToRoute`, `processImplicitRoute`

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::base::limits::{
    IMPLICIT_ATTEMPTS_MIN, IMPLICIT_DIALS_MAX, ROUTE_RETRY_JITTER, ROUTE_RETRY_PAUSE,
    ROUTE_RETRY_PAUSE_MAX,
};
use crate::base::moment::Moment;
use crate::config::route_url::{RouteLogin, RouteUrl};
use crate::route::gossip_sources::GossipSources;

/// The place of a connection among those to another server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The one with this index in the pool; without a pool, index 0 is the only one.
    Pool(usize),
    /// The one that carries this account alone.
    Account(Box<str>),
}

impl Place {
    /// The one that is dialled first.
    pub const FIRST: Place = Place::Pool(0);

    /// The account of a place for one alone.
    pub fn account(&self) -> Option<&str> {
        match self {
            Place::Pool(_) => None,
            Place::Account(account) => Some(account),
        }
    }
}

/// One attempt to reach another server. It ends in [`Mesh::dial_failed`](super::mesh::Mesh), or in
/// a [`Route`](crate::route::Route) of [`Role::Solicited`](crate::route::Role), which reports its
/// end to the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Name or address, IPv6 without brackets. Resolved anew for each attempt.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// Credentials for the other server.
    pub login: Option<RouteLogin>,
    /// The place of the connection.
    pub place: Place,
    /// It is a server of the configuration.
    pub explicit: bool,
    /// The mode of the INFO that introduced the server.
    pub gossip_mode: u8,
    pub(super) target: u64,
}

/// All targets and dials.
pub(super) struct Dials {
    /// Those known only by gossip have numbers from [`FIRST_IMPLICIT`] on.
    targets: BTreeMap<u64, Target>,
    explicit_made: u64,
    implicit_made: u64,
    /// Those known only by gossip, by the id of the server there.
    implicit: BTreeMap<Box<str>, u64>,
    sources: GossipSources,
    dials: BTreeMap<Key, Pending>,
    /// Attempts of a target known only by gossip.
    implicit_attempts: u64,
    /// Each pause is twice as long as the one before.
    backoff: bool,
    random: fastrand::Rng,
}

/// The first number of a target known only by gossip.
const FIRST_IMPLICIT: u64 = 1 << 32;

/// A dial by its target.
type Key = (u64, Place);

/// An address.
struct Target {
    url: RouteUrl,
    gossip_mode: u8,
    /// The server whose gossip named it; none if it is of the configuration.
    source: Option<Box<str>>,
    /// Id of the server that answered there last, or is said to be there.
    server: Option<Box<str>>,
    /// True if a server has ever answered there.
    reached: bool,
}

/// A dial and its time.
struct Pending {
    /// Its time; `None` while it is under way.
    due: Option<Moment>,
    /// Failures in a row.
    failures: u64,
}

/// Facts about a failed dial, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialFailure {
    /// True if it is worth an error in the log.
    pub report: bool,
    /// The number of the attempt, from 1.
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
            targets: BTreeMap::new(),
            explicit_made: 0,
            implicit_made: 0,
            implicit: BTreeMap::new(),
            sources: GossipSources::default(),
            dials: BTreeMap::new(),
            implicit_attempts: 0,
            backoff,
            random,
        };
        dials.set_patience(retries, backoff);
        routes.iter().for_each(|url| dials.add_explicit(url, Moment::START));
        dials
    }

    /// Sets the attempts for a target known only by gossip, and the pauses between attempts.
    pub(super) fn set_patience(&mut self, retries: usize, backoff: bool) {
        self.implicit_attempts = (retries as u64 + 1).max(IMPLICIT_ATTEMPTS_MIN);
        self.backoff = backoff;
    }

    /// Adds a target of the configuration, due at once.
    pub(super) fn add_explicit(&mut self, url: &RouteUrl, now: Moment) {
        let url = url.clone();
        let target = Target { url, gossip_mode: 0, source: None, server: None, reached: false };
        let number = self.explicit_made;
        self.explicit_made += 1;
        self.targets.insert(number, target);
        self.schedule(number, Place::FIRST, now);
    }

    /// Removes the targets of the configuration with that address, and returns their numbers.
    pub(super) fn remove_explicit(&mut self, url: &RouteUrl) -> Vec<u64> {
        let its = self.explicit().filter(|(_, target)| target.url == *url);
        let numbers: Vec<u64> = its.map(|(number, _)| number).collect();
        for number in &numbers {
            self.drop_dials(*number);
            self.targets.remove(number);
        }
        numbers
    }

    /// True unless the target was taken out of the configuration meanwhile.
    pub(super) fn wants(&self, dial: &Dial) -> bool {
        !dial.explicit || self.targets.contains_key(&dial.target)
    }

    fn explicit(&self) -> impl Iterator<Item = (u64, &Target)> {
        self.targets.range(..FIRST_IMPLICIT).map(|(&number, target)| (number, target))
    }

    /// Handles gossip of `source` about a server that is not connected in that place: dials it, at
    /// the address of the configuration if that has one.
    pub(super) fn handle_gossip(
        &mut self,
        source: &str,
        server: &str,
        url: RouteUrl,
        gossip_mode: u8,
        place: Place,
        now: Moment,
    ) {
        let is_it = |target: &Target| {
            target.server.as_deref() == Some(server)
                || target.url.port == url.port && target.url.host.eq_ignore_ascii_case(&url.host)
        };
        let explicit = self.explicit().find(|(_, target)| is_it(target));
        if let Some((number, _)) = explicit {
            return self.schedule(number, place, now);
        }
        let number = match self.implicit.get(server) {
            Some(&number) => {
                if let Some(target) = self.targets.get_mut(&number) {
                    (target.url, target.gossip_mode) = (url, gossip_mode);
                }
                number
            }
            None => {
                self.make_room();
                let (source, server) = (Some(source.into()), Some(server.into()));
                let target = Target { url, gossip_mode, source, server, reached: false };
                self.add_implicit(target)
            }
        };
        self.schedule(number, place, now);
    }

    fn add_implicit(&mut self, target: Target) -> u64 {
        let (server, source) = (target.server.clone(), target.source.clone());
        let number = FIRST_IMPLICIT + self.implicit_made;
        self.implicit_made += 1;
        self.targets.insert(number, target);
        self.implicit.insert(server.unwrap_or_default(), number);
        self.sources.add(&source.unwrap_or_default(), number);
        number
    }

    /// Forgets an older target of gossip if there is no room for one more.
    fn make_room(&mut self) {
        let idle = |number: &u64| self.dials.range(all_to(*number)).all(|(_, d)| d.due.is_some());
        let oldest = self.sources.surplus().find(idle);
        if let Some(oldest) = oldest {
            self.drop_target(oldest);
        }
    }

    /// True if the server with that id is a target of the configuration.
    pub(super) fn is_explicit(&self, server: &str) -> bool {
        self.explicit().any(|(_, target)| target.server.as_deref() == Some(server))
    }

    /// Adds a dial, if its target is still there. A waiting one that has not failed yet may come
    /// earlier by that.
    fn schedule(&mut self, target: u64, place: Place, due: Moment) {
        if self.targets.contains_key(&target) {
            let new = Pending { due: Some(due), failures: 0 };
            let pending = self.dials.entry((target, place)).or_insert(new);
            if pending.failures == 0 {
                pending.due = pending.due.map(|known| known.min(due));
            }
        }
    }

    /// Dials to servers of the configuration.
    fn explicit_dials(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        self.dials.range(..(FIRST_IMPLICIT, Place::FIRST))
    }

    /// Dials to servers known only by gossip, as long as not too many of them are under way.
    fn implicit_dials(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        let dials = self.dials.range((FIRST_IMPLICIT, Place::FIRST)..);
        let under_way = dials.clone().filter(|(_, dial)| dial.due.is_none()).count();
        dials.filter(move |_| under_way < IMPLICIT_DIALS_MAX)
    }

    /// The earliest time at which a dial is due.
    pub(super) fn next_due(&self) -> Moment {
        let earliest = |due: Option<Moment>| due.unwrap_or(Moment::NEVER);
        let explicit = earliest(self.explicit_dials().filter_map(|(_, dial)| dial.due).min());
        let implicit = earliest(self.implicit_dials().filter_map(|(_, dial)| dial.due).min());
        explicit.min(implicit.max(self.sources.ready_at()))
    }

    /// The next dial that is due and still `wanted`, given the server that answered there last.
    pub(super) fn next(
        &mut self,
        now: Moment,
        wanted: impl Fn(&str, &Place) -> bool,
    ) -> Option<Dial> {
        loop {
            let key = self.next_key(now)?;
            let (number, place) = &key;
            let target = self.targets.get(number).filter(|target| match &target.server {
                Some(server) => wanted(server, place),
                None => *place == Place::FIRST,
            });
            let Some(target) = target else {
                self.dials.remove(&key);
                continue;
            };
            if let Some(source) = &target.source {
                self.sources.count_dial(source, now);
            }
            let dial = Dial {
                host: target.url.host.as_str().into(),
                port: target.url.port,
                login: target.url.login.clone(),
                place: place.clone(),
                explicit: target.source.is_none(),
                gossip_mode: target.gossip_mode,
                target: *number,
            };
            if let Some(pending) = self.dials.get_mut(&key) {
                pending.due = None;
            }
            return Some(dial);
        }
    }

    /// The next dial that is due: those of the configuration first, then round robin by their
    /// sources, those reached before, and the newest of those tried least.
    fn next_key(&self, now: Moment) -> Option<Key> {
        let is_due = |(_, dial): &(&Key, &Pending)| dial.due.is_some_and(|due| due <= now);
        let explicit = self.explicit_dials().find(is_due);
        if explicit.is_some() || self.sources.ready_at() > now {
            return explicit.map(|(key, _)| key.clone());
        }
        let due = self.implicit_dials().filter(is_due);
        let order = |((number, _), dial): &(&Key, &Pending)| {
            let target = self.targets.get(number);
            let source = target.and_then(|target| target.source.as_deref());
            let last_dial = self.sources.last_dial(source.unwrap_or_default());
            let reached = target.is_some_and(|target| target.reached);
            (last_dial, !reached, dial.failures, Reverse(*number))
        };
        due.min_by_key(order).map(|(key, _)| key.clone())
    }

    /// Settles a dial that has reached that server.
    pub(super) fn reached(&mut self, dial: &Dial, server: &str) {
        self.forget(dial);
        // A target known only by gossip is one server, at any address.
        if let Some(&double) = self.implicit.get(server)
            && double != dial.target
        {
            self.drop_target(double);
        }
        let Some(target) = self.targets.get_mut(&dial.target) else { return };
        target.reached = true;
        let before = target.server.replace(server.into());
        if !dial.explicit {
            self.implicit.remove(&before.unwrap_or_default());
            self.implicit.insert(server.into(), dial.target);
        }
    }

    /// Adds another connection to the target of a dial.
    pub(super) fn go_on(&mut self, dial: &Dial, place: Place, now: Moment) {
        self.schedule(dial.target, place, now);
    }

    /// Handles the loss of a connection that a dial had made.
    pub(super) fn lost(&mut self, dial: &Dial, now: Moment) {
        let pause = if dial.explicit { ROUTE_RETRY_PAUSE } else { Duration::ZERO };
        let due = now + pause + self.jitter();
        self.schedule(dial.target, dial.place.clone(), due);
    }

    /// Handles the loss of a server that others had dialled. One of the configuration is dialled.
    pub(super) fn gone(&mut self, server: &str, now: Moment) {
        let due = now + ROUTE_RETRY_PAUSE + self.jitter();
        let its = self.explicit().filter(|(_, target)| target.server.as_deref() == Some(server));
        for target in its.map(|(number, _)| number).collect::<Vec<_>>() {
            self.schedule(target, Place::FIRST, due);
        }
    }

    /// Handles a failed dial. It is tried again, if it is of the configuration or has attempts
    /// left.
    pub(super) fn failed(&mut self, dial: &Dial, now: Moment) -> DialFailure {
        let jitter = self.jitter();
        let Some(pending) = self.dials.get_mut(&dial.key()) else {
            return DialFailure { report: false, attempt: 0 };
        };
        pending.failures += 1;
        let attempt = pending.failures;
        let doubled = if self.backoff || !dial.explicit { attempt.min(6) as u32 - 1 } else { 0 };
        let pause = (ROUTE_RETRY_PAUSE * (1 << doubled)).min(ROUTE_RETRY_PAUSE_MAX);
        pending.due = Some(now + pause + jitter);
        let reached = self.targets.get(&dial.target).is_some_and(|target| target.reached);
        if !dial.explicit && attempt >= self.implicit_attempts {
            self.drop_target(dial.target);
        }
        let report = reached || attempt == 1 || attempt.is_multiple_of(REPORT_EVERY);
        DialFailure { report, attempt }
    }

    /// Drops a dial for good.
    pub(super) fn forget(&mut self, dial: &Dial) {
        self.dials.remove(&dial.key());
    }

    /// Drops a target known only by gossip. One of the configuration stays, without a dial.
    pub(super) fn drop_target(&mut self, number: u64) {
        self.drop_dials(number);
        if number < FIRST_IMPLICIT {
            return;
        }
        let Some(target) = self.targets.remove(&number) else { return };
        self.sources.remove(&target.source.unwrap_or_default(), number);
        self.implicit.remove(&target.server.unwrap_or_default());
    }

    fn drop_dials(&mut self, target: u64) {
        let dials: Vec<Key> =
            self.dials.range(all_to(target)).map(|(key, _)| key.clone()).collect();
        dials.iter().for_each(|key| _ = self.dials.remove(key));
    }

    fn jitter(&mut self) -> Duration {
        let max = ROUTE_RETRY_JITTER.as_micros() as u64;
        Duration::from_micros(self.random.u64(..=max))
    }
}

impl Dial {
    fn key(&self) -> Key {
        (self.target, self.place.clone())
    }
}

/// The dials to a target.
fn all_to(target: u64) -> Range<Key> {
    (target, Place::FIRST)..(target + 1, Place::FIRST)
}

/// Of the attempts to reach a server that never answered, the first and every n-th is logged.
///
/// nats: server/const.go `DEFAULT_CONNECT_ERROR_REPORTS`
const REPORT_EVERY: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::IMPLICIT_MAX;

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

    /// The pause after a failure at `now`, without its jitter.
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
                assert_eq!(failure, DialFailure { report: count == 1, attempt: count });
                assert_eq!(pause(&dials, now), wanted);
                now = dials.next_due();
            }
        }
    }

    #[test]
    fn implicit_targets_are_given_up() {
        let mut dials = dials(&[], 11, false);
        let mut now = Moment::START;
        dials.handle_gossip("X", "B", url(2), 1, Place::FIRST, now);
        dials.handle_gossip("X", "B", url(2), 1, Place::FIRST, now);
        let mut attempts = 0;
        while dials.next_due() != Moment::NEVER {
            now = dials.next_due();
            let dial = next(&mut dials, now).unwrap();
            assert!(!dial.explicit && dial.gossip_mode == 1 && dial.place == Place::FIRST);
            dials.failed(&dial, now);
            attempts += 1;
        }
        assert_eq!(attempts, 12);
        dials.handle_gossip("X", "B", url(2), 1, Place::FIRST, now);
        assert_eq!(dials.next_due(), now);
    }

    #[test]
    fn whom_the_configuration_names_nobody_has_to_tell_of() {
        let mut dials = dials(&[1], 0, false);
        let dial = next(&mut dials, Moment::START).unwrap();
        let there = RouteUrl { host: "A".to_owned(), ..url(1) };
        dials.handle_gossip("X", "A", there, 0, Place::FIRST, Moment::START);
        assert_eq!(dials.next_due(), Moment::NEVER, "it is under way");
        dials.reached(&dial, "A");
        dials.handle_gossip("X", "A", url(9), 0, Place::Pool(1), Moment::START);
        let dial = next(&mut dials, Moment::START).unwrap();
        assert_eq!((dial.port, dial.explicit), (1, true), "where the configuration has it");
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
        let mut first = || {
            dials.next(later, |server, place| {
                assert_eq!(server, "A");
                *place == Place::FIRST
            })
        };
        assert_eq!(first().unwrap().place, Place::FIRST);
        assert_eq!(first(), None);
        assert_eq!(dials.next_due(), Moment::NEVER, "the other one was not wanted");
    }

    #[test]
    fn routes_come_and_go_with_the_configuration() {
        let mut dials = dials(&[1, 2], 0, false);
        dials.handle_gossip("X", "B", url(9), 0, Place::FIRST, Moment::START);
        let dial = next(&mut dials, Moment::START).unwrap();
        assert_eq!(dials.remove_explicit(&url(1)), [dial.target]);
        assert_eq!(dials.remove_explicit(&url(1)), [0; 0]);
        dials.failed(&dial, Moment::START);
        dials.lost(&dial, Moment::START);
        dials.add_explicit(&url(3), Moment::START);
        let ports = [(); 3].map(|()| next(&mut dials, Moment::START).unwrap().port);
        assert_eq!(ports, [2, 3, 9], "what is removed is not dialled again");
    }

    fn gossip_many(dials: &mut Dials, source: &str, count: u64, now: Moment) {
        for number in 0..count {
            dials.handle_gossip(source, &format!("{source}{number}"), url(1), 0, Place::FIRST, now);
        }
    }

    /// One server names 20,000 that do not exist: they are remembered and dialled within limits. A
    /// server that another one names, or that the same one names last, is reached all the same.
    #[test]
    fn invented_servers_are_bounded_and_keep_no_real_one_out() {
        let mut dials = dials(&[7], 0, false);
        gossip_many(&mut dials, "liar", 20_000, Moment::START);
        assert_eq!(dials.targets.len(), 1 + IMPLICIT_MAX);
        dials.handle_gossip("liar", "last", url(2), 0, Place::FIRST, Moment::START);
        dials.handle_gossip("honest", "real", url(3), 0, Place::FIRST, Moment::START);
        // New sources all of the time are no better off.
        for number in 0..100 {
            gossip_many(&mut dials, &format!("liar{number}"), 1, Moment::START);
        }
        assert_eq!(dials.targets.len(), 1 + IMPLICIT_MAX);
        assert_eq!(dials.implicit.len(), IMPLICIT_MAX);
        let mut now = Moment::START;
        let mut under_way = Vec::new();
        let mut ports = Vec::new();
        while let Some(dial) = next(&mut dials, now) {
            ports.push(dial.port);
            under_way.push(dial);
        }
        assert_eq!(ports[..4], [7, 2, 3, 1], "the configuration, then one of each source");
        assert_eq!(under_way.len(), 1 + IMPLICIT_DIALS_MAX);
        assert_eq!(dials.next_due(), Moment::NEVER, "until one of them ends");
        // Nothing answers, and that at once: dialled ten times a second.
        let mut count = 0;
        while now < Moment::START + Duration::from_secs(20) {
            under_way.drain(..).for_each(|dial| _ = dials.failed(&dial, now));
            now = dials.next_due();
            while let Some(dial) = next(&mut dials, now) {
                count += usize::from(!dial.explicit);
                under_way.push(dial);
            }
        }
        assert!((190..=210).contains(&count), "{count}");
    }

    #[test]
    fn servers_that_many_tell_of_are_one_each() {
        let mut dials = dials(&[], 0, false);
        for source in ["X", "Y", "Z"] {
            for number in 0..IMPLICIT_MAX as u16 {
                dials.handle_gossip(
                    source,
                    &format!("N{number}"),
                    url(number),
                    0,
                    Place::FIRST,
                    Moment::START,
                );
            }
        }
        assert_eq!((dials.targets.len(), dials.dials.len()), (IMPLICIT_MAX, IMPLICIT_MAX));
        // Two of them prove to be the same.
        let one = next(&mut dials, Moment::START).unwrap();
        let other = next(&mut dials, Moment::START).unwrap();
        dials.reached(&one, "N0");
        dials.reached(&other, "N0");
        assert_eq!(dials.targets.len(), IMPLICIT_MAX - 2);
        assert_eq!(dials.implicit.get("N0"), Some(&other.target));
        for target in dials.targets.keys().copied().collect::<Vec<_>>() {
            dials.drop_target(target);
        }
        assert!(dials.implicit.is_empty() && dials.dials.is_empty());
        assert_eq!(dials.sources.surplus().count(), 0);
    }
}
