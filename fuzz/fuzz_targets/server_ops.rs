//! What servers send, cut anywhere: `cargo +nightly fuzz run server_ops`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dialtone::tool::line_client::server_op::fuzz_server_ops(
    bytes
));
