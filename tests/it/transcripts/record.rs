//! Writes a transcript file anew with the real server's answers.
//!
//! An answer in the file that fits the received one is kept, so holes stay. Lines are read until
//! the server falls silent; `closed` in the file means that an end is worth waiting for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::format::{Case, Group, Script, Turn};
use super::play::{Cut, Party, lines, sort_frames};
use super::text::fits;
use crate::support::client::Arrived;
use crate::support::frames;
use crate::support::{Client, PATIENCE, Server, Which};

/// Silence that ends an answer after its PONG.
const SILENCE: Duration = Duration::from_millis(40);
/// Silence that ends an answer without one.
const LONG_SILENCE: Duration = Duration::from_millis(400);

/// New answers: after the line with this index, these lines.
type Answers = HashMap<usize, Vec<String>>;

/// The text of the file with the answers of now.
pub(super) fn record(script: &Script) -> String {
    let mut dropped = Vec::new();
    for case in script.groups.iter().flat_map(|group| &group.cases) {
        if case.is_for(Which::Real) {
            for turn in &case.turns {
                dropped.extend(turn.expected.iter().map(|(index, _)| *index));
                dropped.extend((turn.last_input..case.end).filter(|&index| {
                    script.lines[index].strip_prefix(turn.conn) == Some(" closed")
                }));
            }
        }
    }
    let answers: Answers = std::thread::scope(|scope| {
        let record = |group| scope.spawn(move || record_group(group));
        let groups: Vec<_> = script.groups.iter().map(record).collect();
        groups.into_iter().flat_map(|group| group.join().expect("no panic")).collect()
    });
    let mut text = String::new();
    for (index, line) in script.lines.iter().enumerate() {
        if !dropped.contains(&index) {
            text.push_str(line);
            text.push('\n');
        }
        for answer in answers.get(&index).into_iter().flatten() {
            text.push_str(answer);
            text.push('\n');
        }
    }
    text
}

fn record_group(group: &Group) -> Answers {
    let mut answers = Answers::new();
    let mut shared = None;
    for case in group.cases.iter().filter(|case| case.is_for(Which::Real)) {
        let fresh;
        let server = if case.fresh {
            fresh = super::setup(group).start(Which::Real);
            &fresh
        } else {
            shared.get_or_insert_with(|| super::setup(group).start(Which::Real))
        };
        record_case(group, case, server, &mut answers);
    }
    answers
}

fn record_case(group: &Group, case: &Case, server: &Server, answers: &mut Answers) {
    let mut party = Party::default();
    for turn in &case.turns {
        let member = party.speak(turn, server, &mut Cut::Whole);
        let fenced = !member.unfenced;
        let before = member.client.is_closed();
        let mut new = Vec::new();
        if !turn.close {
            let patience = if turn.closed { PATIENCE } else { LONG_SILENCE };
            let received = until_silence(&mut member.client, fenced, patience);
            new = answer_lines(turn, lines(&received, group.pings_shown));
            if member.client.is_closed() && !before {
                new.push(format!("{} closed", turn.conn));
            }
        }
        let at = turn.expected.last().map_or(turn.last_input, |(index, _)| *index);
        answers.entry(at.max(turn.last_input)).or_default().extend(new);
        if turn.close {
            party.remove(turn.conn);
        }
    }
    let mut last = Vec::new();
    for (conn, member) in party.open_members() {
        member.client.send_anyway(b"PING\r\n");
        let received = until_silence(&mut member.client, true, LONG_SILENCE);
        let turn = Turn { conn, ..Turn::default() };
        last.extend(answer_lines(&turn, lines(&received, group.pings_shown)));
    }
    if let Some(index) = case.end.checked_sub(1) {
        answers.entry(index).or_default().extend(last);
    }
    party.leave();
}

/// Lines for the file: the old ones as far as they fit.
fn answer_lines(turn: &Turn, mut got: Vec<(String, bool)>) -> Vec<String> {
    if turn.any_order {
        sort_frames(&mut got, |(text, _)| text);
    }
    let mut old: Vec<&str> = turn.expected.iter().map(|(_, e)| e.text.as_str()).collect();
    if turn.any_order {
        sort_frames(&mut old, |text| text);
    }
    let kept = old.len() == got.len();
    let mark = |whole: bool| if whole { "<" } else { "<<" };
    got.iter()
        .enumerate()
        .map(|(i, (text, whole))| {
            let text = if kept && fits(old[i], text) { old[i] } else { text };
            format!("{}{} {text}", turn.conn, mark(*whole)).trim_end().to_owned()
        })
        .collect()
}

/// Reads the answer; with a fence, consumes up to its PONG, which is the last one, and drops it.
fn until_silence(client: &mut Client, fenced: bool, patience: Duration) -> Vec<u8> {
    loop {
        let ponged = fenced && last_pong(client.received()).is_some();
        let wait = if ponged { SILENCE } else { patience };
        if client.read_some(Instant::now() + wait) != Arrived::Bytes {
            break;
        }
    }
    let received = client.take_received();
    let Some(end) = last_pong(&received).filter(|_| fenced && !client.is_closed()) else {
        assert!(!fenced || client.is_closed(), "no PONG came: mark the turn `unfenced`");
        return received;
    };
    client.put_back(&received[end..]);
    received[..end - b"PONG\r\n".len()].to_vec()
}

/// The end of the last PONG.
fn last_pong(received: &[u8]) -> Option<usize> {
    let mut len = 0;
    let mut end = None;
    for frame in frames::split(received) {
        len += frame.len();
        if frame == b"PONG\r\n" {
            end = Some(len);
        }
    }
    end
}
