//! Servers that dial: their targets, their first lines, and their reaction to failures.
//!
//! A test plays the other server; the same lines go to both kinds.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use super::handshake::alone;
use crate::support::remote::{connect_line, info_line, listener, server_id};
use crate::support::{Client, Remote, Server, Which, lasting_port};

/// A server with these settings that dials the listener.
fn dials(which: Which, listener: &TcpListener, settings: &str) -> Server {
    let port = listener.local_addr().unwrap().port();
    alone(&format!("routes: [\"nats://127.0.0.1:{port}\"]\n{settings}")).start(which)
}

/// The JSON of the next line, which is of this op.
#[track_caller]
fn json_of(line: &mut Client, op: &str) -> Value {
    let frame = line.frame();
    let json = frame.strip_prefix(format!("{op} ").as_bytes());
    let json = json.unwrap_or_else(|| panic!("{op} is awaited: {}", frame.escape_ascii()));
    serde_json::from_slice(json).unwrap()
}

/// The first line of a listening server that pools.
fn pooled(members: Value) -> String {
    let mut all = json!({"route_pool_size": 3});
    all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    info_line("r", &all)
}

/// The lines before the end, without interest of the system account.
#[track_caller]
fn rest(line: Client) -> String {
    Remote { line, info: Value::Null }.read_to_end()
}

for_both! {
    /// CONNECT comes at once; INFO when the other side has said its own.
    fn the_side_that_dials_introduces_itself(which) {
        let listener = listener();
        let _server = dials(which, &listener, "pool_size: -1\ncompression: off");
        let mut line = Remote::accept(&listener);
        let connect = json_of(&mut line, "CONNECT");
        let wanted = json!({
            "verbose": false, "pedantic": false, "echo": true, "tls_required": false,
            "headers": true, "cluster": "mesh",
        });
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&connect[key], value, "{key} of {connect}");
        }
        assert!(connect.get("lang").is_none(), "{connect}");
        line.send(&info_line("r", &json!({})));
        let info = json_of(&mut line, "INFO");
        assert_eq!(info["server_id"], connect["name"]);
        assert_eq!(info["server_name"], "own");
        line.send("RS+ $G a\r\nPING\r\n");
        let mut remote = Remote { line, info };
        remote.expect("PONG\r\n");
    }

    fn it_proves_itself_as_the_address_says(which) {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let _server = alone(&format!(
            "pool_size: -1\nroutes: [\"nats://mesh:secret@127.0.0.1:{port}\"]"
        ))
        .start(which);
        let connect = json_of(&mut Remote::accept(&listener), "CONNECT");
        assert_eq!((&connect["user"], &connect["pass"]), (&json!("mesh"), &json!("secret")));
    }

    /// One connection for the first place in the pool and one for `$SYS`; each further place is
    /// dialled when the one before it has answered.
    fn a_pool_is_opened_place_by_place(which) {
        let listener = listener();
        let _server = dials(which, &listener, "");
        let mut places = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..4 {
            let mut line = Remote::accept(&listener);
            json_of(&mut line, "CONNECT");
            line.send(&pooled(json!({})));
            let info = json_of(&mut line, "INFO");
            assert_eq!(info["route_pool_size"], 3);
            assert_eq!(info["compression"], "off");
            match info["route_account"].as_str() {
                Some(account) => assert_eq!(account, "$SYS"),
                None => {
                    let place = info["route_pool_idx"].as_u64().unwrap_or(0);
                    // The next one is dialled when this is answered, after the last nobody asks.
                    if place < 2 {
                        assert_eq!(line.frame(), b"PING\r\n");
                        line.send("PONG\r\n");
                    }
                    places.push(place);
                }
            }
            lines.push(line);
        }
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2]);
    }

    /// To a server that does not pool the connection for `$SYS` is given up.
    fn a_server_without_a_pool(which) {
        let listener = listener();
        let server = dials(which, &listener, "");
        let mut refused = 0;
        let mut kept = None;
        // Dialtone does not even try.
        while kept.is_none() || which == Which::Real && refused == 0 {
            let mut line = Remote::accept(&listener);
            json_of(&mut line, "CONNECT");
            line.send(&info_line("r", &json!({})));
            let frame = line.frame();
            if frame.starts_with(b"INFO ") {
                kept = Some(line);
                continue;
            }
            line.put_back(&frame);
            let text = "-ERR 'Not possible to have a dedicated route for account \"$SYS\" between \
                        those servers'\r\n";
            assert_eq!(rest(line), text);
            refused += 1;
        }
        let mut remote = Remote { line: kept.expect("one is kept"), info: Value::Null };
        remote.send("RS+ $G a\r\n");
        remote.fence();
        let mut client = Client::connect(&server, "");
        client.send("PUB a 0\r\n\r\n");
        remote.expect("RMSG $G a 0\r\n\r\n");
    }

    /// The log showed `::1:6222`.
    fn nobody_is_there_on_ipv6(which) {
        let port = lasting_port();
        let routes = format!("pool_size: -1\nroutes: [\"nats://[::1]:{port}\"]");
        let server = alone(&routes).start(which);
        let refused = format!("dial tcp [::1]:{port}: connect: connection refused");
        server.wait_log(&format!("(attempt 1): {refused}"));
    }

    /// Every second, as long as it takes.
    fn it_comes_back(which) {
        let listener = listener();
        let _server = dials(which, &listener, "pool_size: -1");
        for _ in 0..2 {
            let mut line = Remote::accept(&listener);
            json_of(&mut line, "CONNECT");
        }
        let mut line = Remote::accept(&listener);
        json_of(&mut line, "CONNECT");
        line.send(&info_line("r", &json!({"cluster": "other"})));
        assert_eq!(rest(line), "");
        let mut line = Remote::accept(&listener);
        json_of(&mut line, "CONNECT");
        line.send("-ERR 'go away'\r\n");
        assert_eq!(rest(line), "");
        let mut line = Remote::accept(&listener);
        line.send(&info_line("r", &json!({})));
        json_of(&mut line, "CONNECT");
        json_of(&mut line, "INFO");
        let mut remote = Remote { line, info: Value::Null };
        remote.fence();
        // Also after it had worked.
        drop(remote);
        json_of(&mut Remote::accept(&listener), "CONNECT");
    }

    fn only_who_dials_names_a_place_in_the_pool(which) {
        let listener = listener();
        let _server = dials(which, &listener, "");
        let mut line = Remote::accept(&listener);
        json_of(&mut line, "CONNECT");
        line.send(&pooled(json!({"route_pool_idx": 1})));
        let text = "-ERR 'Route pool index should not be set but is set to 1'\r\n";
        assert_eq!(rest(line), text);
    }

    /// A server that another one told of is dialled, too, with the same password.
    fn whom_it_hears_of_it_dials(which) {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let settings = "pool_size: -1\nauthorization { user: mesh, password: secret }";
        let server = alone(settings).start(which);
        let mut first = Remote::open(&server);
        first.send(&connect_line("first", &json!({"user": "mesh", "pass": "secret"})));
        first.send(&info_line("first", &json!({})));
        first.fence();
        let ip = format!("nats-route://127.0.0.1:{port}/");
        first.send(&info_line("told", &json!({"ip": ip, "auth_required": true})));
        let mut line = Remote::accept(&listener);
        let connect = json_of(&mut line, "CONNECT");
        assert_eq!((&connect["user"], &connect["pass"]), (&json!("mesh"), &json!("secret")));
        line.send(&info_line("told", &json!({})));
        json_of(&mut line, "INFO");
        let mut told = Remote { line, info: Value::Null };
        told.fence();
        // Who is there already is not dialled again.
        first.send(&info_line("told", &json!({"ip": ip})));
        first.fence();
        told.fence();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }

    /// Who is there is told of a newcomer, with an address to dial; the newcomer of nobody.
    fn it_tells_others_of_a_newcomer(which) {
        let server = alone("pool_size: -1").start(which);
        let mut first = Remote::join(&server, "first");
        let newcomer = json!({"host": "10.1.2.3", "port": 4444, "connect_urls": ["c:1"]});
        let mut second = Remote::join_with(&server, "second", &newcomer);
        let told = first.fence();
        assert_eq!(told.len(), 1, "{told:?}");
        let told: Value = serde_json::from_str(told[0].strip_prefix("INFO ").unwrap()).unwrap();
        assert_eq!(told["server_id"], server_id("second"));
        assert_eq!(told["server_name"], "second");
        assert_eq!(told["ip"], "nats-route://127.0.0.1:4444/");
        assert_eq!(told["connect_urls"], json!(["c:1"]));
        assert_eq!(told["gossip_mode"], 1);
        assert!(second.fence().is_empty());
    }
}

