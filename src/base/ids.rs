//! Names of things: connections, their kinds, servers. Plain data, compared and printed.
//!
//! Knows nothing of how an id is made: the server draws its nkey and hands out connection ids.
//! nats: server/client.go `client.cid`, `client.kind`; server/server.go `Info.ID`

use std::fmt;

/// Connection id: unique within one server run, counted up from 1, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid(pub u64);

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands at the other end of a connection; decides which verbs it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A NATS client on the client port, over TCP, TLS or WebSocket.
    Client,
    /// Another server of the cluster, on the cluster port.
    Route,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Route => "route",
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
        std::str::from_utf8(&self.0).expect("new() admits base32 characters only")
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
    fn ids_print_bare() {
        assert_eq!(Cid(42).to_string(), "42");
        assert_eq!(Kind::Route.to_string(), "route");
    }
}
