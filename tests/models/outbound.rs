//! A queue without limit, in one piece.

use std::io::IoSlice;

use crate::conn::frames::Frames;

#[derive(Clone, Copy)]
pub(crate) struct Kind;

pub(crate) struct Policy;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Append,
    AppendAndStall,
    Drop,
    Overflow,
}

impl Policy {
    pub(crate) fn admission(&self, _: Kind, _: usize, _: usize) -> Admission {
        Admission::Append
    }

    pub(crate) fn stall_pending(&self) -> usize {
        usize::MAX
    }

    pub(crate) fn pending_max(&self, _: Kind) -> usize {
        usize::MAX
    }
}

#[derive(Default)]
pub(crate) struct Outbound {
    queue: Vec<u8>,
    /// Taken out to be written.
    taken: usize,
}

pub(crate) struct Batch(Vec<u8>);

impl Outbound {
    pub(crate) fn pending_bytes(&self) -> usize {
        self.queue.len() + self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn reserve(&mut self, len: usize) {
        self.taken += len;
    }

    pub(crate) fn release(&mut self, len: usize) {
        self.taken -= len;
    }

    pub(crate) fn push(&mut self, frames: &Frames<'_>) {
        self.queue.extend_from_slice(frames);
    }

    pub(crate) fn prepend(&mut self, frames: &Frames<'_>, written: usize) {
        self.put_back(Batch(frames[written..].to_vec()));
    }

    pub(crate) fn take(&mut self) -> Batch {
        self.taken += self.queue.len();
        Batch(std::mem::take(&mut self.queue))
    }

    pub(crate) fn put_back(&mut self, batch: Batch) {
        self.taken -= batch.0.len();
        self.queue.splice(..0, batch.0);
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn slices(&self) -> [IoSlice<'_>; 1] {
        [IoSlice::new(&self.0)]
    }

    pub(crate) fn advance(&mut self, len: usize) {
        self.0.drain(..len);
    }
}
