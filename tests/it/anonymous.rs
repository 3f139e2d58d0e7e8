//! Half-written blocks: none of them lets anybody in who was to be kept out.
//!
//! All combinations of blocks that say nothing, something or almost something about logins, with
//! both servers: a client without credentials comes in exactly if nothing asks for a login.

use crate::support::{Client, Server, Which};

/// What a block is to a client without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// A login.
    Login,
    /// A login, and no other block may ask for another one.
    LoginAlone,
    /// A login, half-written: dialtone does not start, and nats-server lets everybody in.
    HalfWritten,
    /// Nothing, if there is no block `authorization`.
    LoginBesideAuthorization,
}

use Asks::{HalfWritten, Login, LoginAlone, LoginBesideAuthorization, Nothing};

const AUTHORIZATION: [(&str, Asks); 12] = [
    ("", Nothing),
    ("authorization {}", Nothing),
    ("authorization { timeout: 1 }", Nothing),
    ("authorization { default_permissions { publish: a } }", Nothing),
    ("authorization { users: [] }", Nothing),
    ("authorization { users: [{ user: u, password: p }] }", Login),
    ("authorization { user: u }", LoginAlone),
    ("authorization { user: u, password: p }", LoginAlone),
    ("authorization { token: t }", LoginAlone),
    ("authorization { password: p }", HalfWritten),
    ("authorization { token: \"\" }", HalfWritten),
    ("authorization { user: \"\", password: \"\" }", HalfWritten),
];

const ACCOUNTS: [(&str, Asks); 10] = [
    ("", Nothing),
    ("accounts {}", Nothing),
    ("accounts []", Nothing),
    ("accounts [A]", Nothing),
    ("accounts { A {} }", Nothing),
    ("accounts { A { users: [] } }", Nothing),
    ("accounts { A { users: [{ user: a, password: p }] } }", Login),
    ("accounts { $SYS {} }", Nothing),
    ("accounts { $SYS { users: [] } }", Nothing),
    ("accounts { $SYS { users: [{ user: s, password: p }] } }", LoginBesideAuthorization),
];

/// The outcome for a client without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// There is no server.
    NoServer,
    Admitted,
    Refused,
}

fn outcome(which: Which, conf: &str) -> Outcome {
    let Ok(server) = Server::with().conf(conf).try_start(which) else { return Outcome::NoServer };
    let mut client = Client::open(&server);
    client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
    match &*client.frame() {
        b"PONG\r\n" => Outcome::Admitted,
        b"-ERR 'Authorization Violation'\r\n" => Outcome::Refused,
        frame => panic!("{conf}: {}", frame.escape_ascii()),
    }
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn half_written_blocks_keep_everybody_out_or_nobody() {
    let mut differ = Vec::new();
    for (authorization, asks) in AUTHORIZATION {
        for (accounts, too) in ACCOUNTS {
            let conf = format!("{authorization}\n{accounts}\nmax_payload: 100\n");
            let [ours, real] = [Which::Dialtone, Which::Real].map(|which| outcome(which, &conf));
            let logs_in = match too {
                Login => true,
                LoginBesideAuthorization => !authorization.is_empty(),
                Nothing | LoginAlone | HalfWritten => false,
            };
            let wanted = match (asks, logs_in) {
                (Nothing, false) => [Outcome::Admitted; 2],
                (Nothing, true) | (Login, _) | (LoginAlone, false) => [Outcome::Refused; 2],
                (LoginAlone, true) => [Outcome::NoServer; 2],
                (HalfWritten, false) => [Outcome::NoServer, Outcome::Admitted],
                (HalfWritten, true) => [Outcome::NoServer, Outcome::Refused],
                (LoginBesideAuthorization, _) => unreachable!("a block of accounts"),
            };
            if [ours, real] != wanted {
                differ.push(format!("{authorization} | {accounts}: {ours:?} {real:?} {wanted:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}
