//! What the servers of a cluster know of each other by the system account.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::remote::server_id;
use crate::support::{Client, Cluster, Flavor, PATIENCE, Remote, Server, Which};

const CONF: &str = r#"accounts {
    $SYS: { users: [{ user: sys, password: p }] }
    A: { users: [{ user: a, password: p }], limits: { max_connections: 3 } }
}
"#;
const CLUSTER: &str = r#"cluster { name: mesh, listen: "127.0.0.1:-1", pool_size: -1 }"#;

const A: &str = r#""user":"a","pass":"p""#;

/// A system user that gets answers as subscription 1.
fn system_user(server: &Server) -> Client {
    let mut client = Client::connect(server, r#""user":"sys","pass":"p""#);
    client.send("SUB in 1\r\n");
    client.fence();
    client
}

/// The statistics of the server.
#[track_caller]
fn statsz(client: &mut Client) -> Value {
    client.send("PUB $SYS.REQ.SERVER.PING in 0\r\n\r\n");
    let frame = String::from_utf8(client.frame()).unwrap();
    let (_, body) = frame.split_once("\r\n").unwrap();
    serde_json::from_str::<Value>(body).unwrap_or_else(|_| panic!("{frame}"))["statsz"].take()
}

/// Waits until the server knows of so many servers, itself included.
#[track_caller]
fn wait_servers(client: &mut Client, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while statsz(client)["active_servers"] != count {
        assert!(Instant::now() < deadline, "not {count} servers, but {}", statsz(client));
    }
}

/// Publishes in the system account as another server, with a number of its own.
fn tell(remote: &mut Remote, name: &str, seq: u64, end: &str, members: &str) {
    let id = server_id(name);
    let body = format!(r#"{{"server":{{"name":"{name}","id":"{id}","seq":{seq}}}{members}}}"#);
    let subject = match end {
        "CONNS" => "$SYS.SERVER.ACCOUNT.A.CONNS".to_owned(),
        _ => format!("$SYS.SERVER.{id}.{end}"),
    };
    remote.send(&format!("RMSG $SYS {subject} {}\r\n{body}\r\n", body.len()));
}

/// Says how many clients of A another server has.
fn tell_conns(remote: &mut Remote, seq: u64, count: usize) {
    tell(remote, "r", seq, "CONNS", &format!(r#","acc":"A","conns":{count}"#));
}

for_both! {
    fn a_server_counts_from_its_first_word_to_its_last(which) {
        let server = Server::with().conf(CONF).more_conf(CLUSTER).start(which);
        let mut user = system_user(&server);
        let mut remote = Remote::join(&server, "r");
        wait_servers(&mut user, 1);
        tell(&mut remote, "r", 1, "STATSZ", "");
        wait_servers(&mut user, 2);
        for last in ["SHUTDOWN", "LAMEDUCK"] {
            tell(&mut remote, "r", 2, last, "");
            wait_servers(&mut user, 1);
            tell(&mut remote, "r", 3, "STATSZ", "");
            wait_servers(&mut user, 2);
        }
    }

    fn who_comes_is_told_at_once(which) {
        let server = Server::with().conf(CONF).more_conf(CLUSTER).start(which);
        let mut user = system_user(&server);
        let mut remote = Remote::join(&server, "r");
        remote.send("RS+ $SYS $SYS.SERVER.*.STATSZ\r\n");
        remote.fence();
        user.fence();
        tell(&mut remote, "r", 1, "STATSZ", "");
        loop {
            let frame = String::from_utf8(remote.line.frame()).unwrap();
            if frame.starts_with("RMSG $SYS $SYS.SERVER.N") {
                assert!(frame.contains(".STATSZ "), "{frame}");
                break;
            }
        }
    }

    fn numbers_of_a_server_only_grow(which) {
        let server = Server::with().conf(CONF).more_conf(CLUSTER).start(which);
        let mut user = system_user(&server);
        let mut remote = Remote::join(&server, "r");
        for seq in [7, 7] {
            tell(&mut remote, "r", seq, "STATSZ", "");
        }
        let id = server_id("r");
        server.wait_log(&format!("Received out of order remote server update from: \"{id}\""));
        wait_servers(&mut user, 2);
    }

    fn what_no_server_says_is_ignored(which) {
        let server = Server::with().conf(CONF).more_conf(CLUSTER).start(which);
        let mut user = system_user(&server);
        for body in ["", "{", "{}", "[]", r#"{"server":{"id":7}}"#] {
            for subject in ["X.STATSZ", "X.SHUTDOWN", "ACCOUNT.A.CONNS"] {
                let subject = format!("$SYS.SERVER.{subject}");
                user.send(&format!("PUB {subject} {}\r\n{body}\r\n", body.len()));
            }
        }
        user.fence();
        statsz(&mut user);
        Client::connect(&server, A).fence();
    }

    /// It holds for the clients at all servers.
    fn an_account_is_full_in_the_whole_cluster(which) {
        let server = Server::with().conf(CONF).more_conf(CLUSTER).start(which);
        let mut user = system_user(&server);
        let mut remote = Remote::join(&server, "r");
        tell_conns(&mut remote, 1, 1);
        wait_servers(&mut user, 2);
        let mut first = Client::connect(&server, A);
        let mut second = Client::connect(&server, A);
        let mut third = Client::open(&server);
        third.send(&format!("CONNECT {{{A},\"verbose\":false}}\r\n"));
        third.expect("-ERR 'maximum account active connections exceeded'\r\n");
        third.expect_closed();
        // The newest goes where there are too many.
        tell_conns(&mut remote, 2, 2);
        second.expect("-ERR 'maximum account active connections exceeded'\r\n");
        second.expect_closed();
        first.fence();
        tell(&mut remote, "r", 3, "SHUTDOWN", "");
        wait_servers(&mut user, 1);
        let _others = [0, 1].map(|_| Client::connect(&server, A));
    }

    fn a_server_is_asked_for_the_clients_of_an_account(which) {
        let server = Server::with().conf(CONF).more_conf(CLUSTER).start(which);
        let mut user = system_user(&server);
        let _a = Client::connect(&server, A);
        for body in [r#"{"acc":"B"}"#, "bad", r#"{"acc":"A"}"#, ""] {
            user.send(&format!("PUB $SYS.REQ.ACCOUNT.A.CONNS in {}\r\n{body}\r\n", body.len()));
        }
        user.send("PUB $SYS.REQ.ACCOUNT.$G.CONNS in 0\r\n\r\n");
        user.send("PUB $SYS.REQ.ACCOUNT.none.CONNS in 0\r\n\r\n");
        for _ in 0..2 {
            let frame = String::from_utf8(user.frame()).unwrap();
            let (_, body) = frame.split_once("\r\n").unwrap();
            let conns: Value = serde_json::from_str(body).unwrap();
            assert_eq!(conns["type"], "io.nats.server.advisory.v1.account_connections");
            assert_eq!((&conns["acc"], &conns["conns"]), (&json!("A"), &json!(1)));
        }
        statsz(&mut user);
    }
}

/// Its last messages may be handled after its end.
#[test]
fn a_server_that_is_gone_does_not_come_back() {
    let server = Server::with().conf(CONF).more_conf(CLUSTER).start(Which::Dialtone);
    let mut user = system_user(&server);
    for _ in 0..3 {
        let mut remote = Remote::join(&server, "r");
        (1..=2_000).for_each(|seq| tell_conns(&mut remote, seq, 3));
        drop(remote);
        while !statsz(&mut user)["routes"].is_null() {}
        wait_servers(&mut user, 1);
        assert_eq!(statsz(&mut user)["active_servers"], 1);
        Client::connect(&server, A).fence();
    }
}

/// A server speaks for itself alone.
#[test]
fn servers_without_a_route_are_not_counted() {
    let server = Server::with().conf(CONF).more_conf(CLUSTER).start(Which::Dialtone);
    let mut user = system_user(&server);
    let mut remote = Remote::join(&server, "r");
    tell(&mut remote, "x", 1, "CONNS", r#","acc":"A","conns":3"#);
    tell_conns(&mut remote, 1, 1);
    wait_servers(&mut user, 2);
    Client::connect(&server, A).fence();
}

/// A server that is gone without a word is not waited for by `nats server ping`.
#[test]
fn a_server_is_forgotten_with_its_last_connection() {
    let server = Server::with().conf(CONF).more_conf(CLUSTER).start(Which::Dialtone);
    let mut user = system_user(&server);
    let mut remote = Remote::join(&server, "r");
    tell_conns(&mut remote, 1, 3);
    wait_servers(&mut user, 2);
    drop(remote);
    wait_servers(&mut user, 1);
    Client::connect(&server, A).fence();
}

test_of! {
    servers_of_both_kinds_know_each_other [Dialtone Real] {
        // The cluster watches its servers as somebody without a login.
        let anybody = "authorization { users: [{ user: g }] }, no_auth_user: g\n";
        let conf = [CONF, anybody].concat();
        let kinds = [Which::Dialtone, Which::Real];
        let mut cluster = Cluster::start_with(&kinds, Flavor::Default, &conf);
        let [dialtone, real] = cluster.servers() else { panic!("two were started") };
        let mut users = [dialtone, real].map(system_user);
        users.iter_mut().for_each(|user| wait_servers(user, 2));
        let _two = [0, 1].map(|_| Client::connect(dialtone, A));
        let _third = Client::connect(real, A);
        for server in [real, dialtone] {
            let deadline = Instant::now() + PATIENCE;
            let connect = format!("CONNECT {{{A},\"verbose\":false}}\r\nPING\r\n");
            loop {
                // Until the other server's clients are known, or this one is.
                let mut surplus = Client::open(server);
                surplus.send_anyway(connect.as_bytes());
                if surplus.frame().starts_with(b"-ERR 'maximum account active") {
                    break;
                }
                assert!(Instant::now() < deadline, "{:?} admits more", server.which());
            }
        }
        cluster.take(1).signal("KILL");
        wait_servers(&mut users[0], 1);
    }
}
