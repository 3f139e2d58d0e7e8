//! `Outbound`: the outbound queue of one connection, encoded frames that its socket has not taken
//! yet.
//!
//! Knows bytes and limits. Knows no socket, no lock and no clock.
//! Invariant: `pending_bytes` is the sum of the bytes in `chunks` and in the batch that is out, and
//! an empty queue holds no memory.
//! nats: server/client.go `queueOutbound`, `collapsePtoNB`

mod chunk;
mod spares;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::base::ids::Kind;
use crate::base::limits::{REQUESTS_PENDING_MAX, ROUTE_PENDING_FACTOR, STALL_PENDING_PERCENT};
use crate::conn::frames::Frames;
use crate::conn::outbound::chunk::Chunk;
use crate::conn::outbound::spares::MAPPED_LEN;

pub use crate::conn::outbound::spares::trim;

/// Bytes of the first chunk, for a receiver that is only a little behind; each further one doubles,
/// up to [`MAPPED_LEN`].
const CHUNK_LEN_MIN: usize = 4 * 1024;

/// Frames of at least this length wait uncopied after others. Copying smaller ones is cheaper, and
/// many of them would take more memory than their bytes.
pub const SHARED_LEN_MIN: usize = 4 * 1024;

/// Chunks that one write offers to the socket.
const BATCH_CHUNKS_MAX: usize = 16;

/// Limits of an outbound queue: the one place that decides when a queue is full.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Bytes that may wait; with more, the receiver is a slow consumer.
    pub pending_bytes_max: usize,
    /// Frames for a lagging receiver are dropped instead of stalling publishers.
    pub drop_when_lagging: bool,
}

/// The verdict of a [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Append it.
    Append,
    /// Append it; its publisher should pause.
    AppendAndStall,
    /// Forget it, the receiver stays.
    Drop,
    /// The receiver is a slow consumer: close it.
    Overflow,
}

impl Policy {
    /// Pending bytes beyond which a receiver lags, and stalls its publishers.
    pub fn stall_pending(&self) -> usize {
        self.pending_bytes_max / 100 * STALL_PENDING_PERCENT
    }

    /// Bytes that may wait for a connection of that kind. A route carries the messages of many
    /// publishers, and its end would cost them all: it may fall further behind.
    pub fn pending_max(&self, kind: Kind) -> usize {
        match kind {
            Kind::Route => self.pending_bytes_max.saturating_mul(ROUTE_PENDING_FACTOR),
            Kind::Client => self.pending_bytes_max,
            Kind::System => REQUESTS_PENDING_MAX,
        }
    }

    /// Decides on `len` more bytes behind `pending_bytes`.
    pub fn admission(&self, kind: Kind, pending_bytes: usize, len: usize) -> Admission {
        let pending_max = self.pending_max(kind);
        // No client waits for services.
        if kind == Kind::System {
            let fits = pending_bytes + len <= pending_max;
            return if fits { Admission::Append } else { Admission::Drop };
        }
        if pending_bytes > self.stall_pending() {
            if self.drop_when_lagging {
                return Admission::Drop;
            }
            if pending_bytes + len <= pending_max {
                return Admission::AppendAndStall;
            }
        }
        if pending_bytes + len > pending_max {
            return Admission::Overflow;
        }
        Admission::Append
    }
}

/// Frames in order of their delivery.
#[derive(Debug, Default)]
pub struct Outbound {
    /// `None` for most connections most of the time: nothing waits.
    chunks: Option<Box<Chunks>>,
    pending_bytes: usize,
}

/// Chunks taken out to be written while others append.
#[derive(Debug)]
pub struct Batch(Box<Chunks>);

/// At least one chunk, except in a batch that is written.
#[derive(Debug, Default)]
struct Chunks {
    list: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written.
    written: usize,
}

impl Outbound {
    /// An empty queue.
    pub fn new() -> Outbound {
        Outbound::default()
    }

