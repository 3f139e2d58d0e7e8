//! The receivers of publications, and the bytes of their frames.

use std::collections::BTreeMap;

use super::*;
use crate::auth::permissions::CompiledPermissions;
use crate::base::ids::{Kind, ServerId};
use crate::base::subject;
use crate::config::check::Checked;
use crate::config::imports::Imports;
use crate::config::options::{self, Options, SubjectPermission};
use crate::conn::frames::Frames;
use crate::conn::taken::Taken;
use crate::deliver::finder::BRANCH_NS;
use crate::deliver::matched::{GROUP_NS, OFFER_NS};
use crate::parser::{ClientRules, Followers, Op, Parser};
use crate::registry::Registry;
use crate::registry::events::Event;

const RULES: ClientRules = ClientRules {
    max_control_line: 1 << 12,
    max_payload: 1 << 20,
    headers: true,
    connect_first: false,
};

/// A server without clients' machines: connections, subscriptions, one delivery.
struct Bench {
    registry: Arc<Registry>,
    delivery: Delivery,
    wires: BTreeMap<u64, Arc<Taken>>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Options::default())
    }

    fn with(mut options: Options) -> Bench {
        let server_id = ServerId::new(&format!("N{}", "A".repeat(55))).unwrap();
        // A queue may be shorter than a message here.
        let (imports, _) = Imports::new(&options, None);
        let checked = Checked { options: &mut options, imports };
        let registry = Arc::new(Registry::new(server_id, checked));
        let delivery = Delivery::new(&registry);
        Bench { registry, delivery, wires: BTreeMap::new() }
    }

    fn connect(&mut self) -> Arc<Conn> {
        let wire = Arc::new(Taken::default());
        let start = Moment::START;
        let conn = self.registry.add(|cid, slot| wire.conn(cid, Kind::Client, slot, start));
        self.wires.insert(conn.cid.0, wire);
        conn
    }

    /// `SUB` with these arguments, as `a q 1` or `a 1`.
    fn subscribe(&self, conn: &Arc<Conn>, args: &str) -> Subscription {
        let words: Vec<&[u8]> = args.split(' ').map(str::as_bytes).collect();
        let (queue, sid) = match words[1..] {
            [sid] => (None, sid),
            [queue, sid] => (Some(queue), sid),
            _ => panic!("{args}"),
        };
        let rules = u16::from(!conn.can_deliver(b"denied", None));
        let one = Subscription::new(conn, words[0], queue, sid, rules);
        assert!(self.registry.global().insert(one.clone(), |_| {}));
        conn.subscriptions().insert(one.clone());
        one
    }

    /// Delivers this PUB or HPUB; true if it reached a receiver.
    fn publish(&mut self, conn: &Arc<Conn>, echo: bool, line: &str) -> bool {
        let reached = parsed(line, |publish| {
            let account = self.registry.global();
            let publisher = Publisher { conn, echo };
            let reached = self
                .delivery
                .deliver(&account, publish, None, std::iter::empty(), publisher)
                .reached;
            if !reached {
                self.delivery.no_responders(&account, publish, conn);
            }
            reached
        });
        self.delivery.commit(conn);
        reached
    }

    /// Stages these PUBs and HPUBs, those in a row together.
    fn stage(&mut self, conn: &Arc<Conn>, echo: bool, text: &str) {
        let account = self.registry.global();
        let parser = Parser::new(RULES);
        let mut input = text.as_bytes();
        while let Some((publish, len)) = parser.next_plain(input) {
            let followers = Followers::new(Some(parser.take_plain(&mut input, len)), &publish);
            self.delivery.deliver(&account, &publish, None, followers, Publisher { conn, echo });
        }
        assert!(input.is_empty(), "{text} is no publication");
    }

    /// The bytes of a connection since the last call.
    fn take(&self, conn: &Conn) -> String {
        String::from_utf8(self.wires[&conn.cid.0].take()).unwrap()
    }
}

