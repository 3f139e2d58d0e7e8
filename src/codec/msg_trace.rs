//! Message tracing: the headers that ask for it, and the document in which a server tells its part.
//!
//! nats: server/msgtrace.go `genHeaderMapIfTraceHeadersPresent`, `MsgTraceEvent`

use std::collections::BTreeMap;
use std::mem;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::base::ids::Kind;
use crate::codec::content_encoding::ContentEncoding;
use crate::codec::date::Date;

/// Name of the header with the subject for the document.
pub const DEST: &str = "Nats-Trace-Dest";
/// Value of that header by which a server tells the next ones not to trace. No subject has a blank.
pub const DISABLED: &[u8] = b"trace disabled";
/// Name of a header of servers that are too old: it ends a trace.
pub const ORIGIN_ACCOUNT: &str = "Nats-Trace-Origin-Account";

/// Name of the header that numbers the copies of a message to other servers: `1`, `2`, `2.1`.
const HOP: &str = "Nats-Trace-Hop";
const ONLY: &str = "Nats-Trace-Only";
const TRACE_PARENT: &[u8] = b"traceparent";

/// The start of a block whose headers count.
const START: &[u8] = b"NATS/1.0\r\n";

/// Bytes of a header block that a document shows, at most. Not a limit of the real server.
const SHOWN_LEN_MAX: usize = 64 * 1024;

/// Bytes of the entries about clients in a document, about, at most: there may be a million
/// receivers. Not a limit of the real server.
const CLIENTS_LEN_MAX: usize = if cfg!(test) { 1024 } else { 1024 * 1024 };

/// The trace that a header block asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Subject for the document; none if only a sampled `traceparent` asks for it.
    pub dest: Option<&'a [u8]>,
    /// True if the message is not to reach anybody.
    pub only: bool,
    /// The number of this copy, from the server before; empty if it has none.
    pub hop: &'a [u8],
    /// Account of the destination, from servers that are too old.
    pub origin_account: Option<&'a [u8]>,
    block: &'a [u8],
}

/// True if a header block may name a destination.
// Most headers must not pay for a search: all but few have no T, or one or two.
#[inline]
pub fn may_name_dest(block: &[u8]) -> bool {
    let (before, name) = DEST.as_bytes().split_at("Nats-".len());
    let mut rest = block.get(START.len()..).unwrap_or_default();
    for _ in 0..LOOKS_MAX {
        let Some(at) = memchr::memchr(b'T', rest) else { return false };
        if rest[..at].ends_with(before) && rest[at..].starts_with(name) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    memchr::memmem::find(rest, DEST.as_bytes()).is_some()
}

/// Letters T that are looked at one by one. A search for the whole name takes longer to begin than
/// that, and less for each further letter.
const LOOKS_MAX: usize = 4;

impl<'a> Asked<'a> {
    /// Reads a header block; none if it asks for no trace.
    #[must_use]
    pub fn read(block: &'a [u8]) -> Option<Asked<'a>> {
        let mut asked = Asked { dest: None, only: false, hop: b"", origin_account: None, block };
        let (mut only, mut sampled) = (None, false);
        for (name, value) in pairs(block) {
            if name == DEST.as_bytes() && asked.dest.is_none() {
                if value == DISABLED {
                    return None;
                }
                asked.dest = Some(value);
            } else if name == HOP.as_bytes() && asked.hop.is_empty() {
                asked.hop = value;
            } else if name == ONLY.as_bytes() {
                only = only.or(Some(value));
            } else if name == ORIGIN_ACCOUNT.as_bytes() {
                asked.origin_account = asked.origin_account.or(Some(value));
            } else if name.eq_ignore_ascii_case(TRACE_PARENT) {
                sampled |= is_sampled(value);
            }
        }
        if asked.dest.is_none() && !sampled {
            return None;
        }
        let is_true = |value: &[u8]| matches!(&*value.to_ascii_lowercase(), b"1" | b"true" | b"on");
        asked.only = asked.dest.is_some() && only.is_some_and(is_true);
        Some(asked)
    }

    /// The reason that a message with this block from such a connection is not traced, if there is
    /// one. Servers add headers of their own.
    #[must_use]
    pub fn fault(&self, from: Kind) -> Option<&'static str> {
        let len_max = SHOWN_LEN_MAX * if from.is_client() { 1 } else { 2 };
        if self.block.len() > len_max {
            Some("are too long")
        } else if !is_plain(self.block) {
            Some("are no lines")
        } else {
            None
        }
    }
}

/// Names and values that are not empty.
fn pairs(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = Headers::of(block).map(|Header { name, value, .. }| (name, value));
    pairs.filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

/// The headers of a block as the real server reads them, and the rest behind those that are read.
struct Headers<'a>(&'a [u8]);

struct Header<'a> {
    /// All that stands before the colon.
    name: &'a [u8],
    /// Up to CR LF, trimmed.
    value: &'a [u8],
    /// All bytes.
    text: &'a [u8],
}

