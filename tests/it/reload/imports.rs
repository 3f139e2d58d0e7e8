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
