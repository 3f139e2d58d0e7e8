//! Flows of prepared publications, the subscribers that count them, and the measured stretch.
//!
//! A [`Load`] runs one thread per flow and one per group of subscribers. Publishers never run ahead
//! of the subscribers by more than their window, so nothing depends on drops; at the end all must
//! have arrived, and a PONG on each subscriber shows that no more is to come.
//! No thread spins: it waits parked, in epoll, or asleep with the finest timer slack. While times
//! are measured, the load's threads have priority over the server's.

use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Once, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::target::Server;
use crate::wire::{Reader, SCRATCH_LEN, fault};

/// Time that subscribers may get nothing while messages are due. Late messages are no loss; they
/// show in [`Outcome::drain_seconds`].
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);

/// Interval at which a waiting thread checks whether the run is over.
const GLANCE: Duration = Duration::from_millis(100);

/// Chunks sent ahead of their PONG in a [`Pace::Confirmed`] flow.
const UNCONFIRMED_MAX: u64 = 4;

/// Publications that are written by one system call.
#[derive(Clone, Default, Debug)]
pub(crate) struct Chunk {
    /// Whole frames.
    pub(crate) bytes: Vec<u8>,
    /// Messages that the server will deliver for them, over all subscribers.
    pub(crate) deliveries: u64,
    /// Offsets in `bytes` for the time of sending: eight bytes each, first of a payload.
    pub(crate) stamps: Vec<usize>,
}

/// The timing of chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// At once while less than this many deliveries are under way.
    Window(u64),
    /// One per interval; the probe is jittered so that it does not fall in step with other flows.
    Every { interval: Duration, jitter: bool },
    /// At once, each followed by PING; messages count once the PONG confirms them (no subscriber).
    Confirmed,
}

/// A publisher.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Chunk `i` goes to stream `i` modulo their number.
    pub(crate) streams: Vec<Reader>,
    /// Sent in this order, again and again.
    pub(crate) chunks: Vec<Chunk>,
    /// Their timing.
    pub(crate) pace: Pace,
    /// Every subscriber of this flow gets the same number of messages.
    pub(crate) even: bool,
    /// Missing messages are a figure, not a fault.
    pub(crate) may_lose: bool,
}

/// A subscriber; counts the messages of one flow.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Its connection.
    pub(crate) reader: Reader,
    /// Index of the flow it listens to.
    pub(crate) flow: usize,
    /// The payloads begin with the time of sending.
    pub(crate) stamped: bool,
    /// Messages so far.
    pub(crate) messages: u64,
    /// Nanoseconds from sending to reading, of the measured stretch.
    pub(crate) latencies: Vec<u64>,
}

impl Subscriber {
    /// A subscriber that has seen nothing.
    pub(crate) fn new(reader: Reader, flow: usize) -> Self {
        Self { reader, flow, stamped: false, messages: 0, latencies: Vec::new() }
    }

    /// The same, for stamped payloads.
    pub(crate) fn stamped(reader: Reader, flow: usize) -> Self {
        Self { stamped: true, ..Self::new(reader, flow) }
    }
}

/// All that runs at the same time.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// One thread each.
    pub(crate) flows: Vec<Flow>,
    /// One thread each.
    pub(crate) receivers: Vec<Vec<Subscriber>>,
}

/// The results of a run; CPU and deliveries are those of the measured stretch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Length of the stretch.
    pub(crate) seconds: f64,
    /// CPU nanoseconds of the server.
    pub(crate) cpu_ns: f64,
    /// Deliveries (or confirmed operations) of each flow.
    pub(crate) deliveries: Vec<f64>,
    /// Latencies of all stamped subscribers, sorted.
    pub(crate) latencies: Vec<u64>,
    /// From the end of the publishers until everything had arrived.
    pub(crate) drain_seconds: f64,
    /// Messages that never came, of the flows that may lose.
    pub(crate) lost: u64,
}

/// The progress of one flow; shared by its publisher, its subscribers and the clock keeper.
#[derive(Debug)]
struct Progress {
    delivered: AtomicU64,
    sent: AtomicU64,
    /// The publisher sleeps until `delivered` is this much.
    wake_at: AtomicU64,
    publisher: OnceLock<Thread>,
}

impl Progress {
    fn new() -> Self {
        Self {
            delivered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            wake_at: AtomicU64::new(u64::MAX),
            publisher: OnceLock::new(),
        }
    }

    fn add(&self, messages: u64) {
        let delivered = self.delivered.fetch_add(messages, SeqCst) + messages;
        if delivered >= self.wake_at.load(SeqCst) {
            self.wake_at.store(u64::MAX, SeqCst);
            if let Some(publisher) = self.publisher.get() {
                publisher.unpark();
            }
        }
    }

