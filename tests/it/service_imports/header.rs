//! The header that names the requester.

use serde_json::json;

use super::{CONF, Client, Frame, client, message, request, start};
use crate::support::{Server, Which};

use Which::Dialtone;

/// The header lines that the service gets for these, but for the requester.
fn passed(server: &Server, status: &str, lines: &str) -> Vec<String> {
    let mut a = client(server, "a", "SUB req.one 1\r\n");
    let mut b = client(server, "b", "SUB in 8\r\n");
    let block = format!("NATS/1.0{status}\r\n{lines}\r\n");
    let (len, sum) = (block.len(), block.len() + 2);
    b.send(&format!("HPUB local.one in {len} {sum}\r\n{block}hi\r\n"));
    let asked = message(&mut a);
    assert_eq!((asked.parts(), &asked.info["acc"]), (("req.one", "1", "hi"), &json!("B")));
    asked.headers
}

for_both! {
    fn it_is_the_last_one_and_the_only_one(which) {
        let server = start(which);
        assert_eq!(passed(&server, "", "A: b\r\n"), ["A: b"]);
        assert_eq!(passed(&server, " 200 OK", ""), [""; 0]);
        let own = "Nats-Request-Info: zz\r\n";
        assert_eq!(passed(&server, "", &format!("{own}A: b\r\n{own}B: c\r\n")), ["A: b", "B: c"]);
        assert_eq!(passed(&server, "", own), [""; 0]);
    }

    fn an_account_shares_who_asks(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.shared 1\r\n");
        let mut members = r#""user":"b","pass":"p","headers":true"#.to_owned();
        members += r#","name":"reqB<","lang":"py","version":"9""#;
        let mut b = Client::connect(&server, &members);
        b.send(&request("req.shared", "in"));
        let frame = String::from_utf8(a.frame()).unwrap();
        let mut info = Frame::parse(frame.as_bytes()).info;
        for varies in ["start", "id", "rtt"] {
            assert!(!info[varies].take().is_null(), "{varies} in {frame}");
        }
        let shared = json!({
            "start": null, "host": "127.0.0.1", "id": null, "acc": "B", "user": "b",
            "name": "reqB<", "lang": "py", "ver": "9", "rtt": null, "server": "S1",
            "kind": "Client", "client_type": "nats",
        });
        assert_eq!(info, shared);
        assert!(frame.contains(r#""name":"reqB\u003c","lang":"py","ver":"9","rtt":"#), "{frame}");
    }

    fn who_takes_no_headers_gets_none(which) {
        let server = start(which);
        let mut a = Client::connect(&server, r#""user":"a","pass":"p""#);
        a.send("SUB req.one 1\r\n");
        a.fence();
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&request("local.one", "in"));
        let asked = message(&mut a);
        assert!(asked.info.is_null() && asked.headers.is_empty());
        a.send(&asked.answer("ok"));
        b.expect("MSG in 8 2\r\nok\r\n");
        b.send("HPUB local.one in 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        let asked = message(&mut a);
        assert_eq!(asked.parts(), ("req.one", "1", "hi"));
        // And who sends none.
        let mut plain = Client::connect(&server, r#""user":"b","pass":"p""#);
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        plain.send(&request("local.one", "in"));
        assert_eq!(message(&mut a).info["acc"], "B");
    }

    /// The header comes on top of the largest message.
    fn it_does_not_count_against_the_largest_message(which) {
        let conf = CONF.to_owned() + "max_payload: 1024\n";
        let server = Server::with().conf(conf).start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        let mut b = client(&server, "b", "");
        let payload = "x".repeat(1024);
        b.send(&format!("PUB local.one in 1024\r\n{payload}\r\n"));
        assert_eq!(message(&mut a).payload, payload);
    }
}

/// The real server passes on what is spelled otherwise.
#[test]
fn no_spelling_gets_through() {
    let server = start(Dialtone);
    for own in [
        "nats-request-info: zz\r\n",
        "NATS-REQUEST-INFO:zz\r\n",
        " Nats-Request-Info : zz\r\n",
        "X: y\rNats-Request-Info: zz\r\n",
        "X: y\nNats-Request-Info: zz\n",
    ] {
        let headers = passed(&server, "", own);
        assert!(headers.iter().all(|line| !line.contains("zz")), "{own:?}: {headers:?}");
    }
    assert_eq!(passed(&server, "", "A: b\r\n\r\nNats-Request-Info: zz\r\n"), ["A: b"]);
}
