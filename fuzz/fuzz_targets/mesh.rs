//! A cluster in memory against a naive model: `cargo +nightly fuzz run mesh`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_mesh(bytes));
