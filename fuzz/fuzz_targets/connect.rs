//! CONNECT's JSON: `cargo +nightly fuzz run connect`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_connect(bytes));
