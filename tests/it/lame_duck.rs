//! Lame duck mode: no client comes any more, those that are there are told, and closed one by one
//! behind the grace period.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::client::quiet_connect;
use crate::support::websocket::{self, BINARY, CLOSE, WebSocket};
use crate::support::{Client, Cluster, Flavor, Remote, Server, Which, http};

use Which::{Dialtone, Real};

/// Clients are closed soon. The duration is the shortest one allowed, which is what one client has.
const SOON: &str = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"100ms\"\n";

/// A CONNECT member of clients that take INFO at any time.
const TAKES_INFO: &str = r#""protocol":1"#;

/// A client that takes INFO at any time, behind the INFO that tells it of its account.
fn informed(server: &Server) -> Client {
    let mut client = Client::connect(server, TAKES_INFO);
    info(&mut client);
    client
}

/// The next frame, an INFO.
#[track_caller]
fn info(client: &mut Client) -> Value {
    let frame = client.frame();
    let json = frame.strip_prefix(b"INFO ").unwrap_or_else(|| panic!("{}", frame.escape_ascii()));
    serde_json::from_slice(json).unwrap()
}

/// The INFO that tells of lame duck mode.
#[track_caller]
fn told(client: &mut Client) -> Value {
    let told = info(client);
    assert_eq!(told["ldm"], true, "{told}");
    told
}

