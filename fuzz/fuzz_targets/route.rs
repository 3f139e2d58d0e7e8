//! A route whose other side says anything: `cargo +nightly fuzz run route`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_route(bytes));
