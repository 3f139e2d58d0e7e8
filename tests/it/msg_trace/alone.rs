//! One server.

use super::scene::{Scene, headed, short};
use crate::support::skeleton::names;
use crate::support::{Client, Server, Which};

const CONF: &str = r#"
    server_name: S1
    accounts {
        A {
            users: [
                {user: a}
                {user: limited, permissions: {publish: {deny: ["no.>", "tr.no"]}}}
                {user: deaf, permissions: {subscribe: {deny: "foo.denied"}}}
            ]
            mappings { m.a: m.b, tr.map: tr.y }
            exports: [
                {stream: "st.>"}, {stream: "ss.>"}
                {service: "svc.q", allow_trace: true}, {service: "svcn.q"}
                {service: "lat.q", allow_trace: true, latency: {subject: lat.out, sampling: 100}}
            ]
        }
        B {
            users: [{user: b}]
            imports: [
                {stream: {account: A, subject: "st.>"}, prefix: imp, allow_trace: true}
                {stream: {account: A, subject: "ss.>"}}
                {service: {account: A, subject: "svc.q"}, to: my.svc}
                {service: {account: A, subject: "svcn.q"}, to: my.svcn}
                {service: {account: A, subject: "lat.q"}, to: my.lat}
            ]
        }
        T { users: [{user: t}], msg_trace: tr.t }
    }
"#;

fn scene(server: &Server) -> Scene {
    let mut scene = Scene::new(1);
    scene.add(server, ("w", "a"), "", &["tr.>"]);
    scene.add(server, ("pub", "a"), r#","no_responders":true"#, &["in"]);
    scene.add(server, ("sub1", "a"), "", &["foo", "foo q1", "m.b", "st.x"]);
    scene.add(server, ("limited", "limited"), "", &[]);
    scene.add(server, ("deaf", "deaf"), "", &["foo.>"]);
    scene.add(server, ("noecho", "a"), r#","echo":false"#, &["ee"]);
    scene.add(server, ("bob", "b"), "", &["imp.st.*", "ss.x", "tr.>", "r"]);
    scene.add(server, ("svc", "a"), "", &["svc.q", "svcn.q", "lat.q"]);
    scene.add(server, ("meter", "a"), "", &["lat.out"]);
    scene.add(server, ("t", "t"), "", &["tr.t", "foo"]);
    scene
}

for_both! {
    fn documents_tell_the_way_of_a_message(which) {
        let server = Server::with().conf(CONF).start(which);
        scene(&server).play(include_str!("alone.txt"));
    }

    fn documents_have_the_members_of_the_real_ones(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut watcher = Client::connect(&server, r#""headers":true,"user":"a""#);
        watcher.send("SUB tr.x 1\r\nSUB foo q 2\r\n");
        watcher.send(&headed("foo", "A: <b>|Nats-Trace-Dest: tr.x|Nats-Trace-Only: 1", "x"));
        let frame = String::from_utf8(watcher.frame()).unwrap();
        let (line, document) = frame.split_once("\r\n").unwrap();
        assert_eq!(line.rsplit_once(' ').unwrap().1, (document.len() - 2).to_string());
        let expected = "server name host id ver feature_flags js_ack_fc_v2 js_api_reply_v2 \
            js_raft_delete_range js_snapshot_sources jetstream flags seq time request header A \
            Nats-Trace-Dest Nats-Trace-Only msgsize events type ts kind cid acc subj type ts kind \
            cid sub queue";
        assert_eq!(names(document).join(" "), expected);
        assert!(document.contains(r#""A":["\u003cb\u003e"]"#), "{document}");
    }

    fn a_message_that_is_too_long_is_told_as_far_as_its_headers_have_come(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut watcher = Client::connect(&server, r#""headers":true,"user":"a""#);
        watcher.send("SUB tr.x 1\r\n");
        watcher.fence();
        let mut client = Client::connect(&server, r#""headers":true,"user":"a","name":"p""#);
        let block = "NATS/1.0\r\nNats-Trace-Dest: tr.x\r\n\r\n";
        client.send(&format!("HPUB foo 35 2000000\r\n{block}Nats-Trace-Dest: tr.y"));
        client.expect("-ERR 'Maximum Payload Violation'\r\n");
        let frame = String::from_utf8(watcher.frame()).unwrap();
        let told = "tr.x/1 {in kind=0 name=p acc=A subj=foo error=maximum payload exceeded}";
        assert_eq!(short(&frame, "", true), told);
        assert!(frame.contains(r#""msgsize":2000000"#), "{frame}");
    }
}

/// nats-server refuses the message, although the header is not for it.
#[test]
fn a_traceparent_of_one_who_may_not_publish_the_trace_loses_no_message() {
    let conf = r#"accounts { T { msg_trace: tr.t, users: [
        {user: t}, {user: limited, permissions: {publish: {deny: "tr.>"}}}] } }"#;
    let server = Server::with().conf(conf).start(Which::Dialtone);
    let mut scene = Scene::new(0);
    scene.add(&server, ("w", "t"), "", &["tr.t", "foo"]);
    scene.add(&server, ("limited", "limited"), "", &[]);
    scene.client("limited").send(&headed("foo", "traceparent: 0-1-2-01", "x"));
    scene.client("limited").fence();
    let frame = String::from_utf8(scene.client("w").frame()).unwrap();
    // No other server traces it either.
    let headers = "traceparent: 0-1-2-01|Nats-Trace-Dest: trace disabled";
    assert_eq!(short(&frame, headers, true), "foo/2");
}

/// In nats-server there are none.
#[test]
fn there_are_traces_without_a_system_account() {
    let conf = "no_system_account: true\naccounts { A { users: [{user: a}] } }";
    let server = Server::with().conf(conf).start(Which::Dialtone);
    let mut client = Client::connect(&server, r#""headers":true,"user":"a","name":"c""#);
    client.send("SUB tr.x 1\r\n");
    client.send(&headed("foo", "Nats-Trace-Dest: tr.x", ""));
    let frame = String::from_utf8(client.frame()).unwrap();
    assert_eq!(short(&frame, "", true), "tr.x/1 {in kind=0 name=c acc=A subj=foo}");
}

/// nats-server has no such limit.
#[test]
fn headers_that_are_too_long_are_not_traced() {
    let server = Server::with().conf(CONF).start(Which::Dialtone);
    let mut client = Client::connect(&server, r#""headers":true,"user":"a","name":"c""#);
    client.send("SUB tr.x 1\r\nSUB foo 2\r\n");
    let long = format!("Nats-Trace-Dest: tr.x|A: {}", "b".repeat(65_536));
    client.send(&headed("foo", &format!("{long}|Nats-Trace-Only: 1"), ""));
    client.send(&headed("foo", &long, ""));
    client.send(&headed("bar", "Nats-Trace-Dest: tr.x", ""));
    let frames = [client.frame(), client.frame()].map(|frame| String::from_utf8(frame).unwrap());
    assert!(frames[0].starts_with("HMSG foo 2 "));
    assert!(short(&frames[1], "", true).contains("subj=bar"));
    client.fence();
}
