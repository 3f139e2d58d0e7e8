//! The settings of a cluster: the effect of each, by flag or by file, on both kinds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::handshake::alone;
use crate::support::cluster::{complaints, routes};
use crate::support::remote::{connect_line, info_line, listener};
use crate::support::{Client, Cluster, Flavor, Remote, Server, Which, http, lasting_port};

use Which::{Dialtone, Real};

for_both! {
    /// Import limits what is announced, export what is honoured; messages arrive all the same.
    fn permissions(which) {
        let lists = "import: { allow: [\"imp.>\"] }, export: { allow: [\"exp.>\"] }";
        let server = alone(&format!("pool_size: -1\npermissions {{ {lists} }}")).start(which);
        let mut remote = Remote::join(&server, "r");
        assert_eq!(remote.info["import"], json!({"allow": ["imp.>"]}));
        assert_eq!(remote.info["export"], json!({"allow": ["exp.>"]}));
        let mut client = Client::connect(&server, "");
        client.send("SUB other 1\r\nSUB imp.a 2\r\n");
        client.fence();
        remote.expect("RS+ $G imp.a\r\n");
        remote.send("RS+ $G no.x\r\nRS+ $G exp.x\r\n");
        remote.fence();
        client.send("PUB no.x 0\r\n\r\nPUB exp.x 0\r\n\r\n");
        remote.expect("RMSG $G exp.x 0\r\n\r\n");
        remote.send("RMSG $G other 2\r\nhi\r\n");
        client.expect("MSG other 1 2\r\nhi\r\n");
    }

    /// What is allowed leaves for interest that is wider than that, too.
    fn what_export_allows_is_sent(which) {
        let lists = "permissions { export: { allow: [\"orders.*\"] } }";
        let server = alone(&format!("pool_size: -1\n{lists}")).start(which);
        let mut remote = Remote::join(&server, "r");
        let mut client = Client::connect(&server, "");
        remote.send("RS+ $G orders.>\r\n");
        remote.fence();
        client.send("PUB other 0\r\n\r\nPUB orders.new 0\r\n\r\n");
        remote.expect("RMSG $G orders.new 0\r\n\r\n");
    }

    /// What is denied does not leave for wider interest either, plain or of a queue group.
    fn what_export_denies_is_not_sent(which) {
        let deny = "permissions { export: { deny: [\"a.private.>\", \"*.b.secret\"] } }";
        let server = alone(&format!("pool_size: -1\n{deny}")).start(which);
        let mut remote = Remote::join(&server, "r");
        let connect = r#""headers":true,"no_responders":true"#;
        let mut client = Client::connect(&server, connect);
        client.send("SUB in 1\r\n");
        remote.expect("RS+ $G in\r\n");
        for (interest, sent, denied) in [
            (&["a.>"][..], "a.public", "a.private.x"),
            (&[">"], "a.private", "a.private.x.y"),
            (&["*.*.*"], "a.b.c", "z.b.secret"),
            (&["a.> q"], "a.public | q", "a.private.x"),
            (&["a.> q", ">"], "a.public | q", "a.private.x"),
            (&["a.private.x", "a.private.y q"], "", "a.private.x"),
        ] {
            for interest in interest {
                let weight = if interest.contains(' ') { " 2" } else { "" };
                remote.send(&format!("RS+ $G {interest}{weight}\r\n"));
            }
            remote.fence();
            client.send(&format!("PUB {denied} in 0\r\n\r\n"));
            assert!(client.frame().starts_with(b"HMSG in 1 "), "nobody is to get {denied}");
            if let Some(subject) = sent.split(' ').next().filter(|subject| !subject.is_empty()) {
                client.send(&format!("PUB {subject} 0\r\n\r\n"));
                remote.expect(&format!("RMSG $G {sent} 0\r\n\r\n"));
            }
            interest.iter().for_each(|interest| remote.send(&format!("RS- $G {interest}\r\n")));
            assert!(remote.fence().is_empty(), "{interest:?}");
        }
    }

    /// What other servers and clients are told of addresses.
    fn advertised_addresses(which) {
        let settings = "advertise: \"1.2.3.4:55\"";
        let client = ["--client_advertise", "5.6.7.8:99"];
        let info = Remote::open(&alone(settings).flags(client).start(which)).info;
        assert_eq!((&info["host"], &info["port"]), (&json!("1.2.3.4"), &json!(55)));
        assert_eq!(info["ip"], "nats-route://1.2.3.4:55/");
        assert_eq!(info["connect_urls"], json!(["5.6.7.8:99"]));
        // Without a port it is the one listened on.
        for (written, host, url) in
            [("a.example", "a.example", "a.example"), ("m:-1", "m", "m"), ("[::1]", "::1", "[::1]")]
        {
            let settings = format!("advertise: \"{written}\"");
            let server = alone(&settings).flags(["--client_advertise", written]).start(which);
            let info = Remote::open(&server).info;
            let port = server.route_port();
            assert_eq!((&info["host"], &info["port"]), (&json!(host), &json!(port)));
            assert_eq!(info["ip"], format!("nats-route://{url}:{port}/"));
            assert_eq!(info["connect_urls"], json!([format!("{url}:{}", server.port())]));
        }
    }

    /// `no_advertise` keeps addresses to itself, in both directions.
    fn addresses_that_are_not_advertised(which) {
        let server = alone("pool_size: -1\nno_advertise: true").start(which);
        let mut remote =
            Remote::join_with(&server, "r", &json!({"connect_urls": ["far.example:1"]}));
        remote.fence();
        assert!(remote.info.get("connect_urls").is_none());
        let info = Client::silent(server.port()).frame();
        assert!(!String::from_utf8_lossy(&info).contains("far.example"));
    }

    /// Everything that can be said without a file.
    fn flags(which) {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let route = format!("nats://there:word@127.0.0.1:{port}");
        let server = Server::with()
            .flags([
                "--cluster", "nats://here:pass@127.0.0.1:-1", "--cluster_name", "mesh",
                "--cluster_advertise", "1.2.3.4:55", "--no_advertise", "--connect_retries", "2",
                "--routes", &route,
            ])
            .start(which);
        let mut line = Remote::accept(&listener);
        let connect = line.frame();
        let connect: Value = serde_json::from_slice(&connect["CONNECT ".len()..]).unwrap();
        assert_eq!((&connect["user"], &connect["pass"]), (&json!("there"), &json!("word")));
        assert_eq!(connect["cluster"], "mesh");
        let mut remote = Remote::open(&server);
        let info = &remote.info;
        assert_eq!((&info["host"], &info["port"]), (&json!("1.2.3.4"), &json!(55)));
        assert_eq!(info["auth_required"], true);
        assert!(info.get("connect_urls").is_none());
        remote.send(&connect_line("r", &json!({"user": "here", "pass": "pass"})));
        assert!(remote.fence().is_empty());
    }

    /// A generated name gives way to a configured one.
    fn a_cluster_without_a_name(which) {
        let conf = "cluster { listen: \"127.0.0.1:-1\" }";
        let server = Server::with().conf(conf).start(which);
        server.wait_log("Cluster name was dynamically generated, consider setting one");
        let mut remote = Remote::open(&server);
        assert_eq!(remote.info["cluster_dynamic"], true);
        assert!(!remote.info["cluster"].as_str().unwrap().is_empty());
        remote.send(&connect_line("r", &json!({"cluster": "given"})));
        remote.send(&info_line("r", &json!({"cluster": "given"})));
        remote.fence();
        let again = Remote::open(&server).info;
        assert_eq!(again["cluster"], "given");
    }

    /// A name is resolved, and a server that finds itself behind it gives up quietly.
    fn names_are_resolved(which) {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let settings = format!("pool_size: -1\nroutes: [\"nats://localhost:{port}\"]");
        let _server = alone(&settings).start(which);
        assert!(Remote::accept(&listener).frame().starts_with(b"CONNECT "));
    }

    fn pings_are_answered_or_it_ends(which) {
        let settings = "pool_size: -1\nping_interval: \"100ms\"\nping_max: 2";
        let server = alone(settings).start(which);
        let mut remote = Remote::join(&server, "r").silent();
        assert_eq!(remote.read_to_end(), "-ERR 'Stale Connection'\r\n");
    }
}

