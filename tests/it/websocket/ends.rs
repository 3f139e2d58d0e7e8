//! How connections end: what is said last, and CLOSE behind it.
//!
//! The real server often drops both, so that its tests ask for less.

use super::*;

for_both! {
    fn a_close_is_answered_behind_everything_else(which) {
        let server = Server::with().conf(conf("")).start(which);
        for (payload, answer) in [
            (&b""[..], &b""[..]),
            (b"\x03\xe8", b"\x03\xe8"),
            (b"\x0f\xa0bye", b"\x0f\xa0bye"),
            (b"\x03\xe8\xff\xff", b"\x03\xefinvalid utf8 body in close frame"),
        ] {
            let mut socket = WebSocket::open(&server, "");
            let frames = [masked(BINARY, b"PING\r\n"), masked(CLOSE, payload)].concat();
            socket.client.send_bytes(&[frames, masked(BINARY, b"PING\r\n")].concat());
            socket.expect("PONG\r\n");
            socket.expect_close(answer);
        }
        let longest = [&b"\x03\xe8"[..], &[b'x'; 123]].concat();
        let mut socket = WebSocket::open(&server, "");
        socket.send_frame(CLOSE, &longest);
        socket.expect_close(&longest);
    }

    fn who_is_not_known_is_told_so(which) {
        let server = Server::with().conf(conf("")).flags(["--auth", "t"]).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.send("CONNECT {\"auth_token\":\"x\"}\r\n");
        socket.expect("-ERR 'Authorization Violation'\r\n");
        socket.expect_close(b"\x03\xf0Authentication Failure");
    }

    fn who_says_nothing_is_told_so(which) {
        let own = conf("authorization { user: a, pass: b, timeout: 0.2 }");
        let server = Server::with().conf(own).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.expect("-ERR 'Authentication Timeout'\r\n");
        socket.expect_close(b"\x03\xf0Authentication Timeout");
    }

    fn who_is_too_much_is_told_so(which) {
        let server = Server::with().conf(conf("")).more_conf("max_connections: 1\n").start(which);
        let mut first = WebSocket::open(&server, "");
        first.send("PING\r\n");
        first.expect("PONG\r\n");
        let mut socket = WebSocket::upgrade(&server, "");
        let mut got = socket.message();
        while !got.ends_with(b"-ERR 'maximum connections exceeded'\r\n") {
            got.extend(socket.message());
        }
        assert!(got.starts_with(b"INFO {"));
        socket.expect_close(b"\x03\xf0Maximum Connections Exceeded");
    }

    fn too_much_at_once_is_told(which) {
        let limits = "max_payload: 100\nmax_control_line: 512\n";
        let server = Server::with().conf(conf("")).more_conf(limits).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.send("PUB a 101\r\n");
        socket.expect("-ERR 'Maximum Payload Violation'\r\n");
        socket.expect_close(b"\x03\xf1Maximum Message Payload Exceeded");
        let mut socket = WebSocket::open(&server, "");
        socket.send(&format!("PUB {} 1\r\n", "a".repeat(600)));
        socket.expect("-ERR 'maximum control line exceeded'\r\n");
        socket.expect_close(b"\x03\xf0Maximum Control Line Exceeded");
    }

    fn silence_is_told(which) {
        let server = Server::with().conf(conf("ping_interval: \"100ms\"")).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.send(QUIET);
        socket.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
        socket.expect_close(b"\x03\xe9Stale Connection");
    }

    fn a_shutdown_is_told(which) {
        let server = Server::with().conf(conf("")).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.send(&format!("{QUIET}PING\r\n"));
        socket.expect("PONG\r\n");
        server.signal("TERM");
        socket.expect_close(b"\x03\xe9Server Shutdown");
    }

    /// Behind it, whatever was sent is not looked at.
    fn a_breach_of_the_rules_ends_the_connection(which) {
        let compressed = "compressed frame received without negotiated permessage-deflate";
        let too_long = "control frame length bigger than maximum allowed of 125 bytes";
        let server = Server::with().monitored().conf(conf("")).start(which);
        let cases: [(&[u8], &str); 9] = [
            (b"\xa2\x80\0\0\0\0", "RSV2 and RSV3 must be clear"),
            (b"\xc2\x80\0\0\0\0", compressed),
            (b"\x82\x06PING\r\n", "mask bit missing"),
            (b"\x89\xfe\0\x7e\0\0\0\0", too_long),
            (b"\x09\x80\0\0\0\0", "control frame does not have final bit set"),
            (b"\x80\x80\0\0\0\0", "invalid continuation frame"),
            (b"\x83\x80\0\0\0\0", "unknown opcode 3"),
            (b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", "invalid 64-bit payload length"),
            (b"\x88\x82\0\0\0\0\x03\xed", "invalid close status code 1005"),
        ];
        for (frame, why) in cases {
            let mut socket = WebSocket::open(&server, "");
            socket.client.send_bytes(&[frame, &masked(BINARY, b"PING\r\n").repeat(50)].concat());
            let line = server.wait_log(&format!("read error: {why}"));
            assert!(line.contains("[ERR] ") && line.contains(" - wid:"), "{line}");
            let payload = [b"\x03\xea", why.as_bytes()].concat();
            if which == Which::Dialtone {
                socket.expect_close(&payload);
            }
        }
    }
}

/// The client is still sending: it reads why it should not, for the connection is not reset.
#[test]
fn the_last_words_arrive_although_more_is_sent() {
    let server = Server::with().conf(conf("compression: true")).start(Which::Dialtone);
    let much = masked(BINARY, &[b'x'; 100_000]);
    for (sent, error, close) in [
        (
            &b"BOGUS\r\n"[..],
            "-ERR 'Unknown Protocol Operation'\r\n",
            &b"\x03\xeaProtocol Violation"[..],
        ),
        (b"-ERR 'x'\r\n", "", b"\x03\xeaParse Error"),
    ] {
        let mut socket = WebSocket::open(&server, "");
        socket.client.send_bytes(&masked(BINARY, sent));
        for _ in 0..20 {
            socket.client.send_anyway(&much);
        }
        if !error.is_empty() {
            socket.expect(error);
        }
        socket.expect_close(close);
    }
    let mut socket = WebSocket::open(&server, DEFLATE);
    socket.client.send_bytes(&masked(COMPRESSED, b"\xff\xff\xff"));
    let (first, payload) = socket.frame().unwrap();
    assert_eq!(first, CLOSE);
    let text = String::from_utf8_lossy(&payload[2..]).into_owned();
    assert!(text.starts_with("flate: corrupt input before offset "), "{text}");
}

/// What waits for it is dropped, and CLOSE would stand in the middle of that.
#[test]
fn who_does_not_read_is_let_go() {
    let conf = conf("") + "max_pending: 1000000\nmax_payload: 100000\n";
    let server = Server::with().conf(conf).start(Which::Dialtone);
    let mut slow = WebSocket::open(&server, "");
    slow.send(&format!("{QUIET}SUB a 1\r\nPING\r\n"));
    slow.expect("PONG\r\n");
    let mut publisher = Client::connect(&server, "");
    let message = format!("PUB a 100000\r\n{}\r\n", "x".repeat(100_000));
    while !server.log_lines().iter().any(|line| line.contains("Slow Consumer Detected")) {
        publisher.send(&message);
        publisher.fence();
    }
    let mut got = 0;
    while let Some((first, payload)) = slow.frame() {
        assert_eq!(first, BINARY, "no CLOSE in the middle of something else");
        got += payload.len();
    }
    assert!(got > 0);
}
