//! What an operator says: the options, and the file and the command line that they come from.
//!
//! Imports `base` only. Reads no file by itself: a loader is handed in.

pub mod cli;
pub mod compression;
pub mod conf;
pub mod options;
pub mod route_url;
