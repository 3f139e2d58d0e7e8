//! Plays one case to one server and compares the answers.
//!
//! The end of a turn's answers is a PONG: a PING follows the bytes of the case, and everything
//! before its PONG is the answer. A turn that ends in a close is read to the end instead.

use std::collections::BTreeMap;
use std::time::Instant;

use fastrand::Rng;

use super::format::{Case, Expected, Group, Open, Turn};
use super::text::{canonical_info, escape, fits, unescape};
use crate::support::client::Arrived;
use crate::support::tls::{self, Means};
use crate::support::{Client, PATIENCE, Server};
use crate::support::{frames, websocket};

/// The cuts of a turn's bytes into writes.
pub(super) enum Cut {
    Whole,
    /// Whole, over TLS.
    Encrypted,
    Pieces(Rng),
    Bytes,
    /// Whole, by WebSocket; there in pieces, if at all.
    Framed(Option<Rng>),
}

/// The connections of a case by their letters.
#[derive(Default)]
pub(super) struct Party {
    clients: BTreeMap<char, Member>,
}

pub(super) struct Member {
    pub(super) client: Client,
    /// Subscriptions to be removed at the end.
    sids: Vec<String>,
    /// The last turn may have left the parser inside a message.
    pub(super) unfenced: bool,
}

/// Plays and compares.
///
/// # Errors
/// The line of the case, and the difference of the answer.
pub(super) fn play(
    group: &Group,
    case: &Case,
    server: &Server,
    cut: &mut Cut,
) -> Result<(), String> {
    let mut party = Party::default();
    for turn in &case.turns {
        let answer = party.take_turn(group, turn, server, cut);
        compare(case, turn, cut, answer)?;
    }
    for (&conn, member) in &mut party.clients {
        if !member.client.is_closed() && !member.unfenced {
            let last = Turn { conn, ..Turn::default() };
            member.client.send_anyway(b"PING\r\n");
            let answer = member.answer(group, &last);
            compare(case, &last, cut, answer)?;
        }
    }
    party.leave();
    Ok(())
}

fn compare(case: &Case, turn: &Turn, cut: &Cut, answer: Answer) -> Result<(), String> {
    let mut wanted: Vec<&Expected> = turn.expected.iter().map(|(_, expected)| expected).collect();
    let mut got: Vec<(String, bool)> = answer.lines;
    if turn.any_order {
        sort_frames(&mut wanted, |expected| &expected.text);
        sort_frames(&mut got, |(text, _)| text);
    }
    let same = wanted.len() == got.len()
        && wanted
            .iter()
            .zip(&got)
            .all(|(w, (text, whole))| w.whole_line == *whole && fits(&w.text, text))
        && answer.closed == turn.closed
        && !answer.late;
    if same {
        return Ok(());
    }
    let cut = match cut {
        Cut::Whole => "whole",
        Cut::Pieces(_) => "in pieces",
        Cut::Bytes => "byte by byte",
        Cut::Encrypted => "over TLS",
        Cut::Framed(_) => "by WebSocket",
    };
    let conn = turn.conn;
    let mut text = format!("{}: {} ({cut})\n", case.line, case.name);
    text.push_str(&format!("  {conn} sends {}\n", escape(&turn.sent)));
    for expected in wanted {
        text.push_str(&format!("  expected {conn}< {}\n", expected.text));
    }
    if turn.closed {
        text.push_str(&format!("  expected {conn} closed\n"));
    }
    for (line, whole) in got {
        text.push_str(&format!("       got {conn}{} {line}\n", if whole { "<" } else { "<<" }));
    }
    if answer.closed {
        text.push_str(&format!("       got {conn} closed\n"));
    }
    if answer.late {
        text.push_str("       and then nothing, in time\n");
    }
    Err(text)
}

