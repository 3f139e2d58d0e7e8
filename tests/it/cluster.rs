//! Clusters: of dialtone, of the real server, and of both together.

mod accounts;
mod chaos;
mod dialling;
mod encrypted;
mod gossip;
mod groups;
mod handshake;
mod mixed;
mod protocol;
mod replacement;
mod settings;
mod shutdown;
