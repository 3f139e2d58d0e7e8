//! Scenarios of the table once more, through TLS and through WebSocket, and handshakes.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::flow::joined;
use crate::pieces::{figures, measured};
use crate::scenario::{Scenario, Stage};
use crate::table;
use crate::target::Target;
use crate::tls::{self, Tls};
use crate::transport::{Endpoint, Transport};
use crate::wire::{connect, fault};

/// The scenarios of the table that differ by the transport.
const OF_THE_TABLE: [&str; 5] = ["one-128", "fan-10", "request-1", "request-100", "heartbeats"];

/// The suite through TLS. No session is resumed, but in the scenario that says so.
pub(crate) fn tls() -> Vec<Scenario> {
    let mut all = of_the_table();
    all.extend([
        table::idle("idle-2k", "2,000 idle connections", 2000).at_most_rounds(3),
        handshakes("handshake-full", "handshake to close, full", false),
        handshakes("handshake-resumed", "handshake to close, resumed", true),
    ]);
    let transport = Transport::Tls(tls::config(Resumption::disabled()));
    named(all, "tls", "TLS", &transport)
}

/// The suite through WebSocket.
pub(crate) fn websocket() -> Vec<Scenario> {
    let mut all = of_the_table();
    all.push(table::idle("idle-10k", "10,000 idle connections", 10_000).at_most_rounds(3));
    named(all, "websocket", "WS", &Transport::WebSocket)
}

fn of_the_table() -> Vec<Scenario> {
    let mut all = table::scenarios();
    all.retain(|scenario| OF_THE_TABLE.contains(&scenario.name.as_str()));
    all.insert(1, table::fan_out("one-4k", "1 to 1, 4 KiB", 1, 4096));
    all
}

fn named(all: Vec<Scenario>, name: &str, title: &str, transport: &Transport) -> Vec<Scenario> {
    let all = all.into_iter().map(|scenario| Scenario {
        name: format!("{name}-{}", scenario.name),
        title: format!("{title}: {}", scenario.title),
        ..scenario.with_transport(transport.clone())
    });
    all.collect()
}

/// Clients that come, log in and go, each at once after the other. They always resume the session
/// of the visit before, or never do.
fn handshakes(name: &str, title: &str, resumed: bool) -> Scenario {
    /// Clients at the same time, so that the server has work while one of them does its own.
    const CLIENTS: usize = 4;
    let run = move |stage: &Stage<'_>| {
        let configs = [(); CLIENTS].map(|()| match resumed {
            // The sessions of one client: a ticket serves once.
            true => tls::config(Resumption::default()),
            false => tls::config(Resumption::disabled()),
        });
        come_and_go(stage, &configs, stage.stretch / 5)?;
        let (outcome, visits) =
            measured(stage.server, || come_and_go(stage, &configs, stage.stretch))?;
        if visits.iter().any(|&is_resumed| is_resumed != resumed) {
            return Err(fault(ErrorKind::InvalidData, "a handshake of the other kind"));
        }
        figures(&outcome, visits.len() as f64, stage)
    };
    Scenario::new(name, title, run)
}

/// One client for each of these settings, each with visits over this time; whether each visit
/// resumed a session.
fn come_and_go(
    stage: &Stage<'_>,
    configs: &[Arc<ClientConfig>],
    length: Duration,
) -> io::Result<Vec<bool>> {
    let end = Instant::now() + length;
    let client = |config: &Arc<ClientConfig>| -> io::Result<Vec<bool>> {
        let transport = Transport::Tls(Arc::clone(config));
        let endpoint = Endpoint { transport, ..stage.server.endpoint.clone() };
        let mut visits = Vec::new();
        while visits.is_empty() || Instant::now() < end {
            let reader = connect(&endpoint, "")?;
            visits.push(reader.tls().is_some_and(|tls| tls.is_resumed()));
            reader.close()?;
        }
        Ok(visits)
    };
    thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = configs.iter().map(|c| scope.spawn(move || client(c))).collect();
        let visits = clients.into_iter().map(|client| joined(client.join()));
        Ok(visits.collect::<io::Result<Vec<_>>>()?.concat())
    })
}

/// The TLS that a server agrees on with the load.
///
/// # Errors
/// It does not start, or does not encrypt.
pub(crate) fn agreed(target: &Target) -> io::Result<String> {
    let transport = Transport::Tls(tls::config(Resumption::disabled()));
    let server = target.start_for(&transport)?;
    let reader = connect(&server.endpoint, "")?;
    Ok(reader.tls().map_or_else(String::new, Tls::agreed))
}
