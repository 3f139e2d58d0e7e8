//! `Requests`: the HTTP requests of one connection, one after the other.
//!
//! Knows neither pages nor upgrades, and no time.
//! nats: Go's net/http `conn.serve`

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::codec::http_head::{Headers, Rejected, RequestHead, head_len, is_hopeless};
use crate::net::transport::Transport;

/// Longest request line with its headers, bytes.
pub(super) const HEAD_LEN_MAX: usize = 16 * 1024;

/// Longest body that is skipped for the sake of the next request, bytes.
pub(super) const BODY_LEN_MAX: u64 = 256 * 1024;

/// Time for the other side to take a short answer, or a piece of a list.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// The requests of one connection.
pub(super) struct Requests {
    transport: Transport,
    /// Read and not handled.
    input: Vec<u8>,
    /// Bytes of it that were searched for the end of a head.
    searched: usize,
}

/// A request, and the result of a look at its header lines.
pub(super) type Request<T> = Result<(RequestHead, T), Rejected>;

impl Requests {
    pub(super) fn new(transport: Transport) -> Requests {
        Requests { transport, input: Vec::new(), searched: 0 }
    }

    /// Reads a request with its body, which is dropped; none after the last one.
    pub(super) async fn next<T>(
        &mut self,
        look: impl FnOnce(&RequestHead, &Headers<'_>) -> T,
    ) -> io::Result<Option<Request<T>>> {
        let len = loop {
            if let Some(len) = head_len(&self.input, self.searched) {
                break len;
            }
            // TLS, for example, or NATS. The end of such a head may never come.
            if self.input.first().is_some_and(u8::is_ascii_control) || is_hopeless(&self.input) {
                return Ok(Some(Err(Rejected::Malformed(""))));
            }
            self.searched = self.input.len();
            if self.searched > HEAD_LEN_MAX {
                return Ok(Some(Err(Rejected::TooLarge)));
            }
            if self.transport.read(&mut self.input).await? == 0 {
                return Ok(None);
            }
        };
        let mut request = RequestHead::read(&self.input[..len], look);
        self.searched = 0;
        self.input.drain(..len);
        if let Ok((request, _)) = &mut request {
            if request.body_len > BODY_LEN_MAX {
                request.keep_alive = false;
            } else if request.keep_alive {
                self.skip(request.body_len as usize).await?;
            }
        }
        Ok(Some(request))
    }

    async fn skip(&mut self, len: usize) -> io::Result<()> {
        let mut left = len;
        loop {
            let here = left.min(self.input.len());
            self.input.drain(..here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            if self.transport.read(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes an answer, or a piece of one.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(WRITE_TIME_MAX, self.transport.write_all(bytes)).await?
    }

    /// Ends the connection behind the last answer.
    pub(super) async fn hang_up(&mut self) -> io::Result<()> {
        self.transport.hang_up().await
    }

    /// Something behind the last request was read already.
    pub(super) fn has_read_on(&self) -> bool {
        !self.input.is_empty()
    }

    /// The connection behind the last request.
    pub(super) fn into_transport(self) -> Transport {
        self.transport
    }
}
