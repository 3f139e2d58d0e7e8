//! Queue groups with members at several servers that go, or may not have everything: each message
//! reaches one all the same.

use std::cell::Cell;
use std::ops::Range;
use std::time::Instant;

use serde_json::Value;

use super::handshake::alone;
use crate::support::{Client, Cluster, Flavor, PATIENCE, Remote, Server, Which, http};

use Which::{Dialtone, Real};

for_both! {
    /// The last member has gone while a message for it was on its way. It goes on to a server that
    /// has one, also to where it came from; plain subscriptions have had it.
    fn a_message_for_a_member_that_has_gone_is_passed_on(which) {
        let server = alone("pool_size: -1").start(which);
        let mut remote = Remote::join(&server, "r");
        let mut client = Client::connect(&server, "");
        client.send("SUB foo 1\r\n");
        remote.expect("RS+ $G foo\r\n");
        remote.send("RS+ $G foo g 1\r\n");
        remote.fence();
        let block = "NATS/1.0\r\n\r\n";
        for line in [
            "RMSG $G foo | g 2\r\nhi\r\n",
            "RMSG $G foo + back g 02\r\nhi\r\n",
            &format!("HMSG $G foo | g 12 14\r\n{block}hi\r\n"),
        ] {
            remote.send(line);
            remote.expect(line);
            client.frame();
        }
        // Two of which neither has a member, and a name that nobody knows.
        remote.send("RS+ $G foo h 1\r\n");
        remote.fence();
        remote.send("RMSG $G foo | g x h 2\r\nhi\r\n");
        let came = String::from_utf8(remote.line.frame()).unwrap().replace("h g", "g h");
        assert_eq!(came, "RMSG $G foo | g h 2\r\nhi\r\n");
        client.frame();
        // Who is gone there too gets nothing back.
        remote.send("RS- $G foo g\r\nRS- $G foo h\r\nRMSG $G foo | g h 2\r\nhi\r\n");
        client.frame();
        assert!(remote.fence().is_empty());
    }
}

/// Makes tests of each function, with each pair of servers.
macro_rules! for_pairs {
    ($($(#[doc = $doc:literal])* fn $name:ident($pair:ident) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            use super::*;

            fn with($pair: [Which; 2]) $body

            test_of! { dialtone [Dialtone Dialtone] { with([Dialtone, Dialtone]); } }
            test_of! { dialtone_and_real [Dialtone Real] { with([Dialtone, Real]); } }
            test_of! { real_and_dialtone [Real Dialtone] { with([Real, Dialtone]); } }
        }
    )*};
}

/// Members of one group, and the numbers of the messages that they have got.
struct Members {
    clients: Vec<Client>,
    got: Vec<usize>,
}

impl Members {
    /// One at each of these servers.
    fn join(servers: &[Server], login: &str, subject: &str) -> Members {
        let join = |server| {
            let mut client = Client::connect(server, login);
            client.send(&format!("SUB {subject} g 1\r\n"));
            client.fence();
            client
        };
        Members { clients: servers.iter().map(join).collect(), got: Vec::new() }
    }

    /// Reads what one of them gets before the next PONG.
    #[track_caller]
    fn read_to_pong(&mut self, at: usize) {
        loop {
            let frame = String::from_utf8(self.clients[at].frame()).unwrap();
            if frame == "PONG\r\n" {
                break;
            }
            self.got.push(frame.split("\r\n").nth(1).unwrap().parse().unwrap());
        }
    }

    /// Each of `count` messages comes once.
    #[track_caller]
    fn expect_each_once(&mut self, count: usize, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.got.len() < count && Instant::now() < deadline {
            for at in 0..self.clients.len() {
                self.clients[at].send("PING\r\n");
                self.read_to_pong(at);
            }
        }
        self.got.sort_unstable();
        let lost = (0..count).filter(|number| self.got.binary_search(number).is_err()).count();
        assert_eq!((lost, self.got.len()), (0, count), "{what}: lost and got");
        self.got.clear();
    }
}

fn publish(client: &mut Client, subject: &str, numbers: Range<usize>) {
    for number in numbers {
        client.send(&format!("PUB {subject} 5\r\n{number:05}\r\n"));
    }
    client.fence();
}

for_pairs! {
    /// One member stays where the messages are published, one comes and goes elsewhere.
    fn nothing_is_lost_while_a_member_comes_and_goes(pair) {
        const ROUNDS: usize = 200;
        const MESSAGES: usize = 20;
        let mut cluster = Cluster::start(&pair, Flavor::Single);
        let mut members = Members::join(cluster.servers(), "", "work");
        cluster.settle();
        let mut publisher = Client::connect(&cluster.servers()[0], "");
        for round in 0..ROUNDS {
            members.clients[1].send(&"UNSUB 1\r\nPING\r\nSUB work g 1\r\n".repeat(5));
            publish(&mut publisher, "work", round * MESSAGES..(round + 1) * MESSAGES);
            (0..5).for_each(|_| members.read_to_pong(1));
        }
        members.expect_each_once(ROUNDS * MESSAGES, &format!("{pair:?}"));
    }

    /// At each server a member that may not have the subject, and at one of them a member that may.
    /// Where none may, the servers do not hand it to each other for ever.
    fn nothing_is_lost_to_members_that_may_not_have_it(pair) {
        const COUNT: usize = 200;
        const USERS: &str = "no_auth_user: free\nauthorization { users: [
            { user: free, password: x }
            { user: bound, password: x, permissions { subscribe { deny: work.secret } } }
        ] }\n";
        let mut cluster = Cluster::start(&[], Flavor::Single);
        for which in pair {
            cluster.add(which, |setup| setup.more_conf(USERS));
        }
        let _bound = Members::join(cluster.servers(), r#""user":"bound","pass":"x""#, "work.>");
        for (publishing, staying) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            cluster.settle();
            let mut publisher = Client::connect(&cluster.servers()[publishing], "");
            let mut free = Members::join(&cluster.servers()[staying..=staying], "", "work.>");
            cluster.settle();
            publish(&mut publisher, "work.secret", 0..COUNT);
            free.expect_each_once(COUNT, &format!("{pair:?}, {publishing} to {staying}"));
        }
        cluster.settle();
        let server = &cluster.servers()[0];
        publish(&mut Client::connect(server, ""), "work.secret", 0..COUNT);
        let count = |page: &Value| page["routes"][0]["in_msgs"].as_u64();
        let before = Cell::new(None);
        http::json_until(server, "/routez", |page| before.replace(count(page)) == count(page));
    }
}
