//! A task polled by hand, on a socket that never calls itself writable.

mod layers;
mod masked;

use std::io::{self, IoSlice, Write};
use std::os::unix::net;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, Weak};
use std::task::Waker;
use std::thread;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::base::ids::{Kind, ServerId};
use crate::clock::Clock;
use crate::config::check::Checked;
use crate::config::options::{ConnectionType, Options};
use crate::conn::Wire;
use crate::conn::frames::Frames;
use crate::deliver::listing_ns;
use crate::registry::Registry;
use crate::route::mesh::Mesh;

/// Takes everything, and appends more with each write, as long as there is more.
#[derive(Default)]
struct BusyWire {
    conn: OnceLock<Weak<Conn>>,
    to_come: AtomicUsize,
    taken: AtomicUsize,
}

impl Wire for BusyWire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        self.taken.fetch_add(len, Ordering::SeqCst);
        if self.to_come.load(Ordering::SeqCst) > 0 {
            self.to_come.fetch_sub(1, Ordering::SeqCst);
            self.conn.get().and_then(Weak::upgrade).unwrap().append(b"more");
        }
        Ok(len)
    }
}

/// A server without connections; in a cluster if it has settings of one.
fn new_shared(mut options: Options) -> Arc<Shared> {
    let id = ServerId::new(&format!("N{}", "A".repeat(55))).unwrap();
    let clustered = options.cluster.is_some();
    let registry = Arc::new(Registry::new(id, Checked::new(&mut options, None).unwrap()));
    let mesh = clustered.then(|| Mesh::new(Arc::clone(&registry), 1));
    Arc::new(Shared::new(registry, mesh, Clock::start()))
}

/// The task of a client of a server that has no other.
fn new_drive(stream: Arc<Stream>, wire: Arc<dyn Wire>) -> Drive<Client> {
    add_drive(new_shared(Options::default()), stream, wire)
}

/// The task of one more client.
fn add_drive(shared: Arc<Shared>, stream: Arc<Stream>, wire: Arc<dyn Wire>) -> Drive<Client> {
    let (registry, now) = (&shared.registry, shared.clock.now());
    let conn = registry.add(|cid, slot| Conn::new(cid, Kind::Client, slot, None, now, wire));
    let registry = Arc::clone(registry);
    let client = Client::new(registry, conn, ConnectionType::Standard, Box::default());
    Drive::new(shared, stream, client, false)
}

/// A stream for a task, and its other end.
fn local_stream() -> (Arc<Stream>, net::UnixStream) {
    let (ours, theirs) = net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Arc::new(Stream::Local(UnixStream::from_std(ours).unwrap())), theirs)
}

/// Regression: a thread that writes for others hands a connection over after some rounds, with a
/// full socket or not. Its owner then waited for the socket before it tried to write: no event
/// came, and the bytes stayed pending.
#[tokio::test]
async fn what_is_handed_over_is_written_before_the_socket_is_waited_for() {
    let (mut ours, _theirs) = net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 4096]).is_ok() {}
    let stream = Arc::new(Stream::Local(UnixStream::from_std(ours).unwrap()));
    let wire = Arc::new(BusyWire::default());
    let mut drive = new_drive(stream, Arc::clone(&wire) as Arc<dyn Wire>);
    let (conn, shared) = (Arc::clone(drive.conn()), Arc::clone(&drive.shared));
    wire.conn.set(Arc::downgrade(&conn)).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut drive).poll(&mut cx).is_pending());

    let before = wire.taken.load(Ordering::SeqCst);
    wire.to_come.store(20, Ordering::SeqCst);
    conn.send(&Frames::from(b"first").with_msgs(1, 5), &shared.registry.settings().policy);
    assert!(conn.progress().blocked, "handed over after some rounds");
    // A task that does not wait comes again by itself as long as there are bytes to write.
    for _ in 0..3 {
        assert!(Pin::new(&mut drive).poll(&mut cx).is_pending());
    }
    assert!(!conn.progress().blocked);
    assert_eq!(wire.taken.load(Ordering::SeqCst) - before, 5 + 20 * 4);
}

/// Nothing but its alarm wakes a connection that is held for a few bytes.
#[tokio::test]
async fn a_connection_is_read_when_its_hold_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = Arc::new(Stream::Tcp(listener.accept().await.unwrap().0));
    let mut drive = new_drive(Arc::clone(&stream), stream);
    let mut cx = Context::from_waker(Waker::noop());
    let mut reads = CoalescedReads::new(&mut cx, Moment::START, 0);
    let mut turn = || {
        let parts = (&*drive.stream, &mut drive.pace);
        reads.handle_reads(&mut cx, parts, (Moment::START, 1), || 0);
        reads.is_holding()
    };
    while !turn() {}
    drive.extras().coalescing = Some(Box::new(reads));
    let task = tokio::spawn(drive);

    let mut line = String::new();
    theirs.write_all(b"PING\r\n").await.unwrap();
    let mut theirs = BufReader::new(theirs);
    theirs.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("INFO {"), "{line}");
    line.clear();
    theirs.read_line(&mut line).await.unwrap();
    assert_eq!(line, "PONG\r\n");
    drop(theirs);
    task.await.unwrap();
}

