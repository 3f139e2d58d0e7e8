//! WebSocket over TLS: the handshake, the request behind it, and connections that never get there.

use std::io::Write;

use rustls::version;
use serde_json::Value;

use super::*;
use crate::support::tls::{self, Means};
use crate::support::websocket::wss_conf;
use crate::support::{Client, http};

/// Connects by `means`, upgrades, and reads INFO.
fn open(server: &Server, means: &Means) -> (WebSocket, Value) {
    let stream = tls::bridge(server.websocket_port(), &Means { first: true, ..means.clone() });
    let (stream, head) = websocket::upgraded(stream.unwrap(), "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut socket = WebSocket { client: Client::from_stream(stream) };
    let info = socket.message();
    let info = serde_json::from_slice(info.strip_prefix(b"INFO ").unwrap()).unwrap();
    (socket, info)
}

fn echo(socket: &mut WebSocket) {
    let payload = "x".repeat(100_000);
    socket.send(&format!("{QUIET}SUB a 1\r\nPUB a 100000\r\n{payload}\r\nPING\r\n"));
    socket.expect(&format!("MSG a 1 100000\r\n{payload}\r\nPONG\r\n"));
}

for_both! {
    fn clients_encrypt_before_they_ask(which) {
        let conf = wss_conf("compression: true, no_tls: true", "");
        let server = Server::with().monitored().conf(conf).start(which);
        server.wait_log("Listening for websocket clients on wss://127.0.0.1:");
        assert!(server.has_wss());
        for (version, wanted) in [(&version::TLS13, "1.3"), (&version::TLS12, "1.2")] {
            let (mut socket, info) = open(&server, &Means { version, ..Means::default() });
            let flags = [&info["tls_required"], &info["tls_available"]];
            assert_eq!(flags, [true, true]);
            echo(&mut socket);
            let connz = http::json(&server, "/connz");
            let shown = connz["connections"].as_array().unwrap().last().unwrap();
            assert_eq!([&shown["type"], &shown["tls_version"]], ["websocket", wanted]);
            assert!(shown["tls_cipher_suite"].as_str().unwrap().ends_with("AES_128_GCM_SHA256"));
            assert_eq!(shown.get("tls_first"), None);
        }
        let mut client = Client::silent(server.port());
        let info = String::from_utf8(client.frame()).unwrap();
        assert!(!info.contains("tls_"), "{info}");
        let warned = |line: &String| line.contains("Websocket not configured with TLS");
        assert!(!server.log_lines().iter().any(warned));
    }

    fn who_leaves_with_a_request_is_answered(which) {
        let server = Server::with().conf(wss_conf("", "")).start(which);
        for version in [&version::TLS13, &version::TLS12] {
            let means = Means { version, ..Means::first() };
            let leave = |bytes: &[u8]| tls::say_and_leave(server.websocket_port(), &means, bytes);
            assert_eq!(leave(b""), "");
            let answer = leave(websocket::request("").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        }
    }

    fn the_last_words_are_encrypted(which) {
        let conf = wss_conf("authorization { user: a, pass: b, timeout: 0.2 }", "");
        let server = Server::with().conf(conf).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.expect("-ERR 'Authentication Timeout'\r\n");
        socket.expect_close(b"\x03\xf0Authentication Timeout");
    }

    fn clients_show_certificates(which) {
        let server = Server::with().conf(wss_conf("", "verify: true")).start(which);
        echo(&mut open(&server, &Means { cert: Some("client"), ..Means::default() }).0);
        let unknown = Means { version: &version::TLS12, ..Means::first() };
        assert!(tls::bridge(server.websocket_port(), &unknown).is_err());
        let line = server.wait_log("TLS handshake error from 127.0.0.1:");
        assert!(line.contains("[ERR] websocket: "), "{line}");
        assert!(line.ends_with(": tls: client didn't provide a certificate"), "{line}");
    }

    fn pages_and_ports_have_the_same_scheme(which) {
        let server = Server::with().conf(wss_conf("same_origin: true", "")).start(which);
        let ask = |origin: &str| {
            let origin = format!("Origin: {origin}\r\n");
            websocket::upgraded(websocket::connect(&server), &origin).1
        };
        for origin in ["https://h.com", "https://h.com:443"] {
            assert!(ask(origin).starts_with("HTTP/1.1 101 "), "{origin}");
        }
        for origin in ["http://h.com", "https://h.com:80"] {
            assert!(ask(origin).starts_with("HTTP/1.1 403 "), "{origin}");
        }
    }

    fn who_does_not_encrypt_is_told(which) {
        let server = Server::with().conf(wss_conf("", "")).start(which);
        let mut client = Client::silent(server.websocket_port());
        // Its first bytes tell nothing yet.
        client.send("GE");
        client.send(&websocket::request("")["GE".len()..]);
        let answer = "HTTP/1.0 400 Bad Request\r\n\r\n\
                      Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(String::from_utf8(client.read_to_end()).unwrap(), answer);
        let line = server.wait_log("client sent an HTTP request to an HTTPS server");
        assert!(line.contains("[ERR] websocket: TLS handshake error from 127.0.0.1:"), "{line}");
        let mut client = Client::silent(server.websocket_port());
        client.send("CONNECT {}\r\nPING\r\n");
        client.expect_closed();
        server.wait_log(": tls: first record does not look like a TLS handshake");
        drop(Client::silent(server.websocket_port()));
        server.wait_log(": EOF");
    }

    /// Nothing of it is a request.
    fn tls_on_the_other_port_ends(which) {
        let server = Server::with().conf(conf("handshake_timeout: \"300ms\"")).start(which);
        assert!(tls::bridge(server.websocket_port(), &Means::first()).is_err());
        WebSocket::open(&server, "").send("PING\r\n");
    }

    fn half_a_handshake_is_not_waited_for(which) {
        let conf = wss_conf("handshake_timeout: \"300ms\"", "");
        let server = Server::with().conf(conf).start(which);
        for sent in [&b""[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"] {
            let mut client = Client::silent(server.websocket_port());
            client.send_bytes(sent);
            client.expect_closed();
        }
        let line = server.wait_log("i/o timeout");
        assert!(line.contains("[ERR] websocket: TLS handshake error from 127.0.0.1:"), "{line}");
        let mut half = Client::from_stream(websocket::connect(&server));
        half.send("GET / HT");
        half.read_to_end();
    }
}

/// The real server takes this setting and forgets it.
#[test]
fn only_pinned_keys_are_taken() {
    let known = Means { cert: Some("client"), ..Means::default() };
    for (name, taken) in [("client", true), ("other", false)] {
        let pins = format!("verify: true, pinned_certs: [{:?}]", tls::pin(name));
        let conf = wss_conf("", &pins);
        let server = Server::with().monitored().conf(conf).start(Which::Dialtone);
        if taken {
            echo(&mut open(&server, &known).0);
            let varz = http::json(&server, "/varz");
            assert_eq!(varz["websocket"]["tls_pinned_certs"][0], tls::pin(name));
            continue;
        }
        let stream = tls::bridge(server.websocket_port(), &Means { first: true, ..known.clone() });
        assert_eq!(read_to_end(stream.unwrap()), "");
        server.wait_log("websocket: TLS handshake error from 127.0.0.1:");
        server.wait_log(": certificate not pinned");
    }
}

/// So is this one.
#[test]
fn handshakes_are_counted() {
    let conf = wss_conf("", "connection_rate_limit: 1");
    let server = Server::with().conf(conf).start(Which::Dialtone);
    let _first = WebSocket::open(&server, "");
    let mut second = Client::silent(server.websocket_port());
    second.expect_closed();
}

/// And these two: the handshake has a time of its own if that is set, and clients begin.
#[test]
fn the_handshake_has_a_time_of_its_own() {
    let conf = wss_conf("handshake_timeout: \"1h\"", "timeout: 0.2, handshake_first: true");
    let server = Server::with().conf(conf).start(Which::Dialtone);
    Client::silent(server.websocket_port()).expect_closed();
    echo(&mut WebSocket::open(&server, ""));
}

/// Behind the handshake, who has not upgraded costs little more.
#[test]
fn half_a_request_costs_little() {
    const COUNT: u64 = 200;
    let conf = wss_conf("handshake_timeout: \"1h\"", "");
    let server = Server::with().conf(conf).start(Which::Dialtone);
    echo(&mut WebSocket::open(&server, ""));
    let before = server.memory();
    let half = |_| {
        let mut stream = websocket::connect(&server);
        let cookie = format!("Cookie: {}", "x".repeat(1_000));
        stream.write_all(websocket::request(&cookie).trim_end().as_bytes()).unwrap();
        stream
    };
    let halves: Vec<TcpStream> = (0..COUNT).map(half).collect();
    echo(&mut WebSocket::open(&server, ""));
    let grown = server.memory().saturating_sub(before);
    assert!(grown < COUNT * 32 * 1024, "{grown} bytes");
    drop(halves);
}

/// Those that have been waited for longest give way, and none costs more than a little.
#[test]
fn many_half_handshakes_keep_nobody_out() {
    let conf = wss_conf("handshake_timeout: \"1h\"", "");
    let server = Server::with().conf(conf).start(Which::Dialtone);
    let before = server.memory();
    let mut silent = Vec::new();
    for _ in 0..4_200 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.websocket_port())).unwrap();
        stream.write_all(b"\x16\x03\x01\x08\0\x01\0\x07\xfc\x03\x03").unwrap();
        stream.write_all(&[b'x'; 1_000]).unwrap();
        silent.push(stream);
    }
    echo(&mut WebSocket::open(&server, ""));
    assert_eq!(read_to_end(silent.remove(0)), "");
    let grown = server.memory_peak().saturating_sub(before);
    assert!(grown < 4_200 * 16 * 1024, "{grown} bytes");
}
