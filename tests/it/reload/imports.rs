//! New exports and imports: they hold for the subscriptions that are there.

use crate::support::{Client, Remote, Server, Which};

/// A exports what it publishes; B imports with these settings.
fn conf(exports: &str, imports: &str) -> String {
    format!(
        "accounts {{
          A {{ users: [{{user: a}}], exports: [{exports}] }}
          B {{ users: [{{user: b}}], imports: [{imports}] }}
          C {{ users: [{{user: c}}] }}
        }}\n"
    )
}

const PUBLIC: &str = "{stream: \"pub.>\"}";

/// The import of everything, behind a prefix.
fn behind(prefix: &str) -> String {
    format!("{{stream: {{account: A, subject: \"pub.>\"}}, prefix: {prefix}}}")
}

fn connect(server: &Server, name: &str) -> Client {
    Client::connect(server, &format!(r#""user":"{name}""#))
}

/// Publishes a message in A, whose subject for B is this one, or nobody's.
#[track_caller]
fn check(a: &mut Client, b: &mut Client, seen: Option<(&str, u8)>) {
    // After that b has its new shadows.
    b.fence();
    a.send("PUB pub.x 1\r\nx\r\n");
    a.fence();
    if let Some((subject, sid)) = seen {
        b.expect(&format!("MSG {subject} {sid} 1\r\nx\r\n"));
    }
    b.fence();
}

/// Asks in B: the number of answers from A, which gives two; `None` if it gets no request.
#[track_caller]
fn answers(a: &mut Client, b: &mut Client, subject: &str) -> Option<usize> {
    b.send(&format!("PUB {subject} in 1\r\nx\r\n"));
    b.fence();
    a.send("PING\r\n");
    let request = String::from_utf8(a.frame()).unwrap();
    if request == "PONG\r\n" {
        return None;
    }
    a.expect("PONG\r\n");
    let reply = request.split(' ').nth(3).unwrap();
    a.send(&format!("PUB {reply} 1\r\n1\r\nPUB {reply} 1\r\n2\r\n"));
    a.fence();
    b.send("PING\r\n");
    let answers = (0..).take_while(|_| b.frame() != b"PONG\r\n");
    Some(answers.count())
}

for_both! {
    fn subscriptions_follow_the_imports(which) {
        let server = Server::with().conf(conf(PUBLIC, &behind("fromA"))).start(which);
        let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
        b.send("SUB fromA.pub.x 1\r\nSUB other.pub.x 2\r\nSUB q.* g 3\r\n");
        b.fence();
        check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
        server.reload(&conf(PUBLIC, &behind("other"))).unwrap();
        check(&mut a, &mut b, Some(("other.pub.x", 2)));
        server.reload(&conf(PUBLIC, "")).unwrap();
        check(&mut a, &mut b, None);
        let import = "{stream: {account: A, subject: \"pub.*\"}, to: \"q.$1\"}";
        server.reload(&conf(PUBLIC, import)).unwrap();
        check(&mut a, &mut b, Some(("q.x", 3)));
        server.reload(&conf(PUBLIC, &behind("fromA"))).unwrap();
        check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
        b.send("UNSUB 1\r\n");
        check(&mut a, &mut b, None);
        server.reload(&conf(PUBLIC, &behind("other"))).unwrap();
        check(&mut a, &mut b, Some(("other.pub.x", 2)));
    }

    /// A permission is about the subject that the subscriber sees.
    fn a_subscription_that_is_denied_hears_no_import(which) {
        let denied = |deny: &str| {
            let permissions = format!("permissions: {{subscribe: {{deny: [{deny}]}}}}");
            conf(PUBLIC, &behind("fromA")).replace("user: b", &format!("user: b, {permissions}"))
        };
        let server = Server::with().conf(denied("none")).start(which);
        let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
        b.send("SUB fromA.pub.x 1\r\nSUB fromA.> 2\r\n");
        b.fence();
        b.send("UNSUB 2\r\n");
        check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
        server.reload(&denied("\"fromA.pub.x\"")).unwrap();
        let what = "\"fromA.pub.x\" (sid \"1\")";
        b.expect(&format!("-ERR 'Permissions Violation for Subscription to {what}'\r\n"));
        check(&mut a, &mut b, None);
        b.send("SUB fromA.> 3\r\n");
        check(&mut a, &mut b, None);
        server.reload(&denied("none")).unwrap();
        check(&mut a, &mut b, Some(("fromA.pub.x", 3)));
    }

    fn requests_follow_the_services(which) {
        let all = |export: &str, to: &str| {
            let import = format!("{{service: {{account: A, subject: q.x}}, to: {to}}}");
            conf(&format!("{{service: \"q.*\", {export}}}"), &import)
        };
        let server = Server::with().conf(all("response: single", "ask")).start(which);
        let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
        a.send("SUB q.* 1\r\n");
        b.send("SUB in 1\r\n");
        a.fence();
        assert_eq!(answers(&mut a, &mut b, "ask"), Some(1));
        server.reload(&all("response: single", "other")).unwrap();
        assert_eq!(answers(&mut a, &mut b, "ask"), None);
        assert_eq!(answers(&mut a, &mut b, "other"), Some(1));
        server.reload(&all("response: stream", "other")).unwrap();
        assert_eq!(answers(&mut a, &mut b, "other"), Some(2));
        let with_password = |conf: String| conf.replace("user: b", "user: b, pass: x");
        server.reload(&with_password(all("response: stream", "other"))).unwrap();
        let mut b = connect(&server, "b\",\"pass\":\"x");
        b.send("SUB in 1\r\n");
        assert_eq!(answers(&mut a, &mut b, "other"), Some(2));
        server.reload(&with_password(conf("", ""))).unwrap();
        assert_eq!(answers(&mut a, &mut b, "other"), None);
    }

    fn an_export_that_is_imported_stays(which) {
        let server = Server::with().conf(conf(PUBLIC, &behind("fromA"))).start(which);
        let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
        b.send("SUB fromA.> 1\r\n");
        for exports in ["", "{stream: \"pub.>\", accounts: [C]}"] {
            let refused = server.reload(&conf(exports, &behind("fromA"))).unwrap_err();
            let text = "Error adding stream import \"pub.>\": stream import not authorized";
            assert!(refused.contains(text), "{refused}");
            check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
        }
        let private = "{stream: \"pub.>\", accounts: [B]}";
        server.reload(&conf(private, &behind("fromA"))).unwrap();
        check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
    }
}

/// In nats-server it stays announced for ever, and a limit is forgotten.
#[test]
fn interest_and_limits_stay_true() {
    let cluster = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }\n";
    let conf = |imports: &str| format!("server_name: own\n{cluster}{}", conf(PUBLIC, imports));
    let server = Server::with().conf(conf(&behind("fromA"))).start(Which::Dialtone);
    let mut remote = Remote::join(&server, "r");
    remote.fence();
    let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
    b.send("SUB fromA.pub.x 1\r\nUNSUB 1 3\r\n");
    b.fence();
    assert_eq!(remote.fence(), ["RS+ A pub.x\r\n", "RS+ B fromA.pub.x\r\n"]);
    check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
    server.reload(&conf(&behind("other"))).unwrap();
    check(&mut a, &mut b, None);
    assert_eq!(remote.fence(), ["RS- A pub.x\r\n"]);
    b.send("SUB other.pub.x 2\r\n");
    b.fence();
    assert_eq!(remote.fence(), ["RS+ A pub.x\r\n", "RS+ B other.pub.x\r\n"]);
    // New shadows come before old ones go, so others see no change.
    server.reload(&conf(&behind("fromA"))).unwrap();
    check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
    assert!(remote.fence().is_empty());
    check(&mut a, &mut b, Some(("fromA.pub.x", 1)));
    assert_eq!(remote.fence(), ["RS- A pub.x\r\n", "RS- B fromA.pub.x\r\n"]);
    check(&mut a, &mut b, None);
}

/// Many subscriptions are renewed in pieces; the client waits for all of them.
#[test]
fn the_next_pong_vouches_for_all() {
    let server = Server::with().conf(conf(PUBLIC, &behind("fromA"))).start(Which::Dialtone);
    let (mut a, mut b) = (connect(&server, "a"), connect(&server, "b"));
    for sid in 1..=5000 {
        b.send(&format!("SUB *.pub.{sid} {sid}\r\n"));
    }
    b.fence();
    for prefix in ["other", "fromA"] {
        server.reload(&conf(PUBLIC, &behind(prefix))).unwrap();
        b.fence();
        for sid in (1..=5000).step_by(7) {
            a.send(&format!("PUB pub.{sid} 0\r\n\r\n"));
            b.expect(&format!("MSG {prefix}.pub.{sid} {sid} 0\r\n\r\n"));
        }
    }
}
