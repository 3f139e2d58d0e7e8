//! The scenarios that dialtone was built for.

use std::io;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use crate::flow::{Chunk, Flow, Load, Pace, Subscriber};
use crate::pieces::{
    WINDOW_MIN, WRITE_LEN, chunk, counting, figures, flow, measured, run, run_fan_out,
    stamped_chunk, window,
};
use crate::request;
use crate::routed::routed;
use crate::scenario::Metric::{self, Each, Lost};
use crate::scenario::{Sample, Scenario, Stage};
use crate::wire::{connect, connect_all, message_len};

/// The payload of most scenarios, in bytes.
const PAYLOAD_LEN: usize = 128;

/// Every scenario of the table, in its order.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("publish-16", "publish only, 16 B", publish_only),
        fan_out("one-16", "1 to 1, 16 B", 1, 16),
        fan_out("one-128", "1 to 1, 128 B", 1, 128),
        fan_out("one-1k", "1 to 1, 1 KB", 1, 1024),
        fan_out("one-32k", "1 to 1, 32 KB", 1, 32 * 1024),
        fan_out("fan-10", "1 to 10, 128 B", 10, PAYLOAD_LEN),
        fan_out("fan-100", "1 to 100, 128 B", 100, PAYLOAD_LEN),
        fan_out("fan-1000", "1 to 1,000, 128 B", 1000, PAYLOAD_LEN),
        Scenario::new("eight", "8 to 8, 128 B", eight),
        Scenario::new("queue-10", "queue group of 10", queue_group),
        subscriptions("subjects-100k", "100,000 subjects in play", 100_000),
        Scenario::new("churn", "SUB/UNSUB beside publishing", churn),
        requests("request-1", "request/reply, 1 outstanding", 1).times_the_rounds(3),
        requests("request-100", "request/reply, 100 outstanding", 100),
        Scenario::new("one-per-write", "one message per write", one_per_write).with_relay(),
        Scenario::new("probe", "probe beside 200,000 msg/s", probe)
            .with_relay()
            .times_the_rounds(9),
        Scenario::new("heartbeats", "2,000 clients, 1 msg/s each", heartbeats)
            .with_relay()
            .times_the_rounds(3),
        idle("idle-10k", "10,000 idle connections", 10_000).at_most_rounds(3),
        Scenario::new("subs-1m", "1,000,000 subscriptions", million).at_most_rounds(3),
        Scenario::new("slow-reader", "one of six never reads", slow_reader).at_most_rounds(3),
        routed("routed-1", "to 1 behind a route, 128 B", 2, 1),
        routed("routed-10", "to 10 behind each of 2 routes", 3, 10),
    ]
}

fn publish_only(stage: &Stage<'_>) -> io::Result<Sample> {
    // A PONG per 256 KiB costs the server nothing that can be measured.
    let chunks = vec![chunk(stage.server.dialect, "bench", 16, 4 * WRITE_LEN, 1)];
    let flows = vec![flow(stage.server, chunks, Pace::Confirmed)?];
    run(Load { flows, receivers: Vec::new() }, stage)
}

pub(crate) fn fan_out(name: &str, title: &str, subscribers: usize, payload_len: usize) -> Scenario {
    let run = move |stage: &Stage<'_>| {
        let setups = vec![b"SUB bench 1\r\n".to_vec(); subscribers];
        run_fan_out(connect_all(&stage.server.endpoint, &setups)?, payload_len, stage)
    };
    Scenario::new(name, title, run).with_relay()
}

fn eight(stage: &Stage<'_>) -> io::Result<Sample> {
    let mut load = Load::default();
    let mut subscribers = Vec::new();
    let frame_len = message_len("bench.0", "1", PAYLOAD_LEN);
    for index in 0..8 {
        let subject = format!("bench.{index}");
        let reader = connect(&stage.server.endpoint, &format!("SUB {subject} 1\r\n"))?;
        subscribers.push(counting(reader, index, frame_len));
        let chunks = vec![chunk(stage.server.dialect, &subject, PAYLOAD_LEN, WRITE_LEN, 1)];
        let pace = Pace::Window((WINDOW_MIN / 8 / frame_len) as u64);
        load.flows.push(flow(stage.server, chunks, pace)?);
    }
    load.receivers.push(subscribers);
    run(load, stage)
}

fn queue_group(stage: &Stage<'_>) -> io::Result<Sample> {
    let frame_len = message_len("bench", "1", PAYLOAD_LEN);
    let readers =
        connect_all(&stage.server.endpoint, &vec![b"SUB bench workers 1\r\n".to_vec(); 10])?;
    let receivers = vec![readers.into_iter().map(|r| counting(r, 0, frame_len)).collect()];
    let chunks = vec![chunk(stage.server.dialect, "bench", PAYLOAD_LEN, WRITE_LEN, 1)];
    let flows = vec![flow(stage.server, chunks, window(10, frame_len))?];
    run(Load { flows, receivers }, stage)
}

