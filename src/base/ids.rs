//! Names of things: connections, their kinds, servers. Plain data, compared and printed.
//!
//! Draws none: the server has random bytes for its key, and hands out connection ids.
//! nats: server/client.go `client.cid`, `client.kind`; server/server.go `Info.ID`

use std::fmt;

use data_encoding::BASE32_NOPAD;

/// Connection id: unique within one server run, counted up from 1, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid(pub u64);

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kind of a connection's other side; decides which verbs it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A NATS client on the client port, over TCP, TLS or WebSocket.
    Client,
    /// Another server of the cluster, on the cluster port.
    Route,
    /// This server itself, which answers as its services.
    System,
}

impl Kind {
    /// The number of kinds with sockets, which have counters of their own. They come first.
    pub const COUNT: usize = Self::Route as usize + 1;

    /// True for a client: it publishes and subscribes for itself, not for others.
    #[must_use]
    pub fn is_client(self) -> bool {
        match self {
            Self::Client => true,
            Self::Route | Self::System => false,
        }
    }

    /// Its name at the beginning of a line of the log.
    #[must_use]
    pub fn log_name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Route => "Router",
            Self::System => "System",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Route => "route",
            Self::System => "system",
        })
    }
}

/// Public nkey of a server: 56 characters of base32 (`A`-`Z`, `2`-`7`) of which the first is `N`.
/// New at every start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId([u8; ServerId::LEN]);

impl ServerId {
    /// Characters in a server id.
    pub const LEN: usize = 56;

    /// First byte of the key, of which base32 makes an `N`. nats: nkeys `PrefixByteServer`
    const PREFIX: u8 = 13 << 3;

    /// The nkey with this public key: prefix, key and checksum, in base32.
    #[must_use]
    pub fn of_key(key: [u8; 32]) -> Self {
        let mut nkey = [Self::PREFIX; 35];
        nkey[1..33].copy_from_slice(&key);
        let checksum = crc16(&nkey[..33]);
        nkey[33..].copy_from_slice(&checksum.to_le_bytes());
        Self::new(&BASE32_NOPAD.encode(&nkey)).expect("prefix and length give it this shape")
    }

    /// Takes the text of a public server nkey. `None` if it has not the shape of one; the
    /// checksum inside is not verified.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        let base32 = bytes.iter().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
        (bytes[0] == b'N' && base32).then_some(Self(bytes))
    }

    /// The 56 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("new() takes base32 characters only")
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The CRC-16 of nkeys, also called XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x1021;
    bytes.iter().fold(0, |sum, &byte| {
        (0..8).fold(sum ^ (u16::from(byte) << 8), |sum, _| {
            let carry = sum >> 15;
            (sum << 1) ^ (carry * POLYNOMIAL)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_id_takes_only_the_shape_of_a_server_nkey() {
        let text = "NDVYDO4OCKSSFM2PEKCBMYKSVYI2EFYGRUD4YFKTUZWKMBBXKM32YCUD";
        assert_eq!(ServerId::new(text).unwrap().to_string(), text);
        assert_eq!(ServerId::new(&text[1..]), None);
        assert_eq!(ServerId::new(&text.replace('N', "U")), None);
        assert_eq!(ServerId::new(&text.to_lowercase()), None);
    }

    #[test]
    fn a_key_becomes_the_nkey_that_the_nkeys_crate_makes_of_it() {
        for _ in 0..10 {
            let text = nkeys::KeyPair::new_server().public_key();
            let (_, key) = nkeys::from_public_key(&text).unwrap();
            assert_eq!(ServerId::of_key(key).as_str(), text);
        }
    }

    #[test]
    fn ids_print_bare() {
        assert_eq!(Cid(42).to_string(), "42");
        assert_eq!(Kind::Route.to_string(), "route");
    }
}