    fn wait_for(&self, delivered: u64, run: &Run) {
        self.publisher.get_or_init(thread::current);
        self.wake_at.store(delivered, SeqCst);
        while self.delivered.load(SeqCst) < delivered && !run.stop.load(SeqCst) {
            thread::park_timeout(GLANCE);
        }
    }
}

/// The switches that all threads of a run watch.
#[derive(Debug)]
struct Run {
    epoch: Instant,
    /// Some subscriber takes times.
    timed: bool,
    measuring: AtomicBool,
    /// Publishers end.
    stop: AtomicBool,
    /// Subscribers end too.
    abandon: AtomicBool,
    pongs: AtomicU64,
}

impl Run {
    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Begins each thread of the load.
    fn begin_thread(&self) {
        sleep_exactly();
        if self.timed {
            go_first();
        }
    }

    /// Passes a result on; a failure ends the whole run.
    fn guard<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.stop.store(true, SeqCst);
            self.abandon.store(true, SeqCst);
        }
        result
    }
}

impl Load {
    /// Runs everything: a warm-up of a fifth of `stretch`, `stretch` measured, then the drain.
    ///
    /// # Errors
    /// A connection failed, or the messages received are not those sent.
    pub(crate) fn run(self, server: &Server, stretch: Duration) -> io::Result<Outcome> {
        let run = Run {
            epoch: Instant::now(),
            timed: self.receivers.iter().flatten().any(|subscriber| subscriber.stamped),
            measuring: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            abandon: AtomicBool::new(false),
            pongs: AtomicU64::new(0),
        };
        let progress: Vec<Progress> = self.flows.iter().map(|_| Progress::new()).collect();
        let rules: Vec<(bool, bool)> = self.flows.iter().map(|f| (f.even, f.may_lose)).collect();
        let mut pingers = Vec::new();
        for subscriber in self.receivers.iter().flatten() {
            pingers.push(subscriber.reader.twin());
        }
        let (run, progress) = (&run, &progress[..]);
        thread::scope(|scope| {
            let mut publishers = Vec::new();
            let mut receivers = Vec::new();
            for subscribers in self.receivers {
                receivers.push(scope.spawn(move || run.guard(receive(subscribers, progress, run))));
            }
            for (flow, progress) in self.flows.into_iter().zip(progress) {
                publishers.push(scope.spawn(move || run.guard(publish(flow, progress, run))));
            }
            let measured = run.guard(measure(server, progress, run, stretch));
            run.stop.store(true, SeqCst);
            // Their connections stay open until all has arrived: one that is closed with a PING
            // unread is reset, and what the server had not read of it is lost.
            let mut open = Vec::new();
            for publisher in publishers {
                open.push(joined(publisher.join())?);
            }
            let mut outcome = measured?;
            let drain_start = Instant::now();
            let drained = drain(progress, run);
            outcome.drain_seconds = drain_start.elapsed().as_secs_f64();
            run.guard(pingers.iter().try_for_each(|twin| twin.write(b"PING\r\n")))?;
            wait_for_pongs(run, pingers.len() as u64);
            run.abandon.store(true, SeqCst);
            let mut subscribers = Vec::new();
            for receiver in receivers {
                subscribers.extend(joined(receiver.join())?);
            }
            if !drained && !rules.iter().any(|rule| rule.1) {
                return Err(fault(ErrorKind::TimedOut, &missing(progress)));
            }
            outcome.lost = check(progress, &subscribers, &rules)?;
            outcome.latencies = subscribers.into_iter().flat_map(|s| s.latencies).collect();
            outcome.latencies.sort_unstable();
            Ok(outcome)
        })
    }
}

/// The result of a thread of the load.
pub(crate) fn joined<T>(result: thread::Result<io::Result<T>>) -> io::Result<T> {
    result.unwrap_or_else(|_| Err(fault(ErrorKind::Other, "a thread of the load panicked")))
}

/// Sets the finest timer slack for this thread only: children of the process must not inherit it.
fn sleep_exactly() {
    // Without it sleeps are up to 50 µs longer, which the figures would survive.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Puts this thread, and it alone, before those of the server: the clients of a measured message
/// have machines of their own elsewhere, and to wait here for a processor that the server has would
/// count as the server's latency.
pub(crate) fn go_first() {
    const NICEST: i32 = -20;
    static TOLD: Once = Once::new();
    if let Err(err) = rustix::process::setpriority_process(None, NICEST) {
        TOLD.call_once(|| eprintln!("the load's threads wait like the server's: {err}"));
    }
}

/// Warm-up, then the two readings of clock, CPU and progress.
fn measure(
    server: &Server,
    progress: &[Progress],
    run: &Run,
    stretch: Duration,
) -> io::Result<Outcome> {
    let read = || -> io::Result<(f64, f64, Vec<f64>)> {
        let delivered = progress.iter().map(|p| p.delivered.load(SeqCst) as f64).collect();
        Ok((run.epoch.elapsed().as_secs_f64(), server.cpu_ns()? as f64, delivered))
    };
    pause(stretch / 5, run);
    run.measuring.store(true, SeqCst);
    let before = read()?;
    pause(stretch, run);
    let after = read()?;
    run.measuring.store(false, SeqCst);
    Ok(Outcome {
        seconds: after.0 - before.0,
        cpu_ns: after.1 - before.1,
        deliveries: after.2.iter().zip(&before.2).map(|(after, before)| after - before).collect(),
        ..Outcome::default()
    })
}

fn pause(length: Duration, run: &Run) {
    let end = Instant::now() + length;
    while !run.stop.load(SeqCst) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(GLANCE));
    }
}

