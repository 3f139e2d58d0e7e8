//! Reload: a running server reads its configuration file again, and takes over all of it or
//! nothing.

mod clients;
mod cluster;
mod endurance;
mod imports;
mod log;
mod mappings;
mod refused;
mod tls;

use crate::support::{Client, Server};

/// A password for each user.
fn user(name: &str) -> String {
    format!(r#""user":"{name}","pass":"{name}""#)
}

for_both! {
    fn changes_are_logged(which) {
        let server = Server::with().conf("max_payload: 2000\n").start(which);
        let conf = "max_payload: 1024, max_connections: 100, ping_interval: \"90s\", ping_max: 3
            write_deadline: \"5s\", max_control_line: 2048, max_traced_msg_len: 7, debug: true
            server_tags: [a, b], server_metadata { x: y }, no_fast_producer_stall: true
            client_advertise: \"h:1\", authorization { token: s3cr3t, timeout: 0.5 }\n";
        let mut lines = server.reload(conf).unwrap();
        let last = lines.pop().unwrap();
        assert!(last.starts_with("Reloaded server configuration (sha256:"), "{last}");
        let wanted = [
            "Reload: client_advertise = h:1",
            "Reloaded: debug = true",
            "Reloaded: max_connections = 100",
            "Reloaded: authorization users",
            "Reloaded: accounts",
            "Reloaded: authorization token",
            "Reloaded: ping_interval = 1m30s",
            "Reloaded: ping_max = 3",
            "Reloaded: authorization timeout = 0.5",
            "Reloaded: max_control_line = 2048",
            "Reloaded: max_payload = 1024",
            "Reloaded: fast producers will not be stalled",
            "Reloaded: write_deadline = 5s",
            "Reloaded: max_traced_msg_len = 7",
            "Reloaded: tags",
            "Reloaded: metadata",
        ];
        assert_eq!(lines, wanted);
        Client::connect(&server, r#""auth_token":"s3cr3t""#).fence();
    }

    fn limits_hold_for_those_who_are_there(which) {
        let server = Server::with().conf("max_payload: 100\n").start(which);
        let mut client = Client::connect(&server, "\"protocol\":1");
        let mut long = Client::connect(&server, "");
        client.frame();
        client.send("PUB a 11\r\nhello world\r\n");
        client.fence();
        server.reload("max_payload: 10\nmax_control_line: 200\n").unwrap();
        client.fence();
        client.send("PUB a 11\r\nhello world\r\n");
        client.expect("-ERR 'Maximum Payload Violation'\r\n");
        client.expect_closed();
        long.send(&format!("SUB {} 1\r\n", "a".repeat(300)));
        long.expect("-ERR 'maximum control line exceeded'\r\n");
        long.expect_closed();
        let info = String::from_utf8(Client::silent(server.port()).frame()).unwrap();
        assert!(info.contains("\"max_payload\":10"), "{info}");
    }

    fn without_a_file_there_is_nothing_to_read(which) {
        let server = Server::start(which);
        let reason = server.reload_again().unwrap_err();
        let wanted = "can only reload config when a file is provided using -c or --config";
        assert_eq!(reason, wanted);
    }
}
