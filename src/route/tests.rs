//! Clusters in memory: they become whole again after any disturbance.

mod accounts;
mod forming;

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::fuzzing;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::limits::{
    CONNECT_URL_LEN_MAX, CONNECT_URLS_MAX, OWN_ADDRESSES_MAX, ROUTE_NEWCOMERS_MAX,
    ROUTE_RETRY_PAUSE, ROUTES_MAX,
};
use crate::base::moment::Moment;
use crate::base::subject;
use crate::client::fuzz::Bench;
use crate::codec::info::Info;
use crate::config::options::{
    Cluster, Credential, Login, Options, Permissions, SubjectPermission, User,
};
use crate::conn::Conn;
use crate::conn::taken::Taken;
use crate::machine::Machine;
use crate::machine::session::{Session, Step};
use crate::route::fuzz::{Play, fuzz_mesh, fuzz_route};
use crate::route::mesh::{Dial, Mesh, Place, Unregistered};
use crate::route::{Role, Route};
use crate::sublist::{Entry, Interest};

fn pooled(_: usize) -> Cluster {
    Cluster { ping_interval: Duration::from_secs(2), ..Cluster::default() }
}

/// A cluster with some interest everywhere.
fn five() -> Play {
    let mut play = Play::new(5, 7, pooled);
    for server in 0..5 {
        play.subscribe(server, 0, "a.*", None);
        play.subscribe(server, 1, "a.b", Some("q"));
        play.subscribe(server, 2, [">", "a", "b", "c.d", "*"][server], None);
    }
    play
}

#[test]
fn a_cluster_forms() {
    let mut play = five();
    play.settle();
    play.publish_all();
}

/// Regression: one of two crossed connections carries messages of one side and interest of the
/// other. When it was closed after a second, some of both were lost, although clients relied on it.
#[test]
fn connections_that_crossed_are_sorted_out_at_once() {
    for seed in 0..100 {
        let single = |_| Cluster { pool_size: None, ..Cluster::default() };
        let mut play = Play::new(2, seed, single);
        let start = play.world.now;
        while !play.world.is_whole() {
            play.world.pass(Duration::from_millis(10));
            play.world.carry_all();
            let passed = play.world.now - start;
            assert!(passed < Duration::from_millis(500), "seed {seed}");
        }
    }
}

#[test]
fn a_partition_heals() {
    let mut play = five();
    play.settle();
    play.world.sides = vec![0, 1, 0, 1, 1];
    for _ in 0..200 {
        play.world.pass(Duration::from_millis(100));
        play.world.carry_all();
    }
    let others = |play: &Play, at: usize| play.world.servers[at].mesh().server_count();
    assert_eq!([0, 1, 2, 3, 4].map(|at| others(&play, at)), [1, 2, 1, 2, 2]);
    play.subscribe(0, 0, "b", None);
    play.subscribe(1, 0, "b", None);
    play.settle();
    play.publish_all();
}

#[test]
fn all_servers_are_replaced_one_by_one_and_at_once() {
    let mut play = five();
    for server in 0..5 {
        play.settle();
        play.restart(server);
    }
    play.settle();
    (0..5).for_each(|server| play.restart(server));
    play.subscribe(3, 0, ">", None);
    play.settle();
    play.publish_all();
}

/// A server that others connect to, played line by line.
struct Acceptor {
    bench: Bench,
    mesh: Arc<Mesh>,
}

/// One of the others.
struct Other {
    session: Session<Route>,
    wire: Arc<Taken>,
}

impl Acceptor {
    fn new(clients: usize) -> Acceptor {
        Acceptor::with(Cluster::default(), Login::Open, clients)
    }

    fn with(cluster: Cluster, login: Login, clients: usize) -> Acceptor {
        let cluster = Cluster { name: Some("c".to_owned()), ..cluster };
        let mut options = Options { cluster: Some(cluster), ..Options::default() };
        options.authorization.login = login;
        let bench = Bench::new(options, clients);
        let mesh = Mesh::new(Arc::clone(&bench.registry), 1);
        Acceptor { bench, mesh }
    }

