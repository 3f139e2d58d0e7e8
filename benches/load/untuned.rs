//! Scenarios that no code was tuned for: dialtone has to be better in them too.

use std::io;
use std::time::Duration;

use fastrand::Rng;

use crate::flow::{Chunk, Flow, Load, Pace, Subscriber};
use crate::pieces::{flow, run, stamped_chunk, window};
use crate::scenario::{Sample, Scenario, Stage};
use crate::wire::{connect, connect_all, publish_with_headers};

/// All of them; each has to be better, by whatever little.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("mixed-sizes", "8 B to 64 KB mixed, to 3", mixed_sizes),
        Scenario::new("bursts", "20 publishers in bursts, to 5", bursts),
        Scenario::new("chat", "500 clients talk to each other", chat).times_the_rounds(12),
        Scenario::new("wildcards", "wildcards of all shapes", wildcards),
        Scenario::new("headers", "headers, to 4 of which 1 takes none", headers),
    ]
}

/// One stream of messages of all sizes, most of them small, as real traffic is.
fn mixed_sizes(stage: &Stage<'_>) -> io::Result<Sample> {
    const SUBSCRIBERS: usize = 3;
    const SIZES: [usize; 12] = [8, 40, 64, 100, 150, 256, 400, 700, 1500, 4000, 16_000, 65_536];
    let mut random = Rng::with_seed(7);
    let mut chunks = Vec::new();
    for _ in 0..64 {
        let mut chunk = Chunk::default();
        while chunk.bytes.len() < 48 * 1024 {
            // The lower of two draws: small sizes are the more frequent ones.
            let draw = random.usize(..12).min(random.usize(..12));
            let subject = format!("mixed.{}", random.u64(..20));
            let payload = vec![b'x'; SIZES[draw]];
            stage.server.dialect.publish(&mut chunk.bytes, &subject, None, &payload);
            chunk.deliveries += SUBSCRIBERS as u64;
        }
        chunks.push(chunk);
    }
    let readers =
        connect_all(&stage.server.endpoint, &vec![b"SUB mixed.* 1\r\n".to_vec(); SUBSCRIBERS])?;
    let receivers = vec![readers.into_iter().map(|reader| Subscriber::new(reader, 0)).collect()];
    let flow = Flow { even: true, ..flow(stage.server, chunks, window(SUBSCRIBERS, 2048))? };
    run(Load { flows: vec![flow], receivers }, stage)
}

/// Each of 20 publishers sends 100 messages at once, in turn, 200 bursts a second in all.
fn bursts(stage: &Stage<'_>) -> io::Result<Sample> {
    const SUBSCRIBERS: u64 = 5;
    const PUBLISHERS: usize = 20;
    let readers = connect_all(
        &stage.server.endpoint,
        &vec![b"SUB burst.* 1\r\n".to_vec(); SUBSCRIBERS as usize],
    )?;
    let subscribers = readers.into_iter().map(|reader| Subscriber::stamped(reader, 0)).collect();
    let dialect = stage.server.dialect;
    let flow = Flow {
        streams: connect_all(&stage.server.endpoint, &vec![Vec::new(); PUBLISHERS])?,
        chunks: (0..PUBLISHERS)
            .map(|index| stamped_chunk(dialect, &format!("burst.{index}"), 200, 100, SUBSCRIBERS))
            .collect(),
        pace: Pace::Every { interval: Duration::from_millis(5), jitter: true },
        even: true,
        may_lose: false,
    };
    run(Load { flows: vec![flow], receivers: vec![subscribers] }, stage)
}

/// Each of 500 clients listens to its own subject and sends to another one, one by one.
///
/// Its rounds are short and many. A message that is sent on time whatever happens is late by all
/// that the machine stands still, so that 20 ms are all that a p99 of 2 s can take; a machine that
/// stands still for 50 ms every 5 s decides two of five long rounds, but few of the short ones.
fn chat(stage: &Stage<'_>) -> io::Result<Sample> {
    const CLIENTS: u64 = 500;
    const STRETCH_MAX: Duration = Duration::from_millis(250);
    let stage = &Stage { server: stage.server, stretch: stage.stretch.min(STRETCH_MAX) };
    let setups: Vec<_> =
        (0..CLIENTS).map(|client| format!("SUB chat.{client} 1\r\n").into_bytes()).collect();
    let mut streams = Vec::new();
    let mut subscribers = Vec::new();
    for reader in connect_all(&stage.server.endpoint, &setups)? {
        streams.push(reader.twin());
        subscribers.push(Subscriber::stamped(reader, 0));
    }
    let mut random = Rng::with_seed(11);
    let flow = Flow {
        streams,
        chunks: (0..CLIENTS * 7 + 3)
            .map(|_| {
                let subject = format!("chat.{}", random.u64(..CLIENTS));
                stamped_chunk(stage.server.dialect, &subject, 60, 1, 1)
            })
            .collect(),
        pace: Pace::Every { interval: Duration::from_micros(200), jitter: false },
        even: false,
        may_lose: false,
    };
    run(Load { flows: vec![flow], receivers: vec![subscribers] }, stage)
}

