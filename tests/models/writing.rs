//! Writing to one connection from several threads, with a socket that takes little, and its end.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use crate::base::closed_reason::ClosedReason;
use crate::base::moment::Moment;
use crate::base::sync::Mutex;
use crate::check;
use crate::conn::flow::{Flushed, Sent, Wire};
use crate::conn::frames::Frames;
use crate::conn::outbound::Policy;
use crate::conn::{Conn, Owner};

/// A socket with a buffer that its other side empties now and then.
struct Socket(Mutex<Buffer, 0>);

#[derive(Default)]
struct Buffer {
    taken: Vec<u8>,
    /// Bytes that it still takes.
    room: usize,
}

impl Socket {
    fn new(room: usize) -> Arc<Socket> {
        let socket = Socket(Mutex::default());
        socket.0.lock().room = room;
        Arc::new(socket)
    }

    fn taken(&self) -> Vec<u8> {
        self.0.lock().taken.clone()
    }
}

impl Wire for Socket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut buffer = self.0.lock();
        let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let len = offered.len().min(buffer.room);
        buffer.taken.extend_from_slice(&offered[..len]);
        buffer.room -= len;
        if len == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }
}

fn send(conn: &Conn, frames: &[u8]) -> Sent {
    conn.send(&Frames::from(frames), &Policy)
}

fn spawn(conn: &Arc<Conn>, act: impl Fn(&Conn) + Send + 'static) -> loom::thread::JoinHandle<()> {
    let conn = Arc::clone(conn);
    loom::thread::spawn(move || act(&conn))
}

/// The owner writes what is pending, each time that it is woken and its socket takes more.
fn write_all(conn: &Conn, owner: &Owner, socket: &Socket) {
    while conn.progress().pending_bytes > 0 {
        owner.wait();
        socket.0.lock().room = usize::MAX;
        assert_eq!(conn.flush(&Policy, Moment::START), Flushed::Idle);
    }
    assert!(!conn.progress().blocked);
}

#[test]
fn what_two_send_at_once_arrives() {
    for room in [0, 3, 4] {
        check(move || {
            let socket = Socket::new(room);
            let (conn, owner) = Conn::new(Some(Arc::clone(&socket) as Arc<dyn Wire>));
            let other = spawn(&conn, |conn| assert_eq!(send(conn, b"aa"), Sent::Done));
            assert_eq!(send(&conn, b"bb"), Sent::Done);
            other.join().unwrap();
            write_all(&conn, &owner, &socket);
            let taken = socket.taken();
            assert!(taken == b"aabb" || taken == b"bbaa", "{taken:?}");
        });
    }
}

/// Frames stay whole, whenever the other side reads.
#[test]
fn what_two_send_does_not_mix() {
    check(|| {
        let socket = Socket::new(1);
        let (conn, owner) = Conn::new(Some(Arc::clone(&socket) as Arc<dyn Wire>));
        let other = spawn(&conn, |conn| assert_eq!(send(conn, b"aa"), Sent::Done));
        let buffer = Arc::clone(&socket);
        let reader = loom::thread::spawn(move || buffer.0.lock().room = 4);
        assert_eq!(send(&conn, b"bb"), Sent::Done);
        reader.join().unwrap();
        other.join().unwrap();
        write_all(&conn, &owner, &socket);
        let taken = socket.taken();
        assert!(taken == b"aabb" || taken == b"bbaa", "{taken:?}");
    });
}

#[test]
fn what_is_sent_while_the_owner_writes_follows() {
    check(|| {
        let socket = Socket::new(0);
        let (conn, owner) = Conn::new(Some(Arc::clone(&socket) as Arc<dyn Wire>));
        send(&conn, b"a");
        socket.0.lock().room = 1;
        let other = spawn(&conn, |conn| assert_eq!(send(conn, b"b"), Sent::Done));
        conn.flush(&Policy, Moment::START);
        other.join().unwrap();
        write_all(&conn, &owner, &socket);
        assert_eq!(socket.taken(), b"ab");
    });
}

/// Two who append under a lock of theirs, and write when they have let go of it.
#[test]
fn what_was_only_appended_is_written() {
    check(|| {
        let socket = Socket::new(1);
        let (conn, owner) = Conn::new(Some(Arc::clone(&socket) as Arc<dyn Wire>));
        let append = |conn: &Conn, frames: &[u8]| {
            conn.append(frames);
            assert_eq!(send(conn, b""), Sent::Done);
        };
        let other = spawn(&conn, move |conn| append(conn, b"a"));
        append(&conn, b"b");
        other.join().unwrap();
        write_all(&conn, &owner, &socket);
        assert_eq!(socket.taken().len(), 2);
    });
}

/// A close that does not discard what waits, at any moment.
fn end(conn: &Arc<Conn>, owner: &Owner, socket: &Socket, act: impl Fn(&Conn) + Send + 'static) {
    let other = spawn(conn, act);
    conn.close(ClosedReason::ClientClosed, false);
    owner.wait();
    socket.0.lock().room = usize::MAX;
    conn.flush(&Policy, Moment::START);
    other.join().unwrap();
    write_all(conn, owner, socket);
    assert_eq!(send(conn, b"b"), Sent::Closed);
}

#[test]
fn what_was_accepted_before_the_end_is_written() {
    check(|| {
        let socket = Socket::new(1);
        let (conn, owner) = Conn::new(Some(Arc::clone(&socket) as Arc<dyn Wire>));
        let sent = Arc::new(Mutex::<_, 0>::default());
        let result = Arc::clone(&sent);
        end(&conn, &owner, &socket, move |conn| *result.lock() = Some(send(conn, b"aa")));
        let wanted: &[u8] = if *sent.lock() == Some(Sent::Done) { b"aa" } else { b"" };
        assert_eq!(socket.taken(), wanted);
    });
}

#[test]
fn what_was_appended_before_the_end_is_written() {
    check(|| {
        let socket = Socket::new(1);
        let (conn, owner) = Conn::new(Some(Arc::clone(&socket) as Arc<dyn Wire>));
        end(&conn, &owner, &socket, |conn| {
            conn.append(b"aa");
            send(conn, b"");
        });
    });
}
