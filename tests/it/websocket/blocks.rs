//! The block of the configuration: both servers take the same ones, and refuse with the same words.

use std::fs;
use std::process::Command;

use super::*;
use crate::support::tls;

/// When nats-server refuses a block: dialtone does as soon as it is checked.
#[derive(Clone, Copy, PartialEq)]
enum Refused {
    Checked,
    Started,
}

for_both! {
    fn bad_blocks_are_refused(which) {
        use Refused::{Checked, Started};
        let [cert, other] = ["server.pem", "other.key"].map(tls::file);
        let open = |more: &str| format!("{{ port: -1, no_tls: true, {more} }}");
        let encrypted = |tls: &str| format!("{{ port: -1, tls {{ {tls} }} }}");
        let users = "authorization { users: [{ user: u, password: p }] }";
        for (block, when, why) in [
            ("1".to_owned(), Checked, "Expected websocket to be a map, got"),
            (open("port: \"x\""), Checked, ""),
            (open("listen: \"x\""), Checked, "could not parse address string \"x\""),
            (open("no_tls: \"yes\""), Checked, ""),
            (open("bogus: 1"), Checked, "unknown field \"bogus\""),
            (open("headers: \"x\""), Checked, "error parsing headers: unsupported type"),
            (open("headers { a: 5 }"), Checked, "error parsing header key a: unsupported type"),
            (open("handshake_timeout: \"x\""), Checked, "invalid duration \"x\""),
            (open("authorization { users: [] }"), Checked, "unknown field \"users\""),
            (encrypted(&format!("cert_file: {cert:?}")), Checked, "missing 'key_file' in TLS"),
            (
                encrypted(&format!("cert_file: {cert:?}, key_file: {other:?}")),
                Checked,
                "tls: private key does not match public key",
            ),
            (encrypted("bogus: 1"), Checked, "error parsing tls config, unknown field \"bogus\""),
            (encrypted("timeout: \"x\""), Checked, "'timeout' time: invalid duration \"x\""),
            (encrypted("pinned_certs: [abc]"), Checked, "'pinned_certs' key abc does not look"),
            ("{ port: -1 }".to_owned(), Started, "websocket requires TLS configuration"),
            (
                open("allowed_origins: [\"x\"]"),
                Started,
                "unable to parse allowed origin: parse \"x\": invalid URI for request",
            ),
            (open("allowed_origins: \"*\""), Started, "origins must be absolute URLs with http"),
            (open("headers { Host: x }"), Started, "invalid header \"Host\" not allowed"),
            (open("headers { sec-websocket-x: x }"), Started, "\"Sec-WebSocket-\" prefix not"),
            (open("jwt_cookie: j"), Started, "trusted operators or trusted keys configuration is"),
            (open("no_auth_user: z"), Started, "no_auth_user: \"z\" present, but users/nkeys are"),
            (
                format!("{}\n{users}", open("authorization { user: a, password: b }")),
                Started,
                "websocket authentication username not compatible with presence of users/nkeys",
            ),
            (open("advertise: \"x:y\""), Started, ""),
        ] {
            let (valid, said) = judge(which, &block, which == Which::Dialtone || when == Checked);
            assert!(!valid && said.contains(why), "{block}: {said}");
        }
    }

    fn good_blocks_are_taken(which) {
        let tls = |more| format!("{{ port: -1, {} }}", tls::conf(more));
        for block in [
            "{}".to_owned(),
            "{ port: -1, no_tls: true }".to_owned(),
            "{ listen: 8080, no_tls: true, handshake_timeout: 5 }".to_owned(),
            "{ port: -1, no_tls: true, allowed_origins: [\"http://a.com/b\"] }".to_owned(),
            tls(""),
            tls("verify: true, handshake_first: true"),
            tls("timeout: 0.5, pinned_certs: [], connection_rate_limit: 3"),
        ] {
            let (valid, said) = judge(which, &block, true);
            assert!(valid, "{block}: {said}");
        }
    }
}

/// The verdict on a block, and what is said of it.
fn judge(which: Which, block: &str, check: bool) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.conf");
    fs::write(&file, format!("websocket: {block}\n")).unwrap();
    let mut command = Command::new(which.executable());
    command.args(["-a", "127.0.0.1", "-p", "-1"]).arg("-c").arg(&file);
    if check {
        command.arg("-t");
    }
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}
