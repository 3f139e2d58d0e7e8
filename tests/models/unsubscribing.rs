//! UNSUB and PING while another worker publishes.

use std::sync::Arc;

use crate::base::sync::{AtomicU64, Mutex, Ordering};
use crate::check;
use crate::conn::Conn;
use crate::turns::{Turn, Turns};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Msg,
    Pong,
}

/// A server with one subscription.
struct Server {
    /// The stamp of its subject.
    stamp: AtomicU64,
    listed: Mutex<bool, 0>,
    /// Frames for its client.
    queue: Mutex<Vec<Frame>, 0>,
}

impl Server {
    fn new() -> Arc<Server> {
        let (listed, queue) = (Mutex::default(), Mutex::default());
        *listed.lock() = true;
        Arc::new(Server { stamp: AtomicU64::new(0), listed, queue })
    }

    /// A turn that publishes something. The match under the first stamp is cached.
    fn publish(&self, turn: &Turn) {
        let begun = turn.begin();
        let matched = self.stamp.load(Ordering::Acquire) == 0 || *self.listed.lock();
        if matched {
            self.queue.lock().push(Frame::Msg);
        }
        drop(begun);
    }

    /// UNSUB and PING of the client, in as many turns as it takes.
    fn leave(&self, turn: &Turn) {
        let (conn, owner) = Conn::new(None);
        let begun = turn.begin();
        let mut listed = self.listed.lock();
        *listed = false;
        self.stamp.fetch_add(1, Ordering::Release);
        drop(listed);
        let grace = turn.grace();
        let mut is_over = grace.is_none_or(|grace| turn.is_over(grace, &conn));
        drop(begun);
        while !is_over {
            owner.wait();
            let begun = turn.begin();
            is_over = grace.is_none_or(|grace| turn.is_over(grace, &conn));
            drop(begun);
        }
        self.queue.lock().push(Frame::Pong);
    }
}

#[test]
fn nothing_comes_behind_the_pong_of_who_has_left() {
    check(|| {
        let turns = Arc::new(Turns::default());
        let server = Server::new();
        let (worker, other) = (turns.join(), turns.join());
        let publisher = {
            let server = Arc::clone(&server);
            loom::thread::spawn(move || {
                server.publish(&worker);
                server.publish(&worker);
            })
        };
        server.leave(&other);
        publisher.join().unwrap();
        assert_eq!(server.queue.lock().last(), Some(&Frame::Pong));
    });
}