/// Patterns of every shape on 40 connections; every message matches several of them.
fn wildcards(stage: &Stage<'_>) -> io::Result<Sample> {
    const CONNECTIONS: u64 = 40;
    let shapes: [fn(u64, u64) -> String; 8] = [
        |_, _| "shop.>".to_owned(),
        |a, _| format!("shop.{a}.>"),
        |a, _| format!("shop.{a}.*.new"),
        |_, b| format!("shop.*.{b}.*"),
        |a, b| format!("shop.{a}.{b}.new"),
        |_, b| format!("*.*.{b}.new"),
        |a, b| format!("*.{a}.{b}.>"),
        |_, _| "shop.*.*.*.>".to_owned(),
    ];
    let mut patterns = Vec::new();
    let mut setups = vec![Vec::new(); CONNECTIONS as usize];
    for connection in 0..CONNECTIONS {
        for (sid, shape) in shapes.iter().enumerate() {
            // The widest pattern stands only once in ten connections.
            if sid == 0 && connection % 10 != 0 {
                continue;
            }
            let pattern = shape(connection, connection * 7 % CONNECTIONS);
            let line = format!("SUB {pattern} {sid}\r\n");
            setups[connection as usize].extend_from_slice(line.as_bytes());
            patterns.push(pattern);
        }
    }
    let mut random = Rng::with_seed(13);
    let mut chunks = Vec::new();
    for _ in 0..64 {
        let mut chunk = Chunk::default();
        for _ in 0..200 {
            let (a, b) = (random.u64(..CONNECTIONS), random.u64(..CONNECTIONS));
            let last = random.choice(["new", "old", "gone"]).unwrap_or_default();
            let subject = format!("shop.{a}.{b}.{last}");
            stage.server.dialect.publish(&mut chunk.bytes, &subject, None, &[b'x'; 100]);
            chunk.deliveries += patterns.iter().filter(|p| matches(p, &subject)).count() as u64;
        }
        chunks.push(chunk);
    }
    let readers = connect_all(&stage.server.endpoint, &setups)?;
    let receivers = vec![readers.into_iter().map(|reader| Subscriber::new(reader, 0)).collect()];
    let flows = vec![flow(stage.server, chunks, window(CONNECTIONS as usize, 140))?];
    run(Load { flows, receivers }, stage)
}

/// The definition of a match, slow and plain: the oracle for the number of deliveries.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut subjects) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), subjects.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(token), Some(other)) if token == "*" || token == other => {}
            _ => return false,
        }
    }
}

/// Three subscribers get the headers, the fourth did not ask for them and gets the payload alone.
fn headers(stage: &Stage<'_>) -> io::Result<Sample> {
    const SUBSCRIBERS: u64 = 4;
    let block = b"NATS/1.0\r\nNats-Msg-Id: 7f0a2c5e-1b7e-4a39-93f0-2a6f6a1c9b10\r\n\
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
Content-Type: application/json\r\n\r\n";
    let mut chunk = Chunk::default();
    while chunk.bytes.len() < 60 * 1024 {
        publish_with_headers(&mut chunk.bytes, "order.new", block, &[b'x'; 256]);
        chunk.deliveries += SUBSCRIBERS;
    }
    let mut readers = connect_all(
        &stage.server.endpoint,
        &vec![b"SUB order.* 1\r\n".to_vec(); SUBSCRIBERS as usize - 1],
    )?;
    let plain = "CONNECT {\"verbose\":false,\"headers\":false,\
\"no_responders\":false,\"protocol\":1}\r\nSUB order.* 1\r\n";
    readers.push(connect(&stage.server.endpoint, plain)?);
    let receivers = vec![readers.into_iter().map(|reader| Subscriber::new(reader, 0)).collect()];
    let pace = window(SUBSCRIBERS as usize, 500);
    let flow = Flow { even: true, ..flow(stage.server, vec![chunk], pace)? };
    run(Load { flows: vec![flow], receivers }, stage)
}
