//! PING schedule and stale connections. The transcripts in `limits.txt` hold the stale ones.

use std::time::{Duration, Instant};

use crate::support::{Client, Server, http};

const SHORT: &str = "ping_interval: \"200ms\"\nping_max: 2\n";

for_both! {
    /// The early PING measures the round trip of who said CONNECT. All others come minutes later.
    fn without_connect_there_is_no_early_ping(which) {
        let server = Server::start(which);
        let mut client = Client::open(&server);
        // Twice the time until an early PING, whatever there is by chance in one of them.
        for _ in 0..2 {
            Client::connect(&server, "").unsteady().expect("PING\r\n");
        }
        client.send("PING\r\n");
        client.expect("PONG\r\n");
    }

    fn an_answering_client_is_never_stale(which) {
        let server = Server::with().conf(SHORT).start(which);
        let mut client = Client::connect(&server, "").unsteady();
        for _ in 0..6 {
            client.expect("PING\r\n");
            client.send("PONG\r\n");
        }
        client.send("PONG\r\nPING\r\n");
        client.expect("PONG\r\n");
    }

    fn a_silent_client_is_stale_and_counted(which) {
        let server = Server::with().conf(SHORT).monitored().start(which);
        let mut client = Client::connect(&server, "").unsteady();
        let port = client.local_port();
        client.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
        client.expect_closed();
        let closed = closed_by_port(&server, port);
        assert_eq!(closed["reason"], "Stale Connection");
        let varz = http::json(&server, "/varz");
        assert_eq!(varz["stale_connections"], 1);
        assert_eq!(varz["stale_connection_stats"]["clients"], 1);
    }

    /// Whoever publishes is alive, whether it answers PINGs or not.
    fn a_busy_client_is_not_stale(which) {
        let server = Server::with().conf(SHORT).start(which);
        let mut client = Client::connect(&server, "").unsteady();
        let mut is_there = || {
            client.send("PUB busy 0\r\n\r\nPING\r\n");
            while client.frame() != b"PONG\r\n" {}
        };
        // Others who came later are stale meanwhile.
        for _ in 0..2 {
            let mut silent = Client::connect(&server, "").unsteady();
            while !silent.is_closed() {
                is_there();
                silent.read_some(Instant::now() + Duration::from_millis(20));
            }
        }
        is_there();
    }
}

/// The closed connection that came from this port.
pub(crate) fn closed_by_port(server: &Server, port: u16) -> serde_json::Value {
    let find = |connz: &serde_json::Value| {
        let connections = connz["connections"].as_array()?;
        connections.iter().find(|c| c["port"] == port).cloned()
    };
    let path = "/connz?state=closed&auth=1";
    let connz = http::json_until(server, path, |connz| find(connz).is_some());
    find(&connz).unwrap()
}
