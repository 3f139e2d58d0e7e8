//! Routes that are there, and those of the configuration, after a reload.

use serde_json::{Value, json};

use crate::support::remote::{connect_line, info_line, listener};
use crate::support::{Client, Remote, Server, Which, http};

/// A member of the cluster `mesh` with further settings.
fn conf(more: &str) -> String {
    format!("cluster {{ name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1\n{more} }}\n")
}

fn start(which: Which, more: &str) -> Server {
    Server::with().conf(conf(more)).monitored().start(which)
}

/// The INFO of a line.
fn info(line: &[u8]) -> Value {
    serde_json::from_slice(line.strip_prefix(b"INFO ").unwrap()).unwrap()
}

for_both! {
    fn permissions_change_at_routes_that_are_there(which) {
        let server = start(which, "permissions { import: [\"a\", \"b\"], export: [\"x\", \"y\"] }");
        let mut remote = Remote::join(&server, "r");
        let mut client = Client::connect(&server, "");
        client.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
        client.fence();
        assert_eq!(remote.read_sorted(2), ["RS+ $G a\r\n", "RS+ $G b\r\n"]);
        remote.send("RS+ $G x\r\nRS+ $G y\r\nRS+ $G z\r\n");
        remote.fence();
        let lists = "permissions { import: [\"b\", \"c\"], export: [\"y\", \"z\"] }";
        server.reload(&conf(lists)).unwrap();
        remote.skip_system();
        let told = info(&remote.line.frame());
        assert_eq!(told["import"], json!({"allow": ["b", "c"]}), "{told}");
        assert_eq!(told["export"], json!({"allow": ["y", "z"]}), "{told}");
        let mut lines = remote.read_sorted(2);
        // What is known already may come again.
        lines.retain(|line| line != "RS+ $G b\r\n");
        assert_eq!(lines, ["RS+ $G c\r\n", "RS- $G a\r\n"]);
        // The other server tells its interest again, because it may be taken now.
        remote.send("RS+ $G z\r\n");
        remote.fence();
        for subject in ["x", "y", "z"] {
            client.send(&format!("PUB {subject} 0\r\n\r\n"));
        }
        client.fence();
        remote.expect("RMSG $G y 0\r\n\r\nRMSG $G z 0\r\n\r\n");
        client.send("SUB a 4\r\nUNSUB 3\r\nUNSUB 2\r\n");
        client.fence();
        let lines = remote.read_sorted(2);
        assert_eq!(lines, ["RS- $G b\r\n", "RS- $G c\r\n"]);
        server.reload(&conf("")).unwrap();
        remote.skip_system();
        let told = info(&remote.line.frame());
        assert_eq!((told.get("import"), told.get("export")), (None, None));
        let mut lines = remote.read_sorted(1);
        lines.retain(|line| !line.contains("$SYS.") && !line.contains("$JS."));
        lines.dedup();
        assert_eq!(lines, ["RS+ $G a\r\n"]);
    }

    /// A server that is told that it may take more tells its interest again.
    fn the_other_side_is_told_again(which) {
        let server = start(which, "");
        let export = |allow: &Value| info_line("r", &json!({"export": {"allow": allow}}));
        let mut remote = Remote::join_with(&server, "r", &json!({"export": {"allow": ["a"]}}));
        let mut client = Client::connect(&server, "");
        client.send("SUB a 1\r\nSUB b 2\r\n");
        client.fence();
        remote.read_sorted(2);
        remote.send(&export(&json!(["a", "b"])));
        let lines = remote.read_sorted(1);
        assert!(lines.contains(&"RS+ $G b\r\n".to_owned()), "{lines:?}");
        http::json_until(&server, "/routez", |page| {
            page["routes"][0]["export"]["allow"] == json!(["a", "b"])
        });
    }

    fn routes_are_dialled_and_left(which) {
        let listeners = [listener(), listener()];
        let urls = listeners.each_ref().map(|listener| {
            format!("\"nats://127.0.0.1:{}\"", listener.local_addr().unwrap().port())
        });
        let routes = |url: &str| conf(&format!("routes: [{url}]"));
        let server = Server::with().conf(routes(&urls[0])).monitored().start(which);
        let join = |at: usize, name: &str| {
            let line = Remote::accept(&listeners[at]).steady();
            let mut remote = Remote { line, info: Value::Null };
            remote.send(&info_line(name, &json!({})));
            remote.fence();
            remote
        };
        let mut first = join(0, "one");
        let lines = server.reload(&routes(&urls[1])).unwrap();
        assert!(lines.contains(&"Reloaded: cluster routes".to_owned()), "{lines:?}");
        first.read_to_end();
        server.wait_log("Removed route ");
        let mut second = join(1, "two");
        second.fence();
        let lines = server.reload(&routes("")).unwrap();
        assert!(lines.contains(&"Reloaded: cluster routes".to_owned()), "{lines:?}");
        second.read_to_end();
    }

    fn other_credentials_end_accepted_routes(which) {
        let login = |password| format!("authorization {{ user: u, password: {password} }}");
        let server = start(which, &login("one"));
        let mut remote = Remote::open(&server);
        remote.send(&connect_line("r", &json!({"user": "u", "pass": "one"})));
        remote.send(&info_line("r", &json!({})));
        remote.fence();
        server.reload(&conf(&login("other"))).unwrap();
        assert!(remote.read_to_end().ends_with("-ERR 'Authorization Violation'\r\n"));
    }

    fn the_cluster_gets_another_name(which) {
        let server = start(which, "");
        server.reload(&conf("").replace("mesh", "other")).unwrap();
        if which == Which::Dialtone {
            server.wait_log("Cluster name updated to other");
        }
        let info = Remote::open(&server).info;
        assert_eq!(info["cluster"], "other");
        assert_eq!(http::json(&server, "/varz")["cluster"]["name"], "other");
    }
}

