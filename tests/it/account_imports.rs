//! Exports and imports of accounts: their configuration, and messages over stream imports. The
//! transcript `imports.txt` has more of these.

mod delivery;
mod files;
mod routed;
