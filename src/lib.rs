//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.

pub mod limits;
pub mod options;
