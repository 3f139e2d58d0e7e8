//! A socket in two halves: one the owning task reads from, one that anybody writes to.
//!
//! Reading goes through tokio's own `poll_read`, which knows after a short read that the socket is
//! drained and so saves a system call per wake-up. Writing goes through `try_write`, from any
//! thread.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::conn::Wire;

/// The half that the owning task reads from.
pub(crate) enum ReadHalf {
    /// A client over TCP.
    Tcp(tcp::OwnedReadHalf),
    /// A client within the process.
    Local(unix::OwnedReadHalf),
}

/// The half that publishers write to.
struct TcpWire(tcp::OwnedWriteHalf);

struct LocalWire(unix::OwnedWriteHalf);

impl Wire for TcpWire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.0.try_write(one),
            many => self.0.try_write_vectored(many),
        }
    }
}

impl Wire for LocalWire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }
}

impl ReadHalf {
    /// Splits a TCP stream.
    pub(crate) fn tcp(stream: TcpStream) -> (ReadHalf, Arc<dyn Wire>) {
        let (read, write) = stream.into_split();
        (ReadHalf::Tcp(read), Arc::new(TcpWire(write)))
    }

    /// Splits a stream within the process.
    pub(crate) fn local(stream: UnixStream) -> (ReadHalf, Arc<dyn Wire>) {
        let (read, write) = stream.into_split();
        (ReadHalf::Local(read), Arc::new(LocalWire(write)))
    }

    /// Reads into `buf`, or has the task woken when there is something to read.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            ReadHalf::Tcp(read) => Pin::new(read).poll_read(cx, buf),
            ReadHalf::Local(read) => Pin::new(read).poll_read(cx, buf),
        }
    }

    /// Ready when the socket may take more, else has the task woken then.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            ReadHalf::Tcp(read) => read.as_ref().poll_write_ready(cx),
            ReadHalf::Local(read) => read.as_ref().poll_write_ready(cx),
        }
    }
}
