//! Servers that encrypt their connections: what they say, what they ask of each other, and what
//! becomes of those that do not fit.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustls::version;
use serde_json::{Value, json};

use super::handshake::alone;
use crate::support::cluster::routes;
use crate::support::remote::{connect_line, info_line, listener};
use crate::support::tls::{self, Means};
use crate::support::{Client, Flavor, Remote, Server, Which, http};

use Which::{Dialtone, Real};

/// A server that shows this certificate and trusts that authority.
fn encrypted(which: Which, cert: &str, ca: &str, more: &str) -> Server {
    start(which, &tls::block(cert, ca, more))
}

/// A server with these settings in its block `cluster`.
fn start(which: Which, settings: &str) -> Server {
    alone(settings).monitored().flags(["-D"]).start(which)
}

/// A server that dials the other one by that host, and has no name but its id.
fn dialling(which: Which, tls: &str, host: &str, other: &Server) -> Server {
    dialling_port(which, tls, host, other.route_port())
}

fn dialling_port(which: Which, tls: &str, host: &str, port: u16) -> Server {
    let route = format!("routes: [\"nats://{host}:{port}\"]");
    let cluster = format!("name: mesh\nlisten: \"127.0.0.1:-1\"\n{route}\n{tls}");
    let conf = format!("cluster {{\n{cluster}\n}}\n");
    Server::with().conf(conf).monitored().flags(["-D"]).start(which)
}

/// Waits until so many servers know each other, with all connections.
#[track_caller]
fn wait_mesh(servers: &[&Server]) {
    let count = (servers.len() - 1) * Flavor::Encrypted.route_count();
    for server in servers {
        http::json_until(server, "/routez", |page| page["num_routes"] == count);
    }
}

/// How a server presents itself.
fn shows(cert: &'static str) -> Means {
    Means { cert: Some(cert), ..Means::first() }
}

for_both! {
    /// INFO comes behind the handshake, and says that both sides show certificates.
    fn the_handshake_comes_first(which) {
        let server = encrypted(which, "server", "ca", "handshake_first: false, verify: false");
        for version in [&version::TLS13, &version::TLS12] {
            let means = Means { version, ..shows("client") };
            let mut remote = Remote::encrypted(&server, &means).unwrap();
            assert_eq!(remote.info["tls_required"], true);
            assert_eq!(remote.info["tls_verify"], true);
            remote.send(&connect_line("r", &json!({"tls_required": true})));
            remote.send(&info_line("r", &json!({})));
            remote.fence();
            assert_eq!(routes(&server).len(), 1);
        }
        for text in [
            "Starting TLS route server handshake",
            "TLS handshake complete",
            "TLS version 1.3, cipher suite TLS_AES_128_GCM_SHA256",
            "TLS version 1.2, cipher suite TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "Route connection created",
        ] {
            server.wait_log(text);
        }
        let varz = http::json(&server, "/varz");
        let cluster = &varz["cluster"];
        assert_eq!(cluster["tls_timeout"], 2);
        assert_eq!(cluster["auth_timeout"], 3);
        assert_eq!(cluster["tls_required"], true);
        assert_eq!(cluster["tls_verify"], true);
        assert!(cluster["tls_cert_not_after"].is_string());
        assert_eq!(varz.get("tls_required"), None, "clients do not encrypt");
        Client::connect(&server, "").fence();
    }

    fn clear_text_and_silence_are_sent_nothing(which) {
        let server = encrypted(which, "server", "ca", "timeout: 0.5");
        let mut clear = Client::silent(server.route_port());
        clear.send(&connect_line("r", &json!({})));
        clear.expect_closed();
        let line = server.wait_log(CLEAR);
        assert!(line.contains("[ERR] "), "{line}");
        Client::silent(server.route_port()).expect_closed();
        let line = server.wait_log("i/o timeout");
        assert!(line.contains("[ERR] ") && line.contains("TLS route handshake error: "), "{line}");
        server.wait_log("Router connection closed: TLS Handshake Failure");
    }

    fn who_shows_no_certificate_is_refused(which) {
        let server = encrypted(which, "server", "ca", "");
        let means = Means { version: &version::TLS12, ..Means::first() };
        assert!(Remote::encrypted(&server, &means).is_err());
        server.wait_log(&format!("TLS route handshake error: {NO_CERTIFICATE}"));
    }

    /// The time for the password begins behind the handshake.
    fn who_leaves_with_the_last_word_is_heard(which) {
        let server = encrypted(which, "server", "ca", "");
        let port = server.route_port();
        let line = info_line("r", &json!({}));
        for words in [String::new(), line, "PING\r\n".to_owned()] {
            let said = tls::say_and_leave(port, &shows("server"), words.as_bytes());
            assert!(said.starts_with("INFO {"), "{said}");
        }
    }

    fn who_does_not_log_in_is_closed(which) {
        let authorization = "authorization { user: mesh, password: secret, timeout: 0.5 }";
        let server = start(which, &format!("{authorization}\n{}", tls::conf("")));
        let mut remote = Remote::encrypted(&server, &shows("client")).unwrap();
        assert_eq!(remote.read_to_end(), "-ERR 'Authentication Timeout'\r\n");
    }

    /// CONNECT comes at once, and says so.
    fn the_side_that_dials_introduces_itself(which) {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let _server = dialling_port(which, &tls::conf(""), "localhost", port);
        let frame = tls::accept(&listener, "server").unwrap().frame();
        let json = frame.strip_prefix(b"CONNECT ").unwrap();
        let connect: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(connect["tls_required"], true);
    }

    /// Regression: routes were told the TLS of clients.
    fn tls_of_clients_is_not_that_of_routes(which) {
        let server = alone("").more_conf(&tls::conf("")).start(which);
        let info = Remote::open(&server).info;
        assert!(info.get("tls_required").is_none(), "{info}");
    }

    /// The password counts for nothing then.
    fn certificates_name_the_user_of_the_cluster(which) {
        for (user, cert, other) in
            [("localhost", "server", "other"), ("CN=client", "client", "server")]
        {
            let authorization = format!("authorization {{ user: \"{user}\", password: secret }}");
            let tls = tls::conf("verify_and_map: true");
            let server = start(which, &format!("{authorization}\n{tls}"));
            expect_known(&server, cert, other);
        }
    }

    fn certificates_name_hosts_of_routes(which) {
        let routes = "routes: [\"nats://one.example:1\", \"nats://x.many.local:1\"]";
        let tls = tls::conf("verify_cert_and_check_known_urls: true");
        let server = start(which, &format!("{routes}\n{tls}"));
        expect_known(&server, "other", "server");
    }

    fn the_system_has_authorities(which) {
        let [cert, key] = ["server.pem", "server.key"].map(tls::file);
        let tls = format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}");
        let setup = alone(&tls).monitored().environment("SSL_CERT_FILE", tls::file("ca.pem"));
        let server = setup.start(which);
        let _joined = join(&server, "client").unwrap();
        assert_eq!(routes(&server).len(), 1);
        let foreign = Means { version: &version::TLS12, ..shows("foreign") };
        assert!(Remote::encrypted(&server, &foreign).is_err());
    }

    /// The verdict of `-t`; the words are the same.
    fn bad_blocks_are_refused(which) {
        check_blocks(which);
    }

    fn the_careless_are_warned(which) {
        let server = encrypted(which, "server", "ca", "insecure: true");
        server.wait_log("TLS certificate chain and hostname of solicited routes will not be");
    }
}

