//! Configuration text to tokens with their offsets.
//!
//! Knows the grammar of the items (comments, strings, numbers, the end of an item) and their depth
//! of nesting. Knows no key's meaning, no variable's value and no other file.
//! Invariant: `rest` is the end of `text`; each call moves its start or ends the file.
//! nats: conf/lex.go. The texts of the errors are the real server's.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Maps, arrays and outer braces inside each other. Real files have about six.
const NESTING_MAX: usize = 64;

/// The tokens of a text. Opening and closing ones are balanced unless an error came first.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A key, as written, without quotes. A value or an opening token follows.
    Key(&'a str),
    /// The file named by `include`.
    Include(&'a str),
    /// A reference `$NAME`, without the dollar sign.
    Variable(&'a str),
    Text(Cow<'a, str>),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// `2016-05-04T18:53:41Z`, its form checked, its date not.
    DateTime(&'a str),
    ArrayStart,
    ArrayEnd,
    MapStart,
    MapEnd,
    /// The end of the file; every further call returns it again.
    End,
}

/// A token and the offset of its start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spanned<'a> {
    pub(super) token: Token<'a>,
    pub(super) at: usize,
}

/// A violation of the grammar, and the offset of the lexer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: usize,
    pub(super) text: String,
}

/// Reads one text from front to back.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// From the next character on.
    rest: &'a str,
    /// The open brackets around it; none means the top level.
    nesting: Vec<Nesting>,
    expect: Expect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nesting {
    /// The optional braces around the whole file.
    Braces,
    Map,
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The next key; in an array, the next element.
    Item,
    /// The value of a key.
    Value,
    /// The separator between two items.
    Separator,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let (nesting, expect) = (Vec::new(), Expect::Item);
        Self { text, rest: text, nesting, expect }
    }

    /// The next token.
    ///
    /// # Errors
    /// The first violation of the grammar. The lexer must not be used after it.
    pub(super) fn next_token(&mut self) -> Result<Spanned<'a>, SyntaxError> {
        loop {
            let token = match (self.expect, self.nesting.last()) {
                (Expect::Separator, _) => self.separator()?,
                (Expect::Value, _) => return self.value(),
                (Expect::Item, Some(Nesting::Array)) => return self.element(),
                (Expect::Item, _) => self.key()?,
            };
            if let Some(token) = token {
                return Ok(token);
            }
        }
    }

    // Characters.

    /// Offset of the next character.
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The text from that offset up to the next character.
    fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at()]
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    fn bump_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        // Byte by byte, unless there is more than ASCII.
        let is_wanted = |&byte: &u8| byte.is_ascii() && wanted(byte.into());
        let mut len = self.rest.bytes().take_while(is_wanted).count();
        if self.rest.as_bytes().get(len).is_some_and(|byte| !byte.is_ascii()) {
            len = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        }
        let (passed, rest) = self.rest.split_at(len);
        self.rest = rest;
        passed
    }

    fn fail<T>(&self, text: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at(), text: text.into() })
    }

    /// Skips one comment if it begins here.
    fn skip_comment(&mut self) -> bool {
        let found = match self.peek() {
            Some('#') => true,
            Some('/') => self.rest.starts_with("//"),
            _ => false,
        };
        if found {
            self.bump_while(|c| !is_newline(c));
        }
        found
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.bump_while(char::is_whitespace);
            if !self.skip_comment() {
                return;
            }
        }
    }

    // Structure.

    fn open(&mut self, nesting: Nesting) -> Result<(), SyntaxError> {
        if self.nesting.len() == NESTING_MAX {
            return self.fail(format!("Nested deeper than {NESTING_MAX} levels"));
        }
        self.bump();
        self.nesting.push(nesting);
        self.expect = Expect::Item;
        Ok(())
    }

    fn close(&mut self, token: Token<'a>) -> Spanned<'a> {
        let start = self.at();
        self.bump();
        self.nesting.pop();
        self.expect = Expect::Separator;
        spanned(token, start)
    }

    /// A key, an include, the end of a map, or the end of the file. None: look again.
    fn key(&mut self) -> Result<Option<Spanned<'a>>, SyntaxError> {
        self.skip_space_and_comments();
        let in_map = self.nesting.last() == Some(&Nesting::Map);
        let start = self.at();
        match self.peek() {
            None if in_map => self.fail("Unexpected EOF processing map."),
            // The outer braces may stay open, as in the real server.
            None => Ok(Some(spanned(Token::End, start))),
            Some('}') if in_map => Ok(Some(self.close(Token::MapEnd))),
            Some('}') if self.nesting.last() == Some(&Nesting::Braces) => {
                self.bump();
                self.nesting.pop();
                Ok(None)
            }
            // One closing brace too many ends a file, as in the real server.
            Some('}') if self.rest[1..].trim().is_empty() => {
                self.rest = "";
                Ok(Some(spanned(Token::End, start)))
            }
            Some('{') if !in_map => self.open(Nesting::Braces).map(|()| None),
            Some(c) if is_key_separator(c) => {
                let full_stop = if in_map { "." } else { "" };
                self.fail(format!("Unexpected key separator '{c}'{full_stop}"))
            }
            Some(']') if in_map => self.fail("Unexpected array end ']' processing map."),
            Some(quote @ ('"' | '\'')) => self.quoted_key(quote).map(Some),
            Some(_) => self.bare_key().map(Some),
        }
    }

    fn quoted_key(&mut self, quote: char) -> Result<Spanned<'a>, SyntaxError> {
        self.bump();
        let start = self.at();
        let key = self.bump_while(|c| c != quote);
        if self.bump().is_none() {
            return self.fail(match (self.nesting.last(), quote) {
                (Some(Nesting::Map), '"') => "Unexpected EOF processing double quoted map key.",
                (Some(Nesting::Map), _) => "Unexpected EOF processing quoted map key.",
                _ => "Unexpected EOF.",
            });
        }
        self.after_key()?;
        Ok(spanned(Token::Key(key), start))
    }

    fn bare_key(&mut self) -> Result<Spanned<'a>, SyntaxError> {
        let start = self.at();
        let key = self.bump_while(|c| !c.is_whitespace() && !is_key_separator(c));
        if key.eq_ignore_ascii_case("include") && self.peek().is_some_and(char::is_whitespace) {
            return self.include(start);
        }
        if self.rest.is_empty() && self.nesting.last() == Some(&Nesting::Map) {
            return self.fail("Unexpected EOF processing map key.");
        }
        self.after_key()?;
        Ok(spanned(Token::Key(key), start))
    }

    /// Moves from the end of a key to the start of its value.
    fn after_key(&mut self) -> Result<(), SyntaxError> {
        self.bump_while(char::is_whitespace);
        match self.peek() {
            None => return self.fail("Expected value but found EOF"),
            Some(c) if is_key_separator(c) => {
                self.bump();
                // Only inside a map may the value stand on a later line than the separator.
                if self.nesting.last() == Some(&Nesting::Map) {
                    self.bump_while(char::is_whitespace);
                }
            }
            Some(_) => {}
        }
        self.expect = Expect::Value;
        Ok(())
    }

    fn include(&mut self, start: usize) -> Result<Spanned<'a>, SyntaxError> {
        self.bump_while(is_blank);
        let file = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.bump();
                let file = self.bump_while(|c| c != quote);
                if self.bump().is_none() {
                    return self.fail("Unexpected EOF in quoted include");
                }
                file
            }
            Some('[') => return self.fail("Expected include value but found start of an array"),
            Some('{') => return self.fail("Expected include value but found start of a map"),
            Some('(') => return self.fail("Expected include value but found start of a block"),
            Some('\\') => return self.fail("Expected include value but found escape sequence"),
            Some(c) if c.is_ascii_digit() || c == '-' => {
                return self.fail("Expected include value but found start of a number");
            }
            None => return self.fail("Expected include value but found EOF"),
            Some(c) if is_newline(c) => {
                return self.fail("Expected include value but found new line");
            }
            Some(_) => {
                self.bump_while(|c| !is_newline(c) && !is_blank(c) && !matches!(c, ';' | '}'))
            }
        };
        self.expect = Expect::Separator;
        Ok(spanned(Token::Include(file), start))
    }

    /// An element of an array, or its end.
    fn element(&mut self) -> Result<Spanned<'a>, SyntaxError> {
        self.skip_space_and_comments();
        match self.peek() {
            None => self.fail("Unexpected EOF processing array."),
            Some(',') => self.fail("Unexpected array value terminator ','."),
            Some(']') => Ok(self.close(Token::ArrayEnd)),
            Some(_) => self.value(),
        }
    }

    /// The separator between two items. None: the next item may come.
    fn separator(&mut self) -> Result<Option<Spanned<'a>>, SyntaxError> {
        self.bump_while(is_blank);
        self.skip_comment();
        let nesting = self.nesting.last().copied();
        match (nesting, self.peek()) {
            (None | Some(Nesting::Braces), None) => {}
            (_, Some(c)) if is_newline(c) || c == ',' => {
                self.bump();
            }
            (None | Some(Nesting::Braces | Nesting::Map), Some(';')) | (None, Some('}')) => {
                self.bump();
            }
            // The key state closes the braces.
            (Some(Nesting::Braces), Some('}')) => {}
            (Some(Nesting::Map), Some('}')) => return Ok(Some(self.close(Token::MapEnd))),
            (Some(Nesting::Array), Some(']')) => return Ok(Some(self.close(Token::ArrayEnd))),
            (nesting, found) => {
                let wanted = match nesting {
                    None => "a top-level value to end with a new line, comment or EOF",
                    Some(Nesting::Braces) => {
                        "a block-level value to end with a new line, comment or EOF"
                    }
                    Some(Nesting::Map) => r#"a map value terminator "," or a map terminator "}""#,
                    Some(Nesting::Array) => {
                        r#"an array value terminator "," or an array terminator "]""#
                    }
                };
                return self
                    .fail(format!("Expected {wanted}, but got '{}' instead.", shown(found)));
            }
        }
        self.expect = Expect::Item;
        Ok(None)
    }

    // Values.

    fn value(&mut self) -> Result<Spanned<'a>, SyntaxError> {
        self.bump_while(is_blank);
        let in_map = self.nesting.last() == Some(&Nesting::Map);
        let start = self.at();
        let token = match self.peek() {
            Some('[') => {
                self.open(Nesting::Array)?;
                return Ok(spanned(Token::ArrayStart, start));
            }
            Some('{') => {
                self.open(Nesting::Map)?;
                return Ok(spanned(Token::MapStart, start));
            }
            Some('\'') => {
                self.bump();
                self.expect = Expect::Separator;
                return self.raw_text();
            }
            Some('"') => {
                self.bump();
                self.expect = Expect::Separator;
                let start = self.at();
                let text = self.escaped_text(|c| c == '"')?;
                if self.bump().is_none() {
                    return self.fail("Unexpected EOF.");
                }
                return Ok(spanned(Token::Text(text), start));
            }
            Some('(') => Token::Text(self.block()?.into()),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number_or_bare()?,
            Some('.') => return self.fail("Floats must start with a digit"),
            Some(',') if in_map => return self.fail(r#"Unexpected map value terminator ","."#),
            Some('}') if in_map => return self.fail("Expected value but found map end"),
            Some(c) if is_newline(c) => {
                // The real server has read the newline when it counts the line.
                self.bump();
                return self.fail("Expected value but found new line");
            }
            _ => self.bare()?,
        };
        self.expect = Expect::Separator;
        Ok(spanned(token, start))
    }

    fn raw_text(&mut self) -> Result<Spanned<'a>, SyntaxError> {
        let start = self.at();
        let text = self.bump_while(|c| c != '\'');
        if self.bump().is_none() {
            return self.fail("Unexpected EOF.");
        }
        Ok(spanned(Token::Text(text.into()), start))
    }

    /// A word without quotes: a boolean, a variable, or text.
    fn bare(&mut self) -> Result<Token<'a>, SyntaxError> {
        let text = self.escaped_text(|c| ends_bare(c) || c == '\'')?;
        // A single quote ends the word and belongs to it, as in the real server.
        if self.peek() == Some('\'') {
            self.bump();
            return Ok(Token::Text(text));
        }
        let Cow::Borrowed(written) = text else { return Ok(Token::Text(text)) };
        if let Some(name) = written.strip_prefix('$') {
            return Ok(Token::Variable(name));
        }
        let is_one_of =
            |words: [&str; 3]| words.iter().any(|one| written.eq_ignore_ascii_case(one));
        Ok(if is_one_of(["true", "yes", "on"]) {
            Token::Bool(true)
        } else if is_one_of(["false", "no", "off"]) {
            Token::Bool(false)
        } else {
            Token::Text(text)
        })
    }

    /// Text up to `ends` or the end of the file, escapes resolved.
    fn escaped_text(&mut self, ends: impl Fn(char) -> bool) -> Result<Cow<'a, str>, SyntaxError> {
        let is_plain = |c| c != '\\' && !ends(c);
        let plain = self.bump_while(is_plain);
        if self.peek() != Some('\\') {
            return Ok(plain.into());
        }
        let mut bytes = plain.as_bytes().to_vec();
        while self.peek() == Some('\\') {
            self.bump();
            bytes.push(self.escape()?);
            bytes.extend_from_slice(self.bump_while(is_plain).as_bytes());
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => self.fail("Escapes '\\x' must form valid UTF-8"),
        }
    }

    /// The byte of an escape, whose backslash is already read.
    fn escape(&mut self) -> Result<u8, SyntaxError> {
        let escaped = self.bump();
        match escaped {
            Some('t') => Ok(b'\t'),
            Some('n') => Ok(b'\n'),
            Some('r') => Ok(b'\r'),
            Some('"') => Ok(b'"'),
            Some('\\') => Ok(b'\\'),
            Some('x') => {
                let from = self.at();
                for _ in 0..2 {
                    if self.bump().is_some_and(is_newline) {
                        return self.fail(
                            "Expected two hexadecimal digits after '\\x', but hit end of line",
                        );
                    }
                }
                let digits = self.since(from);
                // `from_str_radix` would take a sign.
                let valid = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                match u8::from_str_radix(digits, 16) {
                    Ok(byte) if valid => Ok(byte),
                    _ => self.fail(format!(
                        "Expected two hexadecimal digits after '\\x', but got '{digits}'"
                    )),
                }
            }
            _ => self.fail(format!(
                "Invalid escape character '{}'. Only the following escape characters are \
                 allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
                shown(escaped)
            )),
        }
    }

    /// `(`, raw text, and `)` alone on a line. The text keeps the newlines at both ends.
    fn block(&mut self) -> Result<&'a str, SyntaxError> {
        self.bump();
        let from = self.at();
        loop {
            self.bump_while(|c| c != ')');
            let block = self.since(from);
            if self.bump().is_none() {
                return self.fail("Unexpected EOF processing block.");
            }
            if block.ends_with('\n') && matches!(self.peek(), None | Some('\n')) {
                return Ok(block);
            }
        }
    }

    /// Text that begins with a digit or a minus: an integer, a float, a date, or a word after all.
    fn number_or_bare(&mut self) -> Result<Token<'a>, SyntaxError> {
        let start = self.at();
        let negative = self.peek() == Some('-');
        if negative {
            self.bump();
            match self.peek() {
                Some(c) if c.is_ascii_digit() => {}
                Some('.') => return self.fail("Floats must start with a digit, not '.'."),
                found => {
                    return self.fail(format!("Expected a digit but got '{}'.", shown(found)));
                }
            }
        }
        let digits = self.bump_while(|c| c.is_ascii_digit());
        let digits_end = self.at();
        let ends = match self.peek() {
            Some('-') if !negative => return self.date_time(start, digits.len()),
            Some('.') => return self.float(start),
            Some(c) if is_number_suffix(c) => {
                self.bump();
                self.bump_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
                self.peek().is_none_or(ends_suffix)
            }
            found => negative || found.is_none_or(ends_bare),
        };
        if ends {
            let number = &self.text[start..digits_end];
            return self.integer(number, self.since(digits_end));
        }
        // A word that only began like a number, such as `30s`, `-10ms` or `4222abc`.
        self.rest = &self.text[start..];
        self.bare()
    }

    fn integer(&self, number: &str, suffix: &str) -> Result<Token<'a>, SyntaxError> {
        let factor: Option<i64> = match suffix.to_ascii_lowercase().as_str() {
            "" => Some(1),
            "k" => Some(1000),
            "kb" | "ki" | "kib" => Some(1 << 10),
            "m" => Some(1000_i64.pow(2)),
            "mb" | "mi" | "mib" => Some(1 << 20),
            "g" => Some(1000_i64.pow(3)),
            "gb" | "gi" | "gib" => Some(1 << 30),
            "t" => Some(1000_i64.pow(4)),
            "tb" | "ti" | "tib" => Some(1 << 40),
            "p" => Some(1000_i64.pow(5)),
            "pb" | "pi" | "pib" => Some(1 << 50),
            "e" => Some(1000_i64.pow(6)),
            "eb" | "ei" | "eib" => Some(1 << 60),
            _ => None,
        };
        let Some(factor) = factor else {
            return self.fail(format!("unknown unit '{suffix}' after '{number}'"));
        };
        match number.parse::<i64>().ok().and_then(|number| number.checked_mul(factor)) {
            Some(value) => Ok(Token::Integer(value)),
            None => self.fail(format!("integer '{number}{suffix}' is out of the range")),
        }
    }

    /// A float, or an IPv4 address with or without port.
    fn float(&mut self, start: usize) -> Result<Token<'a>, SyntaxError> {
        self.bump();
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            return self.fail(format!(
                "Floats must have a digit after the '.', but got '{}' instead.",
                shown(self.peek())
            ));
        }
        self.bump_while(|c| c.is_ascii_digit());
        if self.peek() == Some('.') {
            self.bump_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
            return Ok(Token::Text(self.since(start).into()));
        }
        let written = self.since(start);
        match written.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Token::Float(value)),
            _ => self.fail(format!("float '{written}' is out of the range")),
        }
    }

    fn date_time(&mut self, start: usize, year_len: usize) -> Result<Token<'a>, SyntaxError> {
        self.bump();
        if year_len != 4 {
            return self.fail("All ISO8601 dates must be in full Zulu form.");
        }
        for wanted in "00-00T00:00:00Z".chars() {
            let found = self.bump();
            if wanted == '0' {
                if !found.is_some_and(|c| c.is_ascii_digit()) {
                    return self.fail(format!(
                        "Expected digit in ISO8601 datetime, but found '{}' instead.",
                        shown(found)
                    ));
                }
            } else if found != Some(wanted) {
                return self.fail(format!(
                    "Expected '{wanted}' in ISO8601 datetime, but found '{}' instead.",
                    shown(found)
                ));
            }
        }
        Ok(Token::DateTime(self.since(start)))
    }
}

fn spanned(token: Token<'_>, at: usize) -> Spanned<'_> {
    Spanned { token, at }
}

/// A character for error texts.
fn shown(found: Option<char>) -> String {
    match found {
        None => "EOF".to_owned(),
        Some('\n') => "\\n".to_owned(),
        Some(c) => c.to_string(),
    }
}

fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_key_separator(c: char) -> bool {
    matches!(c, '=' | ':')
}

fn is_number_suffix(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

/// True for a character that ends a value without quotes.
/// nats-differs: `]` ends a number too; the real server takes it into the value and then misses it.
fn ends_bare(c: char) -> bool {
    is_newline(c) || is_blank(c) || matches!(c, ',' | ';' | ']' | '}')
}

/// True for one that ends a number with a suffix; `]` makes it a word, as in the real server.
fn ends_suffix(c: char) -> bool {
    c != ']' && ends_bare(c)
}