/// One read may need much work: it is handled in turns, and the task comes again by itself.
#[tokio::test]
async fn a_read_that_takes_long_is_handled_in_turns() {
    const COUNT: usize = 3_000;
    let (stream, mut theirs) = local_stream();
    let mut drive = new_drive(Arc::clone(&stream), stream);
    let conn = Arc::clone(drive.conn());
    let lines: String = (0..COUNT).map(|sid| format!("SUB turns.{sid} {sid}\r\n")).collect();
    theirs.write_all(lines.as_bytes()).unwrap();
    let per_turn = LONG_TURN.work_ns_max / listing_ns(b"turns.0") + 1;
    let mut handled = 0;
    while handled < COUNT {
        tokio::task::yield_now().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut drive).poll(&mut cx).is_pending());
        let before = std::mem::replace(&mut handled, conn.subscriptions().len());
        assert!(handled - before <= per_turn, "{before} to {handled}");
        let goes_on = drive.extras.as_ref().is_some_and(|extras| extras.lane.is_some());
        assert!(handled == 0 || goes_on, "at {handled}");
    }
    assert!(per_turn * 2 < COUNT);
}

/// A message reaches all receivers, although its publisher was closed when only some had got it.
#[tokio::test]
async fn who_publishes_and_is_closed_is_heard_by_all() {
    const COUNT: u64 = 20_000;
    let (stream, mut theirs) = local_stream();
    let mut reader = new_drive(stream, Arc::new(BusyWire::default()));
    let lines: String = (0..COUNT).map(|sid| format!("SUB many {sid}\r\n")).collect();
    let writing = thread::spawn(move || {
        theirs.write_all(lines.as_bytes()).unwrap();
        theirs
    });
    let poll = async |drive: &mut Drive<Client>| {
        tokio::task::yield_now().await;
        Pin::new(drive).poll(&mut Context::from_waker(Waker::noop()))
    };
    while reader.conn().subscriptions().len() < COUNT as usize || reader.extras.is_some() {
        assert!(poll(&mut reader).await.is_pending());
    }
    let _theirs = writing.join().unwrap();

    let (stream, mut theirs) = local_stream();
    let shared = Arc::clone(&reader.shared);
    let mut publisher = add_drive(shared, Arc::clone(&stream), stream);
    theirs.write_all(b"PUB many 2\r\nhi\r\n").unwrap();
    let got = || reader.conn().traffic().out_msgs;
    while got() == 0 {
        assert!(poll(&mut publisher).await.is_pending());
    }
    assert!(got() < COUNT, "it takes several turns");
    publisher.conn().close(ClosedReason::WriteError, true);
    drop(theirs);
    while poll(&mut publisher).await.is_pending() {}
    assert_eq!(got(), COUNT);
}

/// Settings are replaced as a whole while clients publish: the next turn uses the new ones.
#[tokio::test]
async fn settings_are_replaced_under_traffic() {
    const MESSAGES: usize = 2_000;
    let (stream, theirs) = local_stream();
    let drive = new_drive(Arc::clone(&stream), stream);
    let registry = Arc::clone(&drive.shared.registry);
    let conn = Arc::clone(drive.conn());
    let task = tokio::spawn(drive);
    theirs.set_nonblocking(true).unwrap();
    let (mut reader, mut writer) = UnixStream::from_std(theirs).unwrap().into_split();
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        text
    });
    let connect = "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nSUB a 1\r\n";
    writer.write_all(connect.as_bytes()).await.unwrap();
    for n in 0..MESSAGES {
        writer.write_all(b"PUB a 5\r\nhello\r\n").await.unwrap();
        if n % 100 == 0 {
            let max_pending = Options::default().max_pending + n;
            registry.change_settings(Options { max_pending, ..Options::default() });
        }
    }
    while conn.traffic().out_msgs < MESSAGES as u64 {
        tokio::task::yield_now().await;
    }
    registry.change_settings(Options { max_payload: 4, ..Options::default() });
    writer.write_all(b"PUB a 5\r\nhello\r\n").await.unwrap();
    task.await.unwrap();
    let text = reading.await.unwrap();
    assert_eq!(text.matches("MSG a 1 5\r\nhello\r\n").count(), MESSAGES);
    assert!(text.ends_with("-ERR 'Maximum Payload Violation'\r\n"), "{text}");
    assert_eq!(registry.settings().version, 21);
}
