//! `Reader`: JSON by the rules of Go's `encoding/json`, against which clients in fifty languages
//! were tested.
//!
//! That is: keys in any case, unknown keys, `null` anywhere, lone surrogates, bytes that are no
//! UTF-8 (each becomes U+FFFD). serde_json refuses the last two, `-0` and deep nesting.

use std::borrow::Cow;
use std::fmt;

/// Arrays and objects inside each other. nats: Go's `encoding/json` `maxNestingDepth`
const DEPTH_MAX: usize = 10_000;

/// A position in a JSON text. Each method skips blanks, then takes one thing.
pub(super) struct Reader<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(json: &'a [u8]) -> Reader<'a> {
        Reader { json, at: 0 }
    }

    pub(super) fn overlay_bool(&mut self, value: &mut bool) -> Result<(), ConnectError> {
        match self.peek() {
            Some(b't') => {
                self.word("true")?;
                *value = true;
            }
            Some(b'f') => {
                self.word("false")?;
                *value = false;
            }
            Some(b'n') => self.word("null")?,
            _ => return Err(self.expected("true or false")),
        }
        Ok(())
    }

    pub(super) fn overlay_integer(&mut self, value: &mut i64) -> Result<(), ConnectError> {
        if self.take_null()? {
            return Ok(());
        }
        let number = self.number()?;
        let number = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok());
        *value = number.ok_or(self.expected("an integer"))?;
        Ok(())
    }

    /// Empty text is kept as `None`.
    pub(super) fn overlay_text(
        &mut self,
        value: &mut Option<Box<str>>,
    ) -> Result<(), ConnectError> {
        if !self.take_null()? {
            let text = unescape(self.string()?);
            *value = (!text.is_empty()).then(|| text.into());
        }
        Ok(())
    }

    /// Takes an array of texts.
    pub(super) fn check_texts(&mut self) -> Result<(), ConnectError> {
        if self.take_null()? {
            return Ok(());
        }
        self.expect(b'[', "an array")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.overlay_text(&mut None)?;
            if !self.take(b',') {
                return self.expect(b']', "`,` or `]`");
            }
        }
    }

    /// Takes one object, calling `field` with each key in lower case; `field` takes the value.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), ConnectError>,
    ) -> Result<(), ConnectError> {
        self.expect(b'{', "an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            field(self, &fold(&unescape(key)))?;
            if !self.take(b',') {
                return self.expect(b'}', "`,` or `}`");
            }
        }
    }

    /// Takes any one value. Not recursive: open brackets are kept in a list.
    pub(super) fn skip(&mut self) -> Result<(), ConnectError> {
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(opener @ (b'{' | b'[')) => {
                    if open.len() == DEPTH_MAX {
                        return Err(self.expected("less nesting"));
                    }
                    self.at += 1;
                    let closer = opener + 2; // in ASCII both brackets close two places further
                    if !self.take(closer) {
                        open.push(closer);
                        self.key_inside(closer)?;
                        continue;
                    }
                }
                Some(b'"') => drop(self.string()?),
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => drop(self.number()?),
            }
            // A value has ended, and with it perhaps the list or object around it.
            loop {
                let Some(&closer) = open.last() else { return Ok(()) };
                if self.take(b',') {
                    self.key_inside(closer)?;
                    break;
                }
                self.expect(closer, "`,` or a closing bracket")?;
                open.pop();
            }
        }
    }

    /// In an object a key comes before the next value, in an array nothing.
    fn key_inside(&mut self, closer: u8) -> Result<(), ConnectError> {
        if closer == b'}' {
            self.key()?;
        }
        Ok(())
    }

    /// Key and colon; the key is still escaped.
    fn key(&mut self) -> Result<&'a [u8], ConnectError> {
        let key = self.string()?;
        self.expect(b':', "`:`")?;
        Ok(key)
    }

    /// The inside of a string, checked but still escaped.
    fn string(&mut self) -> Result<&'a [u8], ConnectError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        loop {
            match self.json.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let escape = self.json.get(self.at + 1..).unwrap_or_default();
                    self.at += match escape {
                        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                        [b'u', hex @ ..] if hex4(hex).is_some() => 6,
                        _ => return Err(self.expected("an escape sequence")),
                    };
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.expected("a closing quote")),
            }
        }
        self.at += 1;
        Ok(&self.json[start..self.at - 1])
    }

    fn number(&mut self) -> Result<&'a [u8], ConnectError> {
        let expected = self.expected("a value");
        let start = self.at;
        self.at += usize::from(self.json.get(self.at) == Some(&b'-'));
        let whole = self.digits();
        let leading_zero = whole > 1 && self.json[self.at - whole] == b'0';
        let mut valid = whole > 0 && !leading_zero;
        if self.json.get(self.at) == Some(&b'.') {
            self.at += 1;
            valid &= self.digits() > 0;
        }
        if let Some(b'e' | b'E') = self.json.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.json.get(self.at), Some(b'+' | b'-')));
            valid &= self.digits() > 0;
        }
        if valid { Ok(&self.json[start..self.at]) } else { Err(expected) }
    }

    /// The number of digits here.
    fn digits(&mut self) -> usize {
        let rest = &self.json[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    pub(super) fn take_null(&mut self) -> Result<bool, ConnectError> {
        let null = self.peek() == Some(b'n');
        if null {
            self.word("null")?;
        }
        Ok(null)
    }

    fn word(&mut self, word: &'static str) -> Result<(), ConnectError> {
        if !self.json[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<(), ConnectError> {
        if self.peek().is_some() { Err(self.expected("nothing more")) } else { Ok(()) }
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), ConnectError> {
        if self.take(byte) { Ok(()) } else { Err(self.expected(name)) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips blanks.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.json.get(self.at) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> ConnectError {
        ConnectError { at: self.at, expected }
    }
}

/// The value of the first four bytes as hexadecimal digits.
fn hex4(hex: &[u8]) -> Option<u32> {
    let hex = hex.get(..4)?;
    hex.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

/// The text of a string that [`Reader::string`] has passed.
fn unescape(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        push_lossy(&mut text, &rest[..backslash]);
        rest = &rest[backslash + 1..];
        let (c, len) = match rest.first() {
            Some(b'b') => ('\x08', 1),
            Some(b'f') => ('\x0c', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(b'u') => unescape_utf16(rest),
            Some(&byte) => (char::from(byte), 1),
            None => break,
        };
        text.push(c);
        rest = &rest[len..];
    }
    push_lossy(&mut text, rest);
    text
}

/// Takes `uXXXX`, or a surrogate pair `uXXXX\uXXXX`; gives the character and the bytes taken.
fn unescape_utf16(raw: &[u8]) -> (char, usize) {
    let unit = raw.get(1..).and_then(hex4).unwrap_or_default();
    let low = raw.get(5..).and_then(|next| next.strip_prefix(b"\\u")).and_then(hex4);
    match (unit, low) {
        (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
            let pair = 0x1_0000 + ((unit - 0xd800) << 10 | (low - 0xdc00));
            (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
        }
        _ => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
    }
}

fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

/// Lower case, with the two characters outside ASCII whose lower case lies inside.
fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return Cow::Borrowed(key);
    }
    let fold_char = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    Cow::Owned(key.chars().map(fold_char).collect())
}

/// The argument of CONNECT cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// Offset in the argument, in bytes.
    pub at: usize,
    /// The text expected there.
    pub expected: &'static str,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {} of CONNECT", self.expected, self.at)
    }
}

impl std::error::Error for ConnectError {}