/// Regression: an answer staged beside messages was dropped with them.
#[test]
fn what_is_told_goes_out_although_the_messages_beside_it_are_dropped() {
    let options = Options { max_pending: 1000, no_fast_producer_stall: true, ..Options::default() };
    let mut bench = Bench::with(options);
    let conn = bench.connect();
    bench.subscribe(&conn, "a 1");
    conn.append(&[b'x'; 800]);
    for _ in 0..2 {
        bench.stage(&conn, true, "PUB a 2\r\nhi\r\n");
        bench.delivery.staging.add_proto(&conn, b"+OK\r\n");
    }
    bench.delivery.staging.add_proto(&conn, b"PONG\r\n");
    bench.delivery.commit(&conn);
    assert_eq!(&bench.take(&conn)[800..], "+OK\r\n+OK\r\nPONG\r\n");
    assert_eq!((conn.received().out_msgs, bench.delivery.counters.out_msgs.load()), (0, 0));
}

/// Parses this PUB or HPUB.
fn parsed<T>(line: &str, then: impl FnOnce(&Publish<'_>) -> T) -> T {
    let mut parser = Parser::new(RULES);
    match parser.next(line.as_bytes()).unwrap() {
        (Some(Op::Publish(publish)), _) => then(&publish),
        _ => panic!("{line} is no publication"),
    }
}

#[test]
fn each_subscription_gets_it_under_its_own_sid() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    for args in ["a.b 1", "a.* 22", "> three", "b 4"] {
        bench.subscribe(&reader, args);
    }
    assert!(bench.publish(&publisher, true, "PUB a.b r.x 2\r\nhi\r\n"));
    let text = bench.take(&reader);
    for head in ["MSG a.b 1 ", "MSG a.b 22 ", "MSG a.b three "] {
        assert!(text.contains(&format!("{head}r.x 2\r\nhi\r\n")), "{head} in {text}");
    }
    assert_eq!(text.matches("MSG").count(), 3);
    assert_eq!(bench.take(&publisher), "");
}

/// Small frames with holes take a third more than their bytes.
#[test]
fn holes_count_as_staged() {
    // A quarter of it may be staged.
    let mut bench = Bench::with(Options { max_pending: 4000, ..Options::default() });
    let publisher = bench.connect();
    let receivers: Vec<_> = (0..8).map(|_| bench.connect()).collect();
    for (sid, receiver) in receivers.iter().enumerate() {
        bench.subscribe(receiver, &format!("a {sid}"));
    }
    let row = |count| "PUB a 2\r\nhi\r\n".repeat(count);
    // The first row shows that bundles are worth it.
    bench.stage(&publisher, true, &row(8));
    bench.delivery.commit(&publisher);
    receivers.iter().for_each(|receiver| drop(bench.take(receiver)));
    let (frame_len, hole_len) = ("MSG a  2\r\nhi\r\n".len(), size_of::<u32>());
    let count = 1000 / (frame_len + hole_len) + 1;
    bench.stage(&publisher, true, &row(count));
    assert!(bench.delivery.staging.is_full(), "{count} frames of {frame_len} bytes");
    bench.delivery.commit(&publisher);
    assert_eq!(bench.take(&receivers[5]), "MSG a 5 2\r\nhi\r\n".repeat(count));
}

#[test]
fn the_size_goes_on_as_it_was_written() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    bench.subscribe(&reader, "a 1");
    bench.publish(&publisher, true, "PUB a 0002\r\nhi\r\n");
    assert_eq!(bench.take(&reader), "MSG a 1 0002\r\nhi\r\n");
    // Odd blanks are made single.
    bench.publish(&publisher, true, "PUB  a\tr   02 \r\nhi\r\n");
    assert_eq!(bench.take(&reader), "MSG a 1 r 02\r\nhi\r\n");
}

