//! Requests to services of other accounts, and their answers.

mod clean_up;
mod header;
mod latency;
mod pages;
mod routes;

use std::fmt;

use serde_json::Value;

use crate::support::{Client, Server, Which};

/// A has services, B imports them, and C imports one of them from B.
const CONF: &str = r#"
    server_name: S1
    accounts {
        A {
            users: [ { user: a, password: p }, { user: mute, password: p, permissions: {
                publish: none, subscribe: "req.>" } }, { user: only, password: p, permissions: {
                publish: none, subscribe: "req.>", allow_responses: true } } ]
            exports: [ { service: req.one }, { service: "wild.*.*" }, { service: "gt.>" }
                       { service: req.mapped }, { service: req.shared }
                       { service: req.st, response: stream }, { service: req.ch, response: chunked }
                       { service: req.fast, response: stream, threshold: "500ms" }
                       { service: req.self }, { stream: "req.>" } ]
            imports: [ { service: { account: A, subject: req.self } } ]
            # mappings of A
        }
        B {
            users: [ { user: b, password: p }, { user: few, password: p, permissions: {
                publish: req.one, subscribe: in } } ]
            imports: [ { service: { account: A, subject: req.one }, to: local.one }
                       { service: { account: A, subject: "wild.*.*" }, to: "lw.$2.$1" }
                       { service: { account: A, subject: "gt.>" }, to: "lgt.>" }
                       { service: { account: A, subject: req.mapped } }
                       { service: { account: A, subject: req.shared }, share: true }
                       { service: { account: A, subject: req.st }, to: local.st }
                       { service: { account: A, subject: req.ch }, to: local.ch }
                       { service: { account: A, subject: req.fast }, to: local.fast }
                       { service: { account: A, subject: req.one }, to: "also.*" }
                       { service: { account: A, subject: req.st }, to: also.x } ]
            exports: [ { service: local.one }, { service: req.shared } ]
            # mappings of B
        }
        C {
            users: [ { user: c, password: p } ]
            imports: [ { service: { account: B, subject: local.one }, to: chain.one }
                       { service: { account: B, subject: req.shared }, to: chain.shared }
                       { stream: { account: A, subject: "req.>" }, prefix: s } ]
        }
    }
"#;

/// A message that has arrived.
struct Frame {
    subject: String,
    sid: String,
    reply: String,
    /// Its header lines behind the first, but for the requester.
    headers: Vec<String>,
    /// The requester.
    info: Value,
    payload: String,
}

impl Frame {
    fn parse(frame: &[u8]) -> Frame {
        let text = String::from_utf8(frame.to_vec()).unwrap();
        let (line, message) = text.split_once("\r\n").unwrap();
        let message = message.strip_suffix("\r\n").unwrap();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let names = match words[0] {
            "MSG" => &words[1..words.len() - 1],
            "HMSG" => &words[1..words.len() - 2],
            _ => panic!("{text}"),
        };
        let len = message.len().to_string();
        assert_eq!(words.last(), Some(&&*len), "{text}");
        let header_len =
            if words[0] == "MSG" { 0 } else { words[words.len() - 2].parse().unwrap() };
        let (block, payload) = message.split_at(header_len);
        let mut headers: Vec<String> =
            block.split("\r\n").skip(1).filter(|one| !one.is_empty()).map(Into::into).collect();
        let info = headers.last().and_then(|last| last.strip_prefix("Nats-Request-Info: "));
        let info = info.map_or(Value::Null, |json| serde_json::from_str(json).unwrap());
        if !info.is_null() {
            headers.pop();
        }
        Frame {
            subject: names[0].to_owned(),
            sid: names[1].to_owned(),
            reply: names.get(2).copied().unwrap_or_default().to_owned(),
            headers,
            info,
            payload: payload.to_owned(),
        }
    }

    /// Subject, sid and payload.
    fn parts(&self) -> (&str, &str, &str) {
        (&self.subject, &self.sid, &self.payload)
    }

    /// A message on its reply subject.
    fn answer(&self, payload: &str) -> String {
        publication(&self.reply, payload)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.subject, self.sid, self.reply, self.payload)
    }
}

fn publication(subject: &str, payload: &str) -> String {
    format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())
}

fn request(subject: &str, reply: &str) -> String {
    format!("PUB {subject} {reply} 2\r\nhi\r\n")
}

