//! Writing to a connection: sockets that take little, nothing or fail, many senders, and its end.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::base::closed_reason::ClosedReason;
use crate::base::limits::STALL_PATIENCE;
use crate::conn::flush::{FLUSH_ROUNDS_MAX, STALLED_COUNT_MAX};
use crate::conn::frames::Frames;
use crate::conn::outbound::{Policy, SHARED_LEN_MIN};

/// Time that a test waits for an event that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

const POLICY: Policy = Policy { pending_bytes_max: 1 << 20, drop_when_lagging: false };

/// A socket of the test: the bytes that it took, and the number that it takes next.
struct TestWire {
    taken: Mutex<Vec<u8>>,
    /// Bytes that it takes before it is full.
    room: AtomicUsize,
    broken: AtomicBool,
    /// Takes a random part of the offered bytes, sometimes nothing.
    random: Option<Mutex<fastrand::Rng>>,
}

impl TestWire {
    fn new(room: usize) -> Arc<TestWire> {
        TestWire::with(room, None)
    }

    fn with(room: usize, seed: Option<u64>) -> Arc<TestWire> {
        Arc::new(TestWire {
            taken: Mutex::default(),
            room: AtomicUsize::new(room),
            broken: AtomicBool::new(false),
            random: seed.map(|seed| Mutex::new(fastrand::Rng::with_seed(seed))),
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.lock().clone()).unwrap()
    }

    fn set_room(&self, room: usize) {
        self.room.store(room, Ordering::SeqCst);
    }
}

impl Wire for TestWire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(!all.is_empty(), "a write of nothing");
        let mut taken = self.taken.lock();
        let room = self.room.load(Ordering::SeqCst);
        let mut len = all.len().min(room);
        if let Some(random) = &self.random {
            let mut random = random.lock();
            len = if random.u8(..4) == 0 { 0 } else { random.usize(..=len) };
        }
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.store(room - len, Ordering::SeqCst);
        taken.extend_from_slice(&all[..len]);
        drop(taken);
        // Other threads run between a write and the handling of its result.
        if self.random.is_some() {
            thread::yield_now();
        }
        Ok(len)
    }
}

/// A waker that counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

fn conn_on(wire: &Arc<TestWire>) -> (Arc<Conn>, Arc<Wakes>) {
    let slot = Slot { number: 0, free: Arc::default() };
    let wire = Arc::clone(wire) as Arc<dyn Wire>;
    let conn = Conn::new(Cid(1), Kind::Client, slot, None, Moment::START, wire);
    let wakes = Arc::new(Wakes::default());
    conn.set_owner(&Waker::from(Arc::clone(&wakes)));
    (Arc::new(conn), wakes)
}

/// Frames of one message, as long as they are.
fn message(frames: &(impl AsRef<[u8]> + ?Sized)) -> Frames<'_> {
    Frames::from(frames).with_msgs(1, frames.as_ref().len() as u64)
}

fn send(conn: &Conn, frames: &str) -> Sent {
    conn.send(&message(frames), &POLICY)
}

/// Pending bytes, and true if they wait for the owner.
fn pending(conn: &Conn) -> (usize, bool) {
    let Progress { pending_bytes, blocked, .. } = conn.progress();
    (pending_bytes, blocked)
}

#[test]
fn an_idle_connection_is_written_at_once() {
    let wire = TestWire::new(usize::MAX);
    let (conn, wakes) = conn_on(&wire);
    assert_eq!(send(&conn, "one"), Sent::Done);
    assert_eq!(send(&conn, "two"), Sent::Done);
    assert_eq!((wire.text(), pending(&conn), wakes.take()), ("onetwo".into(), (0, false), 0));
    assert_eq!(conn.received().out_msgs, 2);
}

#[test]
fn what_the_socket_does_not_take_is_left_to_the_owner() {
    for room in 0..3 {
        let wire = TestWire::new(room);
        let (conn, wakes) = conn_on(&wire);
        assert_eq!(send(&conn, "one"), Sent::Done);
        assert_eq!((pending(&conn), wakes.take()), ((3 - room, true), 1));
        wire.set_room(100);
        assert_eq!(send(&conn, "two"), Sent::Done);
        assert_eq!(pending(&conn), (6 - room, true), "nobody overtakes");
        assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Idle);
        assert_eq!((wire.text(), pending(&conn)), ("onetwo".into(), (0, false)));
        assert_eq!(send(&conn, "three"), Sent::Done);
        assert_eq!(wire.text(), "onetwothree");
    }
}

