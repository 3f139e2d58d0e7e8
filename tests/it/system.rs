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
    Client::connect(server, &named).steady()
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
