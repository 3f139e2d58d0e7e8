//! JSON as Go escapes it: `<`, `>`, `&`, and the two line ends that are not valid in a JavaScript
//! string.
//!
//! nats: Go's encoding/json, which escapes for HTML by default

use std::io::{self, Write};

/// Passes JSON on with these escapes. The escaped characters occur inside strings only, and the
/// serializer writes whole characters.
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        for at in 0..text.len() {
            let (escape, len) = match text[at..] {
                [b'<', ..] => (br"\u003c", 1),
                [b'>', ..] => (br"\u003e", 1),
                [b'&', ..] => (br"\u0026", 1),
                [0xe2, 0x80, 0xa8, ..] => (br"\u2028", 3),
                [0xe2, 0x80, 0xa9, ..] => (br"\u2029", 3),
                _ => continue,
            };
            self.0.write_all(&text[done..at])?;
            self.0.write_all(escape)?;
            done = at + len;
        }
        self.0.write_all(&text[done..])?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
