//! Accounts across routes: each is a subject space of its own, and may come while routes are up.

use std::time::Duration;

use super::pooled;
use crate::base::ids::Kind;
use crate::base::limits::UNLISTED_MAX;
use crate::base::moment::Moment;
use crate::base::stats::Traffic;
use crate::client::fuzz::with_accounts;
use crate::config::check::Checked;
use crate::config::options::{Cluster, MappingDestination, SubjectMapping};
use crate::route::fuzz::world::{Plan, World, WorldServer};

/// Adds these accounts to a server, each with a user of the same name.
fn bring_accounts(WorldServer { bench, .. }: &mut WorldServer, names: &[&str]) {
    let options = bench.registry.settings().options.clone();
    bench.registry.change_settings(with_accounts(options, names));
    bench.delivery.renew_settings(&bench.registry);
}

/// The number of subscriptions in an account of a server.
fn known(WorldServer { bench, .. }: &WorldServer, account: &str) -> usize {
    let settings = bench.registry.settings();
    let account = settings.accounts.find(account.as_bytes()).unwrap();
    account.with_sublist(|sublist| sublist.count())
}

/// Adds a client that logs in as a user and sends these lines. Returns its number.
fn log_in(WorldServer { bench, .. }: &mut WorldServer, user: &str, lines: &str) -> usize {
    bench.add();
    let at = bench.ends.len() - 1;
    let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\"}}\r\n{lines}");
    bench.send(at, connect.as_bytes());
    at
}

fn text(server: &WorldServer, at: usize) -> String {
    String::from_utf8(server.bench.take(at)).unwrap()
}

fn world(settings: fn(usize) -> Cluster) -> World {
    World::new(Plan { count: 3, settings, nats_servers: 0, listed: 3 }, 5)
}

#[test]
fn accounts_that_come_later_are_announced_and_do_not_hear_each_other() {
    fn single(index: usize) -> Cluster {
        Cluster { pool_size: None, ..pooled(index) }
    }
    fn pinned(index: usize) -> Cluster {
        Cluster { accounts: vec!["A".to_owned()], ..pooled(index) }
    }
    for settings in [pooled, single, pinned] {
        let mut world = world(settings);
        world.settle();
        world.servers.iter_mut().for_each(|server| bring_accounts(server, &["A"]));
        log_in(&mut world.servers[0], "A", "SUB s 1\r\nSUB s q 2\r\n");
        world.settle();
        // There is interest before the routes know of the account, and more while it is announced.
        world.servers.iter_mut().for_each(|server| bring_accounts(server, &["A", "B"]));
        log_in(&mut world.servers[0], "B", "SUB s 1\r\n");
        let publisher = log_in(&mut world.servers[1], "A", "PUB s 1\r\nx\r\n");
        world.pass(Duration::from_millis(50));
        log_in(&mut world.servers[0], "B", "SUB * 2\r\n");
        world.carry_all();
        let heard = [0, 1, 2].map(|at| text(&world.servers[0], at));
        assert_eq!(heard[0].matches("MSG s").count(), 2, "{heard:?}");
        assert!(!heard[1..].concat().contains("MSG"), "{heard:?}");
        log_in(&mut world.servers[2], "B", "PUB s r 1\r\ny\r\n");
        world.servers[1].bench.send(publisher, b"PUB t 1\r\nz\r\n");
        world.carry_all();
        let heard = [0, 1, 2].map(|at| text(&world.servers[0], at));
        assert_eq!(heard, ["", "MSG s 1 r 1\r\ny\r\n", "MSG s 2 r 1\r\ny\r\n"]);
    }
}