impl<'a> Headers<'a> {
    fn of(block: &'a [u8]) -> Headers<'a> {
        Headers(block.strip_prefix(START).unwrap_or_default())
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let colon = memchr::memchr(b':', self.0)?;
        let len = memchr::memmem::find(&self.0[colon..], b"\r\n")?;
        let (text, rest) = self.0.split_at(colon + len + 2);
        self.0 = rest;
        Some(Header { name: &text[..colon], value: trim(&text[colon + 1..colon + len]), text })
    }
}

/// True if all readers of a block see the same lines: each ends with CR LF, and none but the last
/// is empty.
fn is_plain(block: &[u8]) -> bool {
    let lines = block.strip_suffix(b"\r\n").unwrap_or(block);
    let is_line = |line: &[u8]| !line.is_empty() && !line.contains(&b'\r');
    let ended = |line: &[u8]| line.strip_suffix(b"\r").is_some_and(is_line);
    let mut lines = lines.split(|byte| *byte == b'\n');
    lines.next_back().is_some_and(|rest| rest.is_empty() || is_line(rest)) && lines.all(ended)
}

fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    &value[start..end]
}

/// True for the `traceparent` of a request that is sampled.
///
/// nats: the flags are read as a signed number there, so `81` is none.
fn is_sampled(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let flags = parts.nth(3).filter(|flags| flags.len() == 2 && parts.next().is_none());
    let flags = flags.and_then(|flags| std::str::from_utf8(flags).ok());
    let number = flags.and_then(|flags| i8::from_str_radix(flags, 16).ok());
    number.is_some_and(|number| number & 1 == 1)
}

/// The part of one server in the way of a message, complete but for the part about that server.
pub struct MsgTrace {
    /// Subject for the document.
    pub dest: Box<[u8]>,
    /// Its encoding, as the publisher wants it.
    pub encoding: Option<ContentEncoding>,
    /// True if the message is not to reach anybody.
    pub only: bool,
    /// The date of what happens now.
    pub now: Date,
    /// Its content.
    pub story: Story,
    hop: Box<str>,
    /// Room for entries about clients, bytes.
    room: usize,
    /// Clients for whom there was no room.
    left_out: usize,
}

/// The content of a document behind the part about its server, in the real server's order.
#[derive(Debug, Serialize)]
pub struct Story {
    request: Request,
    #[serde(skip_serializing_if = "is_zero")]
    hops: u32,
    events: Vec<Entry>,
}

/// The message as it came.
#[derive(Debug, Serialize)]
struct Request {
    /// Values of headers by their names, in the case that these have.
    header: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "is_zero")]
    msgsize: usize,
}

/// The connection that a message comes from.
#[derive(Debug)]
pub struct Ingress {
    /// Its kind.
    pub kind: Kind,
    /// Its number.
    pub cid: u64,
    /// Name of the client, or of the other server.
    pub name: String,
    /// Account of the message.
    pub account: String,
    /// Its subject.
    pub subject: String,
}

/// A connection that a message goes to, or not.
#[derive(Debug)]
pub struct Egress<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its number.
    pub cid: u64,
    /// Name of the client, or of the other server.
    pub name: &'a str,
    /// Number of the copy, for another server.
    pub hop: &'a str,
    /// Account of the client.
    pub account: &'a str,
    /// Its subscription.
    pub subscription: &'a [u8],
    /// The queue of that.
    pub queue: &'a [u8],
    /// The reason that it does not get it.
    pub error: &'a str,
}

