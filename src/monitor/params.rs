//! Parameters of a request: the query of its URL, values in Go's spelling, and such values in a
//! JSON body.
//!
//! nats: server/monitor.go `decodeBool`, `decodeInt`, `decodeUint64`, `decodeSubs`; Go's
//! url.ParseQuery, strconv

use std::num::IntErrorKind;
use std::str::FromStr;

use crate::base::percent;
use crate::base::quoted::Quoted;
use crate::codec::json::{JsonError, Reader};
use crate::monitor::QueryError;

/// Names and values, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// The subscriptions that a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subs {
    /// No subscriptions.
    #[default]
    None,
    /// Their subjects.
    Subjects,
    /// All about them.
    Detail,
}

impl Subs {
    /// Takes the flag in a JSON body that asks for these; more wins.
    ///
    /// # Errors
    /// [`JsonError`] if it is no flag.
    pub fn overlay(&mut self, these: Subs, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        let mut wanted = false;
        reader.overlay_bool(&mut wanted)?;
        if wanted {
            *self = (*self).max(these);
        }
        Ok(())
    }
}

impl Params {
    /// Takes a query apart. Pairs that are not well-formed are skipped.
    pub fn read(query: &str) -> Params {
        let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let pairs = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        Params(pairs.collect())
    }

    /// The first value of that name; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// A flag; false if it is not given.
    ///
    /// # Errors
    /// [`QueryError`] if it is neither true nor false.
    pub fn bool(&self, name: &str) -> Result<bool, QueryError> {
        match self.get(name) {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            value => Err(QueryError(format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing {}: {INVALID}",
                Quoted(value.as_bytes())
            ))),
        }
    }

    /// A number that may be negative; 0 if it is not given.
    ///
    /// # Errors
    /// [`QueryError`] if it is no number or too large.
    pub fn int(&self, name: &str) -> Result<i64, QueryError> {
        self.number(name, "int", "Atoi")
    }

    /// A number; 0 if it is not given.
    ///
    /// # Errors
    /// [`QueryError`] if it is no number or too large.
    pub fn uint64(&self, name: &str) -> Result<u64, QueryError> {
        if self.get(name).starts_with('+') {
            return Err(self.not_a_number(name, "uint64", "ParseUint", INVALID));
        }
        self.number(name, "uint64", "ParseUint")
    }

    /// A number that counts only if it is above zero.
    ///
    /// # Errors
    /// [`QueryError`] if it is no number or too large.
    pub fn above_zero(&self, name: &str) -> Result<Option<usize>, QueryError> {
        Ok(above_zero(self.int(name)?))
    }

    /// The parameter `subs`.
    ///
    /// # Errors
    /// [`QueryError`] if it is neither `detail` nor a flag.
    pub fn subs(&self) -> Result<Subs, QueryError> {
        if self.get("subs").eq_ignore_ascii_case("detail") {
            return Ok(Subs::Detail);
        }
        Ok(if self.bool("subs")? { Subs::Subjects } else { Subs::None })
    }

    fn number<T>(&self, name: &str, kind: &str, function: &str) -> Result<T, QueryError>
    where
        T: FromStr<Err = std::num::ParseIntError> + Default,
    {
        let value = self.get(name);
        if value.is_empty() {
            return Ok(T::default());
        }
        value.parse().map_err(|error: std::num::ParseIntError| {
            let problem = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => INVALID,
            };
            self.not_a_number(name, kind, function, problem)
        })
    }

    fn not_a_number(&self, name: &str, kind: &str, function: &str, problem: &str) -> QueryError {
        let value = Quoted(self.get(name).as_bytes());
        QueryError(format!(
            "Error decoding {kind} for '{name}': strconv.{function}: parsing {value}: {problem}"
        ))
    }
}

/// Takes a number of a JSON body that counts only if it is above zero.
///
/// # Errors
/// [`JsonError`] if it is no number or too large.
pub fn overlay_above_zero(
    value: &mut Option<usize>,
    reader: &mut Reader<'_>,
) -> Result<(), JsonError> {
    let mut number = value.map_or(0, |value| value as i64);
    reader.overlay_number(&mut number, "int")?;
    *value = above_zero(number);
    Ok(())
}

fn above_zero(number: i64) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number > 0)
}

const INVALID: &str = "invalid syntax";

/// Decodes `%XX` and `+`. None if a `%` is not followed by two hex digits.
fn decode(text: &str) -> Option<String> {
    let decoded = percent::decode(text.replace('+', " ").as_bytes()).ok()?;
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart() {
        let params = Params::read("acc=a%20b+c&acc=second&&bad=%zz&x;y=1&flag&subs=Detail");
        assert_eq!(params.get("acc"), "a b c");
        assert_eq!((params.get("bad"), params.get("x;y"), params.get("none")), ("", "", ""));
        assert_eq!(params.bool("flag"), Ok(false));
        assert_eq!(params.subs(), Ok(Subs::Detail));
        assert_eq!(Params::read("subs=T").subs(), Ok(Subs::Subjects));
    }

    #[test]
    fn what_is_no_value_is_told_in_go_words() {
        let params = Params::read("b=maybe&i=x&big=99999999999999999999&c=-1&p=%2b1&limit=-3");
        let text = |refused: QueryError| refused.0;
        assert_eq!(
            params.bool("b").map_err(text).unwrap_err(),
            "Error decoding boolean for 'b': strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
        assert_eq!(
            params.int("i").map_err(text).unwrap_err(),
            "Error decoding int for 'i': strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            params.int("big").map_err(text).unwrap_err(),
            "Error decoding int for 'big': strconv.Atoi: parsing \"99999999999999999999\": \
             value out of range"
        );
        assert_eq!(
            params.uint64("c").map_err(text).unwrap_err(),
            "Error decoding uint64 for 'c': strconv.ParseUint: parsing \"-1\": invalid syntax"
        );
        assert!(params.uint64("p").is_err());
        assert_eq!(params.int("p"), Ok(1));
        assert_eq!(params.above_zero("limit"), Ok(None));
        assert_eq!(params.int("none"), Ok(0));
    }
}
