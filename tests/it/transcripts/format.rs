//! Reads a transcript file: set-ups of servers, and for each the cases played to it.
//!
//! Keeps the source lines, so that a recording can write the file back with new answers only.

use super::text::unescape;
use crate::support::Which;
use crate::support::client::quiet_connect;

/// One file.
pub(super) struct Script {
    /// All lines of the file, without their ends.
    pub(super) lines: Vec<String>,
    pub(super) groups: Vec<Group>,
}

/// A server's set-up and the cases played to it.
#[derive(Default)]
pub(super) struct Group {
    pub(super) flags: Vec<String>,
    pub(super) conf: Option<String>,
    /// PINGs of the server belong to the answers.
    pub(super) pings_shown: bool,
    pub(super) cases: Vec<Case>,
}

impl Group {
    /// Its settings tell the ways apart by which clients come, for this case.
    pub(super) fn tells_ways_apart(&self, case: &Case) -> bool {
        let conf = self.conf.as_deref().unwrap_or_default();
        let advertises = self.flags.iter().any(|flag| flag == "--client_advertise");
        conf.contains("connection_types")
            || case.shows_info() && (conf.contains("no_auth_user") || advertises)
    }
}

/// One conversation.
pub(super) struct Case {
    pub(super) name: String,
    /// Line number of the head, from 1.
    pub(super) line: usize,
    /// Never cut in pieces.
    pub(super) whole: bool,
    /// Not cut for the real server, which answers by the cut.
    pub(super) real_whole: bool,
    /// Needs a server to itself.
    pub(super) fresh: bool,
    /// For one server only, by reason of the difference with this id in COMPAT.md.
    pub(super) differs: Option<(Which, String)>,
    pub(super) turns: Vec<Turn>,
    /// Index of the line after the last that says something.
    pub(super) end: usize,
}

/// The bytes that one connection sends at once, and the answers.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) conn: char,
    pub(super) open: Open,
    pub(super) sent: Vec<u8>,
    /// The answers, each with the index of its line.
    pub(super) expected: Vec<(usize, Expected)>,
    /// Index of the last line that is not an answer.
    pub(super) last_input: usize,
    /// The client ends its direction after sending.
    pub(super) shutdown: bool,
    /// The client closes after sending, and reads nothing.
    pub(super) close: bool,
    /// The server closes.
    pub(super) closed: bool,
    /// No PING marks the end of the answers.
    pub(super) unfenced: bool,
    /// The order of the answers is open.
    pub(super) any_order: bool,
}

/// The start of a turn.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Open {
    /// Opens the connection if it is not open, and ignores the INFO.
    #[default]
    Quiet,
    /// Opens it and counts the INFO among the answers.
    Shown,
}

/// One line of an answer.
pub(super) struct Expected {
    /// With escapes and holes, as in the file.
    pub(super) text: String,
    /// Ended by CR LF.
    pub(super) whole_line: bool,
}

impl Case {
    pub(super) fn is_for(&self, which: Which) -> bool {
        self.differs.as_ref().is_none_or(|(only, _)| *only == which)
    }

    pub(super) fn may_be_cut(&self, which: Which) -> bool {
        !(self.whole || self.real_whole && which == Which::Real)
    }

    /// INFO is among its answers.
    pub(super) fn shows_info(&self) -> bool {
        let is_info = |(_, line): &(usize, Expected)| line.text.starts_with("INFO ");
        self.turns.iter().any(|turn| turn.expected.iter().any(is_info))
    }

    /// The server ends a connection.
    pub(super) fn closes(&self) -> bool {
        self.turns.iter().any(|turn| turn.closed)
    }

    pub(super) fn only(&self) -> Option<bool> {
        self.differs.as_ref().map(|(which, _)| *which == Which::Real)
    }

    /// The identity of a case: connections, bytes, and their ends.
    pub(super) fn input(&self) -> Vec<(char, Vec<u8>, [bool; 4])> {
        let turn = |turn: &Turn| {
            let open = turn.open == Open::Shown;
            (turn.conn, turn.sent.clone(), [turn.shutdown, turn.close, turn.unfenced, open])
        };
        self.turns.iter().map(turn).collect()
    }
}

impl Script {
    /// # Errors
    /// The line number and the fault there.
    pub(super) fn parse(_name: &str, text: &str) -> Result<Script, String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut groups: Vec<Group> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            parse_line(&mut groups, index, line).map_err(|e| format!("{}: {e}", index + 1))?;
        }
        Ok(Script { lines, groups })
    }
}

