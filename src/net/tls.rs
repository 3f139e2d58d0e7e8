//! Encryption: a port that asks for it, and the layer of one connection, on either side.
//!
//! ```text
//! record:  type  version (2 bytes)  length (2 bytes)  body
//! ```
//!
//! The library keeps one state for both directions, so it stands under a lock: held over a piece of
//! input, and over a write that does not block. It holds no bytes: its output goes into [`Held`],
//! and an incomplete record is kept here.
//! nats: server/client.go `doTLSHandshake`

mod failure;
mod port;
mod state;
mod verifier;

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustls::{Error, ProtocolVersion};

use crate::base::closed_reason::ClosedReason;
use crate::base::sync::{Mutex, rank};
use crate::config::options::{CipherSuite, TlsVersion};
use crate::conn::Wire;
use crate::net::layer::{Held, Inflow, LayerError, Next};

pub(crate) use failure::Failure;
pub(crate) use port::{Side, TlsPort};
pub(crate) use state::State;

use state::Step;

/// Bytes of a record before its body.
const HEAD_LEN: usize = 5;

/// Most bytes that a record adds to its content.
const RECORD_EXTRA_LEN: usize = 64;

/// Plain bytes of a written record.
const RECORD_LEN: usize = 16 * 1024;

/// Plain bytes handed on at once: several records, so that messages stand in rows.
const PIECE_LEN: usize = 64 * 1024;

/// Bytes of the queue encrypted at once.
const BATCH_LEN_MAX: usize = 64 * 1024;

/// Most bytes kept of an incomplete message or record; before the login the server keeps no more.
const KEPT_LEN_MAX: usize = 32 * 1024;

/// The writing half, and the state of both.
pub(crate) struct Encrypted {
    below: Arc<dyn Wire>,
    session: Mutex<Session, { rank::ENCRYPTED }>,
}

/// The state of the library, with its input and output.
///
/// Invariant: the library is always shown again all bytes that it has seen and not discarded. These
/// are `kept`, which never holds a complete unread record.
struct Session {
    state: State,
    held: Held,
    /// The start of an incomplete record, or of a message in several records.
    kept: Vec<u8>,
    /// True if nothing more can be read or written.
    broken: bool,
}

/// The reading half.
pub(crate) struct Decrypted {
    wire: Arc<Encrypted>,
    /// The piece returned last.
    plain: Vec<u8>,
}

/// The result of a handshake.
pub(crate) struct Agreed {
    pub(crate) version: TlsVersion,
    pub(crate) suite: CipherSuite,
    /// Input after the handshake, already decrypted.
    pub(crate) plain: Vec<u8>,
}

/// The result of reading input.
struct Read {
    used: usize,
    /// True if the other side has ended its stream.
    ended: bool,
}

impl Encrypted {
    /// A connection in that state; the next `clear_len` bytes are written in the clear.
    pub(crate) fn new(below: Arc<dyn Wire>, state: State, clear_len: usize) -> Encrypted {
        let held = Held::new(clear_len, 0);
        let session = Session { state, held, kept: Vec::new(), broken: false };
        Encrypted { below, session: Mutex::new(session) }
    }
}

impl Wire for Encrypted {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.lock();
        let Session { state, held, kept, broken } = &mut *session;
        held.try_write(&*self.below, slices, |slices, out| match broken {
            false => state.encrypt(kept, slices, out),
            true => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    fn try_flush(&self) -> io::Result<()> {
        self.session.lock().held.try_flush(&*self.below)?;
        self.below.try_flush()
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        let session = self.session.lock();
        let shown = session.state.peer_certificates().unwrap_or_default();
        shown.iter().map(|certificate| certificate.to_vec()).collect()
    }
}

impl Decrypted {
    pub(crate) fn new(wire: Arc<Encrypted>) -> Decrypted {
        Decrypted { wire, plain: Vec::new() }
    }

    /// Goes on with the handshake; the side that dials begins it without input. Returns its result
    /// when it is done.
    ///
    /// # Errors
    /// [`Failure`]; the alert for the other side is held.
    pub(crate) fn handshake(
        &mut self,
        input: &[u8],
        port: &TlsPort,
    ) -> Result<Option<Agreed>, Failure> {
        let mut session = self.wire.session.lock();
        session.kept.extend_from_slice(input);
        let read = session.read_kept(&mut self.plain, usize::MAX).map_err(Failure::Tls)?;
        if session.state.is_handshaking() {
            let too_much = session.kept.len() > KEPT_LEN_MAX;
            return if read.ended || too_much { Err(Failure::Ended) } else { Ok(None) };
        }
        let leaf = session.state.peer_certificates().and_then(<[_]>::first);
        if !port.is_pinned(leaf) {
            return Err(Failure::NotPinned);
        }
        let version = match session.state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        };
        let suite = session.state.negotiated_cipher_suite();
        let suite = suite.and_then(port::suite).unwrap_or(CipherSuite::Aes128Gcm);
        Ok(Some(Agreed { version, suite, plain: std::mem::take(&mut self.plain) }))
    }
}

impl Inflow for Decrypted {
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError> {
        self.plain.clear();
        let mut session = self.wire.session.lock();
        let Read { used, ended } = session.read(input, &mut self.plain).map_err(|error| {
            let text = format!("read error: {}", Failure::Tls(error));
            LayerError { reason: ClosedReason::ReadError, text }
        })?;
        if !self.plain.is_empty() {
            return Ok(Next::Piece(&mut self.plain, used));
        }
        session.kept.shrink_to_fit();
        self.plain = Vec::new();
        if ended { Ok(Next::End) } else { Ok(Next::Missing) }
    }