    fn accept(&mut self) -> Other {
        let wire = Arc::new(Taken::default());
        let (registry, mesh) = (Arc::clone(&self.bench.registry), Arc::clone(&self.mesh));
        let conn = registry.add(|cid, slot| wire.conn(cid, Kind::Route, slot, Moment::START));
        let mut route = Route::new(registry, mesh, conn, Role::Accepted);
        route.start(&mut self.bench.delivery);
        Other { session: Session::new(route, &self.bench.delivery.settings), wire }
    }

    /// Handles input of another server.
    fn hear(&mut self, other: &mut Other, lines: &str) {
        self.try_hear(other, lines).unwrap();
    }

    fn try_hear(&mut self, other: &mut Other, lines: &str) -> Result<(), ProtoErr> {
        let Other { session, .. } = other;
        session.machine.heard(self.bench.delivery.now);
        let mut rest = lines.as_bytes();
        while session.step(&mut rest, &mut self.bench.delivery)? != Step::Missing {}
        while session.resume(None, &mut self.bench.delivery).unwrap() == Left::More {}
        self.bench.delivery.commit(session.machine.conn());
        Ok(())
    }

    /// Another server that has connected and sent INFO.
    fn join(&mut self) -> Other {
        let mut other = self.accept();
        self.hear(&mut other, &[LINES[0], LINES[5]].concat());
        other.wire.take();
        other
    }

    /// Lets a second pass, in which the `others` stand still.
    fn pass_second(&mut self, others: &mut [&mut Other]) -> Result<(), ProtoErr> {
        self.bench.delivery.now = self.bench.delivery.now + Duration::from_secs(1);
        let now = self.bench.delivery.now;
        for other in others {
            while now >= other.session.machine.deadline(&self.bench.delivery.settings) {
                other.session.machine.handle_deadline(&mut self.bench.delivery)?;
            }
            self.bench.delivery.commit(other.session.machine.conn());
        }
        Ok(())
    }

    /// The numbers of messages to a group that two others get.
    fn spread(&mut self, others: [&Other; 2]) -> [usize; 2] {
        let text = |other: &Other| String::from_utf8(other.wire.take()).unwrap();
        others.iter().for_each(|other| drop(text(other)));
        self.bench.send(0, &b"PUB a 1\r\nx\r\n".repeat(MESSAGES));
        others.map(|other| text(other).matches("RMSG $G a | q 1\r\nx\r\n").count())
    }

    fn lose(&mut self, other: &mut Other) {
        other.session.machine.conn().close(ClosedReason::ReadError, true);
        other.session.machine.close(ClosedReason::ReadError, &mut self.bench.delivery);
    }

    /// The number of listed subscriptions of other servers.
    fn remote_count(&self) -> usize {
        let global = &self.bench.registry.global();
        global.with_sublist(|list| {
            list.iter().filter(|one| one.interest() == Interest::Route).count()
        })
    }
}

/// The hash is one of the test vectors of crypt_blowfish.
#[test]
fn another_server_waits_until_its_password_is_checked() {
    let password = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".into();
    let login = Login::Single { user: "u".into(), password };
    let mut acceptor = Acceptor::with(Cluster { login, ..Cluster::default() }, Login::Open, 0);
    for (given, servers) in [("U*U", 1), ("U*V", 0)] {
        let mut other = acceptor.accept();
        let connect = LINES[1].replace("\"p\"", &format!("\"{given}\""));
        acceptor.hear(&mut other, &connect);
        assert!(other.session.machine.is_waiting(), "for the check, before it says INFO");
        let check = other.session.machine.take_check().unwrap();
        assert!(other.session.machine.take_check().is_none(), "once");
        let verdict = Some(check.run());
        let known = other.session.resume(verdict, &mut acceptor.bench.delivery);
        assert_eq!(known.is_ok(), servers == 1, "{known:?}");
        assert!(!other.session.machine.is_waiting());
        if known.is_ok() {
            acceptor.hear(&mut other, LINES[5]);
        }
        assert_eq!(acceptor.mesh.server_count(), servers);
        acceptor.lose(&mut other);
    }
}