/// Joins as a server with that certificate, or returns what the other one says at the end.
fn join(server: &Server, cert: &'static str) -> Result<Remote, String> {
    let mut remote = Remote::encrypted(server, &shows(cert)).unwrap();
    remote.send(&connect_line("r", &json!({"tls_required": true})));
    remote.send(&info_line("r", &json!({})));
    remote.send("PING\r\n");
    remote.skip_system();
    let frame = remote.line.frame();
    if frame == b"PONG\r\n" { Ok(remote) } else { Err(String::from_utf8(frame).unwrap()) }
}

/// The first certificate is known, and the other one is not.
#[track_caller]
fn expect_known(server: &Server, cert: &'static str, other: &'static str) {
    drop(join(server, cert).unwrap());
    let refused = join(server, other).err();
    assert_eq!(refused.as_deref(), Some("-ERR 'Authorization Violation'\r\n"));
    server.wait_log("User in cert [\"CN=");
}

fn check_blocks(which: Which) {
    let [cert, key, ca, other] = ["server.pem", "server.key", "ca.pem", "other.key"].map(tls::file);
    let with_key = |key: &Path| format!("cert_file: {cert:?}, key_file: {key:?}");
    let pair = with_key(&key);
    let whole = format!("{pair}, ca_file: {ca:?}");
    let folder = tempfile::tempdir().unwrap();
    let check = |block: &str| {
        let file = folder.path().join("c.conf");
        fs::write(&file, format!("cluster {{ name: a, port: -1\n tls {block}\n}}")).unwrap();
        let mut check = Command::new(which.executable());
        let output = check.arg("-t").arg("-c").arg(&file).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (block, why) in [
        (format!("{{ cert_file: {cert:?}, ca_file: {ca:?} }}"), "missing 'key_file' in TLS"),
        (format!("{{ key_file: {key:?}, ca_file: {ca:?} }}"), "missing 'cert_file' in TLS"),
        (format!("{{ {}, ca_file: {ca:?} }}", with_key(&other)), "tls: private key does not match"),
        (
            format!("{{ {}, ca_file: {ca:?} }}", with_key(Path::new("/no"))),
            "open /no: no such file",
        ),
        (format!("{{ {pair}, ca_file: \"/no\" }}"), "open /no: no such file or directory"),
        (format!("{{ {pair}, ca_file: {key:?} }}"), "failed to parse root ca certificate"),
        (format!("{{ {whole}, verify: \"x\" }}"), "expected 'verify' to be a boolean"),
        (format!("{{ {whole}, timeout: \"x\" }}"), "'timeout' time: invalid duration \"x\""),
        (format!("{{ {whole}, min_version: \"1.1\" }}"), "unsupported TLS version: TLS 1.1"),
        (format!("{{ {whole}, cipher_suites: [FOO] }}"), "unrecognized cipher FOO"),
        (format!("{{ {whole}, pinned_certs: [abc] }}"), "'pinned_certs' key abc does not look"),
        (format!("{{ {whole}, bogus: 1 }}"), "error parsing tls config, unknown field \"bogus\""),
        (": 1".to_owned(), ""),
    ] {
        let (valid, said) = check(&block);
        assert!(!valid && said.contains(why), "{block}: {said}");
    }
    for more in [
        "verify: false",
        "insecure: true",
        "handshake_first: auto",
        "pinned_certs: []",
        "connection_rate_limit: 5",
    ] {
        let (valid, said) = check(&format!("{{ {whole}, {more} }}"));
        assert!(valid, "{more}: {said}");
    }
}

/// A pair of servers of which one dials the other.
macro_rules! pairs {
    ($($(#[doc = $doc:literal])* $name:ident($accepts:ident, $dials:ident) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            use super::*;

            fn with($accepts: Which, $dials: Which) $body

            test_of! { dialtone [Dialtone Dialtone] { with(Dialtone, Dialtone); } }
            test_of! { real_dials [Dialtone Real] { with(Dialtone, Real); } }
            test_of! { real_accepts [Real Dialtone] { with(Real, Dialtone); } }
            test_of! { real [Real Real] { with(Real, Real); } }
        }
    )*};
}

/// Both say this, in vain, again and again; clients notice nothing.
#[track_caller]
fn expect_failure([accepts, dials]: [&Server; 2], accepts_says: &str, dials_says: &str) {
    accepts.wait_log(accepts_says);
    dials.wait_log(dials_says);
    let count = |server: &Server| {
        let lines = server.log_lines();
        lines.iter().filter(|line| line.contains("Router connection closed: ")).count()
    };
    let before = count(dials);
    while count(dials) == before {
        Client::connect(dials, "").fence();
        Client::connect(accepts, "").fence();
    }
    for server in [accepts, dials] {
        assert!(routes(server).is_empty());
    }
}

const CLEAR: &str =
    "TLS route handshake error: tls: first record does not look like a TLS handshake";

const NO_CERTIFICATE: &str = "tls: client didn't provide a certificate";

/// The text of the side that checks.
fn failed(why: &str) -> String {
    format!("TLS route handshake error: tls: failed to verify certificate: x509: {why}")
}

pairs! {
    a_server_without_tls_dials(accepts, dials) {
        let accepts = encrypted(accepts, "server", "ca", "");
        let dials = dialling(dials, "", "127.0.0.1", &accepts);
        expect_failure([&accepts, &dials], CLEAR, "Router connection closed: Client Closed");
    }

    a_server_without_tls_is_dialled(accepts, dials) {
        let accepts = start(accepts, "");
        let dials = dialling(dials, &tls::conf(""), "127.0.0.1", &accepts);
        let closed = "Router connection closed: Authentication Failure";
        expect_failure([&accepts, &dials], closed, CLEAR);
    }

    a_server_of_another_name_is_dialled(accepts, dials) {
        let accepts = encrypted(accepts, "other", "ca", "");
        let refused = "TLS route handshake error: remote error: tls: bad certificate";
        for (host, why) in [
            ("localhost", "certificate is valid for other.local, *.many.local, not localhost"),
            (
                "127.0.0.1",
                "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
            ),
        ] {
            let dials = dialling(dials, &tls::conf(""), host, &accepts);
            expect_failure([&accepts, &dials], refused, &failed(why));
        }
        let careless = tls::conf("insecure: true");
        wait_mesh(&[&dialling(dials, &careless, "127.0.0.1", &accepts), &accepts]);
    }

    a_stranger_is_dialled(accepts, dials) {
        let accepts = encrypted(accepts, "foreign", "foreign-ca", "");
        let dials = dialling(dials, &tls::conf(""), "127.0.0.1", &accepts);
        let refused = "TLS route handshake error: remote error: tls: ";
        let unknown = failed("certificate signed by unknown authority");
        expect_failure([&accepts, &dials], refused, &unknown);
    }

    a_stranger_dials(accepts, dials) {
        let accepts = encrypted(accepts, "server", "ca", "");
        let foreign = tls::block("foreign", "ca", "");
        let dials = dialling(dials, &foreign, "127.0.0.1", &accepts);
        let unknown = match dials.which() {
            Dialtone => failed("certificate signed by unknown authority"),
            // It shows only a certificate of an authority that the other one names.
            Real => format!("TLS route handshake error: {NO_CERTIFICATE}"),
        };
        expect_failure([&accepts, &dials], &unknown, "Router connection closed: Read Error");
    }

    a_server_with_an_old_certificate_dials(accepts, dials) {
        let accepts = encrypted(accepts, "server", "foreign-ca", "");
        let expired = tls::block("expired", "ca", "");
        let dials = dialling(dials, &expired, "127.0.0.1", &accepts);
        let expired = failed("certificate has expired or is not yet valid");
        expect_failure([&accepts, &dials], &expired, "Router connection closed: Read Error");
    }

    a_server_whose_key_is_not_pinned_dials(accepts, dials) {
        let pins = format!("pinned_certs: [\"{}\"]", "0".repeat(64));
        let accepts = encrypted(accepts, "server", "ca", &pins);
        let dials = dialling(dials, &tls::conf(""), "127.0.0.1", &accepts);
        let not_pinned = "TLS route handshake error: certificate not pinned";
        expect_failure([&accepts, &dials], not_pinned, "Router connection closed: ");
    }

    a_server_whose_key_is_not_pinned_is_dialled(accepts, dials) {
        let accepts = encrypted(accepts, "server", "ca", "");
        let pins = format!("pinned_certs: [\"{}\"]", "0".repeat(64));
        let dials = dialling(dials, &tls::conf(&pins), "127.0.0.1", &accepts);
        let not_pinned = "TLS route handshake error: certificate not pinned";
        expect_failure([&accepts, &dials], "Router connection closed: Client Closed", not_pinned);
    }

    /// It is tried again as long as it fails.
    a_route_comes_once_the_certificate_fits(accepts, dials) {
        let wrong = encrypted(accepts, "other", "ca", "");
        let dials = dialling(dials, &tls::conf(""), "localhost", &wrong);
        dials.wait_log(&failed("certificate is valid for other.local, *.many.local, not"));
        let port = wrong.route_port();
        wrong.stop();
        let listen = format!("listen: \"127.0.0.1:{port}\"\n{}", tls::conf(""));
        wait_mesh(&[&start(accepts, &listen), &dials]);
    }
}

/// Servers tell each other addresses, while the certificates have only the name by which all have
/// dialled the first.
fn gossip_finds_servers_by_their_name(kinds: [Which; 3]) {
    let tls = tls::block("named", "foreign-ca", "");
    let first = start(kinds[0], &tls);
    let [second, third] = [1, 2].map(|at| dialling(kinds[at], &tls, "localhost", &first));
    wait_mesh(&[&first, &second, &third]);
}

test_of! { gossip_of_dialtones [Dialtone] { gossip_finds_servers_by_their_name([Dialtone; 3]); } }
test_of! {
    gossip_of_a_real_server [Real] {
        gossip_finds_servers_by_their_name([Real, Dialtone, Dialtone]);
    }
}
test_of! {
    gossip_to_a_real_server [Real] {
        gossip_finds_servers_by_their_name([Dialtone, Real, Dialtone]);
    }
}

/// Strangers who hold their handshakes open give way to others, the oldest first, and cost little.
#[test]
fn handshakes_that_hang_are_bounded() {
    const COUNT: usize = 1_024;
    let server = encrypted(Dialtone, "server", "ca", "timeout: 60");
    let memory = server.memory();
    // A record of 16 KiB without its last byte, the start of a message of 16 MiB.
    let mut hello = vec![0; 5 + 0x4000 - 1];
    hello[..9].copy_from_slice(&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]);
    let hang = |_| {
        let mut client = Client::silent(server.route_port());
        client.send_bytes(&hello);
        client
    };
    let mut first = hang(0);
    let _others: Vec<Client> = (0..COUNT).map(hang).collect();
    first.expect_closed();
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 48 << 20, "{grown} bytes");
    let mut remote = Remote::encrypted(&server, &shows("client")).unwrap();
    remote.send(&connect_line("r", &json!({})));
    remote.send(&info_line("r", &json!({})));
    remote.fence();
}
