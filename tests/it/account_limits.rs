//! Limits of an account: clients, subscriptions of each, and bytes of a message.

use crate::support::{Client, Server};

const CONF: &str = "accounts {
  A { users: [{ user: a }], limits: { max_connections: 1, MAX_SUBS: 1, max_pay: 4, max_leafs: 1 } }
  B { users: [{ user: b }], limits { max_conn: -1, max_subscriptions: 100, max_payload: 100 } }
}
max_payload: 8
max_subscriptions: 2\n";

for_both! {
    fn an_account_takes_so_many_clients(which) {
        let server = Server::with().conf(CONF).start(which);
        let first = Client::connect(&server, r#""user":"a""#);
        let mut second = Client::open(&server);
        second.send("CONNECT {\"user\":\"a\",\"verbose\":false}\r\n");
        second.expect("-ERR 'maximum account active connections exceeded'\r\n");
        second.expect_closed();
        drop(first);
        for _ in 0..3 {
            Client::connect(&server, r#""user":"b""#).fence();
        }
    }

    /// The narrower limit of account and server holds.
    fn its_clients_have_limits(which) {
        let server = Server::with().conf(CONF).start(which);
        for (user, subscriptions, payload) in [("a", 1, 4), ("b", 2, 8)] {
            let mut client = Client::connect(&server, &format!(r#""user":"{user}""#));
            for sid in 1..=subscriptions {
                client.send(&format!("SUB s {sid}\r\n"));
            }
            client.fence();
            client.send("SUB t 9\r\n");
            client.expect("-ERR 'maximum subscriptions exceeded'\r\n");
            let message = "x".repeat(payload);
            client.send(&format!("PUB u {payload}\r\n{message}\r\n"));
            client.fence();
            client.send(&format!("PUB u {}\r\n{message}y\r\n", payload + 1));
            client.expect("-ERR 'Maximum Payload Violation'\r\n");
            client.expect_closed();
        }
    }
}