/// A socket that takes everything, while each write lets another thread append.
#[derive(Default)]
struct BusyWire {
    conn: OnceLock<Weak<Conn>>,
    writes: AtomicUsize,
}

impl Wire for BusyWire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.writes.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let conn = self.conn.get().and_then(Weak::upgrade).unwrap();
        assert_eq!(send(&conn, "more"), Sent::Done);
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

#[test]
fn the_owner_lets_others_have_their_turn() {
    let wire = Arc::new(BusyWire::default());
    let slot = Slot { number: 0, free: Arc::default() };
    let shared = Arc::clone(&wire) as Arc<dyn Wire>;
    let conn = Arc::new(Conn::new(Cid(1), Kind::Client, slot, None, Moment::START, shared));
    wire.conn.set(Arc::downgrade(&conn)).unwrap();
    assert_eq!(send(&conn, "first"), Sent::Done);
    for turn in 1..=3 {
        assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Part);
        assert_eq!(wire.writes.load(Ordering::SeqCst), 1 + turn * FLUSH_ROUNDS_MAX);
        assert_eq!(pending(&conn), (4, true));
    }
}

#[test]
fn the_owner_goes_on_where_the_socket_stopped() {
    let wire = TestWire::new(1);
    let (conn, _) = conn_on(&wire);
    send(&conn, "0123456789");
    for room in [1, 0, 3, 2, 1] {
        wire.set_room(room);
        assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Blocked);
    }
    assert_eq!((wire.text(), pending(&conn)), ("01234567".into(), (2, true)));
    send(&conn, "abc");
    wire.set_room(100);
    assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Idle);
    assert_eq!(wire.text(), "0123456789abc");
}

#[test]
fn a_socket_that_fails_ends_the_connection() {
    let wire = TestWire::new(0);
    let (conn, wakes) = conn_on(&wire);
    send(&conn, "waits");
    wakes.take();
    wire.broken.store(true, Ordering::SeqCst);
    assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Failed);
    assert_eq!(conn.closed(), Some(ClosedReason::WriteError));
    assert_eq!((conn.progress().pending_bytes, send(&conn, "x")), (0, Sent::Closed));
    assert!(wakes.take() > 0);

    let (conn, wakes) = conn_on(&wire);
    assert_eq!(send(&conn, "x"), Sent::Closed);
    assert_eq!(conn.closed(), Some(ClosedReason::WriteError));
    assert!(wakes.take() > 0);
}

#[test]
fn who_lets_too_much_wait_is_closed() {
    let policy = Policy { pending_bytes_max: 1000, ..POLICY };
    let wire = TestWire::new(0);
    let (conn, wakes) = conn_on(&wire);
    let send = |len| conn.send(&message(&vec![b'x'; len]), &policy);
    assert_eq!([send(700), send(100), send(100)], [Sent::Done, Sent::Done, Sent::Stall]);
    wakes.take();
    assert_eq!(send(101), Sent::SlowConsumer);
    assert_eq!(conn.closed(), Some(ClosedReason::SlowConsumerPendingBytes));
    assert_eq!((pending(&conn).0, wakes.take(), send(1)), (0, 1, Sent::Closed));

    // One frame beyond the limit may pass if the socket takes it.
    let wire = TestWire::new(1500);
    let (conn, _) = conn_on(&wire);
    let send = |len| conn.send(&message(&vec![b'x'; len]), &policy);
    assert_eq!([send(1200), send(1200), send(100)], [Sent::Done, Sent::Done, Sent::Stall]);
    let (conn, _) = conn_on(&TestWire::new(100));
    let sent = conn.send(&message(&[b'x'; 1200]), &policy);
    assert_eq!((sent, pending(&conn).0), (Sent::SlowConsumer, 0));
}

