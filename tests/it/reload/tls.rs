//! Certificates, from other files and from changed ones: new connections of every port get them,
//! and those that are there stay.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use crate::support::tls::{self, Means};
use crate::support::{Client, Remote, Server, Which};

/// A server with TLS on every port, by the certificate `cert`.
fn conf(cert: &str) -> String {
    let tls = tls::block(cert, "ca", "");
    format!(
        "{tls}https: \"127.0.0.1:-1\"
        cluster {{ name: mesh, listen: \"127.0.0.1:-1\", {tls} }}
        websocket {{ listen: \"127.0.0.1:-1\", {tls} }}\n"
    )
}

/// How a client comes that expects the server by that name.
fn expecting(name: &'static str, first: bool) -> Means {
    Means { first, name, ..Means::default() }
}

fn echo(client: &mut Client) {
    client.send("PUB s 1\r\nx\r\n");
    client.expect("MSG s 1 1\r\nx\r\n");
}

for_both! {
    fn every_port_gets_another_certificate(which) {
        let server = Server::with().conf(conf("server")).start(which);
        let mut stays = tls::connect(server.port(), &Means::default()).unwrap();
        stays.frame();
        stays.send("CONNECT {\"verbose\":false}\r\nSUB s 1\r\n");
        echo(&mut stays);
        let ports = [
            (server.port(), false),
            (server.monitor_port(), true),
            (server.websocket_port(), true),
        ];
        for (cert, names) in
            [("server", ["localhost", "other.local"]), ("other", ["other.local", "localhost"])]
        {
            let lines = server.reload(&conf(cert)).unwrap();
            assert!(lines.iter().any(|line| line == "Reloaded: tls = enabled"), "{lines:?}");
            assert!(lines.iter().any(|line| line == "Reloaded: cluster"), "{lines:?}");
            for (port, first) in ports {
                assert!(tls::connect(port, &expecting(names[0], first)).is_ok(), "{port}");
                assert!(tls::connect(port, &expecting(names[1], first)).is_err(), "{port}");
            }
            let route = |name| {
                let cert = Some("server");
                Remote::encrypted(&server, &Means { cert, ..expecting(name, true) })
            };
            assert!(route(names[0]).is_ok() && route(names[1]).is_err());
        }
        echo(&mut stays);
    }

    fn encryption_comes_and_goes(which) {
        let server = Server::with().conf("max_payload: 100\n").start(which);
        let mut stays = Client::connect(&server, "");
        stays.send("SUB s 1\r\n");
        let lines = server.reload(&tls::conf("verify: true")).unwrap();
        assert!(lines.iter().any(|line| line == "Reloaded: tls = enabled"), "{lines:?}");
        let mut clear = Client::open(&server);
        clear.send("CONNECT {}\r\nPING\r\n");
        clear.expect_closed();
        let means = Means { cert: Some("client"), ..Means::default() };
        tls::connect(server.port(), &means).unwrap().frame();
        server.reload("max_payload: 100\n").unwrap();
        Client::connect(&server, "").fence();
        echo(&mut stays);
    }

    fn who_is_named_by_a_certificate_is_judged_by_it(which) {
        let users = |name: &str, more: &str| {
            let permissions = format!("permissions {{ publish: \"{more}\" }}");
            let users = format!("{{ user: \"CN={name}\", {permissions} }}, {{ user: x }}");
            tls::conf("verify_and_map: true") + &format!("authorization {{ users: [{users}] }}\n")
        };
        let server = Server::with().conf(users("client", "a")).start(which);
        let means = Means { cert: Some("client"), ..Means::default() };
        let mut client = tls::connect(server.port(), &means).unwrap();
        client.frame();
        client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
        client.expect("PONG\r\n");
        server.reload(&users("client", "b")).unwrap();
        client.send("PUB b 0\r\n\r\nPUB a 0\r\n\r\n");
        client.expect("-ERR 'Permissions Violation for Publish to \"a\"'\r\n");
        server.reload(&users("nobody", "b")).unwrap();
        client.expect_closed();
    }

    fn a_file_that_has_changed_is_read(which) {
        let folder = tempfile::tempdir().unwrap();
        let put = |cert: &str| {
            for end in ["pem", "key"] {
                let file = tls::file(&format!("{cert}.{end}"));
                fs::copy(file, folder.path().join(format!("own.{end}"))).unwrap();
            }
        };
        let path = |end| Path::new(folder.path()).join(format!("own.{end}"));
        put("server");
        let [cert, key] = ["pem", "key"].map(path);
        let conf = format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}\n");
        let server = Server::with().conf(conf).start(which);
        assert!(tls::connect(server.port(), &expecting("localhost", false)).is_ok());
        put("other");
        server.reload_again().unwrap();
        assert!(tls::connect(server.port(), &expecting("other.local", false)).is_ok());
        fs::write(path("pem"), "no certificate").unwrap();
        server.reload_again().unwrap_err();
        assert!(tls::connect(server.port(), &expecting("other.local", false)).is_ok());
    }
}

/// nats-server compares with the keys that were pinned before, and so disconnects nobody.
#[test]
fn who_has_a_key_that_is_not_pinned_any_more_is_disconnected() {
    let pinned = |names: &[&str]| {
        let pins: Vec<_> = names.iter().map(|name| format!("{:?}", tls::pin(name))).collect();
        tls::conf(&format!("verify: true, pinned_certs: [{}]", pins.join(", ")))
    };
    let server = Server::with().conf(pinned(&["client", "server"])).start(Which::Dialtone);
    let connect = |cert| {
        let means = Means { cert: Some(cert), ..Means::default() };
        let mut client = tls::connect(server.port(), &means).unwrap();
        client.frame();
        client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
        client.expect("PONG\r\n");
        client
    };
    let (mut stays, mut gone) = (connect("server"), connect("client"));
    server.reload(&pinned(&["server"])).unwrap();
    server.wait_log("Disconnect 1 clients due to pinned certs reload");
    gone.expect_closed();
    stays.fence();
    let clear = TcpStream::connect(("127.0.0.1", server.port()));
    assert!(clear.is_ok());
}
