//! `OsError`: an error of the operating system, in the words of the real server.
//!
//! Go and Rust name the same errors, but Go begins them in lower case and shows no number.

use std::fmt;
use std::io;

/// Displays `no such file or directory` where `io::Error` says
/// `No such file or directory (os error 2)`.
pub struct OsError<'a>(pub &'a io::Error);

impl fmt::Display for OsError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or_default();
        let mut chars = text.chars();
        if let Some(first) = chars.next() {
            write!(f, "{}", first.to_lowercase())?;
        }
        f.write_str(chars.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_number_and_in_lower_case() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(OsError(&missing).to_string(), "no such file or directory");
        let own = io::Error::other("stream did not contain valid UTF-8");
        assert_eq!(OsError(&own).to_string(), "stream did not contain valid UTF-8");
    }
}