/// A client of that user, with these lines sent.
fn client(server: &Server, user: &str, lines: &str) -> Client {
    let members = format!(r#""user":"{user}","pass":"p","headers":true,"no_responders":true"#);
    let mut client = Client::connect(server, &members);
    client.send(lines);
    client.fence();
    client
}

fn message(client: &mut Client) -> Frame {
    Frame::parse(&client.frame())
}

fn start(which: Which) -> Server {
    Server::with().conf(CONF).start(which)
}

/// Sends a request and answers it; asserts that the answer arrives.
#[track_caller]
fn ask(requester: &mut Client, subject: &str, responder: &mut Client) -> Frame {
    requester.send(&request(subject, "in"));
    let asked = message(responder);
    responder.send(&asked.answer("ok"));
    requester.expect("MSG in 8 2\r\nok\r\n");
    asked
}

for_both! {
    fn a_request_goes_to_the_service_and_its_answer_comes_back(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let first = ask(&mut b, "local.one", &mut a);
        assert_eq!(first.parts(), ("req.one", "1", "hi"));
        let numbers: Vec<&str> = first.reply.split('.').collect();
        assert!(matches!(numbers[..], ["_R_", one, two] if one.len() == 6 && two.len() == 6));
        let second = ask(&mut b, "local.one", &mut a);
        let account = |frame: &Frame| frame.reply[..11].to_owned();
        assert!(account(&first) == account(&second) && first.reply != second.reply);
        // It is answered once; nobody learns that a second answer is lost.
        a.send(&first.answer("no"));
        a.fence();
        b.fence();
        // Nobody can answer what has no reply.
        b.send("PUB local.one 2\r\nhi\r\n");
        let message = message(&mut a);
        assert_eq!((message.parts(), &*message.reply), (("req.one", "1", "hi"), ""));
        assert_eq!(message.info["acc"], "B");
    }

    fn tokens_move_as_the_import_says(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB wild.> 1\r\nSUB gt.> 2\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        assert_eq!(ask(&mut b, "lw.x.y", &mut a).parts(), ("wild.y.x", "1", "hi"));
        assert_eq!(ask(&mut b, "lgt.x.y", &mut a).parts(), ("gt.x.y", "2", "hi"));
        b.send(&request("lw.x", "in"));
        b.expect(&no_responders("lw.x"));
    }

    fn mappings_of_both_accounts_count(which) {
        let conf = CONF
            .replace("# mappings of A", "mappings: { req.mapped: req.target }")
            .replace("# mappings of B", "mappings: { pre.map: local.one }");
        let server = Server::with().conf(conf).start(which);
        let mut b = client(&server, "b", "SUB in 8\r\n");
        for (asked, named) in [("pre.map", "local.one"), ("req.mapped", "req.mapped")] {
            b.send(&request(asked, "in"));
            b.expect(&no_responders(named));
        }
        let mut a = client(&server, "a", "SUB req.target 1\r\nSUB req.one 2\r\n");
        assert_eq!(ask(&mut b, "req.mapped", &mut a).parts(), ("req.target", "1", "hi"));
        assert_eq!(ask(&mut b, "pre.map", &mut a).parts(), ("req.one", "2", "hi"));
    }

    fn who_reaches_nobody_learns_it_by_its_own_subject(which) {
        let server = start(which);
        let mut b = client(&server, "b", "SUB in 8\r\n");
        // The second one by two imports.
        for asked in ["local.one", "also.x"] {
            b.send(&request(asked, "in"));
            b.expect(&no_responders(asked));
        }
        let mut c = client(&server, "c", "SUB in 8\r\n");
        c.send(&request("chain.one", "in"));
        c.expect(&no_responders("chain.one"));
        b.fence();
    }

    fn a_request_goes_through_several_accounts(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\nSUB req.shared 2\r\n");
        let mut b = client(&server, "b", "SUB local.one 5\r\n");
        let mut c = client(&server, "c", "SUB in 8\r\n");
        let asked = ask(&mut c, "chain.one", &mut a);
        assert_eq!(asked.parts(), ("req.one", "1", "hi"));
        assert_eq!((&asked.info["acc"], &asked.info["svc"]), (&"C".into(), &"B".into()));
        // The one between hears it, too.
        let heard = message(&mut b);
        assert_eq!(heard.parts(), ("local.one", "5", "hi"));
        assert_eq!((&heard.info["acc"], &heard.info["svc"]), (&"C".into(), &Value::Null));
        assert_ne!(heard.reply, asked.reply);
        // What B shares does not make C share more than the server.
        let shared = ask(&mut c, "chain.shared", &mut a);
        let members: Vec<_> = shared.info.as_object().unwrap().keys().collect();
        assert_eq!(members, ["acc", "rtt", "server", "svc"]);
        assert_eq!((&shared.info["svc"], &shared.info["server"]), (&"B".into(), &"S1".into()));
    }

    fn each_import_of_a_subject_asks(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\nSUB req.st 2\r\nSUB req.self 3\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\nSUB also.> 9\r\n");
        b.send(&request("also.x", "in"));
        let mut asked = [message(&mut a), message(&mut a)];
        asked.sort_by(|one, other| one.sid.cmp(&other.sid));
        assert_eq!(asked.each_ref().map(|frame| &*frame.sid), ["1", "2"]);
        // The own account hears the message as it is.
        b.expect("MSG also.x 9 in 2\r\nhi\r\n");
        for frame in &asked {
            a.send(&frame.answer(&frame.sid));
            b.expect(&format!("MSG in 8 1\r\n{}\r\n", frame.sid));
        }
        // An account that asks itself hears it twice.
        let mut other = client(&server, "a", "SUB in 8\r\n");
        other.send(&request("req.self", "in"));
        let mut heard = [message(&mut a), message(&mut a)];
        heard.sort_by(|one, other| one.reply.cmp(&other.reply));
        assert!(heard[0].reply.starts_with("_R_.") && heard[1].reply == "in");
        a.send(&heard[0].answer("ok"));
        other.expect("MSG in 8 2\r\nok\r\n");
        a.fence();
    }

    fn all_plain_subscriptions_and_one_of_a_group_are_asked(which) {
        let server = start(which);
        let lines = "SUB req.one 1\r\nSUB req.* 2\r\nSUB req.one q 3\r\nSUB req.one q 4\r\n";
        let mut a = client(&server, "a", lines);
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let mut members = [0; 2];
        for _ in 0..40 {
            b.send(&request("local.one", "in"));
            let mut asked: Vec<_> = (0..3).map(|_| message(&mut a)).collect();
            asked.sort_by(|one, other| one.sid.cmp(&other.sid));
            assert!(asked.iter().all(|one| one.reply == asked[0].reply));
            assert_eq!((&*asked[0].sid, &*asked[1].sid), ("1", "2"));
            members[usize::from(asked[2].sid == "4")] += 1;
            // The first answer counts.
            a.send(&(asked[0].answer("ok") + &asked[1].answer("no")));
            b.expect("MSG in 8 2\r\nok\r\n");
        }
        assert!(members[0] > 5 && members[1] > 5, "{members:?}");
        a.fence();
        b.fence();
    }

    fn permissions_are_asked_on_the_own_side(which) {
        let server = start(which);
        // To ask takes the right to publish to the local subject.
        let mut few = client(&server, "few", "SUB in 8\r\n");
        few.send(&request("local.one", "in"));
        few.expect("-ERR 'Permissions Violation for Publish to \"local.one\"'\r\n");
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let asked = ask(&mut b, "local.one", &mut a);
        b.send("PUB local.one _R_.x 0\r\n\r\n");
        b.expect("-ERR 'Permissions Violation for Publish with Reply of \"_R_.x\"'\r\n");
        // To answer takes the right to, or the request.
        let mut mute = client(&server, "mute", "SUB req.one 1\r\n");
        let mut only = client(&server, "only", "SUB req.one 1\r\n");
        b.send(&request("local.one", "in"));
        message(&mut a);
        let asked_of = [message(&mut mute), message(&mut only)];
        mute.send(&asked_of[0].answer("no"));
        mute.expect(&format!(
            "-ERR 'Permissions Violation for Publish to \"{}\"'\r\n",
            asked_of[0].reply
        ));
        only.send(&asked_of[1].answer("ok"));
        b.expect("MSG in 8 2\r\nok\r\n");
        only.send(&asked.answer("ok"));
        only.expect(&format!(
            "-ERR 'Permissions Violation for Publish to \"{}\"'\r\n",
            asked.reply
        ));
        b.fence();
    }

    /// Clients may listen to answers; only the first number makes one.
    fn answers_are_messages_of_the_account(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\nSUB in 8\r\n");
        let mut listener = client(&server, "a", "SUB _R_.> 2\r\nSUB > 3\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let asked = ask(&mut b, "local.one", &mut a);
        let heard: Vec<_> = (0..3).map(|_| message(&mut listener)).collect();
        let answers = heard.iter().filter(|frame| frame.subject == asked.reply).count();
        assert_eq!(answers, 2, "{heard:?}");
        listener.send("UNSUB 2\r\nUNSUB 3\r\n");
        listener.fence();
        // What it stood for is over, but the account still listens there; not elsewhere.
        a.send(&format!("PUB {} in 2\r\nno\r\n", asked.reply));
        a.fence();
        a.send("PUB _R_.nobody.nobody in 2\r\nno\r\n");
        a.expect(&no_responders("_R_.nobody.nobody"));
    }

    fn an_answer_may_ask_back(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\nSUB ain 7\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&request("local.one", "in"));
        let asked = message(&mut a);
        a.send(&format!("PUB {} ain 2\r\nok\r\n", asked.reply));
        let answer = message(&mut b);
        assert_eq!(answer.parts(), ("in", "8", "ok"));
        assert!(answer.info.is_null() && answer.reply.starts_with("_R_."));
        b.send(&answer.answer("ack"));
        a.expect("MSG ain 7 3\r\nack\r\n");
        b.send(&answer.answer("ack"));
        b.fence();
        a.fence();
    }

    fn a_stream_of_answers_ends_with_an_empty_one(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        for local in ["local.st", "local.ch"] {
            b.send(&request(local, "in"));
            let asked = message(&mut a);
            let block = "NATS/1.0\r\nA: b\r\n\r\n";
            let headed = |asked: &Frame, payload: &str| {
                let (reply, len) = (&asked.reply, block.len());
                format!("HPUB {reply} {len} {}\r\n{block}{payload}\r\n", len + payload.len())
            };
            a.send(&(asked.answer("1").repeat(2) + &headed(&asked, "2") + &asked.answer("")));
            a.send(&asked.answer("late"));
            a.fence();
            b.expect("MSG in 8 1\r\n1\r\nMSG in 8 1\r\n1\r\n");
            b.expect(&format!("HMSG in 8 18 19\r\n{block}2\r\nMSG in 8 0\r\n\r\n"));
            b.fence();
            // One with headers alone is not empty.
            b.send(&request(local, "in"));
            let asked = message(&mut a);
            a.send(&(headed(&asked, "") + &asked.answer("2")));
            b.expect(&format!("HMSG in 8 18 18\r\n{block}\r\nMSG in 8 1\r\n2\r\n"));
        }
    }

    /// More than fit into one turn, by two imports.
    fn very_many_subscriptions_are_asked(which) {
        const COUNT: usize = 4_000;
        let server = start(which);
        let subscribe = |sid| format!("SUB req.one {sid}\r\nSUB req.st {sid}s\r\n");
        let mut a = client(&server, "a", &(0..COUNT).map(subscribe).collect::<String>());
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&(request("also.x", "in") + "PUB also.x 2\r\nhi\r\n"));
        let asked: Vec<_> = (0..4 * COUNT).map(|_| message(&mut a)).collect();
        let count = |subject, replies: bool| {
            let is_it = |one: &&Frame| one.subject == subject && one.reply.is_empty() != replies;
            asked.iter().filter(is_it).count()
        };
        for subject in ["req.one", "req.st"] {
            assert_eq!((count(subject, true), count(subject, false)), (COUNT, COUNT));
        }
        let first = asked.iter().find(|one| one.subject == "req.one").unwrap();
        a.send(&first.answer("ok"));
        b.expect("MSG in 8 2\r\nok\r\n");
        a.fence();
        b.fence();
    }

    /// Messages that came by the import of a service are not those of a stream.
    fn requests_are_no_stream(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        let mut c = client(&server, "c", "SUB s.req.one 9\r\n");
        ask(&mut b, "local.one", &mut a);
        c.fence();
        a.send("PUB req.one 2\r\nhi\r\n");
        c.expect("MSG s.req.one 9 2\r\nhi\r\n");
    }

    fn messages_in_a_row_are_requests_each(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.one 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\nSUB local.* 9\r\n");
        b.send(&"PUB local.one 2\r\nhi\r\n".repeat(50));
        for _ in 0..50 {
            let asked = message(&mut a);
            assert_eq!((asked.parts(), &asked.info["acc"]), (("req.one", "1", "hi"), &"B".into()));
            b.expect("MSG local.one 9 2\r\nhi\r\n");
        }
        a.fence();
        b.fence();
    }
}

fn no_responders(subject: &str) -> String {
    let len = 32 + subject.len();
    format!("HMSG in 8 {len} {len}\r\nNATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n\r\n")
}