/// Something that happens to a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
enum Entry {
    #[serde(rename = "in")]
    Ingress {
        ts: Date,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: Box<str>,
        acc: Box<str>,
        subj: Box<str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: Box<str>,
    },
    #[serde(rename = "sm")]
    SubjectMapping { ts: Date, to: Box<str> },
    #[serde(rename = "se")]
    StreamExport { ts: Date, acc: Box<str>, to: Box<str> },
    #[serde(rename = "si")]
    ServiceImport { ts: Date, acc: Box<str>, from: Box<str>, to: Box<str> },
    #[serde(rename = "eg")]
    Egress {
        ts: Date,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: Box<str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        hop: Box<str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        acc: Box<str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        sub: Box<str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        queue: Box<str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: Box<str>,
    },
}

impl<'a> Egress<'a> {
    /// A connection, and nothing more about it.
    #[must_use]
    pub fn to(kind: Kind, cid: u64) -> Egress<'a> {
        let (name, hop, account, error) = ("", "", "", "");
        let (subscription, queue) = (&b""[..], &b""[..]);
        Egress { kind, cid, name, hop, account, subscription, queue, error }
    }
}

impl MsgTrace {
    /// Begins with a message of `size` bytes that has come now. The document goes to `dest`.
    #[must_use]
    pub fn new(asked: &Asked<'_>, dest: &[u8], size: usize, from: Ingress, now: Date) -> MsgTrace {
        let mut header: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs(asked.block) {
            let [name, value] = [name, value].map(|text| String::from_utf8_lossy(text).into());
            header.entry(name).or_default().push(value);
        }
        let Ingress { kind, cid, name, account, subject } = from;
        // A client is the first hop, whatever it says.
        let hop = if kind.is_client() { b"" } else { asked.hop };
        let (name, acc, subj) = (name.into(), account.into(), subject.into());
        let (kind, error) = (number(kind), Box::default());
        let first = Entry::Ingress { ts: now, kind, cid, name, acc, subj, error };
        MsgTrace {
            dest: dest.into(),
            encoding: ContentEncoding::wanted(asked.block),
            only: asked.only,
            now,
            story: Story {
                request: Request { header, msgsize: size },
                hops: 0,
                events: vec![first],
            },
            hop: text(hop),
            room: CLIENTS_LEN_MAX,
            left_out: 0,
        }
    }

    /// Account of the message.
    #[must_use]
    pub fn account(&self) -> &str {
        match self.story.events.first() {
            Some(Entry::Ingress { acc, .. }) => acc,
            _ => "",
        }
    }