#[track_caller]
fn assert_refused(port: u16) {
    let refused = TcpStream::connect(("127.0.0.1", port)).map(|_| ()).map_err(|e| e.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
}

fn urls(info: &Value) -> Vec<String> {
    let urls = info["connect_urls"].as_array().cloned().unwrap_or_default();
    urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect()
}

/// The address of a server in `connect_urls`.
fn url(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

for_both! {
    fn clients_are_told_and_closed(which) {
        let mut server = Server::with().conf(SOON).start(which);
        let mut modern = informed(&server);
        let mut old = Client::connect(&server, "");
        let mut without_connect = Client::open(&server);
        server.signal("USR2");
        let told = told(&mut modern);
        assert_eq!((&told["port"], told.get("connect_info")), (&json!(server.port()), None));
        assert_refused(server.port());
        for client in [&mut modern, &mut old, &mut without_connect] {
            client.expect_closed();
        }
        assert_eq!(server.wait_exit().code(), Some(0));
        let lines = server.log_lines();
        let mut rest = lines.iter();
        for text in [
            "[INF] Trapped \"user defined signal 2\" signal",
            "[INF] Entering lame duck mode, stop accepting new clients",
            "[INF] Closing existing clients",
            "[INF] Initiating Shutdown...",
            "[INF] Server Exiting..",
        ] {
            assert!(rest.any(|line| line.ends_with(text)), "{text}, in order, in {lines:#?}");
        }
    }

    fn without_clients_it_ends_at_once(which) {
        let mut server = Server::start(which);
        server.signal("USR2");
        assert_eq!(server.wait_exit().code(), Some(0));
        server.wait_log("Entering lame duck mode");
        server.wait_log("Server Exiting..");
        assert!(!server.log_lines().iter().any(|line| line.contains("Closing existing")));
    }

    /// The clients that are there go on as before, and so does monitoring.
    fn nothing_else_changes_meanwhile(which) {
        let mut server = Server::with().monitored().start(which);
        let mut subscriber = informed(&server);
        subscriber.send("SUB a 1\r\n");
        subscriber.fence();
        let mut publisher = informed(&server);
        server.signal("USR2");
        told(&mut subscriber);
        told(&mut publisher);
        publisher.send("PUB a 2\r\nhi\r\nSUB b 1\r\n");
        publisher.fence();
        subscriber.expect("MSG a 1 2\r\nhi\r\n");
        subscriber.send("PUB b 2\r\nho\r\n");
        publisher.expect("MSG b 1 2\r\nho\r\n");
        let health = http::page(&server, "/healthz");
        let error = "failed to be ready for connections after 1ms: server";
        assert_eq!(health.status, 500);
        assert_eq!(
            serde_json::from_str::<Value>(&health.body).unwrap(),
            json!({ "status": "error", "error": error })
        );
        let page = http::json(&server, "/varz");
        assert_eq!((&page["port"], &page["connections"]), (&json!(server.port()), &json!(2)));
        // The signal that service managers send right behind it does nothing, nor a second one.
        server.signal("TERM");
        server.wait_log("Trapped \"terminated\" signal");
        server.signal("USR2");
        publisher.send("PUB a 0\r\n\r\n");
        publisher.fence();
        subscriber.expect("MSG a 1 0\r\n\r\n");
        server.signal("INT");
        subscriber.expect_closed();
        publisher.expect_closed();
        assert_eq!(server.wait_exit().code(), Some(0));
        let entered = server.log_lines().into_iter().filter(|line| line.contains("Entering"));
        assert_eq!(entered.count(), 1);
    }

    fn what_waits_for_a_client_is_flushed(which) {
        const COUNT: usize = 200;
        let mut server = Server::with().conf(SOON).start(which);
        let mut subscriber = Client::subscribed(&server, "pending");
        let mut publisher = Client::connect(&server, "");
        publisher.send(&format!("PUB pending 100\r\n{}\r\n", "x".repeat(100)).repeat(COUNT));
        publisher.fence();
        server.signal("USR2");
        let received = subscriber.read_to_end();
        assert_eq!(crate::support::frames::split(&received).len(), COUNT);
        assert_eq!(server.wait_exit().code(), Some(0));
    }

    fn by_websocket_too(which) {
        let conf = format!("{SOON}{}", websocket::conf(""));
        let mut server = Server::with().conf(conf).start(which);
        let mut socket = WebSocket::open(&server, "");
        socket.send(&format!("{}PING\r\n", quiet_connect(TAKES_INFO)));
        assert!(socket.message().starts_with(b"PONG\r\nINFO "));
        server.signal("USR2");
        let (first, payload) = socket.frame().unwrap();
        assert_eq!(first, BINARY);
        assert!(payload.escape_ascii().to_string().contains(r#"\"ldm\":true"#));
        assert_refused(server.websocket_port());
        let (first, payload) = socket.frame().unwrap();
        assert_eq!((first, &payload[..]), (CLOSE, &b"\x03\xe9Server Shutdown"[..]));
        assert_eq!(server.wait_exit().code(), Some(0));
    }

    /// By the process id, and by the file that holds it.
    fn by_a_command(which) {
        for by_file in [false, true] {
            let mut server = Server::with().flags(["-P", "server.pid"]).start(which);
            let process = match by_file {
                false => server.pid().to_string(),
                true => server.dir().join("server.pid").to_str().unwrap().to_owned(),
            };
            let sent = Command::new(which.executable())
                .args(["--signal", &format!("ldm={process}")])
                .output()
                .unwrap();
            assert_eq!(sent.status.code(), Some(0), "{sent:?}");
            assert_eq!(server.wait_exit().code(), Some(0));
            server.wait_log("Entering lame duck mode");
        }
    }

    /// The other servers get an INFO, on one connection each, without what only its first needs.
    fn other_servers_are_told(which) {
        let conf = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }\n";
        let mut server = Server::with().conf(conf).start(which);
        let mut other = Remote::join_with(
            &server,
            "other",
            &json!({ "connect_urls": ["127.0.0.1:7"] }),
        );
        other.send("RS+ $G a\r\n");
        other.fence();
        let mut client = informed(&server);
        server.signal("USR2");
        other.skip_system();
        let told_route = told(&mut other.line);
        assert_eq!(told_route["server_id"], other.info["server_id"]);
        let left_out = [told_route.get("nonce"), told_route.get("compression")];
        assert_eq!(left_out, [None, None]);
        assert_eq!(urls(&told(&mut client)), ["127.0.0.1:7"]);
        // Messages go on crossing.
        client.send("PUB a 2\r\nhi\r\n");
        other.expect("RMSG $G a 2\r\nhi\r\n");
        server.signal("INT");
        client.expect_closed();
        assert_eq!(server.wait_exit().code(), Some(0));
    }
}

/// A server of each kind in lame duck mode beside one of each kind: their clients hear of no server
/// that is leaving.
fn leaves_a_cluster(leaving: Which) {
    let kinds = [leaving, Dialtone, Real];
    let mut cluster = Cluster::start_with(&kinds, Flavor::Default, SOON);
    let mut clients: Vec<Client> = cluster.servers().iter().map(informed).collect();
    let [first, others @ ..] = &mut clients[..] else { unreachable!("three servers") };
    cluster.settle();
    let mut server = cluster.take(0);
    let mut stay: Vec<String> = cluster.servers().iter().map(url).collect();
    stay.sort();
    server.signal("USR2");
    let mut told = urls(&told(first));
    told.sort();
    assert_eq!(told, stay);
    for client in others {
        let mut told = urls(&info(client));
        told.sort();
        assert_eq!(told, stay);
    }
    first.expect_closed();
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(cluster.complaints(), [""; 0]);
}

test_of! { nobody_is_sent_to_a_dialtone_that_leaves [Dialtone Real] {
    leaves_a_cluster(Dialtone);
}}

test_of! { nobody_is_sent_to_a_nats_server_that_leaves [Dialtone Real] {
    leaves_a_cluster(Real);
}}

/// The real server tells a client nothing that has not had its first PONG by then.
#[test]
fn who_logs_in_late_is_told_then() {
    let server = Server::start(Dialtone);
    let mut late = Client::open(&server);
    let mut early = informed(&server);
    server.signal("USR2");
    told(&mut early);
    late.send(&format!("{}PING\r\n", quiet_connect(TAKES_INFO)));
    late.expect("PONG\r\n");
    assert_eq!(told(&mut late)["connect_info"], true);
    // Once is enough.
    late.fence();
}

/// A server that joins then learns no address of the one that leaves.
#[test]
fn a_server_that_joins_late_sends_nobody_there() {
    let conf = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }\n";
    let server = Server::with().conf(conf).start(Dialtone);
    let mut client = informed(&server);
    server.signal("USR2");
    told(&mut client);
    assert_eq!(urls(&Remote::open(&server).info), [""; 0]);
}