#[test]
fn messages_are_dropped_where_publishers_are_not_stalled_but_answers_are_not() {
    let policy = Policy { pending_bytes_max: 1000, drop_when_lagging: true };
    let (conn, _) = conn_on(&TestWire::new(0));
    assert_eq!(conn.send(&message(&[b'x'; 800]), &policy), Sent::Done);
    assert_eq!(conn.send(&message(b"MSG"), &policy), Sent::Dropped);
    assert_eq!(conn.send(&Frames::from(b"PONG"), &policy), Sent::Done);
    assert_eq!((conn.received().out_msgs, pending(&conn).0), (1, 804));
}

#[test]
fn what_is_pending_at_the_end_is_written_or_discarded() {
    let wire = TestWire::new(1);
    let (conn, wakes) = conn_on(&wire);
    send(&conn, "bye");
    wakes.take();
    conn.close(ClosedReason::ClientClosed, false);
    conn.close(ClosedReason::ReadError, false);
    assert_eq!(conn.closed(), Some(ClosedReason::ClientClosed), "the first reason stays");
    assert_eq!((send(&conn, "more"), wakes.take()), (Sent::Closed, 2));
    wire.set_room(100);
    assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Idle);
    assert_eq!((wire.text(), pending(&conn)), ("bye".into(), (0, false)));

    let wire = TestWire::new(1);
    let (conn, _) = conn_on(&wire);
    send(&conn, "bye");
    conn.close(ClosedReason::ReadError, true);
    wire.set_room(100);
    assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Idle);
    assert_eq!((wire.text(), pending(&conn)), ("b".into(), (0, false)));
    conn.hang_up();
    assert_eq!(Arc::strong_count(&wire), 1, "the socket is let go");
}

/// Regression: each pause of a publisher left one more waker until the receiver had caught up.
#[test]
fn a_publisher_that_stalls_again_is_noted_once() {
    let policy = Policy { pending_bytes_max: 1000, ..POLICY };
    let wire = TestWire::new(0);
    let (conn, _) = conn_on(&wire);
    conn.send(&message(&[b'x'; 900]), &policy);
    let publisher = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&publisher));
    let stall = || conn.stall(&waker, &policy, Moment(1));
    for _ in 0..100 {
        assert!(stall());
    }
    assert_eq!(conn.received().stalls, 100);
    wire.set_room(100);
    conn.flush(&policy, Moment::START);
    assert_eq!(publisher.take(), 0, "still lagging");
    wire.set_room(100);
    conn.flush(&policy, Moment::START);
    assert_eq!(publisher.take(), 1);
    assert!(!stall(), "no longer lagging");
}

/// Regression: each of any number of publishers searched all the others again and again.
#[test]
fn publishers_beyond_a_number_are_not_noted() {
    let policy = Policy { pending_bytes_max: 1000, ..POLICY };
    let wire = TestWire::new(0);
    let (conn, _) = conn_on(&wire);
    conn.send(&message(&[b'x'; 900]), &policy);
    let publishers: Vec<_> = (0..1_000).map(|_| Arc::new(Wakes::default())).collect();
    for publisher in &publishers {
        assert!(conn.stall(&Waker::from(Arc::clone(publisher)), &policy, Moment(1)));
    }
    wire.set_room(900);
    conn.flush(&policy, Moment::START);
    let woken = publishers.iter().map(|publisher| publisher.take()).sum::<usize>();
    assert_eq!(woken, STALLED_COUNT_MAX);
}

/// A task that owns a connection: sleeps until a wake-up, then flushes as long as it can.
struct Owner {
    thread: thread::Thread,
    woken: AtomicBool,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Owner {
    /// Waits for a wake-up. A lost wake-up shows as a panic here.
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.woken.swap(false, Ordering::SeqCst) {
            thread::park_timeout(PATIENCE);
            assert!(Instant::now() < deadline, "a wake-up is lost");
        }
    }
}

/// The numbers of the frames that a sender's part of `text` carries, in their order.
fn numbers(text: &str, sender: usize) -> Vec<usize> {
    let prefix = format!("{sender}:");
    let own = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    own.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect()
}

