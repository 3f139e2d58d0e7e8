//! One publisher on a server of a cluster, its subscribers on the others.
//!
//! CPU is that of all servers together. Every message crosses one route to each server that has
//! subscribers, whatever their number.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use crate::pieces::run_fan_out;
use crate::scenario::{Scenario, Stage};
use crate::target::Server;
use crate::wire::{PATIENCE, SCRATCH_LEN, connect, connect_all, fault};

/// `subscribers` on each server but the first, on which the publisher is; 128 B.
pub(crate) fn routed(name: &str, title: &str, servers: usize, subscribers: usize) -> Scenario {
    let run = move |stage: &Stage<'_>| {
        let mut readers = Vec::new();
        for peer in &stage.server.peers {
            // First the route, then what is announced on it, in order: so the second subject is
            // known to the first server after those of the subscribers.
            await_interest(stage.server, peer, "load.joined")?;
            let setups = vec![b"SUB bench 1\r\n".to_vec(); subscribers];
            readers.extend(connect_all(&peer.endpoint, &setups)?);
            await_interest(stage.server, peer, "load.ready")?;
        }
        run_fan_out(readers, 128, stage)
    };
    Scenario::new(name, title, run).with_servers(servers)
}

/// Waits until `server` knows that somebody on `peer` listens to a subject below `subject`: until
/// then a request gets an answer that nobody responds.
fn await_interest(server: &Server, peer: &Server, subject: &str) -> io::Result<()> {
    let subject = format!("{subject}.{}", peer.endpoint.addr.port());
    let _listener = connect(&peer.endpoint, &format!("SUB {subject} 1\r\n"))?;
    let mut requestor = connect(&server.endpoint, "SUB load.inbox 1\r\n")?;
    let request = format!("PUB {subject} load.inbox 0\r\n\r\nPING\r\n");
    let mut scratch = vec![0; SCRATCH_LEN];
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        requestor.write(request.as_bytes())?;
        let (mut answers, mut pongs) = (0, 0);
        while pongs == 0 {
            let brought = requestor.read(&mut scratch, |_, _| ())?;
            answers += brought.messages;
            pongs += brought.pongs;
        }
        if answers == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(fault(ErrorKind::TimedOut, "the servers do not form a cluster"))
}
