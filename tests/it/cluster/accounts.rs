//! Accounts that servers of both kinds share: each is a subject space of its own.

use crate::support::{Client, Cluster, Flavor, Which, http};

use Which::{Dialtone, Real};

/// A client without a login is in `$G`.
const ACCOUNTS: &str = "accounts { A { users: [{user: a}] }, B { users: [{user: b}] } }\n\
                        authorization { users: [{user: g}] }\nno_auth_user: g\n";

const USERS: [&str; 3] = ["a", "b", "g"];

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn accounts_do_not_hear_each_other_across_servers() {
    let kinds = [Dialtone, Real, Dialtone];
    for flavor in [Flavor::Default, Flavor::Single, Flavor::Encrypted] {
        let cluster = Cluster::start_with(&kinds, flavor, ACCOUNTS);
        let members = |user| format!(r#""user":"{user}","headers":true,"no_responders":true"#);
        // By server, then by user.
        let mut clients: Vec<[Client; 3]> = Vec::new();
        let mut there: Vec<[Client; 3]> = Vec::new();
        for (at, server) in cluster.servers().iter().enumerate() {
            let subscribe = |user, lines: &str| {
                let mut client = Client::connect(server, &members(user));
                client.send(lines);
                client.fence();
                client
            };
            clients.push(USERS.map(|user| subscribe(user, "SUB in 1\r\nSUB s 2\r\n")));
            there.push(USERS.map(|user| subscribe(user, &format!("SUB there.{at} 1\r\n"))));
        }
        for client in clients.iter_mut().flatten() {
            while !(0..kinds.len()).all(|at| client.is_reached(&format!("there.{at}"))) {}
        }
        for (from, user) in (0..kinds.len()).flat_map(|from| [0, 1, 2].map(|user| (from, user))) {
            let message = format!("{}{from}", USERS[user]);
            clients[from][user].send(&format!("PUB s 2\r\n{message}\r\n"));
            for client in clients.iter_mut().map(|clients| &mut clients[user]) {
                client.expect(&format!("MSG s 2 2\r\n{message}\r\n"));
            }
        }
        clients.iter_mut().flatten().for_each(Client::fence);
        for server in cluster.servers() {
            let page = http::json(server, "/connz?acc=A&auth=1");
            assert_eq!(page["total"], 2);
            for one in page["connections"].as_array().unwrap() {
                assert_eq!([&one["account"], &one["authorized_user"]], ["A", "a"], "{one}");
                assert_eq!(one["name_tag"], "A");
            }
            let detail = &http::json(server, "/accountz?acc=B")["account_detail"];
            assert_eq!(detail["client_connections"], 2);
            // Three here, three of each other server, and four services.
            let count = 13;
            assert_eq!(detail["subscriptions"], count, "{detail}");
            assert_eq!(http::json(server, "/subsz?acc=B")["num_subscriptions"], count);
            let statz = http::json(server, "/accstatz");
            let accounts = statz["account_statz"].as_array().unwrap();
            let a = accounts.iter().find(|account| account["acc"] == "A").unwrap();
            assert_eq!((&a["conns"], &a["num_subscriptions"]), (&2.into(), &count.into()), "{a}");
        }
        assert_eq!(cluster.complaints(), Vec::<String>::new());
    }
}
