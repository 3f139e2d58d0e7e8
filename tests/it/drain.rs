//! Members of a queue group that leave as every client's drain does: UNSUB, PING, read until PONG,
//! close. What a member reads before the PONG is all that was meant for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use crate::support::{Client, Server, Which, frames};

/// Writes of the publisher, and messages in each.
const WRITES: usize = 200;
const BATCH: usize = 500;

/// Members that come and go. One more stays.
const MEMBERS: usize = 4;

/// Messages that a member got.
#[derive(Default)]
struct Got {
    in_time: usize,
    /// Behind the answer to its UNSUB.
    late: usize,
}

fn start(which: Which) -> Server {
    match which {
        // With one worker there would be nobody to hold a message back.
        Which::Dialtone => Server::with().conf("workers: 2\n").start(which),
        Which::Real => Server::start(which),
    }
}

/// The number of messages before this answer.
fn count_until(client: &mut Client, answer: &str) -> usize {
    let mut count = 0;
    loop {
        let frame = client.frame();
        if frame == answer.as_bytes() {
            return count;
        }
        assert!(frames::is_message(&frame), "{}", frame.escape_ascii());
        count += 1;
    }
}

/// Joins the group and leaves it, again and again. For a verbose member `+OK` is the answer.
fn come_and_go(port: u16, verbose: bool, done: Arc<AtomicBool>) -> JoinHandle<Got> {
    let (join, leave, answer) = match verbose {
        true => ("SUB work group 1\r\n", "UNSUB 1\r\n", "+OK\r\n"),
        false => ("SUB work group 1\r\nPING\r\n", "UNSUB 1\r\nPING\r\n", "PONG\r\n"),
    };
    std::thread::spawn(move || {
        let mut got = Got::default();
        while !done.load(SeqCst) {
            let mut client = Client::open_port(port).steady();
            client.send(&format!("CONNECT {{\"verbose\":{verbose},\"pedantic\":false}}\r\n"));
            if verbose {
                client.expect("+OK\r\n");
            }
            client.send(join);
            got.in_time += count_until(&mut client, answer);
            client.send(leave);
            got.in_time += count_until(&mut client, answer);
            client.send("PING\r\n");
            got.late += count_until(&mut client, "PONG\r\n");
        }
        got
    })
}

for_both! {
    /// Regression: a message that a worker had matched and not yet handed over came after the
    /// PONG, to a member that was gone.
    fn members_that_leave_lose_nothing(which) {
        let server = start(which);
        let mut stays = Client::connect(&server, "");
        stays.send("SUB work group 1\r\n");
        stays.fence();
        let done = Arc::new(AtomicBool::new(false));
        // The real server writes `+OK` before it unsubscribes.
        let is_verbose = |at| which == Which::Dialtone && at % 2 == 1;
        let join = |at| come_and_go(server.port(), is_verbose(at), Arc::clone(&done));
        let members: Vec<_> = (0..MEMBERS).map(join).collect();
        let mut publisher = Client::connect(&server, "");
        let mut in_time = 0;
        for _ in 0..WRITES {
            publisher.send(&"PUB work 5\r\nhello\r\n".repeat(BATCH));
            publisher.fence();
            stays.send("PING\r\n");
            in_time += count_until(&mut stays, "PONG\r\n");
        }
        done.store(true, SeqCst);
        let mut late = 0;
        for member in members {
            let got = member.join().unwrap();
            in_time += got.in_time;
            late += got.late;
        }
        assert_eq!((in_time, late), (WRITES * BATCH, 0), "messages in time, and late");
    }
}
