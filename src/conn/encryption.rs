//! `Encryption`: the encryption of a connection, for monitoring.
//!
//! nats: server/monitor.go `ConnInfo`

use crate::config::options::{CipherSuite, TlsVersion};

/// The encryption of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// The version of TLS.
    pub version: TlsVersion,
    /// The cipher suite.
    pub suite: CipherSuite,
    /// True if the handshake came before INFO.
    pub first: bool,
}

/// Set in each code; the code of an unencrypted connection is 0.
const SOME: u8 = 1 << 7;
const V1_3: u8 = 1 << 6;
const FIRST: u8 = 1 << 5;

impl Encryption {
    /// As `1.3`.
    pub fn version(self) -> &'static str {
        match self.version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        }
    }

    /// The name of the suite.
    pub fn suite(self) -> &'static str {
        CipherSuite::NAMES[self.suite_index()].0
    }

    fn suite_index(self) -> usize {
        let known = CipherSuite::NAMES.iter().position(|(_, suite)| *suite == self.suite);
        known.expect("all suites have names")
    }

    /// All of it in a byte; a connection has no room for more.
    pub(super) fn code(self) -> u8 {
        let version = if self.version == TlsVersion::V1_3 { V1_3 } else { 0 };
        let first = if self.first { FIRST } else { 0 };
        SOME | version | first | self.suite_index() as u8
    }

    /// Reads that byte.
    pub(super) fn of_code(code: u8) -> Option<Encryption> {
        let &(_, suite) = CipherSuite::NAMES.get(usize::from(code & (FIRST - 1)))?;
        let version = if code & V1_3 != 0 { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
        (code & SOME != 0).then_some(Encryption { version, suite, first: code & FIRST != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_holds_all_of_it() {
        assert_eq!(Encryption::of_code(0), None);
        for (_, suite) in CipherSuite::NAMES {
            for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
                for first in [false, true] {
                    let encryption = Encryption { version, suite, first };
                    assert_eq!(Encryption::of_code(encryption.code()), Some(encryption));
                }
            }
        }
    }
}