fn parse_line(groups: &mut Vec<Group>, index: usize, line: &str) -> Result<(), String> {
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if line.starts_with("=== ") {
        groups.push(Group::default());
        return Ok(());
    }
    let group = groups.last_mut().ok_or("a file begins with `=== a server`")?;
    if let Some(head) = line.strip_prefix("--- ") {
        group.cases.push(parse_head(head, index)?);
        return Ok(());
    }
    let Some(case) = group.cases.last_mut() else {
        return parse_setup(group, line);
    };
    case.end = index + 1;
    parse_step(&mut case.turns, index, line)
}

fn parse_setup(group: &mut Group, line: &str) -> Result<(), String> {
    if let Some(conf) = line.strip_prefix('|') {
        let text = group.conf.get_or_insert_default();
        text.push_str(conf.strip_prefix(' ').unwrap_or(conf));
        text.push('\n');
    } else if let Some(flags) = line.strip_prefix("flags ") {
        group.flags.extend(flags.split_whitespace().map(str::to_owned));
    } else if line == "pings shown" {
        group.pings_shown = true;
    } else {
        return Err("before the first case stand `flags ...`, `| conf`, `pings shown`".into());
    }
    Ok(())
}

fn parse_head(head: &str, index: usize) -> Result<Case, String> {
    let (name, marks) = head.split_once('[').unwrap_or((head, ""));
    let mut case = Case {
        name: name.trim().to_owned(),
        line: index + 1,
        whole: false,
        real_whole: false,
        fresh: false,
        differs: None,
        turns: Vec::new(),
        end: index + 1,
    };
    for mark in marks.split(['[', ']']).map(str::trim).filter(|mark| !mark.is_empty()) {
        match mark.split_once(':') {
            None if mark == "whole" => case.whole = true,
            None if mark == "real whole" => case.real_whole = true,
            None if mark == "fresh" => case.fresh = true,
            Some(("real", id)) => case.differs = Some((Which::Real, id.trim().into())),
            Some(("dialtone", id)) => case.differs = Some((Which::Dialtone, id.trim().into())),
            _ => return Err(format!("unknown mark [{mark}]")),
        }
    }
    Ok(case)
}

fn parse_step(turns: &mut Vec<Turn>, index: usize, line: &str) -> Result<(), String> {
    let conn = line.chars().next().filter(char::is_ascii_uppercase);
    let conn = conn.ok_or("a step begins with the letter of a connection")?;
    let rest = &line[1..];
    let text = |mark: &str| rest[mark.len()..].strip_prefix(' ').unwrap_or(&rest[mark.len()..]);
    if rest.starts_with('<') {
        let whole_line = !rest.starts_with("<<");
        let text = text(if whole_line { "<" } else { "<<" }).to_owned();
        let turn = this_turn(turns, conn, false);
        turn.expected.push((index, Expected { text, whole_line }));
        return Ok(());
    }
    if rest == " closed" {
        this_turn(turns, conn, false).closed = true;
        return Ok(());
    }
    if rest.trim() == ":" {
        turns.push(Turn { conn, last_input: index, ..Turn::default() });
        return Ok(());
    }
    let turn = this_turn(turns, conn, true);
    turn.last_input = index;
    if rest.starts_with(">>") {
        turn.sent.extend(unescape(text(">>"))?);
    } else if rest.starts_with('>') {
        turn.sent.extend(unescape(text(">"))?);
        turn.sent.extend(b"\r\n");
    } else if rest.starts_with('+') {
        turn.sent.extend(quiet_connect(text("+")).into_bytes());
    } else {
        match rest.trim() {
            "open" => turn.open = Open::Shown,
            "shutdown" => turn.shutdown = true,
            "close" => turn.close = true,
            "unfenced" => turn.unfenced = true,
            "any order" => turn.any_order = true,
            other => return Err(format!("unknown step `{other}`")),
        }
    }
    Ok(())
}

/// The turn a line belongs to: a new one when the connection changes, or speaks after an answer.
fn this_turn(turns: &mut Vec<Turn>, conn: char, input: bool) -> &mut Turn {
    let same = turns.last().is_some_and(|last| {
        last.conn == conn && !(input && (!last.expected.is_empty() || last.closed))
    });
    if !same {
        turns.push(Turn { conn, ..Turn::default() });
    }
    turns.last_mut().expect("just pushed")
}
