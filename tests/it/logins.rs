//! Passwords kept as bcrypt hashes: a login takes long, and nobody else waits for it.

use std::fs;

use crate::support::client::quiet_connect;
use crate::support::{Client, Server, Which, http};

/// Logins at once.
const COUNT: usize = 300;

/// The hash is one of the test vectors of crypt_blowfish.
const CONF: &str = "authorization {
  users: [
    { user: hashed, password: \"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\" }
    { user: plain, password: secret }
  ]
  timeout: 60
}\n";

const RIGHT: &str = "\"user\":\"hashed\",\"pass\":\"U*U\"";
const WRONG: &str = "\"user\":\"hashed\",\"pass\":\"U*V\"";
const PLAIN: &str = "\"user\":\"plain\",\"pass\":\"secret\"";

fn thread_count(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count()
}

fn log_in(server: &Server, members: &str) -> Client {
    let mut client = Client::open(server).steady();
    client.send(&format!("{}PING\r\n", quiet_connect(members)));
    client
}

/// Regression: each login moved a worker to a new thread. 300 wrong ones at once made 140 of
/// them, and a right one waited for all the others.
#[test]
fn wrong_passwords_keep_nobody_waiting_and_start_no_threads() {
    let server = Server::with().conf(CONF).monitored().start(Which::Dialtone);
    let mut other = Client::connect(&server, PLAIN);
    let before = thread_count(&server);
    let mut wrong: Vec<Client> = (0..COUNT).map(|_| log_in(&server, WRONG)).collect();
    Client::connect(&server, RIGHT);
    Client::connect(&server, PLAIN);
    other.fence();
    let waiting = http::json(&server, "/varz")["connections"].as_u64().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    // One more is tokio's, for the monitoring page.
    assert!(thread_count(&server) <= before + cores + 1, "more threads than cores");
    assert!(waiting > 20, "nobody had to wait: {waiting} connections");
    for client in &mut wrong {
        client.expect("-ERR 'Authorization Violation'\r\n");
        client.expect_closed();
    }
    assert!(thread_count(&server) <= before + cores + 1, "more threads than cores");
}

for_both! {
    fn what_comes_with_a_login_waits_for_it(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut all = Client::connect(&server, PLAIN);
        all.send("SUB a 1\r\n");
        all.fence();
        let mut client = Client::open(&server);
        client.send(&format!("{}SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n", quiet_connect(RIGHT)));
        client.expect("MSG a 1 2\r\nhi\r\nPONG\r\n");
        all.expect("MSG a 1 2\r\nhi\r\n");

        let mut refused = Client::open(&server);
        refused.send(&format!("{}PUB a 2\r\nno\r\nPING\r\n", quiet_connect(WRONG)));
        refused.expect("-ERR 'Authorization Violation'\r\n");
        refused.expect_closed();
        all.fence();
    }

    /// All that was sent is handled, whoever is there for the answer.
    fn who_logs_in_publishes_and_ends_is_heard(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut all = Client::connect(&server, PLAIN);
        all.send("SUB a 1\r\n");
        all.fence();
        let mut client = Client::open(&server);
        client.send(&format!("{}PUB a 2\r\nhi\r\n", quiet_connect(RIGHT)));
        client.shutdown_write();
        all.expect("MSG a 1 2\r\nhi\r\n");
    }
}

/// Who has left is not checked any more.
#[test]
fn who_leaves_gives_up_its_place() {
    let server = Server::with().conf(CONF).monitored().start(Which::Dialtone);
    let first: Vec<Client> = (0..COUNT).map(|_| log_in(&server, WRONG)).collect();
    drop(first);
    Client::connect(&server, RIGHT);
    let closed = http::json(&server, "/connz?state=closed&limit=1000");
    let reasons = closed["connections"].as_array().unwrap().iter();
    let left = reasons.filter(|conn| conn["reason"] == "Client Closed").count();
    assert!(left > 20, "{left} of {COUNT} had left");
}
