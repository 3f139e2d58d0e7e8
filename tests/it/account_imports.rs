//! Exports and imports of accounts: their configuration, and messages over stream imports.

mod files;
