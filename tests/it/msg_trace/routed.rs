//! Several servers, and played ones that trace messages or do not.

use serde_json::json;

use super::scene::{Scene, headed, short};
use crate::support::{Client, Cluster, Flavor, Remote, Server, Which, http};

use Which::{Dialtone, Real};

const ACCOUNTS: &str = r#"
    accounts {
        A {
            users: [{user: a}]
            mappings { m.a: m.b }
            exports: [
                {stream: "st.>"}
                {service: "svc.q", allow_trace: true}, {service: "svcn.q"}
            ]
        }
        B {
            users: [{user: b}]
            imports: [
                {stream: {account: A, subject: "st.>"}, prefix: imp, allow_trace: true}
                {service: {account: A, subject: "svc.q"}, to: my.svc}
                {service: {account: A, subject: "svcn.q"}, to: my.svcn}
            ]
        }
        T { users: [{user: t}], msg_trace: {dest: tr.t, sampling: "100%"} }
    }
    authorization { users: [{user: g}] }
    no_auth_user: g
"#;

macro_rules! meshes {
    ($($name:ident: [$($which:ident),*];)*) => {$(
        test_of! { $name [$($which)*] { every_server_tells_its_part(&[$($which),*]); } }
    )*};
}

meshes! {
    dialtone: [Dialtone, Dialtone, Dialtone];
    dialtone_first: [Dialtone, Real, Real];
    dialtone_last: [Real, Real, Dialtone];
    dialtone_first_and_last: [Dialtone, Real, Dialtone];
    dialtone_between: [Real, Dialtone, Real];
    real: [Real, Real, Real];
}

