//! Delivery to other servers and from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::Link;
use crate::base::ids::Kind;
use crate::base::left::Left;
use crate::client::fuzz::Bench;
use crate::config::options::Options;
use crate::conn::Conn;
use crate::conn::frames::Frames;
use crate::conn::subscription::Subscription;
use crate::conn::taken::Taken;
use crate::parser::{Parser, RouteOp, RouteRules};
use crate::sublist::cursor::Cursor;

const QUIET: &[u8] = b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";

/// A route without a machine: its frames stay on its wire.
struct FakeRoute {
    conn: Arc<Conn>,
    wire: Arc<Taken>,
}

impl FakeRoute {
    fn new(bench: &Bench) -> FakeRoute {
        let wire = Arc::new(Taken::default());
        let now = bench.delivery.now;
        let conn = bench.registry.add(|cid, slot| wire.conn(cid, Kind::Route, slot, now));
        conn.set_headers(true);
        FakeRoute { conn, wire }
    }

    fn link(&self, bench: &Bench) -> Link {
        let link = Link { conn: Arc::clone(&self.conn), import: None, dedicated: false };
        bench.registry.global().link(link.clone());
        link
    }

    /// Adds interest of the other server.
    fn wants(&self, bench: &Bench, subject: &str, queue: Option<(&str, u32)>) -> Subscription {
        let name = queue.map(|(name, _)| name.as_bytes());
        let weight = queue.map_or(1, |(_, weight)| weight);
        let subscription =
            Subscription::remote(&self.conn, b"$G", subject.as_bytes(), name, weight, 0);
        assert!(bench.registry.global().insert(subscription.clone(), |_| {}));
        subscription
    }

    /// Its bytes since the last call, line ends shown as bars.
    fn text(&self) -> String {
        String::from_utf8(self.wire.take()).unwrap().replace("\r\n", "|")
    }
}

fn bench(clients: usize) -> Bench {
    let mut bench = Bench::new(Options::default(), clients);
    (0..clients).for_each(|at| send(&mut bench, at, std::str::from_utf8(QUIET).unwrap()));
    bench
}

fn send(bench: &mut Bench, at: usize, text: &str) {
    bench.send(at, text.as_bytes());
}

fn got(bench: &Bench, at: usize) -> String {
    String::from_utf8(bench.take(at)).unwrap().replace("\r\n", "|")
}

/// Delivers a message from another server.
fn routed(bench: &mut Bench, from: &FakeRoute, text: &str) {
    let rules = RouteRules {
        max_control_line: 65536,
        max_payload: 1 << 20,
        account_absent: false,
        connect_first: false,
    };
    let mut parser = Parser::new(rules);
    let (op, _) = parser.next(text.as_bytes()).unwrap();
    let Some(RouteOp::Msg(msg)) = op else { panic!("no message: {op:?}") };
    bench.delivery.deliver_routed(&bench.registry.global(), &msg, std::iter::empty(), &from.conn);
    bench.delivery.commit(&from.conn);
}

#[test]
fn a_server_gets_a_message_once_with_the_groups_chosen_for_it() {
    let mut bench = bench(1);
    let route = FakeRoute::new(&bench);
    for (subject, queue) in [
        ("a.*", None),
        ("a.b", None),
        (">", None),
        ("a.b", Some(("q", 2))),
        ("a.>", Some(("q", 1))),
        ("a.b", Some(("r", 1))),
        ("a.b", Some(("nobody", 0))),
    ] {
        route.wants(&bench, subject, queue);
    }
    send(&mut bench, 0, "PUB a.b 2\r\nhi\r\nPUB a.b re.ply 0\r\n\r\nPUB x 1\r\ny\r\n");
    let text = route.text();
    let swapped = text.replace("r q ", "q r ");
    assert_eq!(
        swapped, "RMSG $G a.b | q r 2|hi|RMSG $G a.b + re.ply q r 0||RMSG $G x 1|y|",
        "{text}"
    );
    send(&mut bench, 0, "HPUB x 12 13\r\nNATS/1.0\r\n\r\nz\r\n");
    assert_eq!(route.text(), "HMSG $G x 12 13|NATS/1.0||z|");
    route.conn.set_headers(false);
    send(&mut bench, 0, "HPUB a.b in.box 12 13\r\nNATS/1.0\r\n\r\nz\r\n");
    assert_eq!(route.text().replace("r q ", "q r "), "RMSG $G a.b + in.box q r 1|z|");
    assert_eq!(bench.registry.totals().out_msgs, 5);
}