#[test]
fn headers_go_only_to_who_takes_them() {
    let mut bench = Bench::new();
    let (publisher, plain, headed) = (bench.connect(), bench.connect(), bench.connect());
    headed.set_headers(true);
    bench.subscribe(&plain, "a 1");
    bench.subscribe(&headed, "a 2");
    bench.publish(&publisher, true, "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    assert_eq!(bench.take(&plain), "MSG a 1 r 2\r\nhi\r\n");
    assert_eq!(bench.take(&headed), "HMSG a 2 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    // The same with a tail that has to be made.
    bench.publish(&publisher, true, "HPUB a  12 012\r\nNATS/1.0\r\n\r\n\r\n");
    assert_eq!(bench.take(&plain), "MSG a 1 0\r\n\r\n");
    assert_eq!(bench.take(&headed), "HMSG a 2 12 012\r\nNATS/1.0\r\n\r\n\r\n");
    // The bytes that arrive count: headers only for clients that get them.
    assert_eq!((plain.received().out_bytes, headed.received().out_bytes), (2, 14 + 12));
}

#[test]
fn a_group_gets_it_once_and_in_turn() {
    let mut bench = Bench::new();
    let publisher = bench.connect();
    let members: Vec<_> = (0..4).map(|_| bench.connect()).collect();
    for (conn, args) in members.iter().zip(["a q 1", "a.* q 1", "a q 1", "a other 1"]) {
        bench.subscribe(conn, args);
    }
    for _ in 0..300 {
        assert!(bench.publish(&publisher, true, "PUB a 0\r\n\r\n"));
    }
    let counts: Vec<u64> = members.iter().map(|conn| conn.received().out_msgs).collect();
    assert_eq!((counts[0] + counts[2], counts[1], counts[3]), (300, 0, 300), "{counts:?}");
    assert!(counts[0] > 90 && counts[2] > 90, "{counts:?}");
}

#[test]
fn a_group_falls_back_on_who_can_take_it() {
    let mut bench = Bench::new();
    let (publisher, gone, there) = (bench.connect(), bench.connect(), bench.connect());
    for conn in [&publisher, &gone, &there] {
        bench.subscribe(conn, "a q 1");
    }
    gone.close(crate::base::closed_reason::ClosedReason::ClientClosed, false);
    for _ in 0..50 {
        assert!(bench.publish(&publisher, false, "PUB a 0\r\n\r\n"));
    }
    assert_eq!(there.received().out_msgs, 50);
}

#[test]
fn without_echo_one_s_own_messages_reach_nobody() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    bench.subscribe(&publisher, "a 1");
    bench.subscribe(&publisher, "a q 2");
    assert!(!bench.publish(&publisher, false, "PUB a 0\r\n\r\n"));
    assert!(bench.publish(&publisher, true, "PUB a 0\r\n\r\n"));
    assert_eq!(bench.take(&publisher), "MSG a 1 0\r\n\r\nMSG a 2 0\r\n\r\n");
    bench.subscribe(&reader, "a 3");
    assert!(bench.publish(&publisher, false, "PUB a 0\r\n\r\n"));
    assert_eq!(
        (bench.take(&publisher), bench.take(&reader)),
        (String::new(), "MSG a 3 0\r\n\r\n".into())
    );
}

#[test]
fn a_limit_ends_the_subscription_everywhere() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    let limited = bench.subscribe(&reader, "a 1");
    limited.set_max(2);
    bench.registry.global().outdate(&limited);
    for reached in [true, true, false, false] {
        assert_eq!(bench.publish(&publisher, true, "PUB a 0\r\n\r\n"), reached);
    }
    assert_eq!(bench.take(&reader), "MSG a 1 0\r\n\r\n".repeat(2));
    assert_eq!((limited.delivered(), reader.subscriptions().len()), (2, 0));
    assert_eq!(bench.registry.global().with_sublist(|sublist| sublist.count()), 0);
}

#[test]
fn a_member_that_reached_its_limit_leaves_the_group_to_the_others() {
    let mut bench = Bench::new();
    let (publisher, short, long) = (bench.connect(), bench.connect(), bench.connect());
    let limited = bench.subscribe(&short, "a q 1");
    bench.subscribe(&long, "a q 1");
    limited.set_max(3);
    bench.registry.global().outdate(&limited);
    for _ in 0..100 {
        assert!(bench.publish(&publisher, true, "PUB a 0\r\n\r\n"));
    }
    assert_eq!((short.received().out_msgs, long.received().out_msgs), (3, 97));
}

