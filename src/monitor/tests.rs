//! The pages of a registry built by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::base::closed_reason::ClosedReason;
use crate::base::ids::{Kind, ServerId};
use crate::base::moment::Moment;
use crate::codec::http_head::RequestHead;
use crate::codec::info::Info;
use crate::config::check::Checked;
use crate::config::options::{AccountOptions, Listen, Options, Port};
use crate::conn::subscription::Subscription;
use crate::conn::taken::Taken;
use crate::conn::{About, Conn};
use crate::monitor::{CertEnds, Process, View};
use crate::registry::settings::Settings;
use crate::registry::{Closed, Registry};

const ID: &str = "NDVYDO4OCKSSFM2PEKCBMYKSVYI2EFYGRUD4YFKTUZWKMBBXKM32YCUD";

fn registry_with(mut options: Options) -> Registry {
    let registry =
        Registry::new(ServerId::new(ID).unwrap(), Checked::new(&mut options, None).unwrap());
    registry.set_info(Info { server_name: "S1".into(), port: 4222, ..Info::default() });
    registry
}

fn registry() -> Registry {
    let http = Some(Listen { host: String::new(), port: Port::Free });
    registry_with(Options { http, server_tags: vec!["t1".into()], ..Options::default() })
}

fn second(number: u64) -> Moment {
    Moment::START + Duration::from_secs(number)
}

/// A connection that came at second `at`, from port `at` + 1000.
fn connect(registry: &Registry, at: u64, about: About) -> Arc<Conn> {
    let remote = format!("127.0.0.1:{}", 1000 + at).parse().unwrap();
    let conn = registry.add(|cid, slot| {
        Conn::new(cid, Kind::Client, slot, Some(remote), second(at), Arc::new(Taken::default()))
    });
    conn.set_about(&about);
    conn
}

fn subscribe(registry: &Registry, conn: &Arc<Conn>, subject: &str, queue: Option<&str>, sid: &str) {
    let queue = queue.map(str::as_bytes);
    let one = Subscription::new(conn, subject.as_bytes(), queue, sid.as_bytes(), 0);
    assert!(registry.global().insert(one.clone(), |_| {}));
    conn.subscriptions().insert(one);
}

fn close(registry: &Registry, conn: &Arc<Conn>, at: u64, reason: ClosedReason) {
    let closed = Closed::new(conn, second(at), reason);
    let mut leaving = std::mem::take(&mut *conn.subscriptions());
    registry.global().remove_all(&leaving.take_some(usize::MAX), |_| {});
    registry.move_to_closed(closed);
}

fn view<'a>(registry: &'a Registry, settings: &'a Settings) -> View<'a> {
    View {
        registry,
        settings,
        mesh: None,
        now: second(100),
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_227_495),
        cert_ends: CertEnds::default(),
        monitor_port: 8222,
        websocket_port: 0,
        process: &|| Process { mem: 1 << 20, cpu: 0.5, cores: 2 },
    }
}

fn get(registry: &Registry, url: &str) -> (u16, String) {
    let head = format!("GET {url} HTTP/1.0\r\n\r\n");
    let request = RequestHead::read(head.as_bytes(), |_, _| ()).unwrap().0;
    let settings = registry.settings();
    let view = view(registry, &settings);
    let answer = match view.page(&request) {
        Ok(page) => view.answer(page, &request.query),
        Err(answer) => answer,
    };
    (answer.head.status, String::from_utf8(answer.body.into_bytes()).unwrap())
}