/// Several threads send to one connection whose socket takes parts; its owner flushes when woken.
/// `end` closes it at some point; true discards the pending bytes.
fn send_from_threads(seed: u64, frames: usize, end: Option<bool>) {
    const SENDERS: usize = 3;
    let wire = TestWire::with(usize::MAX, Some(seed));
    let (conn, _) = conn_on(&wire);
    let owner = Arc::new(Owner { thread: thread::current(), woken: AtomicBool::new(true) });
    conn.set_owner(&Waker::from(Arc::clone(&owner)));
    let running = AtomicUsize::new(SENDERS);
    let accepted: Vec<AtomicUsize> = (0..SENDERS).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for (sender, accepted) in accepted.iter().enumerate() {
            let (conn, running) = (&conn, &running);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + 1 + sender as u64);
                for number in 0..frames {
                    let filler = "x".repeat(random.usize(..200));
                    let frame = format!("{sender}:{number} {filler}\n");
                    match conn.send(&message(&frame), &POLICY) {
                        Sent::Done | Sent::Stall => accepted.fetch_add(1, Ordering::SeqCst),
                        _ => break,
                    };
                    if number == frames / 2 && sender == 0 && end.is_some() {
                        conn.close(ClosedReason::ServerShutdown, end == Some(true));
                    }
                }
                if running.fetch_sub(1, Ordering::SeqCst) == 1 && conn.closed().is_none() {
                    conn.close(ClosedReason::ServerShutdown, false);
                }
            });
        }
        // Like the task of a connection, it ends once the connection is closed and nothing waits.
        loop {
            owner.wait();
            while conn.progress().blocked {
                if conn.flush(&POLICY, Moment::START) == Flushed::Failed {
                    break;
                }
            }
            if conn.closed().is_some() && conn.progress().pending_bytes == 0 {
                break;
            }
        }
    });
    let text = wire.text();
    for (sender, accepted) in accepted.iter().enumerate() {
        let accepted = accepted.load(Ordering::SeqCst);
        let numbers = numbers(&text, sender);
        let expected: Vec<usize> = (0..accepted).collect();
        if end == Some(true) {
            // A batch taken out to be written is only cut short.
            assert!(expected.starts_with(&numbers[..numbers.len().saturating_sub(1)]), "{seed}");
        } else {
            assert_eq!(numbers, expected, "seed {seed}, sender {sender}");
        }
    }
    if end != Some(true) {
        assert!(text.is_empty() || text.ends_with('\n'), "the last frame is whole");
        assert_eq!(conn.received().out_msgs as usize, text.lines().count());
    }
    conn.hang_up();
    assert_eq!(conn.progress().pending_bytes, 0);
}

#[test]
fn frames_of_many_senders_arrive_whole_and_in_order() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse::<u64>().unwrap());
    let end_of_play = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    for seed in 0.. {
        let end = [None, Some(false), Some(true)][seed as usize % 3];
        send_from_threads(seed * 100, 300, end);
        if Instant::now() >= end_of_play && seed >= 30 {
            break;
        }
    }
}

/// A publisher waits for a receiver that lags, not for one that never reads.
#[test]
fn a_receiver_that_takes_nothing_stalls_nobody_for_long() {
    let policy = Policy { pending_bytes_max: 1000, ..POLICY };
    let (conn, _) = conn_on(&TestWire::new(0));
    conn.send(&message(&[b'x'; 900]), &policy);
    let waker = Waker::noop();
    assert!(conn.stall(waker, &policy, Moment(1)), "its owner has not looked yet");
    assert_eq!(conn.flush(&policy, Moment(1)), Flushed::Blocked);
    assert!(conn.stall(waker, &policy, Moment(2)));
    assert!(!conn.stall(waker, &policy, Moment(1) + STALL_PATIENCE));
}

#[test]
fn what_was_appended_goes_out_with_the_next_send() {
    let wire = TestWire::new(usize::MAX);
    let (conn, wakes) = conn_on(&wire);
    conn.append(b"one ");
    assert_eq!((wire.text(), pending(&conn), wakes.take()), (String::new(), (4, false), 0));
    assert_eq!(conn.send(&Frames::NONE, &POLICY), Sent::Done);
    assert_eq!((wire.text(), pending(&conn)), ("one ".into(), (0, false)));
    conn.append(b"two ");
    assert_eq!(send(&conn, "three "), Sent::Done);
    assert_eq!(conn.send(&Frames::NONE, &POLICY), Sent::Done);
    assert_eq!((wire.text(), wakes.take()), ("one two three ".into(), 0));
}