#[test]
fn a_deny_list_filters_what_a_wildcard_would_get() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    let subscribe = SubjectPermission { allow: None, deny: vec!["denied".into()] };
    let permissions = options::Permissions { subscribe, ..Default::default() };
    reader.set_access(Some(Arc::new(CompiledPermissions::new(&permissions))));
    bench.subscribe(&reader, "* 1");
    assert!(!bench.publish(&publisher, true, "PUB denied 0\r\n\r\n"));
    assert!(bench.publish(&publisher, true, "PUB allowed 0\r\n\r\n"));
    assert_eq!(bench.take(&reader), "MSG allowed 1 0\r\n\r\n");
}

#[test]
fn nobody_there_is_told_on_one_s_own_plain_subscription() {
    let mut bench = Bench::new();
    let (publisher, other) = (bench.connect(), bench.connect());
    bench.subscribe(&other, "in.* 7");
    bench.subscribe(&publisher, "in.* q 8");
    assert!(!bench.publish(&publisher, true, "PUB none in.1 2\r\nhi\r\n"));
    assert_eq!((bench.take(&publisher), bench.take(&other)), (String::new(), String::new()));
    bench.subscribe(&publisher, "in.* 9");
    assert!(!bench.publish(&publisher, true, "PUB none in.1 2\r\nhi\r\n"));
    assert_eq!(
        bench.take(&publisher),
        "HMSG in.1 9 36 36\r\nNATS/1.0 503\r\nNats-Subject: none\r\n\r\n\r\n"
    );
    assert_eq!((bench.take(&other), publisher.received().out_msgs), (String::new(), 0));
}

#[test]
fn what_was_matched_before_a_change_is_not_used_after_it() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    assert!(!bench.publish(&publisher, true, "PUB a.b 0\r\n\r\n"));
    let one = bench.subscribe(&reader, "*.b 1");
    assert!(bench.publish(&publisher, true, "PUB a.b 0\r\n\r\n"));
    bench.registry.global().remove_all(&[one], |_| {});
    assert!(!bench.publish(&publisher, true, "PUB a.b 0\r\n\r\n"));
    assert_eq!(bench.take(&reader), "MSG a.b 1 0\r\n\r\n");
    let cache = bench.registry.totals().cache;
    assert_eq!((cache.num_matches, cache.num_hits, cache.num_cache), (3, 0, 1));
}

#[test]
fn what_is_staged_is_bounded_by_what_may_wait() {
    let mut bench = Bench::with(Options { max_pending: 4000, ..Options::default() });
    let (publisher, reader) = (bench.connect(), bench.connect());
    bench.subscribe(&reader, "a 1");
    let frame = "MSG a 1 50\r\n".len() + 50 + 2;
    let line = format!("PUB a 50\r\n{}\r\n", "x".repeat(50));
    for _ in 0..=1000 / frame {
        assert!(!bench.delivery.staging.is_full());
        bench.stage(&publisher, true, &line);
    }
    assert!(bench.delivery.staging.is_full());
    bench.delivery.commit(&publisher);
    assert!(!bench.delivery.staging.is_full());
}

/// The sorted lines of frames, because two subscriptions of one connection get a message in either
/// order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.split_inclusive("\r\n").collect();
    lines.sort_unstable();
    lines
}

