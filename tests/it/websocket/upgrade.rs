//! The request that makes a WebSocket of a connection.

use std::io::Write;

use super::*;

/// Sends a request and reads one answer, up to its body, with the date masked; the whole of it if
/// the connection ends.
fn ask(client: &mut Client, request: &str) -> String {
    client.send_anyway(request.as_bytes());
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(client.received()).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let is_whole = match len {
                Some(len) => request.starts_with("HEAD") || body.len() >= len.parse().unwrap(),
                None => head.starts_with("HTTP/1.1 101") || client.is_closed(),
            };
            if is_whole {
                client.take_received();
                let head: Vec<&str> = head
                    .lines()
                    .map(|line| if line.starts_with("Date: ") { "Date: *" } else { line })
                    .collect();
                // Of INFO, which may come with it, nothing.
                let body = if head[0].contains("101") { "" } else { body };
                return format!("{}\n\n{body}", head.join("\n"));
            }
        }
        if client.is_closed() {
            return text;
        }
        client.read_some(deadline);
    }
}

fn open(server: &Server) -> Client {
    Client::silent(server.websocket_port())
}

fn refusal(status: &str) -> String {
    let body = format!("{}\n", status.split_once(' ').unwrap().1);
    format!(
        "HTTP/1.1 {status}\nContent-Type: text/plain; charset=utf-8\nSec-Websocket-Version: 13\n\
         X-Content-Type-Options: nosniff\nDate: *\nContent-Length: {}\n\n{body}",
        body.len()
    )
}

for_both! {
    fn a_wrong_request_may_be_followed_by_a_right_one(which) {
        let server = Server::with().conf(conf("same_origin: true")).start(which);
        let right = websocket::request("");
        let mut client = open(&server);
        for (old, new, status, why) in [
            ("GET / ", "GET /mqtt ", "404 Not Found", "mqtt websocket endpoint not enabled"),
            ("GET", "POST", "405 Method Not Allowed", "request method must be GET"),
            ("h.com", "", "400 Bad Request", "'Host' missing in request"),
            (": websocket", ": a, b", "400 Bad Request", "invalid value for header 'Upgrade'"),
            (": Upgrade", ": a", "400 Bad Request", "invalid value for header 'Connection'"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", "400 Bad Request", "key missing"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "a", "400 Bad Request", "invalid websocket key"),
            (": 13", ": 12", "400 Bad Request", "invalid version"),
            (
                ": 13\r\n",
                ": 13\r\nOrigin: http://a.com\r\n",
                "403 Forbidden",
                "origin not allowed: not same origin",
            ),
        ] {
            assert_eq!(ask(&mut client, &right.replace(old, new)), refusal(status), "{new}");
            let line = server.wait_log(&format!("websocket handshake error: {why}"));
            let shown = format!("[ERR] 127.0.0.1:{} - websocket", client.local_port());
            assert!(line.contains(&shown), "{line}");
        }
        let head = refusal("405 Method Not Allowed");
        let head = head.strip_suffix("Method Not Allowed\n").unwrap();
        assert_eq!(ask(&mut client, &right.replace("GET", "HEAD")), head);
        let answer = ask(&mut client, &right);
        assert_eq!(
            answer,
            "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n"
        );
    }

    fn what_is_no_request_ends_the_connection(which) {
        let server = Server::with().conf(conf("")).start(which);
        let right = websocket::request("");
        for (request, status) in [
            ("hello\r\n\r\n".to_owned(), "400 Bad Request"),
            // Whatever would follow.
            ("CONNECT {}\r\n".to_owned(), "400 Bad Request"),
            (right.replace("Host: h.com\r\n", ""), "400 Bad Request: missing required Host header"),
            (
                right.replace("HTTP/1.1", "HTTP/2.0"),
                "505 HTTP Version Not Supported: unsupported protocol version",
            ),
            (right.replace("Upgrade: websocket", "Upgrade websocket"), "400 Bad Request"),
        ] {
            let answer = ask(&mut open(&server), &request);
            let wanted = format!(
                "HTTP/1.1 {status}\nContent-Type: text/plain; charset=utf-8\nConnection: close\n\n\
                 {status}"
            );
            assert_eq!(answer, wanted, "{request}");
        }
        let answer = ask(&mut open(&server), &right.replace("GET / ", "GET /a/../b?c "));
        assert!(answer.starts_with("HTTP/1.1 307 Temporary Redirect\n"), "{answer}");
        assert!(answer.contains("\nLocation: /b?c\n"), "{answer}");
    }

    fn nothing_may_come_before_the_answer(which) {
        let server = Server::with().conf(conf("")).start(which);
        let early = websocket::request("").into_bytes();
        let mut client = open(&server);
        client.send_bytes(&[early, masked(BINARY, b"PING\r\n")].concat());
        client.expect_closed();
        server.wait_log("websocket handshake error: client sent data before handshake is complete");
        let mut client = open(&server);
        client.send(&(websocket::request("Content-Length: 3\r\n") + "abc"));
        client.expect_closed();
    }

    fn leaf_nodes_are_sent_away(which) {
        let server = Server::with().conf(conf("")).start(which);
        let mut client = open(&server);
        let request = websocket::request("").replace("GET / ", "GET /x/leafnode ");
        assert!(ask(&mut client, &request).starts_with("HTTP/1.1 101 "));
        client.expect_closed();
        server.wait_log("Not configured to accept leaf node connections");
    }

    fn headers_are_added_to_the_answer(which) {
        let server = Server::with().conf(conf("headers { x: \"y z\" }, compress: true"));
        let server = server.start(which);
        let request = websocket::request(&format!("{DEFLATE}Nats-No-Masking: true\r\n"));
        assert_eq!(
            ask(&mut open(&server), &request),
            "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\nSec-WebSocket-Extensions: \
             permessage-deflate; server_no_context_takeover; client_no_context_takeover\n\
             Nats-No-Masking: true\nx: y z\n\n"
        );
    }

    fn who_sends_half_a_request_is_not_waited_for(which) {
        let server = Server::with().conf(conf("handshake_timeout: \"100ms\"")).start(which);
        let request = websocket::request("");
        for sent in ["", &request[..20], &request[..request.len() - 2]] {
            let mut client = open(&server);
            client.send(sent);
            match which {
                Which::Dialtone => client.expect_closed(),
                // Half a line has an answer there.
                Which::Real => _ = client.read_to_end(),
            }
        }
    }
}

/// The real server lets a request have a megabyte, and waits for it for ever.
#[test]
fn a_request_has_a_length_and_a_time() {
    let server = Server::with().conf(conf("")).start(Which::Dialtone);
    let long = format!("Cookie: {}\r\n", "x".repeat(40_000));
    let answer = ask(&mut open(&server), &websocket::request(&long));
    assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\n"), "{answer}");
    open(&server).expect_closed();
}

/// Those that have been waited for longest give way; who asks for something is served.
#[test]
fn many_that_ask_for_nothing_keep_nobody_out() {
    let server = Server::with().conf(conf("handshake_timeout: \"1h\"")).start(Which::Dialtone);
    let before = server.memory();
    let mut silent = Vec::new();
    for _ in 0..4_200 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.websocket_port())).unwrap();
        stream.write_all(&[b'x'; 1_000]).unwrap();
        silent.push(stream);
    }
    let mut socket = WebSocket::open(&server, "");
    socket.send("PING\r\n");
    socket.expect("PONG\r\n");
    let first = silent.remove(0);
    assert_eq!(read_to_end(first), "");
    let grown = server.memory_peak().saturating_sub(before);
    assert!(grown < 4_200 * 8 * 1024, "{grown} bytes");
}
