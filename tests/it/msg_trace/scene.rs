//! Clients around one server or several, and what each of them gets after a message.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::support::{Client, Server};

/// The clients by name. `w` hears the documents in account A, under `tr.>`.
pub(super) struct Scene {
    clients: BTreeMap<&'static str, Client>,
    server_count: usize,
}

impl Scene {
    /// For so many servers. On each of them but that of `w` somebody has to subscribe to `end`.
    pub(super) fn new(server_count: usize) -> Scene {
        Scene { clients: BTreeMap::new(), server_count }
    }

    /// Adds a client that is a user, under a name of its own, with these subscriptions.
    pub(super) fn add(
        &mut self,
        server: &Server,
        (name, user): (&'static str, &str),
        members: &str,
        subscriptions: &[&str],
    ) {
        let members = format!(r#""headers":true,"user":"{user}","name":"{name}"{members}"#);
        let mut client = Client::connect(server, &members);
        for (subscription, sid) in subscriptions.iter().zip(1..) {
            client.send(&format!("SUB {subscription} {sid}\r\n"));
        }
        client.fence();
        self.clients.insert(name, client);
    }

    pub(super) fn client(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).expect("it is in the scene")
    }

    /// Plays a table of messages and of what clients get then, in short. A message is a line `>`
    /// with publisher, subject and perhaps reply, and after a dash the headers, parted by `|`.
    pub(super) fn play(&mut self, table: &str) {
        for step in table.split("\n> ").skip(1) {
            let (line, expected) = step.split_once('\n').unwrap_or((step, ""));
            let (by, rest) = line.split_once(' ').unwrap();
            let (subject, headers) = rest.split_once(" - ").unwrap_or((rest, ""));
            let expected: Vec<_> = expected
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect();
            assert_eq!(self.step(by, subject, headers), expected, "{line}");
        }
    }

    /// Sends a message. Returns what every client gets.
    pub(super) fn step(&mut self, by: &str, subject: &str, headers: &str) -> Vec<String> {
        self.client(by).send(&headed(subject, headers, "x"));
        self.clients.values_mut().for_each(fence);
        // Documents come in an order, but not at once. Each server sends one for this.
        let end = headed("end", "Nats-Trace-Dest: tr.end|Nats-Trace-Only: true", "");
        self.client("w").send(&end);
        let (mut missing, mut kept) = (self.server_count, Vec::new());
        while missing > 0 {
            match self.client("w").frame() {
                frame if frame.starts_with(b"MSG tr.end ") => missing -= 1,
                frame => kept.extend(frame),
            }
        }
        let rest = self.client("w").take_received();
        self.client("w").put_back(&[kept, rest].concat());
        self.clients.values_mut().for_each(fence);
        self.got(headers)
    }

    /// What every client has got, in short. Servers and their groups come in any order.
    fn got(&mut self, sent: &str) -> Vec<String> {
        let mut got = Vec::new();
        let is_ordered = self.server_count == 1;
        for (name, client) in &mut self.clients {
            let mut frames = Vec::new();
            while !client.received().is_empty() {
                let frame = String::from_utf8(client.frame()).unwrap();
                frames.push(short(&frame, sent, is_ordered));
            }
            if !is_ordered {
                frames.sort();
            }
            got.extend((!frames.is_empty()).then(|| format!("{name} {}", frames.join(" "))));
        }
        got
    }
}

/// Waits until all is handled that the client has sent; what comes meanwhile stays to be read.
fn fence(client: &mut Client) {
    let mut kept = Vec::new();
    client.send("PING\r\n");
    loop {
        match client.frame() {
            frame if frame == b"PONG\r\n" => break,
            frame => kept.extend(frame),
        }
    }
    let behind = client.take_received();
    client.put_back(&[kept, behind].concat());
}

/// An HPUB with these headers, parted by `|`.
pub(super) fn headed(subject: &str, headers: &str, payload: &str) -> String {
    let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.replace('|', "\r\n"));
    let (len, size) = (block.len(), block.len() + payload.len());
    format!("HPUB {subject} {len} {size}\r\n{block}{payload}\r\n")
}

/// A frame in short: subject and sid of a message, and its headers if others were sent; what a
/// document tells, in its order or sorted.
pub(super) fn short(frame: &str, sent: &str, is_ordered: bool) -> String {
    let (line, text) = frame.split_once("\r\n").unwrap();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let place = match words[..] {
        ["MSG" | "HMSG", subject, sid, ..] => format!("{subject}/{sid}"),
        _ => return line.to_owned(),
    };
    let (headers, body) = match (words[0], text.split_once("\r\n\r\n")) {
        ("HMSG", Some((headers, body))) => (headers, body.trim_end()),
        _ => ("", text.trim_end()),
    };
    let headers = headers.strip_prefix("NATS/1.0").unwrap_or_default().trim_start();
    let headers = made(&headers.replace("\r\n", "|"));
    let mut short = place;
    if headers != sent && !headers.is_empty() {
        write!(short, " [{headers}]").unwrap();
    }
    if let Ok(Value::Object(document)) = serde_json::from_str(body)
        && document.contains_key("events")
    {
        let hops = document.get("hops").map(|hops| format!(" hops={hops}")).unwrap_or_default();
        let events = document["events"].as_array().unwrap();
        let mut events: Vec<String> = events.iter().map(event).collect();
        if !is_ordered {
            events[1..].sort();
        }
        write!(short, " {{{}{hops}}}", events.join("; ")).unwrap();
    }
    short
}

/// What happened to a message, without its time and without numbers of connections.
fn event(event: &Value) -> String {
    assert!(event["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')), "{event}");
    let mut short = event["type"].as_str().unwrap().to_owned();
    if event.get("kind").is_some() {
        assert!(event["cid"].as_u64() > Some(0), "{event}");
    }
    let keys = ["kind", "name", "acc", "subj", "from", "to", "sub", "queue", "hop", "error"];
    for key in keys {
        match event.get(key) {
            Some(Value::String(text)) => write!(short, " {key}={}", made(text)).unwrap(),
            Some(value) => write!(short, " {key}={value}").unwrap(),
            None => {}
        }
    }
    short
}

/// The text with `_R_` for all subjects of the server's own making, and without times.
fn made(text: &str) -> String {
    let text = cut(text, "_R_.", |rest| rest.find('|').unwrap_or(rest.len()));
    cut(&text, r#","rtt":"#, |rest| rest.find('}').unwrap())
}

/// The text without `len` bytes behind each `start`.
fn cut(text: &str, start: &str, len: impl Fn(&str) -> usize) -> String {
    let mut parts = text.split(start);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, rest| kept + start.trim_end_matches('.') + &rest[len(rest)..])
}