/// Each receiver gets the same bytes in the same order, alone or with a shared stage.
#[test]
fn what_is_staged_for_many_at_once_is_what_each_of_them_gets() {
    const PATTERNS: [&str; 7] = ["a.x", "a.*", "*.x", ">", "a.y", "b.*", "*.y"];
    const SUBJECTS: [&str; 4] = ["a.x", "a.y", "b.x", "b.y"];
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new();
        let conns: Vec<_> = (0..random.usize(9..40)).map(|_| bench.connect()).collect();
        let mut subscriptions = Vec::new();
        let own_sids_percent = [0, 60, 100][random.usize(..3)];
        for (at, conn) in conns.iter().enumerate() {
            conn.set_headers(random.u8(..8) > 0);
            let first = if random.u8(..100) < own_sids_percent { at * 7 } else { 1 };
            for sid in first..first + random.usize(1..3) {
                let pattern = PATTERNS[random.usize(..PATTERNS.len())];
                let one = bench.subscribe(conn, &format!("{pattern} {sid}"));
                subscriptions.push((conn, pattern, sid, one));
            }
        }
        let mut wanted = vec![String::new(); conns.len()];
        let mut delivered = vec![0; subscriptions.len()];
        for number in 0..random.usize(1..150) {
            let (subject, echo) = (SUBJECTS[random.usize(..SUBJECTS.len())], random.bool());
            let publisher = &conns[random.usize(..conns.len())];
            let headed = random.u8(..4) == 0;
            let size = 12 + number.to_string().len();
            let line = match headed {
                true => format!("HPUB {subject} 12 {size}\r\nNATS/1.0\r\n\r\n{number}\r\n"),
                false if random.bool() => format!("PUB {subject} {}\r\n{number}\r\n", size - 12),
                false => format!("PUB {subject} r {}\r\n{number}\r\n", size - 12),
            };
            let times = if random.bool() { 1 } else { random.usize(2..9) };
            bench.stage(publisher, echo, &line.repeat(times));
            for (at, (conn, pattern, sid, _)) in subscriptions.iter().enumerate() {
                let own = Arc::ptr_eq(conn, publisher);
                if own && !echo || !subject::matches(pattern.as_bytes(), subject.as_bytes()) {
                    continue;
                }
                delivered[at] += times as u64;
                let rest = line.split_once(' ').and_then(|(_, rest)| rest.split_once(' '));
                let frame = match headed {
                    true if conn.headers() => format!("HMSG {subject} {sid} {}", rest.unwrap().1),
                    true => format!("MSG {subject} {sid} {}\r\n{number}\r\n", size - 12),
                    false => format!("MSG {subject} {sid} {}", rest.unwrap().1),
                };
                wanted[conns.iter().position(|one| Arc::ptr_eq(one, conn)).unwrap()] +=
                    &frame.repeat(times);
            }
            if random.u8(..5) == 0 {
                let at = random.usize(..conns.len());
                bench.delivery.staging.add_proto(&conns[at], b"PONG\r\n");
                wanted[at] += "PONG\r\n";
            }
            if random.u8(..20) == 0 {
                bench.delivery.commit(publisher);
            }
        }
        bench.delivery.commit(&conns[0]);
        for (conn, wanted) in conns.iter().zip(&wanted) {
            let taken = bench.take(conn);
            assert_eq!(taken.len(), wanted.len(), "seed {seed}");
            assert_eq!(sorted(&taken), sorted(wanted), "seed {seed}");
            let only = subscriptions.iter().filter(|(owner, ..)| Arc::ptr_eq(owner, conn)).count();
            assert!(only > 1 || taken == *wanted, "seed {seed}: order");
            assert_eq!(conn.received().out_msgs, taken.matches("MSG ").count() as u64);
        }
        for ((.., one), delivered) in subscriptions.iter().zip(delivered) {
            assert_eq!(one.delivered(), delivered, "seed {seed}");
        }
    }
}

/// A turn that may end in the middle of a message.
fn short(work_ns_max: usize) -> Budget {
    Budget { work_ns_max, splits: true }
}

/// Regression: a subject that led through 32,768 branches and to no receiver staged nothing, so a
/// read with 2,000 of them was one turn of two seconds.
#[test]
fn what_takes_long_ends_a_turn_although_nothing_is_staged() {
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    for bits in 0..1 << 10 {
        let tokens: Vec<_> =
            (0..10).map(|bit| if bits >> bit & 1 == 0 { "a" } else { "*" }).collect();
        bench.subscribe(&reader, &format!("{}.b {bits}", tokens.join(".")));
    }
    let budget = Budget { work_ns_max: 100 * BRANCH_NS, splits: false };
    let over = |bench: &mut Bench, line: &str| {
        bench.delivery.staging.start_turn(budget);
        bench.stage(&publisher, true, line);
        bench.delivery.staging.is_full() && bench.delivery.staging.is_turn_over()
    };
    let subject = ["a"; 10].join(".");
    assert!(over(&mut bench, &format!("PUB {subject}.c 2\r\nhi\r\n")));
    assert!(!over(&mut bench, "PUB b 2\r\nhi\r\n"));
    assert!(!over(&mut bench, &format!("PUB {subject}.c 2\r\nhi\r\n")), "it is in the cache now");
}

