//! S2 streams, read and written: `cargo +nightly fuzz run s2`.

#![no_main]

use dialtone::internals::fuzz::{fuzz_compress, fuzz_decompress};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_decompress(bytes);
    fuzz_compress(bytes);
});
