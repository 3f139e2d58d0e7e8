//! Many servers in memory: a world of byte queues and a hand-moved clock (`world.rs`), and what
//! must hold in it whatever happens.
