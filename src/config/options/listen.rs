//! `Listen`: the address of a listener.

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port at that address.
    pub port: Port,
}

impl Listen {
    /// Sets the port of an address, or takes the address away.
    pub(crate) fn set_port(listen: &mut Option<Listen>, port: Option<Port>) {
        let host = listen.take().map(|listen| listen.host).unwrap_or_default();
        *listen = port.map(|port| Listen { host, port });
    }
}

/// A TCP port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Any port that is free, written `-1`.
    Free,
    /// This port, 1 to 65535.
    Number(u16),
}

impl Port {
    /// Reads a port from files and flags. The outer none is an invalid number; the inner none is 0,
    /// which means the default or off.
    pub(crate) fn from_number(number: i64) -> Option<Option<Self>> {
        match number {
            -1 => Some(Some(Self::Free)),
            0 => Some(None),
            _ => u16::try_from(number).ok().map(|number| Some(Self::Number(number))),
        }
    }

    /// The number that `bind` takes: 0 asks the kernel for a free port.
    pub(crate) fn bind_number(self) -> u16 {
        match self {
            Self::Free => 0,
            Self::Number(number) => number,
        }
    }
}