/// `count` literal subscriptions on ten connections, and messages to all of them in random order.
pub(crate) fn subscriptions(name: &str, title: &str, count: usize) -> Scenario {
    Scenario::new(name, title, move |stage| {
        let subject = |number: usize| format!("svc.{:03}.node.{:04}", number / 1000, number % 1000);
        let connections = count.min(10);
        let mut setups = vec![Vec::new(); connections];
        let mut numbers: Vec<usize> = (0..count).collect();
        for &number in &numbers {
            let line = format!("SUB {} {:07}\r\n", subject(number), number);
            setups[number % connections].extend_from_slice(line.as_bytes());
        }
        Rng::with_seed(count as u64).shuffle(&mut numbers);
        let mut chunks = vec![Chunk::default()];
        let payload = [b'x'; 16];
        for &number in numbers.iter().cycle().take(count.max(1000)) {
            if chunks.last().is_none_or(|chunk| chunk.bytes.len() > WRITE_LEN) {
                chunks.push(Chunk::default());
            }
            if let Some(chunk) = chunks.last_mut() {
                let dialect = stage.server.dialect;
                dialect.publish(&mut chunk.bytes, &subject(number), None, &payload);
                chunk.deliveries += 1;
            }
        }
        let frame_len = message_len(&subject(0), "0000000", payload.len());
        let mut subscribers = Vec::new();
        for reader in connect_all(&stage.server.endpoint, &setups)? {
            subscribers.push(counting(reader, 0, frame_len));
        }
        let flows = vec![flow(stage.server, chunks, window(10, frame_len))?];
        run(Load { flows, receivers: vec![subscribers] }, stage)
    })
}

/// Operations at full speed on one connection, half of them for the wildcard inboxes of clients
/// that come and go, beside 50,000 messages a second to 50 subjects.
fn churn(stage: &Stage<'_>) -> io::Result<Sample> {
    /// Live subscriptions of the busy connection, at most.
    const LIVE: usize = 1000;
    let mut chunks = Vec::new();
    for number in 0..16 {
        let mut chunk = Chunk { deliveries: 2 * LIVE as u64, ..Chunk::default() };
        for sid in 0..LIVE {
            let line = match sid % 2 {
                0 => format!("SUB _INBOX.LoadLoadLoadLoad{number:02}{sid:04}.* {sid}\r\n"),
                _ => format!("SUB churn.{number}.{sid} {sid}\r\n"),
            };
            chunk.bytes.extend_from_slice(line.as_bytes());
        }
        for sid in 0..LIVE {
            chunk.bytes.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
        }
        chunks.push(chunk);
    }
    let mut paced = Chunk::default();
    let mut setup = String::new();
    for number in 10..60 {
        let subject = format!("bench.{number}");
        stage.server.dialect.publish(&mut paced.bytes, &subject, None, &[b'x'; PAYLOAD_LEN]);
        paced.deliveries += 1;
        setup.push_str(&format!("SUB {subject} 1{number}\r\n"));
    }
    let frame_len = message_len("bench.10", "110", PAYLOAD_LEN);
    let reader = connect(&stage.server.endpoint, &setup)?;
    let every = Pace::Every { interval: Duration::from_millis(1), jitter: false };
    let load = Load {
        flows: vec![
            flow(stage.server, chunks, Pace::Confirmed)?,
            flow(stage.server, vec![paced], every)?,
        ],
        receivers: vec![vec![counting(reader, 1, frame_len)]],
    };
    let outcome = load.run(stage.server, stage.stretch)?;
    figures(&outcome, outcome.deliveries[0], stage)
}

fn requests(name: &str, title: &str, outstanding: u64) -> Scenario {
    let run = move |stage: &Stage<'_>| {
        let outcome = request::run(stage.server, outstanding, stage.stretch)?;
        figures(&outcome, outcome.deliveries.iter().sum(), stage)
    };
    Scenario::new(name, title, run).with_relay()
}

fn one_per_write(stage: &Stage<'_>) -> io::Result<Sample> {
    let frame_len = message_len("bench", "1", PAYLOAD_LEN);
    let chunks = vec![chunk(stage.server.dialect, "bench", PAYLOAD_LEN, 0, 1)];
    let reader = connect(&stage.server.endpoint, "SUB bench 1\r\n")?;
    let receivers = vec![vec![counting(reader, 0, frame_len)]];
    let flows = vec![flow(stage.server, chunks, window(1, frame_len))?];
    run(Load { flows, receivers }, stage)
}

/// 200,000 messages a second from one to one in writes of 200, and beside it the measured pair.
fn probe(stage: &Stage<'_>) -> io::Result<Sample> {
    let dialect = stage.server.dialect;
    let interval = Duration::from_millis(1);
    let frame_len = message_len("bench", "1", PAYLOAD_LEN);
    let bulk = stamped_chunk(dialect, "bench", PAYLOAD_LEN, 200, 1);
    let single = stamped_chunk(dialect, "probe", PAYLOAD_LEN, 1, 1);
    let bulk_reader = connect(&stage.server.endpoint, "SUB bench 1\r\n")?;
    let probe_reader = connect(&stage.server.endpoint, "SUB probe 1\r\n")?;
    let load = Load {
        flows: vec![
            flow(stage.server, vec![bulk], Pace::Every { interval, jitter: false })?,
            flow(stage.server, vec![single], Pace::Every { interval, jitter: true })?,
        ],
        receivers: vec![
            vec![counting(bulk_reader, 0, frame_len)],
            vec![Subscriber::stamped(probe_reader, 1)],
        ],
    };
    run(load, stage)
}

