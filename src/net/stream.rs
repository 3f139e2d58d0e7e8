//! The socket of a connection: the owning task reads from it, any thread writes to it.
//!
//! One allocation, shared; no halves with owners of their own. A read that does not fill the buffer
//! has drained the socket, and tokio learns that at once: so a wake-up costs one system call for
//! reading and not two. Writing goes through `try_write`, from any thread. The kernel reports a
//! full socket writable only when a third of its buffer is free, and tokio does not try before; so
//! a write refused by tokio is tried once more without it.

use std::ffi::c_int;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::conn::Wire;
use crate::net::inbox::Inbox;

/// Bytes that must have arrived before the kernel reports the socket readable.
#[derive(Clone, Copy)]
struct LowWater;

type SetInt<'a> = SetStruct<'a, c_int>;

nix::setsockopt_impl!(LowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, c_int, SetInt<'_>);

/// The socket of one connection.
pub(crate) enum Stream {
    /// A client or a route over TCP.
    Tcp(TcpStream),
    /// A client within the process.
    Local(UnixStream),
    /// The server's own client.
    Inbox(Box<Inbox>),
}

// Each connection has one: the inbox of the server's own client, which is larger, is boxed for it.
const _: () = assert!(size_of::<Stream>() <= 48);

impl Stream {
    /// Reads into `buf`, or wakes the task when there are bytes to read. 0 at the end.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Stream::Inbox(inbox) = self {
            return inbox.poll_read(cx, buf).map(Ok);
        }
        loop {
            let mut read = None;
            let receive = |socket: &SockRef<'_>| receive(socket, buf, &mut read);
            let drained = ready!(self.poll_readable(cx, receive));
            match (read, drained) {
                (Some(len), _) => return Poll::Ready(Ok(len)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }

    /// Ready if the other side has ended and all bytes are read. Else wakes the task when bytes
    /// arrive, but not for bytes that are there already.
    pub(crate) fn poll_eof(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut next = [MaybeUninit::uninit()];
        loop {
            match ready!(self.poll_readable(cx, |socket| socket.peek(&mut next))) {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Ready with the result of `attempt` when there may be bytes to read; after `WouldBlock` tokio
    /// waits for new ones.
    #[inline]
    fn poll_readable<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&SockRef<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match self {
            Stream::Tcp(stream) => {
                ready!(stream.poll_read_ready(cx))?;
                let attempt = || attempt(&SockRef::from(stream));
                Poll::Ready(stream.try_io(Interest::READABLE, attempt))
            }
            Stream::Local(stream) => {
                ready!(stream.poll_read_ready(cx))?;
                let attempt = || attempt(&SockRef::from(stream));
                Poll::Ready(stream.try_io(Interest::READABLE, attempt))
            }
            Stream::Inbox(_) => Poll::Pending,
        }
    }

    /// Sets SO_RCVLOWAT: the socket becomes readable only once `len` bytes, or the end, have
    /// arrived.
    ///
    /// # Errors
    /// Those of the kernel, and for a client within the process, whose socket does not support it.
    pub(crate) fn set_low_water(&self, len: usize) -> io::Result<()> {
        let len = c_int::try_from(len).map_err(io::Error::other)?;
        match self {
            Stream::Tcp(stream) => Ok(setsockopt(stream, LowWater, &len)?),
            Stream::Local(_) | Stream::Inbox(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Resets the connection: the other side learns that its last bytes were not read. Bytes on
    /// their way to it are lost.
    pub(crate) fn reset(&self) {
        if let Stream::Tcp(stream) = self {
            // It fails only if the other side has ended.
            let _ = rustix::net::connect_unspec(stream);
        }
    }

    /// Ready when the socket may take more; else wakes the task then.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Local(stream) => stream.poll_write_ready(cx),
            Stream::Inbox(inbox) => inbox.poll_write_ready().map(Ok),
        }
    }

    /// Ends our half of the stream: the other side sees its end after the last bytes.
    pub(crate) fn end(&self) {
        // It fails only if the other side has ended.
        let _ = match self {
            Stream::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Stream::Local(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Stream::Inbox(inbox) => return inbox.end(),
        };
    }
}

impl Drop for Stream {
    /// Ends the stream before it is closed: so a client whose last bytes are not read sees its end
    /// after the last bytes, and no reset.
    fn drop(&mut self) {
        self.end();
    }
}

impl Wire for Stream {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match (self, slices) {
            (Stream::Tcp(stream), [one]) => stream.try_write(one),
            (Stream::Tcp(stream), many) => stream.try_write_vectored(many),
            (Stream::Local(stream), many) => stream.try_write_vectored(many),
            (Stream::Inbox(inbox), many) => inbox.try_write(many),
        };
        match (written, self) {
            (Err(error), Stream::Tcp(stream)) if error.kind() == io::ErrorKind::WouldBlock => {
                SockRef::from(stream).send_vectored(slices)
            }
            (written, _) => written,
        }
    }
}

/// Receives once. After `WouldBlock` tokio takes the socket as not readable: so this is also the
/// result of a read that leaves room in `buf`; its length is in `read`.
fn receive(socket: &SockRef<'_>, buf: &mut [u8], read: &mut Option<usize>) -> io::Result<()> {
    let len = Read::read(&mut &**socket, buf)?;
    *read = Some(len);
    // At the end of the stream it stays readable.
    if (1..buf.len()).contains(&len) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{RecvFlags, recv};
    use tokio::net::TcpListener;

    use super::*;

    /// True if the kernel would wake the task now.
    fn is_readable(stream: &Stream) -> bool {
        let Stream::Tcp(stream) = stream else { unreachable!("only TCP is tested here") };
        let mut fds = [PollFd::new(stream, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    /// Waits until `len` bytes have arrived, without a wake-up.
    async fn wait_for(stream: &Stream, len: usize) {
        let Stream::Tcp(stream) = stream else { unreachable!("only TCP is tested here") };
        let mut buf = [0; 2048];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        while recv(stream, &mut buf, flags).map_or(0, |(_, there)| there) < len {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nobody_is_woken_below_the_low_water_mark() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut theirs = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = Stream::Tcp(listener.accept().await.unwrap().0);
        stream.set_low_water(1000).unwrap();
        theirs.write_all(&[b'x'; 999]).unwrap();
        wait_for(&stream, 999).await;
        assert!(!is_readable(&stream), "one is missing");
        theirs.write_all(b"x").unwrap();
        wait_for(&stream, 1000).await;
        assert!(is_readable(&stream));

        stream.set_low_water(2000).unwrap();
        assert!(!is_readable(&stream), "1000 are missing");
        stream.set_low_water(1).unwrap();
        assert!(is_readable(&stream));

        stream.set_low_water(2000).unwrap();
        drop(theirs);
        while !is_readable(&stream) {
            tokio::task::yield_now().await;
        }
    }
}
