//! `Reader`: JSON by the rules of Go's `encoding/json`, against which clients in fifty languages
//! were tested, and with its errors, which some of them show.
//!
//! That is: keys in any case, unknown keys, `null` anywhere, lone surrogates, bytes that are no
//! UTF-8 (each becomes U+FFFD). serde_json refuses the last two, `-0` and deep nesting.
//! nats: Go's encoding/json `scanner`, `UnmarshalTypeError`

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::base::quoted::Quoted;

/// Arrays and objects inside each other. nats: Go's `encoding/json` `maxNestingDepth`
const DEPTH_MAX: usize = 10_000;

/// A position in a JSON text. Each method skips blanks, then takes one thing.
pub(crate) struct Reader<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(json: &'a [u8]) -> Reader<'a> {
        Reader { json, at: 0 }
    }

    pub(crate) fn overlay_bool(&mut self, value: &mut bool) -> Result<(), JsonError> {
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
            _ => return Err(self.mistyped("bool")),
        }
        Ok(())
    }

    /// `wanted` is the type in the real server.
    pub(crate) fn overlay_number<T: FromStr>(
        &mut self,
        value: &mut T,
        wanted: &'static str,
    ) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'n') => return self.word("null"),
            Some(b'-' | b'0'..=b'9') => {}
            _ => return Err(self.mistyped(wanted)),
        }
        let at = self.at;
        let number = String::from_utf8_lossy(self.number()?);
        let found = || Fault::Type { found: format!("number {number}").into(), wanted };
        *value = number.parse().map_err(|_| JsonError { at, fault: found() })?;
        Ok(())
    }

    /// Empty text is kept as `None`.
    pub(crate) fn overlay_text(&mut self, value: &mut Option<Box<str>>) -> Result<(), JsonError> {
        let mut text = value.take().unwrap_or_default().into();
        self.overlay_string(&mut text, "string")?;
        *value = (!text.is_empty()).then(|| text.into());
        Ok(())
    }

    /// `wanted` is the type in the real server.
    pub(crate) fn overlay_string(
        &mut self,
        value: &mut String,
        wanted: &'static str,
    ) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'n') => self.word("null")?,
            Some(b'"') => *value = unescape(self.string()?),
            _ => return Err(self.mistyped(wanted)),
        }
        Ok(())
    }

    pub(crate) fn overlay_strings(&mut self, values: &mut Vec<String>) -> Result<(), JsonError> {
        values.clear();
        if self.take_null()? {
            return Ok(());
        }
        if !self.take(b'[') {
            return Err(self.mistyped("[]string"));
        }
        if self.take(b']') {
            return Ok(());
        }
        loop {
            let mut value = String::new();
            self.overlay_string(&mut value, "string")?;
            values.push(value);
            if !self.take(b',') {
                return self.expect(b']', AFTER_ELEMENT);
            }
        }
    }

    /// Takes one object, calling `field` with each key in lower case; `field` takes the value.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if !self.take(b'{') {
            return Err(self.mistyped("object"));
        }
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            field(self, &fold(&unescape(key)))?;
            if !self.take(b',') {
                return self.expect(b'}', AFTER_PAIR);
            }
        }
    }

    /// Takes any one value. Not recursive: open brackets are kept in a list.
    pub(crate) fn skip(&mut self) -> Result<(), JsonError> {
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(opener @ (b'{' | b'[')) => {
                    if open.len() == DEPTH_MAX {
                        return Err(self.misplaced("exceeded max depth"));
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
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                _ => return Err(self.misplaced(VALUE_START)),
            }
            // A value has ended, and with it perhaps the list or object around it.
            loop {
                let Some(&closer) = open.last() else { return Ok(()) };
                if self.take(b',') {
                    self.key_inside(closer)?;
                    break;
                }
                self.expect(closer, if closer == b'}' { AFTER_PAIR } else { AFTER_ELEMENT })?;
                open.pop();
            }
        }
    }

    /// In an object a key comes before the next value, in an array nothing.
    fn key_inside(&mut self, closer: u8) -> Result<(), JsonError> {
        if closer == b'}' {
            self.key()?;
        }
        Ok(())
    }

    /// Key and colon; the key is still escaped.
    fn key(&mut self) -> Result<&'a [u8], JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.misplaced("looking for beginning of object key string"));
        }
        let key = self.string()?;
        self.expect(b':', "after object key")?;
        Ok(key)
    }

    /// The inside of a string that begins here, checked but still escaped.
    fn string(&mut self) -> Result<&'a [u8], JsonError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.json.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return Err(self.misplaced("in string literal")),
            }
        }
        self.at += 1;
        Ok(&self.json[start..self.at - 1])
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.json.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
            Some(b'u') => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.json.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.misplaced("in \\u hexadecimal character escape"));
                    }
                }
            }
            _ => return Err(self.misplaced("in string escape code")),
        }
        self.at += 1;
        Ok(())
    }

    /// A number that begins here.
    fn number(&mut self) -> Result<&'a [u8], JsonError> {
        let start = self.at;
        self.at += usize::from(self.json.get(self.at) == Some(&b'-'));
        match self.json.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.json.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.json.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.json.get(self.at), Some(b'+' | b'-')));
            self.digits("in exponent of numeric literal")?;
        }
        Ok(&self.json[start..self.at])
    }

    /// At least one digit.
    fn digits(&mut self, place: &'static str) -> Result<(), JsonError> {
        let rest = &self.json[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.misplaced(place)) }
    }

    pub(crate) fn take_null(&mut self) -> Result<bool, JsonError> {
        let null = self.peek() == Some(b'n');
        if null {
            self.word("null")?;
        }
        Ok(null)
    }

    /// A word that begins here.
    fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        for byte in word.bytes() {
            if self.json.get(self.at) != Some(&byte) {
                let byte = char::from(byte);
                return Err(self.misplaced(format!("in literal {word} (expecting '{byte}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_some() {
            return Err(self.misplaced("after top-level value"));
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8, place: &'static str) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.misplaced(place)) }
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

    /// The fault that this byte, or the end, has no meaning here.
    fn misplaced(&self, place: impl Into<Cow<'static, str>>) -> JsonError {
        let fault = match self.json.get(self.at) {
            Some(&byte) => Fault::Byte { byte, place: place.into() },
            None => Fault::End,
        };
        JsonError { at: self.at, fault }
    }

    /// The fault that a value of another type begins here, if one does.
    fn mistyped(&mut self, wanted: &'static str) -> JsonError {
        let found = match self.peek() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "bool",
            Some(b'-' | b'0'..=b'9') => "number",
            _ => return self.misplaced(VALUE_START),
        };
        JsonError { at: self.at, fault: Fault::Type { found: found.into(), wanted } }
    }
}

const VALUE_START: &str = "looking for beginning of value";
const AFTER_PAIR: &str = "after object key:value pair";
const AFTER_ELEMENT: &str = "after array element";

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

/// A text that cannot be read, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Offset in the text, in bytes.
    pub at: usize,
    /// The reason.
    pub fault: Fault,
}

/// The reason that a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends too soon.
    End,
    /// A byte without a meaning.
    Byte {
        /// The byte.
        byte: u8,
        /// The place in the grammar.
        place: Cow<'static, str>,
    },
    /// A value of another type.
    Type {
        /// Its type, or the number that does not fit.
        found: Cow<'static, str>,
        /// The type that was wanted.
        wanted: &'static str,
    },
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::End => f.write_str("unexpected end of JSON input"),
            Fault::Byte { byte: b'\'', place } => write!(f, "invalid character '\\'' {place}"),
            Fault::Byte { byte: b'"', place } => write!(f, "invalid character '\"' {place}"),
            Fault::Byte { byte, place } => {
                let quoted = Quoted(char::from(*byte).to_string().as_bytes()).to_string();
                write!(f, "invalid character '{}' {place}", quoted.trim_matches('"'))
            }
            Fault::Type { found, wanted } => {
                write!(f, "json: cannot unmarshal {found} into Go value of type {wanted}")
            }
        }
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_in_the_words_of_go() {
        for (json, text) in [
            ("", "unexpected end of JSON input"),
            (" \t", "unexpected end of JSON input"),
            ("bad", "invalid character 'b' looking for beginning of value"),
            ("\u{1}", "invalid character '\\x01' looking for beginning of value"),
            ("\u{e9}", "invalid character 'Ã' looking for beginning of value"),
            ("{'a'", "invalid character '\\'' looking for beginning of object key string"),
            ("{} \"", "invalid character '\"' after top-level value"),
            ("{\"a\" 1", "invalid character '1' after object key"),
            ("{\"a\":1 2", "invalid character '2' after object key:value pair"),
            ("[1 2", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+x", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("tru", "unexpected end of JSON input"),
            ("nil", "invalid character 'i' in literal null (expecting 'u')"),
        ] {
            let mut reader = Reader::new(json.as_bytes());
            let read = reader.skip().and_then(|()| reader.end());
            assert_eq!(read.unwrap_err().to_string(), text, "{json}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        let fault = Reader::new(deep.as_bytes()).skip().unwrap_err();
        assert_eq!(fault.to_string(), "invalid character '[' exceeded max depth");
    }

    #[test]
    fn values_of_another_type_are_named() {
        let wanted = |found: &str, wanted: &str| {
            format!("json: cannot unmarshal {found} into Go value of type {wanted}")
        };
        for (json, found) in
            [("\"\"", "string"), ("{}", "object"), ("true", "bool"), ("[", "array")]
        {
            let fault = Reader::new(json.as_bytes()).overlay_number(&mut 0_i64, "int");
            assert_eq!(fault.unwrap_err().to_string(), wanted(found, "int"));
        }
        for (json, found) in [("1.5", "number 1.5"), ("-1", "number -1"), ("1e2", "number 1e2")] {
            let fault = Reader::new(json.as_bytes()).overlay_number(&mut 0_u64, "uint64");
            assert_eq!(fault.unwrap_err().to_string(), wanted(found, "uint64"));
        }
        let fault = Reader::new(b"[1]").overlay_strings(&mut Vec::new()).unwrap_err();
        assert_eq!(fault.to_string(), wanted("number", "string"));
    }
}
