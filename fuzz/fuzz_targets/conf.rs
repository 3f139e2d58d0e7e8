//! Configuration files: `cargo +nightly fuzz run conf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_conf(bytes));
