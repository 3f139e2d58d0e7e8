//! A configured password or token: plain text, or a bcrypt hash of it.
//!
//! nats: server/auth.go `comparePasswords`, `isBcrypt`

use std::fmt;

use subtle::ConstantTimeEq;

/// What a client has to know. Never shown by `{:?}`.
pub(super) enum Secret {
    /// The text itself.
    Plain(Box<str>),
    /// Its bcrypt hash.
    Bcrypt(Box<str>),
}

impl Secret {
    /// Takes what the configuration holds.
    pub(super) fn new(configured: &str) -> Self {
        let kind = if is_bcrypt(configured) { Self::Bcrypt } else { Self::Plain };
        kind(configured.into())
    }

    /// Tells whether the client gave the right text. The time taken does not depend on how much
    /// of a plain text is right. A hash that cannot be read is nobody's.
    pub(super) fn is(&self, given: &str) -> bool {
        match self {
            Self::Plain(text) => text.as_bytes().ct_eq(given.as_bytes()).into(),
            Self::Bcrypt(hash) => bcrypt::verify(given, hash).unwrap_or(false),
        }
    }

    /// Tells whether [`Secret::is`] computes a hash.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Bcrypt(_))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Tells whether `configured` begins like a bcrypt hash: `^\$2[abxy]\$\d{2}\$`.
fn is_bcrypt(configured: &str) -> bool {
    let Some(&[b'$', b'2', version, b'$', tens, ones, b'$']) =
        configured.as_bytes().first_chunk::<7>()
    else {
        return false;
    };
    matches!(version, b'a' | b'b' | b'x' | b'y') && tens.is_ascii_digit() && ones.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefix_of_bcrypt_makes_a_hash() {
        for hash in ["$2a$04$x", "$2b$11$", "$2x$99$..", "$2y$00$abc"] {
            assert!(is_bcrypt(hash), "{hash}");
        }
        for plain in ["", "$", "2a$04$", "$2c$04$x", "$2a$4$x", "$2a$0x$x", "$2a$04", " $2a$04$"] {
            assert!(!is_bcrypt(plain), "{plain}");
        }
    }

    #[test]
    fn plain_text_is_compared_whole() {
        let secret = Secret::new("sekret");
        assert!(secret.is("sekret") && !secret.is_slow());
        for wrong in ["", "sekre", "sekret ", "Sekret"] {
            assert!(!secret.is(wrong), "{wrong}");
        }
        assert!(Secret::new("").is(""));
    }

    /// The hash is one of the test vectors of crypt_blowfish.
    #[test]
    fn every_version_of_bcrypt_is_understood() {
        for version in ["2a", "2b", "2x", "2y"] {
            let rest = "$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
            let secret = Secret::new(&format!("${version}{rest}"));
            assert!(secret.is_slow());
            assert!(secret.is("U*U"), "{version}");
            assert!(!secret.is("U*V") && !secret.is(""), "{version}");
        }
    }

    #[test]
    fn a_broken_hash_is_nobodys() {
        for hash in ["$2a$04$", "$2a$99$QgLzT3bK7lP0xT9ZyZ0mEOQ5n8y6gk0B4y7N9g9nI7nJm2S2yq7hK"] {
            let secret = Secret::new(hash);
            assert!(!secret.is("") && !secret.is(hash), "{hash}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Secret::new("sekret")).contains("sekret"));
    }
}
