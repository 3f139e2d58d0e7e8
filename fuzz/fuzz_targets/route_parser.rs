//! The parser of the route port against itself, cut anywhere: `cargo +nightly fuzz run route_parser`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_route_parser(bytes));
