//! Who comes by WebSocket, in logs, on pages, and to the eyes of the others.

use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::support::{http, tls};

/// INFO of a connection.
fn info(socket: &mut WebSocket) -> Value {
    let line = socket.message();
    serde_json::from_slice(line.strip_prefix(b"INFO ").unwrap()).unwrap()
}

for_both! {
    fn pages_and_logs_tell_the_way(which) {
        let more = "same_origin: true, compress: true, advertise: \"a:1\", \
                    handshake_timeout: \"3s\"";
        let server = Server::with().monitored().flags(["-D"]).conf(conf(more)).start(which);
        let host = "127.0.0.1";
        let line = server.wait_log("Listening for websocket clients on ws://127.0.0.1:");
        assert!(line.ends_with(&format!(":{}", server.websocket_port())), "{line}");
        server.wait_log("[WRN] Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
        let mut socket = WebSocket::upgrade(&server, "X-Forwarded-For: 2001:db8::7\r\n");
        let info = info(&mut socket);
        assert_eq!(info["host"], host);
        assert_eq!(info["port"], server.websocket_port());
        assert_eq!(info["client_ip"], host);
        assert_eq!((&info["connect_urls"], &info["ws_connect_urls"]), (&Value::Null, &Value::Null));
        let port = socket.client.local_port();
        server.wait_log(&format!("[2001:db8::7]/127.0.0.1:{port} - wid:"));
        socket.send("CONNECT {\"verbose\":false,\"lang\":\"js\",\"version\":\"1\"}\r\nPING\r\n");
        socket.expect("PONG\r\n");
        let connz = http::json(&server, "/connz");
        let conn = &connz["connections"][0];
        assert_eq!((&conn["kind"], &conn["type"]), (&"Client".into(), &"websocket".into()));
        assert_eq!((&conn["ip"], &conn["port"]), (&host.into(), &port.into()));
        let varz = http::json(&server, "/varz");
        let wanted = serde_json::json!({
            "host": host, "port": server.websocket_port(), "advertise": "a:1",
            "handshake_timeout": 3_000_000_000_u64, "no_tls": true, "same_origin": true,
            "compression": true,
        });
        assert_eq!(varz["websocket"], wanted);
        assert_eq!(varz["connections"], 1);
    }

    /// INFO of the other port asks for TLS, which this one has not.
    fn ports_are_encrypted_one_by_one(which) {
        let server = Server::with().conf(conf("") + &tls::conf("")).start(which);
        let mut socket = WebSocket::upgrade(&server, "");
        let info = info(&mut socket);
        assert_eq!((&info["tls_required"], &info["tls_available"]), (&Value::Null, &Value::Null));
        socket.send("PING\r\n");
        socket.expect("PONG\r\n");
    }

    fn the_block_has_a_login_of_its_own(which) {
        let own = conf("authorization { user: a, pass: b }, user_cookie: u, pass_cookie: p");
        let server = Server::with().conf(own).start(which);
        Client::connect(&server, "").fence();
        let mut socket = WebSocket::upgrade(&server, "Cookie: u=\"a\"; p=wrong\r\n");
        assert_eq!(info(&mut socket)["auth_required"], true);
        // What CONNECT says counts, and cookies fill in what it does not say.
        socket.send("CONNECT {\"verbose\":false,\"pass\":\"b\"}\r\nPING\r\n");
        socket.expect("PONG\r\n");
        server.wait_log("Server is ready");
        let mut socket = WebSocket::open(&server, "Cookie: u=a; p=b\r\n");
        socket.send(&format!("{QUIET}PING\r\n"));
        socket.expect("PONG\r\n");
        let mut socket = WebSocket::open(&server, "Cookie: u=a; p=b\r\n");
        socket.send("CONNECT {\"verbose\":false,\"user\":\"b\"}\r\nPING\r\n");
        socket.expect("-ERR 'Authorization Violation'\r\n");
    }

    fn users_may_be_bound_to_a_way(which) {
        let users = "authorization { users: [
            { user: web, password: p, allowed_connection_types: [WEBSOCKET] }
            { user: tcp, password: p, allowed_connection_types: [STANDARD] }
            { user: guest, password: p } ] }\n";
        let server =
            Server::with().conf(conf("no_auth_user: guest")).more_conf(users).start(which);
        let login = |user| format!("CONNECT {{\"user\":\"{user}\",\"pass\":\"p\"}}\r\nPING\r\n");
        let refused = "-ERR 'Authorization Violation'\r\n";
        for (user, by_web, by_tcp) in [("web", "+OK", "-ERR"), ("tcp", "-ERR", "+OK")] {
            let mut socket = WebSocket::open(&server, "");
            socket.send(&login(user));
            socket.expect(if by_web == "+OK" { "+OK\r\nPONG\r\n" } else { refused });
            let mut client = Client::open(&server);
            client.send(&login(user));
            client.expect(if by_tcp == "+OK" { "+OK\r\nPONG\r\n" } else { refused });
        }
        let mut socket = WebSocket::open(&server, "");
        socket.send("SUB a 1\r\nPING\r\n");
        socket.expect("+OK\r\nPONG\r\n");
        let mut client = Client::open(&server);
        client.send("SUB a 1\r\n");
        client.expect(refused);
    }
}

/// Servers of both kinds tell each other where their clients can connect, by either way.
fn all_addresses_are_told(first: Which, second: Which) {
    let cluster = |routes: &str| {
        format!("cluster {{ name: c, listen: \"127.0.0.1:-1\", routes: [{routes}] }}\n")
    };
    let first =
        Server::with().conf(conf("advertise: \"ws.example:1\"") + &cluster("")).start(first);
    let mut socket = WebSocket::open(&first, "");
    socket.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    let mut got = Vec::new();
    let mut read_until = |socket: &mut WebSocket, text: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !String::from_utf8_lossy(&got).contains(text) {
            assert!(Instant::now() < deadline, "{}", shown(&got));
            got.extend(socket.message());
        }
        std::mem::take(&mut got)
    };
    read_until(&mut socket, "PONG\r\n");
    let route = format!("\"nats://127.0.0.1:{}\"", first.route_port());
    let second = Server::with().conf(conf("") + &cluster(&route)).start(second);
    let other = format!("127.0.0.1:{}", second.websocket_port());
    let news = read_until(&mut socket, &other);
    let news = String::from_utf8_lossy(&news).into_owned();
    assert!(news.contains(&format!("\"connect_urls\":[\"ws.example:1\",\"{other}\"]")), "{news}");
    let mut client = Client::silent(second.port());
    let info = String::from_utf8_lossy(&client.frame()).into_owned();
    assert!(!info.contains("ws.example") && !info.contains("ws_connect_urls"), "{info}");
    let port = second.port();
    second.stop();
    let gone = read_until(&mut socket, "\"connect_urls\":[\"ws.example:1\"]");
    assert!(!String::from_utf8_lossy(&gone).contains(&format!("127.0.0.1:{port}")));
}

test_of!(addresses_are_told_among_dialtones [Dialtone Dialtone] {
    all_addresses_are_told(Which::Dialtone, Which::Dialtone);
});

test_of!(addresses_are_told_to_nats_servers [Dialtone Real] {
    all_addresses_are_told(Which::Dialtone, Which::Real);
    all_addresses_are_told(Which::Real, Which::Dialtone);
});
