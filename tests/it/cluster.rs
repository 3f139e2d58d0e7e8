//! Clusters: of dialtone, of the real server, and of both together.

mod mixed;
mod replacement;