/// A subscription may be wider than what import denies.
#[test]
fn what_import_denies_does_not_arrive() {
    let deny = "permissions { import: { deny: [\"a.private.>\"] } }";
    let server = alone(&format!("pool_size: -1\n{deny}")).start(Dialtone);
    let mut remote = Remote::join(&server, "r");
    let mut client = Client::connect(&server, "");
    client.send("SUB a.> 1\r\nSUB a.private.x 2\r\nSUB a.> q 3\r\n");
    assert_eq!(remote.read_sorted(2), ["RS+ $G a.>\r\n", "RS+ $G a.> q 1\r\n"]);
    remote.send("RMSG $G a.private.x | q 1\r\nx\r\nRMSG $G a.y 1\r\ny\r\n");
    client.expect("MSG a.y 1 1\r\ny\r\n");
}

for_both! {
    fn a_server_that_dials_itself_is_alone(which) {
        let port = lasting_port();
        let settings = format!(
            "name: mesh, listen: \"127.0.0.1:{port}\", routes: [\"nats://127.0.0.1:{port}\"]"
        );
        let conf = format!("cluster {{ {settings} }}");
        let server = Server::with().conf(conf).monitored().start(which);
        server.wait_log("Router connection closed: Duplicate Route");
        assert_eq!(http::json(&server, "/routez")["num_routes"], 0);
    }
}

