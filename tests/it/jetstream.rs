//! The JetStream of other servers of the cluster: requests to it, and the answers. A scene with
//! such servers and official clients is `tests/interop/jetstream`.

use serde_json::{Value, json};

use crate::support::{Client, Remote, Server, Which, http};

const CLUSTER: &str = "server_name: S1\ncluster { name: mesh, port: -1, pool_size: -1 }\n";
const MEMBERS: &str = r#""headers":true,"no_responders":true,"name":"app""#;

fn start(which: Which, conf: &str) -> Server {
    Server::with().conf(conf).monitored().start(which)
}

/// A client that gets answers as subscription 1.
fn client(server: &Server, members: &str) -> Client {
    let mut client = Client::connect(server, &format!("{MEMBERS}{members}"));
    client.send("SUB in 1\r\n");
    client.fence();
    client
}

/// The answer to a request that nobody takes.
fn nobody(subject: &str) -> String {
    let block = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
    format!("HMSG in 1 {0} {0}\r\n{block}\r\n", block.len())
}

/// The next message in the system account to another server, behind that.
#[track_caller]
fn sent(remote: &mut Remote) -> String {
    loop {
        let frame = String::from_utf8(remote.line.frame()).unwrap();
        if let Some(rest) = frame.strip_prefix("HMSG $SYS ") {
            return rest.to_owned();
        }
    }
}

/// The next request to the system account of another server: its subject, its reply, and the
/// requester.
#[track_caller]
fn request(remote: &mut Remote) -> (String, String, Value) {
    let sent = sent(remote);
    let words: Vec<&str> = sent.split_ascii_whitespace().take(2).collect();
    let (_, info) = sent.split_once("Nats-Request-Info: ").unwrap();
    let info = serde_json::from_str(info.split_once("\r\n").unwrap().0).unwrap();
    (words[0].to_owned(), words[1].to_owned(), info)
}

fn has_import(server: &Server, account: &str) -> bool {
    let page = http::json(server, &format!("/accountz?acc={account}"));
    let imports = page["account_detail"]["imports"].as_array().cloned().unwrap_or_default();
    let import = json!({
        "subject": "$JS.API.>", "account": "$SYS", "to": "$JS.API.>", "local_subject": "$JS.API.>",
        "type": "service", "invalid": false, "share": true, "tracking": false,
    });
    imports.contains(&import)
}

for_both! {
    fn requests_go_to_the_servers_with_streams(which) {
        let server = start(which, CLUSTER);
        assert!(has_import(&server, "$G"));
        let mut remote = Remote::join(&server, "peer");
        let mut app = client(&server, "");
        app.send("PUB $JS.API.INFO in 0\r\n\r\n");
        app.expect(&nobody("$JS.API.INFO"));
        remote.send("RS+ $SYS $JS.API.>\r\n");
        remote.fence();
        app.send("PUB $JS.API.STREAM.INFO.S in 2\r\nhi\r\n");
        let (subject, reply, info) = request(&mut remote);
        assert_eq!(subject, "$JS.API.STREAM.INFO.S");
        assert!(reply.starts_with("_R_."), "{reply}");
        for (member, value) in
            [("acc", "$G"), ("name", "app"), ("server", "S1"), ("cluster", "mesh")]
        {
            assert_eq!(info[member], value, "{info}");
        }
        remote.send(&format!("RMSG $SYS {reply} 2\r\nok\r\n"));
        app.expect("MSG in 1 2\r\nok\r\n");
        // Without a reply it goes there, too.
        app.send("PUB $JS.API.STREAM.PURGE.S 0\r\n\r\n");
        let sent = sent(&mut remote);
        assert!(sent.starts_with("$JS.API.STREAM.PURGE.S "), "{sent}");
    }

    /// The servers that store the stream have interest in these, in the account of the client.
    fn requests_to_one_stream_are_ordinary_messages(which) {
        let server = start(which, CLUSTER);
        let mut remote = Remote::join(&server, "peer");
        remote.send("RS+ $SYS $JS.API.>\r\n");
        remote.fence();
        let mut app = client(&server, "");
        remote.fence();
        let subjects = ["$JS.API.CONSUMER.MSG.NEXT.S.C", "$JS.API.DIRECT.GET.S"];
        for subject in subjects {
            app.send(&format!("PUB {subject} in 0\r\n\r\n"));
            app.expect(&nobody(subject));
        }
        for subject in subjects {
            remote.send(&format!("RS+ $G {subject}\r\n"));
            remote.fence();
            app.send(&format!("PUB {subject} in 0\r\n\r\n"));
            remote.expect(&format!("RMSG $G {subject} in 0\r\n\r\n"));
        }
    }

    fn accounts_say_whether_they_use_it(which) {
        let accounts = "accounts { A { users: [{ user: a, password: p }], jetstream: enabled },\n\
                        B { users: [{ user: b, password: p }], jetstream: disabled } }\n";
        let server = start(which, &format!("{CLUSTER}{accounts}"));
        assert_eq!(["A", "B", "$G"].map(|name| has_import(&server, name)), [true, false, false]);
        let mut remote = Remote::join(&server, "peer");
        remote.send("RS+ $SYS $JS.API.>\r\n");
        remote.fence();
        let [mut one, mut other] = ["a", "b"]
            .map(|user| client(&server, &format!(r#","user":"{user}","pass":"p""#)));
        one.send("PUB $JS.API.INFO in 0\r\n\r\n");
        let (_, reply, info) = request(&mut remote);
        assert_eq!((&info["acc"], &info["user"]), (&json!("A"), &json!("a")));
        remote.send(&format!("RMSG $SYS {reply} 2\r\nok\r\n"));
        one.expect("MSG in 1 2\r\nok\r\n");
        other.send("PUB $JS.API.INFO in 0\r\n\r\n");
        other.expect(&nobody("$JS.API.INFO"));
    }

    fn a_server_alone_reaches_nobody(which) {
        let server = start(which, "");
        assert!(!has_import(&server, "$G"));
        let mut app = client(&server, "");
        app.send("PUB $JS.API.INFO in 0\r\n\r\n");
        app.expect(&nobody("$JS.API.INFO"));
    }

    /// Users of the system account alone leave the global one its access.
    fn users_of_the_system_account_change_nothing(which) {
        let users = "accounts { $SYS { users: [{ user: s, password: p }] } }\n";
        let server = start(which, &format!("{CLUSTER}{users}"));
        assert!(has_import(&server, "$G"));
    }
}
