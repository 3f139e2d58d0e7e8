//! The ground of the crate, which uses nothing else of it: plain data, pure functions, one table.
//!
//! Knows no bytes of any protocol, no setting and no lock.

pub mod closed_reason;
pub mod duration;
pub mod errors;
pub mod fnv;
#[cfg(test)]
pub(crate) mod fuzzing;
pub mod ids;
pub mod left;
pub mod limits;
pub mod moment;
pub mod os_error;
pub mod pattern_map;
pub mod percent;
pub mod quoted;
pub mod secrets;
pub mod sha256;
pub mod stats;
pub mod subject;
pub mod subject_transform;
pub(crate) mod sync;
pub mod table;
