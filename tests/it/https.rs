//! Monitoring over TLS: one port instead of the other, with the certificates of clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use rustls::version;

use crate::support::tls::{self, Means};
use crate::support::{Client, PATIENCE, Server, Which, http};

fn start(which: Which, more_of_tls: &str) -> Server {
    Server::with().conf(tls::conf(more_of_tls)).flags(["-ms", "-1"]).start(which)
}

for_both! {
    /// Nobody is asked for a certificate, and no key is pinned.
    fn pages_are_encrypted(which) {
        let pins = format!("verify: true, pinned_certs: [{:?}]", tls::pin("client"));
        let server = start(which, &pins);
        server.wait_log(&format!("Starting https monitor on 127.0.0.1:{}", server.monitor_port()));
        assert!(server.monitors_encrypted());
        let varz = http::json(&server, "/varz");
        // nats-server shows what was asked for.
        let port = if which == Which::Real { -1 } else { server.monitor_port().into() };
        assert_eq!(varz["https_port"], port);
        assert_eq!((&varz["http_port"], &varz["http_host"]), (&0.into(), &"127.0.0.1".into()));
        let stream = tls::bridge(server.monitor_port(), &Means::first()).unwrap();
        let mut client = Client::from_stream(stream);
        let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n";
        client.send(&format!("{request}\r\n{request}Connection: close\r\n\r\n"));
        let answers = String::from_utf8(client.read_to_end()).unwrap();
        assert_eq!(answers.matches("{\"status\":\"ok\"}").count(), 2, "{answers}");
    }

    fn who_leaves_behind_a_request_is_answered(which) {
        let server = start(which, "");
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        for version in [&version::TLS13, &version::TLS12] {
            let means = Means { version, ..Means::first() };
            let leave = |bytes: &[u8]| tls::say_and_leave(server.monitor_port(), &means, bytes);
            assert_eq!(leave(b""), "");
            let answer = leave(request);
            assert!(answer.ends_with("\r\n\r\n{\"status\":\"ok\"}"), "{answer}");
        }
    }

    fn the_file_asks_for_it_too(which) {
        let conf = tls::conf("") + "https: \"127.0.0.1:-1\"\n";
        let server = Server::with().conf(conf).start(which);
        assert_eq!(http::page(&server, "/healthz").status, 200);
    }

    fn who_does_not_encrypt_is_told(which) {
        let server = start(which, "");
        let mut client = Client::silent(server.monitor_port());
        client.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = "HTTP/1.0 400 Bad Request\r\n\r\n\
                      Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(String::from_utf8(client.read_to_end()).unwrap(), answer);
        let line = server.wait_log("client sent an HTTP request to an HTTPS server");
        assert!(line.contains("[ERR] monitoring: TLS handshake error from 127.0.0.1:"), "{line}");
    }

    fn without_a_certificate_nothing_starts(which) {
        for (flags, wanted) in [
            (vec!["-ms", "-1"], "Can't start monitoring: TLS cert and key required for HTTPS"),
            (
                vec!["-m", "-1", "-ms", "-1"],
                "Can't start monitoring: can't specify both HTTP (-1) and HTTPs (-1) ports",
            ),
        ] {
            let mut command = Command::new(which.executable());
            command.args(["-a", "127.0.0.1", "-p", "-1"]).args(flags);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(wanted), "{said}");
        }
    }
}

/// Half a handshake waits like half a request: of many, those that have waited longest give way.
#[test]
fn probes_get_through_a_crowd_of_half_handshakes() {
    let server = start(Which::Dialtone, "");
    let connect = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.monitor_port())).unwrap();
        stream.write_all(b"\x16\x03\x01\x08\0\x01\0\x07\xfc\x03\x03").unwrap();
        stream
    };
    let mut crowd: Vec<TcpStream> = (0..1_100).map(connect).collect();
    for _ in 0..5 {
        assert_eq!(http::page(&server, "/healthz").status, 200);
    }
    let first = &mut crowd[0];
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
}