/// One server of each kind for each mode, so that each pair of modes and kinds meets.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn every_compression_meets_every_other() {
    const MODES: [&str; 6] = ["off", "accept", "s2_auto", "s2_fast", "s2_better", "s2_best"];
    let mut cluster = Cluster::start(&[Real], Flavor::Single);
    let mut modes = vec!["accept"];
    for which in [Dialtone, Real] {
        for mode in MODES {
            cluster.add_with(which, &format!("compression: {mode}"));
            modes.push(mode);
        }
    }
    cluster.settle();
    super::mixed::everybody_hears_everybody(&mut cluster);
    super::mixed::headers_cross(&mut cluster);
    cluster.wait_routes();
    let ids: Vec<String> = cluster
        .servers()
        .iter()
        .map(|server| http::json(server, "/varz")["server_id"].as_str().unwrap().to_owned())
        .collect();
    for (at, server) in cluster.servers().iter().enumerate() {
        let mut met = BTreeSet::new();
        for route in routes(server) {
            let other = ids.iter().position(|id| route["remote_id"] == id.as_str()).unwrap();
            let expected = agreed(modes[at], modes[other]);
            let told = route["compression"].as_str().unwrap();
            // The level of `s2_auto` is chosen by the round trip, which is long on a busy machine.
            let open = modes[at] == "s2_auto" && expected != "off" && told.starts_with("s2_");
            assert!(open || told == expected, "{} with {}: {told}", modes[at], modes[other]);
            met.insert(other);
        }
        assert_eq!(met.len(), ids.len() - 1);
    }
    assert_eq!(cluster.complaints(), Vec::<String>::new());
}

/// The compression of a server with the mode `mine` to one with `theirs`, from `/routez`.
fn agreed(mine: &str, theirs: &str) -> &'static str {
    match (mine, theirs) {
        ("off", _) | (_, "off") | ("accept", "accept") => "off",
        ("s2_auto", _) => "s2_uncompressed",
        ("accept", "s2_auto") | ("s2_fast", _) | ("accept", "s2_fast") => "s2_fast",
        ("accept", "s2_better") | ("s2_better", _) => "s2_better",
        _ => "s2_best",
    }
}

/// Nobody has `$SYS`, so nobody asks for a connection for it.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn servers_without_a_system_account() {
    for [first, second] in [[Real, Dialtone], [Dialtone, Real]] {
        let start = |which: Which, name: &str, routes: &str| {
            let cluster = format!("name: mesh, listen: \"127.0.0.1:-1\", routes: [{routes}]");
            let conf = format!("server_name: {name}\nno_sys_acc: true\ncluster {{ {cluster} }}\n");
            Server::with().monitored().conf(conf).start(which)
        };
        let first = start(first, "one", "");
        let route = format!("\"nats://127.0.0.1:{}\"", first.route_port());
        let second = start(second, "two", &route);
        for server in [&first, &second] {
            http::json_until(server, "/routez", |page| page["num_routes"] == 3);
            assert!(http::json(server, "/varz").get("system_account").is_none());
            assert_eq!(complaints(server), Vec::<String>::new());
        }
    }
}

/// The largest messages, compressed and not, in both directions.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn large_messages_cross() {
    for flavor in [Flavor::Default, Flavor::Compressed] {
        let mut cluster = Cluster::start(&[Real, Dialtone], flavor);
        let mut clients = cluster.clients("");
        for client in &mut clients {
            client.send("SUB big 1\r\n");
            client.fence();
        }
        cluster.settle();
        let mut random = fastrand::Rng::with_seed(1);
        for from in 0..2 {
            for len in [0, 1, 65_535, 65_536, 1_048_576] {
                let payload: String = (0..len).map(|_| random.lowercase()).collect();
                clients[from].send(&format!("PUB big {len}\r\n{payload}\r\n"));
                for client in &mut clients {
                    client.expect(&format!("MSG big 1 {len}\r\n{payload}\r\n"));
                }
            }
        }
    }
}
