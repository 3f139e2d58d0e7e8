//! WebSocket: requests for it, its frames and its compressed messages, read and written:
//! `cargo +nightly fuzz run websocket`.

#![no_main]

use dialtone::internals::fuzz::{
    fuzz_deflate, fuzz_frames, fuzz_inflate, fuzz_upgrade, fuzz_written_frames,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_frames(bytes);
    fuzz_written_frames(bytes);
    fuzz_upgrade(bytes);
    fuzz_inflate(bytes);
    fuzz_deflate(bytes);
});
