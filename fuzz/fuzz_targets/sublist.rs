//! The sublist against a list of patterns: `cargo +nightly fuzz run sublist`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_sublist_ops(bytes));