/// A server without authorization is told of thousands of servers by a stranger. It dials a few,
/// serves everybody meanwhile, and reaches the real one that somebody else tells of.
#[test]
fn invented_servers_cost_a_few_dials() {
    let (invented, real) = (listener(), listener());
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let (nowhere, somewhere) = (address(&invented), address(&real));
    let server = alone("pool_size: -1").start(Which::Dialtone);
    let mut liar = Remote::join(&server, "liar");
    let mut honest = Remote::join(&server, "honest");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whoever is dialled there accepts and says nothing.
        let dialled = scope.spawn(|| {
            let lines = invented.incoming().take_while(|_| !done.load(Relaxed));
            lines.collect::<Result<Vec<_>, _>>().unwrap().len()
        });
        let tells = |name: &str, address: SocketAddr| {
            info_line(name, &json!({"ip": format!("nats-route://{address}/"), "gossip_mode": 1}))
        };
        for number in 0..5_000 {
            liar.send(&tells(&format!("x{number}"), nowhere));
        }
        liar.fence();
        honest.send(&tells("real", somewhere));
        honest.fence();
        Client::connect(&server, "").fence();
        Remote::accept(&real);
        done.store(true, Relaxed);
        TcpStream::connect(nowhere).unwrap();
        let dialled = dialled.join().unwrap();
        assert!((1..200).contains(&dialled), "{dialled}");
    });
}
