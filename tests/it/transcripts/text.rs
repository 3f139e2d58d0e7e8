//! Bytes as text of one line, and lines with holes.
//!
//! Escapes: `\r \n \t \\ \xHH`, and `\(400*a)` for 400 times `a`. Holes, in answers only: `{#}` for
//! digits, `{*}` for anything, `{a|b}` for one of these.

use serde_json::{Map, Value};

/// # Errors
/// The fault of an escape.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (count, tail) = if let Some(repeat) = escape.strip_prefix('(') {
            let (repeat, tail) = repeat.split_once(')').ok_or("`\\(` without `)`")?;
            let (count, what) = repeat.split_once('*').ok_or("`\\(count*text)`")?;
            let count: usize = count.parse().map_err(|_| "`\\(count*text)`")?;
            bytes.extend(unescape(what)?.repeat(count));
            (None, tail)
        } else {
            one_escape(escape)?
        };
        bytes.extend(count);
        rest = tail;
    }
    bytes.extend(rest.as_bytes());
    Ok(bytes)
}

fn one_escape(escape: &str) -> Result<(Option<u8>, &str), String> {
    let simple = |byte| Ok((Some(byte), &escape[1..]));
    match escape.as_bytes().first() {
        Some(b'r') => simple(b'\r'),
        Some(b'n') => simple(b'\n'),
        Some(b't') => simple(b'\t'),
        Some(b'\\') => simple(b'\\'),
        Some(b'x') => {
            let digits = escape.get(1..3).ok_or("`\\xHH`")?;
            let byte = u8::from_str_radix(digits, 16).map_err(|_| "`\\xHH`")?;
            Ok((Some(byte), &escape[3..]))
        }
        _ => Err(format!("unknown escape `\\{escape}`")),
    }
}

/// The reverse of [`unescape`], with long runs of one byte folded.
pub(super) fn escape(bytes: &[u8]) -> String {
    const FOLDED_MIN: usize = 24;
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        let one = escape_byte(run[0]);
        if run.len() >= FOLDED_MIN {
            text.push_str(&format!("\\({}*{one})", run.len()));
        } else {
            text.push_str(&one.repeat(run.len()));
        }
    }
    if text.ends_with(' ') {
        text.pop();
        text.push_str("\\x20");
    }
    text
}

fn escape_byte(byte: u8) -> String {
    match byte {
        b'\r' => "\\r".into(),
        b'\n' => "\\n".into(),
        b'\t' => "\\t".into(),
        b'\\' => "\\\\".into(),
        b' '..=b'~' => (byte as char).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

/// True if the line, escaped, fits the text of the file.
pub(super) fn fits(expected: &str, line: &str) -> bool {
    if !expected.contains('{') {
        return expected == line || unescape(expected).is_ok_and(|bytes| escape(&bytes) == line);
    }
    fits_holes(expected, line)
}

fn fits_holes(expected: &str, line: &str) -> bool {
    let Some((start, len)) = next_hole(expected) else {
        return expected == line;
    };
    let (before, hole, after) =
        (&expected[..start], &expected[start + 1..start + len - 1], &expected[start + len..]);
    let Some(rest) = line.strip_prefix(before) else {
        return false;
    };
    match hole {
        "*" => {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits_holes(after, &rest[at..]))
        }
        "#" => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && fits_holes(after, &rest[digits..])
        }
        _ => hole
            .split('|')
            .any(|choice| rest.strip_prefix(choice).is_some_and(|rest| fits_holes(after, rest))),
    }
}

/// Start and length of the first hole, with its braces.
fn next_hole(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = text[from..].find('{').map(|at| at + from) {
        let len = text[at..].find('}')? + 1;
        let inside = &text[at + 1..at + len - 1];
        if inside == "*" || inside == "#" || (inside.contains('|') && !inside.contains(['"', '{']))
        {
            return Some((at, len));
        }
        from = at + 1;
    }
    None
}

/// An INFO line with its keys in order, variable values masked, and fields of the real server only
/// removed: build facts, JetStream's API level, the key of its auth callout.
pub(super) fn canonical_info(line: &str) -> String {
    const REAL_ONLY: [&str; 5] = ["git_commit", "go", "api_lvl", "xkey", "domain"];
    const VARYING: [&str; 6] =
        ["server_id", "server_name", "version", "port", "client_id", "nonce"];
    let json = line.trim_start_matches("INFO").trim();
    let Ok(Value::Object(fields)) = serde_json::from_str(json) else {
        return format!("not valid: {line}");
    };
    let mut kept = std::collections::BTreeMap::new();
    for (key, value) in fields.into_iter().filter(|(key, _)| !REAL_ONLY.contains(&key.as_str())) {
        let value = match value {
            Value::String(_) if VARYING.contains(&key.as_str()) => "<string>".into(),
            Value::Number(_) if VARYING.contains(&key.as_str()) => "<number>".into(),
            other => other,
        };
        kept.insert(key, value);
    }
    let sorted: Map<String, Value> = kept.into_iter().collect();
    let end = if line.ends_with("} ") { "" } else { " without the blank at its end" };
    format!("INFO {}{end}", Value::Object(sorted))
}

#[test]
fn escapes_come_back() {
    for bytes in [&b"plain"[..], b"a\r\n\t\\\x00\xff ", &[b'x'; 100], b""] {
        assert_eq!(unescape(&escape(bytes)).unwrap(), bytes);
    }
}

#[test]
fn holes_fit() {
    assert!(fits("MSG a {1|2} {#}", "MSG a 2 17"));
    assert!(!fits("MSG a {1|2} {#}", "MSG a 3 17"));
    assert!(!fits("MSG a {1|2} {#}", "MSG a 1 x"));
    assert!(fits("a{*}z", "a{}z"));
    assert!(fits(r#"INFO {"a":1}"#, r#"INFO {"a":1}"#));
}
