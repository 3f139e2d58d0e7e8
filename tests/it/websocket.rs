//! Clients that come by WebSocket: the request, frames, compression, and how connections end.

use std::io::Read;
use std::net::TcpStream;

use crate::support::client::shown;
use crate::support::websocket::{
    self, BINARY, CLOSE, COMPRESSED, DEFLATE, PING, PONG, WebSocket, conf, deflate, masked,
};
use crate::support::{Client, PATIENCE, Server, Which};

mod blocks;
mod encrypted;
mod ends;
mod monitoring;
mod upgrade;

const QUIET: &str = "CONNECT {\"verbose\":false}\r\n";

for_both! {
    fn messages_come_in_frames(which) {
        let server = Server::with().conf(conf("")).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.send(&format!("{QUIET}SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n"));
        socket.expect("MSG a 1 2\r\nhi\r\nPONG\r\n");
        // Text or not, borders mean nothing, and other frames may come between.
        socket.send_frame(0x01, b"PI");
        socket.send_frame(0x00, b"");
        socket.send_frame(PING, b"hello");
        socket.send_frame(PONG, b"not asked for");
        socket.send_frame(0x80, b"NG\r\n");
        assert_eq!(socket.frame(), Some((PONG, b"hello".to_vec())));
        socket.expect("PONG\r\n");
        // A length may be longer than it has to be; nobody has to send all of it.
        socket.client.send_bytes(b"\x82\xfe\0\x06\0\0\0\0PING\r\n");
        socket.expect("PONG\r\n");
        socket.client.send_bytes(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0PING\r\n");
        socket.expect("PONG\r\n");
        // Both kinds of clients are in one subject space.
        let mut other = Client::subscribed(&server, "to.other");
        let mut socket = WebSocket::open(&server, "");
        socket.send(&format!("{QUIET}SUB to.web 7\r\nPUB to.other 1\r\nx\r\nPING\r\n"));
        socket.expect("PONG\r\n");
        other.expect("MSG to.other 1 1\r\nx\r\n");
        other.send("PUB to.web 1\r\ny\r\n");
        socket.expect("MSG to.web 7 1\r\ny\r\n");
    }

    fn who_asks_for_it_masks_nothing(which) {
        let server = Server::with().conf(conf("")).start(which);
        let mut socket = WebSocket::open(&server, "Nats-No-Masking: true\r\n");
        socket.client.send_bytes(b"\x82\x06PING\r\n");
        socket.expect("PONG\r\n");
    }

    fn long_messages_are_compressed(which) {
        let server = Server::with().conf(conf("compression: true")).start(which);
        let mut socket = WebSocket::upgrade(&server, DEFLATE);
        let (first, _) = socket.frame().unwrap();
        assert_eq!(first, COMPRESSED, "INFO");
        socket.send_frame(COMPRESSED, &deflate(format!("{QUIET}SUB a 1\r\nPING\r\n").as_bytes()));
        assert_eq!(socket.frame(), Some((BINARY, b"PONG\r\n".to_vec())));
        // With what stands before the payload 64 bytes, and one more.
        for (len, first) in [(50, BINARY), (51, COMPRESSED)] {
            let text = format!("PUB a {len}\r\n{}\r\n", "x".repeat(len));
            socket.send(&text);
            let (got, payload) = socket.frame().unwrap();
            assert_eq!(got, first, "{len}: {}", shown(&payload));
        }
        // A message in fragments, the last of which is cut by what follows.
        let payload = deflate(b"PING\r\n");
        let (front, back) = payload.split_at(3);
        socket.send_frame(0x42, front);
        socket.send_frame(PING, b"");
        socket.send_frame(0x80, back);
        assert_eq!(socket.frame(), Some((PONG, Vec::new())));
        socket.expect("PONG\r\n");
    }

    fn browsers_get_short_frames(which) {
        let server = Server::with().conf(conf("compression: true")).start(which);
        let random: String = {
            let mut random = fastrand::Rng::with_seed(1);
            (0..20_000).map(|_| random.alphanumeric()).collect()
        };
        let publish = format!("{QUIET}SUB a 1\r\nPUB a 20000\r\n{random}\r\nPING\r\n");
        let expected = format!("MSG a 1 20000\r\n{random}\r\nPONG\r\n");
        let chrome = "User-Agent: Mozilla/5.0 Chrome/1 Safari/1\r\n";
        let safari = "User-Agent: Mozilla/5.0 Version/1 Safari/1\r\n";
        let mut socket = WebSocket::open(&server, chrome);
        socket.send(&publish);
        let mut got = Vec::new();
        while !got.ends_with(b"PONG\r\n") {
            let (first, payload) = socket.frame().unwrap();
            assert!(first == BINARY && payload.len() <= 4096, "{first:#x}, {}", payload.len());
            got.extend(payload);
        }
        assert!(got == expected.as_bytes());
        for (agent, most) in [(chrome, 4096), (safari, 30_000)] {
            let mut socket = WebSocket::open(&server, &format!("{DEFLATE}{agent}"));
            socket.send(&publish);
            let mut payload = Vec::new();
            loop {
                let (first, part) = socket.frame().unwrap();
                assert!(part.len() <= most);
                let wanted = if payload.is_empty() { 0x42 } else { 0 };
                assert_eq!(first & 0x7f, wanted);
                payload.extend(part);
                if first & 0x80 != 0 {
                    break;
                }
            }
            let got = websocket::inflate(&payload);
            assert!(got.starts_with(&expected.as_bytes()[..20_000]), "{agent}");
        }
    }
}

/// What went wrong in the real server: a compressed message had to be smaller than `max_payload`
/// with all that is in it, and a large one ended the connection without a word.
#[test]
fn compressed_messages_may_be_as_large_as_others() {
    let server = Server::with()
        .conf(conf("compression: true"))
        .more_conf("max_payload: 100000\n")
        .start(Which::Dialtone);
    let mut socket = WebSocket::open(&server, DEFLATE);
    let payload = "x".repeat(100_000);
    let publish = format!("PUB a 100000\r\n{payload}\r\n").repeat(50);
    let text = format!("{QUIET}SUB a 1\r\n{publish}PING\r\n");
    socket.send_frame(COMPRESSED, &deflate(text.as_bytes()));
    socket.expect(&(format!("MSG a 1 100000\r\n{payload}\r\n").repeat(50) + "PONG\r\n"));
    socket.send_frame(COMPRESSED, &deflate(b"PUB a 100001\r\n"));
    socket.expect("-ERR 'Maximum Payload Violation'\r\n");
    socket.expect_close(b"\x03\xf1Maximum Message Payload Exceeded");
}

/// A megabyte that becomes a gigabyte, read while others go on; nothing of it stays.
#[test]
fn a_bomb_costs_no_memory() {
    let server = Server::with().conf(conf("compression: true")).start(Which::Dialtone);
    let mut socket = WebSocket::open(&server, DEFLATE);
    socket.send(&format!("{QUIET}PING\r\n"));
    socket.expect("PONG\r\n");
    let before = server.memory();
    // The end of a line never comes; or lines come, and each of them has an answer that is small.
    let empty_lines = deflate(&b"PING\r\n".repeat(500_000));
    socket.send_frame(COMPRESSED, &empty_lines);
    let mut pongs = 0;
    while pongs < 500_000 {
        let message = socket.message();
        pongs += memchr::memmem::find_iter(&message, b"PONG\r\n").count();
    }
    let line = deflate(&[b'x'; 10_000_000]);
    socket.send_frame(COMPRESSED, &line);
    let mut error = socket.message();
    while error == b"PING\r\n" {
        error = socket.message();
    }
    assert!(error.starts_with(b"-ERR '"), "{}", shown(&error));
    let grown = server.memory_peak().saturating_sub(before);
    assert!(grown < 80 << 20, "{grown} bytes");
    Client::open(&server).fence();
}

/// A message that never ends is only read.
#[test]
fn endless_fragments_cost_no_memory() {
    let server = Server::with().conf(conf("compression: true")).start(Which::Dialtone);
    let mut socket = WebSocket::open(&server, DEFLATE);
    let before = server.memory();
    socket.send_frame(0x42, b"");
    let empty = masked(0, b"").repeat(100_000);
    for _ in 0..10 {
        socket.client.send_bytes(&empty);
        socket.send_frame(PING, b"?");
        assert_eq!(socket.frame(), Some((PONG, b"?".to_vec())));
    }
    let grown = server.memory_peak().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

/// The frame of a request that is no frame: read as one, and refused.
#[test]
fn the_port_for_clients_speaks_no_frames() {
    let server = Server::with().conf(conf("")).start(Which::Dialtone);
    let mut client = Client::open(&server);
    client.send(&websocket::request(""));
    client.expect("-ERR 'Unknown Protocol Operation'\r\n");
    client.expect_closed();
}

/// Reads to the end of the connection.
fn read_to_end(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
