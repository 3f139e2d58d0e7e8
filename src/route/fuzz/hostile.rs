//! Fuzz body of the route machine: any bytes from the other side give it no access without
//! permission, and leave nothing behind.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::base::closed_reason::ClosedReason;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::client::fuzz::Bench;
use crate::config::options::{Cluster, Listen, Login, Options, Port};
use crate::config::route_url::RouteUrl;
use crate::conn::subscription::Subscription;
use crate::conn::taken::Taken;
use crate::machine::Machine;
use crate::machine::session::{Session, Step};
use crate::route::mesh::Mesh;
use crate::route::other::ClientUrls;
use crate::route::{Role, Route};
use crate::sublist::{Entry, Interest};

/// One connection that sends `bytes`, cut at random. The first byte chooses the dialling side,
/// authorization or none, and a pool or none.
///
/// # Panics
/// If bytes without credentials take effect, or any state of the connection outlives it.
pub fn fuzz_route(bytes: &[u8]) {
    let Some((&flags, mut input)) = bytes.split_first() else { return };
    let (solicits, needs_login) = (flags & 1 != 0, flags & 2 != 0);
    let login = Login::Single { user: "u".to_owned(), password: "p".to_owned() };
    let cluster = Cluster {
        name: Some("c".to_owned()),
        listen: Some(Listen { host: "127.0.0.1".to_owned(), port: Port::Number(6222) }),
        routes: RouteUrl::parse("nats://u:p@127.0.0.2:6222").into_iter().collect(),
        login: if needs_login { login } else { Login::Open },
        pool_size: if flags & 4 != 0 { None } else { Some(3) },
        ..Cluster::default()
    };
    let mut bench = Bench::new(Options { cluster: Some(cluster), ..Options::default() }, 1);
    bench.send(0, b"CONNECT {\"verbose\":false}\r\nSUB > 1\r\nSUB a q 2\r\n");
    let mesh = Mesh::new(Arc::clone(&bench.registry), 1);
    mesh.listening(6222, ClientUrls::default());
    let role = match mesh.next_dial(Moment::START).filter(|_| solicits) {
        Some(dial) => Role::Solicited(dial),
        None => Role::Accepted,
    };
    let wire = Arc::new(Taken::default());
    let registry = Arc::clone(&bench.registry);
    let conn = registry.add(|cid, slot| wire.conn(cid, Kind::Route, slot, Moment::START));
    conn.set_owner(Waker::noop());
    let mut route = Route::new(registry, Arc::clone(&mesh), Arc::clone(&conn), role);
    route.start(&mut bench.delivery);
    let mut session = Session::new(route, &bench.delivery.settings);
    let seed = bytes.iter().fold(0_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(*byte));
    let mut random = fastrand::Rng::with_seed(seed);
    // A login has to contain the password, in one way of writing JSON or another.
    let names_password = |two: &[u8]| two.eq_ignore_ascii_case(b"pa") || two[0] == b'\\';
    let is_stranger = needs_login && !solicits && !input.windows(2).any(names_password);
    while !input.is_empty() && !conn.is_closed() {
        let (piece, after) = input.split_at(random.usize(1..=input.len().min(60)));
        input = after;
        bench.delivery.now = bench.delivery.now + Duration::from_millis(random.u64(..300));
        let mut rest = piece;
        let result = loop {
            match session.step(&mut rest, &mut bench.delivery) {
                Err(error) => break Err(error),
                Ok(Step::Missing) => break Ok(()),
                Ok(Step::Handled) => {}
                Ok(Step::Layer(_)) => session.machine.handle_layer(&mut bench.delivery),
                Ok(Step::Unanswered) => unreachable!("no password is a hash"),
            }
        };
        let result = result.and_then(|()| session.machine.handle_deadline(&mut bench.delivery));
        if let Err(error) = result {
            let reason = session.fail(&error, rest, &mut bench.delivery);
            conn.close(reason, false);
        }
        while session.machine.continue_work(&mut bench.delivery).expect("it waits for nothing")
            == Left::More
        {}
        bench.delivery.commit(&conn);
        if is_stranger {
            assert_eq!(bench.take(0), b"", "a message of a stranger");
            assert_eq!((mesh.routes().len(), remote_count(&bench)), (0, 0));
        }
    }
    conn.close(ClosedReason::ClientClosed, false);
    session.machine.close(ClosedReason::ClientClosed, &mut bench.delivery);
    bench.delivery.commit(&conn);
    while session.machine.forget(&mut bench.delivery) == Left::More {}
    conn.hang_up();
    assert_eq!((mesh.routes().len(), mesh.server_count(), remote_count(&bench)), (0, 0, 0));
    assert!(conn.subscriptions().is_empty());
    // No interest is announced to this end any more.
    bench.send(0, b"SUB b 3\r\nUNSUB 1\r\nPUB a 1\r\nx\r\n");
}

/// Interest of other servers.
fn remote_count(bench: &Bench) -> usize {
    let is_remote = |one: &&Subscription| one.interest() == Interest::Route;
    bench.registry.global().with_sublist(|list| list.iter().filter(is_remote).count())
}
