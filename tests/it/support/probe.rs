//! A client that publishes to itself all the time, and notes the longest it had to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Client, Server};

/// Time between an answer and the next message.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct Probe {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Probe {
    /// Each message is on a subject of its own, so that none is matched from a cache.
    pub(crate) fn start(server: &Server) -> Probe {
        let mut client = Client::subscribed(server, "probe.*");
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            for number in 0.. {
                let sent = Instant::now();
                client.send(&format!("PUB probe.{number} 0\r\n\r\n"));
                client.expect(&format!("MSG probe.{number} 1 0\r\n\r\n"));
                worst = worst.max(sent.elapsed());
                if is_over.load(Relaxed) {
                    break;
                }
                thread::sleep(PAUSE);
            }
            worst
        });
        Probe { over, thread }
    }

    /// The longest from a message to its arrival.
    #[track_caller]
    pub(crate) fn stop(self) -> Duration {
        self.over.store(true, Relaxed);
        self.thread.join().expect("the probe got all its messages")
    }
}
