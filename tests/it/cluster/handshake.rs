//! The start of a connection between servers, and everything that ends it before it has begun.
//!
//! A test plays the other server; the same lines go to both kinds.

use serde_json::{Value, json};

use crate::support::remote::{connect_line, info_line};
use crate::support::server::Setup;
use crate::support::{Client, Remote, Server};

/// A server that forms the cluster `mesh` with these settings besides.
pub(super) fn alone(settings: &str) -> Setup {
    let cluster = format!("name: mesh\nlisten: \"127.0.0.1:-1\"\n{settings}");
    Server::with().conf(format!("server_name: own\ncluster {{\n{cluster}\n}}\n"))
}

fn connect(members: Value) -> String {
    connect_line("r", &members)
}

fn info(members: Value) -> String {
    info_line("r", &members)
}

/// The lines before the end of a connection on which these lines are sent.
#[track_caller]
fn refused(server: &Server, lines: &[String]) -> String {
    let mut remote = Remote::open(server);
    remote.line.send_anyway(lines.concat().as_bytes());
    remote.read_to_end()
}

for_both! {
    /// What INFO says to other servers.
    fn the_side_that_accepts_speaks_first(which) {
        let server = alone("").start(which);
        let info = Remote::open(&server).info;
        let port = server.route_port();
        let wanted = json!({
            "server_name": "own", "version": "2.15.1", "host": "127.0.0.1", "port": port,
            "headers": true, "max_payload": 1_048_576, "cluster": "mesh", "compression": "accept",
            "route_pool_size": 3, "connect_urls": [format!("127.0.0.1:{}", server.port())],
        });
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&info[key], value, "{key} of {info}");
        }
        for absent in ["auth_required", "client_id", "client_ip", "ip", "route_account"] {
            assert!(info.get(absent).is_none(), "{absent} of {info}");
        }
        let server = alone("pool_size: -1\ncompression: off\nno_advertise: true").start(which);
        let info = Remote::open(&server).info;
        assert_eq!(info["compression"], "off");
        for absent in ["route_pool_size", "connect_urls"] {
            assert!(info.get(absent).is_none(), "{absent} of {info}");
        }
    }

    fn another_cluster_is_refused(which) {
        let server = alone("").start(which);
        let text = |name: &str| {
            format!(
                "-ERR 'Rejecting connection, cluster name \"{name}\" does not match \"mesh\"'\r\n"
            )
        };
        assert_eq!(refused(&server, &[connect(json!({"cluster": "other"}))]), text("other"));
        assert_eq!(refused(&server, &[connect(json!({"cluster": null}))]), text(""));
        let lines = [connect(json!({})), info(json!({"cluster": "other"}))];
        assert_eq!(refused(&server, &lines), "");
    }

    /// Before CONNECT only CONNECT is heard, and nothing else has an effect.
    fn nothing_is_accepted_before_connect(which) {
        let server = alone("").start(which);
        let mut client = Client::connect(&server, "");
        client.send("SUB > 1\r\n");
        client.fence();
        let violation = "-ERR 'Authorization Violation'\r\n";
        let firsts = [
            "RMSG $G a 2\r\nhi\r\n", "HMSG $G a 12 12\r\nNATS/1.0\r\n\r\n\r\n", "RS+ $G a\r\n",
            "RS- $G a\r\n", "PING\r\n", "PONG\r\n", "+OK\r\n", "-ERR 'x'\r\n", "INFO {}\r\n",
            "A+ a\r\n", "SUB a 1\r\n", "PUB a 1\r\nx\r\n", "UNSUB 1\r\n", "NONSENSE\r\n",
            "\r\n", "P",
        ];
        let login = alone("authorization { user: mesh, password: secret }").start(which);
        for server in [&server, &login] {
            for first in firsts {
                assert_eq!(refused(server, &[first.to_owned()]), violation, "{first:?}");
            }
            assert_eq!(refused(server, &[info(json!({}))]), violation);
            let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
            assert_eq!(refused(server, &["CRUMB\r\n".to_owned()]), unknown);
        }
        client.fence();
    }

    /// As from a client, an account in CONNECT is refused, whoever asks for it.
    fn an_account_in_connect_is_refused(which) {
        let login = "authorization { user: mesh, password: secret }";
        let known = json!({"user": "mesh", "pass": "secret"});
        for (settings, user) in [("", json!({})), (login, known)] {
            let server = alone(settings).start(which);
            let with = |key: &str, value: Value| {
                let mut members = user.clone();
                members[key] = value;
                refused(&server, &[connect(members)])
            };
            let violation = "-ERR 'Authorization Violation'\r\n";
            assert_eq!(with("account", json!("A")), violation);
            assert_eq!(with("new_account", json!(true)), violation);
            assert_eq!(with("account", json!(1)), "");
            let mut remote = Remote::open(&server);
            let mut members = user.clone();
            members["account"] = json!("");
            members["new_account"] = json!(false);
            remote.send(&connect(members));
            assert!(remote.fence().is_empty());
        }
    }

    fn a_password_is_asked_for(which) {
        let settings = "authorization { user: mesh, password: secret, timeout: 0.4 }";
        let server = alone(settings).start(which);
        assert_eq!(Remote::open(&server).info["auth_required"], true);
        let violation = "-ERR 'Authorization Violation'\r\n";
        for members in [
            json!({}),
            json!({"user": "mesh"}),
            json!({"user": "mesh", "pass": "wrong"}),
            json!({"user": "other", "pass": "secret"}),
        ] {
            assert_eq!(refused(&server, &[connect(members)]), violation);
        }
        assert_eq!(refused(&server, &[]), "-ERR 'Authentication Timeout'\r\n");
        let mut remote = Remote::open(&server);
        remote.send(&connect(json!({"user": "mesh", "pass": "secret"})));
        remote.send(&info(json!({})));
        assert!(remote.fence().is_empty());
    }

    fn a_bcrypt_password_too(which) {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let settings = format!("authorization {{ user: mesh, password: \"{hash}\" }}");
        let server = alone(&settings).start(which);
        let violation = "-ERR 'Authorization Violation'\r\n";
        let wrong = connect(json!({"user": "mesh", "pass": "wrong"}));
        assert_eq!(refused(&server, &[wrong]), violation);
        let mut remote = Remote::open(&server);
        remote.send(&connect(json!({"user": "mesh", "pass": "secret"})));
        assert!(remote.fence().is_empty());
    }

    fn who_is_no_server_is_told(which) {
        let server = alone("").start(which);
        assert_eq!(
            refused(&server, &[connect(json!({"lang": "go"}))]),
            "-ERR 'attempted to connect to route port'\r\n"
        );
        assert_eq!(
            refused(&server, &[connect(json!({"gateway": "G"}))]),
            "-ERR 'Rejecting connection from gateway \"G\" on the Route port'\r\n"
        );
    }

    /// A route that was pointed at the client port.
    fn a_server_on_the_client_port(which) {
        let server = alone("").start(which);
        let mut remote = Remote { line: Client::silent(server.port()), info: json!({}) };
        assert!(remote.line.frame().starts_with(b"INFO "));
        remote.line.send_anyway(connect(json!({})).as_bytes());
        remote.line.send_anyway(info(json!({})).as_bytes());
        remote.line.send_anyway(b"RS+ $G a\r\n");
        assert_eq!(remote.read_to_end(), "-ERR 'Unknown Protocol Operation'\r\n");
    }

    fn itself_its_name_and_its_like(which) {
        let server = alone("pool_size: -1").start(which);
        let own = Remote::open(&server).info;
        let itself = info(json!({"server_id": own["server_id"], "server_name": "x"}));
        assert_eq!(refused(&server, &[connect(json!({})), itself]), "");
        let namesake = info(json!({"server_name": "own"}));
        assert_eq!(refused(&server, &[connect(json!({})), namesake]), "");
        let mut first = Remote::join(&server, "r");
        assert_eq!(refused(&server, &[connect(json!({})), info(json!({}))]), "");
        assert!(first.fence().is_empty());
    }

    fn compression_nobody_knows(which) {
        let server = alone("").start(which);
        let lines = [connect(json!({})), info(json!({"compression": "zstd"}))];
        assert_eq!(
            refused(&server, &lines),
            "-ERR 'unsupported route compression mode \"zstd\"'\r\n"
        );
    }

    fn a_place_in_the_pool_that_is_none(which) {
        let server = alone("").start(which);
        let lines = [connect(json!({})), info(json!({"route_pool_size": 3, "route_pool_idx": 3}))];
        assert_eq!(
            refused(&server, &lines),
            "-ERR 'Invalid route pool index: 3 - pool size is 3'\r\n"
        );
        let taken = json!({"route_pool_size": 3, "route_pool_idx": 1});
        let mut first = Remote::join_with(&server, "r", &taken);
        assert_eq!(refused(&server, &[connect(json!({})), info(taken)]), "");
        first.fence();
    }

    fn accounts_without_a_route(which) {
        let dedicated = |account: &str| {
            info(json!({"route_pool_size": 3, "route_account": account}))
        };
        let server = alone("").start(which);
        assert_eq!(
            refused(&server, &[connect(json!({})), dedicated("FOO")]),
            "-ERR 'Unable to lookup account \"FOO\": account missing'\r\n"
        );
        assert_eq!(
            refused(&server, &[connect(json!({})), dedicated("$G")]),
            "-ERR 'No route for account \"$G\"'\r\n"
        );
        let text = "-ERR 'Not possible to have a dedicated route for account \"$SYS\" between \
                    those servers'\r\n";
        let unpooled = info(json!({"route_account": "$SYS"}));
        assert_eq!(refused(&server, &[connect(json!({})), unpooled]), text);
        let server = alone("pool_size: -1").start(which);
        assert_eq!(refused(&server, &[connect(json!({})), dedicated("$SYS")]), text);
        let cluster = "cluster { name: mesh, listen: \"127.0.0.1:-1\" }";
        let conf = format!("server_name: own\nno_system_account: true\n{cluster}\n");
        let server = Server::with().conf(conf).start(which);
        assert_eq!(
            refused(&server, &[connect(json!({})), dedicated("$SYS")]),
            "-ERR 'Unable to lookup account \"$SYS\": account missing'\r\n"
        );
    }

    /// A server that has said CONNECT but not INFO is kept and served; only what is wanted here it
    /// learns when it has said who it is.
    fn without_info_it_is_served_and_told_nothing(which) {
        let server = alone("").start(which);
        let members = r#""headers":true,"no_responders":true"#;
        let mut client = Client::connect(&server, members);
        client.send("SUB in 1\r\nSUB a 2\r\nSUB b g 3\r\n");
        client.fence();
        let mut remote = Remote::open(&server);
        remote.send(&connect(json!({})));
        remote.send("RMSG $G a 2\r\nhi\r\nRMSG $G b | g 0\r\n\r\nRS+ $G c\r\nRS+ $G d q 2\r\n");
        assert!(remote.fence().is_empty());
        client.expect("MSG a 2 2\r\nhi\r\nMSG b 3 0\r\n\r\n");
        let block = "NATS/1.0\r\n\r\n";
        client.send(&format!("HPUB c 12 13\r\n{block}x\r\nPUB d 0\r\n\r\n"));
        client.fence();
        remote.expect(&format!("HMSG $G c 12 13\r\n{block}x\r\nRMSG $G d | q 0\r\n\r\n"));
        remote.send("RS- $G d q\r\nRS+ $G e..f\r\n");
        assert_eq!(remote.fence(), ["-ERR 'Invalid Subscription'\r\n"]);
        assert!(!client.is_reached("d") && client.is_reached("c"));
        remote.expect("RMSG $G c in 0\r\n\r\n");
        remote.send(&info(json!({})));
        assert_eq!(remote.read_sorted(3), ["RS+ $G a\r\n", "RS+ $G b g 1\r\n", "RS+ $G in\r\n"]);
        assert!(client.is_reached("c"));
        remote.expect("RMSG $G c in 0\r\n\r\n");
    }

    /// All that it was interested in goes with it, too.
    fn without_info_it_leaves_nothing_behind(which) {
        let server = alone("").start(which);
        let members = r#""headers":true,"no_responders":true"#;
        let mut client = Client::connect(&server, members);
        client.send("SUB in 1\r\n");
        let mut remote = Remote::open(&server);
        remote.send(&connect(json!({})));
        remote.send("RS+ $G c\r\n");
        remote.fence();
        assert!(client.is_reached("c"));
        drop(remote);
        server.wait_log("Router connection closed");
        assert!(!client.is_reached("c"));
    }

    /// With next to nothing in INFO it is a member all the same.
    fn the_smallest_info(which) {
        let server = alone("").start(which);
        let mut remote = Remote::open(&server);
        remote.send(&connect(json!({})));
        remote.send("INFO {\"server_id\":\"NTINY\",\"server_name\":\"tiny\"}\r\n");
        remote.send("RS+ $G a\r\n");
        remote.fence();
        let mut client = Client::connect(&server, "");
        client.send("PUB a 2\r\nhi\r\n");
        client.fence();
        remote.expect("RMSG $G a 2\r\nhi\r\n");
    }

    fn broken_json(which) {
        let server = alone("").start(which);
        assert_eq!(refused(&server, &["CONNECT {\r\n".to_owned()]), "");
        assert_eq!(refused(&server, &["CONNECT\r\n".to_owned()]), "");
        assert_eq!(refused(&server, &[connect(json!({})), "INFO {\r\n".to_owned()]), "");
        let number = "INFO {\"server_id\":7}\r\n".to_owned();
        assert_eq!(refused(&server, &[connect(json!({})), number]), "");
    }

    fn silence_ends_it(which) {
        let server = alone("ping_interval: \"100ms\"\nping_max: 1").start(which);
        let mut remote = Remote::open(&server);
        assert_eq!(remote.read_to_end(), "-ERR 'Stale Connection'\r\n");
    }
}
