//! The system account: what servers answer and publish there, compared field by field.

use serde_json::{Value, json};

use crate::support::remote::{connect_line, info_line};
use crate::support::skeleton::skeleton;
use crate::support::{Client, Remote, Server, Which};

const CONF: &str = r#"
    server_name: S1
    server_tags: ["az:a", "x"]
    accounts {
        $SYS { users: [{user: s, password: p}] }
        A { users: [{user: a, password: p}], exports: [{service: "q"}], imports: [
            {service: {account: B, subject: "b"}}] }
        B { users: [{user: b, password: p}], exports: [{service: "b"}, {stream: "t"}] }
    }
"#;

/// A server with clients of all accounts, and one of the system account that asks.
struct Scene {
    _server: Server,
    _clients: Vec<Client>,
    system: Client,
}

impl Scene {
    fn start(which: Which) -> Scene {
        Scene::of(Server::with().conf(CONF).start(which))
    }

    fn of(server: Server) -> Scene {
        let mut clients: Vec<_> = ["a", "b"].map(|user| connect(&server, user)).into();
        clients[0].send("SUB q 1\r\nSUB a.* 2\r\nSUB grp g 3\r\n");
        clients.iter_mut().for_each(Client::fence);
        let mut system = connect(&server, "s");
        system.send("SUB _I.> 1\r\n");
        system.fence();
        Scene { _server: server, _clients: clients, system }
    }

