//! Growth of the cost of a message with the number of connections and of subscriptions.

use std::io;

use crate::flow::{Chunk, Flow, Load, Subscriber};
use crate::pieces::{chunk, run, window};
use crate::scenario::{Sample, Scenario, Stage};
use crate::table::subscriptions;
use crate::wire::{connect_all, message_len};

/// Messages of one write; many connections seldom have a full buffer.
const BATCH: usize = 16;

/// 1 to 10,000 connections, then 10 to 1,000,000 subscriptions. The names end in the number.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for count in [1, 10, 100, 1000, 10_000] {
        let title = format!("{} connections in a ring", grouped(count));
        let run = move |stage: &Stage<'_>| ring(stage, count);
        all.push(Scenario::new(format!("connections-{count}"), title, run).at_most_rounds(3));
    }
    for count in [10, 1000, 1_000_000] {
        let title = format!("{} subscriptions in play", grouped(count));
        let scenario = subscriptions(&format!("subscriptions-{count}"), &title, count);
        all.push(scenario.at_most_rounds(3));
    }
    all
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Each connection listens to its own subject and sends batches to the next one.
fn ring(stage: &Stage<'_>, connections: usize) -> io::Result<Sample> {
    let subject = |index: usize| format!("ring.{:05}", index % connections);
    let setups: Vec<_> =
        (0..connections).map(|i| format!("SUB {} 1\r\n", subject(i)).into_bytes()).collect();
    let frame_len = message_len(&subject(0), "1", 128);
    let mut load = Load::default();
    let mut streams = Vec::new();
    let mut subscribers = Vec::new();
    for mut reader in connect_all(&stage.server.endpoint, &setups)? {
        streams.push(reader.twin());
        reader.frame_len = Some(frame_len);
        subscribers.push(Subscriber::new(reader, 0));
    }
    let dialect = stage.server.dialect;
    let batch = |i| chunk(dialect, &subject(i + 1), 128, BATCH * (frame_len + 2), 1);
    let chunks: Vec<Chunk> = (0..connections).map(batch).collect();
    load.flows.push(Flow {
        streams,
        chunks,
        pace: window(1, frame_len),
        even: false,
        may_lose: false,
    });
    load.receivers.push(subscribers);
    run(load, stage)
}