/// A PONG promises that no message follows for interest withdrawn before the PING.
#[test]
fn nothing_comes_behind_the_pong_that_follows_a_withdrawal() {
    let mut acceptor = Acceptor::new(1);
    let mut other = acceptor.join();
    acceptor.hear(&mut other, "RS+ $G a\r\n");
    other.wire.take();
    let turn = acceptor.bench.registry.turns.join();
    let begun = turn.begin();
    acceptor.hear(&mut other, "RS- $G a\r\nPING\r\n");
    assert!(other.session.machine.is_waiting() && other.wire.take().is_empty());
    drop(begun);
    acceptor.hear(&mut other, "");
    assert_eq!(other.wire.take(), b"PONG\r\n");
}

/// A server known only by its connection for `$SYS` is dialled a second later, unless its pool has
/// come by then.
#[test]
fn whom_only_the_system_account_tells_of_is_dialled_later() {
    let about = |id: &str| {
        format!(
            "INFO {{\"server_id\":\"{id}\",\"server_name\":\"{id}\",\"ip\":\"nats-route://a:1/\",\
             \"route_pool_size\":3,\"route_account\":\"$SYS\"}}\r\n"
        )
    };
    let mut acceptor = Acceptor::new(0);
    let mut other = acceptor.join();
    acceptor.hear(&mut other, &about("NC"));
    let mut alone = acceptor.accept();
    acceptor.hear(&mut alone, &[LINES[0], &about("ND")].concat());
    let mut both = acceptor.accept();
    acceptor.hear(&mut both, &[LINES[0], &about("NE")].concat());
    let mut pool = acceptor.accept();
    acceptor.hear(&mut pool, &[LINES[0], &about("NE").replace("$SYS", "")].concat());
    let later = Moment::START + ROUTE_RETRY_PAUSE;
    assert_eq!(acceptor.mesh.next_due(), later);
    let dials: Vec<Dial> = std::iter::from_fn(|| acceptor.mesh.next_dial(later)).collect();
    let places: Vec<&Place> = dials.iter().map(|dial| &dial.place).collect();
    assert_eq!(places, [&Place::FIRST, &Place::FIRST]);
}

/// Enough for a fair coin to show both sides.
const MESSAGES: usize = 40;

/// Strangers that connect and send nothing keep no server out.
#[test]
fn newcomers_are_bounded() {
    let mut acceptor = Acceptor::new(0);
    let server = acceptor.join();
    let mut strangers: Vec<Other> = (0..ROUTE_NEWCOMERS_MAX).map(|_| acceptor.accept()).collect();
    let closed = |stranger: &Other| stranger.session.machine.conn().closed();
    assert_eq!(strangers.iter().find_map(closed), None);
    strangers.push(acceptor.accept());
    assert_eq!(closed(&strangers[0]), Some(ClosedReason::MaxConnectionsExceeded));
    assert_eq!(strangers.iter().filter_map(closed).count(), 1);
    assert_eq!((closed(&server), acceptor.mesh.server_count()), (None, 1));
    // A connection that ends makes room.
    acceptor.lose(&mut strangers[7]);
    strangers.push(acceptor.accept());
    assert_eq!(strangers.iter().filter_map(closed).count(), 2);
}

/// A stranger that speaks the protocol may play as many servers as there is room for.
#[test]
fn connections_to_other_servers_are_bounded() {
    let mut acceptor = Acceptor::new(0);
    let mut as_server = |number: usize| {
        let info = LINES[5].replace("NB", &format!("N{number}"));
        let mut other = acceptor.accept();
        let joined = acceptor.try_hear(&mut other, &[LINES[0], &info].concat());
        (joined, other)
    };
    let _others: Vec<Other> = (0..ROUTES_MAX).map(|number| as_server(number).1).collect();
    let full = ProtoErr::Refused(ClosedReason::MaxConnectionsExceeded);
    for number in [0, ROUTES_MAX] {
        assert_eq!(as_server(number).0, Err(full.clone()));
    }
    assert_eq!(acceptor.mesh.server_count(), ROUTES_MAX);
}