#[test]
fn what_was_appended_is_not_forgotten_by_a_close() {
    let wire = TestWire::new(usize::MAX);
    let (conn, wakes) = conn_on(&wire);
    conn.append(b"last");
    conn.close(ClosedReason::ServerShutdown, false);
    assert_eq!((pending(&conn), wakes.take()), ((4, true), 1));
    conn.append(b"too late");
    assert_eq!(conn.send(&Frames::NONE, &POLICY), Sent::Closed);
    assert_eq!(conn.flush(&POLICY, Moment::START), Flushed::Idle);
    assert_eq!((wire.text(), pending(&conn)), ("last".into(), (0, false)));
}

#[test]
fn a_route_may_fall_further_behind_than_a_client() {
    let policy = Policy { pending_bytes_max: 1000, ..POLICY };
    for (kind, frames) in [(Kind::Client, 10), (Kind::Route, 40)] {
        let wire = TestWire::new(0);
        let free = Arc::default();
        let slot = Slot { number: 0, free };
        let conn = Conn::new(Cid(1), kind, slot, None, Moment::START, Arc::clone(&wire) as _);
        let sent =
            (0..).take_while(|_| conn.send(&message(&[b'x'; 100]), &policy) != Sent::SlowConsumer);
        assert_eq!(sent.count(), frames, "{kind}");
    }
}

/// Frames that wait for several receivers are kept once, count for each, and go out in order.
#[test]
fn shared_frames_are_not_copied() {
    for (text, refs) in [("shared".to_owned(), 1 + 1 + 1), ("s".repeat(SHARED_LEN_MIN), 1 + 2 + 2)]
    {
        shared_frames_wait(&text, refs);
    }
}

/// Two of three receivers wait for frames that are shared, and behind them for some of their own
/// and for the same ones again: these are copied if they are short.
fn shared_frames_wait(text: &str, refs: usize) {
    let frames = Arc::new(text.as_bytes().to_vec());
    let shared = Frames::shared(&frames).with_msgs(1, 6);
    let len = text.len();
    let wires = [TestWire::new(0), TestWire::new(2), TestWire::new(usize::MAX)];
    let conns = wires.each_ref().map(|wire| conn_on(wire).0);
    for conn in &conns {
        assert_eq!(conn.send(&shared, &POLICY), Sent::Done);
        assert_eq!(send(conn, "own"), Sent::Done);
        assert_eq!(conn.send(&shared, &POLICY), Sent::Done);
    }
    assert_eq!(Arc::strong_count(&frames), refs);
    assert_eq!(conns.each_ref().map(|conn| pending(conn).0), [2 * len + 3, 2 * len + 1, 0]);
    for (conn, wire) in conns.iter().zip(&wires) {
        wire.set_room(usize::MAX);
        conn.flush(&POLICY, Moment::START);
        assert_eq!(wire.text(), format!("{text}own{text}"));
    }
    assert_eq!(Arc::strong_count(&frames), 1);
}

#[test]
fn what_is_sent_later_is_written_by_the_next_send() {
    let wire = TestWire::new(usize::MAX);
    let (conn, wakes) = conn_on(&wire);
    let later = |text: &str| conn.send_later(&message(text), &POLICY);
    assert_eq!(later("one"), Sent::Appended);
    assert_eq!(later("two"), Sent::Appended);
    assert_eq!((wire.text(), pending(&conn), wakes.take()), (String::new(), (6, false), 0));
    assert_eq!(conn.send(&Frames::NONE, &POLICY), Sent::Done);
    assert_eq!((wire.text(), pending(&conn)), ("onetwo".into(), (0, false)));
    assert_eq!(conn.send(&Frames::NONE, &POLICY), Sent::Done, "there is nothing left");

    wire.set_room(0);
    assert_eq!(send(&conn, "three"), Sent::Done);
    assert_eq!(later("four"), Sent::Done, "its owner writes");
    wire.set_room(usize::MAX);
    conn.flush(&POLICY, Moment::START);
    assert_eq!(wire.text(), "onetwothreefour");
    // An idle connection is offered at once more than its queue may hold.
    let policy = Policy { pending_bytes_max: 3, ..POLICY };
    assert_eq!(conn.send_later(&message("more"), &policy), Sent::Done);
    assert_eq!(wire.text(), "onetwothreefourmore");
}
