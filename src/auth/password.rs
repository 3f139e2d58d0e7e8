//! A configured password or token: plain text, or a bcrypt hash of it.
//!
//! nats: server/auth.go `comparePasswords`, `isBcrypt`

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// The secret of a user. Never shown by `{:?}`.
pub(super) enum Secret {
    /// The text itself.
    Plain(Plain),
    /// Its bcrypt hash.
    Bcrypt(Hash),
}

/// The secret as text.
pub(super) struct Plain(Box<str>);

/// The secret as a bcrypt hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(Arc<str>);

impl Secret {
    /// Takes the text in the configuration.
    pub(super) fn new(configured: &str) -> Self {
        match is_bcrypt(configured) {
            true => Self::Bcrypt(Hash(configured.into())),
            false => Self::Plain(Plain(configured.into())),
        }
    }
}

impl Plain {
    /// True if the client gave this text. The time taken does not depend on the number of correct
    /// bytes.
    pub(super) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl Hash {
    /// True if the client gave the hashed text; takes milliseconds to seconds. Nothing fits a hash
    /// that cannot be read.
    pub(super) fn is_of(&self, given: &str) -> bool {
        bcrypt::verify(given, &self.0).unwrap_or(false)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// True if `configured` begins like a bcrypt hash: `^\$2[abxy]\$\d{2}\$`.
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
        let text = |text: &str| Plain(text.into());
        assert!(text("sekret").is("sekret") && text("").is(""));
        for wrong in ["", "sekre", "sekret ", "Sekret"] {
            assert!(!text("sekret").is(wrong), "{wrong}");
        }
    }

    /// True if it is a hash, and of the given text.
    fn is_hash_of(secret: &str, given: &str) -> bool {
        let Secret::Bcrypt(hash) = Secret::new(secret) else { panic!("{secret} is no hash") };
        hash.is_of(given)
    }

    /// The hash is one of the test vectors of crypt_blowfish.
    #[test]
    fn every_version_of_bcrypt_is_understood() {
        for version in ["2a", "2b", "2x", "2y"] {
            let rest = "$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
            let hash = format!("${version}{rest}");
            assert!(is_hash_of(&hash, "U*U"), "{version}");
            assert!(!is_hash_of(&hash, "U*V") && !is_hash_of(&hash, ""), "{version}");
        }
    }

    #[test]
    fn a_broken_hash_is_nobodys() {
        for hash in ["$2a$04$", "$2a$99$QgLzT3bK7lP0xT9ZyZ0mEOQ5n8y6gk0B4y7N9g9nI7nJm2S2yq7hK"] {
            assert!(!is_hash_of(hash, "") && !is_hash_of(hash, hash), "{hash}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Secret::new("sekret")).contains("sekret"));
    }
}
