//! The interest that routes get while many threads change the subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use super::*;
use crate::base::ids::{Cid, Kind};
use crate::base::moment::Moment;
use crate::conn::Slot;
use crate::conn::frames::Frames;
use crate::conn::outbound::Policy;
use crate::conn::taken::Taken;

const POLICY: Policy = Policy { pending_bytes_max: 1 << 30, drop_when_lagging: false };
const THREADS: u64 = 3;
const STEPS: usize = 4000;

fn conn(number: u32, kind: Kind, wire: &Arc<Taken>) -> Arc<Conn> {
    let slot = Slot { number, free: Arc::default() };
    Arc::new(wire.conn(Cid(number.into()), kind, slot, Moment::START))
}

/// Subscribes and unsubscribes at random, as a worker does, and returns the remaining
/// subscriptions.
fn churn(account: &Account, seed: u64) -> Vec<Subscription> {
    let mut random = fastrand::Rng::with_seed(seed);
    let client = conn(100 + seed as u32, Kind::Client, &Arc::default());
    let mut own: Vec<Subscription> = Vec::new();
    for step in 0..STEPS {
        let announced = |route: &Arc<Conn>| _ = route.send(&Frames::NONE, &POLICY);
        if own.len() > 20 && random.bool() {
            let gone = own.swap_remove(random.usize(..own.len()));
            account.remove_all(&[gone], announced);
            continue;
        }
        let tail = ["", ".*", ".>"][random.usize(..3)];
        let subject = format!("s{}{tail}", random.u8(..40));
        let queue = [None, Some(&b"q"[..])][usize::from(random.bool())];
        let sid = step.to_string();
        let one = Subscription::new(&client, subject.as_bytes(), queue, sid.as_bytes(), 0);
        assert!(account.insert(one.clone(), announced));
        own.push(one);
    }
    own
}

/// The interest that a route knows in the end: weights by its text.
fn known(wire: &Taken) -> BTreeMap<String, usize> {
    let mut known = BTreeMap::new();
    let text = String::from_utf8(wire.take()).unwrap();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["RS+", "$G", subject] => _ = known.insert(subject.to_owned(), 1),
            ["RS+", "$G", subject, queue, weight] => {
                known.insert(format!("{subject} {queue}"), weight.parse().unwrap());
            }
            ["RS-", "$G", ref interest @ ..] => _ = known.remove(&interest.join(" ")),
            _ => panic!("{line}"),
        }
    }
    known
}

#[test]
fn a_route_that_comes_amid_changes_knows_all_in_the_end() {
    let account = Account::new(0, "$G");
    let wires = [const { None }; 3].map(|_: Option<()>| Arc::new(Taken::default()));
    let left: Vec<Subscription> = thread::scope(|scope| {
        let churning: Vec<_> = (0..THREADS)
            .map(|seed| {
                let account = &account;
                scope.spawn(move || churn(account, seed))
            })
            .collect();
        for (number, wire) in (0..).zip(&wires) {
            let link =
                Link { conn: conn(number, Kind::Route, wire), import: None, dedicated: false };
            account.link(link.clone());
            let mut cursor = Cursor::new();
            while account.announce(&mut cursor, &link, false) == Left::More {
                thread::yield_now();
            }
            link.conn.send(&Frames::NONE, &POLICY);
        }
        churning.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut truth = BTreeMap::new();
    for one in &left {
        let subject = String::from_utf8_lossy(one.subject());
        match one.queue() {
            None => _ = truth.insert(subject.into_owned(), 1),
            Some(_) => *truth.entry(format!("{subject} q")).or_insert(0) += 1,
        }
    }
    for wire in &wires {
        assert_eq!(known(wire), truth);
    }
}
