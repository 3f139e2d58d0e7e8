//! What threads share, in one place: `tests/models.rs` puts loom's in its stead.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

pub(crate) use parking_lot::{Mutex, RwLock};