/// Sorts lines by frames: each begins with a line that looks like the protocol's.
pub(super) fn sort_frames<T>(lines: &mut Vec<T>, text: impl Fn(&T) -> &str) {
    let begins = |line: &T| {
        let text = text(line);
        ["MSG ", "HMSG ", "+OK", "-ERR ", "PING", "PONG", "INFO "]
            .iter()
            .any(|op| text.starts_with(op))
    };
    let mut frames: Vec<Vec<T>> = Vec::new();
    for line in lines.drain(..) {
        match frames.last_mut() {
            Some(frame) if !begins(&line) => frame.push(line),
            _ => frames.push(vec![line]),
        }
    }
    let words = |frame: &Vec<T>| frame.iter().map(|line| text(line).to_owned()).collect::<Vec<_>>();
    frames.sort_by_cached_key(words);
    lines.extend(frames.into_iter().flatten());
}

/// The answer to a turn, normalised.
pub(super) struct Answer {
    /// Escaped text, and true if it ended in CR LF.
    pub(super) lines: Vec<(String, bool)>,
    pub(super) closed: bool,
    /// It was waited for in vain.
    pub(super) late: bool,
}

impl Party {
    /// Opens the connection and sends the bytes of the turn, without a fence; returns it.
    pub(super) fn speak(&mut self, turn: &Turn, server: &Server, cut: &mut Cut) -> &mut Member {
        let member = self.clients.entry(turn.conn).or_insert_with(|| {
            let mut client = match cut {
                Cut::Encrypted => tls::connect(server.port(), &Means::first()).unwrap(),
                Cut::Framed(random) => {
                    websocket::bridge(server, random.as_mut().map(|random| random.u64(..)))
                }
                _ => Client::silent(server.port()),
            };
            if turn.open == Open::Quiet {
                client.frame();
            }
            Member { client, sids: Vec::new(), unfenced: false }
        });
        member.note_sids(&turn.sent);
        let fenced = !(turn.closed || turn.unfenced || turn.shutdown || turn.close);
        member.unfenced = !fenced;
        let mut bytes = turn.sent.clone();
        if fenced {
            bytes.extend(b"PING\r\n");
        }
        member.send(&bytes, cut);
        if turn.shutdown {
            member.client.shutdown_write();
        }
        member
    }

    fn take_turn(&mut self, group: &Group, turn: &Turn, server: &Server, cut: &mut Cut) -> Answer {
        let member = self.speak(turn, server, cut);
        let answer = member.answer(group, turn);
        if turn.close {
            self.clients.remove(&turn.conn);
        }
        answer
    }

    /// The connections that can still be asked.
    pub(super) fn open_members(&mut self) -> impl Iterator<Item = (char, &mut Member)> {
        let open =
            |(_, member): &(&char, &mut Member)| !member.client.is_closed() && !member.unfenced;
        self.clients.iter_mut().filter(open).map(|(&conn, member)| (conn, member))
    }

    pub(super) fn remove(&mut self, conn: char) {
        self.clients.remove(&conn);
    }

    /// Removes all subscriptions before closing, since a server forgets a closed connection a
    /// moment later than the client does, and the next case might meet the old ones.
    pub(super) fn leave(mut self) {
        for (_, member) in self.open_members() {
            let unsubs: String = member.sids.iter().map(|sid| format!("UNSUB {sid}\r\n")).collect();
            member.client.send_anyway(format!("{unsubs}PING\r\n").as_bytes());
            let deadline = Instant::now() + PATIENCE;
            while !member.client.received().ends_with(b"PONG\r\n") {
                if member.client.read_some(deadline) != Arrived::Bytes {
                    break;
                }
            }
        }
    }
}

