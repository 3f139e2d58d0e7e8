//! The verdict of `-t` on blocks `tls`, which is that of nats-server. Blocks with which every
//! handshake would fail are not among them: there, ours is stricter.

use std::fs;
use std::process::Command;

use crate::support::{Which, tls};

/// Checks a configuration; returns true if it is valid, and the reason if not.
fn check(which: Which, conf: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.conf");
    fs::write(&file, conf).unwrap();
    let mut check = Command::new(which.executable());
    check.arg("-t").arg("-c").arg(&file).env("SSL_CERT_FILE", tls::file("ca.pem"));
    let output = check.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// Settings of a block, with the names of files in place of `$name`.
fn block(settings: &str) -> String {
    let mut text = format!("port: -1\ntls {{ {settings} }}\n");
    let files = ["server.pem", "server.key", "other.pem", "other.key", "encrypted.key", "ca.pem"];
    for name in files {
        text = text.replace(&format!("${name}"), &format!("{:?}", tls::file(name)));
    }
    text
}

const PAIR: &str = "cert_file: $server.pem, key_file: $server.key";

for_both! {
    fn bad_blocks_are_refused(which) {
        let pair = |more: &str| format!("{PAIR}, {more}");
        for (settings, why) in [
            ("cert_file: $server.pem".to_owned(), "missing 'key_file' in TLS configuration"),
            ("key_file: $server.key".to_owned(), "missing 'cert_file' in TLS configuration"),
            (
                "cert_file: \"/no\", key_file: $server.key".to_owned(),
                "error parsing X509 certificate/key pair: open /no: no such file or directory",
            ),
            (
                "cert_file: $server.pem, key_file: \"/no\"".to_owned(),
                "error parsing X509 certificate/key pair: open /no: no such file or directory",
            ),
            (
                "cert_file: $server.pem, key_file: $other.key".to_owned(),
                "tls: private key does not match public key",
            ),
            (
                "cert_file: $server.pem, key_file: $encrypted.key".to_owned(),
                "error parsing X509 certificate/key pair: ",
            ),
            (
                "cert_file: $server.key, key_file: $server.key".to_owned(),
                "error parsing X509 certificate/key pair: tls: failed to find",
            ),
            ("cert_file: 5".to_owned(), "expected 'cert_file' to be filename"),
            (pair("verify: true, ca_file: \"/no\""), "open /no: no such file or directory"),
            (pair("verify: true, ca_file: $server.key"), "failed to parse root ca certificate"),
            (pair("ca_file: 3"), "error parsing tls config, expected 'ca_file' to be filename"),
            (pair("verify: \"x\""), "expected 'verify' to be a boolean"),
            (pair("verify_and_map: \"x\""), "expected 'verify_and_map' to be a boolean"),
            (
                pair("verify_cert_and_check_known_urls: true"),
                "verify_cert_and_check_known_urls not supported in this context",
            ),
            (pair("timeout: \"x\""), "'timeout' time: invalid duration \"x\""),
            (pair("min_version: \"1.1\""), "unsupported TLS version: TLS 1.1"),
            (pair("min_version: 1.2"), "'min_version' wrong type"),
            (pair("cipher_suites: [FOO]"), "unrecognized cipher FOO"),
            (pair("cipher_suites: []"), "'cipher_suites' cannot be empty"),
            (pair("curve_preferences: [P256]"), "unrecognized curve preference P256"),
            (pair("pinned_certs: [abc]"), "'pinned_certs' key abc does not look like"),
            (pair("handshake_first: \"x\""), "\"handshake_first\"'s value \"x\" is invalid"),
            (pair("connection_rate_limit: \"x\""), "'connection_rate_limit' wrong type"),
            (pair("bogus: 1"), "error parsing tls config, unknown field \"bogus\""),
            (pair("cert_match: \"\""), "expected 'cert_match' to be a valid non-empty string"),
            (pair("cert_match_by: name"), "cert match by type not implemented"),
            (
                pair("cert_match_skip_invalid: 1"),
                "expected 'cert_match_skip_invalid' to be a boolean",
            ),
            (
                "certs: [{ cert_file: $server.pem }]".to_owned(),
                "error parsing certificates config: both 'cert_file' and ",
            ),
            (
                pair("certs: [{ cert_file: $other.pem, key_file: $other.key }]"),
                "cannot combine 'cert_file' option with 'certs' option",
            ),
        ] {
            let (valid, said) = check(which, &block(&settings));
            assert!(!valid && said.contains(why), "{settings}: {said}");
        }
        assert!(!check(which, "tls: 1").0);
    }

    fn good_blocks_are_taken(which) {
        for more in [
            "verify: true",
            "verify: true, ca_file: $ca.pem, timeout: 2.5",
            "verify_and_map: yes, ca_file: $ca.pem, pinned_certs: []",
            "handshake_first: off, min_version: \"1.3\"",
            "first: auto, connection_rate_limit: 10, insecure: true",
            "cert_match_by: Subject, cert_match: x, cert_match_skip_invalid: true",
            "ca_certs_match: [x, y]",
            "handshake_first: \"300ms\", curve_preferences: [CurveP256, X25519]",
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], timeout: \"3s\"",
            "ocsp_peer: false, verify_cert_and_check_known_urls: false",
        ] {
            let (valid, said) = check(which, &block(&format!("{PAIR}, {more}")));
            assert!(valid, "{more}: {said}");
        }
        let pairs = "[{ cert_file: $server.pem, key_file: $server.key }, \
            { cert_file: $other.pem, key_file: $other.key }]";
        let (valid, said) = check(which, &block(&format!("certificates: {pairs}")));
        assert!(valid, "{said}");
    }
}

/// The errors about files say where, which one, and what to do.
#[test]
fn errors_about_keys_help() {
    for (key, why) in [
        ("other.key", "server.pem has another key than "),
        ("encrypted.key", "one that is encrypted has to be decrypted first (openssl pkey)"),
    ] {
        let settings = format!("cert_file: $server.pem, key_file: ${key}");
        let (_, said) = check(Which::Dialtone, &block(&settings));
        assert!(said.contains("c.conf:2:1: error parsing X509 certificate/key pair: "), "{said}");
        assert!(said.contains(why) && said.contains(key), "{said}");
    }
}
