//! The least a server can do: read from one socket, write the same bytes to others.
//!
//! Started by the bench as a process of its own and put under the same load as the servers, it
//! shows the cost of the reads and writes alone on this machine. It reads no frame but the first of
//! each connection: one that sent a SUB gets every byte of the connections that publish there.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::event::epoll::{self, EventData, EventFlags};

/// The argument that makes the bench be the relay; then as the servers: `-a HOST -p PORT`.
pub(crate) const FLAG: &str = "--be-the-relay";

/// Bytes of one read, the same as a server's.
const READ_LEN: usize = 256 * 1024;

/// Token of the listener in epoll; connections count from 0.
const LISTENER: u64 = u64::MAX;

/// One accepted connection.
struct End {
    stream: TcpStream,
    /// Its subscription: a subject, or the beginning of subjects, before `>` or `*`.
    hears: Option<Vec<u8>>,
    /// The subject of its first message, which is taken for that of all.
    says: Vec<u8>,
}

impl End {
    fn hears(&self, subject: &[u8]) -> bool {
        self.hears.as_deref().is_some_and(|pattern| {
            match pattern.strip_suffix(b">").or(pattern.strip_suffix(b"*")) {
                Some(start) => subject.starts_with(start),
                None => subject == pattern,
            }
        })
    }
}

/// Serves until killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut ends: Vec<Option<End>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut bytes = vec![0; READ_LEN];
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            if event.data.u64() != LISTENER {
                pass_on(event.data.u64() as usize, &mut ends, &mut bytes);
                continue;
            }
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.write_all(b"INFO {}\r\n")?;
            let data = EventData::new_u64(ends.len() as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN)?;
            ends.push(Some(End { stream, hears: None, says: Vec::new() }));
        }
    }
}

/// One read, and one write to each receiver. What is not a message is handled by its look: the
/// load sends CONNECT, SUB and the last PING each in a write of its own.
fn pass_on(from: usize, ends: &mut [Option<End>], bytes: &mut [u8]) {
    let Some(end) = &mut ends[from] else { return };
    let len = end.stream.read(bytes).unwrap_or(0);
    let read = &bytes[..len];
    if read.starts_with(b"CONNECT") || read == b"PING\r\n" {
        if let Some(at) = memchr::memmem::find(read, b"\nSUB ") {
            end.hears = Some(word(&read[at + "\nSUB ".len()..]).to_vec());
        }
        // A load that has gone away needs no PONG.
        let _ = end.stream.write_all(b"PONG\r\n");
        return;
    }
    if len == 0 {
        // Closing it also takes it out of epoll.
        ends[from] = None;
        return;
    }
    if end.says.is_empty() {
        end.says = word(&read["MSG ".len().min(len)..]).to_vec();
    }
    let subject = std::mem::take(&mut end.says);
    for (index, end) in ends.iter_mut().enumerate() {
        let Some(end) = end else { continue };
        if index != from && end.hears(&subject) && end.stream.write_all(read).is_err() {
            end.hears = None;
        }
    }
    if let Some(end) = &mut ends[from] {
        end.says = subject;
    }
}

/// The bytes before the first blank or line end.
fn word(text: &[u8]) -> &[u8] {
    text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default()
}
