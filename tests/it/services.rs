//! What the server itself answers, under `$SYS.REQ`.

use serde_json::{Value, json};

use crate::support::{Client, Remote, Server, http};

const CONNECT: &str = r#""headers":true,"no_responders":true"#;
const REQUEST: &str = "PUB $SYS.REQ.USER.INFO in 0\r\n\r\n";

/// The document in the next frame, a message on subscription 1.
fn answer(client: &mut Client) -> Value {
    let frame = String::from_utf8(client.frame()).unwrap();
    let (line, body) = frame.split_once("\r\n").unwrap();
    assert_eq!(line, format!("MSG in 1 {}", body.len() - 2));
    serde_json::from_str(body).unwrap()
}

/// What a client that says this in CONNECT is told of itself. The answer may come before or after
/// what follows the request.
fn told(server: &Server, members: &str) -> Value {
    let mut client = Client::connect(server, &format!("{CONNECT},{members}"));
    client.send(&format!("SUB in 1\r\n{REQUEST}"));
    answer(&mut client)["data"].take()
}

for_both! {
    fn a_client_is_told_who_it_is(which) {
        let conf = "server_name: S1, server_tags: [a, b], server_metadata { k: v }";
        let server = Server::with().conf(conf).start(which);
        let mut client = Client::connect(&server, CONNECT);
        client.send(&format!("SUB in 1\r\n{REQUEST}"));
        let mut first = answer(&mut client);
        client.send(REQUEST);
        let second = answer(&mut client);
        let seq = |answer: &Value| answer["server"]["seq"].as_u64().unwrap();
        assert_eq!(seq(&second), seq(&first) + 1);
        for varies in ["id", "seq", "time"] {
            assert!(!first["server"][varies].take().is_null(), "{varies}");
        }
        let server = json!({
            "name": "S1", "host": "127.0.0.1", "id": null, "ver": "2.15.1", "tags": ["a", "b"],
            "metadata": { "k": "v" },
            "feature_flags": {
                "js_ack_fc_v2": false, "js_api_reply_v2": false, "js_raft_delete_range": true,
                "js_snapshot_sources": false
            },
            "jetstream": false, "flags": 0, "seq": null, "time": null
        });
        let data = json!({ "user": "", "account": "$G", "account_name": "$G" });
        assert_eq!(first, json!({ "server": server, "data": data }));
    }

    fn users_are_told_what_they_may_do(which) {
        let server = Server::with().conf(r#"authorization { users = [
            { user: all, password: p }
            { user: some, password: p, permissions: {
                publish: { allow: ["$SYS.REQ.USER.INFO"], deny: "x.d" }
                subscribe: { allow: ["in", "q.* grp"] }, allow_responses: { max: 7 } } }
            { user: few, password: p, permissions: { publish: "$SYS.>" } }
            { user: mute, password: p, permissions: { publish: "no" } }
        ] }"#).start(which);
        let told = |user: &str| {
            let mut data = told(&server, &format!(r#""user":"{user}","pass":"p""#));
            // nats-server lists them in an order of chance.
            for list in ["/permissions/publish/allow", "/permissions/subscribe/allow"] {
                let subjects = data.pointer_mut(list).and_then(Value::as_array_mut);
                subjects.into_iter().for_each(|list| list.sort_by_key(Value::to_string));
            }
            data
        };
        let data = |user: &str| json!({ "user": user, "account": "$G", "account_name": "$G" });
        assert_eq!(told("all"), data("all"));
        let mut some = data("some");
        some["permissions"] = json!({
            "publish": { "allow": ["$SYS.REQ.USER.INFO"], "deny": ["x.d"] },
            "subscribe": { "allow": ["in", "q.* grp"] },
            "responses": { "max": 7, "ttl": 120_000_000_000_u64 }
        });
        assert_eq!(told("some"), some);
        let mut few = data("few");
        few["permissions"] = json!({ "publish": { "allow": ["$SYS.>"] }, "subscribe": {} });
        assert_eq!(told("few"), few);
        let mut mute = Client::connect(&server, r#""user":"mute","pass":"p""#);
        mute.send(REQUEST);
        mute.expect("-ERR 'Permissions Violation for Publish to \"$SYS.REQ.USER.INFO\"'\r\n");
    }

    fn a_token_is_no_name(which) {
        let server = Server::with().flags(["--auth", "t"]).start(which);
        assert_eq!(told(&server, r#""auth_token":"t""#)["user"], "[REDACTED]");
    }

    /// Clients may listen to what is asked, and the answer may be for another one.
    fn a_request_is_a_message_like_others(which) {
        let server = Server::start(which);
        let mut listener = Client::subscribed(&server, "$SYS.REQ.USER.>");
        let mut receiver = Client::connect(&server, "");
        receiver.send("SUB in 1\r\n");
        receiver.fence();
        let mut client = Client::connect(&server, CONNECT);
        client.send(&format!("{REQUEST}PUB $SYS.REQ.USER.INFO 2\r\nhi\r\n"));
        client.fence();
        for heard in ["in 0\r\n", "2\r\nhi"] {
            listener.expect(&format!("MSG $SYS.REQ.USER.INFO 1 {heard}\r\n"));
        }
        assert_eq!(answer(&mut receiver)["data"]["user"], "");
        receiver.fence();
    }

    /// More than fits into one turn, or into what is read at once.
    fn thousands_of_requests_are_answered(which) {
        const COUNT: usize = 5_000;
        let server = Server::start(which);
        let mut client = Client::connect(&server, CONNECT);
        client.send(&format!("SUB in 1\r\n{}", REQUEST.repeat(COUNT)));
        for _ in 0..COUNT {
            answer(&mut client);
        }
        client.fence();
    }

    /// A request has come in from a client, an answer has gone out to one.
    fn what_is_asked_and_answered_is_counted_once(which) {
        let server = Server::with().monitored().start(which);
        let mut client = Client::connect(&server, CONNECT);
        client.send(&format!("SUB in 1\r\n{REQUEST}"));
        answer(&mut client);
        // Messages are counted a moment after they have gone out.
        let once = |received: &Value, sent: &Value| (received, sent) == (&json!(1), &json!(1));
        let varz = http::json_until(&server, "/varz", |varz| {
            once(&varz["in_msgs"], &varz["out_msgs"])
        });
        assert_eq!(varz["connections"], 1);
        let accounts = http::json_until(&server, "/accstatz", |accounts| {
            let global = &accounts["account_statz"][0];
            once(&global["received"]["msgs"], &global["sent"]["msgs"])
        });
        assert_eq!(accounts["account_statz"][0]["acc"], "$G");
    }

    fn without_a_system_account_nobody_answers(which) {
        let server = Server::with().conf("no_system_account: true").start(which);
        let mut client = Client::connect(&server, CONNECT);
        client.send(&format!("SUB in 1\r\n{REQUEST}"));
        let block = "NATS/1.0 503\r\nNats-Subject: $SYS.REQ.USER.INFO\r\n\r\n";
        client.expect(&format!("HMSG in 1 50 50\r\n{block}\r\n"));
    }

    /// Other servers have services of their own.
    fn other_servers_are_not_told_and_get_no_answer(which) {
        let cluster = r#"cluster { name: mesh, listen: "127.0.0.1:-1", pool_size: -1 }"#;
        let server = Server::with().conf(cluster).start(which);
        let mut remote = Remote::join(&server, "r");
        let mut client = Client::connect(&server, "");
        client.send("SUB $SYS.REQ.USER.INFO 1\r\n");
        remote.expect("RS+ $G $SYS.REQ.USER.INFO\r\n");
        remote.send("RS+ $G in\r\n");
        remote.fence();
        remote.send("RMSG $G $SYS.REQ.USER.INFO in 0\r\n\r\n");
        client.expect("MSG $SYS.REQ.USER.INFO 1 in 0\r\n\r\n");
        client.send("UNSUB 1\r\n");
        remote.expect("RS- $G $SYS.REQ.USER.INFO\r\n");
        // The answer to a client here goes out.
        client.send(REQUEST);
        // nats-server has services in `$SYS`, whose answers come to it first.
        let mut answer = String::from_utf8(remote.line.frame()).unwrap();
        if answer.starts_with("RS+ $SYS _R_.") {
            answer = String::from_utf8(remote.line.frame()).unwrap();
        }
        assert!(answer.starts_with("RMSG $G in ") && answer.contains("\"data\":"), "{answer}");
        assert!(remote.fence().is_empty());
    }
}