fn page(registry: &Registry, url: &str) -> Value {
    let (status, body) = get(registry, url);
    assert_eq!(status, 200, "{url}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn cids(registry: &Registry, url: &str) -> Vec<u64> {
    let page = page(registry, url);
    let connections = page["connections"].as_array().unwrap();
    assert_eq!(page["num_connections"], connections.len());
    connections.iter().map(|connection| connection["cid"].as_u64().unwrap()).collect()
}

#[test]
fn varz_tells_who_the_server_is_and_what_it_counted() {
    let registry = registry();
    let conn = connect(&registry, 1, About::default());
    subscribe(&registry, &conn, "a", None, "1");
    registry.new_counters().in_msgs.add(7);
    get(&registry, "/connz");
    let varz = page(&registry, "/varz");
    for (key, value) in [
        ("server_id", json!(ID)),
        ("server_name", json!("S1")),
        ("http_host", json!("0.0.0.0")),
        ("http_port", json!(8222)),
        ("http_base_path", json!("")),
        ("ping_interval", json!(120_000_000_000_u64)),
        ("write_deadline", json!(10_000_000_000_u64)),
        ("auth_timeout", json!(2)),
        ("max_payload", json!(1_048_576)),
        ("jetstream", json!({})),
        ("cluster", json!({})),
        ("tags", json!(["t1"])),
        ("start", json!("2026-11-21T02:18:15Z")),
        ("now", json!("2026-11-21T02:19:55Z")),
        ("uptime", json!("1m40s")),
        ("mem", json!(1 << 20)),
        ("cpu", json!(0.5)),
        ("gomaxprocs", json!(2)),
        ("connections", json!(1)),
        ("total_connections", json!(1)),
        // With the imports of both accounts.
        ("subscriptions", json!(6)),
        ("in_msgs", json!(7)),
        ("in_client_msgs", json!(7)),
        ("http_req_stats", json!({ "/connz": 1, "/varz": 1 })),
        ("config_digest", json!("")),
    ] {
        assert_eq!(varz[key], value, "{key}");
    }
    for absent in ["auth_required", "max_subscriptions", "metadata", "git_commit"] {
        assert_eq!(varz.get(absent), None, "{absent}");
    }
}

#[test]
fn connz_shows_a_connection() {
    let registry = registry();
    let text = |text: &str| Some(text.into());
    let about = About { name: text("cli"), lang: text("py"), user: text("u"), ..About::default() };
    let conn = connect(&registry, 10, about);
    conn.in_msgs.add(1);
    conn.in_bytes.add(3);
    conn.set_last_activity(second(90));
    subscribe(&registry, &conn, "b.>", Some("q"), "2");
    let url = "/connz?subs=detail&auth=1";
    let (_, body) = get(&registry, url);
    assert!(body.contains(r#""subject": "b.\u003e""#), "{body}");
    assert!(conn.take_rtt_wanted());
    conn.set_rtt(337_456);
    let expected = json!({
        "cid": 1, "kind": "Client", "type": "nats", "ip": "127.0.0.1", "port": 1010,
        "start": "2026-11-21T02:18:25Z", "last_activity": "2026-11-21T02:19:45Z",
        "rtt": "337µs", "uptime": "1m30s", "idle": "10s", "pending_bytes": 0,
        "in_msgs": 1, "out_msgs": 0, "in_bytes": 3, "out_bytes": 0, "subscriptions": 1,
        "name": "cli", "lang": "py", "authorized_user": "u", "name_tag": "$G",
        "subscriptions_list_detail":
            [{ "subject": "b.>", "qgroup": "q", "sid": "2", "msgs": 0, "cid": 1 }],
    });
    assert_eq!(page(&registry, url)["connections"], json!([expected]));
    assert!(!conn.take_rtt_wanted());

    close(&registry, &conn, 95, ClosedReason::StaleConnection);
    assert_eq!(cids(&registry, "/connz"), [0; 0]);
    let closed = page(&registry, "/connz?state=closed&subs=1");
    let connection = &closed["connections"][0];
    assert_eq!(connection["stop"], "2026-11-21T02:19:50Z");
    assert_eq!(connection["reason"], "Stale Connection");
    assert_eq!(connection["uptime"], "1m25s");
    assert_eq!(connection["subscriptions_list"], json!(["b.>"]));
    assert_eq!(connection.get("authorized_user"), None);
    let detail = page(&registry, "/connz?cid=1&state=any&subs=detail");
    assert_eq!(detail["connections"][0]["subscriptions_list_detail"][0]["account"], "$G");
}

#[test]
fn of_closed_connections_many_subscriptions_are_not_remembered() {
    let registry = registry();
    let subject = "x".repeat(4000);
    for at in 1..=80 {
        let conn = connect(&registry, at, About::default());
        for sid in 0..75 {
            subscribe(&registry, &conn, &format!("{subject}.{sid}"), None, &sid.to_string());
        }
        close(&registry, &conn, 60, ClosedReason::ClientClosed);
    }
    let closed = page(&registry, "/connz?state=closed&subs=1");
    let closed = closed["connections"].as_array().unwrap();
    assert!((60..80).contains(&closed.len()), "{} of 80", closed.len());
    for connection in closed {
        assert_eq!(connection["subscriptions"], 75);
        let listed = connection["subscriptions_list"].as_array().unwrap().len();
        assert!((60..75).contains(&listed), "{listed} of 75");
    }
}

#[test]
fn connz_sorts_and_pages() {
    let registry = registry();
    let conns: Vec<_> = (1..=4).map(|at| connect(&registry, at, About::default())).collect();
    conns[1].in_msgs.add(5);
    conns[2].in_msgs.add(9);
    subscribe(&registry, &conns[3], "a", None, "1");
    conns[0].set_last_activity(second(50));
    close(&registry, &conns[1], 60, ClosedReason::WriteError);
    close(&registry, &conns[2], 70, ClosedReason::ClientClosed);
    for (query, expected) in [
        ("", &[1, 4][..]),
        ("state=ALL", &[1, 2, 3, 4]),
        ("state=any&sort=msgs_from", &[3, 2, 1, 4]),
        ("state=any&sort=msgs_from&offset=1&limit=2", &[2, 1]),
        ("sort=subs", &[4, 1]),
        ("sort=last", &[1, 4]),
        ("sort=idle", &[4, 1]),
        ("sort=uptime", &[4, 1]),
        ("state=closed", &[2, 3]),
        ("state=closed&sort=stop", &[3, 2]),
        ("state=closed&sort=reason", &[3, 2]),
        ("offset=9", &[]),
        ("offset=-1&limit=-1", &[1, 4]),
        ("cid=4", &[4]),
        ("cid=2", &[]),
        ("user=nobody", &[]),
        ("acc=$G", &[1, 4]),
        ("mqtt_client=x", &[]),
    ] {
        assert_eq!(cids(&registry, &format!("/connz?{query}")), expected, "{query}");
    }
    let unknown = page(&registry, "/connz?acc=nope");
    assert_eq!((&unknown["server_id"], &unknown["connections"]), (&json!(""), &Value::Null));
    let one = page(&registry, "/connz?cid=99");
    assert_eq!((&one["limit"], &one["total"]), (&json!(1), &json!(2)));
}

#[test]
fn subsz_lists_filters_and_pages() {
    let registry = registry();
    let conn = connect(&registry, 1, About::default());
    for (subject, queue, sid) in [("a.*", None, "1"), ("a.b", Some("q"), "2"), ("c", None, "3")] {
        subscribe(&registry, &conn, subject, queue, sid);
    }
    let all = page(&registry, "/subscriptionsz");
    assert_eq!((&all["num_subscriptions"], &all["num_inserts"]), (&json!(8), &json!(8)));
    assert_eq!((&all["total"], &all["limit"]), (&json!(0), &json!(1024)));
    assert_eq!((&all["cache_hit_rate"], all.get("subscriptions_list")), (&json!(0), None));
    let count = |query: &str| {
        let page = page(&registry, &format!("/subsz?subs=1{query}"));
        let list = page["subscriptions_list"].as_array().map_or(0, Vec::len);
        (page["total"].as_u64().unwrap(), list)
    };
    assert_eq!(count(""), (3, 3));
    assert_eq!(count("&limit=2"), (3, 2));
    assert_eq!(count("&offset=2"), (3, 1));
    assert_eq!(count("&test=a.b"), (2, 2));
    assert_eq!(count("&acc=nope"), (0, 0));
    let list = page(&registry, "/subsz?subs=1&test=c");
    assert_eq!(
        list["subscriptions_list"],
        json!([{
            "account": "$G", "account_tag": "$G",
            "subject": "c", "sid": "3", "msgs": 0, "cid": 1,
        }])
    );
}

/// More than one lock covers.
#[test]
fn long_lists_are_whole() {
    let registry = registry();
    let conns = [1, 2].map(|at| connect(&registry, at, About::default()));
    let count = 2000;
    for (number, conn) in (0..count).zip(conns.iter().cycle()) {
        subscribe(&registry, conn, &format!("a.{number}"), None, &number.to_string());
    }
    let sids = |list: &Value| {
        let all = list.as_array().unwrap().iter();
        all.map(|one| one["sid"].to_string()).collect::<BTreeSet<_>>().len()
    };
    let connz = page(&registry, "/connz?subs=detail");
    let listed = &connz["connections"][1]["subscriptions_list_detail"];
    assert_eq!(sids(listed), count / 2);
    for (query, expected) in [
        ("limit=9999", count),
        ("limit=9999&offset=500", count - 500),
        ("limit=9999&offset=1500", count - 1500),
        ("limit=100&offset=950", 100),
    ] {
        let subsz = page(&registry, &format!("/subsz?subs=1&{query}"));
        assert_eq!(subsz["total"], count);
        assert_eq!(sids(&subsz["subscriptions_list"]), expected, "{query}");
    }
    assert_eq!(page(&registry, "/subsz?subs=1&offset=2000").get("subscriptions_list"), None);
}

#[test]
fn accounts_are_listed_with_what_they_do() {
    let registry = registry();
    assert_eq!(page(&registry, "/accountz")["accounts"], json!(["$G", "$SYS"]));
    assert_eq!(page(&registry, "/accountz?acc=$G")["account_detail"]["client_connections"], 0);
    assert_eq!(page(&registry, "/accstatz")["account_statz"], json!([]));
    let sys = page(&registry, "/accountz?acc=$SYS");
    assert_eq!(sys["account_detail"]["is_system"], true);
    let accounts = vec![AccountOptions::new("A")];
    registry.change_settings(Options { accounts, ..Options::default() });
    let settings = registry.settings();
    let a = settings.accounts.find(b"A").unwrap();
    let about = || About { account: Some("A".into()), ..About::default() };
    let [stays, goes] = [1, 2].map(|at| connect(&registry, at, about()));
    for (conn, bytes) in [(&stays, 5), (&goes, 7)] {
        a.join(conn);
        conn.in_bytes.add(bytes);
    }
    a.leave(&goes);
    // The server's own client is in no account.
    let own = Arc::new(Taken::default());
    registry.add(|cid, slot| own.conn(cid, Kind::System, slot, Moment::START));
    close(&registry, &goes, 3, ClosedReason::SlowConsumerPendingBytes);
    a.count_slow();
    let zero = json!({ "msgs": 0, "bytes": 0 });
    let statz = page(&registry, "/accstatz");
    let [one] = &statz["account_statz"].as_array().unwrap()[..] else { panic!("{statz}") };
    assert_eq!(
        (&one["acc"], &one["conns"], &one["slow_consumers"]),
        (&json!("A"), &json!(1), &json!(1))
    );
    assert_eq!(
        one["received"],
        json!({ "msgs": 0, "bytes": 12, "gateways": zero, "routes": zero, "leafs": zero })
    );
    assert_eq!(page(&registry, "/accstatz?unused=1")["account_statz"].as_array().unwrap().len(), 3);
    connect(&registry, 4, About::default());
    assert_eq!(cids(&registry, "/connz?acc=A"), [1]);
    assert_eq!(cids(&registry, "/connz?acc=$G"), [4]);
    let closed = page(&registry, "/connz?acc=A&auth=1&state=closed");
    assert_eq!((&closed["total"], &closed["connections"][0]["account"]), (&json!(1), &json!("A")));
}

#[test]
fn health_ends_with_lame_duck_mode() {
    let registry = registry();
    assert_eq!(get(&registry, "/healthz"), (200, r#"{"status":"ok"}"#.into()));
    registry.set_info(Info { ldm: true, ..registry.info() });
    let (status, body) = get(&registry, "/healthz");
    assert_eq!(status, 500);
    let error = "failed to be ready for connections after 1ms: server";
    assert_eq!(body, format!(r#"{{"status":"error","error":"{error}"}}"#));
}

#[test]
fn absent_features_have_their_empty_pages() {
    let registry = registry();
    assert_eq!(page(&registry, "/routez")["routes"], json!([]));
    assert_eq!(page(&registry, "/gatewayz")["outbound_gateways"], json!({}));
    assert_eq!(page(&registry, "/leafz")["leafs"], json!([]));
    assert_eq!(page(&registry, "/jsz?acc=x")["disabled"], true);
    assert_eq!(page(&registry, "/ipqueuesz"), json!({}));
    assert_eq!(get(&registry, "/raftz"), (404, "No Raft nodes registered".into()));
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let registry = registry();
    for (url, text) in [
        ("/connz?sort=bogus", "invalid sorting option: bogus"),
        ("/connz?sort=stop", "sort by stop only valid on closed connections"),
        ("/connz?sort=reason&state=any", "sort by reason only valid on closed connections"),
        ("/connz?state=foo", "Error decoding state for foo"),
        ("/accountz?acc=nope", "Account nope does not exist"),
        ("/subsz?test=a.*", "invalid test subject, must be valid publish subject: a.*"),
    ] {
        assert_eq!(get(&registry, url), (400, text.into()), "{url}");
    }
    for url in ["/routez?subs=x", "/gatewayz?accs=x", "/leafz?subs=x", "/jsz?raft=x"] {
        assert_eq!(get(&registry, url).0, 400, "{url}");
    }
    for url in ["/nope", "/varz/", "/varz#", "/stacksz"] {
        assert_eq!(get(&registry, url).0, 404, "{url}");
    }
    assert_eq!(get(&registry, "//varz").0, 307);
}

#[test]
fn a_base_path_stands_before_every_page() {
    let options = Options { http_base_path: "/nats/".into(), ..Options::default() };
    let registry = registry_with(options);
    assert_eq!(page(&registry, "/nats/varz")["http_base_path"], "/nats");
    assert_eq!(page(&registry, "/nats/varz")["http_req_stats"], json!({ "/varz": 2 }));
    assert_eq!(get(&registry, "/nats").0, 200);
    assert_eq!(get(&registry, "/varz").0, 404);
    assert_eq!(get(&registry, "/natsvarz").0, 404);
    assert!(get(&registry, "/nats").1.contains("href=\"/nats/connz\""));
    assert_eq!(get(&registry, "/nats/").0, 404);
}