fn heartbeats(stage: &Stage<'_>) -> io::Result<Sample> {
    const CLIENTS: usize = 2000;
    const MONITORS: usize = 5;
    let monitors =
        connect_all(&stage.server.endpoint, &vec![b"SUB hb.> 1\r\n".to_vec(); MONITORS])?;
    let subscribers = monitors.into_iter().map(|reader| Subscriber::stamped(reader, 0)).collect();
    let flow = Flow {
        streams: connect_all(&stage.server.endpoint, &vec![Vec::new(); CLIENTS])?,
        chunks: (0..CLIENTS)
            .map(|client| {
                let subject = format!("hb.{client}");
                stamped_chunk(stage.server.dialect, &subject, 32, 1, MONITORS as u64)
            })
            .collect(),
        pace: Pace::Every { interval: Duration::from_secs(1) / CLIENTS as u32, jitter: false },
        even: true,
        may_lose: false,
    };
    // Each client should have spoken more than once.
    let stage = Stage { server: stage.server, stretch: stage.stretch.max(Duration::from_secs(3)) };
    run(Load { flows: vec![flow], receivers: vec![subscribers] }, &stage)
}

/// `count` connections, each with a subscription, that do nothing more.
pub(crate) fn idle(name: &str, title: &str, count: usize) -> Scenario {
    Scenario::new(name, title, move |stage| {
        let server = stage.server;
        let _first = connect(&server.endpoint, "SUB idle.first 1\r\n")?;
        let before = server.memory("RssAnon")?;
        let setups: Vec<_> =
            (0..count).map(|index| format!("SUB idle.{index} 1\r\n").into_bytes()).collect();
        let (outcome, readers) = measured(server, || connect_all(&server.endpoint, &setups))?;
        thread::sleep(Duration::from_secs(10));
        let mut sample = figures(&outcome, count as f64, stage)?;
        let grown = server.memory("RssAnon")?.saturating_sub(before);
        sample.insert(Each, grown as f64 / readers.len() as f64);
        Ok(sample)
    })
}

fn million(stage: &Stage<'_>) -> io::Result<Sample> {
    const CONNECTIONS: usize = 10;
    const EACH: usize = 100_000;
    let server = stage.server;
    let mut readers = connect_all(&server.endpoint, &vec![Vec::new(); CONNECTIONS])?;
    let before = server.memory("RssAnon")?;
    let mut scratch = vec![0; crate::wire::SCRATCH_LEN];
    let subscribe = || {
        for (index, reader) in readers.iter_mut().enumerate() {
            let mut lines = String::new();
            for sid in 0..EACH {
                let number = index * EACH + sid;
                let line = format!("SUB svc.{}.node.{} {sid}\r\n", number / 1000, number % 1000);
                lines.push_str(&line);
            }
            lines.push_str("PING\r\n");
            reader.write(lines.as_bytes())?;
            reader.expect_pong(&mut scratch)?;
        }
        Ok(())
    };
    let (outcome, ()) = measured(server, subscribe)?;
    thread::sleep(Duration::from_secs(2));
    let count = (CONNECTIONS * EACH) as f64;
    let mut sample = figures(&outcome, count, stage)?;
    sample.insert(Each, server.memory("RssAnon")?.saturating_sub(before) as f64 / count);
    Ok(sample)
}

/// Five subscribers read and one never does, long enough to pass its 64 MiB.
fn slow_reader(stage: &Stage<'_>) -> io::Result<Sample> {
    const HEALTHY: usize = 5;
    let server = stage.server;
    let setups = vec![b"SUB bench 1\r\n".to_vec(); HEALTHY + 1];
    let mut readers = connect_all(&server.endpoint, &setups)?;
    let stalled = readers.pop();
    let chunk = stamped_chunk(server.dialect, "bench", PAYLOAD_LEN, 50, HEALTHY as u64);
    let pace = Pace::Every { interval: Duration::from_millis(1), jitter: false };
    let flow = Flow { even: true, may_lose: true, ..flow(server, vec![chunk], pace)? };
    let subscribers = readers.into_iter().map(|reader| Subscriber::stamped(reader, 0)).collect();
    let load = Load { flows: vec![flow], receivers: vec![subscribers] };
    let outcome = load.run(server, stage.stretch.max(Duration::from_secs(12)))?;
    let mut sample = figures(&outcome, outcome.deliveries.iter().sum(), stage)?;
    sample.insert(Lost, outcome.lost as f64);
    thread::sleep(Duration::from_secs(3));
    sample.insert(Metric::After, server.memory("VmRSS")? as f64 / 1e6);
    drop(stalled);
    Ok(sample)
}