    fn end(&mut self, _reason: ClosedReason) {
        let mut session = self.wire.session.lock();
        let Session { state, held, kept, broken } = &mut *session;
        if !*broken {
            state.end(kept, &mut held.bytes);
        }
    }
}

impl Session {
    /// Reads the complete records of `input`, after the kept bytes, up to a piece. Keeps the start
    /// of an incomplete one.
    fn read(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<Read, Error> {
        let mut used = 0;
        while !self.kept.is_empty() && used < input.len() && plain.len() < PIECE_LEN {
            let missing = match missing_len(&self.kept) {
                // A message goes on in the next record.
                0 => RECORD_LEN,
                missing => missing,
            };
            let len = missing.min(input.len() - used);
            self.kept.extend_from_slice(&input[used..used + len]);
            used += len;
            if missing_len(&self.kept) > 0 {
                continue;
            }
            if self.read_kept(plain, PIECE_LEN)?.ended {
                return Ok(Read { used, ended: true });
            }
            if self.kept.len() > KEPT_LEN_MAX {
                self.broken = true;
                return Err(Error::General("a message that never ends".to_owned()));
            }
        }
        if !self.kept.is_empty() || used == input.len() || plain.len() >= PIECE_LEN {
            return Ok(Read { used, ended: false });
        }
        let read = self.read_records(&mut input[used..], plain, PIECE_LEN)?;
        used += read.used;
        if !read.ended && plain.len() < PIECE_LEN {
            self.kept.extend_from_slice(&input[used..]);
            used = input.len();
        }
        Ok(Read { used, ended: read.ended })
    }

    /// Reads the complete records of the kept bytes.
    fn read_kept(&mut self, plain: &mut Vec<u8>, plain_len: usize) -> Result<Read, Error> {
        let mut kept = std::mem::take(&mut self.kept);
        let read = self.read_records(&mut kept, plain, plain_len)?;
        kept.drain(..read.used);
        self.kept = kept;
        Ok(read)
    }

    /// Reads complete records, and appends their content to `plain` up to `plain_len` bytes.
    fn read_records(
        &mut self,
        records: &mut [u8],
        plain: &mut Vec<u8>,
        plain_len: usize,
    ) -> Result<Read, Error> {
        let mut used = 0;
        loop {
            let (len, step) = self.state.step(&mut records[used..], plain, &mut self.held.bytes);
            used += len;
            match step {
                Step::On if plain.len() < plain_len => {}
                Step::On | Step::Waits => return Ok(Read { used, ended: false }),
                Step::Ended => return Ok(Read { used, ended: true }),
                Step::Failed(error) => {
                    self.broken = true;
                    self.say_why(&mut records[used..]);
                    return Err(error);
                }
            }
        }
    }

    /// Writes the alert for an error in these records. The library does not get them again.
    fn say_why(&mut self, records: &mut [u8]) {
        while self.state.wants_write() {
            let (_, step) = self.state.step(records, &mut Vec::new(), &mut self.held.bytes);
            if !matches!(step, Step::On) {
                return;
            }
        }
    }
}

/// Missing bytes of the first record in `kept`: of its head, or of its body.
fn missing_len(kept: &[u8]) -> usize {
    let Some(&[_, _, _, high, low]) = kept.first_chunk() else { return HEAD_LEN - kept.len() };
    (HEAD_LEN + usize::from(u16::from_be_bytes([high, low]))).saturating_sub(kept.len())
}

#[cfg(test)]
mod tests;
