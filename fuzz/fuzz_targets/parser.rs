//! The parser against itself, cut anywhere: `cargo +nightly fuzz run parser`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_parser(bytes));
