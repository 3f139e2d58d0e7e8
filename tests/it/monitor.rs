//! The monitoring pages: the same keys with the same types as the real server's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::cluster::routes;
use crate::support::{Client, Cluster, Flavor, Server, Which, http};

/// Of Go's runtime, where it is told to the real server.
const REAL_ONLY: &str = "gomemlimit";

/// Every path of a document with the type found there; a list has what any of its elements has.
fn shape(value: &Value, path: &str, into: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            for item in items {
                shape(item, &format!("{path}[]"), into);
            }
            "array"
        }
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| *key != REAL_ONLY) {
                shape(value, &format!("{path}.{key}"), into);
            }
            "object"
        }
    };
    into.insert(path.to_owned(), kind);
}

/// A server with one client that has done something, and the shape of a page.
fn page_shape(which: Which, path: &str) -> BTreeMap<String, &'static str> {
    let conf = "authorization { users = [ { user: u, password: p } ] }\nserver_tags: [\"t1\"]\n";
    let server = Server::with().conf(conf).monitored().start(which);
    let members = r#""user":"u","pass":"p","name":"n","lang":"x","version":"1","headers":true"#;
    let mut client = Client::connect(&server, members);
    client.send("SUB a.* 1\r\nSUB b q 2\r\nUNSUB 2 10\r\nPUB a.b 2\r\nhi\r\n");
    client.expect("MSG a.b 1 2\r\nhi\r\n");
    client.fence();
    let left = Client::connect(&server, r#""user":"u","pass":"p""#);
    let port = left.local_port();
    drop(left);
    crate::liveness::closed_by_port(&server, port);
    // A page may make the server send a PING to learn a round trip time: ask, answer, ask again.
    http::json(&server, path);
    client.send("PONG\r\n");
    let mut shapes = BTreeMap::new();
    shape(&http::json(&server, path), "", &mut shapes);
    // Present once the round trip is known.
    shapes.retain(|path, _| !path.ends_with(".rtt") && !path.starts_with(".http_req_stats."));
    shapes
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn pages_have_the_real_shape() {
    let paths = [
        "/varz",
        "/connz",
        "/connz?subs=1",
        "/connz?subs=detail&auth=1",
        "/connz?state=closed&auth=1",
        "/connz?state=any",
        "/subsz",
        "/subsz?subs=1",
        "/routez",
        "/accountz",
        "/accstatz",
        "/accstatz?unused=1",
        "/healthz",
    ];
    let mut problems = Vec::new();
    for path in paths {
        let real = page_shape(Which::Real, path);
        let ours = page_shape(Which::Dialtone, path);
        problems.extend(differences(path, &real, &ours));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

for_both! {
    /// Operators look there for who cannot log in.
    fn who_was_refused_is_shown_by_name(which) {
        let conf = "authorization { user: u, password: p }\n";
        let server = Server::with().conf(conf).monitored().start(which);
        let mut refused = Client::open(&server);
        let about = r#""name":"n","lang":"l","version":"1""#;
        refused.send(&format!("CONNECT {{\"user\":\"u\",\"pass\":\"x\",{about}}}\r\n"));
        let port = refused.local_port();
        refused.expect("-ERR 'Authorization Violation'\r\n");
        refused.expect_closed();
        let closed = crate::liveness::closed_by_port(&server, port);
        assert_eq!([&closed["name"], &closed["lang"], &closed["version"]], ["n", "l", "1"]);
    }
}

type Shape = BTreeMap<String, &'static str>;

fn differences(path: &str, real: &Shape, ours: &Shape) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, kind) in real {
        match ours.get(key) {
            None => problems.push(format!("{path}: `{key}` ({kind}) is missing")),
            Some(other) if other != kind => {
                problems.push(format!("{path}: `{key}` is {other}, really {kind}"));
            }
            Some(_) => {}
        }
    }
    let more = ours.keys().filter(|key| !real.contains_key(*key));
    problems.extend(more.map(|key| format!("{path}: `{key}` does not exist really")));
    problems
}

/// The pages of a server that another one, always of the real kind, has joined.
fn joined_shapes(which: Which) -> Vec<(&'static str, Shape)> {
    let settings = "permissions { import: { allow: [\">\"] }, export: { deny: [\"no.>\"] } }\n\
                    write_deadline: 5s, write_timeout: close, routes: [\"nats://127.0.0.1:1\"]";
    let conf = format!("cluster {{ name: c, listen: \"127.0.0.1:-1\"\n{settings} }}\n");
    let server = Server::with().conf(&conf).monitored().start(which);
    let conf = format!(
        "cluster {{ name: c, listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:{}\"] }}\n",
        server.route_port()
    );
    let other = Server::with().conf(&conf).monitored().start(Which::Real);
    let (mut here, mut there) = (Client::connect(&server, ""), Client::connect(&other, ""));
    there.send("SUB a.* 1\r\nSUB b q 2\r\n");
    there.fence();
    let announced = |route: &Value| route["subscriptions"].as_u64() == Some(2);
    http::json_until(&server, "/routez", |routez| {
        let all = routez["routes"].as_array().unwrap();
        all.len() == Flavor::Default.route_count() && all.iter().any(announced)
    });
    here.send("PUB a.b 2\r\nhi\r\n");
    here.fence();
    there.expect("MSG a.b 1 2\r\nhi\r\n");
    let pages = ["/varz", "/routez", "/routez?subs=1", "/routez?subs=detail", "/accstatz"];
    let mut shapes = Vec::new();
    for path in pages {
        let mut of_page = Shape::new();
        shape(&http::json(&server, path), "", &mut of_page);
        // The blocks of what does not exist here are empty; the real server has the write
        // settings of the cluster there too.
        let left_out = [".http_req_stats.", ".gateway.", ".leaf."];
        of_page.retain(|path, _| !left_out.iter().any(|front| path.starts_with(front)));
        shapes.push((path, of_page));
    }
    shapes
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn pages_of_a_cluster_have_the_real_shape() {
    let (real, ours) = (joined_shapes(Which::Real), joined_shapes(Which::Dialtone));
    let pairs = real.iter().zip(&ours);
    let problems: Vec<_> =
        pairs.flat_map(|((path, real), (_, ours))| differences(path, real, ours)).collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

for_both! {
    fn messages_over_a_route_are_counted(which) {
        let mut cluster = Cluster::start(&[which, which], Flavor::Default);
        let mut clients = cluster.clients("");
        clients[1].send("SUB a.* 1\r\nSUB b q 2\r\n");
        clients[1].fence();
        cluster.settle();
        clients[0].send("PUB a.b 5\r\nhello\r\n");
        clients[0].fence();
        clients[1].expect("MSG a.b 1 5\r\nhello\r\n");
        let carries = |server: &Server, key: &str| {
            routes(server).iter().any(|route| route[key].as_u64() >= Some(1))
        };
        let [from, to] = [0, 1].map(|index| &cluster.servers()[index]);
        assert!(carries(from, "out_msgs") && carries(to, "in_msgs"));
        let varz = http::json(from, "/varz");
        let cluster_port = u64::from(from.route_port());
        assert_eq!(varz["cluster"]["cluster_port"], cluster_port);
        assert_eq!((&varz["routes"], &varz["remotes"]), (&4.into(), &1.into()));
        let listed = |key: &str| {
            let detail = http::json(from, "/routez?subs=detail");
            let routes = detail["routes"].as_array().unwrap().clone();
            let lists = routes.iter().filter_map(|r| r["subscriptions_list_detail"].as_array());
            lists.flatten().any(|sub| sub["sid"] == key)
        };
        assert!(listed("R $G a.*") && listed("R $G b q"));
    }
}

for_both! {
    fn activity_of_a_route(which) {
        let mut cluster = Cluster::start(&[which, which], Flavor::Default);
        let mut clients = cluster.clients("");
        cluster.settle();
        let servers = cluster.servers();
        let activity = |server: &Server| {
            let all = routes(server);
            let pooled = all.iter().filter(|route| route.get("account").is_none());
            pooled.map(|route| route["last_activity"].to_string()).collect::<BTreeSet<_>>()
        };
        let all_activity = || [&servers[0], &servers[1]].map(activity);
        let mut last = all_activity();
        let mut expect_change = |moved: [bool; 2]| {
            http::json_until(&servers[0], "/routez", |_| {
                let now = all_activity();
                [now[0] != last[0], now[1] != last[1]] == moved
            });
            last = all_activity();
        };
        clients[1].send("SUB a 1\r\n");
        expect_change([true, false]);
        clients[0].send("PUB a 0\r\n\r\n");
        expect_change([true, true]);
        clients[1].send("UNSUB 1\r\n");
        expect_change([true, false]);
    }
}

for_both! {
    fn counters_of_a_connection(which) {
        let server = Server::with().monitored().start(which);
        let mut client = Client::connect(&server, r#""name":"counted""#);
        client.send("SUB a 1\r\nPUB a 5\r\nhello\r\nPUB b 3\r\nbye\r\n");
        client.expect("MSG a 1 5\r\nhello\r\n");
        client.fence();
        // What the fence's PONG counted as pending is written off a moment after it was written.
        let settled = |connection: &Value| {
            connection["in_msgs"] == 2 && connection["pending_bytes"] == 0
        };
        let connz = http::json_until(&server, "/connz", |c| settled(&c["connections"][0]));
        let connection = &connz["connections"][0];
        let expected = [
            ("in_msgs", 2), ("in_bytes", 8), ("out_msgs", 1), ("out_bytes", 5),
            ("subscriptions", 1), ("pending_bytes", 0),
        ];
        for (key, value) in expected {
            assert_eq!(connection[key], value, "{key}");
        }
        assert_eq!(connection["name"], "counted");
        assert_eq!(connection["port"], client.local_port());
        let varz = http::json(&server, "/varz");
        let expected = [
            ("connections", 1), ("total_connections", 1), ("in_client_msgs", 2),
            ("in_client_bytes", 8), ("out_client_msgs", 1), ("out_client_bytes", 5),
        ];
        for (key, value) in expected {
            assert_eq!(varz[key], value, "{key}");
        }
    }

    /// Messages either way and changes of interest, and nothing else.
    fn activity_of_a_connection(which) {
        let server = Server::with().monitored().start(which);
        let (mut reader, mut writer) = (Client::connect(&server, ""), Client::connect(&server, ""));
        let ports = [reader.local_port(), writer.local_port()];
        let activity = |connz: &Value| {
            let all = connz["connections"].as_array().unwrap();
            let found = |port| all.iter().find(|one| one["port"] == port).unwrap();
            ports.map(|port| found(port)["last_activity"].as_str().unwrap().to_owned())
        };
        let mut last = activity(&http::json(&server, "/connz"));
        // It is noted a moment after whatever the client can see of it.
        let mut expect_change = |moved: [bool; 2]| {
            let is_moved = |now: &[String; 2]| [now[0] != last[0], now[1] != last[1]];
            let done = |connz: &Value| is_moved(&activity(connz)) == moved;
            last = activity(&http::json_until(&server, "/connz", done));
        };
        reader.send("SUB a 1\r\n");
        expect_change([true, false]);
        writer.send("PUB b 0\r\n\r\n");
        expect_change([false, true]);
        writer.send("PUB a 0\r\n\r\n");
        expect_change([true, true]);
        reader.expect("MSG a 1 0\r\n\r\n");
        reader.send("UNSUB 1\r\n");
        expect_change([true, false]);
        for _ in 0..2 {
            reader.fence();
            writer.fence();
        }
        expect_change([false, false]);
        let in_order = |sort: &str, port: u16| {
            let connz = http::json(&server, &format!("/connz?sort={sort}"));
            assert_eq!(connz["connections"][0]["port"], port, "{sort}");
        };
        in_order("last", ports[0]);
        in_order("idle", ports[1]);
    }

    fn subscriptions_of_a_connection(which) {
        let server = Server::with().monitored().start(which);
        let mut client = Client::connect(&server, "");
        client.send("SUB a.* 1\r\nSUB b q 2\r\nUNSUB 2 10\r\n");
        client.fence();
        let connz = http::json(&server, "/connz?subs=detail");
        let list = connz["connections"][0]["subscriptions_list_detail"].as_array().unwrap();
        let queue = list.iter().find(|sub| sub["subject"] == "b").unwrap();
        assert_eq!(queue["qgroup"], "q");
        assert_eq!(queue["sid"], "2");
        assert_eq!(queue["max"], 10);
        assert!(list.iter().any(|sub| sub["subject"] == "a.*" && sub["sid"] == "1"));
    }

    fn figures_of_the_match_cache(which) {
        let server = Server::with().monitored().start(which);
        let mut client = Client::connect(&server, "");
        client.send("SUB a.* 1\r\nSUB a.> 2\r\nSUB a.b q 3\r\nSUB a.b q 4\r\nUNSUB 4\r\n");
        client.fence();
        for subject in ["a.b", "a.c", "a.d"] {
            client.send(&format!("PUB {subject} 0\r\n\r\n"));
        }
        client.send("PING\r\n");
        while client.frame() != b"PONG\r\n" {}
        let subsz = http::json(&server, "/subsz");
        let number = |key: &str| subsz[key].as_f64().unwrap();
        // The real server's own messages are cached and matched too.
        assert!(number("num_cache") >= 3.0);
        assert!(number("num_matches") >= 3.0);
        assert!((0.0..1.0).contains(&number("cache_hit_rate")));
        assert!(number("max_fanout") >= 3.0);
        assert!(number("avg_fanout") > 0.0 && number("avg_fanout") <= number("max_fanout"));
    }

    fn a_base_path(which) {
        let server = Server::with().conf("http_base_path: \"/a/b\"").monitored().start(which);
        for (path, status) in
            [("/a/b", 200), ("/a/b/", 404), ("/a/b/varz", 200), ("/", 404), ("/varz", 404)]
        {
            assert_eq!(http::page(&server, path).status, status, "{path}");
        }
    }

    /// Also where there is a user for those who say nothing, which INFO does not tell.
    fn who_needs_to_log_in(which) {
        let conf = "no_auth_user: a\nauthorization { users = [ {user: a, password: b} ] }\n";
        let server = Server::with().conf(conf).monitored().start(which);
        assert_eq!(http::json(&server, "/varz")["auth_required"], true);
        let server = Server::with().monitored().start(which);
        assert_eq!(http::json(&server, "/varz").get("auth_required"), None);
    }

    /// The commit where it was built from one, and the switches that 2.15.1 has.
    fn the_build_is_told(which) {
        let server = Server::with().monitored().start(which);
        let varz = http::json(&server, "/varz");
        let info = Client::silent(server.port()).frame();
        let info: Value = serde_json::from_slice(info.strip_prefix(b"INFO ").unwrap()).unwrap();
        assert_eq!(varz["git_commit"], info["git_commit"]);
        let commit = varz["git_commit"].as_str().unwrap();
        assert!(commit.len() == 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let flags = json!({
            "js_ack_fc_v2": false, "js_api_reply_v2": false, "js_raft_delete_range": true,
            "js_snapshot_sources": false,
        });
        assert_eq!(varz["feature_flags"], flags);
    }

    fn the_mappings_of_an_account(which) {
        let mappings = "mappings {
            f: g, z: { dest: y, weight: 0 }, lost: [ {dest: lost, weight: 10} ]
            \"a.*\": [ {dest: \"b.$1\", weight: 60}, {dest: c, weight: 5}
                      {dest: e, weight: 10, cluster: B} ]
        }\n";
        let conf = format!("{mappings} accounts {{ A {{ {mappings} }}, B {{}} }}");
        let server = Server::with().conf(conf).monitored().start(which);
        let to = |subject: &str, weight: u8| json!({ "subject": subject, "weight": weight });
        let in_b = |subject: &str, weight: u8| {
            json!({ "subject": subject, "weight": weight, "cluster": "B" })
        };
        let expected = json!({
            "f": [to("g", 100)],
            "z": [to("y", 0), to("z", 100)],
            "lost": [to("lost", 10)],
            "a.*": [to("c", 5), to("a.$1", 40), to("b.$1", 100), in_b("e", 10), in_b("a.$1", 100)],
        });
        for (account, expected) in [("$G", &expected), ("A", &expected), ("B", &Value::Null)] {
            let page = http::json(&server, &format!("/accountz?acc={account}"));
            assert_eq!(page["account_detail"]["mappings"], *expected, "{account}");
        }
    }

    fn a_closed_server_admits_nobody(which) {
        let server = Server::with().conf("max_connections: 0").monitored().start(which);
        assert_eq!(http::json(&server, "/varz")["max_connections"], -1);
    }

    fn parameters_that_are_wrong(which) {
        let server = Server::with().monitored().start(which);
        for (path, text) in [
            ("/connz?sort=bogus", "invalid sorting option: bogus"),
            ("/connz?sort=stop", "sort by stop only valid on closed connections"),
            ("/connz?state=foo", "Error decoding state for foo"),
            ("/connz?limit=x",
                "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax"),
            ("/connz?auth=maybe",
                "Error decoding boolean for 'auth': strconv.ParseBool: parsing \"maybe\": \
                 invalid syntax"),
        ] {
            let page = http::page(&server, path);
            assert_eq!((page.status, page.body.trim_end()), (400, text), "{path}");
        }
    }

    fn health(which) {
        let server = Server::with().monitored().start(which);
        let page = http::page(&server, "/healthz");
        assert_eq!((page.status, page.body.trim_end()), (200, r#"{"status":"ok"}"#));
        assert!(page.head.to_lowercase().contains("content-type: application/json"));
    }

    fn an_unknown_page(which) {
        let server = Server::with().monitored().start(which);
        assert_eq!(http::page(&server, "/nonsense").status, 404);
    }
}
