//! What servers send, cut anywhere: `cargo +nightly fuzz run server_ops`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::internals::fuzz::fuzz_server_ops(
    bytes
));
