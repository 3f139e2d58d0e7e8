//! Many reloads under traffic: clients that are not concerned lose nothing, and nothing is left.

use std::fs;
use std::thread;

use super::user;
use crate::support::client::quiet_connect;
use crate::support::{Client, Server, Which, http};

const RELOADS: usize = 1000;

/// The n-th of some files that go round. Users `a` of `A` and `g` of `$G` are the same in all.
fn conf(n: usize) -> String {
    let password = format!("p{}", n % 3);
    let deny = ["x", "y", "x, y"][n % 3];
    let coming = if n.is_multiple_of(2) { "C { users: [{ user: c, password: c }] }" } else { "" };
    let limit = 10 + n % 4;
    format!(
        "max_payload: {}
        accounts {{
          A {{ users: [
            {{ user: a, password: a, permissions {{ subscribe {{ deny: none }} }} }}
            {{ user: b, password: {password}, permissions {{ subscribe {{ deny: [{deny}] }} }} }}
          ], limits {{ max_connections: {limit} }} }}
          {coming}
        }}
        authorization {{ users: [{{ user: g, password: g }}] }}
        ping_interval: \"{}s\", server_tags: [t{n}]\n",
        1000 + n,
        60 + n % 5
    )
}

#[test]
fn a_thousand_reloads_lose_no_message() {
    let server = Server::with().conf(conf(0)).monitored().start(Which::Dialtone);
    let receiver = |name: &str| {
        let mut client = Client::connect(&server, &user(name));
        client.send("SUB s.* 1\r\nSUB x 2\r\n");
        client.fence();
        client
    };
    let receivers = ["a", "g"].map(receiver);
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Arc::new(std::sync::Mutex::new(end));
    let publishers = ["a", "g"].map(|name| {
        let mut client = Client::connect(&server, &user(name));
        let end = std::sync::Arc::clone(&end);
        thread::spawn(move || {
            let mut sent = 0;
            loop {
                for _ in 0..50 {
                    client.send(&format!("PUB s.{} 8\r\n{sent:08}\r\n", sent % 7));
                    sent += 1;
                }
                client.fence();
                let ended = end.lock().unwrap().try_recv();
                if ended == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    return sent;
                }
            }
        })
    });
    let readers = receivers.map(|mut client| {
        thread::spawn(move || {
            let mut heard = 0;
            loop {
                let frame = client.frame();
                if frame.starts_with(b"MSG s.end ") {
                    return heard;
                }
                let wanted = format!("MSG s.{} 1 8\r\n{heard:08}\r\n", heard % 7);
                assert_eq!(String::from_utf8_lossy(&frame), wanted);
                heard += 1;
            }
        })
    });
    let memory = |n: usize| (n == RELOADS / 10 || n == RELOADS).then(|| server.memory());
    let mut memories = Vec::new();
    for n in 1..=RELOADS {
        // Clients that are concerned: they come, and go when their password changes.
        let mut passing = Client::open(&server);
        let connect = quiet_connect(&format!(r#""user":"b","pass":"p{}""#, (n - 1) % 3));
        passing.send_anyway(format!("{connect}SUB x 1\r\nSUB y 2\r\nSUB > q 3\r\n").as_bytes());
        passing.send_anyway(b"PING\r\n");
        while passing.frame() != b"PONG\r\n" {}
        server.reload(&conf(n)).unwrap();
        passing.read_to_end();
        memories.extend(memory(n));
    }
    drop(ended);
    let sent = publishers.map(|thread| thread.join().unwrap());
    for name in ["a", "g"] {
        let mut client = Client::connect(&server, &user(name));
        client.send("PUB s.end 0\r\n\r\n");
        client.fence();
    }
    let heard = readers.map(|thread| thread.join().unwrap());
    assert_eq!(sent, heard);
    assert!(memories[1] < memories[0] + 16 * 1024 * 1024, "{memories:?}");
    let varz = http::json_until(&server, "/varz", |varz| varz["connections"] == 0);
    assert_eq!(varz["slow_consumers"], 0);
    http::json_until(&server, "/connz?subs=1", |page| page["num_connections"] == 0);
}

/// Whenever it ends, the file is whole, and the next server starts with it.
#[test]
fn a_reload_may_be_cut_off() {
    for n in 0..20 {
        let mut server = Server::with().conf(conf(n)).start(Which::Dialtone);
        let mut client = Client::connect(&server, &user("a"));
        fs::write(server.dir().join("server.conf"), conf(n + 1)).unwrap();
        server.signal("HUP");
        if n % 2 == 0 {
            client.fence();
        }
        server.signal("KILL");
        server.wait_exit();
        let conf = fs::read_to_string(server.dir().join("server.conf")).unwrap();
        let next = Server::with().conf(conf).start(Which::Dialtone);
        Client::connect(&next, &user("a")).fence();
    }
}