impl Member {
    fn send(&mut self, bytes: &[u8], cut: &mut Cut) {
        // Single bytes of a large payload cost time and show nothing new.
        const BYTES_MAX: usize = 6_000;
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = match cut {
                Cut::Whole | Cut::Encrypted | Cut::Framed(_) => rest.len(),
                Cut::Pieces(random) => {
                    1 + random.usize(..rest.len().min(40)) * (1 + bytes.len() / 999)
                }
                Cut::Bytes if bytes.len() <= BYTES_MAX => 1,
                Cut::Bytes => 1 + bytes.len() / 50,
            };
            let (piece, tail) = rest.split_at(len.min(rest.len()));
            self.client.send_anyway(piece);
            std::thread::yield_now();
            rest = tail;
        }
    }

    fn note_sids(&mut self, sent: &[u8]) {
        for line in sent.split(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            if line.get(..3).is_some_and(|op| op.eq_ignore_ascii_case("sub")) {
                self.sids.extend(line.split_whitespace().next_back().map(str::to_owned));
            }
        }
    }

    fn answer(&mut self, group: &Group, turn: &Turn) -> Answer {
        let closed_already = self.client.is_closed();
        if turn.close {
            return Answer { lines: Vec::new(), closed: false, late: false };
        }
        let deadline = Instant::now() + PATIENCE;
        let wanted = Wanted::of(turn);
        let mut late = false;
        let consumed = loop {
            if let Some(len) = wanted.met(self.client.received(), group.pings_shown) {
                break len;
            }
            match self.client.read_some(deadline) {
                Arrived::Bytes => {}
                Arrived::Closed => break self.client.received().len(),
                Arrived::Nothing => {
                    late = true;
                    break self.client.received().len();
                }
            }
        };
        let received = self.client.take_received();
        let (now, later) = received.split_at(consumed);
        self.client.put_back(later);
        let fence = if matches!(wanted, Wanted::Pongs(_)) && !late { b"PONG\r\n".len() } else { 0 };
        let now = if now.ends_with(b"PONG\r\n") { &now[..now.len() - fence] } else { now };
        let closed = self.client.is_closed() && !closed_already;
        Answer { lines: lines(now, group.pings_shown), closed, late }
    }
}

/// The end of a turn's answer.
enum Wanted {
    /// With this many PONGs, the last being that of the fence.
    Pongs(usize),
    /// With this many lines.
    Lines(usize),
    /// With the end of the connection.
    End,
}

impl Wanted {
    fn of(turn: &Turn) -> Wanted {
        if turn.closed || turn.shutdown {
            Wanted::End
        } else if turn.unfenced {
            Wanted::Lines(turn.expected.len())
        } else {
            // As frames, since a payload may hold a line that reads PONG.
            let mut bytes = Vec::new();
            for (_, expected) in &turn.expected {
                bytes.extend(unescape(&expected.text).expect("an escaped line"));
                bytes.extend(b"\r\n");
            }
            let pongs = frames::split(&bytes).into_iter().filter(|frame| *frame == b"PONG\r\n");
            Wanted::Pongs(pongs.count() + 1)
        }
    }

    /// The number of the received bytes that make the answer, if it is complete.
    fn met(&self, received: &[u8], pings_shown: bool) -> Option<usize> {
        match *self {
            Wanted::End => None,
            Wanted::Lines(count) => {
                (lines(received, pings_shown).len() >= count).then_some(received.len())
            }
            Wanted::Pongs(count) => {
                let mut seen = 0;
                let mut len = 0;
                for frame in frames::split(received) {
                    len += frame.len();
                    seen += usize::from(frame == b"PONG\r\n");
                    if seen == count {
                        return Some(len);
                    }
                }
                None
            }
        }
    }
}

/// The received bytes as lines to compare.
pub(super) fn lines(received: &[u8], pings_shown: bool) -> Vec<(String, bool)> {
    let mut lines = Vec::new();
    for frame in frames::split(received) {
        if frame == b"PING\r\n" && !pings_shown {
            continue;
        }
        if frame.starts_with(b"INFO ") && frame.ends_with(b"\r\n") {
            let text = String::from_utf8_lossy(&frame[..frame.len() - 2]);
            lines.push((canonical_info(&text), true));
            continue;
        }
        let mut rest = frame;
        while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
            lines.push((escape(&rest[..at]), true));
            rest = &rest[at + 2..];
        }
        if !rest.is_empty() {
            lines.push((escape(rest), false));
        }
    }
    lines
}
