//! Promises of a cluster to its clients, for any mixture of servers.

use std::collections::BTreeSet;

use crate::support::{Client, Cluster, Flavor, Server, Which, http};

use Which::{Dialtone, Real};

/// Tests by name: the servers, in the order of their start, and their common settings.
macro_rules! clusters {
    ($($name:ident: $flavor:ident [$($which:ident),*];)*) => {$(
        test_of! { $name [$($which)*] { keeps_its_promises(&[$($which),*], Flavor::$flavor); } }
    )*};
}

clusters! {
    dialtone_default: Default [Dialtone, Dialtone, Dialtone];
    dialtone_single: Single [Dialtone, Dialtone];
    dialtone_compressed: Compressed [Dialtone, Dialtone];
    dialtone_authorized: Authorized [Dialtone, Dialtone];
    dialtone_encrypted: Encrypted [Dialtone, Dialtone, Dialtone];
    one_and_one_default: Default [Real, Dialtone];
    one_and_one_single: Single [Real, Dialtone];
    one_and_one_compressed: Compressed [Real, Dialtone];
    one_and_one_authorized: Authorized [Real, Dialtone];
    one_and_one_encrypted: Encrypted [Real, Dialtone];
    one_and_one_dialled_default: Default [Dialtone, Real];
    one_and_one_dialled_single: Single [Dialtone, Real];
    one_and_one_dialled_compressed: Compressed [Dialtone, Real];
    one_and_one_dialled_authorized: Authorized [Dialtone, Real];
    one_and_one_dialled_encrypted: Encrypted [Dialtone, Real];
    two_and_one_default: Default [Real, Dialtone, Dialtone];
    two_and_one_single: Single [Dialtone, Dialtone, Real];
    two_and_one_compressed: Compressed [Dialtone, Real, Dialtone];
    two_and_one_authorized: Authorized [Dialtone, Real, Dialtone];
    two_and_one_encrypted: Encrypted [Dialtone, Real, Dialtone];
    one_and_two_default: Default [Real, Dialtone, Real];
    one_and_two_single: Single [Real, Real, Dialtone];
    one_and_two_compressed: Compressed [Dialtone, Real, Real];
    one_and_two_authorized: Authorized [Real, Dialtone, Real];
    one_and_two_encrypted: Encrypted [Real, Dialtone, Real];
    three_and_three_default: Default [Real, Dialtone, Dialtone, Real, Real, Dialtone];
    three_and_three_single: Single [Dialtone, Real, Real, Dialtone, Real, Dialtone];
    three_and_three_compressed: Compressed [Real, Dialtone, Real, Dialtone, Real, Dialtone];
    three_and_three_authorized: Authorized [Dialtone, Real, Dialtone, Real, Dialtone, Real];
    three_and_three_encrypted: Encrypted [Dialtone, Real, Real, Dialtone, Real, Dialtone];
    real_default: Default [Real, Real];
    real_single: Single [Real, Real, Real];
    real_compressed: Compressed [Real, Real];
    real_authorized: Authorized [Real, Real, Real];
    real_encrypted: Encrypted [Real, Real, Real];
}

fn keeps_its_promises(kinds: &[Which], flavor: Flavor) {
    let mut cluster = Cluster::start(kinds, flavor);
    everybody_hears_everybody(&mut cluster);
    headers_cross(&mut cluster);
    a_group_spreads(&mut cluster);
    requests_are_answered(&mut cluster);
    nobody_there_is_told(&mut cluster);
    clients_learn_all_addresses(&cluster);
    servers_list_each_other(&cluster, flavor);
    assert_eq!(cluster.complaints(), Vec::<String>::new());
}

/// One plain subscriber per server gets every message once, its own server's too, in order.
pub(super) fn everybody_hears_everybody(cluster: &mut Cluster) {
    const COUNT: usize = 20;
    let mut clients = cluster.clients("");
    for client in &mut clients {
        client.send("SUB all.* 1\r\n");
        client.fence();
    }
    cluster.settle();
    for (at, client) in clients.iter_mut().enumerate() {
        for n in 0..COUNT {
            client.send(&format!("PUB all.{at} inbox.{n} 5\r\nm{n:04}\r\n"));
        }
    }
    let count = clients.len();
    for client in &mut clients {
        let mut next = vec![0; count];
        for _ in 0..count * COUNT {
            let frame = String::from_utf8(client.frame()).unwrap();
            let at: usize = frame["MSG all.".len()..].split(' ').next().unwrap().parse().unwrap();
            let n = next[at];
            assert_eq!(frame, format!("MSG all.{at} 1 inbox.{n} 5\r\nm{n:04}\r\n"));
            next[at] += 1;
        }
        client.fence();
    }
}