#[test]
fn interest_in_an_account_goes_with_its_client_and_with_its_route() {
    let mut world = world(pooled);
    world.settle();
    world.servers.iter_mut().for_each(|server| bring_accounts(server, &["A", "B"]));
    for user in ["A", "B"] {
        log_in(&mut world.servers[0], user, "SUB s 1\r\n");
    }
    world.settle();
    let known = |world: &World, at: usize| {
        ["A", "B", "$G"].map(|account| known(&world.servers[at], account))
    };
    assert_eq!([1, 2].map(|at| known(&world, at)), [[1, 1, 0]; 2]);
    world.servers[0].bench.send(0, b"UNSUB 1\r\n");
    world.carry_all();
    assert_eq!(known(&world, 1), [0, 1, 0]);
    for at in 0..world.cables.len() {
        world.cut(at);
    }
    world.carry_all();
    assert_eq!([0, 1, 2].map(|at| known(&world, at)), [[0, 1, 0], [0; 3], [0; 3]]);
    world.settle();
    assert_eq!(known(&world, 2), [0, 1, 0]);
}

/// Interest beyond those that are kept is asked for anew, also by a route that has had a turn under
/// the new settings before it judged itself by them.
#[test]
fn forgotten_interest_comes_with_a_new_connection() {
    let count = UNLISTED_MAX + 1;
    let mut world = world(pooled);
    world.settle();
    bring_accounts(&mut world.servers[0], &["C"]);
    let lines: String = (0..count).map(|n| format!("SUB s.{n} {n}\r\n")).collect();
    log_in(&mut world.servers[0], "C", &lines);
    world.settle();
    let WorldServer { bench, .. } = &mut world.servers[1];
    let mut options = with_accounts(bench.registry.settings().options.clone(), &["C"]);
    let checked = Checked::new(&mut options, None).unwrap();
    bench.registry.replace_settings(checked, Moment::START);
    bench.delivery.renew_settings(&bench.registry);
    world.carry_all();
    world.servers[1].bench.registry.bring_settings();
    world.settle();
    assert_eq!(known(&world.servers[1], "C"), count);
}

#[test]
fn a_route_of_one_account_counts_for_that() {
    fn pinned(index: usize) -> Cluster {
        Cluster { accounts: vec!["A".to_owned()], ..pooled(index) }
    }
    let mut world = world(pinned);
    world.settle();
    world.servers.iter_mut().for_each(|server| bring_accounts(server, &["A", "B"]));
    for user in ["A", "B"] {
        log_in(&mut world.servers[0], user, "SUB s 1\r\n");
    }
    world.settle();
    for user in ["A", "A", "B"] {
        log_in(&mut world.servers[1], user, "PUB s 1\r\nx\r\n");
    }
    world.carry_all();
    let carried = |world: &World| {
        let registry = &world.servers[0].bench.registry;
        ["A", "$G"].map(|name| {
            let settings = registry.settings();
            let account = settings.accounts.find(name.as_bytes()).unwrap();
            let mut open = Traffic::default();
            for conn in registry.conns() {
                if !conn.kind.is_client() && conn.about().account() == name {
                    open += conn.traffic();
                }
            }
            account.usage().traffic(Kind::Route, open).in_msgs
        })
    };
    assert_eq!(carried(&world), [2, 1]);
    for at in 0..world.cables.len() {
        world.cut(at);
    }
    world.carry_all();
    assert_eq!(carried(&world), [2, 1], "what has ended stays counted");
}

#[test]
fn messages_are_mapped_before_they_leave_and_not_when_they_arrive() {
    let mut world = world(pooled);
    world.settle();
    let server = &mut world.servers[0].bench;
    let options = server.registry.settings().options.clone();
    let mut options = with_accounts(options, &["A"]);
    let mapping = SubjectMapping::new("old").with(MappingDestination::new("new"));
    options.accounts[0].mappings.push(mapping);
    server.registry.change_settings(options);
    server.delivery.renew_settings(&server.registry);
    let listeners = [0, 1].map(|at| log_in(&mut world.servers[at], "A", "SUB > 1\r\n"));
    world.settle();
    for (publisher, expected) in [(0, "MSG new 1 1\r\nx\r\n"), (1, "MSG old 1 1\r\nx\r\n")] {
        log_in(&mut world.servers[publisher], "A", "PUB old 1\r\nx\r\n");
        world.carry_all();
        for at in [0, 1] {
            assert_eq!(text(&world.servers[at], listeners[at]), expected, "at {at}");
        }
    }
}
