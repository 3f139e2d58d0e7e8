//! Requests and replies: a requestor that keeps a number of requests outstanding, and a responder.
//!
//! The requestor listens on one wildcard inbox and gives every request its own token, as client
//! libraries do. Both write once per read, and go before the server's threads. Latency runs from
//! before the write to after the read.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::flow::{Outcome, go_first};
use crate::target::Server;
use crate::wire::{Dialect, Reader, SCRATCH_LEN, connect, fault};

/// As long as the inboxes of client libraries: 22 characters, then the token.
const INBOX: &str = "_INBOX.LoadLoadLoadLoadLoadLo";

/// Payload of request and reply, in bytes.
const PAYLOAD: &[u8] = &[b'x'; 128];

/// Runs `outstanding` requests at a time: a warm-up of a fifth of `stretch`, then `stretch`.
///
/// # Errors
/// A connection failed, or a reply did not belong to an open request.
pub(crate) fn run(server: &Server, outstanding: u64, stretch: Duration) -> io::Result<Outcome> {
    let requestor = connect(&server.endpoint, &format!("SUB {INBOX}.* 1\r\n"))?;
    let responder = connect(&server.endpoint, "SUB svc.echo 1\r\n")?;
    let responder_end = responder.twin();
    let (answered, state) = (AtomicU64::new(0), State::default());
    let dialect = server.dialect;
    thread::scope(|scope| {
        let responder = scope.spawn(move || respond(responder, dialect));
        let requestor = scope.spawn(|| {
            let result = request(requestor, dialect, outstanding, &answered, &state);
            state.stop.store(true, SeqCst);
            result
        });
        let measured = measure(server, &answered, &state, stretch);
        state.stop.store(true, SeqCst);
        let latencies = requestor.join();
        // Fails only if the server has closed the connection, which the joins report.
        let _ = responder_end.stream.shutdown(Shutdown::Both);
        let answered_by_responder = responder.join();
        let panicked = || fault(ErrorKind::Other, "a thread of the load panicked");
        let mut outcome = measured?;
        outcome.latencies = latencies.map_err(|_| panicked())??;
        outcome.latencies.sort_unstable();
        let served = answered_by_responder.map_err(|_| panicked())??;
        if served != answered.load(SeqCst) {
            return Err(fault(ErrorKind::InvalidData, "requests and replies differ in number"));
        }
        Ok(outcome)
    })
}

#[derive(Default)]
struct State {
    measuring: AtomicBool,
    stop: AtomicBool,
}

fn measure(
    server: &Server,
    answered: &AtomicU64,
    state: &State,
    stretch: Duration,
) -> io::Result<Outcome> {
    thread::sleep(stretch / 5);
    state.measuring.store(true, SeqCst);
    let start = Instant::now();
    let (cpu_ns, count) = (server.cpu_ns()?, answered.load(SeqCst));
    thread::sleep(stretch);
    state.measuring.store(false, SeqCst);
    Ok(Outcome {
        seconds: start.elapsed().as_secs_f64(),
        cpu_ns: (server.cpu_ns()? - cpu_ns) as f64,
        deliveries: vec![(answered.load(SeqCst) - count) as f64],
        ..Outcome::default()
    })
}

/// Sends requests until stopped, then waits for the last reply; returns latencies in ns.
fn request(
    mut reader: Reader,
    dialect: Dialect,
    outstanding: u64,
    answered: &AtomicU64,
    state: &State,
) -> io::Result<Vec<u64>> {
    go_first();
    let mut scratch = vec![0; SCRATCH_LEN];
    // A reply finds its request by its number; replies come in any order, but never later than
    // `outstanding` requests after their own.
    let mut sent_at: Vec<Option<Instant>> = vec![None; outstanding as usize * 4];
    let slots = sent_at.len() as u64;
    let mut latencies = Vec::new();
    let mut next = 0;
    let mut open = 0;
    let mut out = Vec::new();
    loop {
        let stopping = state.stop.load(SeqCst);
        if stopping && open == 0 {
            return Ok(latencies);
        }
        out.clear();
        let now = Instant::now();
        while !stopping && open < outstanding && sent_at[(next % slots) as usize].is_none() {
            sent_at[(next % slots) as usize] = Some(now);
            dialect.publish(&mut out, "svc.echo", Some(&format!("{INBOX}.{next:08}")), PAYLOAD);
            next += 1;
            open += 1;
        }
        if !out.is_empty() {
            reader.write(&out)?;
        }
        let mut stray = false;
        let mut read_at = None;
        let brought = reader.read(&mut scratch, |head, _| {
            let sent = token(head).and_then(|number| sent_at[(number % slots) as usize].take());
            let Some(sent) = sent else { return stray = true };
            let now = *read_at.get_or_insert_with(Instant::now);
            if state.measuring.load(SeqCst) {
                latencies.push((now - sent).as_nanos() as u64);
            }
        })?;
        if stray {
            return Err(fault(ErrorKind::InvalidData, "a reply to no open request"));
        }
        open -= brought.messages;
        answered.fetch_add(brought.messages, SeqCst);
    }
}

/// The number at the end of the subject of a reply.
fn token(head: &[u8]) -> Option<u64> {
    let subject = head.split(|&byte| byte == b' ').nth(1)?;
    let token = subject.rsplit(|&byte| byte == b'.').next()?;
    std::str::from_utf8(token).ok()?.parse().ok()
}

/// Answers until the connection ends; returns the number of answers.
fn respond(mut reader: Reader, dialect: Dialect) -> io::Result<u64> {
    go_first();
    let mut scratch = vec![0; SCRATCH_LEN];
    let mut out = Vec::new();
    let mut served = 0;
    loop {
        out.clear();
        let result = reader.read(&mut scratch, |head, payload| {
            // MSG subject sid reply size
            let reply = head.split(|&byte| byte == b' ').nth(3).unwrap_or_default();
            let reply = std::str::from_utf8(reply).unwrap_or_default();
            dialect.publish(&mut out, reply, None, payload);
        });
        match result {
            Ok(brought) => served += brought.messages,
            // At the end of the run; what a server says last is refused then.
            Err(err)
                if matches!(err.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
            {
                return Ok(served);
            }
            Err(err) => return Err(err),
        }
        if !out.is_empty() {
            reader.write(&out)?;
        }
    }
}