#[test]
fn addresses_for_clients_are_bounded() {
    let mut acceptor = Acceptor::new(0);
    let urls: Vec<String> = (0..1_000).map(|number| format!("\"h{number}:1\"")).collect();
    let urls = format!("[\"{}\",{}]", "x".repeat(CONNECT_URL_LEN_MAX + 1), urls.join(","));
    let mut other = acceptor.accept();
    let info = LINES[5].replace("\"NB\"", &format!("\"NB\",\"connect_urls\":{urls}"));
    acceptor.hear(&mut other, &[LINES[0], &info].concat());
    let told = acceptor.bench.registry.info().connect_urls;
    assert_eq!((told.len(), told.contains(&"h0:1".to_owned())), (CONNECT_URLS_MAX, true));
}

#[test]
fn own_addresses_are_bounded() {
    let acceptor = Acceptor::new(0);
    let Acceptor { bench, mesh } = &acceptor;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    for port in 1..=OWN_ADDRESSES_MAX as u16 + 1 {
        let ip = format!("nats-route://{}/", address(port));
        let info = Info { server_id: format!("N{port}"), ip, ..Info::default() };
        mesh.handle_gossip("NX", &info, Moment::START);
        let dial = mesh.next_dial(Moment(u64::from(port) << 30)).unwrap();
        let wire = Arc::new(Taken::default());
        let remote = Some(address(port));
        let conn = bench
            .registry
            .add(|cid, slot| Conn::new(cid, Kind::Route, slot, remote, Moment::START, wire));
        mesh.failed(&conn, &dial, Unregistered::OwnServer, Moment::START);
        assert!(mesh.is_self(&address(port).to_string()));
    }
    assert!(!mesh.is_self("127.0.0.1:1") && mesh.is_self("127.0.0.1:2"));
}

/// A lost server comes again with a part of its interest before all of the old is removed: interest
/// that it does not announce again has no effect from the first moment on.
#[test]
fn what_a_lost_server_announced_is_forgotten_in_pieces() {
    let mut acceptor = Acceptor::new(1);
    acceptor.bench.send(0, HEARS_NONE);
    let announce = |numbers: std::ops::Range<usize>| -> String {
        numbers.map(|n| format!("RS+ $G s.{n}\r\nRS+ $G s.{n} q 2\r\n")).collect()
    };
    let mut before = acceptor.join();
    acceptor.hear(&mut before, &announce(0..10));
    assert_eq!(acceptor.remote_count(), 20);
    acceptor.lose(&mut before);
    assert_eq!(acceptor.remote_count(), 20);
    let mut after = acceptor.join();
    assert_eq!(acceptor.mesh.routes().len(), 1);
    let mut known = 0;
    loop {
        if known < 5 {
            acceptor.hear(&mut after, &announce(known..known + 1));
            known += 1;
        }
        for n in 0..10 {
            acceptor.bench.take(0);
            acceptor.bench.send(0, format!("PUB s.{n} in 1\r\nx\r\n").as_bytes());
            let refused = acceptor.bench.take(0).starts_with(b"HMSG in ");
            assert_eq!(refused, n >= known, "s.{n} of {known}");
            let taken = String::from_utf8(after.wire.take()).unwrap();
            let routed = format!("RMSG $G s.{n} + in q 1\r\nx\r\n");
            assert_eq!(taken, if refused { "" } else { &routed });
        }
        if before.session.machine.forget(&mut acceptor.bench.delivery) == Left::Nothing {
            break;
        }
    }
    assert_eq!(known, 5, "it came again before all was forgotten");
    assert_eq!(
        (acceptor.remote_count(), after.session.machine.conn().subscriptions().len()),
        (10, 10)
    );
    acceptor.lose(&mut after);
    while after.session.machine.forget(&mut acceptor.bench.delivery) == Left::More {}
    assert_eq!(acceptor.remote_count(), 0);
    assert_eq!(acceptor.bench.registry.conns().len(), 1);
}