fn every_server_tells_its_part(kinds: &[Which]) {
    // Documents of all accounts come in one order by one connection.
    let mut cluster = Cluster::start_with(kinds, Flavor::Single, ACCOUNTS);
    let mut scene = Scene::new(kinds.len());
    {
        let [s0, s1, s2] = cluster.servers() else { panic!("they are three") };
        scene.add(s0, ("w", "a"), "", &["tr.>"]);
        scene.add(s0, ("pub", "a"), r#","no_responders":true"#, &["in"]);
        scene.add(s0, ("bob", "b"), "", &["tr.x", "r"]);
        scene.add(s0, ("t", "t"), "", &["tr.t"]);
        scene.add(s1, ("sub1", "a"), "", &["foo", "foo q1", "foo q2", "all", "end"]);
        scene.add(s1, ("bob1", "b"), "", &["imp.>"]);
        scene.add(s1, ("t1", "t"), "", &["foo"]);
        scene.add(s2, ("sub2", "a"), "", &["m.b", "svc.q", "svcn.q", "all", "end"]);
    }
    cluster.settle();
    scene.play(include_str!("routed.txt"));
    let got = scene.step("pub", "all", "Nats-Trace-Dest: tr.x").join("\n");
    let numbered = |first: u8, second: u8| {
        let headers = "Nats-Trace-Dest: tr.x|Nats-Trace-Hop:";
        format!(
            "sub1 all/4 [{headers} {first}]\nsub2 all/4 [{headers} {second}]\n\
             w tr.x/1 {{in kind=0 name=pub acc=A subj=all; \
             eg kind=1 name=s2 hop={first}; eg kind=1 name=s3 hop={second} hops=2}} \
             tr.x/1 {{in kind=1 name=s1 acc=A subj=all; eg kind=0 name=sub1 sub=all}} \
             tr.x/1 {{in kind=1 name=s1 acc=A subj=all; eg kind=0 name=sub2 sub=all}}"
        )
    };
    assert!([numbered(1, 2), numbered(2, 1)].contains(&got), "{got}");
    // No subject for documents leads back any more.
    for server in cluster.servers() {
        http::json_until(server, "/accountz?acc=A", |page| {
            page["account_detail"]["responses"].is_null()
        });
    }
}

/// One server, to which others are played.
fn alone(which: Which) -> (Server, Client) {
    let cluster = "cluster { name: mesh, listen: \"127.0.0.1:-1\", pool_size: -1 }\n";
    let server = Server::with().conf(format!("server_name: own\n{cluster}{ACCOUNTS}")).start(which);
    let mut client = Client::connect(&server, r#""headers":true,"user":"a","name":"c""#);
    client.send("SUB tr.x 1\r\n");
    client.fence();
    (server, client)
}

/// A peer with this `proto`, which has interest in `foo`, and in `all` in a queue.
fn interested(server: &Server, name: &str, proto: u8) -> Remote {
    let mut peer = Remote::join_with(server, name, &json!({ "proto": proto }));
    peer.fence();
    peer.send("RS+ A foo\r\nRS+ A all q 1\r\n");
    peer.fence();
    peer
}

/// What the document that comes next tells.
fn told(client: &mut Client) -> String {
    let frame = String::from_utf8(client.frame()).unwrap();
    short(&frame, "", true)
}

const BLOCK: &str = "NATS/1.0\r\nNats-Trace-Dest: tr.x\r\n";
const ONLY: &str = "NATS/1.0\r\nNats-Trace-Dest: tr.x\r\nNats-Trace-Only: true\r\n";

for_both! {
    fn a_server_that_does_not_trace_gets_no_message_that_is_only_traced(which) {
        let (server, mut client) = alone(which);
        let mut old = interested(&server, "old", 2);
        for (subject, groups) in [("foo", ""), ("all", "| q ")] {
            client.send(&headed(subject, "Nats-Trace-Dest: tr.x|Nats-Trace-Only: true", "x"));
            let why = "Not delivered because remote does not support message tracing";
            let eg = format!("eg kind=1 name=old hop=1 error={why}");
            let text = format!("tr.x/1 {{in kind=0 name=c acc=A subj={subject}; {eg} hops=1}}");
            assert_eq!(told(&mut client), text);
            client.send(&headed(subject, "Nats-Trace-Dest: tr.x", "x"));
            let line = format!("HMSG A {subject} {groups}54 55");
            old.expect(&format!("{line}\r\n{BLOCK}Nats-Trace-Hop: 1\r\n\r\nx\r\n"));
            let why = "Message delivered but remote does not support message tracing so no trace \
                event generated from there";
            let eg = format!("eg kind=1 name=old hop=1 error={why}");
            let text = format!("tr.x/1 {{in kind=0 name=c acc=A subj={subject}; {eg} hops=1}}");
            assert_eq!(told(&mut client), text);
        }
    }

    fn a_server_that_traces_gets_copies_with_numbers(which) {
        let (server, mut client) = alone(which);
        let mut new = interested(&server, "new", 3);
        client.send(&headed("foo", "Nats-Trace-Dest: tr.x|Nats-Trace-Only: true", "x"));
        new.expect(&format!("HMSG A foo 77 78\r\n{ONLY}Nats-Trace-Hop: 1\r\n\r\nx\r\n"));
        let text = "tr.x/1 {in kind=0 name=c acc=A subj=foo; eg kind=1 name=new hop=1 hops=1}";
        assert_eq!(told(&mut client), text);
        client.send(&headed("all reply", "Nats-Trace-Dest: tr.x", "x"));
        let line = "HMSG A all + reply q 54 55";
        new.expect(&format!("{line}\r\n{BLOCK}Nats-Trace-Hop: 1\r\n\r\nx\r\n"));
        told(&mut client);
    }

    fn a_message_of_another_server_is_traced_here(which) {
        let (server, mut client) = alone(which);
        client.send("SUB foo 2\r\nSUB foo q 3\r\n");
        client.fence();
        let mut new = Remote::join_with(&server, "new", &json!({"proto": 3}));
        new.fence();
        // Its number is taken as it is, and may be missing.
        new.send(&format!("HMSG A foo | q 56 57\r\n{BLOCK}Nats-Trace-Hop: 7.1\r\n\r\nx\r\n"));
        let frames: Vec<String> = (0..3).map(|_| told(&mut client)).collect();
        let ingress = "in kind=1 name=new acc=A subj=foo; eg kind=0 name=c sub=foo";
        let document = format!("tr.x/1 {{{ingress}; eg kind=0 name=c sub=foo queue=q}}");
        let headers = "[Nats-Trace-Dest: tr.x|Nats-Trace-Hop: 7.1]";
        assert_eq!(frames, [format!("foo/2 {headers}"), format!("foo/3 {headers}"), document]);
        new.send(&format!("HMSG A foo 58 59\r\n{ONLY}\r\nx\r\n"));
        assert_eq!(told(&mut client), format!("tr.x/1 {{{ingress}}}"));
        // Nobody here gets it.
        new.send(&format!("HMSG A bar 58 59\r\n{ONLY}\r\nx\r\n"));
        assert_eq!(told(&mut client), "tr.x/1 {in kind=1 name=new acc=A subj=bar}");
    }

    fn documents_go_where_messages_of_the_cluster_may_go(which) {
        let cluster = r#"cluster { name: mesh, listen: "127.0.0.1:-1", pool_size: -1
            permissions { import: ["foo", "tr.x"], export: ">" } }"#;
        let server = Server::with().conf(format!("{cluster}\n{ACCOUNTS}")).start(which);
        let mut client = Client::connect(&server, r#""headers":true,"user":"a""#);
        client.send("SUB tr.> 1\r\nSUB foo 2\r\n");
        client.fence();
        let mut new = Remote::join_with(&server, "new", &json!({"proto": 3}));
        let denied = BLOCK.replace("tr.x", "tr.y");
        new.send(&format!("HMSG A foo 35 36\r\n{denied}\r\nx\r\n"));
        new.send(&format!("HMSG A foo 58 59\r\n{ONLY}\r\nx\r\n"));
        let document = "tr.x/1 {in kind=1 name=new acc=A subj=foo; eg kind=0 sub=foo}";
        assert_eq!(told(&mut client), document);
    }
}

/// Who may not publish to `secret.x`, and messages whose headers two readers may take for others,
/// or that are too long for a trace here: parted by `|`, those without an empty line at their end
/// behind a `^`; and true if they are only to be traced.
const HEADERS: [(&str, bool); 15] = [
    ("Nats-Trace-Dest: secret.x|B: LONG", false),
    ("Nats-Trace-Dest: secret.LONG", false),
    ("A: 1\nNats-Trace-Dest: secret.x|Nats-Trace-Dest: tr.x|Nats-Trace-Only: 1", true),
    ("A: 1\rNats-Trace-Dest: secret.x|Nats-Trace-Dest: tr.x", false),
    ("A: 1\nNats-Trace-Dest: secret.x", false),
    ("X||A: b|Nats-Trace-Dest: tr.x|Nats-Trace-Only: true", true),
    ("Nats-Trace-Dest: tr.x|A: 1\n\nB: 1|Nats-Trace-Only: true", true),
    ("Nats-Trace-Dest: tr.x|B: LONG|Nats-Trace-Only: true", true),
    ("^Nats-Trace-Dest: secret.x", false),
    ("^A: 1|Nats-Trace-Dest: secret.x \t", false),
    ("^B: LONG|Nats-Trace-Dest: secret.x", false),
    ("^Nats-Request-Info: {}|Nats-Trace-Dest: secret.x", false),
    ("Nats-Request-Info|Nats-Trace-Dest: secret.x", false),
    ("nats-request-info |Nats-Trace-Dest: secret.x", false),
    ("Nats-Trace-Dest: tr.x|B: LONG|Nats-Request-Info|Nats-Trace-Dest: secret.x", false),
];

test_of! { no_reader_of_headers_is_fooled_dialtone [Dialtone Dialtone] {
    no_reader_of_headers_is_fooled(&[Dialtone, Dialtone]);
} }
test_of! { no_reader_of_headers_is_fooled_real [Dialtone Real] {
    no_reader_of_headers_is_fooled(&[Dialtone, Real]);
} }

/// A message leads to no document that its publisher may not publish, in no account, and reaches
/// nobody if it is only to be traced.
fn no_reader_of_headers_is_fooled(kinds: &[Which]) {
    let conf = r#"
        accounts {
            A {
                users: [{user: a}, {user: bound, permissions: {publish: ["foo", "tr.x", "my.q"]}}]
                imports: [{service: {account: B, subject: "q"}, to: my.q}]
            }
            B { users: [{user: b}], exports: [{service: "q", allow_trace: true}] }
        }
        authorization { users: [{user: g}] }
        no_auth_user: g
    "#;
    let mut cluster = Cluster::start_with(kinds, Flavor::Single, conf);
    let [s0, s1] = cluster.servers() else { panic!("they are two") };
    let mut bound = Client::connect(s0, r#""headers":true,"user":"bound""#);
    let mut watchers: Vec<Client> = [(s0, "a"), (s1, "a"), (s0, "b"), (s1, "b")]
        .map(|(server, user)| {
            let members = format!(r#""headers":true,"user":"{user}""#);
            let mut client = Client::connect(server, &members);
            client.send("SUB secret.> 1\r\n");
            client.fence();
            client
        })
        .into();
    watchers[1].send("SUB foo 2\r\n");
    watchers[3].send("SUB q 2\r\n");
    watchers.iter_mut().for_each(Client::fence);
    cluster.settle();
    for (headers, only) in HEADERS {
        let headers = headers.replace("LONG", &"v".repeat(70_000));
        for subject in ["foo", "my.q"] {
            match headers.strip_prefix('^') {
                None => bound.send(&headed(subject, &headers, "bad")),
                Some(headers) => {
                    let block = format!("NATS/1.0\r\n{}", headers.replace('|', "\r\n"));
                    let (len, size) = (block.len(), block.len() + "bad".len());
                    bound.send(&format!("HPUB {subject} {len} {size}\r\n{block}bad\r\n"));
                }
            }
            bound.send(&headed(subject, "A: b", "end"));
            bound.send("PING\r\n");
            while bound.frame() != b"PONG\r\n" {}
            let receiver = &mut watchers[if subject == "foo" { 1 } else { 3 }];
            loop {
                let frame = String::from_utf8(receiver.frame()).unwrap();
                let (line, text) = frame.split_once("\r\n").unwrap();
                assert!(!line.contains("secret"), "{headers:.60}: {line}");
                if text.ends_with("end\r\n") {
                    break;
                }
                assert!(!only, "{headers:.60} for {subject} is only to be traced");
            }
        }
    }
    // Documents come in an order, behind the messages.
    for watcher in &mut watchers {
        watcher.send(&headed("none", "Nats-Trace-Dest: secret.end", ""));
        let frame = String::from_utf8(watcher.frame()).unwrap();
        assert!(frame.starts_with("MSG secret.end 1 "), "{frame}");
    }
}
