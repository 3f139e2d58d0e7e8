//! Ports that a test leaves and takes again, as a server that is restarted does.
//!
//! The system chooses the port of each connection, and that of each listener that asks for none,
//! from a range of its own: what a test leaves there another may have got meanwhile. These ports
//! lie below that range.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PORTS: Range<usize> = 10_000..32_768;

/// A free port of this machine that nobody else gets.
pub(crate) fn lasting_port() -> u16 {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    // Other processes of the same tests begin elsewhere.
    let begin = std::process::id() as usize * 97;
    for _ in PORTS {
        let place = (begin + TAKEN.fetch_add(1, Relaxed)) % PORTS.len();
        let port = u16::try_from(PORTS.start + place).expect("it lies in the range");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("all ports of {PORTS:?} are in use");
}