/// One to three tokens; some of them wildcards if it is `wild`.
fn random_subject(random: &mut fastrand::Rng, wild: bool) -> String {
    let count = random.usize(1..=3);
    let mut token = |at| match random.u8(..if wild { 4 } else { 2 }) {
        0 => "a",
        1 => "b",
        2 if at == count => ">",
        _ => "*",
    };
    (1..=count).map(&mut token).collect::<Vec<_>>().join(".")
}

fn random_list(random: &mut fastrand::Rng, max: usize) -> Vec<String> {
    (0..random.usize(..=max)).map(|_| random_subject(random, true)).collect()
}

/// Entries `subject` or `subject queue` against a subject, wildcards of which mean nothing.
fn names(list: &[String], subject: &str, queue: Option<&str>) -> bool {
    list.iter().any(|entry| {
        let (pattern, of) = entry.split_once(' ').map_or((&**entry, None), |(p, q)| (p, Some(q)));
        subject::matches_from(Some(pattern.as_bytes()), Some(subject.as_bytes()))
            && (of.is_none() || of == queue)
    })
}

/// A server with these permissions, a client that may not subscribe to `denied`, and one without
/// permissions.
fn bound_acceptor(export: &SubjectPermission, import: &[String], denied: &[String]) -> Acceptor {
    let deny = |list: &[String]| SubjectPermission { allow: None, deny: list.to_vec() };
    let permissions =
        Permissions { publish: deny(import), subscribe: export.clone(), allow_responses: None };
    let cluster = Cluster { permissions: Some(permissions), ..Cluster::default() };
    let user = |name: &str, permissions| {
        let (user, password) = (name.to_owned(), String::new());
        User { permissions, ..User::new(Credential::Password { user, password }) }
    };
    let bound = Permissions { subscribe: deny(denied), ..Permissions::default() };
    let login = Login::Users(vec![user("bound", Some(bound.into())), user("free", None)]);
    let mut acceptor = Acceptor::with(cluster, login, 2);
    for (at, name) in [(0, "bound"), (1, "free")] {
        let line = format!("CONNECT {{\"verbose\":false,\"user\":\"{name}\"}}\r\n");
        acceptor.bench.send(at, line.as_bytes());
    }
    acceptor
}

