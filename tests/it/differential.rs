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
mod mappings;
mod play;
mod subjects;

use std::env;
use std::ops::Range;

use fastrand::Rng;

use crate::support::Which::{self, Dialtone, Real};
use configuration::{Configuration, Part};
use conversation::Conversation;

/// Configurations of each test.
const COUNT: u64 = 100;

/// Of these, some in clusters.
const CLUSTERS: u64 = 20;

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn permissions_and_mappings() {
    compare(1_000..1_000 + COUNT, &[mappings::add], &[Real], &[Dialtone]);
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn permissions_and_mappings_in_clusters() {
    compare(2_000..2_000 + CLUSTERS / 2, &[mappings::add], &[Real, Real], &[Dialtone, Real]);
    compare(3_000..3_000 + CLUSTERS / 2, &[mappings::add], &[Real, Real], &[Real, Dialtone]);
}

/// Plays configurations with these parts, by seeds, to nats-servers and to others in their place.
fn compare(seeds: Range<u64>, parts: &[Part], real: &[Which], ours: &[Which]) {
    for seed in wanted(seeds) {
        let mut random = Rng::with_seed(seed);
        let configuration = Configuration::draw(&mut random, parts);
        let conversation = Conversation::draw(&mut random, &configuration, real.len() == 1);
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
