//! Percent signs in URLs.

use memchr::memchr;

/// Resolves `%41` to `A`.
///
/// # Errors
/// The position of the first percent sign without two hex digits.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'%', rest) {
        let byte = rest.get(at + 1..at + 3).and_then(hex2);
        decoded.extend_from_slice(&rest[..at]);
        decoded.push(byte.ok_or(text.len() - rest.len() + at)?);
        rest = &rest[at + 3..];
    }
    decoded.extend_from_slice(rest);
    Ok(decoded)
}

/// The value of two hexadecimal digits.
fn hex2(digits: &[u8]) -> Option<u8> {
    digits
        .iter()
        .try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)? as u8))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn each_percent_sign_has_two_digits() {
        for (text, decoded) in [("a%41%2f%fFb", &b"aA/\xffb"[..]), ("", b""), ("%25zz", b"%zz")] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Ok(decoded), "{text}");
        }
        for (text, bad) in [("%", 0), ("a%4", 1), ("%41%+1", 3), ("%4\u{e4}", 0)] {
            assert_eq!(decode(text.as_bytes()), Err(bad), "{text}");
        }
    }
}
