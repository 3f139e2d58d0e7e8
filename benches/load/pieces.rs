//! The pieces that scenarios are made of: chunks of publications, flows, windows, one publisher to
//! many, and the figures of an outcome.

use std::io;
use std::time::Instant;

use crate::flow::{Chunk, Flow, Load, Outcome, Pace, Subscriber};
use crate::scenario::Metric::{self, Cpu, P50, P99, P999, Peak, Rate, Rss};
use crate::scenario::{Sample, Stage};
use crate::target::Server;
use crate::wire::{Dialect, Reader, connect, message_len};

/// Bytes of one write of a publisher at full speed, as client libraries buffer them.
pub(crate) const WRITE_LEN: usize = 64 * 1024;

/// Bytes that may be under way to one subscriber of a flow, and to all of them together. Both stay
/// far below the 64 MiB at which a server drops a slow consumer.
const WINDOW_EACH: usize = 256 * 1024;
pub(crate) const WINDOW_MIN: usize = 8 << 20;
const WINDOW_MAX: usize = 32 << 20;

/// The figures that every load has: the rate and CPU of `deliveries`, latencies, memory.
pub(crate) fn figures(outcome: &Outcome, deliveries: f64, stage: &Stage<'_>) -> io::Result<Sample> {
    let mut sample = Sample::new();
    sample.insert(Rate, deliveries / outcome.seconds);
    sample.insert(Cpu, outcome.cpu_ns / 1e3 / deliveries);
    let latencies = &outcome.latencies;
    for (metric, part) in [(P50, 0.5), (P99, 0.99), (P999, 0.999)] {
        let rank = (latencies.len() as f64 * part) as usize;
        if let Some(&latency_ns) = latencies.get(rank) {
            sample.insert(metric, latency_ns as f64 / 1e3);
        }
    }
    sample.insert(Metric::Drain, outcome.drain_seconds);
    sample.insert(Rss, stage.server.memory("VmRSS")? as f64 / 1e6);
    sample.insert(Peak, stage.server.memory("VmHWM")? as f64 / 1e6);
    Ok(sample)
}

/// The result of a piece of work, and the time and CPU of the server that it took.
pub(crate) fn measured<T>(
    server: &Server,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<(Outcome, T)> {
    let (start, cpu_ns) = (Instant::now(), server.cpu_ns()?);
    let result = work()?;
    let outcome = Outcome {
        seconds: start.elapsed().as_secs_f64(),
        cpu_ns: (server.cpu_ns()? - cpu_ns) as f64,
        ..Outcome::default()
    };
    Ok((outcome, result))
}

/// Runs a load and gives the usual figures over all its flows.
pub(crate) fn run(load: Load, stage: &Stage<'_>) -> io::Result<Sample> {
    let outcome = load.run(stage.server, stage.stretch)?;
    figures(&outcome, outcome.deliveries.iter().sum(), stage)
}

/// A chunk of equal messages of about `len` bytes.
pub(crate) fn chunk(
    dialect: Dialect,
    subject: &str,
    payload_len: usize,
    len: usize,
    copies: u64,
) -> Chunk {
    let payload = vec![b'x'; payload_len];
    let mut chunk = Chunk::default();
    while chunk.bytes.is_empty() || chunk.bytes.len() + payload_len < len {
        dialect.publish(&mut chunk.bytes, subject, None, &payload);
        chunk.deliveries += copies;
    }
    chunk
}

/// A chunk of `count` messages with room for the time of sending.
pub(crate) fn stamped_chunk(
    dialect: Dialect,
    subject: &str,
    payload_len: usize,
    count: u64,
    copies: u64,
) -> Chunk {
    let payload = vec![b'x'; payload_len];
    let mut chunk = Chunk { deliveries: count * copies, ..Chunk::default() };
    for _ in 0..count {
        dialect.publish(&mut chunk.bytes, subject, None, &payload);
        chunk.stamps.push(chunk.bytes.len() - 2 - payload_len);
    }
    chunk
}

/// The pace of a flow at full speed with so many subscribers; in deliveries, from bytes.
pub(crate) fn window(subscribers: usize, frame_len: usize) -> Pace {
    let bytes = (subscribers * WINDOW_EACH).clamp(WINDOW_MIN, WINDOW_MAX);
    Pace::Window((bytes / frame_len) as u64)
}

/// A flow that loses nothing, of one stream.
pub(crate) fn flow(server: &Server, chunks: Vec<Chunk>, pace: Pace) -> io::Result<Flow> {
    Ok(Flow {
        streams: vec![connect(&server.endpoint, "")?],
        chunks,
        pace,
        even: false,
        may_lose: false,
    })
}

/// A subscriber whose frames all have the same length.
pub(crate) fn counting(mut reader: Reader, flow: usize, frame_len: usize) -> Subscriber {
    reader.frame_len = Some(frame_len);
    Subscriber::new(reader, flow)
}

/// One publisher to `subscribers`, all of which listen to it already.
pub(crate) fn run_fan_out(
    subscribers: Vec<Reader>,
    payload_len: usize,
    stage: &Stage<'_>,
) -> io::Result<Sample> {
    let count = subscribers.len();
    let frame_len = message_len("bench", "1", payload_len);
    let pace = window(count, frame_len);
    // Four writes fit into the window, also with many subscribers.
    let Pace::Window(deliveries) = pace else { unreachable!("a window") };
    let write_len = WRITE_LEN.min(deliveries as usize / count / 4 * frame_len);
    let chunks = vec![chunk(stage.server.dialect, "bench", payload_len, write_len, count as u64)];
    let counting = |reader| counting(reader, 0, frame_len);
    let receivers = vec![subscribers.into_iter().map(counting).collect()];
    let flow = Flow { even: true, ..flow(stage.server, chunks, pace)? };
    run(Load { flows: vec![flow], receivers }, stage)
}
