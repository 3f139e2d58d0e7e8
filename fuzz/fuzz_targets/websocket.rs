//! WebSocket, frames read and written, and requests for it: `cargo +nightly fuzz run websocket`.

#![no_main]

use dialtone::internals::fuzz::{fuzz_frames, fuzz_upgrade, fuzz_written_frames};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_frames(bytes);
    fuzz_written_frames(bytes);
    fuzz_upgrade(bytes);
});