/// Regression: a message for one member of each of thousands of groups counted as no work.
#[test]
fn groups_count_as_work() {
    const COUNT: usize = 1_000;
    let mut bench = Bench::new();
    let (publisher, reader) = (bench.connect(), bench.connect());
    for number in 0..COUNT {
        bench.subscribe(&reader, &format!("a group{number} {number}"));
    }
    for _ in 0..2 {
        bench.delivery.staging.start_turn(short(COUNT * GROUP_NS));
        bench.stage(&publisher, true, "PUB a 2\r\nhi\r\n");
        assert!(bench.delivery.staging.is_turn_over());
    }
}

/// A message may have any number of subscriptions of one client: no turn handles all of them, they
/// are never all in memory, each gets the message once, and those removed meanwhile get none.
#[test]
fn a_message_to_many_is_delivered_in_several_turns() {
    const COUNT: usize = 200;
    let mut bench = Bench::with(Options { max_pending: 40_000, ..Options::default() });
    let (publisher, reader) = (bench.connect(), bench.connect());
    let subscriptions: Vec<_> =
        (0..COUNT).map(|sid| bench.subscribe(&reader, &format!("a {sid}"))).collect();
    bench.subscribe(&reader, "a q q1");
    let line = format!("PUB a r 100\r\n{}\r\n", "x".repeat(100));
    let first = Budget { work_ns_max: 10 * OFFER_NS, splits: false };
    bench.delivery.staging.start_turn(first);
    bench.stage(&publisher, true, &line);
    bench.delivery.commit(&publisher);
    assert_eq!(bench.take(&reader), "", "it waits for a turn that may end in its middle");
    assert!(bench.delivery.staging.is_turn_over());

    let mut ongoing = bench.delivery.take_ongoing();
    let (mut got, mut turns, mut gone) = (Vec::new(), 0, None);
    while let Some(left) = ongoing {
        bench.delivery.staging.start_turn(short(40 * OFFER_NS));
        ongoing = match bench.delivery.resume(left) {
            Resumed::Part(left) => Some(left),
            Resumed::All(done) => {
                assert!(done.reached());
                assert_eq!(done.publish().reply, b"r");
                None
            }
        };
        assert!(bench.delivery.staging.held_bytes() <= 10_000 + 16 * 130);
        bench.delivery.commit(&publisher);
        let text = bench.take(&reader);
        let frames = text.split("MSG a ").skip(1);
        let sids = frames.map(|frame| frame.split(' ').next().unwrap().to_owned());
        let sids: Vec<_> = sids.collect();
        assert!(sids.len() <= 80, "{} in one turn", sids.len());
        got.extend(sids);
        turns += 1;
        if gone.is_none() && ongoing.is_some() {
            let mut others = subscriptions
                .iter()
                .filter(|one| !got.iter().any(|sid| sid.as_bytes() == one.sid()));
            let one = others.next_back().unwrap();
            bench.registry.global().remove_all(std::slice::from_ref(one), |_| {});
            gone = Some(String::from_utf8(one.sid().to_vec()).unwrap());
        }
    }
    assert!(turns > 3, "{turns}");
    assert!(!got.contains(&gone.unwrap()), "it unsubscribed before its turn");
    assert_eq!(got.last().map(String::as_str), Some("q1"), "the groups come last");
    got.sort();
    got.dedup();
    assert_eq!(got.len(), COUNT, "all but one, and one of the group");
}

