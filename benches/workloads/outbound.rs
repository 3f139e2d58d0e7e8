//! The queue of a connection whose socket is full.

use std::hint::black_box;

use dialtone::internals::{Frames, Outbound};

use super::Prepared;

const OPS: usize = 1000;

/// Frames of `len` bytes appended one by one, then freed. One operation is one append.
pub(super) fn appends(len: usize) -> Prepared {
    let frame = vec![b'x'; len];
    let mut outbound = Outbound::new();
    Prepared::new(OPS, move || {
        for _ in 0..OPS {
            outbound.push(&Frames::from(black_box(&frame)));
        }
        assert_eq!(outbound.pending_bytes(), OPS * len);
        outbound.clear();
    })
}

/// `len` bytes written in short writes: the rest of each batch is put back, and frames are appended
/// while a batch is out. One operation is one write.
pub(super) fn batches(len: usize) -> Prepared {
    const WRITES: usize = 16;
    let frame = vec![b'x'; 160];
    let mut outbound = Outbound::new();
    while outbound.pending_bytes() < len {
        outbound.push(&Frames::from(&frame));
    }
    Prepared::new(WRITES, move || {
        for _ in 0..WRITES {
            let mut batch = outbound.take();
            black_box(batch.slices());
            outbound.push(&Frames::from(&frame));
            batch.advance(frame.len());
            outbound.release(frame.len());
            outbound.put_back(batch);
        }
    })
}