    /// The id of the server.
    fn id(&mut self) -> String {
        let answer = self.ask("$SYS.REQ.SERVER.PING.IDZ", "").unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    /// The answer to a request; none if the server keeps silent.
    fn ask(&mut self, subject: &str, body: &str) -> Option<String> {
        ask(&mut self.system, subject, body)
    }
}

/// A client that is a user.
fn connect(server: &Server, user: &str) -> Client {
    let members = r#""headers":true,"no_responders":true,"lang":"l","version":"1""#;
    let named = format!(r#"{members},"name":"n{user}","user":"{user}","pass":"p""#);
    Client::connect(server, &named)
}

/// The answer that the client gets, on `_I.a`. A second request, whose answer takes as long as any,
/// shows that there is none.
fn ask(client: &mut Client, subject: &str, body: &str) -> Option<String> {
    client.send(&format!("PUB {subject} _I.a {}\r\n{body}\r\n", body.len()));
    client.send("PUB $SYS.REQ.SERVER.PING.CONNZ _I.end 0\r\n\r\n");
    let mut answer = None;
    loop {
        let frame = String::from_utf8(client.frame()).unwrap();
        let (line, text) = frame.split_once("\r\n").unwrap();
        match line.split(' ').nth(1) {
            Some("_I.end") => return answer,
            Some("_I.a") if line.starts_with("HMSG") => answer = Some("no responders".to_owned()),
            _ => answer = Some(text.trim_end_matches("\r\n").to_owned()),
        }
    }
}

/// Requests and their bodies; `ID` stands for the server's.
const REQUESTS: &[(&str, &str)] = &[
    ("SERVER.PING.IDZ", ""),
    ("SERVER.ID.IDZ", "bad"),
    ("SERVER.PING.VARZ", r#"{"server_name":"S1","exact_match":true}"#),
    ("SERVER.PING.VARZ", r#"{"SERVER_NAME":"S","tags":["AZ:A "]}"#),
    ("SERVER.PING.VARZ", r#"{"server_name":"S","exact_match":true}"#),
    ("SERVER.PING.VARZ", r#"{"server_name":"zz"}"#),
    ("SERVER.PING.VARZ", r#"{"tags":["az:b"]}"#),
    ("SERVER.PING.VARZ", r#"{"domain":"d"}"#),
    ("SERVER.PING.VARZ", r#"{"domain":"","host":"127","unknown":[{}]}"#),
    ("SERVER.PING.VARZ", r#"{"cluster":"c"}"#),
    ("SERVER.PING.VARZ", "null"),
    ("SERVER.PING.VARZ", " "),
    ("SERVER.PING.VARZ", "bad"),
    ("SERVER.PING.VARZ", "[]"),
    ("SERVER.PING.VARZ", r#"{"server_name":1}"#),
    ("SERVER.PING.CONNZ", ""),
    ("SERVER.ID.CONNZ", r#"{"auth":true,"subscriptions":true,"sort":"cid"}"#),
    ("SERVER.PING.CONNZ", r#"{"subscriptions_detail":true,"acc":"A","limit":-1}"#),
    ("SERVER.PING.CONNZ", r#"{"acc":"nope"}"#),
    ("SERVER.PING.CONNZ", r#"{"cid":99999}"#),
    ("SERVER.PING.CONNZ", r#"{"state":1}"#),
    ("SERVER.PING.CONNZ", r#"{"state":2,"user":"b","auth":true}"#),
    ("SERVER.PING.CONNZ", r#"{"state":7}"#),
    ("SERVER.PING.CONNZ", r#"{"offset":99999999999,"limit":3}"#),
    ("SERVER.PING.CONNZ", r#"{"filter_subject":"a.b"}"#),
    ("SERVER.PING.CONNZ", r#"{"filter_subject":"a.b","acc":"A"}"#),
    ("SERVER.PING.CONNZ", r#"{"filter_subject":"x.b","acc":"A"}"#),
    ("SERVER.PING.CONNZ", r#"{"filter_subject":">"}"#),
    ("SERVER.PING.CONNZ", r#"{"sort":"bogus"}"#),
    ("SERVER.PING.CONNZ", r#"{"sort":"stop"}"#),
    ("SERVER.PING.CONNZ", r#"{"sort":1}"#),
    ("SERVER.PING.CONNZ", r#"{"limit":"x"}"#),
    ("SERVER.PING.CONNZ", r#"{"limit":1.5}"#),
    ("SERVER.PING.CONNZ", r#"{"state":"open"}"#),
    ("SERVER.PING.CONNZ", r#"{"cid":-1}"#),
    ("SERVER.PING.CONNZ", r#"{"mqtt_client":"m"}"#),
    ("SERVER.PING.ROUTEZ", ""),
    ("SERVER.PING.ROUTEZ", r#"{"subscriptions":true}"#),
    ("SERVER.PING.SUBSZ", ""),
    ("SERVER.PING.SUBSZ", r#"{"subscriptions":true,"account":"nope"}"#),
    ("SERVER.PING.SUBSZ", r#"{"subscriptions":true,"test":"a.b","account":"A"}"#),
    ("SERVER.PING.SUBSZ", r#"{"test":"a.*"}"#),
    ("SERVER.PING.ACCOUNTZ", ""),
    ("SERVER.PING.ACCOUNTZ", r#"{"account":"nope"}"#),
    ("SERVER.PING.GATEWAYZ", r#"{"accounts":true}"#),
    ("SERVER.PING.GATEWAYZ", r#"{"accounts":1}"#),
    ("SERVER.PING.LEAFZ", ""),
    ("SERVER.PING.HEALTHZ", ""),
    ("SERVER.PING.HEALTHZ", r#"{"details":true}"#),
    ("SERVER.PING.HEALTHZ", r#"{"stream":"s"}"#),
    ("SERVER.PING.HEALTHZ", r#"{"consumer":"c","details":true}"#),
    ("SERVER.PING.JSZ", ""),
    ("SERVER.PING.JSZ", r#"{"leader_only":true}"#),
    ("SERVER.PING.RAFTZ", ""),
    ("SERVER.PING.FOO", ""),
    ("SERVER.NOPE.VARZ", ""),
    ("SERVER.PING.KICK", r#"{"cid":1}"#),
    ("SERVER.ID.KICK", r#"{"cid":99999}"#),
    ("SERVER.ID.KICK", "{}"),
    ("SERVER.ID.LDM", r#"{"cid":99999}"#),
    ("SERVER.ID.RELOAD", "bad"),
    ("SERVER.ID.RELOAD", r#"{"server_name":"zz"}"#),
    ("SERVER.ID.RELOAD", ""),
    ("ACCOUNT.A.CONNZ", r#"{"auth":true}"#),
    ("ACCOUNT.A.CONNZ", r#"{"acc":"B"}"#),
    ("ACCOUNT.nope.CONNZ", ""),
    ("ACCOUNT.nope.SUBSZ", ""),
    ("ACCOUNT.A.LEAFZ", ""),
    ("ACCOUNT.A.JSZ", ""),
    ("ACCOUNT.A.INFO", ""),
    ("ACCOUNT.B.INFO", ""),
    ("ACCOUNT.nope.INFO", ""),
    ("ACCOUNT.A.INFO", "bad"),
    ("ACCOUNT.A.STATZ", ""),
    ("ACCOUNT.$G.STATZ", ""),
    ("ACCOUNT.$G.STATZ", r#"{"include_unused":true}"#),
    ("ACCOUNT.nope.STATZ", ""),
    ("ACCOUNT.PING.STATZ", ""),
    ("ACCOUNT.PING.STATZ", r#"{"accounts":["B"]}"#),
    ("ACCOUNT.PING.STATZ", r#"{"accounts":["$G"]}"#),
    ("ACCOUNT.PING.SUBSZ", ""),
    ("ACCOUNT.PING.CONNZ", ""),
    ("ACCOUNT.PING.INFO", ""),
];

/// The answers to [`REQUESTS`], as far as they do not vary.
fn answers(which: Which) -> Vec<String> {
    let mut scene = Scene::start(which);
    let id = scene.id();
    let answer = |&(subject, body): &(&str, &str)| {
        let subject = format!("$SYS.REQ.{}", subject.replace("ID.", &format!("{id}.")));
        let answer = scene.ask(&subject, body);
        answer.map_or_else(|| "silence".to_owned(), |text| skeleton(&text))
    };
    REQUESTS.iter().map(answer).collect()
}

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn requests_are_answered_as_the_real_server_does() {
    let (real, ours) = (answers(Which::Real), answers(Which::Dialtone));
    let mut problems = Vec::new();
    for (((subject, body), real), ours) in REQUESTS.iter().zip(&real).zip(&ours) {
        if real != ours {
            problems.push(format!("{subject} {body}\n  real: {real}\n  ours: {ours}"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Interest in what comes of JWTs, which do not exist here.
fn is_of_claims(line: &str) -> bool {
    line.ends_with(".CLAIMS.UPDATE\r\n")
}

for_both! {
    /// In any order; but for the two local ones.
    fn other_servers_are_told_what_a_server_listens_to(which) {
        let cluster = r#"cluster { name: mesh, listen: "127.0.0.1:-1", pool_size: -1 }"#;
        let server = Server::with().conf(format!("server_name: S1\n{cluster}")).start(which);
        let mut remote = Remote::open(&server);
        remote.send(&connect_line("r", &json!({})));
        remote.send(&info_line("r", &json!({})));
        let id = remote.info["server_id"].as_str().unwrap().to_owned();
        let services = ["ACCOUNTZ", "CONNZ", "EXPVARZ", "GATEWAYZ", "HEALTHZ", "IDZ", "IPQUEUESZ",
            "JSZ", "LEAFZ", "PROFILEZ", "RAFTZ", "ROUTEZ", "STATSZ", "SUBSZ", "VARZ"];
        let mut subjects: Vec<String> = [
            "ACCOUNT.*.LEAFNODE.CONNECT", "LATENCY.M2.sQnRv29R", "REQ.ACCOUNT.*.CONNS",
            "REQ.ACCOUNT.*.CONNZ", "REQ.ACCOUNT.*.INFO", "REQ.ACCOUNT.*.JSZ",
            "REQ.ACCOUNT.*.LEAFZ", "REQ.ACCOUNT.*.STATZ", "REQ.ACCOUNT.*.SUBSZ",
            "REQ.ACCOUNT.NSUBS", "REQ.ACCOUNT.PING.STATZ", "REQ.SERVER.PING",
            "SERVER.*.LAMEDUCK", "SERVER.*.SHUTDOWN", "SERVER.*.STATSZ", "SERVER.ACCOUNT.*.CONNS",
            "_INBOX.sQnRv29R.*",
        ].map(str::to_owned).into();
        subjects.push(format!("_INBOX_.{id}"));
        subjects.extend(services.map(|service| format!("REQ.SERVER.PING.{service}")));
        let actions = services.into_iter().chain(["KICK", "LDM", "RELOAD"]);
        subjects.extend(actions.map(|service| format!("REQ.SERVER.{id}.{service}")));
        let mut expected: Vec<String> =
            subjects.iter().map(|subject| format!("RS+ $SYS $SYS.{subject}\r\n")).collect();
        expected.sort();
        let mut came = Vec::new();
        while came.len() < expected.len() {
            let frame = String::from_utf8(remote.line.frame()).unwrap();
            if frame.starts_with("RS+ $SYS $SYS.") && !is_of_claims(&frame) {
                came.push(frame);
            }
        }
        came.sort();
        assert_eq!(came, expected);
    }
}

/// The line and the message of the next frame.
fn message(client: &mut Client) -> (String, Vec<u8>) {
    let frame = client.frame();
    let end = frame.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let line = String::from_utf8(frame[..end].to_vec()).unwrap();
    (line, frame[end + 2..frame.len() - 2].to_vec())
}

/// A client of that user with its answers on subscription 1.
fn asking(server: &Server, user: &str) -> Client {
    let mut client = connect(server, user);
    client.send("SUB _I.> 1\r\n");
    client.fence();
    client
}

/// The JSON answer to a request without headers.
fn answer(client: &mut Client, subject: &str, body: &str) -> Value {
    client.send(&format!("PUB {subject} _I.a {}\r\n{body}\r\n", body.len()));
    let (line, text) = message(client);
    assert!(line.starts_with("MSG _I.a 1 "), "{line}");
    serde_json::from_slice(&text).unwrap()
}

for_both! {
    fn an_answer_is_encoded_as_its_requester_wants(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut client = asking(&server, "s");
        let mut begin = |subject: &str, header: &str, body: &str| {
            let block = format!("NATS/1.0\r\n{header}\r\n\r\n");
            let (len, all) = (block.len(), block.len() + body.len());
            client.send(&format!("HPUB $SYS.REQ.{subject} _I.a {len} {all}\r\n{block}{body}\r\n"));
            let (line, message) = message(&mut client);
            let head = if line.starts_with("HMSG") { 38 } else { 0 };
            let at = message.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
            let block = if head > 0 { &message[..at] } else { b"" };
            let rest = &message[block.len()..];
            (block.escape_ascii().to_string(), rest[..rest.len().min(4)].to_vec())
        };
        let block = |name: &str| format!("NATS/1.0\\r\\nContent-Encoding: {name}\\r\\n\\r\\n");
        for (header, encoding, start) in [
            ("Accept-Encoding: snappy", block("snappy"), b"\xff\x06\0\0"),
            ("Accept-Encoding: gzip, Snappy", block("snappy"), b"\xff\x06\0\0"),
            ("Accept-Encoding: gzip", block("gzip"), b"\x1f\x8b\x08\0"),
            ("Accept-Encoding: zstd", block("identity"), b"{\"se"),
            ("accept-encoding: snappy", String::new(), b"{\"se"),
            ("Other: snappy", String::new(), b"{\"se"),
        ] {
            for subject in ["SERVER.PING.VARZ", "SERVER.PING.CONNZ", "ACCOUNT.A.INFO"] {
                assert_eq!(begin(subject, header, ""), (encoding.clone(), start.to_vec()));
            }
        }
        let plain = (String::new(), b"{\"se".to_vec());
        assert_eq!(begin("SERVER.PING.VARZ", "Accept-Encoding: snappy", "bad"), plain);
        assert_eq!(begin("ACCOUNT.nope.INFO", "Accept-Encoding: snappy", ""), plain);
    }

    fn an_account_may_ask_about_itself(which) {
        let server = Server::with().conf(CONF).start(which);
        let _b = connect(&server, "b");
        let mut client = asking(&server, "a");
        for subject in ["ACCOUNT.PING.CONNZ", "SERVER.PING.CONNZ"] {
            for body in ["", r#"{"acc":"B","auth":true}"#] {
                let connz = answer(&mut client, &format!("$SYS.REQ.{subject}"), body);
                let connections = connz["data"]["connections"].as_array().unwrap();
                assert_eq!(connections.len(), 1, "{connz}");
                assert_eq!(connections[0]["name"], "na");
            }
        }
        for body in ["", r#"{"accounts":["B"]}"#] {
            let statz = answer(&mut client, "$SYS.REQ.ACCOUNT.PING.STATZ", body);
            let accounts = statz["data"]["account_statz"].as_array().unwrap();
            assert_eq!((accounts.len(), &accounts[0]["acc"]), (1, &json!("A")));
        }
        client.send("PUB $SYS.REQ.SERVER.PING.VARZ _I.a 0\r\n\r\n");
        assert!(message(&mut client).0.starts_with("HMSG _I.a 1 "));
    }

    fn a_client_is_kicked_out(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut system = asking(&server, "s");
        let mut client = connect(&server, "a");
        let id = answer(&mut system, "$SYS.REQ.SERVER.PING.IDZ", "")["id"].take();
        let id = id.as_str().unwrap();
        let connz = answer(&mut system, "$SYS.REQ.ACCOUNT.A.CONNZ", "");
        let cid = connz["data"]["connections"][0]["cid"].as_u64().unwrap();
        let done = answer(&mut system, &format!("$SYS.REQ.SERVER.{id}.KICK"),
            &format!("{{\"cid\":{cid}}}"));
        assert_eq!(done.as_object().unwrap().keys().collect::<Vec<_>>(), ["server"]);
        assert_eq!(client.read_to_end(), b"");
        let mut reason = Value::Null;
        while reason.is_null() {
            let closed = answer(&mut system, "$SYS.REQ.SERVER.PING.CONNZ", r#"{"state":1}"#);
            reason = closed["data"]["connections"][0]["reason"].clone();
        }
        assert_eq!(reason, "Kicked");
    }

    fn a_client_is_asked_to_leave(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut system = asking(&server, "s");
        let id = answer(&mut system, "$SYS.REQ.SERVER.PING.IDZ", "")["id"].take();
        let leave = format!("$SYS.REQ.SERVER.{}.LDM", id.as_str().unwrap());
        let mut old = connect(&server, "b");
        let mut new = Client::open(&server);
        let members = r#""verbose":false,"protocol":1,"user":"a","pass":"p""#;
        new.send(&format!("CONNECT {{{members}}}\r\nPING\r\n"));
        new.expect("PONG\r\n");
        assert!(new.frame().starts_with(b"INFO "));
        let mut ask = |account: &str| {
            let connz = answer(&mut system, &format!("$SYS.REQ.ACCOUNT.{account}.CONNZ"), "");
            let cid = &connz["data"]["connections"][0]["cid"];
            answer(&mut system, &leave, &format!("{{\"cid\":{cid}}}"))["error"].take()
        };
        let refused = ask("B");
        let text = "client does not support Lame Duck Mode or is not ready to receive the \
                    notification";
        assert_eq!(refused, json!({ "code": 500, "description": text }));
        assert_eq!(ask("A"), Value::Null);
        let info = new.frame();
        let info: Value = serde_json::from_slice(info.strip_prefix(b"INFO ").unwrap()).unwrap();
        assert_eq!(info["ldm"], true);
        old.fence();
    }

    fn the_configuration_is_read_again_by_request(which) {
        let server = Server::with().conf(CONF).start(which);
        let mut system = asking(&server, "s");
        let id = answer(&mut system, "$SYS.REQ.SERVER.PING.IDZ", "")["id"].take();
        let reload = format!("$SYS.REQ.SERVER.{}.RELOAD", id.as_str().unwrap());
        let path = server.dir().join("server.conf");
        std::fs::write(&path, format!("{CONF}\nmax_payload: 2048")).unwrap();
        let done = answer(&mut system, &reload, "{}");
        assert_eq!(done.as_object().unwrap().keys().collect::<Vec<_>>(), ["server"], "{done}");
        let varz = answer(&mut system, "$SYS.REQ.SERVER.PING.VARZ", "");
        assert_eq!(varz["data"]["max_payload"], 2048);
        std::fs::write(&path, format!("{CONF}\nserver_name: other")).unwrap();
        let refused = answer(&mut system, &reload, "");
        assert_eq!(refused["error"]["code"], 500);
        assert!(refused.get("data").is_none());
    }

    fn subscriptions_of_an_account_are_counted(which) {
        let import = "{service: {account: \"$SYS\", subject: \"$SYS.DEBUG.SUBSCRIBERS\"}}";
        let conf = format!("accounts {{
            $SYS {{ users: [{{user: s, password: p}}], exports: [{{service: \"$SYS.DEBUG.>\"}}] }}
            A {{ users: [{{user: a, password: p}}], imports: [{import}] }}
        }}");
        let server = Server::with().conf(conf).start(which);
        let mut client = asking(&server, "a");
        client.send("SUB foo 2\r\nSUB foo.bar 3\r\nSUB foo q 4\r\nSUB foo q 5\r\nSUB * 6\r\n");
        let mut count = |body: &str| answer(&mut client, "$SYS.DEBUG.SUBSCRIBERS", body);
        for (body, number) in [
            ("foo", 4), ("foo q", 2), ("foo r", 0), ("foo.*", 1), (">", 6), ("* q", 2), ("", 0),
        ] {
            assert_eq!(count(body), number, "{body}");
        }
    }

    fn thousands_of_counts_are_made(which) {
        const COUNT: usize = 3_000;
        let server = Server::with().conf(CONF).start(which);
        let mut client = asking(&server, "s");
        client.send(&"PUB $SYS.DEBUG.SUBSCRIBERS _I.a 4\r\n_I.>\r\n".repeat(COUNT));
        for _ in 0..COUNT {
            assert!(client.frame().ends_with(b"\r\n1\r\n"));
        }
    }

    /// A played server asks; it is answered only about accounts with clients here.
    fn other_servers_ask_in_the_system_account(which) {
        let cluster = r#"cluster { name: mesh, listen: "127.0.0.1:-1", pool_size: -1 }"#;
        let server = Server::with().conf(format!("{CONF}{cluster}")).start(which);
        let mut remote = Remote::join(&server, "r");
        let mut client = connect(&server, "a");
        client.send("SUB foo 1\r\n");
        client.fence();
        remote.send("RS+ $SYS in\r\n");
        remote.fence();
        let mut ask = |subject: &str, body: &str| {
            let len = body.len();
            remote.send(&format!("RMSG $SYS $SYS.REQ.{subject} in {len}\r\n{body}\r\n"));
            loop {
                let frame = String::from_utf8(remote.line.frame()).unwrap();
                if let Some(rest) = frame.strip_prefix("RMSG $SYS in ") {
                    break rest.split_once("\r\n").unwrap().1.trim_end().to_owned();
                }
            }
        };
        assert_eq!(ask("ACCOUNT.NSUBS", r#"{"acc":"A","subject":"foo"}"#), "1");
        let queue = r#"{"acc":"A","subject":"foo","queue":"cQ=="}"#;
        assert_eq!(ask("ACCOUNT.NSUBS", queue), "0");
        assert!(ask("SERVER.PING.VARZ", "").contains("\"cluster\":\"mesh\""));
        assert!(ask("ACCOUNT.A.CONNZ", "").contains("\"num_connections\":1"));
    }
}
