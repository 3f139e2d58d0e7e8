//! The socket of a client: the owning task reads from it, anybody writes to it.
//!
//! One allocation, shared; no halves with owners of their own. A read that does not fill the buffer
//! has drained the socket, which tokio is told at once: so a wake-up costs one system call for
//! reading and not two. Writing goes through `try_write`, from any thread. The kernel calls a full
//! socket writable again only when a third of its buffer is free, and tokio does not try before; so
//! what tokio refuses is tried once more without it.

use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::conn::Wire;

/// The socket of one client.
pub(crate) enum Stream {
    /// A client over TCP.
    Tcp(TcpStream),
    /// A client within the process.
    Local(UnixStream),
}

impl Stream {
    /// Reads into `buf`, or has the task woken when there is something to read. 0 at the end.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut read = None;
            let drained = match self {
                Stream::Tcp(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, || {
                        receive(&SockRef::from(stream), buf, &mut read)
                    })
                }
                Stream::Local(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, || {
                        receive(&SockRef::from(stream), buf, &mut read)
                    })
                }
            };
            match (read, drained) {
                (Some(len), _) => return Poll::Ready(Ok(len)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }

    /// Ready when the socket may take more, else has the task woken then.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Local(stream) => stream.poll_write_ready(cx),
        }
    }
}

impl Drop for Stream {
    /// Ends the stream before it is closed: a client that has sent what nobody will read then still
    /// sees its end behind the last bytes, and not a reset.
    fn drop(&mut self) {
        // It fails only if the other side is gone already.
        let _ = match &*self {
            Stream::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Stream::Local(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        };
    }
}

impl Wire for Stream {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match (self, slices) {
            (Stream::Tcp(stream), [one]) => stream.try_write(one),
            (Stream::Tcp(stream), many) => stream.try_write_vectored(many),
            (Stream::Local(stream), many) => stream.try_write_vectored(many),
        };
        match (written, self) {
            (Err(error), Stream::Tcp(stream)) if error.kind() == io::ErrorKind::WouldBlock => {
                SockRef::from(stream).send_vectored(slices)
            }
            (written, _) => written,
        }
    }
}

/// Receives once. Tokio forgets that the socket is readable when it is told `WouldBlock`: that is
/// what it is told of a read that leaves room in `buf` too, whose length is in `read`.
fn receive(socket: &SockRef<'_>, buf: &mut [u8], read: &mut Option<usize>) -> io::Result<()> {
    let len = Read::read(&mut &**socket, buf)?;
    *read = Some(len);
    // At the end of the stream it stays readable.
    if (1..buf.len()).contains(&len) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}