pub(super) fn headers_cross(cluster: &mut Cluster) {
    let mut clients = cluster.clients(r#""headers":true"#);
    for client in &mut clients {
        client.send("SUB head 1\r\n");
        client.fence();
    }
    // One more per server that takes no headers.
    let mut plain = cluster.clients("");
    for client in &mut plain {
        client.send("SUB head 2\r\n");
        client.fence();
    }
    cluster.settle();
    let block = "NATS/1.0\r\nA: b\r\n\r\n";
    for at in 0..clients.len() {
        clients[at].send(&format!("HPUB head back 18 20\r\n{block}hi\r\n"));
        for client in &mut clients {
            client.expect(&format!("HMSG head 1 back 18 20\r\n{block}hi\r\n"));
        }
        for client in &mut plain {
            client.expect("MSG head 2 back 2\r\nhi\r\n");
        }
    }
}

/// Of a group with one member per server each message reaches one, and each member gets its part.
fn a_group_spreads(cluster: &mut Cluster) {
    const COUNT: usize = 60;
    let mut members = cluster.clients("");
    for member in &mut members {
        member.send("SUB work workers 1\r\nSUB end 2\r\n");
        member.fence();
    }
    cluster.settle();
    let total = COUNT * members.len();
    let mut publishers = cluster.clients("");
    for (at, publisher) in publishers.iter_mut().enumerate() {
        for n in 0..COUNT {
            publisher.send(&format!("PUB work 8\r\n{:08}\r\n", at * COUNT + n));
        }
        // What one client publishes arrives in order, so this is the last of it.
        publisher.send("PUB end 0\r\n\r\n");
    }
    let mut seen = BTreeSet::new();
    let mut parts = vec![0; members.len()];
    for (at, member) in members.iter_mut().enumerate() {
        let mut ends = 0;
        while ends < publishers.len() {
            let frame = member.frame();
            if frame.starts_with(b"MSG end") {
                ends += 1;
                continue;
            }
            assert!(frame.starts_with(b"MSG work 1 8\r\n"), "{}", frame.escape_ascii());
            assert!(seen.insert(frame.clone()), "{} came twice", frame.escape_ascii());
            parts[at] += 1;
        }
    }
    assert_eq!(seen.len(), total, "{parts:?}");
    // Uniform over the members: a tenth of a fair share is many deviations away.
    assert!(parts.iter().all(|&part| part > COUNT / 10), "{parts:?}");
}

fn requests_are_answered(cluster: &mut Cluster) {
    let mut clients = cluster.clients("");
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(&format!("SUB ask.{at} q 1\r\n"));
        client.fence();
    }
    cluster.settle();
    for asking in 0..clients.len() {
        for answering in (0..clients.len()).filter(|&at| at != asking) {
            let inbox = format!("inbox.{asking}.{answering}");
            // The interest in the inbox and the request travel the same way.
            clients[asking]
                .send(&format!("SUB {inbox} 2\r\nPUB ask.{answering} {inbox} 1\r\n?\r\n"));
            clients[answering].expect(&format!("MSG ask.{answering} 1 {inbox} 1\r\n?\r\n"));
            clients[answering].send(&format!("PUB {inbox} 2\r\nok\r\n"));
            clients[asking].expect(&format!("MSG {inbox} 2 2\r\nok\r\n"));
            clients[asking].send("UNSUB 2\r\n");
        }
    }
}

/// A 503 comes from the own server, before anybody was there and after the last has left.
fn nobody_there_is_told(cluster: &mut Cluster) {
    let mut clients = cluster.clients(r#""headers":true,"no_responders":true"#);
    for client in &mut clients {
        client.send("SUB in 1\r\n");
        assert!(!client.is_reached("lost"));
    }
    let last = clients.len() - 1;
    clients[last].send("SUB lost 2\r\n");
    clients[last].fence();
    cluster.settle();
    for client in &mut clients[..last] {
        assert!(client.is_reached("lost"));
    }
    for _ in 0..last {
        clients[last].expect("MSG lost 2 in 0\r\n\r\n");
    }
    clients[last].send("UNSUB 2\r\n");
    clients[last].fence();
    cluster.settle();
    for client in &mut clients {
        assert!(!client.is_reached("lost"));
    }
}

/// INFO lists the addresses for clients of all servers of the cluster.
fn clients_learn_all_addresses(cluster: &Cluster) {
    let all: BTreeSet<String> =
        cluster.servers().iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    for server in cluster.servers() {
        assert_eq!(connect_urls(server), all);
    }
}

/// The addresses in the INFO to a new client of the cluster.
fn connect_urls(server: &Server) -> BTreeSet<String> {
    let info = Client::silent(server.port()).frame();
    let json: serde_json::Value = serde_json::from_slice(&info["INFO ".len()..]).unwrap();
    let urls = json["connect_urls"].as_array().cloned().unwrap_or_default();
    urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect()
}

/// `/routez` of each server lists all others with all their connections, once those have been let
/// go of that two servers made at the same time.
fn servers_list_each_other(cluster: &Cluster, flavor: Flavor) {
    let id = |server| http::json(server, "/varz")["server_id"].as_str().unwrap().to_owned();
    let ids: Vec<String> = cluster.servers().iter().map(id).collect();
    for (at, server) in cluster.servers().iter().enumerate() {
        http::json_until(server, "/routez", |page| {
            let routes = page["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
            ids.iter().enumerate().all(|(other, id)| {
                let its = routes.iter().filter(|route| route["remote_id"] == id.as_str());
                its.count() == if at == other { 0 } else { flavor.route_count() }
            })
        });
    }
}
