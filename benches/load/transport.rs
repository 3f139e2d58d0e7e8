//! The transports of clients: NATS on the socket itself, through TLS, or through WebSocket.
//!
//! A [`Layer`] stands between the bytes of NATS and those of the socket. Knows no frame of NATS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::tls::{RECORD_LEN_MAX, Tls};
use crate::websocket::{self, WebSocket};

/// The way of clients to a server.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// NATS on the socket.
    Bare,
    /// TLS from the server's INFO on, with the client's settings.
    Tls(Arc<ClientConfig>),
    /// WebSocket without TLS, on a port of its own.
    WebSocket,
}

/// The address of a server for clients of one transport.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Its socket.
    pub(crate) addr: SocketAddr,
    /// The transport there.
    pub(crate) transport: Transport,
}

/// The transport of one connection, once it has begun. One thread reads, and one at a time writes.
#[derive(Debug)]
pub(crate) enum Layer {
    Bare,
    Tls(Box<Tls>),
    WebSocket(WebSocket),
}

impl Layer {
    /// Reads once from the socket, and returns the number of bytes of NATS at the start of
    /// `scratch`: none perhaps, of a record or a frame that is not whole. Nothing is held back that
    /// could be read, so the socket alone says when to read again.
    ///
    /// # Errors
    /// Those of the socket, its end, and bytes that the layer does not understand.
    pub(crate) fn read(&self, socket: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bare => receive(socket, scratch),
            Self::Tls(tls) => {
                let (plain, encrypted) = scratch.split_at_mut(scratch.len() / 2 + RECORD_LEN_MAX);
                let len = receive(socket, encrypted)?;
                tls.decrypt(&encrypted[..len], plain)
            }
            Self::WebSocket(websocket) => {
                let len = receive(socket, scratch)?;
                websocket.unframe(&mut scratch[..len])
            }
        }
    }

    /// Writes all of `bytes`, however long that takes.
    pub(crate) fn write(&self, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Bare => socket.write_all(bytes),
            Self::Tls(tls) => socket.write_all(&tls.encrypt(bytes)?),
            Self::WebSocket(_) => socket.write_all(&websocket::frame(bytes)),
        }
    }

    /// Ends TLS, as clients do; other connections are just closed.
    pub(crate) fn end(&self, mut socket: &TcpStream) -> io::Result<()> {
        match self {
            Self::Tls(tls) => socket.write_all(&tls.end()?),
            Self::Bare | Self::WebSocket(_) => Ok(()),
        }
    }
}

/// One read, which brings something.
fn receive(mut socket: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    match socket.read(scratch)? {
        0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection")),
        len => Ok(len),
    }
}