#[test]
fn members_are_chosen_by_their_number_wherever_they_are() {
    let mut bench = bench(2);
    let (near, far) = (FakeRoute::new(&bench), FakeRoute::new(&bench));
    near.wants(&bench, "work", Some(("q", 1)));
    let three = far.wants(&bench, "work", Some(("q", 3)));
    send(&mut bench, 0, "SUB work q 1\r\nSUB work q 2\r\n");
    let count = |bench: &mut Bench| {
        for _ in 0..600 {
            send(bench, 1, "PUB work 0\r\n\r\n");
        }
        let text = [near.text(), far.text(), got(bench, 0)];
        text.map(|text| text.matches("MSG ").count())
    };
    let [one, more, local] = count(&mut bench);
    assert_eq!(one + more + local, 600);
    assert!((60..=140).contains(&one), "{one} instead of 100");
    assert!((250..=350).contains(&more), "{more} instead of 300");
    assert!((150..=250).contains(&local), "{local} instead of 200");
    three.set_weight(0);
    bench.registry.global().outdate(&three);
    assert_eq!(count(&mut bench)[1], 0);
    near.conn.close(crate::base::closed_reason::ClosedReason::ReadError, true);
    assert_eq!(count(&mut bench), [0, 0, 600]);
}

/// Members of a group stand beside plain subscriptions: in a row of messages they must not get each
/// message.
#[test]
fn a_row_reaches_one_member_each_of_a_group_that_is_partly_elsewhere() {
    const MEMBERS: usize = 20;
    let mut bench = bench(MEMBERS + 1);
    let route = FakeRoute::new(&bench);
    route.link(&bench);
    (0..MEMBERS).for_each(|at| send(&mut bench, at, &format!("SUB a q {}\r\n", 10 + at)));
    route.wants(&bench, "a", Some(("q", 1)));
    send(&mut bench, MEMBERS, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    let row = "PUB a 2\r\nhi\r\n".repeat(50);
    for _ in 0..3 {
        send(&mut bench, MEMBERS, &row);
        let here: usize = (0..MEMBERS).map(|at| got(&bench, at).matches("MSG").count()).sum();
        assert_eq!(here + route.text().matches("RMSG").count(), 50);
    }
}

#[test]
fn interest_elsewhere_is_a_responder() {
    let mut bench = bench(1);
    let route = FakeRoute::new(&bench);
    let interest = route.wants(&bench, "svc", None);
    send(&mut bench, 0, "SUB in.* 7\r\nPUB svc in.1 0\r\n\r\n");
    assert_eq!((route.text().as_str(), got(&bench, 0).as_str()), ("RMSG $G svc in.1 0||", ""));
    bench.registry.global().remove_all(&[interest], |_| {});
    send(&mut bench, 0, "PUB svc in.1 0\r\n\r\n");
    assert!(got(&bench, 0).starts_with("HMSG in.1 7 "));
}

#[test]
fn what_came_by_a_route_stays_here() {
    let mut bench = bench(1);
    let (from, other) = (FakeRoute::new(&bench), FakeRoute::new(&bench));
    for route in [&from, &other] {
        route.wants(&bench, "a", None);
        route.wants(&bench, "a", Some(("q", 5)));
    }
    send(&mut bench, 0, "SUB a 1\r\nSUB a q 2\r\nSUB a r 3\r\n");
    routed(&mut bench, &from, "RMSG $G a 1\r\nx\r\n");
    assert_eq!(got(&bench, 0), "MSG a 1 1|x|");
    routed(&mut bench, &from, "RMSG $G a | q q unknown 1\r\nx\r\n");
    assert_eq!(got(&bench, 0), "MSG a 1 1|x|MSG a 2 1|x|");
    routed(&mut bench, &from, "HMSG $G a + re r 12 13\r\nNATS/1.0\r\n\r\nx\r\n");
    assert_eq!(got(&bench, 0), "HMSG a 1 re 12 13|NATS/1.0||x|HMSG a 3 re 12 13|NATS/1.0||x|");
    assert_eq!((from.text(), other.text()), (String::new(), String::new()));
}

#[test]
fn a_group_without_members_here_is_served_by_another_server() {
    let mut bench = bench(1);
    let (from, other) = (FakeRoute::new(&bench), FakeRoute::new(&bench));
    from.wants(&bench, "a", Some(("q", 5)));
    other.wants(&bench, "a", Some(("q", 1)));
    other.wants(&bench, "a", None);
    routed(&mut bench, &from, "RMSG $G a + re q 1\r\nx\r\n");
    assert_eq!((from.text().as_str(), other.text().as_str()), ("", "RMSG $G a + re q 1|x|"));
}

/// The sending server may have chosen this one among its own members.
#[test]
fn a_group_that_nobody_else_has_goes_back_to_where_it_came_from() {
    let mut bench = bench(1);
    let from = FakeRoute::new(&bench);
    from.wants(&bench, "a", Some(("q", 1)));
    send(&mut bench, 0, "SUB a 1\r\n");
    routed(&mut bench, &from, "RMSG $G a | q 2\r\nhi\r\n");
    routed(&mut bench, &from, "HMSG $G a + re q 12 13\r\nNATS/1.0\r\n\r\nx\r\n");
    let text = "RMSG $G a | q 2|hi|HMSG $G a + re q 12 13|NATS/1.0||x|";
    assert_eq!(from.text(), text);
    assert_eq!(got(&bench, 0), "MSG a 1 2|hi|HMSG a 1 re 12 13|NATS/1.0||x|");
}

/// All members here refuse it: it is passed on once, and then no more.
#[test]
fn what_is_refused_everywhere_ends() {
    let mut bench = bench(1);
    let from = FakeRoute::new(&bench);
    from.wants(&bench, "a", Some(("q", 1)));
    send(&mut bench, 0, "SUB a q 1\r\n");
    bench.ends[0].conn.close(crate::base::closed_reason::ClosedReason::ReadError, true);
    for (came, goes_on) in [
        ("RMSG $G a | q 0\r\n\r\n", "RMSG $G a | q 00||"),
        ("RMSG $G a + re q 2\r\nhi\r\n", "RMSG $G a + re q 02|hi|"),
        ("RMSG $G a | q 02\r\nhi\r\n", ""),
        ("HMSG $G a | q 12 13\r\nNATS/1.0\r\n\r\nx\r\n", "HMSG $G a | q 12 013|NATS/1.0||x|"),
        ("HMSG $G a + re q 12 13\r\nNATS/1.0\r\n\r\nx\r\n", "HMSG $G a + re q 12 013|NATS/1.0||x|"),
        ("HMSG $G a + re q 12 013\r\nNATS/1.0\r\n\r\nx\r\n", ""),
    ] {
        routed(&mut bench, &from, came);
        assert_eq!(from.text(), goes_on, "{came}");
    }
}

#[test]
fn routes_are_told_of_transitions_in_their_order() {
    let mut bench = bench(2);
    send(&mut bench, 0, "SUB old 1\r\nSUB old 2\r\nSUB o.* q 3\r\n");
    let route = FakeRoute::new(&bench);
    let link = route.link(&bench);
    send(&mut bench, 0, "SUB a 4\r\nSUB a q 5\r\nUNSUB 4\r\nSUB a 4\r\n");
    assert_eq!(route.text(), "RS+ $G a|RS+ $G a q 1|RS- $G a|RS+ $G a|");
    send(&mut bench, 1, "SUB a 1\r\nSUB a q 2\r\nSUB a q 3\r\nUNSUB 2\r\n");
    assert_eq!(route.text(), "RS+ $G a q 2|RS+ $G a q 3|RS+ $G a q 2|");
    let mut cursor = Cursor::new();
    while bench.registry.global().announce(&mut cursor, &link, false) == Left::More {}
    route.conn.send(&Frames::NONE, &bench.delivery.settings.policy);
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for line in route.text().split('|') {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    let all = ["", "RS+ $G a", "RS+ $G a q 2", "RS+ $G o.* q 1", "RS+ $G old"];
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), all.map(|line| (line.to_owned(), 1)));
    bench.close(0, crate::base::closed_reason::ClosedReason::ClientClosed);
    let text = route.text();
    for line in ["RS- $G old|", "RS- $G o.* q|", "RS+ $G a q 1|"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("RS- $G a|"), "{text}");
    // A limit that is reached.
    send(&mut bench, 1, "SUB once 9\r\nUNSUB 9 1\r\nPUB once 0\r\n\r\n");
    assert_eq!(route.text(), "RS+ $G once|RS- $G once|");
    bench.registry.global().unlink(&route.conn);
    send(&mut bench, 1, "SUB later 10\r\n");
    assert_eq!(route.text(), "");
}
