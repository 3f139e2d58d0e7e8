//! The monitoring pages about exports, imports and open requests.

use serde_json::{Value, json};

use super::{client, message, request};
use crate::support::{Server, http};

const CONF: &str = r#"
    server_name: S1
    accounts {
        A {
            users: [ { user: a, password: p } ]
            exports: [ { service: req.st, response: stream }
                       { service: req.one, accounts: [B], latency: { subject: lat, sampling: 50% } }
                       { service: "q.*", latency: { subject: l2, sampling: headers } }
                       { service: req.full, latency: l3 }, { stream: "pub.>" }
                       { stream: "p.*.x", accounts: [B] }
                       { stream: "tok.*", account_token_position: 2 } ]
        }
        B {
            users: [ { user: b, password: p } ]
            imports: [ { service: { account: A, subject: req.st }, to: local.st }
                       { service: { account: A, subject: req.one }, share: true }
                       { service: { account: A, subject: req.full } }
                       { stream: { account: A, subject: "pub.>" }, prefix: from }
                       { stream: { account: A, subject: "p.*.x" }, to: "k.$1" }
                       { stream: { account: A, subject: "tok.B" } } ]
        }
    }
"#;

/// The detail of an account. The order of lists is by chance in nats-server, and it imports more
/// services of the system account.
fn detail(server: &Server, account: &str) -> Value {
    let mut page = http::json(server, &format!("/accountz?acc={account}"));
    let mut detail = page["account_detail"].take();
    for list in ["exports", "imports"] {
        if let Some(list) = detail[list].as_array_mut() {
            list.sort_by_key(Value::to_string);
            let is_shown = |one: &Value| {
                let subject = one["subject"].as_str().unwrap();
                !subject.starts_with("$SYS.REQ.ACCOUNT.")
            };
            list.retain(is_shown);
        }
    }
    detail
}

for_both! {
    fn an_account_shows_what_it_shares(which) {
        let server = Server::with().conf(CONF).monitored().start(which);
        let a = detail(&server, "A");
        let latency =
            |sampling: Value, results| json!({ "sampling": sampling, "results": results });
        let service = |subject, kind| {
            json!({ "subject": subject, "type": "service", "response_type": kind })
        };
        let mut exports = vec![
            service("q.*", "Singleton"),
            service("req.full", "Singleton"),
            service("req.one", "Singleton"),
            service("req.st", "Streamed"),
            json!({ "subject": "p.*.x", "type": "stream", "approved_accounts": ["B"] }),
            json!({ "subject": "pub.>", "type": "stream" }),
            json!({ "subject": "tok.*", "type": "stream" }),
        ];
        exports[0]["service_latency"] = latency("headers".into(), "l2");
        exports[1]["service_latency"] = latency(100.into(), "l3");
        exports[2]["service_latency"] = latency(50.into(), "lat");
        exports[2]["approved_accounts"] = json!(["B"]);
        exports.sort_by_key(Value::to_string);
        assert_eq!(a["exports"], Value::Array(exports));
        let import = |subject: &str, local: &str, kind: &str| {
            json!({ "subject": subject, "account": "A", "local_subject": local, "type": kind,
                    "invalid": false, "share": false, "tracking": false })
        };
        let service = |subject, local| {
            let mut import = import(subject, local, "service");
            import["to"] = local.into();
            import
        };
        let mut user_info = service("$SYS.REQ.USER.B.INFO", "$SYS.REQ.USER.INFO");
        user_info["account"] = "$SYS".into();
        user_info["share"] = true.into();
        let mut one = service("req.one", "req.one");
        one["share"] = true.into();
        one["latency"] = latency(50.into(), "lat");
        let mut full = service("req.full", "req.full");
        full["latency"] = latency(100.into(), "l3");
        let mut imports = vec![
            user_info, one, full,
            service("req.st", "local.st"),
            import("pub.>", "from.pub.>", "stream"),
            import("p.*.x", "k.*", "stream"),
            import("tok.B", "tok.B", "stream"),
        ];
        imports.sort_by_key(Value::to_string);
        assert_eq!(detail(&server, "B")["imports"], Value::Array(imports));
    }

    fn open_requests_are_shown(which) {
        let server = Server::with().conf(CONF).monitored().start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        for (local, tracking) in [("local.st", false), ("req.full", true)] {
            b.send(&request(local, "in"));
            let asked = message(&mut a);
            let responses = detail(&server, "A")["responses"].take();
            let mut shown = json!({
                "subject": "in", "account": "B", "to": asked.reply, "local_subject": asked.reply,
                "type": 2, "invalid": false, "share": false, "tracking": tracking,
            });
            if tracking {
                shown["latency"] = json!({ "sampling": 100, "results": "l3" });
            }
            assert_eq!(responses, json!({ &asked.reply: shown }));
            a.send(&(asked.answer("ok") + &asked.answer("")));
            a.fence();
        }
        assert_eq!(detail(&server, "A")["responses"], Value::Null);
    }

    /// What a client sends counts in its account, what it gets in its own.
    fn traffic_counts_where_it_is(which) {
        let server = Server::with().conf(CONF).monitored().start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&request("local.st", "in"));
        let asked = message(&mut a);
        a.send(&asked.answer("fine"));
        b.expect("MSG in 8 4\r\nfine\r\n");
        let statz = |name: &str| {
            let done = |page: &Value| {
                let list = page["account_statz"].as_array().unwrap();
                let Some(one) = list.iter().find(|one| one["acc"] == name) else { return false };
                one["sent"]["msgs"] == 1 && one["received"]["msgs"] == 1
            };
            let mut page = http::json_until(&server, "/accstatz", done);
            let list = page["account_statz"].as_array_mut().unwrap();
            list.iter_mut().find(|one| one["acc"] == name).unwrap().take()
        };
        let (of_a, of_b) = (statz("A"), statz("B"));
        assert_eq!((&of_a["received"]["bytes"], &of_b["sent"]["bytes"]), (&4.into(), &4.into()));
        assert_eq!(of_b["received"]["bytes"], 2);
        // With the header.
        assert!(of_a["sent"]["bytes"].as_u64().unwrap() > 40, "{of_a}");
    }
}
