//! WebSocket, as a client has it: each write is one frame, which is masked; the server masks none.
//!
//! Knows bytes; of a socket only the upgrade does. Nothing is compressed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use parking_lot::Mutex;

/// The request for the upgrade.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Version: 13\r\n\r\n";

/// The first byte of a frame that is a whole message.
const MESSAGE: u8 = 0x82;

/// The bit of a frame that is masked, in its second byte.
const MASKED: u8 = 0x80;

/// Bytes before the payload, at most: two, the longest length, and a key.
const HEAD_LEN_MAX: usize = 2 + 8 + 4;

/// The configuration of a server that listens for WebSocket on a loopback port.
pub(crate) fn conf(port: u16) -> String {
    format!("websocket {{ listen: \"127.0.0.1:{port}\", no_tls: true }}\n")
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(crate) struct WebSocket(Mutex<Incoming>);

/// A place in the stream of frames.
#[derive(Debug, Default)]
struct Incoming {
    /// The part that has come of the head of the next frame.
    head: Vec<u8>,
    /// Bytes of the payload of this frame that have not come.
    left: usize,
}

impl WebSocket {
    /// Asks for the upgrade, and reads the head of the answer and nothing behind it.
    ///
    /// # Errors
    /// Those of the socket; the server refuses.
    pub(crate) fn upgrade(mut socket: &TcpStream) -> io::Result<Self> {
        socket.write_all(REQUEST)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.extend(byte);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::new(ErrorKind::ConnectionRefused, "no upgrade to WebSocket"));
        }
        Ok(Self::default())
    }

    /// Takes the heads of frames out of `bytes`, the next ones of the stream, and returns the
    /// length of what remains.
    ///
    /// # Errors
    /// A frame that is no whole message.
    pub(crate) fn unframe(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let Incoming { head, left } = &mut *self.0.lock();
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            if *left > 0 {
                let len = (*left).min(bytes.len() - from);
                bytes.copy_within(from..from + len, to);
                (from, to) = (from + len, to + len);
                *left -= len;
                continue;
            }
            head.push(bytes[from]);
            from += 1;
            if let Some(len) = payload_len(head) {
                if head[0] != MESSAGE {
                    let text = format!("a frame that begins with {:#x}", head[0]);
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
                *left = len;
                head.clear();
            }
        }
        Ok(to)
    }
}

/// The length of the payload, if the head is whole.
fn payload_len(head: &[u8]) -> Option<usize> {
    let short = *head.get(1)?;
    let more_len = match short {
        126 => 2,
        127 => 8,
        _ => return Some(short.into()),
    };
    let more = head.get(2..2 + more_len)?;
    Some(more.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)))
}

/// The frame with these bytes.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_LEN_MAX + payload.len());
    frame.push(MESSAGE);
    match payload.len() {
        len @ ..126 => frame.push(MASKED | len as u8),
        len @ ..65_536 => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = fastrand::u32(..).to_ne_bytes();
    frame.extend_from_slice(&key);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask(&mut frame[start..], key);
    frame
}

/// Masks a whole payload.
fn mask(payload: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    let mut words = payload.chunks_exact_mut(4);
    for chunk in &mut words {
        let chunk: &mut [u8; 4] = chunk.try_into().expect("chunks have that length");
        *chunk = (u32::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}