/// Interest is often wider than a denied subject: each message is checked, to another server, from
/// one, or local.
#[test]
fn denials_hold_against_wider_interest_on_all_ways() {
    let mut random = fastrand::Rng::with_seed(14);
    let (mut left, mut came) = (0, 0);
    for _ in 0..300 {
        let allow = random.bool().then(|| random_list(&mut random, 5));
        let export = SubjectPermission { allow, deny: random_list(&mut random, 3) };
        let import = random_list(&mut random, 3);
        let mut denied = random_list(&mut random, 2);
        denied.extend(random_list(&mut random, 2).iter().map(|subject| format!("{subject} l")));
        let mut acceptor = bound_acceptor(&export, &import, &denied);
        let mut other = acceptor.join();
        // The allowed interest of the other server, and of a client: subject and queue.
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for sid in 0..random.usize(1..5) {
            let (subject, queue) = (random_subject(&mut random, true), random.bool());
            let line = ["", " r 1"][usize::from(queue)];
            acceptor.hear(&mut other, &format!("RS+ $G {subject}{line}\r\n"));
            let is_allowed = |allow: &Vec<String>| names(allow, &subject, None);
            if export.allow.as_ref().is_none_or(is_allowed) && !names(&export.deny, &subject, None)
            {
                theirs.push((subject, queue.then_some("r")));
            }
            let (subject, queue) = (random_subject(&mut random, true), random.bool());
            let line = ["", "l "][usize::from(queue)];
            acceptor.bench.send(0, format!("SUB {subject} {line}{sid}\r\n").as_bytes());
            if acceptor.bench.take(0).is_empty() {
                ours.push((subject, queue.then_some("l")));
            }
        }
        other.wire.take();
        for _ in 0..12 {
            let subject = random_subject(&mut random, false);
            let matching = |of: &[(String, Option<&str>)], queue: Option<&str>| {
                let its = of.iter().filter(|(pattern, its)| {
                    *its == queue && subject::matches(pattern.as_bytes(), subject.as_bytes())
                });
                its.count()
            };
            let not = |list: &[String], queue| usize::from(!names(list, &subject, queue));
            let here = matching(&ours, None) * not(&denied, None)
                + matching(&ours, Some("l")).min(1) * not(&denied, Some("l"));
            acceptor.bench.send(1, format!("PUB {subject} 0\r\n\r\n").as_bytes());
            let count = |text: Vec<u8>| String::from_utf8(text).unwrap().matches("MSG").count();
            assert_eq!(count(acceptor.bench.take(0)), here, "{subject} {denied:?} {ours:?}");
            let line = match [None, Some("r")].map(|queue| matching(&theirs, queue)) {
                _ if names(&export.deny, &subject, None) => String::new(),
                _ if export.allow.as_ref().is_some_and(|allow| !names(allow, &subject, None)) => {
                    String::new()
                }
                [0, 0] => String::new(),
                [_, 0] => format!("RMSG $G {subject} 0\r\n\r\n"),
                _ => format!("RMSG $G {subject} | r 0\r\n\r\n"),
            };
            left += usize::from(!line.is_empty());
            assert_eq!(String::from_utf8(other.wire.take()).unwrap(), line, "{export:?}");
            acceptor.hear(&mut other, &format!("RMSG $G {subject} | l 0\r\n\r\n"));
            let arrived = here * not(&import, None);
            came += arrived;
            assert_eq!(count(acceptor.bench.take(0)), arrived, "{subject} {import:?}");
        }
    }
    assert!(left > 200 && came > 200, "{left} left, {came} came");
}

/// Regression: half of a group's messages went to a server that stood still, and were lost, for 88
/// seconds.
#[test]
fn a_server_that_stands_still_is_passed_over_then_given_up() {
    let mut acceptor = Acceptor::new(1);
    acceptor.bench.send(0, HEARS_NONE);
    let mut still = acceptor.join();
    let mut other = acceptor.accept();
    let introduction = [LINES[0], LINES[5]].concat();
    acceptor.hear(&mut other, &introduction.replace("NB", "NC").replace("\"B\"", "\"C\""));
    acceptor.hear(&mut still, "RS+ $G a q 1\r\n");
    for second in 0..8 {
        acceptor.hear(&mut other, "RS+ $G a q 1\r\n");
        let counts = acceptor.spread([&still, &other]);
        assert_eq!(counts[0] > 0, second < 4, "{counts:?} after {second} s");
        // A silent member is better than none.
        acceptor.hear(&mut other, "RS- $G a q\r\n");
        assert_eq!(acceptor.spread([&still, &other]), [MESSAGES, 0]);
        let result = acceptor.pass_second(&mut [&mut still, &mut other]);
        let stale = Err(ProtoErr::StaleConnection);
        assert_eq!(result, if second == 7 { stale } else { Ok(()) });
    }
}

#[test]
fn who_is_heard_of_again_is_passed_over_no_more() {
    let mut acceptor = Acceptor::new(1);
    let (mut still, other) = (acceptor.join(), acceptor.accept());
    acceptor.hear(&mut still, "RS+ $G a q 1\r\n");
    acceptor.bench.send(0, HEARS_NONE);
    acceptor.bench.send(0, b"SUB a q 1\r\n");
    for _ in 0..2 {
        let counts = acceptor.spread([&still, &other]);
        assert!(counts[0] > 0, "{counts:?}");
        for _ in 0..6 {
            acceptor.spread([&still, &other]);
            acceptor.pass_second(&mut [&mut still]).unwrap();
        }
        assert_eq!(acceptor.spread([&still, &other]), [0, 0]);
        acceptor.hear(&mut still, "PING\r\n");
    }
}

