//! Clients that encrypt, and those that do not where they should.

mod blocks;
mod commands;
mod mapping;

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use rustls::version;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::tls::{self, Means};
use crate::support::{Client, Server, Which, http};

fn start(which: Which, more: &str) -> Server {
    Server::with().conf(tls::conf(more)).flags(["-D"]).monitored().start(which)
}

/// Reads INFO.
fn info(client: &mut Client) -> Value {
    let info = client.frame();
    serde_json::from_slice(&info["INFO ".len()..]).unwrap()
}

fn connect(server: &Server, means: &Means) -> Client {
    let mut client = tls::connect(server.port(), means).unwrap();
    assert_eq!(info(&mut client)["tls_required"], true);
    client.send("CONNECT {\"verbose\":false}\r\n");
    client
}

/// It is closed without a byte.
fn expect_nothing(mut client: Client) {
    client.expect_closed();
}

/// Sends a message to itself that takes several records, and back.
fn echo(client: &mut Client) {
    let payload = "x".repeat(100_000);
    client.send(&format!("SUB a 1\r\nPUB a 100000\r\n{payload}\r\nPING\r\n"));
    client.expect(&format!("MSG a 1 100000\r\n{payload}\r\nPONG\r\n"));
}

for_both! {
    fn clients_encrypt_after_info(which) {
        let server = start(which, "");
        for (version, wanted) in [(&version::TLS13, "1.3"), (&version::TLS12, "1.2")] {
            let mut client = connect(&server, &Means { version, ..Means::default() });
            echo(&mut client);
            let connz = http::json(&server, "/connz");
            let shown = connz["connections"].as_array().unwrap().last().unwrap().clone();
            assert_eq!(shown["tls_version"], wanted);
            assert!(shown["tls_cipher_suite"].as_str().unwrap().ends_with("AES_128_GCM_SHA256"));
            assert_eq!(shown.get("tls_first"), None);
        }
        let varz = http::json(&server, "/varz");
        assert_eq!((&varz["tls_required"], &varz["tls_timeout"]), (&true.into(), &2.into()));
        assert_eq!(varz["auth_timeout"], 3);
        server.wait_log("TLS required for client connections");
        server.wait_log("TLS handshake complete");
        server.wait_log("TLS version 1.2, cipher suite TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    }

    fn clear_text_and_silence_are_sent_nothing(which) {
        let server = start(which, "timeout: 0.5");
        let mut clear = Client::open(&server);
        clear.send("CONNECT {}\r\nPING\r\n");
        expect_nothing(clear);
        server.wait_log("TLS handshake error: tls: first record does not look like a TLS");
        expect_nothing(Client::open(&server));
        // nats-server has a second timer, and logs whichever comes first.
        server.wait_log("i/o timeout");
        server.wait_log("Client connection closed: TLS Handshake Failure");
    }

    /// Regression: only a deadline before that of the first PING, 2 s after the start, was noticed.
    fn who_stops_in_the_handshake_is_closed(which) {
        let servers = ["", "handshake_first: auto, "];
        let servers = servers.map(|first| start(which, &format!("{first}timeout: 2.5")));
        let clients = servers.each_ref().map(|server| {
            ["", "\x16", "\x16\x03\x01\x02\x00"].map(|half| {
                let mut client = Client::open(server);
                client.send(half);
                client
            })
        });
        clients.into_iter().flatten().for_each(expect_nothing);
    }

    fn who_leaves_before_the_handshake_is_an_error(which) {
        let server = start(which, "");
        drop(Client::open(&server));
        server.wait_log("TLS handshake error: EOF");
    }

    /// Regression: it was waited for.
    fn an_end_in_place_of_a_handshake_is_the_same(which) {
        let server = start(which, "timeout: 60");
        let mut client = Client::open(&server);
        client.send_bytes(b"\x15\x03\x01\0\x02\x01\0");
        expect_nothing(client);
        server.wait_log("TLS handshake error: EOF");
    }

    /// Regression: the end of the stream was overlooked if it came with other bytes. The server
    /// went on until the end of the socket, and sent messages meanwhile.
    fn who_leaves_with_the_last_word_is_heard(which) {
        let server = start(which, "");
        let connect = "CONNECT {\"verbose\":false}\r\n";
        let payload = "x".repeat(300_000);
        for version in [&version::TLS13, &version::TLS12] {
            let means = Means { version, ..Means::default() };
            let leave = |words: &str| tls::say_and_leave(server.port(), &means, words.as_bytes());
            leave("");
            let said = leave(&format!("{connect}SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n"));
            assert!(said.ends_with("MSG a 1 2\r\nhi\r\nPONG\r\n"), "{said}");
            let mut others = Client::from_stream(tls::bridge(server.port(), &means).unwrap());
            others.send(&format!("{connect}SUB b 1\r\nPING\r\n"));
            info(&mut others);
            others.expect("PONG\r\n");
            leave(&format!("{connect}PUB b 300000\r\n{payload}\r\n"));
            others.expect(&format!("MSG b 1 300000\r\n{payload}\r\n"));
        }
        let closed = http::json(&server, "/connz?state=closed");
        for connection in closed["connections"].as_array().unwrap() {
            assert_eq!(connection["reason"], "Client Closed");
        }
    }

    fn clients_begin(which) {
        let server = start(which, "handshake_first: true, timeout: 0.5");
        server.wait_log("Clients that are not using \"TLS Handshake First\" option will fail");
        echo(&mut connect(&server, &Means::first()));
        let mut clear = Client::silent(server.port());
        clear.send("CONNECT {}\r\nPING\r\n");
        expect_nothing(clear);
        expect_nothing(Client::silent(server.port()));
        let connz = http::json(&server, "/connz?state=closed&sort=cid");
        assert_eq!(connz["connections"][1]["reason"], "TLS Handshake Failure");
    }

    fn clients_begin_or_wait(which) {
        let server = start(which, "handshake_first: \"300ms\"");
        let mut first = connect(&server, &Means::first());
        echo(&mut first);
        assert_eq!(http::json(&server, "/connz")["connections"][0]["tls_first"], true);
        echo(&mut connect(&server, &Means::default()));
    }

    fn clients_may_stay_clear(which) {
        let conf = tls::conf("") + "allow_non_tls: true\n";
        let server = Server::with().conf(conf).start(which);
        let mut clear = Client::silent(server.port());
        let info = info(&mut clear);
        assert_eq!((info.get("tls_required"), &info["tls_available"]), (None, &true.into()));
        clear.send("CONNECT {\"verbose\":false}\r\n");
        echo(&mut clear);
        let mut client = tls::connect(server.port(), &Means::default()).unwrap();
        client.frame();
        client.send("CONNECT {\"verbose\":false}\r\n");
        echo(&mut client);
        server.wait_log("TLS available for client connections");
    }

    fn clients_show_certificates(which) {
        let server = start(which, "verify: true");
        let known = Means { cert: Some("client"), ..Means::default() };
        echo(&mut connect(&server, &known));
        let unknown = Means { version: &version::TLS12, ..Means::default() };
        assert!(tls::connect(server.port(), &unknown).is_err());
        server.wait_log("TLS handshake error: tls: client didn't provide a certificate");
        let varz = http::json(&server, "/varz");
        assert_eq!(varz["tls_verify"], true);
    }

    fn an_authority_may_be_a_client_itself(which) {
        let server = Server::with().conf(tls::block("server", "own", "verify: true")).start(which);
        echo(&mut connect(&server, &Means { cert: Some("own"), ..Means::default() }));
        // It is not trusted for being one.
        let conf = tls::block("server", "foreign-ca", "verify: true");
        let server = Server::with().conf(conf).start(which);
        let strange = Means { cert: Some("own"), version: &version::TLS12, ..Means::default() };
        assert!(tls::connect(server.port(), &strange).is_err());
    }

    fn only_authorities_sign(which) {
        for (ca, admitted) in [
            ("authority", true),
            ("shallow", true),
            ("no-authority", false),
            ("silent", false),
            ("signs-nothing", false),
            ("unheard-of", false),
            ("of-servers", false),
        ] {
            let conf = tls::block("server", &format!("trust/{ca}"), "verify: true");
            let server = Server::with().conf(conf).start(which);
            // Refusals of 1.3 come behind the handshake.
            let version = &version::TLS12;
            let leaf = Means { cert: Some("trust/leaf"), version, ..Means::default() };
            assert_eq!(tls::connect(server.port(), &leaf).is_ok(), admitted, "{ca}");
        }
    }

    fn monitoring_shows_certificates(which) {
        let conf = tls::conf("verify: true").replace("/ca.pem", "/users/ca.pem");
        let server = Server::with().conf(conf).monitored().start(which);
        let of_domain = "0.9.2342.19200300.100.1.25";
        for (cert, subject) in [
            ("users/bob", "CN=bob,OU=OU1+OU=OU2,O=Org,C=US"),
            ("users/special", r#"CN=J \"x\" \+y\\z,O=Acme\, Inc"#),
            ("users/several", "CN=mv,O=O4,0.9.2342.19200300.100.1.1=u1"),
            ("users/unusual", "CN=em,1.2.840.113549.1.9.1=e@x.com"),
            (
                "users/domain",
                &format!("CN=dcbob,O=Org,{of_domain}=example,{of_domain}=com"),
            ),
            ("users/nobody", ""),
        ] {
            let mut client = connect(&server, &Means { cert: Some(cert), ..Means::default() });
            // Its own side of the handshake is done first.
            client.send("PING\r\n");
            client.expect("PONG\r\n");
            let shown = |query: &str| {
                let connz = http::json(&server, query);
                connz["connections"].as_array().unwrap().last().unwrap()["tls_peer_certs"].clone()
            };
            let der = tls::certificate(cert);
            let mut wanted = json!([{
                "spki_sha256": tls::pin(cert),
                "cert_sha256": HEXLOWER.encode(&Sha256::digest(&der)),
            }]);
            if !subject.is_empty() {
                wanted[0]["subject"] = subject.into();
            }
            assert_eq!(shown("/connz?auth=1"), wanted);
            assert_eq!(shown("/connz"), Value::Null);
        }
        let not_after = http::json(&server, "/varz")["tls_cert_not_after"].clone();
        let not_after = not_after.as_str().unwrap();
        assert_eq!(not_after.len(), "2126-01-02T03:04:05Z".len(), "{not_after}");
        not_after.parse::<jiff::Timestamp>().unwrap();
    }

    fn the_system_knows_authorities(which) {
        let ca = tls::file("users/ca.pem");
        let named = format!("ca_file: {:?},", tls::file("ca.pem"));
        let conf = tls::conf("verify: true").replace(&named, "");
        let server = Server::with().conf(conf).environment("SSL_CERT_FILE", ca).start(which);
        let known = Means { cert: Some("users/bob"), ..Means::default() };
        echo(&mut connect(&server, &known));
        let unknown = Means { cert: Some("client"), version: &version::TLS12, ..known };
        assert!(tls::connect(server.port(), &unknown).is_err());
        server.wait_log("certificate signed by unknown authority");
    }

    fn only_pinned_keys_are_taken(which) {
        let (pinned, other) = (tls::pin("client"), tls::pin("other"));
        let known = Means { cert: Some("client"), ..Means::default() };
        let server = start(which, &format!("verify: true, pinned_certs: [{pinned:?}]"));
        echo(&mut connect(&server, &known));
        let server = start(which, &format!("verify: true, pinned_certs: [{other:?}]"));
        let mut client = tls::connect(server.port(), &known).unwrap();
        client.frame();
        expect_nothing(client);
        server.wait_log("TLS handshake error: certificate not pinned");
    }

    fn certificates_are_chosen_by_name(which) {
        let pair = |name: &str| {
            let [cert, key] = ["pem", "key"].map(|end| tls::file(&format!("{name}.{end}")));
            format!("{{cert_file: {cert:?}, key_file: {key:?}}}")
        };
        let conf = format!("tls {{ certs: [{}, {}] }}\n", pair("server"), pair("other"));
        let server = Server::with().conf(conf).start(which);
        for (name, known) in [
            ("localhost", true),
            ("other.local", true),
            ("one.many.local", true),
            ("127.0.0.1", true),
            ("nobody.local", false),
        ] {
            let connected = tls::connect(server.port(), &Means { name, ..Means::default() });
            assert_eq!(connected.is_ok(), known, "{name}: {:?}", connected.err());
        }
    }

    /// Others begin no handshake.
    fn of_clients_with_a_choice_those_with_tls_are_counted(which) {
        let conf = tls::conf("connection_rate_limit: 1") + "allow_non_tls: true\n";
        let server = Server::with().conf(conf).start(which);
        for _ in 0..3 {
            let mut clear = Client::open(&server);
            clear.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
            clear.expect("PONG\r\n");
        }
        let _first = tls::connect(server.port(), &Means::default()).unwrap();
        let mut second = Client::open(&server);
        second.send("\x16\x03\x01\x02\x00");
        if which == Which::Dialtone {
            second.expect("-ERR 'Connection throttling is active. Please try again later.'\r\n");
        }
        second.expect_closed();
    }

    fn handshakes_are_counted(which) {
        let server = start(which, "connection_rate_limit: 1");
        // Its handshake is done, so it is the one that was counted.
        let _first = connect(&server, &Means::default());
        let mut second = Client::open(&server);
        second.expect("-ERR 'Connection throttling is active. Please try again later.'\r\n");
    }

    fn versions_may_be_refused(which) {
        let server = start(which, "min_version: \"1.3\"");
        echo(&mut connect(&server, &Means::default()));
        let old = Means { version: &version::TLS12, ..Means::default() };
        assert!(tls::connect(server.port(), &old).is_err());
        server.wait_log("TLS handshake error: tls: client offered only unsupported versions");
    }

    fn the_flags_do_it_too(which) {
        let file = |name| tls::file(name).into_os_string().into_string().unwrap();
        let [cert, key] = ["server.pem", "server.key"].map(file);
        let files = ["--tlscert", &cert, "--tlskey", &key];
        let server = Server::with().flags(["--tls"]).flags(files).start(which);
        echo(&mut connect(&server, &Means::default()));
    }
}

for_both! {
    /// Who is shown a certificate judges it.
    fn certificates_need_only_a_key(which) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers.pem");
        let cert = fs::read_to_string(tls::file("server.pem")).unwrap();
        let headers = "-----\nName: value\nOther: x:y\n\n";
        fs::write(&path, format!("Note: none\n{}", cert.replacen("-----\n", headers, 1))).unwrap();
        for (cert, key) in [(&path, "server.key"), (&tls::file("critical.pem"), "critical.key")] {
            let conf = format!("tls {{ cert_file: {cert:?}, key_file: {:?} }}", tls::file(key));
            let server = Server::with().conf(conf).start(which);
            match tls::connect(server.port(), &Means::default()) {
                Ok(mut client) => assert_eq!(info(&mut client)["tls_required"], true),
                Err(error) => assert!(error.contains("CriticalExtension"), "{error}"),
            }
        }
    }
}

/// Faults of the block and of its files: nothing starts, and the check of a file says the same.
#[test]
fn what_cannot_be_used_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.conf");
    let [cert, key, other, ca] = ["server.pem", "server.key", "other.key", "ca.pem"].map(tls::file);
    let pair =
        |cert: &Path, key: &Path| format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}");
    for (conf, wanted) in [
        (
            pair(&cert, &other),
            ":1:0: error parsing X509 certificate/key pair: tls: private key does not match",
        ),
        (
            pair(&key, &key),
            ": error parsing X509 certificate/key pair: tls: failed to find any PEM data",
        ),
        (pair(&cert, &ca), "no private key in"),
        (pair(&tls::file("weak.pem"), &tls::file("weak.key")), "RSA of 2048 bits or more"),
        (pair(Path::new("/dev/zero"), &key), "open /dev/zero: longer than 16 MiB"),
        (pair(&cert, Path::new("/dev/zero")), "open /dev/zero: longer than 16 MiB"),
        (
            tls::conf("verify: true").replace(&format!("{ca:?}"), "\"/dev/zero\""),
            "open /dev/zero: longer than 16 MiB",
        ),
        (
            format!("tls {{ cert_file: \"/nope\", key_file: {key:?} }}"),
            "open /nope: no such file or directory",
        ),
        (format!("tls {{ cert_file: {cert:?} }}"), "missing 'key_file' in TLS configuration"),
        (tls::conf("verify: true").replace("ca.pem", "ca.nope"), "no such file or directory"),
        (
            tls::conf("verify: true").replace("ca.pem", "server.key"),
            "failed to parse root ca certificate",
        ),
    ] {
        fs::write(&path, &conf).unwrap();
        for check in [true, false] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dialtone"));
            command.arg("-c").arg(&path).args(["-a", "127.0.0.1", "-p", "-1"]);
            if check {
                command.arg("-t");
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(wanted), "{conf}: {said}");
        }
    }
}
