//! Mappings hold for the next message, whoever was there before them.

use super::user;
use crate::support::{Client, Server, Which};

/// Two accounts with these mappings, and a user of each; those of `$G` need no login.
fn conf(global: &str, account: &str) -> String {
    format!(
        "mappings {{ {global} }}
         authorization {{ users: [ {{ user: g, password: g }} ] }}, no_auth_user: g
         accounts {{ A {{
           mappings {{ {account} }}
           users: [
             {{ user: a, password: a }}
             {{ user: p, password: p, permissions: {{ publish: [new, \"f.>\"] }} }}
           ]
         }} }}"
    )
}

for_both! {
    fn of_those_who_are_there(which) {
        let server = Server::with().conf(conf("", "")).start(which);
        let members = ["".to_owned(), user("a"), user("p")];
        let mut clients = members.map(|members| Client::connect(&server, &members));
        for client in &mut clients {
            client.send("SUB > 1\r\n");
            client.fence();
        }
        let [global, account, bound] = &mut clients;
        let mut check = |conf: &str, expected: [&str; 2]| {
            server.reload(conf).unwrap();
            global.send("PUB f.1 1\r\nx\r\n");
            global.expect(&format!("MSG {} 1 1\r\nx\r\n", expected[0]));
            global.fence();
            let heard = format!("MSG {} 1 1\r\ny\r\n", expected[1]);
            for at in 0..2 {
                [&mut *account, &mut *bound][at].send("PUB f.1 1\r\ny\r\n");
                for client in [&mut *account, &mut *bound] {
                    client.expect(&heard);
                }
            }
        };
        check(&conf("\"f.1\": new", ""), ["new", "f.1"]);
        check(&conf("\"f.1\": \"f.2\"", "\"f.*\": new"), ["f.2", "new"]);
        check(&conf("", "\"f.*\": \"f.$1.x\""), ["f.1", "f.1.x"]);
        check(&conf("", ""), ["f.1", "f.1"]);
    }
}

/// nats-server starts with an empty destination, and does not survive the first message on it.
#[test]
fn impossible_ones_change_nothing() {
    let server = Server::with().conf(conf("\"f.1\": new", "")).start(Which::Dialtone);
    let mut client = Client::connect(&server, "");
    client.send("SUB new 1\r\n");
    for wrong in ["\"f.1\": \"\"", "\"f.*\": \"$0\"", "\"f.1\": { dest: x }"] {
        server.reload(&conf(wrong, "")).unwrap_err();
        client.send("PUB f.1 1\r\nx\r\n");
        client.expect("MSG new 1 1\r\nx\r\n");
    }
    client.fence();
}