/// Waits until all that was sent has arrived; false if the subscribers went quiet before.
fn drain(progress: &[Progress], run: &Run) -> bool {
    let mut last = (0, Instant::now());
    loop {
        let due: u64 = progress.iter().map(|p| p.sent.load(SeqCst)).sum();
        let delivered: u64 = progress.iter().map(|p| p.delivered.load(SeqCst)).sum();
        if delivered >= due || run.abandon.load(SeqCst) {
            return delivered >= due;
        }
        if delivered != last.0 {
            last = (delivered, Instant::now());
        } else if last.1.elapsed() > DRAIN_PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn wait_for_pongs(run: &Run, count: u64) {
    let deadline = Instant::now() + DRAIN_PATIENCE;
    while run.pongs.load(SeqCst) < count && Instant::now() < deadline && !run.abandon.load(SeqCst) {
        thread::sleep(Duration::from_millis(2));
    }
}

fn missing(progress: &[Progress]) -> String {
    let count = |p: &Progress| (p.delivered.load(SeqCst), p.sent.load(SeqCst));
    format!("arrived of sent, by flow: {:?}", progress.iter().map(count).collect::<Vec<_>>())
}

/// Everything arrived once; returns the number of missing messages if that is allowed.
fn check(
    progress: &[Progress],
    subscribers: &[Subscriber],
    rules: &[(bool, bool)],
) -> io::Result<u64> {
    let mut lost = 0;
    for (index, (progress, &(even, may_lose))) in progress.iter().zip(rules).enumerate() {
        let (delivered, sent) = (progress.delivered.load(SeqCst), progress.sent.load(SeqCst));
        if may_lose && delivered <= sent {
            lost += sent - delivered;
            continue;
        }
        if delivered != sent {
            let text = format!("flow {index}: {delivered} arrived of {sent}");
            return Err(fault(ErrorKind::InvalidData, &text));
        }
        let mine = || subscribers.iter().filter(|s| s.flow == index).map(|s| s.messages);
        if even && mine().min() != mine().max() {
            let text = format!("flow {index}: subscribers got {:?}", (mine().min(), mine().max()));
            return Err(fault(ErrorKind::InvalidData, &text));
        }
    }
    Ok(lost)
}

/// The publishing thread. The streams are given back, so that they stay open until the end.
fn publish(mut flow: Flow, progress: &Progress, run: &Run) -> io::Result<Flow> {
    run.begin_thread();
    match flow.pace {
        Pace::Window(window) => publish_in_window(&mut flow, window, progress, run)?,
        Pace::Every { interval, jitter } => {
            publish_on_time(&mut flow, interval, jitter, progress, run)?;
        }
        Pace::Confirmed => publish_confirmed(&mut flow, progress, run)?,
    }
    Ok(flow)
}

fn publish_in_window(
    flow: &mut Flow,
    window: u64,
    progress: &Progress,
    run: &Run,
) -> io::Result<()> {
    let mut sent = 0;
    for turn in 0.. {
        let chunk = &flow.chunks[turn % flow.chunks.len()];
        if sent + chunk.deliveries > progress.delivered.load(SeqCst) + window {
            // Half the window stays under way, so that the server never waits for the publisher.
            progress.wait_for((sent + chunk.deliveries).saturating_sub(window / 2), run);
        }
        if run.stop.load(SeqCst) {
            break;
        }
        sent += chunk.deliveries;
        progress.sent.store(sent, SeqCst);
        let streams = flow.streams.len();
        flow.streams[turn % streams].write(&chunk.bytes)?;
    }
    Ok(())
}

/// Stamps are the time of writing; but when the server held this publisher up past the time that a
/// chunk was due, the time when it was due, so that the hold-up counts as latency.
fn publish_on_time(
    flow: &mut Flow,
    interval: Duration,
    jitter: bool,
    progress: &Progress,
    run: &Run,
) -> io::Result<()> {
    let interval_ns = interval.as_nanos() as u64;
    let mut random = Rng::with_seed(interval_ns);
    let mut due_ns = run.now_ns() + interval_ns;
    let mut sent = 0;
    for turn in 0.. {
        let offset_ns = if jitter { random.u64(..interval_ns) } else { 0 };
        let now_ns = run.now_ns();
        let held_up = now_ns > due_ns + offset_ns;
        if !held_up {
            thread::sleep(Duration::from_nanos(due_ns + offset_ns - now_ns));
        }
        if run.stop.load(SeqCst) {
            break;
        }
        let (chunks, streams) = (flow.chunks.len(), flow.streams.len());
        let chunk = &mut flow.chunks[turn % chunks];
        let stamp = if held_up { due_ns + offset_ns } else { run.now_ns() };
        for &at in &chunk.stamps {
            chunk.bytes[at..at + 8].copy_from_slice(&stamp.to_le_bytes());
        }
        sent += chunk.deliveries;
        progress.sent.store(sent, SeqCst);
        flow.streams[turn % streams].write(&chunk.bytes)?;
        due_ns += interval_ns;
    }
    Ok(())
}

fn publish_confirmed(flow: &mut Flow, progress: &Progress, run: &Run) -> io::Result<()> {
    let mut scratch = vec![0; SCRATCH_LEN];
    let Flow { streams, chunks, .. } = flow;
    let [reader] = &mut streams[..] else {
        return Err(fault(ErrorKind::InvalidInput, "a confirmed flow has one stream"));
    };
    for chunk in chunks.iter_mut() {
        chunk.bytes.extend_from_slice(b"PING\r\n");
    }
    let mut pending = std::collections::VecDeque::new();
    let mut turn = 0;
    let mut sent = 0;
    loop {
        let stopped = run.stop.load(SeqCst);
        if !stopped {
            let chunk = &chunks[turn % chunks.len()];
            turn += 1;
            sent += chunk.deliveries;
            progress.sent.store(sent, SeqCst);
            reader.write(&chunk.bytes)?;
            pending.push_back(chunk.deliveries);
        }
        while !pending.is_empty() && (stopped || pending.len() as u64 > UNCONFIRMED_MAX) {
            for _ in 0..reader.read(&mut scratch, |_, _| ())?.pongs {
                progress.add(pending.pop_front().unwrap_or_default());
            }
        }
        if stopped {
            return Ok(());
        }
    }
}

/// The counting thread of some subscribers; ends when each has got the final PONG.
fn receive(
    mut subscribers: Vec<Subscriber>,
    progress: &[Progress],
    run: &Run,
) -> io::Result<Vec<Subscriber>> {
    run.begin_thread();
    let mut scratch = vec![0; SCRATCH_LEN];
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, subscriber) in subscribers.iter().enumerate() {
        let data = EventData::new_u64(index as u64);
        epoll::add(&epoll, &*subscriber.reader.stream, data, EventFlags::IN)?;
    }
    let alone = subscribers.len() == 1;
    if alone {
        subscribers[0].reader.stream.set_read_timeout(Some(GLANCE))?;
    }
    let glance = GLANCE.try_into().map_err(|_| fault(ErrorKind::InvalidInput, "a long glance"))?;
    let mut events = Vec::with_capacity(1024);
    let mut pongs = 0;
    while pongs < subscribers.len() as u64 && !run.abandon.load(SeqCst) {
        if alone {
            pongs += take(&mut subscribers[0], &mut scratch, progress, run)?;
            continue;
        }
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&glance))?;
        for event in &events {
            let subscriber = &mut subscribers[event.data.u64() as usize];
            pongs += take(subscriber, &mut scratch, progress, run)?;
        }
    }
    Ok(subscribers)
}

/// One read of one subscriber; returns the PONGs it brought.
fn take(
    subscriber: &mut Subscriber,
    scratch: &mut [u8],
    progress: &[Progress],
    run: &Run,
) -> io::Result<u64> {
    let Subscriber { reader, stamped, latencies, .. } = subscriber;
    let mut now_ns = 0;
    let result = reader.read(scratch, |_, payload| {
        if !*stamped || !run.measuring.load(SeqCst) {
            return;
        }
        if now_ns == 0 {
            now_ns = run.now_ns();
        }
        if let Some(stamp) = payload.first_chunk() {
            latencies.push(now_ns.saturating_sub(u64::from_le_bytes(*stamp)));
        }
    });
    let brought = match result {
        Ok(brought) => brought,
        Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(0),
        Err(err) => return Err(err),
    };
    subscriber.messages += brought.messages;
    progress[subscriber.flow].add(brought.messages);
    run.pongs.fetch_add(brought.pongs, SeqCst);
    Ok(brought.pongs)
}
