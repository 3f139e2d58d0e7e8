//! Clusters in which all list only the first server, of dialtones and of
//! [modelled](crate::route::fuzz) nats-servers: all find each other, after any start and any
//! disturbance.

use std::time::Duration;

use super::pooled;
use crate::route::fuzz::world::{Plan, World};

/// `count` servers; those with their bit set are nats-servers.
fn plan(count: usize, nats_servers: u32) -> Plan {
    Plan { count, settings: pooled, nats_servers, listed: 1 }
}

/// Prints the failing plan.
struct Shown(Plan, u64);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} of {:?}", self.1, self.0);
        }
    }
}

/// All orders of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..count {
        let longer = |order: &Vec<usize>| {
            let missing = (0..count).filter(|n| !order.contains(n)).collect::<Vec<_>>();
            missing.into_iter().map(|n| [&**order, &[n]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

/// Two servers come at once, and their first connections are registered in every order: those of
/// the pool and those for `$SYS`, both dialled at once by a nats-server.
#[test]
fn the_first_connections_of_two_newcomers_come_in_any_order() {
    for nats_servers in 0..8 {
        let plan = plan(3, nats_servers);
        let first_count = 2 + (nats_servers >> 1).count_ones() as usize;
        for (seed, order) in (0..).zip(orders(first_count)) {
            let _shown = Shown(plan, seed);
            let mut world = World::new(plan, seed);
            world.pass(Duration::ZERO);
            world.pass(Duration::from_millis(60));
            let cables = world.cables.len();
            for at in order.into_iter().filter(|&at| at < cables) {
                while world.carry(at, 0, usize::MAX) | world.carry(at, 1, usize::MAX) {}
            }
            world.settle();
        }
    }
}

/// Each server but the first starts at a time of its own.
fn start(world: &mut World) {
    let count = world.servers.len();
    (0..count).for_each(|at| world.sides[at] = at);
    let mut waiting: Vec<usize> = (1..count).collect();
    world.random.shuffle(&mut waiting);
    while let Some(next) = waiting.pop() {
        let steps = world.random.usize(..100);
        stumble(world, steps);
        world.sides[next] = 0;
    }
}

/// Lets time pass, with bytes arriving at random.
fn stumble(world: &mut World, steps: usize) {
    for _ in 0..steps {
        if world.cables.is_empty() || world.random.u8(..8) == 0 {
            let span = Duration::from_millis(world.random.u64(..200));
            world.pass(span);
        } else {
            let at = world.random.usize(..world.cables.len());
            let (side, max) = (world.random.usize(..2), world.random.usize(..2000));
            world.carry(at, side, max);
        }
    }
}

#[test]
fn all_mixtures_form() {
    for count in 3..=6 {
        for nats_servers in 0..1 << count {
            let plan = plan(count, nats_servers);
            let seed = u64::from(nats_servers);
            let _shown = Shown(plan, seed);
            let mut world = World::new(plan, seed);
            start(&mut world);
            world.settle();
        }
    }
}

/// Servers are replaced, connections are lost, and some servers are cut off for a while, before the
/// cluster is whole and after it.
#[test]
fn all_mixtures_heal() {
    for count in 3..=4 {
        for nats_servers in 0..1 << count {
            for seed in 0..2 {
                let plan = plan(count, nats_servers);
                let _shown = Shown(plan, seed);
                let mut world = World::new(plan, seed);
                start(&mut world);
                for _ in 0..3 {
                    harm(&mut world);
                    world.settle();
                }
            }
        }
    }
}

/// Regression: a server came back before the first one had missed it, but after a nats-server had
/// given it up. The latter got no gossip about it, because its new connections only took the places
/// of the old.
#[test]
fn who_comes_back_before_it_is_missed_is_told_of() {
    let mut world = World::new(plan(3, 0b100), 1);
    world.sides = vec![0, 1, 0];
    for _ in 0..40 {
        world.pass(Duration::from_millis(50));
        world.carry_all();
    }
    // Comes last, so that the nats-server dials it.
    world.settle();
    world.sides = vec![0, 1, 0];
    for at in 0..world.cables.len() {
        for side in 0..2 {
            let servers = [0, 1].map(|end| world.cables[at].ends[end].server);
            if servers.contains(&1) && servers[side] != 0 {
                world.lose(at, side);
            }
        }
    }
    for _ in 0..20 {
        world.pass(Duration::from_millis(100));
    }
    let old = world.cables.len();
    world.sides.fill(0);
    for _ in 0..20 {
        world.pass(Duration::from_millis(100));
        for at in old..world.cables.len() {
            while world.carry(at, 0, usize::MAX) | world.carry(at, 1, usize::MAX) {}
        }
    }
    world.settle();
}

/// Disturbs the cluster, and lets time pass until that is over.
fn harm(world: &mut World) {
    let count = world.servers.len();
    match world.random.u8(..3) {
        0 => {
            let at = world.random.usize(..count);
            world.restart(at);
        }
        1 => {
            for at in 0..world.cables.len() {
                if world.random.u8(..4) == 0 {
                    world.cut(at);
                }
            }
        }
        _ => part(world),
    }
    for _ in 0..world.random.usize(..60) {
        world.pass(Duration::from_millis(100));
        world.carry_all();
    }
    world.sides.fill(0);
    stumble(world, 200);
}

/// Cuts some servers off from the others. At first only one of two may notice, except where that
/// could part them forever: two nats-servers, or two that depend on gossip of a nats-server.
fn part(world: &mut World) {
    let nats_servers = world.plan.nats_servers;
    let at_once = nats_servers & 1 == 1 || nats_servers.count_ones() > 1;
    let count = world.servers.len();
    (0..count).for_each(|at| world.sides[at] = world.random.usize(..2));
    for at in 0..world.cables.len() {
        let [one, other] = &world.cables[at].ends;
        if world.sides[one.server] == world.sides[other.server] {
            continue;
        }
        match world.random.usize(..3) {
            side if side < 2 && !at_once => world.lose(at, side),
            _ => world.cut(at),
        }
    }
}
