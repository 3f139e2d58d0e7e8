//! The edge to the operating system: sockets, threads, signals, and the files for other programs.

pub(crate) mod arenas;
pub(crate) mod checks;
pub(crate) mod compressed;
pub(crate) mod crowd;
pub mod deflate;
pub(crate) mod dial;
pub(crate) mod drive;
pub mod files;
pub mod http;
pub(crate) mod inbox;
pub(crate) mod lane;
pub(crate) mod layer;
pub(crate) mod listener;
pub(crate) mod pace;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod requests;
pub mod signals;
pub(crate) mod stream;
pub(crate) mod sweep;
pub(crate) mod tasks;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod upgrades;
pub(crate) mod websocket;
pub(crate) mod worker;