/// A trace ends with its message: it has the receivers of all turns.
#[test]
fn a_trace_goes_on_with_its_message_in_further_turns() {
    const COUNT: usize = 100;
    let mut bench = Bench::new();
    bench
        .registry
        .add(|cid, slot| Arc::new(Taken::default()).conn(cid, Kind::System, slot, Moment::START));
    let (publisher, reader) = (bench.connect(), bench.connect());
    reader.set_headers(true);
    for sid in 0..COUNT {
        bench.subscribe(&reader, &format!("a {sid}"));
    }
    bench.subscribe(&reader, "a q q1");
    for only in ["0", "1"] {
        let block = format!("NATS/1.0\r\nNats-Trace-Dest: d\r\nNats-Trace-Only: {only}\r\n\r\n");
        let line = format!("HPUB a {len} {len}\r\n{block}\r\n", len = block.len());
        bench.delivery.staging.start_turn(Budget { work_ns_max: 10 * OFFER_NS, splits: false });
        parsed(&line, |publish| {
            let account = bench.registry.global();
            bench.delivery.begin_trace(&account, (publish, block.len()), &publisher, |_| true);
        });
        bench.stage(&publisher, true, &line);
        bench.delivery.end_trace();
        bench.delivery.commit(&publisher);
        let mut ongoing = bench.delivery.take_ongoing();
        let mut turns = 0;
        while let Some(left) = ongoing {
            assert!(bench.registry.events.pop().is_none(), "it is not at its end");
            bench.delivery.staging.start_turn(short(20_000));
            ongoing = match bench.delivery.resume(left) {
                Resumed::Part(left) => Some(left),
                Resumed::All(_) => None,
            };
            bench.delivery.commit(&publisher);
            turns += 1;
        }
        assert!(turns > 1, "{turns}");
        let Some(Event::MsgTrace(trace)) = bench.registry.events.pop() else { panic!("no trace") };
        let told = serde_json::to_string(&trace.story).unwrap();
        let left_out = told.split(" more clients").next().unwrap().rsplit('"').next().unwrap();
        let shown = told.matches(r#""sub":"a""#).count();
        assert_eq!(shown + left_out.parse::<usize>().unwrap(), COUNT + 1);
        let got = bench.take(&reader).matches("HMSG a ").count();
        assert_eq!(got, if only == "1" { 0 } else { COUNT + 1 });
    }
}

/// Regression: a message of 1 MB to 2,000 subscriptions of one client took 4 GB.
#[test]
fn what_one_message_holds_is_bounded() {
    let mut bench = Bench::with(Options { max_pending: 1 << 20, ..Options::default() });
    let (publisher, reader) = (bench.connect(), bench.connect());
    for sid in 0..200 {
        bench.subscribe(&reader, &format!("a {sid}"));
    }
    let line = format!("PUB a 20000\r\n{}\r\n", "x".repeat(20_000));
    bench.stage(&publisher, true, &line);
    assert!(bench.delivery.staging.held_bytes() < (1 << 18) + 25_000);
    bench.delivery.commit(&publisher);
    assert_eq!(bench.take(&reader).matches("MSG a ").count(), 200);
}

/// Regression: a PUB to thousands was written to all of them before another task had a turn.
#[test]
fn a_commit_that_takes_long_leaves_writes_to_further_turns() {
    const COUNT: usize = 3_000;
    let mut bench = Bench::new();
    let publisher = bench.connect();
    let receivers: Vec<_> = (0..COUNT).map(|_| bench.connect()).collect();
    receivers.iter().for_each(|receiver| drop(bench.subscribe(receiver, "a 1")));
    bench.stage(&publisher, true, "PUB a 2\r\nhi\r\n");
    bench.delivery.staging.add_proto(&publisher, b"PONG\r\n");
    bench.delivery.commit(&publisher);
    let mut got: Vec<String> = receivers.iter().map(|receiver| bench.take(receiver)).collect();
    let count = got.iter().filter(|text| !text.is_empty()).count();
    assert!((10..COUNT * 3 / 4).contains(&count), "{count}");
    let is_queued = |conn: &Arc<Conn>| conn.received().out_msgs == 1;
    assert!(receivers.iter().all(is_queued), "the others have it in their queues by then");
    // The next sender writes all of it, in order.
    let next = got.iter().position(String::is_empty).unwrap();
    receivers[next].send(&Frames::from(b"PONG\r\n"), &bench.delivery.settings.policy);
    got[next] = bench.take(&receivers[next]);
    assert_eq!(got[next], "MSG a 1 2\r\nhi\r\nPONG\r\n");
    for unwritten in bench.delivery.staging.take_unwritten() {
        bench.delivery.staging.write(&unwritten);
    }
    receivers.iter().zip(&mut got).for_each(|(conn, text)| *text += &bench.take(conn));
    got.remove(next);
    assert!(got.iter().all(|text| text == "MSG a 1 2\r\nhi\r\n"));
    assert_eq!(bench.take(&publisher), "PONG\r\n");
    assert_eq!(bench.delivery.counters.out_msgs.load(), COUNT as u64);
}
