//! Three clients against a naive model: `cargo +nightly fuzz run client`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_client(bytes));