/// Whichever of the two reloads, the other one tells its interest again.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn two_kinds_tell_each_other_of_permissions() {
    for [one, other] in
        [[Which::Dialtone, Which::Real], [Which::Real, Which::Dialtone], [Which::Dialtone; 2]]
    {
        let lists = |export: &str, import: &str| {
            conf(&format!("permissions {{ export: [{export}], import: [{import}] }}"))
        };
        let first = Server::with().conf(lists("a, there.*", "x")).start(one);
        let route = format!("routes: [\"nats://127.0.0.1:{}\"]", first.route_port());
        let second = Server::with().conf(conf(&route)).monitored().start(other);
        http::json_until(&second, "/routez", |page| page["num_routes"] == 1);
        let members = r#""headers":true,"no_responders":true"#;
        let [mut here, mut there] =
            [&first, &second].map(|server| Client::connect(server, members));
        let _ears = [(&first, "y"), (&second, "b"), (&second, "there.1")]
            .map(|(server, subject)| Client::subscribed(server, subject));
        for client in [&mut here, &mut there] {
            client.send("SUB in 1\r\n");
            client.fence();
        }
        while !here.is_reached("there.1") {}
        assert!(!here.is_reached("b") && !there.is_reached("y"), "{one:?}");
        first.reload(&lists("b, there.*", "y")).unwrap();
        while !here.is_reached("b") {}
        while !there.is_reached("y") {}
        first.reload(&lists("a, there.*", "x")).unwrap();
        while there.is_reached("y") {}
        while here.is_reached("b") {}
    }
}

