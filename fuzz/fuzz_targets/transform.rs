//! Subject transforms: `cargo +nightly fuzz run transform`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_transform(bytes));
