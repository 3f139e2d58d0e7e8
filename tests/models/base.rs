//! The lowest floor, with loom's atomics and locks. Ranks are asserted elsewhere.

#[path = "../../src/base/closed_reason.rs"]
pub(crate) mod closed_reason;
#[path = "../../src/base/moment.rs"]
pub(crate) mod moment;
#[path = "sync.rs"]
pub(crate) mod sync;

pub(crate) mod limits {
    pub(crate) const STALL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
}
