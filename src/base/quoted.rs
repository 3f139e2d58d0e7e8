//! `Quoted`: bytes in the form of Go's `%q`, for errors, logs and monitoring. `Escaped`: bytes that
//! are safe on a terminal.

use std::fmt::{self, Write};

/// Bytes in the form of a string under Go's `%q`: in double quotes, unprintable ones escaped.
///
/// Printable are Unicode's letters, marks, numbers, punctuation and symbols, and the ASCII space;
/// a byte that is not part of UTF-8 is written `\xNN`.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| write_quoted_char(f, c))?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        f.write_str("\"")
    }
}

/// Bytes in a line of text: unprintable ones are escaped, so that nobody can forge a second line,
/// reach a terminal, or turn the direction of writing.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| match c {
                '\t' | ' '..='~' => f.write_char(c),
                c if is_printable(c) => f.write_char(c),
                c => write!(f, "{}", c.escape_default()),
            })?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

fn write_quoted_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '"' | '\\' => write!(f, "\\{c}"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        ' '..='~' => write!(f, "{c}"),
        '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        _ if is_printable(c) => write!(f, "{c}"),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c)),
        _ => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Asks the standard library's own table, which only `escape_debug` reaches. A combining mark is
/// printable behind another character, so one is put before it. Where the real server's Unicode
/// is older than ours, it escapes characters that were not assigned then.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'a', 0, 0, 0, 0];
    let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..len]).is_ok_and(|pair| pair.escape_debug().nth(1) == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right-hand sides were printed by the real server for PUBs without permission.
    #[test]
    fn quoting_is_that_of_the_real_server() {
        for (bytes, quoted) in [
            (&b"plain.$-_'`{}"[..], r#""plain.$-_'`{}""#),
            (b"\x00\x01\x1f\x7f", r#""\x00\x01\x1f\x7f""#),
            (b"\x07\x08\x0b\x0cx", r#""\a\b\v\fx""#),
            ("ä€😀".as_bytes(), "\"ä€😀\""),
            ("e\u{301}\u{301}".as_bytes(), "\"e\u{301}\u{301}\""),
            (
                "\u{80}\u{a0}\u{ad}\u{2028}\u{feff}".as_bytes(),
                r#""\u0080\u00a0\u00ad\u2028\ufeff""#,
            ),
            ("\u{e000}\u{e0001}\u{10ffff}".as_bytes(), r#""\ue000\U000e0001\U0010ffff""#),
            ("\u{fffd}".as_bytes(), "\"\u{fffd}\""),
            (
                b"\xff\xc3\xe2\x82z\xed\xa0\x80\xc0\xaf",
                r#""\xff\xc3\xe2\x82z\xed\xa0\x80\xc0\xaf""#,
            ),
        ] {
            assert_eq!(Quoted(bytes).to_string(), quoted);
        }
    }
}
