//! Stream imports beside routes: what other servers see of them, and messages from there.

use serde_json::json;

use crate::support::remote::{connect_line, info_line};
use crate::support::{Client, Cluster, Flavor, Remote, Server, Which, http};

use Which::{Dialtone, Real};

/// B imports what A exports.
const ACCOUNTS: &str = "accounts {
  A { users: [{user: a}], exports: [{stream: \"pub.>\"}, {stream: \"pub.*.x\"}] }
  B {
    users: [{user: b}]
    imports: [
      {stream: {account: A, subject: \"pub.>\"}, prefix: fromA}
      {stream: {account: A, subject: \"pub.*.x\"}, to: \"ren.$1\"}
    ]
  }
}
authorization { users: [{user: g}] }\nno_auth_user: g\n";

fn alone() -> crate::support::server::Setup {
    let cluster = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }\n";
    Server::with().conf(format!("server_name: own\n{cluster}{ACCOUNTS}"))
}

fn user(name: &str) -> String {
    format!(r#""user":"{name}","headers":true"#)
}

/// Another server has joined this one.
fn join(server: &Server) -> Remote {
    let mut remote = Remote::open(server);
    remote.send(&connect_line("r", &json!({})));
    remote.send(&info_line("r", &json!({})));
    // After the second one all accounts are announced.
    remote.fence();
    remote.fence();
    remote
}

for_both! {
    fn shadows_are_interest_in_the_account_of_the_exporter(which) {
        let server = alone().start(which);
        let mut remote = join(&server);
        let mut b = Client::connect(&server, &user("b"));
        for (subscription, lines) in [
            ("fromA.pub.one 1", "RS+ A pub.one|RS+ B fromA.pub.one"),
            ("ren.7 3", "RS+ A pub.7.x|RS+ B ren.7"),
            ("fromA.> q 4", "RS+ A pub.> q 1|RS+ B fromA.> q 1"),
            ("fromA.pub.one 6", ""),
            ("other 7", "RS+ B other"),
        ] {
            b.send(&format!("SUB {subscription}\r\n"));
            b.fence();
            let told = remote.fence().concat().replace("\r\n", "|");
            assert_eq!(told, ended(lines), "{subscription}");
        }
        b.send("SUB > 5\r\n");
        b.fence();
        assert_eq!(remote.read_sorted(3), ["RS+ A pub.*.x\r\n", "RS+ A pub.>\r\n", "RS+ B >\r\n"]);
        for (sid, lines) in [
            ("6", ""),
            ("1", "RS- A pub.one|RS- B fromA.pub.one"),
            ("4", "RS- A pub.> q|RS- B fromA.> q"),
        ] {
            b.send(&format!("UNSUB {sid}\r\n"));
            b.fence();
            assert_eq!(remote.fence().concat().replace("\r\n", "|"), ended(lines), "UNSUB {sid}");
        }
        drop(b);
        let gone = ["A pub.*.x", "A pub.7.x", "A pub.>", "B >", "B other", "B ren.7"];
        assert_eq!(remote.read_sorted(6), gone.map(|gone| format!("RS- {gone}\r\n")));
    }

    fn a_new_server_hears_of_shadows(which) {
        let server = alone().start(which);
        let mut b = Client::connect(&server, &user("b"));
        b.send("SUB fromA.pub.one 1\r\nSUB fromA.> q 4\r\n");
        b.fence();
        let mut remote = Remote::open(&server);
        remote.send(&connect_line("r", &json!({})));
        remote.send(&info_line("r", &json!({})));
        let lines = ["A pub.> q 1", "A pub.one", "B fromA.> q 1", "B fromA.pub.one"];
        assert_eq!(interest(remote.read_sorted(4)), lines.map(|line| format!("RS+ {line}\r\n")));
    }

    fn messages_come_from_other_servers(which) {
        let server = alone().start(which);
        let mut remote = join(&server);
        let mut b = Client::connect(&server, &user("b"));
        b.send("SUB fromA.pub.> 1\r\nSUB ren.* 2\r\nSUB fromA.pub.* q 9\r\n");
        b.fence();
        remote.fence();
        remote.send("RMSG A pub.k rep 2\r\nhi\r\n");
        b.expect("MSG fromA.pub.k 1 rep 2\r\nhi\r\n");
        remote.send("RMSG A pub.qq | q 2\r\nho\r\n");
        let mut came = [b.frame(), b.frame()];
        came.sort();
        assert_eq!(came[0], b"MSG fromA.pub.qq 1 2\r\nho\r\n");
        assert_eq!(came[1], b"MSG fromA.pub.qq 9 2\r\nho\r\n");
        remote.send("RMSG A pub.k.x 2\r\nhi\r\n");
        let mut came = [b.frame(), b.frame()];
        came.sort();
        assert_eq!(came[0], b"MSG fromA.pub.k.x 1 2\r\nhi\r\n");
        assert_eq!(came[1], b"MSG ren.k 2 2\r\nhi\r\n");
        b.fence();
    }
}

fn ended(lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("{lines}|") }
}

/// The lines about subscriptions; there may be others.
fn interest(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| line.starts_with("RS"));
    lines
}

/// Publishers and importers at servers of both kinds: each message comes once, under its local
/// name.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn importers_are_anywhere_in_a_mixed_cluster() {
    for flavor in [Flavor::Default, Flavor::Single] {
        let cluster = Cluster::start_with(&[Dialtone, Real, Dialtone], flavor, ACCOUNTS);
        let servers = cluster.servers();
        let mut importers: Vec<Client> = Vec::new();
        for server in servers {
            let mut b = Client::connect(server, &user("b"));
            b.send("SUB fromA.pub.> 1\r\nSUB fromA.pub.* g 2\r\n");
            b.fence();
            importers.push(b);
        }
        let mut publishers: Vec<Client> =
            servers.iter().map(|server| Client::connect(server, &user("a"))).collect();
        // Each server hears of the others': A has two subjects of each, one of them in a group, and
        // four services.
        for server in servers {
            while http::json(server, "/subsz?acc=A")["num_subscriptions"] != 10 {}
        }
        for (at, publisher) in publishers.iter_mut().enumerate() {
            for number in 0..10 {
                publisher.send(&format!("PUB pub.m 2\r\n{at}{number}\r\n"));
            }
            publisher.fence();
        }
        let mut in_group = 0;
        for importer in &mut importers {
            for at in 0..30 {
                let mut frame = importer.frame();
                while frame.starts_with(b"MSG fromA.pub.m 2 ") {
                    in_group += 1;
                    frame = importer.frame();
                }
                assert!(frame.starts_with(b"MSG fromA.pub.m 1 2\r\n"), "{at}");
            }
        }
        // The rest of the group's messages may be on its way.
        while in_group < 30 {
            for importer in &mut importers {
                importer.send("PING\r\n");
                while importer.frame() != b"PONG\r\n" {
                    in_group += 1;
                }
            }
        }
        assert_eq!(in_group, 30);
        assert_eq!(cluster.complaints(), Vec::<String>::new());
    }
}