    /// The number of copies to other servers.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.story.hops
    }

    /// The message is refused.
    pub fn note_refusal(&mut self, why: &str) {
        if let Some(Entry::Ingress { error, .. }) = self.story.events.first_mut() {
            *error = why.into();
        }
    }

    /// The message has got another subject.
    pub fn note_mapping(&mut self, to: &[u8]) {
        let entry = Entry::SubjectMapping { ts: self.now, to: text(to) };
        self.story.events.push(entry);
    }

    /// A client of another account gets it as `to`.
    pub fn note_stream_export(&mut self, account: &str, to: &[u8]) {
        if self.take_room(account.len() + to.len()) {
            let entry = Entry::StreamExport { ts: self.now, acc: account.into(), to: text(to) };
            self.story.events.push(entry);
        }
    }

    /// It has become a message of another account.
    pub fn note_service_import(&mut self, account: &str, from: &[u8], to: &[u8]) {
        let (from, to) = (text(from), text(to));
        let entry = Entry::ServiceImport { ts: self.now, acc: account.into(), from, to };
        self.story.events.push(entry);
    }

    /// It goes to a connection, or not.
    pub fn note_egress(&mut self, egress: &Egress<'_>) {
        let Egress { kind, name, account, subscription, queue, .. } = egress;
        let len = [name.len(), account.len(), subscription.len(), queue.len()];
        if kind.is_client() && !self.take_room(len.into_iter().sum()) {
            self.left_out += 1;
        } else {
            self.push_egress(egress);
        }
    }

    /// The number of its next copy to another server.
    pub fn next_hop(&mut self) -> String {
        self.story.hops += 1;
        match &*self.hop {
            "" => self.story.hops.to_string(),
            hop => format!("{hop}.{}", self.story.hops),
        }
    }

    /// Ends it; an entry tells how many clients are left out.
    pub fn end(&mut self) {
        if self.left_out > 0 {
            let error = format!("{} more clients, left out here", self.left_out);
            self.push_egress(&Egress { error: &error, ..Egress::to(Kind::Client, 0) });
        }
    }

    /// Bytes in memory, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let entries = self.story.events.capacity() * size_of::<Entry>();
        let headers = &self.story.request.header;
        let pairs = headers.iter().map(|(name, values)| {
            PAIR_LEN + name.len() + values.iter().map(|one| PAIR_LEN + one.len()).sum::<usize>()
        });
        size_of::<MsgTrace>() + entries + (CLIENTS_LEN_MAX - self.room) + pairs.sum::<usize>()
    }

    fn push_egress(&mut self, egress: &Egress<'_>) {
        let Egress { kind, cid, name, hop, account, subscription, queue, error } = *egress;
        let account = if account == self.account() { "" } else { account };
        let entry = Entry::Egress {
            ts: self.now,
            kind: number(kind),
            cid,
            name: name.into(),
            hop: hop.into(),
            acc: account.into(),
            sub: text(subscription),
            queue: text(queue),
            error: error.into(),
        };
        self.story.events.push(entry);
    }

    /// Takes room for an entry about a client with texts of that length.
    fn take_room(&mut self, len: usize) -> bool {
        let left = self.room.checked_sub(ENTRY_LEN + len);
        self.room = left.unwrap_or(0);
        left.is_some()
    }
}

/// Bytes of an entry, without its texts.
const ENTRY_LEN: usize = 64;

/// Bytes in memory of a pair of name and value, without their texts.
const PAIR_LEN: usize = 64;

/// A kind, as the real server numbers kinds.
fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Client => 0,
        Kind::Route => 1,
        Kind::System => 3,
    }
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// The number of copies to further servers, if this is such a document, not encoded.
#[must_use]
pub fn hops_of(document: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        hops: u32,
        #[serde(rename = "events")]
        _events: IgnoredAny,
    }
    serde_json::from_slice(document).ok().map(|Told { hops, .. }| hops.into())
}

/// Appends the header block with the number of this copy as its last header.
pub fn write_hop(block: &[u8], hop: &str, out: &mut Vec<u8>) {
    write_last(block, HOP, hop.as_bytes(), out);
}

/// Appends the header block with this destination as its last header, and no other one.
pub fn write_dest(block: &[u8], dest: &[u8], out: &mut Vec<u8>) {
    write_last(block, DEST, dest, out);
}

/// Makes a block ask for no trace that the block it was `made_from` does not ask for, to the same
/// destination: a line that had no end, or stood behind one that is gone, may be a header now.
pub fn keep_untraced(made_from: &[u8], block: &mut Vec<u8>) {
    let dest = |block| Asked::read(block).and_then(|asked| asked.dest);
    if may_name_dest(block) && dest(block) != dest(made_from) {
        let given = mem::take(block);
        write_dest(&given, DISABLED, block);
    }
}

/// Makes a block say that its message is only traced, or that it is not.
pub fn keep_only(only: bool, block: &mut Vec<u8>) {
    if Asked::read(block).is_some_and(|asked| asked.only != only) {
        let given = mem::take(block);
        write_last(&given, ONLY, if only { b"true" } else { b"false" }, block);
    }
}