    /// The number of waiting bytes, a batch that is out included.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// True if nothing waits here. A batch may still be out.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_none()
    }

    /// Counts bytes that are about to be written without entering the queue.
    pub fn reserve(&mut self, len: usize) {
        self.pending_bytes += len;
    }

    /// Counts bytes that are written.
    pub fn release(&mut self, len: usize) {
        self.pending_bytes -= len;
    }

    /// Appends and counts frames.
    // As a call it would cost a fifth of an append.
    #[inline(always)]
    pub fn push(&mut self, frames: &Frames<'_>) {
        self.pending_bytes += frames.len();
        match frames.shared {
            Some(shared) if self.is_empty() || shared.len() >= SHARED_LEN_MIN => {
                self.list().push_back(Chunk::Shared(Arc::clone(shared)));
            }
            _ => self.append(frames),
        }
    }

    /// Appends frames that are counted already.
    pub fn append(&mut self, frames: &[u8]) {
        let chunks = self.list();
        let mut rest = frames;
        if let Some(last) = chunks.back_mut() {
            rest = &rest[last.append(rest)..];
        }
        while !rest.is_empty() {
            let grown = match chunks.back() {
                Some(Chunk::Shared(_)) => rest.len().clamp(CHUNK_LEN_MIN, MAPPED_LEN),
                Some(last) => (last.capacity() * 2).max(rest.len()).min(MAPPED_LEN),
                None if rest.len() > CHUNK_LEN_MIN => MAPPED_LEN,
                None => CHUNK_LEN_MIN,
            };
            let mut chunk = Chunk::with_capacity(grown);
            rest = &rest[chunk.append(rest)..];
            chunks.push_back(chunk);
        }
    }

    /// Puts counted frames, of which some bytes are `written`, in front of the queue, none of which
    /// is written yet.
    pub fn prepend(&mut self, frames: &Frames<'_>, written: usize) {
        let after = self.chunks.take();
        match frames.shared {
            None => self.append(&frames[written..]),
            Some(shared) => {
                let list = VecDeque::from([Chunk::Shared(Arc::clone(shared))]);
                self.chunks = Some(Box::new(Chunks { list, written }));
            }
        }
        if let Some(after) = after {
            debug_assert_eq!(after.written, 0, "nobody writes what stands after these frames");
            self.list().extend(after.list);
        }
    }

    fn list(&mut self) -> &mut VecDeque<Chunk> {
        &mut self.chunks.get_or_insert_default().list
    }

    /// Takes out the chunks for one write.
    pub fn take(&mut self) -> Batch {
        match &mut self.chunks {
            Some(chunks) if chunks.list.len() > BATCH_CHUNKS_MAX => {
                let mut list = VecDeque::with_capacity(BATCH_CHUNKS_MAX);
                while list.len() < BATCH_CHUNKS_MAX
                    && let Some(chunk) = chunks.list.pop_front()
                {
                    list.push_back(chunk);
                }
                let written = std::mem::take(&mut chunks.written);
                Batch(Box::new(Chunks { list, written }))
            }
            chunks => Batch(chunks.take().unwrap_or_default()),
        }
    }

    /// Puts the unwritten rest of a batch back in front of frames appended in the meantime.
    pub fn put_back(&mut self, batch: Batch) {
        let Batch(mut rest) = batch;
        let Some(chunks) = &mut self.chunks else {
            self.chunks = Some(rest);
            return;
        };
        chunks.written = rest.written;
        while let Some(chunk) = rest.list.pop_back() {
            chunks.list.push_front(chunk);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Outbound::new();
    }
}

impl Batch {
    /// True if nothing is left to write.
    pub fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// The unwritten bytes, as slices for one vectored write.
    pub fn slices(&self) -> [IoSlice<'_>; BATCH_CHUNKS_MAX] {
        let mut slices = [IoSlice::new(&[]); BATCH_CHUNKS_MAX];
        for (slice, chunk) in slices.iter_mut().zip(&self.0.list) {
            *slice = IoSlice::new(chunk);
        }
        slices[0].advance(self.0.written);
        slices
    }

    /// Forgets the first `len` bytes, which are written.
    pub fn advance(&mut self, len: usize) {
        let Chunks { list, written } = &mut *self.0;
        let mut left = *written + len;
        while list.front().is_some_and(|first| left >= first.len())
            && let Some(first) = list.pop_front()
        {
            left -= first.len();
            first.recycle();
        }
        *written = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outbound: &mut Outbound) -> Vec<u8> {
        let mut text = Vec::new();
        while !outbound.is_empty() {
            let mut batch = outbound.take();
            let part: Vec<u8> = batch.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            batch.advance(part.len());
            assert!(batch.is_empty());
            outbound.release(part.len());
            text.extend(part);
        }
        text
    }

    #[test]
    fn order_holds_over_short_writes() {
        let mut outbound = Outbound::new();
        let mut sent = Vec::new();
        let mut written = Vec::new();
        for round in 0..200_usize {
            let frame = vec![round as u8; 1 + (round * 7919) % 40_000];
            sent.extend_from_slice(&frame);
            outbound.push(&Frames::from(&frame));
            let mut batch = outbound.take();
            let all: Vec<u8> = batch.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            let len = all.len() * (round % 5) / 4;
            let len = len.min(all.len());
            outbound.push(&Frames::from(b"xxx"));
            sent.extend_from_slice(&[b'x'; 3]);
            batch.advance(len);
            written.extend_from_slice(&all[..len]);
            outbound.release(len);
            outbound.put_back(batch);
        }
        written.extend(text(&mut outbound));
        assert!(written == sent);
        assert_eq!(outbound.pending_bytes(), 0);
        assert!(outbound.is_empty());
    }

    #[test]
    fn policy_stalls_drops_and_closes() {
        let policy = Policy { pending_bytes_max: 1000, drop_when_lagging: false };
        assert_eq!(policy.admission(Kind::Client, 0, 1000), Admission::Append);
        assert_eq!(policy.admission(Kind::Client, 0, 1001), Admission::Overflow);
        assert_eq!(policy.admission(Kind::Client, 751, 10), Admission::AppendAndStall);
        assert_eq!(policy.admission(Kind::Client, 751, 250), Admission::Overflow);
        let policy = Policy { drop_when_lagging: true, ..policy };
        assert_eq!(policy.admission(Kind::Client, 751, 250), Admission::Drop);
        assert_eq!(policy.admission(Kind::Client, 700, 350), Admission::Overflow);
        let max = REQUESTS_PENDING_MAX;
        assert_eq!(policy.admission(Kind::System, max - 350, 350), Admission::Append);
        assert_eq!(policy.admission(Kind::System, max - 350, 351), Admission::Drop);
    }
}
