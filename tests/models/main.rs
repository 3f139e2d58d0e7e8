//! Models of what threads share without a lock, or write in turn: loom plays the orders of their
//! steps, and all that a load may give.
//!
//! The sources are those of the crate. Here `crate::base::sync` is loom's, and what they use
//! besides is as simple as it can be.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, dead_code)]

mod base;
mod conn;
mod sublist;
#[path = "../../src/registry/turns.rs"]
mod turns;

mod caching;
mod unsubscribing;
mod writing;

/// Limit of preemptions of a thread. Without it a model takes ten times as long, and has shown no
/// more.
const PREEMPTIONS_MAX: usize = 4;

/// Plays all orders of the steps of `scene`.
fn check(scene: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(scene);
}
