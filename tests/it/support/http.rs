//! Reads one page of the monitoring port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;

use super::tls::{self, Means};
use super::{PATIENCE, Server};

/// One answer.
pub(crate) struct Page {
    pub(crate) status: u16,
    /// Header lines, as sent.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// GETs a path such as `/connz?subs=1`.
pub(crate) fn page(server: &Server, path: &str) -> Page {
    let port = server.monitor_port();
    match server.monitors_encrypted() {
        true => read_page(tls::bridge(port, &Means::first()).unwrap(), port, path),
        false => page_at(port, path),
    }
}

/// The same, by port, without TLS.
pub(crate) fn page_at(port: u16, path: &str) -> Page {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the monitoring port is open");
    read_page(stream, port, path)
}

fn read_page(mut stream: TcpStream, port: u16, path: &str) -> Page {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a blank line ends the head");
    let status = head.split(' ').nth(1).expect("a status line").parse().expect("a number");
    Page { status, head: head.to_owned(), body: body.to_owned() }
}

/// GETs a path whose answer is JSON with status 200.
pub(crate) fn json(server: &Server, path: &str) -> Value {
    let page = page(server, path);
    assert_eq!(page.status, 200, "{path}: {}", page.body);
    serde_json::from_str(&page.body).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Asks again until `done` accepts the answer: for counters that follow an event by a moment.
pub(crate) fn json_until(server: &Server, path: &str, done: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = json(server, path);
        if done(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "{path} never became what was awaited: {value:#}");
        std::thread::yield_now();
    }
}
