//! `verify_and_map`: clients that are the users whom their certificates name. The certificates are
//! those of `tests/it/tls/users`.

use super::info;
use crate::support::tls::{self, Means};
use crate::support::websocket::{self, WebSocket};
use crate::support::{Client, Server, Which, http};

const QUIET: &str = "CONNECT {\"verbose\":false}\r\nPING\r\n";

fn start(which: Which, more: &str) -> Server {
    let block = tls::conf("verify_and_map: true").replace("/ca.pem", "/users/ca.pem");
    Server::with().conf(block + more).flags(["-D"]).monitored().start(which)
}

fn connect(server: &Server, cert: &'static str) -> Client {
    let means = Means { cert: Some(cert), ..Means::default() };
    let mut client = tls::connect(server.port(), &means).unwrap();
    assert_eq!(info(&mut client)["tls_verify"], true);
    client
}

fn expect_refused(mut client: Client, connect: &str) {
    client.send(connect);
    client.expect("-ERR 'Authorization Violation'\r\n");
    client.expect_closed();
}

for_both! {
    fn names_of_certificates_are_users(which) {
        for (cert, user, by) in [
            ("users/names", "b@x.com", Some("Using email found in cert for auth [\"b@x.com\"]")),
            ("users/names", "svc.local", Some("Using SAN found in cert for auth [\"svc.local\"]")),
            ("users/names", "SVC.local", None),
            ("users/names", "127.0.0.1", None),
            ("users/names", "spiffe://x/svc", Some("Using URI found in cert for auth")),
            ("users/names", "cn=names", Some("Using DistinguishedNameMatch for auth")),
            ("users/bob", "CN=bob,OU=OU2,OU=OU1,O=Org,C=US", Some("DistinguishedNameMatch")),
            ("users/bob", "C=US, O=Org, OU=OU2, OU=OU1, CN=bob", Some("DistinguishedNameMatch")),
            ("users/bob", "CN=bob,OU=OU1+OU=OU2,O=Org,C=US", Some("Using certificate subject")),
            ("users/bob", "CN=BOB,OU=OU2,OU=OU1,O=Org,C=US", None),
            ("users/bob", "CN=bob,OU=OU2,O=Org,C=US", None),
            ("users/bob", "bob", None),
            ("users/domain", "DC=com,DC=example,O=Org,CN=dcbob", Some("DistinguishedNameMatch")),
            ("users/domain", "CN=dcbob,O=Org", Some("Using certificate subject for auth")),
            ("users/special", r#"CN=J \"x\" \+y\\z,O=Acme\2C Inc"#, Some("DistinguishedNameMatch")),
            ("users/special", r#"CN=J "x" +y\z,O="Acme, Inc""#, None),
            ("users/several", "CN=mv+UID=u1,O=O4", None),
            ("users/several", "CN=mv,O=O4", Some("Using certificate subject for auth")),
            ("users/unusual", "CN=em", Some("Using certificate subject for auth")),
            ("users/unusual", "e@x.com", None),
        ] {
            let server = start(which, &format!("authorization {{ users: [{{user: {user:?}}}] }}"));
            let mut client = connect(&server, cert);
            match by {
                Some(by) => {
                    client.send(QUIET);
                    client.expect("PONG\r\n");
                    server.wait_log(by);
                    let connz = http::json(&server, "/connz?auth=1");
                    assert_eq!(connz["connections"][0]["authorized_user"], user);
                }
                None => {
                    expect_refused(client, QUIET);
                    server.wait_log("User in cert [");
                }
            }
        }
    }

    fn nothing_replaces_the_certificate(which) {
        let users = "authorization { users: [{user: nobody}, {user: x, password: y}] }\n";
        let server = start(which, &format!("{users} no_auth_user: nobody, allow_non_tls: true"));
        expect_refused(connect(&server, "users/bob"), QUIET);
        server.wait_log("User in cert [\"CN=bob,OU=OU1+OU=OU2,O=Org,C=US\"], not found");
        let known = "CONNECT {\"user\":\"x\",\"pass\":\"y\"}\r\n";
        expect_refused(connect(&server, "users/bob"), known);
        expect_refused(connect(&server, "users/nobody"), QUIET);
        server.wait_log("User required in cert, none found");
        let mut clear = Client::silent(server.port());
        info(&mut clear);
        expect_refused(clear, known);
        server.wait_log("User required in cert, no TLS connection state");
    }

    fn a_password_is_asked_for_too(which) {
        let server = start(which, "authorization { users: [{user: svc.local, password: secret}] }");
        expect_refused(connect(&server, "users/names"), QUIET);
        server.wait_log("authentication error - User \"svc.local\"");
        let mut client = connect(&server, "users/names");
        client.send("CONNECT {\"verbose\":false,\"user\":\"o\",\"pass\":\"secret\"}\r\nPING\r\n");
        client.expect("PONG\r\n");
        server.wait_log("User \"o\" found in connect proto, but user required from cert");
        let plain = start(which, "authorization { users: [{user: svc.local}] }");
        expect_refused(connect(&plain, "users/names"), "CONNECT {\"pass\":\"any\"}\r\n");
    }

    fn mapped_users_have_permissions_and_accounts(which) {
        let users = "{user: svc.local, allowed_connection_types: [WEBSOCKET]}, \
            {user: CN=names, permissions: {publish: a}}";
        let server = start(which, &format!("accounts {{ A {{ users: [{users}] }} }}"));
        let mut client = connect(&server, "users/names");
        client.send("CONNECT {\"verbose\":false}\r\nPUB b 0\r\n\r\n");
        client.expect("-ERR 'Permissions Violation for Publish to \"b\"'\r\n");
        let connz = http::json(&server, "/connz?auth=1");
        assert_eq!(connz["connections"][0]["account"], "A");
    }

    fn an_nkey_goes_before_the_certificate(which) {
        let key = nkeys::KeyPair::new_user().public_key();
        let users = format!("{{user: svc.local}}, {{nkey: {key}}}");
        let server = start(which, &format!("authorization {{ users: [{users}] }}"));
        let mut client = connect(&server, "users/names");
        client.send(QUIET);
        client.expect("PONG\r\n");
        let unsigned = format!("CONNECT {{\"nkey\":{key:?},\"sig\":\"\"}}\r\n");
        expect_refused(connect(&server, "users/names"), &unsigned);
        let anonymous = format!("no_auth_user: {key}, authorization {{ users: [{users}] }}");
        let server = start(which, &anonymous);
        let mut client = connect(&server, "users/bob");
        client.send(QUIET);
        client.expect("PONG\r\n");
    }

    fn without_users_any_certificate_will_do(which) {
        let server = start(which, "");
        let mut client = connect(&server, "users/bob");
        client.send(QUIET);
        client.expect("PONG\r\n");
        let single = start(which, "authorization { user: u, password: p }");
        let mut client = connect(&single, "users/bob");
        client.send("CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n");
        client.expect("PONG\r\n");
        expect_refused(connect(&single, "users/bob"), QUIET);
    }

    /// The first op is none of CONNECT, which only `no_auth_user` allows.
    fn who_says_no_connect_is_mapped_too(which) {
        let users = "authorization { users: [{user: svc.local}, {user: n, password: n}] }";
        let server = start(which, &format!("{users}, no_auth_user: n"));
        let mut client = connect(&server, "users/names");
        client.send("PING\r\n");
        client.expect("PONG\r\n");
        let connz = http::json(&server, "/connz?auth=1");
        assert_eq!(connz["connections"][0]["authorized_user"], "svc.local");
        expect_refused(connect(&server, "users/bob"), "PING\r\n");
    }

    fn users_without_a_password_need_the_certificate(which) {
        let users = "authorization { users: [{user: bare}, {user: x, password: y}, \
            {user: far, allowed_connection_types: [WEBSOCKET]}, {user: anybody}] }\n";
        let conf = format!("{users} no_auth_user: anybody\n{}", websocket::conf(""));
        let server = start(which, &conf);
        let login = |user: &str, pass: &str| {
            let mut client = websocket::bridge(&server, None);
            info(&mut client);
            let credentials = format!("\"user\":{user:?},\"pass\":{pass:?}");
            client.send(&format!("CONNECT {{\"verbose\":false,{credentials}}}\r\n"));
            client
        };
        expect_refused(login("bare", ""), "");
        for (user, pass) in [("x", "y"), ("far", ""), ("anybody", "")] {
            let mut client = login(user, pass);
            client.send("PING\r\n");
            client.expect("PONG\r\n");
        }
    }

    /// Then a user without a password needs it on the other port.
    fn certificates_are_mapped_by_websocket_too(which) {
        const BOB: &str = "CN=bob,OU=OU2,OU=OU1,O=Org,C=US";
        let users = format!("authorization {{ users: [{{user: {BOB:?}}}, {{user: x, password: y}}, \
            {{user: near, allowed_connection_types: [STANDARD]}}] }}\n");
        let block = websocket::wss_conf("", "verify_and_map: true");
        let conf = block.replace("/ca.pem", "/users/ca.pem") + &users;
        let server = Server::with().conf(conf).monitored().start(which);
        let open = |cert| {
            let means = Means { cert: Some(cert), ..Means::first() };
            let stream = tls::bridge(server.websocket_port(), &means).unwrap();
            let (stream, _) = websocket::upgraded(stream, "");
            let mut socket = WebSocket { client: Client::from_stream(stream) };
            socket.message();
            socket.send(QUIET);
            socket
        };
        let mut bob = open("users/bob");
        bob.expect("PONG\r\n");
        let connz = http::json(&server, "/connz?auth=1");
        assert_eq!(connz["connections"][0]["authorized_user"], BOB);
        assert_eq!(http::json(&server, "/varz")["websocket"]["tls_map"], true);
        open("users/domain").expect("-ERR 'Authorization Violation'\r\n");
        for (user, pass, admitted) in [(BOB, "", false), ("x", "y", true), ("near", "", true)] {
            let mut client = Client::open(&server);
            let credentials = format!("\"user\":{user:?},\"pass\":{pass:?}");
            client.send(&format!("CONNECT {{\"verbose\":false,{credentials}}}\r\nPING\r\n"));
            let refused = "-ERR 'Authorization Violation'\r\n";
            client.expect(if admitted { "PONG\r\n" } else { refused });
        }
    }
}