/// nats-server forgets interest in an account that it does not know.
#[test]
fn interest_waits_for_its_account() {
    let server = start(Which::Dialtone, "");
    let mut remote = Remote::join(&server, "r");
    remote.send("RS+ D s\r\nRS+ D gone\r\nRS+ D q g 2\r\nRS- D gone\r\nRS+ D s\r\n");
    remote.fence();
    let with = |account: &str| {
        conf("") + &format!("accounts {{ {account} {{ users: [{{ user: d }}] }} }}\n")
    };
    for account in ["D", "E", "D"] {
        server.reload(&with(account)).unwrap();
        let members = r#""user":"d","headers":true,"no_responders":true"#;
        let mut client = Client::connect(&server, members);
        client.send("SUB in 1\r\n");
        client.fence();
        remote.fence();
        if account == "D" {
            while !client.is_reached("s") {
                remote.fence();
            }
            assert_eq!(remote.fence().last().unwrap(), "RMSG D s in 0\r\n\r\n");
            assert!(!client.is_reached("gone"));
            assert!(client.is_reached("q"));
            assert_eq!(remote.fence(), ["RMSG D q + in g 0\r\n\r\n"]);
        } else {
            assert!(!client.is_reached("s"));
        }
    }
    remote.send("RS- D s\r\nRS- D q g\r\n");
    remote.fence();
    let mut client = Client::connect(&server, r#""user":"d","headers":true,"no_responders":true"#);
    client.send("SUB in 1\r\n");
    assert!(!client.is_reached("s") && !client.is_reached("q"));
}

/// Routes are made anew where their number or their accounts have changed.
#[test]
fn pools_and_accounts_of_routes_change() {
    let accounts = "accounts { A { users: [{ user: a }] } }\n\
                    authorization { users: [{ user: g }] }\nno_auth_user: g\n";
    let conf = |more: &str, routes: &str| {
        let cluster = format!("listen: \"127.0.0.1:-1\", routes: [{routes}], {more}");
        format!("cluster {{ name: mesh, {cluster} }}\n{accounts}")
    };
    let first = Server::with().conf(conf("", "")).monitored().start(Which::Dialtone);
    let route = format!("\"nats://127.0.0.1:{}\"", first.route_port());
    let second = Server::with().conf(conf("", &route)).monitored().start(Which::Dialtone);
    let members = r#""user":"a","headers":true,"no_responders":true"#;
    let mut there = Client::connect(&second, members);
    there.send("SUB there 1\r\n");
    there.fence();
    for (more, count) in [
        ("pool_size: 1", 2),
        ("pool_size: 2, accounts: [A]", 4),
        ("pool_size: -1", 1),
        ("pool_size: 5, compression: s2_best", 6),
        ("pool_size: 5, compression: off", 6),
        ("pool_size: 3, accounts: [A]", 5),
        ("pool_size: 3", 4),
    ] {
        first.reload(&conf(more, "")).unwrap();
        second.reload(&conf(more, &route)).unwrap();
        for server in [&first, &second] {
            http::json_until(server, "/routez", |page| page["num_routes"] == count);
        }
        let mut client = Client::connect(&first, members);
        client.send("SUB in 1\r\n");
        while !client.is_reached("there") {}
    }
}

/// What is not kept is asked for by a new connection, once it matters.
#[test]
fn interest_in_unknown_accounts_has_a_limit() {
    const KEPT_MAX: usize = 65_536;
    let server = start(Which::Dialtone, "");
    let mut remote = Remote::join(&server, "r");
    let announce = |remote: &mut Remote, from: usize, to: usize| {
        let lines: String = (from..to).map(|n| format!("RS+ D s.{n}\r\n")).collect();
        remote.send(&lines);
        remote.fence();
    };
    announce(&mut remote, 0, KEPT_MAX);
    let accounts = |account: &str| conf("") + &format!("accounts [{account}]\n");
    server.reload(&accounts("E")).unwrap();
    remote.fence();
    announce(&mut remote, KEPT_MAX, KEPT_MAX + 1);
    server.reload(&conf("")).unwrap();
    remote.fence();
    server.reload(&accounts("D")).unwrap();
    remote.read_to_end();
    server.wait_log("Router connection closed: Route Removed");
}

/// Interest counts from CONNECT on, also if settings change before INFO.
#[test]
fn settings_change_during_a_handshake() {
    let server = start(Which::Dialtone, "");
    let mut remote = Remote::open(&server);
    remote.send(&connect_line("r", &json!({})));
    remote.send("RS+ $G x\r\nRS+ $G y\r\nRS+ D y\r\n");
    remote.fence();
    let lists = conf("permissions { export: [\"y\"] }");
    let users = "accounts { D { users: [{ user: d }] } }\nauthorization { users: [{ user: g }] }\n";
    server.reload(&format!("{lists}{users}")).unwrap();
    remote.send(&info_line("r", &json!({})));
    remote.fence();
    for (user, subjects) in [("g", vec!["x", "y"]), ("d", vec!["y"])] {
        let members = format!(r#""user":"{user}","headers":true,"no_responders":true"#);
        let mut client = Client::connect(&server, &members);
        client.send("SUB in 1\r\n");
        client.fence();
        for subject in subjects {
            // It is reviewed in turns of its own.
            while client.is_reached(subject) != (subject == "y") {}
        }
    }
}
