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
use std::mem::take;
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

/// The type of a record with an alert.
const ALERT: u8 = 0x15;

/// Most bytes that a record adds to its content.
const RECORD_EXTRA_LEN: usize = 64;

/// Plain bytes of a written record.
const RECORD_LEN: usize = 16 * 1024;

/// Plain bytes handed on at once: several records, so that messages stand in rows.
const PIECE_LEN: usize = 64 * 1024;

/// Bytes of the queue encrypted at once.
const BATCH_LEN_MAX: usize = 64 * 1024;

/// Most bytes kept of an incomplete message or record; before the login the server keeps no more.
/// There is room for the longest message that the library takes, 64 KiB, in records.
const KEPT_LEN_MAX: usize = 68 * 1024;

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
    /// Bytes of `kept` in complete records, as far as that was looked at.
    whole_len: usize,
    /// True if the other side has ended its stream.
    ended: bool,
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
}

impl Encrypted {
    /// A connection in that state; the next `clear_len` bytes are written in the clear.
    pub(crate) fn new(below: Arc<dyn Wire>, state: State, clear_len: usize) -> Encrypted {
        let held = Held::new(clear_len, 0);
        Encrypted { below, session: Mutex::new(Session::new(state, held)) }
    }
}

impl Wire for Encrypted {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.lock();
        let Session { state, held, kept, broken, .. } = &mut *session;
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

    /// Goes on with the handshake, and takes what it reads off `input`; the side that dials begins
    /// it without input. Returns its result when it is done; the rest is for the layer.
    ///
    /// # Errors
    /// [`Failure`]; the alert for the other side is held.
    pub(crate) fn handshake(
        &mut self,
        input: &mut &[u8],
        port: &TlsPort,
    ) -> Result<Option<Agreed>, Failure> {
        let mut session = self.wire.session.lock();
        loop {
            let len = session.keep(input).map_err(Failure::Tls)?;
            *input = &input[len..];
            // The library overlooks an end that is not encrypted.
            if matches!(session.kept[..], [ALERT, _, _, 0, 2, _, 0]) {
                return Err(Failure::Ended);
            }
            session.read_kept(&mut self.plain).map_err(Failure::Tls)?;
            if !session.state.is_handshaking() {
                break;
            }
            if input.is_empty() {
                return Ok(None);
            }
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
        Ok(Some(Agreed { version, suite }))
    }
}

impl Inflow for Decrypted {
    fn next_piece<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Next<'a>, LayerError> {
        self.plain.clear();
        let mut session = self.wire.session.lock();
        let used = session.read(input, &mut self.plain).map_err(|error| {
            let text = format!("read error: {}", Failure::Tls(error));
            LayerError { reason: ClosedReason::ReadError, text }
        })?;
        if !self.plain.is_empty() {
            return Ok(Next::Piece(&mut self.plain, used));
        }
        session.kept.shrink_to_fit();
        self.plain = Vec::new();
        if session.ended { Ok(Next::End) } else { Ok(Next::Missing) }
    }

    fn end(&mut self, _reason: ClosedReason) {
        let mut session = self.wire.session.lock();
        let Session { state, held, kept, broken, .. } = &mut *session;
        if !*broken {
            state.end(kept, &mut held.bytes);
        }
    }
}

impl Session {
    fn new(state: State, held: Held) -> Session {
        Session { state, held, kept: Vec::new(), whole_len: 0, ended: false, broken: false }
    }

    /// Reads the complete records of `input`, after the kept bytes, up to a piece or to the end of
    /// the stream. Keeps the start of an incomplete one. Returns the number of bytes used up.
    fn read(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        let mut used = 0;
        while !self.kept.is_empty() && used < input.len() && !self.is_read(plain) {
            used += self.keep(&input[used..])?;
            if self.is_whole() {
                self.read_kept(plain)?;
            }
        }
        if !self.kept.is_empty() || used == input.len() || self.is_read(plain) {
            return Ok(used);
        }
        used += self.read_records(&mut input[used..], plain)?;
        if !self.is_read(plain) {
            self.kept.extend_from_slice(&input[used..]);
            used = input.len();
        }
        Ok(used)
    }

    /// True if nothing more may be read for now: there is a piece, or the end.
    fn is_read(&self, plain: &[u8]) -> bool {
        self.ended || plain.len() >= PIECE_LEN
    }

    /// Keeps the first bytes of `input`, up to the end of a record or of its head, and returns
    /// their number.
    fn keep(&mut self, input: &[u8]) -> Result<usize, Error> {
        let len = self.missing_len().min(input.len());
        self.kept.extend_from_slice(&input[..len]);
        if self.kept.len() > KEPT_LEN_MAX {
            self.broken = true;
            return Err(Error::General("a message that never ends".to_owned()));
        }
        Ok(len)
    }

    /// Missing bytes of the first incomplete record, kept or not: of its head, or of its body.
    fn missing_len(&mut self) -> usize {
        loop {
            let record = &self.kept[self.whole_len..];
            let Some(&[_, _, _, high, low]) = record.first_chunk() else {
                return HEAD_LEN - record.len();
            };
            let len = HEAD_LEN + usize::from(u16::from_be_bytes([high, low]));
            if record.len() < len {
                return len - record.len();
            }
            self.whole_len += len;
        }
    }

    /// True if all kept records are complete.
    fn is_whole(&mut self) -> bool {
        self.missing_len();
        self.whole_len == self.kept.len()
    }

    /// Reads the complete records of the kept bytes.
    fn read_kept(&mut self, plain: &mut Vec<u8>) -> Result<(), Error> {
        let (mut kept, whole_len) = (take(&mut self.kept), take(&mut self.whole_len));
        let used = self.read_records(&mut kept, plain)?;
        kept.drain(..used);
        self.kept = kept;
        self.whole_len = whole_len.saturating_sub(used);
        Ok(())
    }

    /// Reads complete records, and appends their content to `plain`, up to a piece or to the end of
    /// the stream. Returns the number of bytes used up.
    fn read_records(&mut self, records: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let (len, step) = self.state.step(&mut records[used..], plain, &mut self.held.bytes);
            used += len;
            match step {
                Step::On if plain.len() < PIECE_LEN => {}
                Step::On | Step::Waits => return Ok(used),
                Step::Ended => {
                    self.ended = true;
                    return Ok(used);
                }
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

#[cfg(test)]
mod tests;
