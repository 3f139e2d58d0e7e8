//! The effects of new settings on clients that are there: each row of a table, with both servers.

use nkeys::KeyPair;

use super::user;
use crate::nkeys::{login, open};
use crate::support::websocket::{self, WebSocket};
use crate::support::{Client, Server};

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

/// Accounts with users by these names.
fn accounts(list: &[(&str, &str)]) -> String {
    let user = |name: &str| format!("{{ user: {name}, password: {name} }}");
    let account = |(name, users): &(&str, &str)| {
        let users: Vec<_> = users.split(' ').map(user).collect();
        format!("{name} {{ users: [{}] }}\n", users.join(", "))
    };
    format!("accounts {{ {} }}", list.iter().map(account).collect::<String>())
}

/// A user with these permissions, alone.
fn permitted(permissions: &str) -> String {
    let user = format!("{{ user: a, password: a, permissions {{ {permissions} }} }}");
    format!("authorization {{ users: [{user}] }}")
}

/// An account with these limits, and its user.
fn limited(limits: &str) -> String {
    let account = format!("{{ users: [{{ user: a, password: a }}], limits {{ {limits} }} }}");
    format!("accounts {{ A {account}, B {{ users: [{{ user: b, password: b }}] }} }}")
}

for_both! {
    fn who_is_no_user_any_more_is_disconnected_in_silence(which) {
        for after in [
            // Removed, moved, and without its account.
            [("A", "c"), ("B", "b")],
            [("A", "c"), ("B", "b a")],
            [("D", "d"), ("A", "c")],
        ] {
            let server = Server::with().conf(accounts(&[("A", "a c"), ("B", "b")])).start(which);
            let mut gone = Client::connect(&server, &user("a"));
            let mut stays = Client::connect(&server, &user("c"));
            stays.send("SUB s 1\r\n");
            stays.fence();
            server.reload(&accounts(&after)).unwrap();
            gone.expect_closed();
            stays.send("PUB s 1\r\nx\r\n");
            stays.expect("MSG s 1 1\r\nx\r\n");
            stays.fence();
        }
    }

    fn who_has_another_password_is_told(which) {
        let users = |password: &str| {
            let users = format!("{{ user: a, password: {password} }}, {{ user: b, password: b }}");
            format!("authorization {{ users: [{users}] }}")
        };
        let server = Server::with().conf(users("a")).start(which);
        let mut gone = Client::connect(&server, &user("a"));
        let mut stays = Client::connect(&server, &user("b"));
        server.reload(&users("other")).unwrap();
        gone.expect(VIOLATION);
        gone.expect_closed();
        stays.fence();
        let mut old = Client::open(&server);
        old.send(&format!("CONNECT {{\"verbose\":false,{}}}\r\nPING\r\n", user("a")));
        old.expect(VIOLATION);
        old.expect_closed();
        Client::connect(&server, r#""user":"a","pass":"other""#).fence();
    }

    fn a_token_is_replaced(which) {
        let server = Server::with().conf("authorization { token: a }").start(which);
        let mut client = Client::connect(&server, r#""auth_token":"a""#);
        server.reload("authorization { token: b }").unwrap();
        client.expect(VIOLATION);
        client.expect_closed();
        Client::connect(&server, r#""auth_token":"b""#).fence();
    }

    fn clients_of_websocket_are_judged_too(which) {
        let cookies = "user_cookie: u, pass_cookie: p, compression: true";
        let users = |password: &str| {
            let users = format!("{{ user: a, password: {password} }}, {{ user: b, password: b }}");
            websocket::conf(cookies) + &format!("authorization {{ users: [{users}] }}\n")
        };
        let server = Server::with().conf(users("a")).start(which);
        let mut sockets = ["a", "b"].map(|name| {
            let mut socket =
                WebSocket::open(&server, &format!("Cookie: u={name}; p={name}\r\n"));
            socket.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
            socket.expect("PONG\r\n");
            socket
        });
        server.reload(&users("other")).unwrap();
        sockets[0].expect(VIOLATION);
        sockets[1].send("PING\r\n");
        sockets[1].expect("PONG\r\n");
    }

    /// What was signed stays signed.
    fn nkeys_come_and_go(which) {
        let [stays, goes] = [KeyPair::new_user(), KeyPair::new_user()];
        let users = |keys: &[&KeyPair]| {
            let user = |key: &&KeyPair| format!("{{ nkey: {} }}", key.public_key());
            let users: Vec<_> = keys.iter().map(user).collect();
            format!("authorization {{ users: [{}] }}", users.join(", "))
        };
        let server = Server::with().conf(users(&[&stays, &goes])).start(which);
        let mut clients = [&stays, &goes].map(|key| {
            let (mut client, nonce) = open(&server);
            client.send(&login(key, &nonce));
            client.fence();
            client
        });
        server.reload(&users(&[&stays, &KeyPair::new_user()])).unwrap();
        clients[0].fence();
        clients[1].expect_closed();
    }

    fn who_never_logged_in_has_to_if_that_is_asked_for(which) {
        let server = Server::with().conf("max_payload: 100").start(which);
        let mut client = Client::connect(&server, "");
        server.reload("authorization { token: b }").unwrap();
        client.expect(VIOLATION);
        client.expect_closed();
    }

    fn subscriptions_end_with_their_permission(which) {
        let users = |deny: &str| permitted(&format!("subscribe {{ deny: [{deny}] }}"));
        let server = Server::with().conf(users("none")).start(which);
        let mut client = Client::connect(&server, &user("a"));
        client.send("SUB x 1\r\nSUB y 2\r\nSUB z q 3\r\n");
        client.fence();
        server.reload(&users("y, z")).unwrap();
        let mut lines = [client.frame(), client.frame()];
        lines.sort();
        for (line, what) in lines.iter().zip(["\"y\" (sid", "\"z\" using queue \"q\" (sid"]) {
            let start = format!("-ERR 'Permissions Violation for Subscription to {what} \"");
            assert!(line.starts_with(start.as_bytes()), "{}", line.escape_ascii());
        }
        client.send("PUB x 1\r\nx\r\nPUB y 1\r\ny\r\nPUB z 1\r\nz\r\n");
        client.expect("MSG x 1 1\r\nx\r\n");
        client.fence();
        server.reload(&users("none")).unwrap();
        client.send("PUB y 1\r\ny\r\n");
        client.fence();
        client.send("SUB y 2\r\nPUB y 1\r\ny\r\n");
        client.expect("MSG y 2 1\r\ny\r\n");
    }

    /// A subscription that is wider than a denied subject stays, and gets it no more.
    fn a_refusal_holds_at_delivery(which) {
        let server = Server::with().conf(permitted("publish: \">\"")).start(which);
        let mut client = Client::connect(&server, &user("a"));
        client.send("SUB > 1\r\nPUB s.1 1\r\nx\r\n");
        client.expect("MSG s.1 1 1\r\nx\r\n");
        server.reload(&permitted("subscribe { deny: s.1 }, publish { deny: p }")).unwrap();
        client.send("PUB s.1 1\r\nx\r\nPUB s.2 1\r\ny\r\nPUB p 1\r\nz\r\n");
        client.expect("MSG s.2 1 1\r\ny\r\n");
        client.expect("-ERR 'Permissions Violation for Publish to \"p\"'\r\n");
        server.reload(&permitted("publish: \">\"")).unwrap();
        client.send("PUB s.1 1\r\nx\r\nPUB p 1\r\nz\r\n");
        client.expect("MSG s.1 1 1\r\nx\r\nMSG p 1 1\r\nz\r\n");
    }

    fn the_next_publication_is_mapped_anew(which) {
        let mapped = |lines: &str| {
            let users = "users: [{ user: a, password: a }]";
            format!("accounts {{ A {{ {users}, mappings {{ {lines} }} }} }}")
        };
        let server = Server::with().conf(mapped("")).start(which);
        let mut client = Client::connect(&server, &user("a"));
        client.send("SUB * 1\r\n");
        for (lines, heard) in
            [("", "s"), ("s: t", "t"), ("s: u", "u"), ("other: u", "s"), ("s: t", "t"), ("", "s")]
        {
            server.reload(&mapped(lines)).unwrap();
            client.send("PUB s 1\r\nx\r\nPUB s 1\r\ny\r\n");
            client.expect(&format!("MSG {heard} 1 1\r\nx\r\nMSG {heard} 1 1\r\ny\r\n"));
        }
    }

    fn surplus_clients_are_disconnected(which) {
        let server = Server::with().conf("max_connections: 10").start(which);
        let mut clients = [(); 5].map(|()| Client::connect(&server, ""));
        server.reload("max_connections: 2").unwrap();
        server.wait_log("Closed 3 connections to fall within max_connections");
        let mut closed = 0;
        for client in &mut clients {
            client.send_anyway(b"PING\r\n");
            if client.frame() != b"PONG\r\n" {
                closed += 1;
                client.read_to_end();
            }
        }
        assert_eq!(closed, 3);
        let mut late = Client::open(&server);
        late.expect("-ERR 'maximum connections exceeded'\r\n");
    }

    fn surplus_clients_of_an_account_are_disconnected(which) {
        let server = Server::with().conf(limited("")).start(which);
        let mut other = Client::connect(&server, &user("b"));
        let mut clients = [(); 3].map(|()| Client::connect(&server, &user("a")));
        server.reload(&limited("max_connections: 1")).unwrap();
        let text = "-ERR 'maximum account active connections exceeded'\r\n";
        let mut closed = 0;
        for client in &mut clients {
            client.send_anyway(b"PING\r\n");
            let frame = client.frame();
            if frame != b"PONG\r\n" {
                assert_eq!(frame, text.as_bytes());
                closed += 1;
            }
        }
        assert_eq!(closed, 2);
        other.fence();
    }

    fn who_has_too_many_subscriptions_is_disconnected(which) {
        let server = Server::with().conf(limited("")).start(which);
        let [mut many, mut one] = [(); 2].map(|()| Client::connect(&server, &user("a")));
        many.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
        many.fence();
        one.send("SUB a 1\r\n");
        one.fence();
        server.reload(&limited("max_subs: 2")).unwrap();
        many.expect("-ERR 'maximum subscriptions exceeded'\r\n");
        many.expect_closed();
        one.fence();
    }
}
