//! Logins with nkeys: the client signs the nonce of its INFO.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::Value;

use crate::support::{Client, Server, http};

const REFUSED: &str = "-ERR 'Authorization Violation'\r\n";

/// A server that knows this user, and one with a password.
fn conf(user: &KeyPair) -> String {
    let key = user.public_key();
    format!("authorization {{ users = [ {{ nkey: {key} }}, {{ user: u, password: p }} ] }}\n")
}

/// Connects without a word; gives the nonce too.
pub(crate) fn open(server: &Server) -> (Client, String) {
    let mut client = Client::silent(server.port());
    let info = client.frame();
    let json: Value = serde_json::from_slice(&info["INFO ".len()..]).unwrap();
    assert_eq!(json["auth_required"], true);
    let nonce = json["nonce"].as_str().expect("there is something to sign");
    (client, nonce.to_owned())
}

pub(crate) fn login(key: &KeyPair, nonce: &str) -> String {
    let signature = BASE64URL_NOPAD.encode(&key.sign(nonce.as_bytes()).unwrap());
    let key = key.public_key();
    format!("CONNECT {{\"verbose\":false,\"nkey\":\"{key}\",\"sig\":\"{signature}\"}}\r\n")
}

for_both! {
    fn who_signs_is_admitted(which) {
        let user = KeyPair::new_user();
        let server = Server::with().conf(conf(&user)).monitored().start(which);
        let (mut client, nonce) = open(&server);
        client.send(&login(&user, &nonce));
        client.send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
        client.expect("MSG a 1 2\r\nhi\r\n");
        let connz = http::json(&server, "/connz?auth=1");
        assert_eq!(connz["connections"][0]["authorized_user"], user.public_key());
    }

    fn a_password_still_serves_beside(which) {
        let server = Server::with().conf(conf(&KeyPair::new_user())).start(which);
        Client::connect(&server, r#""user":"u","pass":"p""#).fence();
    }

    fn another_key_is_refused(which) {
        let server = Server::with().conf(conf(&KeyPair::new_user())).start(which);
        let (mut client, nonce) = open(&server);
        client.send(&login(&KeyPair::new_user(), &nonce));
        client.expect(REFUSED);
        client.expect_closed();
    }

    /// Each connection has a nonce of its own, so nobody can use a signature that was overheard.
    fn the_signature_of_another_connection_is_refused(which) {
        let user = KeyPair::new_user();
        let server = Server::with().conf(conf(&user)).start(which);
        let (_other, overheard) = open(&server);
        let (mut client, nonce) = open(&server);
        assert_ne!(overheard, nonce);
        client.send(&login(&user, &overheard));
        client.expect(REFUSED);
        client.expect_closed();
    }

    fn who_does_not_sign_is_refused(which) {
        let user = KeyPair::new_user();
        let server = Server::with().conf(conf(&user)).start(which);
        let (mut client, _) = open(&server);
        client.send(&format!("CONNECT {{\"nkey\":\"{}\"}}\r\n", user.public_key()));
        client.expect(REFUSED);
        client.expect_closed();
    }
}