/// Appends the header block with this header behind all others, and without those of its name. All
/// else stays as it is, so that everybody reads in it what was read before.
fn write_last(block: &[u8], name: &str, value: &[u8], out: &mut Vec<u8>) {
    let mut headers = Headers::of(block);
    out.extend_from_slice(START);
    for header in headers.by_ref().filter(|header| header.name != name.as_bytes()) {
        out.extend_from_slice(header.text);
    }
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(if headers.0.is_empty() { b"\r\n" } else { headers.0 });
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn block(headers: &str) -> String {
        format!("NATS/1.0\r\n{}\r\n\r\n", headers.replace('|', "\r\n"))
    }

    #[test]
    fn headers_ask_as_the_real_server_reads_them() {
        for (headers, dest, only, hop) in [
            ("Nats-Trace-Dest: a", "a", false, ""),
            ("A: b|Nats-Trace-Dest:\ta \t|Nats-Trace-Only: tRUE", "a", true, ""),
            ("Nats-Trace-Dest: a|Nats-Trace-Dest: b|Nats-Trace-Only: on", "a", true, ""),
            ("Nats-Trace-Dest: a|Nats-Trace-Only: 0|Nats-Trace-Only: 1", "a", false, ""),
            ("Nats-Trace-Dest: a|Nats-Trace-Hop: 1.2|Nats-Trace-Hop: 3", "a", false, "1.2"),
            ("Nats-Trace-Dest:|Nats-Trace-Dest: a", "a", false, ""),
            ("traceparent: 0-1-2-00|Nats-Trace-Dest: a", "a", false, ""),
            ("TRACEparent: 0-1-2-01", "", false, ""),
            ("traceparent: 0-1-2-00|traceparent: 0-1-2-03|Nats-Trace-Only: 1", "", false, ""),
        ] {
            let block = block(headers);
            let asked = Asked::read(block.as_bytes()).unwrap();
            assert_eq!(asked.dest.unwrap_or_default(), dest.as_bytes(), "{headers}");
            assert_eq!((asked.only, asked.hop), (only, hop.as_bytes()), "{headers}");
            assert_eq!(may_name_dest(block.as_bytes()), !dest.is_empty(), "{headers}");
        }
    }

    #[test]
    fn other_headers_ask_for_nothing() {
        for headers in [
            "Nats-Trace-Dest:",
            "Nats-Trace-Dest: trace disabled|Nats-Trace-Dest: a",
            "Nats-Trace-Dest : a",
            "nats-trace-dest: a",
            "no colon|Nats-Trace-Dest: a",
            "Nats-Trace-Only: 1",
            "traceparent: 0-1-2-80",
            "traceparent: 0-1-2-ff",
            "traceparent: 0-1-2-1",
            "traceparent: 0-1-2-01-3",
            "traceparent: 0-1-01",
        ] {
            assert_eq!(Asked::read(block(headers).as_bytes()), None, "{headers}");
        }
        for block in
            ["", "NATS/1.0 100\r\nNats-Trace-Dest: a\r\n\r\n", "NATS/1.0\r\nNats-Trace-Dest: a"]
        {
            assert_eq!(Asked::read(block.as_bytes()), None, "{block}");
        }
    }

    fn trace(kind: Kind, headers: &str) -> MsgTrace {
        let block = block(headers);
        let asked = Asked::read(block.as_bytes()).unwrap();
        let (name, account, subject) = (String::new(), "A".to_owned(), "s".to_owned());
        let from = Ingress { kind, cid: 1, name, account, subject };
        MsgTrace::new(&asked, b"dest", 5, from, Date(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn blocks_are_plain_if_all_readers_see_the_same_lines() {
        for (lines, plain) in [
            ("", true),
            ("A: b|", true),
            ("A: b||", true),
            ("no colon|A: b||", true),
            ("A: b", true),
            ("A: b|||", false),
            ("A: b||C: d||", false),
            ("A: 1\nB: 2||", false),
            ("A: 1\rB: 2||", false),
            ("A: 1\r||", false),
            ("A: 1||\n", false),
        ] {
            let block = format!("NATS/1.0\r\n{}", lines.replace('|', "\r\n"));
            assert_eq!(is_plain(block.as_bytes()), plain, "{block:?}");
        }
    }

    #[test]
    fn everything_but_the_new_header_stays_as_it_was() {
        for (lines, written) in [
            ("|", "H: v||"),
            ("A: b||", "A: b|H: v||"),
            ("H: 1|A:b|H:2||", "A:b|H: v||"),
            ("h: 1|H : 2|HH: 3||", "h: 1|H : 2|HH: 3|H: v||"),
            ("A: 1\nH: 2||", "A: 1\nH: 2|H: v||"),
            ("A: 1|", "A: 1|H: v||"),
            ("A: 1||X", "A: 1|H: v||X"),
            ("X||H: 1|Y||", "X||H: 1|H: v|Y||"),
        ] {
            let block = |lines: &str| format!("NATS/1.0\r\n{}", lines.replace('|', "\r\n"));
            let mut out = Vec::new();
            write_last(block(lines).as_bytes(), "H", b"v", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), block(written), "{lines:?}");
        }
    }

    #[test]
    fn blocks_made_from_others_ask_for_nothing_else() {
        let block = |lines: &str| format!("NATS/1.0\r\n{}", lines.replace('|', "\r\n"));
        let disabled = "Nats-Trace-Dest: trace disabled|";
        for (made_from, made, kept) in [
            ("A: b||", "A: b|N: i||", "A: b|N: i||".to_owned()),
            ("Nats-Trace-Dest: a", "Nats-Trace-Dest: a|N: i||", format!("N: i|{disabled}|")),
            ("X|Nats-Trace-Dest: a||", "Nats-Trace-Dest: a|N: i||", format!("N: i|{disabled}|")),
            (
                "Nats-Trace-Dest: a.*||",
                "Nats-Trace-Dest: a.*|N: i||",
                "Nats-Trace-Dest: a.*|N: i||".to_owned(),
            ),
            (
                "X|Nats-Trace-Dest: a|Nats-Trace-Dest: trace disabled||",
                "Nats-Trace-Dest: a|Nats-Trace-Dest: trace disabled|N: i||",
                format!("N: i|{disabled}|"),
            ),
        ] {
            let mut made = block(made).into_bytes();
            keep_untraced(block(made_from).as_bytes(), &mut made);
            assert_eq!(String::from_utf8(made).unwrap(), block(&kept), "{made_from}");
        }
        for (only, made, kept) in [
            (true, "Nats-Trace-Dest: a|Nats-Trace-Only: 1||", ""),
            (true, "Nats-Trace-Dest: a||", "Nats-Trace-Dest: a|Nats-Trace-Only: true||"),
            (
                false,
                "Nats-Trace-Only: on|Nats-Trace-Dest: a||",
                "Nats-Trace-Dest: a|Nats-Trace-Only: false||",
            ),
        ] {
            let mut out = block(made).into_bytes();
            keep_only(only, &mut out);
            let kept = if kept.is_empty() { made } else { kept };
            assert_eq!(String::from_utf8(out).unwrap(), block(kept), "{made}");
        }
    }

    #[test]
    fn copies_are_numbered_behind_the_number_of_the_message() {
        for (kind, hops) in [(Kind::Client, ["1", "2"]), (Kind::Route, ["7.1", "7.2"])] {
            let mut trace = trace(kind, "Nats-Trace-Dest: a|Nats-Trace-Hop: 7");
            assert_eq!([trace.next_hop(), trace.next_hop()], hops);
            assert_eq!(trace.hops(), 2);
        }
    }

    #[test]
    fn servers_are_told_although_there_is_no_room_for_all_clients() {
        let mut trace = trace(Kind::Client, "Nats-Trace-Dest: a");
        let client = Egress { name: "client", account: "A", ..Egress::to(Kind::Client, 2) };
        for _ in 0..CLIENTS_LEN_MAX {
            trace.note_egress(&client);
        }
        trace.note_egress(&Egress { hop: "1", ..Egress::to(Kind::Route, 3) });
        trace.end();
        let events: Vec<_> =
            trace.story.events.iter().map(|one| serde_json::to_value(one).unwrap()).collect();
        assert!(events.len() <= 2 + CLIENTS_LEN_MAX / ENTRY_LEN);
        let [.., server, rest] = &events[..] else { panic!("{events:?}") };
        assert_eq!(server["hop"], "1");
        let shown = events.len() - 3;
        assert_eq!(
            rest["error"],
            format!("{} more clients, left out here", CLIENTS_LEN_MAX - shown)
        );
    }
}
