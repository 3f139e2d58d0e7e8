//! Generated configurations, each with a generated conversation, played to both servers: they do
//! the same, byte for byte.
//!
//! A test says what its configurations have besides accounts, users and permissions: its parts. A
//! part adds settings to the accounts of a configuration; the conversation knows nothing of them,
//! and hits them because all subjects are made of a few tokens. The differences that COMPAT.md
//! names are left out where subjects and settings are drawn, each with a word about it.
//!
//! A failure prints its seed: `DIFFERENTIAL_SEED=n` plays it again, with both sides in full;
//! `DIFFERENTIAL_COUNT=n` plays so many from there on.

mod configuration;
mod conversation;
mod imports;
mod mappings;
mod play;
mod subjects;

use std::env;
use std::ops::Range;

use fastrand::Rng;

use crate::support::Which::{self, Dialtone, Real};
use configuration::{Configuration, Part};
use conversation::{Conversation, Scope};

/// Configurations of each test.
const COUNT: u64 = 100;

/// Of these, some in clusters.
const CLUSTERS: u64 = 20;

/// Everything that a single server may say.
const ALL: Scope = Scope { groups: true, limits: true };

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn permissions_and_mappings() {
    compare(1_000..1_000 + COUNT, &[mappings::add], ALL, &[Real], &[Dialtone]);
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn permissions_and_mappings_in_clusters() {
    let scope = Scope { groups: false, ..ALL };
    for (seeds, ours) in [(2_000, [Dialtone, Real]), (3_000, [Real, Dialtone])] {
        let seeds = seeds..seeds + CLUSTERS / 2;
        compare(seeds, &[mappings::add], scope, &[Real, Real], &ours);
    }
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn imports_of_messages() {
    let scope = Scope { groups: false, limits: false };
    compare(4_000..4_000 + COUNT, &[imports::add], scope, &[Real], &[Dialtone]);
    let parts = [imports::add as Part, mappings::add];
    compare(5_000..5_000 + COUNT / 2, &parts, scope, &[Real], &[Dialtone]);
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn imports_of_messages_in_clusters() {
    let scope = Scope { groups: false, limits: false };
    for (seeds, ours) in [(6_000, [Dialtone, Real]), (7_000, [Real, Dialtone])] {
        let seeds = seeds..seeds + CLUSTERS / 2;
        compare(seeds, &[imports::add], scope, &[Real, Real], &ours);
    }
}

/// Plays configurations with these parts, by seeds, to nats-servers and to others in their place.
fn compare(seeds: Range<u64>, parts: &[Part], scope: Scope, real: &[Which], ours: &[Which]) {
    for seed in wanted(seeds) {
        let mut random = Rng::with_seed(seed);
        let configuration = Configuration::draw(&mut random, parts);
        let conversation = Conversation::draw(&mut random, &configuration, scope);
        let [real, ours] =
            [real, ours].map(|kinds| play::play(&configuration, &conversation, kinds));
        if let Some(at) = (0..real.len()).find(|&at| ours.get(at) != Some(&real[at])) {
            let before = real[..at].concat();
            let ours = ours.get(at).map_or("", |step| step);
            panic!(
                "DIFFERENTIAL_SEED={seed}\n{configuration}\n{before}-- nats-server:\n{}\
                 -- dialtone:\n{ours}",
                real[at]
            );
        }
    }
}

/// These seeds, or those that the environment asks for.
fn wanted(seeds: Range<u64>) -> Range<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("DIFFERENTIAL_SEED") {
        None => seeds,
        Some(first) => first..first + number("DIFFERENTIAL_COUNT").unwrap_or(1),
    }
}
