//! The edge to the operating system: sockets, signals and the files that tell others of us.

pub mod files;
pub mod signals;