/// A client that wants 503 for a request without responders.
const HEARS_NONE: &[u8] =
    b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB in in\r\n";

/// Operations on a cluster, most of them such that something happens.
#[test]
fn fuzz_mesh_corpus_and_seeded() {
    fuzzing::run("mesh", 40, fuzz_mesh, |random, corpus| {
        if random.u8(..4) == 0 {
            return fuzzing::mutated(random, corpus);
        }
        let len = 1 + 3 * random.usize(20..240);
        std::iter::repeat_with(|| random.u8(..)).take(len).collect()
    });
}

/// Lines of another server, allowed and not.
const LINES: [&str; 30] = [
    "CONNECT {\"name\":\"NB\",\"cluster\":\"c\",\"headers\":true}\r\n",
    "CONNECT {\"name\":\"NB\",\"cluster\":\"c\",\"user\":\"u\",\"pass\":\"p\"}\r\n",
    "CONNECT {\"name\":\"NB\",\"cluster\":\"c\",\"user\":\"u\",\"pass\":\"x\"}\r\n",
    "CONNECT {\"cluster\":\"d\"}\r\n",
    "CONNECT {\"cluster\":\"c\",\"verbose\":true}\r\n",
    "INFO {\"server_id\":\"NB\",\"server_name\":\"B\",\"headers\":true,\"cluster\":\"c\"}\r\n",
    "INFO {\"server_id\":\"NB\",\"route_pool_size\":3,\"route_pool_idx\":2}\r\n",
    "INFO {\"server_id\":\"NB\",\"route_pool_size\":3,\"route_account\":\"$SYS\"}\r\n",
    "INFO {\"server_id\":\"NB\",\"route_pool_size\":3,\"route_account\":\"$G\"}\r\n",
    "INFO {\"server_id\":\"NB\",\"route_pool_size\":999999999,\"route_pool_idx\":999}\r\n",
    "INFO {\"server_id\":\"NC\",\"ip\":\"nats-route://a:6222/\",\"gossip_mode\":2}\r\n",
    "INFO {\"server_id\":\"NB\",\"compression\":\"s2_fast\"}\r\n",
    "INFO {\"server_id\":\"NB\",\"ldm\":true,\"connect_urls\":[\"a:1\"]}\r\n",
    "INFO {\"server_id\":5}\r\n",
    "INFO {}\r\n",
    "PING\r\n",
    "PONG\r\n",
    "+OK\r\n",
    "RS+ $G >\r\n",
    "RS+ $G a q 2\r\n",
    "RS+ $G a q 0\r\n",
    "RS- $G a q\r\n",
    "RS- $G >\r\n",
    "RS+ $G a..b\r\n",
    "RS+ $SYS x.>\r\n",
    "RMSG $G a 2\r\nhi\r\n",
    "RMSG $G a | q z 2\r\nhi\r\n",
    "HMSG $G a + r q 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "RMSG nope a 2\r\nhi\r\n",
    "RMSG a 2\r\nhi\r\n",
];

#[test]
fn fuzz_route_corpus_and_seeded() {
    fuzzing::run("route", 2_000, fuzz_route, |random, corpus| {
        if random.u8(..4) == 0 {
            return fuzzing::mutated(random, corpus);
        }
        let mut bytes = vec![random.u8(..8)];
        if random.u8(..4) > 0 {
            // So that most inputs get past the handshake.
            bytes.extend_from_slice(LINES[random.usize(..2)].as_bytes());
            bytes.extend_from_slice(LINES[random.usize(5..9)].as_bytes());
        }
        for _ in 0..random.usize(..20) {
            bytes.extend_from_slice(LINES[random.usize(..LINES.len())].as_bytes());
        }
        bytes
    });
}
