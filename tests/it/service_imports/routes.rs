//! Requests, and services, at other servers.

use serde_json::json;

use super::{CONF, Frame, ask, client, message, no_responders, request};
use crate::support::remote::{connect_line, info_line};
use crate::support::{Client, Cluster, Flavor, Remote, Server, Which};

use Which::{Dialtone, Real};

fn clustered(which: Which) -> Server {
    let cluster = "cluster { name: mesh, port: -1, pool_size: -1 }\n";
    Server::with().conf(CONF.to_owned() + cluster).start(which)
}

/// The next message to another server: its words, and the rest.
#[track_caller]
fn routed(remote: &mut Remote) -> (Vec<String>, String) {
    remote.skip_system();
    let frame = String::from_utf8(remote.line.frame()).unwrap();
    let (line, rest) = frame.split_once("\r\n").unwrap();
    (line.split(' ').map(Into::into).collect(), rest.to_owned())
}

for_both! {
    fn a_request_goes_to_the_server_with_the_service(which) {
        let server = clustered(which);
        let mut remote = Remote::join(&server, "peer");
        remote.send("RS+ A req.one\r\nRS+ A wild.x q 2\r\n");
        remote.fence();
        let mut b = client(&server, "b", "SUB in 8\r\n");
        assert_eq!(remote.fence(), ["RS+ B in\r\n"]);
        b.send(&request("local.one", "in"));
        // Its interest comes first.
        let (interest, _) = routed(&mut remote);
        let number = interest[2].strip_suffix('>').unwrap().to_owned();
        assert_eq!((&*interest[0], &*interest[1]), ("RS+", "A"));
        let (line, rest) = routed(&mut remote);
        let (line, reply) = match &*line {
            [verb, account, subject, reply, ..] => ([verb, account, subject], reply.clone()),
            _ => panic!("{line:?}"),
        };
        assert_eq!(line, ["HMSG", "A", "req.one"]);
        assert!(reply.starts_with(&number), "{reply}");
        assert!(rest.starts_with("NATS/1.0\r\nNats-Request-Info: {\"acc\":\"B\","), "{rest}");
        remote.send(&format!("RMSG A {reply} 2\r\nok\r\n"));
        b.expect("MSG in 8 2\r\nok\r\n");
        // Once.
        remote.send(&format!("RMSG A {reply} 2\r\nno\r\n"));
        assert_eq!(remote.fence(), [""; 0]);
        b.fence();
        // By a group; the answer asks back.
        b.send(&request("lw.x.y", "in"));
        b.expect(&no_responders("lw.x.y"));
        remote.send("RS+ A wild.y.x q 2\r\n");
        remote.fence();
        b.send(&request("lw.x.y", "in"));
        let (line, _) = routed(&mut remote);
        assert_eq!((&*line[2], &*line[3], &*line[5]), ("wild.y.x", "+", "q"));
        remote.send(&format!("RMSG A {} rr 2\r\nok\r\n", line[4]));
        let answer = message(&mut b);
        assert_eq!(answer.parts(), ("in", "8", "ok"));
        assert!(answer.reply.starts_with("_R_."), "{answer:?}");
        let (interest, _) = routed(&mut remote);
        assert_eq!(interest[..2], ["RS+", "B"]);
        assert!(answer.reply.starts_with(interest[2].strip_suffix('>').unwrap()));
        // A message of another server is no request.
        remote.send("RMSG B local.one rin 2\r\nhi\r\n");
        assert_eq!(remote.fence(), [""; 0]);
    }

    /// The one who asks may get its answer at another server.
    fn an_answer_may_go_back_over_its_route(which) {
        let server = clustered(which);
        let mut remote = Remote::join(&server, "peer");
        remote.send("RS+ A req.one\r\nRS+ B rin\r\n");
        remote.fence();
        let mut b = client(&server, "b", "");
        b.send(&request("local.one", "rin"));
        routed(&mut remote);
        let (line, _) = routed(&mut remote);
        remote.send(&format!("RMSG A {} 2\r\nok\r\n", line[3]));
        let (line, rest) = routed(&mut remote);
        assert_eq!((line.join(" "), &*rest), ("RMSG B rin 2".to_owned(), "ok\r\n"));
        // So does the answer of a local client.
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        remote.send("RS- A req.one\r\n");
        remote.fence();
        b.send(&request("local.one", "rin"));
        let asked = message(&mut a);
        a.send(&asked.answer("ok"));
        let (line, _) = routed(&mut remote);
        assert_eq!(line.join(" "), "RMSG B rin 2");
    }

    fn several_accounts_are_one_message_to_another_server(which) {
        let server = clustered(which);
        let mut remote = Remote::join(&server, "peer");
        remote.send("RS+ A req.one\r\n");
        remote.fence();
        let mut c = client(&server, "c", "SUB cin 8\r\n");
        assert_eq!(remote.fence(), ["RS+ C cin\r\n"]);
        c.send(&request("chain.one", "cin"));
        let mut request = routed(&mut remote);
        while request.0[0] == "RS+" {
            request = routed(&mut remote);
        }
        let (line, rest) = request;
        assert_eq!(line[..3], ["HMSG", "A", "req.one"]);
        assert!(rest.contains("Nats-Request-Info: {\"acc\":\"C\",\"svc\":\"B\","), "{rest}");
        remote.send(&format!("RMSG A {} 2\r\nok\r\n", line[3]));
        c.expect("MSG cin 8 2\r\nok\r\n");
    }

    /// What was asked before is not asked for again.
    fn a_newcomer_learns_where_answers_go(which) {
        let server = clustered(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let asked = ask(&mut b, "local.one", &mut a);
        let number = &asked.reply[..asked.reply.len() - 6];
        let mut remote = Remote::open(&server);
        remote.send(&connect_line("peer", &json!({})));
        remote.send(&info_line("peer", &json!({})));
        let known = remote.read_sorted(3);
        assert!(known.contains(&format!("RS+ A {number}>\r\n")), "{known:?}");
        drop((a, b));
    }
}

/// A client without a login is in `$G`.
const OTHERS: &str = "authorization { users: [{user: g}] }\nno_auth_user: g\n";

/// A responder at one server, and a requester at another one, which may get its answers at the
/// first.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn servers_of_both_kinds_serve_each_other() {
    let conf = CONF.replace("server_name: S1", "") + OTHERS;
    for kinds in [[Dialtone, Dialtone], [Dialtone, Real], [Real, Dialtone]] {
        let cluster = Cluster::start_with(&kinds, Flavor::Default, &conf);
        let [here, there] = cluster.servers() else { panic!("two") };
        let mut a = client(there, "a", "SUB req.* 1\r\nSUB req.* q 2\r\n");
        let mut b = client(here, "b", "SUB in 8\r\n");
        let mut inbox = client(there, "b", "SUB box.* 7\r\nSUB known 1\r\n");
        known(here, "b", "known");
        message(&mut inbox);
        let mut both = |a: &mut Client| {
            let mut asked = [message(a), message(a)];
            asked.sort_by(|one, other| one.sid.cmp(&other.sid));
            assert!(asked[0].sid == "1" && asked[1].sid == "2", "{asked:?}");
            assert_eq!(asked[0].reply, asked[1].reply);
            let [asked, _] = asked;
            asked
        };
        until_served(&mut b, &mut a, &mut both);
        for _ in 0..10 {
            b.send(&request("local.one", "in"));
            let asked = both(&mut a);
            assert_eq!(asked.info["acc"], "B");
            a.send(&(asked.answer("ok") + &asked.answer("no")));
            b.expect("MSG in 8 2\r\nok\r\n");
        }
        b.send(&request("local.st", "in"));
        let asked = both(&mut a);
        a.send(&(asked.answer("1") + &asked.answer("2") + &asked.answer("") + &asked.answer("3")));
        b.expect("MSG in 8 1\r\n1\r\nMSG in 8 1\r\n2\r\nMSG in 8 0\r\n\r\n");
        // The answers go where somebody waits for them.
        b.send(&request("local.one", "box.1"));
        let asked = both(&mut a);
        a.send(&asked.answer("ok"));
        inbox.expect("MSG box.1 7 2\r\nok\r\n");
        // Those of an account between.
        let mut c = client(here, "c", "SUB in 8\r\n");
        c.send(&request("chain.one", "in"));
        let asked = both(&mut a);
        assert_eq!((&asked.info["acc"], &asked.info["svc"]), (&json!("C"), &json!("B")));
        a.send(&asked.answer("ok"));
        c.expect("MSG in 8 2\r\nok\r\n");
        b.fence();
        drop(a);
        while !matches!(asks(&mut b), Asked::Nobody) {}
    }
}

/// Waits until clients of `user` at that server reach a subscription on `subject` elsewhere.
fn known(server: &Server, user: &str, subject: &str) {
    let mut client = client(server, user, "SUB in 1\r\n");
    while !client.is_reached(subject) {}
}

enum Asked {
    Somebody,
    Nobody,
}

/// Sends a request, and tells whether it reached somebody.
fn asks(b: &mut Client) -> Asked {
    b.send(&(request("local.one", "in") + "PING\r\n"));
    let frame = b.frame();
    if frame == b"PONG\r\n" {
        return Asked::Somebody;
    }
    assert!(frame.starts_with(b"HMSG in 8 "));
    b.expect("PONG\r\n");
    Asked::Nobody
}

/// Waits until requests of `b` reach the client `a`, and reads the one that does.
fn until_served(b: &mut Client, a: &mut Client, read: &mut impl FnMut(&mut Client) -> Frame) {
    while !matches!(asks(b), Asked::Somebody) {}
    read(a);
}
