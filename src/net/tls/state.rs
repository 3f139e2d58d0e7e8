//! `State`: the library's state of one connection, on the side that accepts or on the one that
//! dials.
//!
//! The library has a type for each side. Here alone they are told apart.

use std::io::{self, IoSlice};
use std::ops::Deref;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error};

use crate::net::tls::{BATCH_LEN_MAX, RECORD_EXTRA_LEN, RECORD_LEN};

/// The state of one connection.
pub(crate) enum State {
    Accepting(UnbufferedServerConnection),
    Dialling(UnbufferedClientConnection),
}

/// The outcome of showing records to the library.
pub(super) enum Step {
    /// There may be more to read or to say.
    On,
    /// It waits for the other side, or for bytes to encrypt.
    Waits,
    /// The other side has ended its stream.
    Ended,
    Failed(Error),
}

impl State {
    /// Reads the first of these records that have a result, and appends their content to `plain`;
    /// or appends to `out` something that the library has to say. Returns the number of bytes used
    /// up.
    pub(super) fn step(
        &mut self,
        records: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (usize, Step) {
        match self {
            State::Accepting(state) => step(state.process_tls_records(records), plain, out),
            State::Dialling(state) => step(state.process_tls_records(records), plain, out),
        }
    }

    /// Appends records of the first bytes of `slices`, and returns their number. The `kept` bytes,
    /// no complete record, are only shown again.
    pub(super) fn encrypt(
        &mut self,
        kept: &mut [u8],
        slices: &[IoSlice<'_>],
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        loop {
            let encrypted = match self {
                State::Accepting(state) => encrypt(state.process_tls_records(kept), slices, out),
                State::Dialling(state) => encrypt(state.process_tls_records(kept), slices, out),
            };
            if let Some(len) = encrypted? {
                return Ok(len);
            }
        }
    }

    /// Appends the end of our stream. The `kept` bytes are shown again, as in
    /// [`encrypt`](State::encrypt).
    pub(super) fn end(&mut self, kept: &mut [u8], out: &mut Vec<u8>) {
        match self {
            State::Accepting(state) => end(state.process_tls_records(kept), out),
            State::Dialling(state) => end(state.process_tls_records(kept), out),
        }
    }
}

/// Everything that does not depend on the side.
impl Deref for State {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            State::Accepting(state) => state,
            State::Dialling(state) => state,
        }
    }
}

fn step<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, Step) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Step::On,
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Step::Failed(error),
            }
        },
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::Ended,
        Ok(state) => match say(state, out) {
            true => Step::On,
            false => Step::Waits,
        },
        Err(error) => Step::Failed(error),
    };
    (discard, step)
}

/// None if the library has to be asked again.
fn encrypt<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    slices: &[IoSlice<'_>],
    out: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    // None of the kept bytes is read, so none is discarded.
    let UnbufferedStatus { discard: 0, state } = status else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut traffic = match state.map_err(io::Error::other)? {
        ConnectionState::WriteTraffic(traffic) => traffic,
        ConnectionState::PeerClosed => return Ok(None),
        state @ (ConnectionState::EncodeTlsData(_) | ConnectionState::TransmitTlsData(_)) => {
            say(state, out);
            return Ok(None);
        }
        _ => return Err(io::ErrorKind::NotConnected.into()),
    };
    let mut encrypted = 0;
    for slice in slices {
        let plain = &slice[..slice.len().min(BATCH_LEN_MAX - encrypted)];
        let len_max = plain.len() + plain.len().div_ceil(RECORD_LEN) * RECORD_EXTRA_LEN;
        append(out, len_max, |out| traffic.encrypt(plain, out))
            .map_err(|error| io::Error::other(error.to_string()))?;
        encrypted += plain.len();
    }
    Ok(Some(encrypted))
}

fn end<Side>(status: UnbufferedStatus<'_, '_, Side>, out: &mut Vec<u8>) {
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
        // If it can send no more, the other side sees the end of the socket.
        let _ = append(out, RECORD_EXTRA_LEN, |out| traffic.queue_close_notify(out));
    }
}

/// Appends the library's own output. False when it waits for the other side, or for bytes to
/// encrypt.
fn say<Side>(state: ConnectionState<'_, '_, Side>, out: &mut Vec<u8>) -> bool {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                let len = out.len();
                out.resize(len + size.required_size, 0);
                data.encode(&mut out[len..]).expect("it has got the room that it asked for");
            }
            true
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            true
        }
        _ => false,
    }
}

/// Appends the output of `write`, at most `len_max` bytes.
fn append<E>(
    out: &mut Vec<u8>,
    len_max: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let len = out.len();
    out.resize(len + len_max, 0);
    let written = write(&mut out[len..]);
    out.truncate(len + written.as_ref().map_or(0, |written| *written));
    written.map(|_| ())
}
