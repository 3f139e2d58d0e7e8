//! The words `pub` and `req` over TLS and WebSocket, and with keys from files.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::tls::{self, file};
use crate::support::{Server, websocket};

/// Publishes to that server; returns the output, and true if it was published.
fn publish(url: &str, flags: &[(&str, &Path)], more: &[&str]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dialtone"));
    command.args(["pub", "-s", url]).args(more);
    for (flag, file) in flags {
        command.arg(flag).arg(file);
    }
    let output = command.args(["a", "hi"]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.success())
}

#[track_caller]
fn expect_published(url: &str, flags: &[(&str, &Path)], more: &[&str]) {
    let (said, published) = publish(url, flags, more);
    assert!(published && said == "Published 2 bytes to \"a\"\n", "{url}: {said}");
}

/// It says why, in one line.
#[track_caller]
fn expect_failed(url: &str, flags: &[(&str, &Path)], more: &[&str], why: &str) {
    let (said, published) = publish(url, flags, more);
    assert!(!published && said.contains(why) && said.lines().count() == 1, "{url}: {said}");
}

for_both! {
    fn commands_encrypt(which) {
        let ca = file("ca.pem");
        let ca: &[(&str, &Path)] = &[("--tlsca", &ca)];
        let server = Server::with().conf(tls::conf("")).start(which);
        let [tls, nats] = ["tls", "nats"].map(|scheme| {
            format!("{scheme}://localhost:{}", server.port())
        });
        expect_published(&tls, ca, &[]);
        expect_published(&nats, ca, &[]);
        expect_failed(&tls, &[], &[], "UnknownIssuer");
        expect_failed(&tls, &[("--tlsca", Path::new("/nope"))], &[], "open /nope: no such file");

        let server = Server::with().conf(tls::conf("handshake_first: true")).start(which);
        let first = format!("nats://localhost:{}", server.port());
        expect_published(&first, ca, &["--tlsfirst"]);

        let conf = tls::conf("").replace("/server.", "/other.");
        let server = Server::with().conf(conf).start(which);
        let other = format!("tls://localhost:{}", server.port());
        expect_failed(&other, ca, &[], "not valid for name");

        let clear = Server::start(which);
        let clear = format!("tls://localhost:{}", clear.port());
        expect_failed(&clear, ca, &[], "the server does not encrypt");
    }

    fn commands_show_certificates(which) {
        let server = Server::with().conf(tls::conf("verify: true")).start(which);
        let url = format!("tls://localhost:{}", server.port());
        let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(file);
        let ca = ("--tlsca", &*ca);
        expect_published(&url, &[ca, ("--tlscert", &cert), ("--tlskey", &key)], &[]);
        expect_failed(&url, &[ca], &[], "CertificateRequired");
        expect_failed(
            &url,
            &[ca, ("--tlscert", &cert), ("--tlskey", &file("other.key"))],
            &[],
            "tls: private key does not match public key",
        );
    }

    fn an_authority_may_be_server_and_client_itself(which) {
        let [own, key] = ["own.pem", "own.key"].map(file);
        let files: &[(&str, &Path)] = &[("--tlsca", &own), ("--tlscert", &own), ("--tlskey", &key)];
        let server = Server::with().conf(tls::block("own", "own", "verify: true")).start(which);
        let url = format!("tls://localhost:{}", server.port());
        expect_published(&url, files, &[]);
        // That is 127.0.0.1, which the certificate names.
        let mapped = format!("tls://[::ffff:127.0.0.1]:{}", server.port());
        expect_published(&mapped, files, &[]);
    }

    fn commands_come_by_websocket(which) {
        let server = Server::with().conf(websocket::conf("")).start(which);
        let port = server.websocket_port();
        expect_published(&format!("ws://127.0.0.1:{port}"), &[], &[]);
        expect_published(&format!("ws://127.0.0.1:{port}/some/path?a=b"), &[], &[]);
        expect_failed(&server.url().replace("nats:", "ws:"), &[], &[], "websocket: ");

        let block = tls::conf("");
        let conf = format!("websocket {{ listen: \"127.0.0.1:-1\", {block} }}");
        let server = Server::with().conf(conf).start(which);
        let url = format!("wss://localhost:{}", server.websocket_port());
        expect_published(&url, &[("--tlsca", &file("ca.pem"))], &[]);
        expect_failed(&url, &[], &[], "UnknownIssuer");
    }

    fn commands_sign_with_keys(which) {
        let pair = nkeys::KeyPair::new_user();
        let users = format!("authorization {{ users: [{{nkey: {}}}] }}", pair.public_key());
        let server = Server::with().conf(users).start(which);
        let folder = tempfile::tempdir().unwrap();
        let [seed, empty] = ["seed", "empty"].map(|name| folder.path().join(name));
        fs::write(&seed, pair.seed().unwrap() + "\n").unwrap();
        fs::write(&empty, "").unwrap();
        expect_published(&server.url(), &[("--nkey", &seed)], &[]);
        expect_failed(&server.url(), &[("--nkey", &empty)], &[], "no credentials of a user");
        expect_failed(&server.url(), &[("--creds", &seed)], &[], "no credentials of a user");
        let device = Path::new("/dev/zero");
        expect_failed(&server.url(), &[("--nkey", device)], &[], "longer than 16 MiB");
        expect_failed(&server.url(), &[("--creds", device)], &[], "longer than 16 MiB");
    }
}
