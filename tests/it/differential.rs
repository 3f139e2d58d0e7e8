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

use crate::support::Which;
use configuration::{Configuration, Part};
use conversation::Conversation;

/// Configurations of each test.
const COUNT: u64 = 100;

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn permissions_and_mappings() {
    compare(1_000, &[mappings::add]);
}

/// Plays configurations with these parts, from a seed on.
fn compare(first: u64, parts: &[Part]) {
    for seed in seeds(first) {
        let mut random = Rng::with_seed(seed);
        let configuration = Configuration::draw(&mut random, parts);
        let conversation = Conversation::draw(&mut random, &configuration);
        let [real, ours] = [Which::Real, Which::Dialtone]
            .map(|which| play::play(&configuration, &conversation, which));
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

fn seeds(first: u64) -> Range<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("DIFFERENTIAL_SEED");
    let count = number("DIFFERENTIAL_COUNT").unwrap_or(if seed.is_some() { 1 } else { COUNT });
    let first = seed.unwrap_or(first);
    first..first + count
}
