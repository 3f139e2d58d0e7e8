//! Transcripts of clients in memory, and the fuzz body of the machine.

mod accounts;
mod imports;
mod mappings;
mod reload;

use std::time::Duration;

use super::*;
use crate::auth::permissions::RULE_NS;
use crate::base::fuzzing;
use crate::base::limits::FIRST_PING_MAX;
use crate::base::stats::Traffic;
use crate::client::fuzz::{Bench, fuzz_client};
use crate::config::options::{
    AllowResponses, Credential, Login, Options, Permissions, SubjectPermission, User,
};
use crate::deliver::{Budget, Publisher};

const QUIET: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
const HEADERS: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";

fn bench(connects: &[&str]) -> Bench {
    let mut bench = Bench::new(Options::default(), connects.len());
    for (at, connect) in connects.iter().enumerate() {
        bench.send(at, connect.as_bytes());
    }
    bench
}

fn text(bench: &Bench, at: usize) -> String {
    bench
        .take(at)
        .escape_ascii()
        .to_string()
        .replace("\\r\\n", "|")
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// The answer to `input` for a single client with this CONNECT; `|` stands for CRLF.
fn answer(connect: &str, input: &str) -> String {
    let mut bench = bench(&[connect]);
    bench.send(0, input.replace('|', "\r\n").as_bytes());
    text(&bench, 0)
}

#[test]
fn without_connect_a_client_is_verbose() {
    assert_eq!(answer("", "PING|SUB foo 1|PUB foo 2|hi|"), "PONG|+OK|+OK|MSG foo 1 2|hi|");
}

#[test]
fn lines_that_cannot_be_passed_on_are_rewritten() {
    assert_eq!(answer(QUIET, "SUB foo 1|PUB\t\tfoo  \t 2 \t|hi|"), "MSG foo 1 2|hi|");
    assert_eq!(answer(QUIET, "SUB foo 1|PUB foo  r 0002|hi|"), "MSG foo 1 r 0002|hi|");
    assert_eq!(answer(QUIET, "SUB foo 1|PUB foo r 2\nhi|"), "MSG foo 1 r 2|hi|");
    assert_eq!(answer(QUIET, "PUB 5|"), "");
}

#[test]
fn headers_go_to_those_who_take_them() {
    let mut bench = bench(&[HEADERS, QUIET]);
    for at in 0..2 {
        bench.send(at, b"SUB foo 1\r\n");
    }
    bench.send(0, b"HPUB foo r 5 7\r\nabcdehi\r\nHPUB foo 5 5\r\nabcde\r\nHPUB foo 0 2\r\nhi\r\n");
    let all = "HMSG foo 1 r 5 7|abcdehi|HMSG foo 1 5 5|abcde|MSG foo 1 2|hi|";
    assert_eq!(text(&bench, 0), all);
    assert_eq!(text(&bench, 1), "MSG foo 1 r 2|hi|MSG foo 1 0||MSG foo 1 2|hi|");
}

#[test]
fn a_request_that_nobody_gets_is_answered_with_503() {
    let none = "HMSG inbox 9 38 38|NATS/1.0 503|Nats-Subject: nobody|||";
    assert_eq!(answer(HEADERS, "SUB inbox 9|PUB nobody inbox 2|hi|"), none);
    assert_eq!(answer(HEADERS, "SUB inbox q 9|PUB nobody inbox 2|hi|"), "");
    assert_eq!(answer(HEADERS, "PUB nobody inbox 2|hi|"), "");
    let no_echo = HEADERS.replace("false", "false,\"echo\":false");
    assert_eq!(answer(&no_echo, "SUB nobody 1|SUB inbox 9|PUB nobody inbox 2|hi|"), none);
}

#[test]
fn a_second_connect_drops_subscriptions() {
    let input = "SUB a 1|CONNECT {\"verbose\":true}|PUB a 1|y|SUB a 1|";
    assert_eq!(answer(QUIET, input), "+OK|+OK|+OK|");
}

#[test]
fn a_second_connect_drops_subscriptions_in_pieces_and_waits() {
    let mut bench = bench(&[QUIET]);
    (0..5).for_each(|sid| bench.send(0, format!("SUB s.{sid} {sid}\r\n").as_bytes()));
    let again = Op::Connect(br#"{"verbose":true}"#);
    assert_eq!(bench.ends[0].session.machine.handle_op(&again, &mut bench.delivery), Ok(()));
    let mut left = Vec::new();
    while bench.ends[0].session.machine.is_waiting() {
        assert_eq!(text(&bench, 0), "");
        left.push(bench.registry.global().with_sublist(|sublist| sublist.count()));
        let left = bench.ends[0].session.machine.continue_work(&mut bench.delivery).unwrap();
        let is_waiting = bench.ends[0].session.machine.is_waiting();
        assert_eq!(left == Left::More, is_waiting, "nobody else wakes the task");
        bench.delivery.commit(&bench.ends[0].conn);
    }
    assert_eq!(left, [3, 1]);
    assert_eq!(bench.registry.global().with_sublist(|sublist| sublist.count()), 0);
    assert_eq!(text(&bench, 0), "+OK|");
}

#[test]
fn what_an_ended_client_had_subscribed_to_goes_in_pieces() {
    let mut bench = bench(&[HEADERS, QUIET]);
    (0..5).for_each(|sid| bench.send(1, format!("SUB s.{sid} {sid}\r\n").as_bytes()));
    bench.send(0, b"SUB inbox 1\r\n");
    let end = &mut bench.ends[1];
    end.conn.close(ClosedReason::ClientClosed, false);
    end.session.machine.close(ClosedReason::ClientClosed, &mut bench.delivery);
    end.closed = Some(ClosedReason::ClientClosed);
    let mut left = Vec::new();
    while bench.ends[1].session.machine.forget(&mut bench.delivery) == Left::More {
        left.push(bench.registry.global().with_sublist(|sublist| sublist.count()) - 1);
    }
    assert_eq!(left, [3, 1]);
    assert_eq!(bench.registry.global().with_sublist(|sublist| sublist.count()), 1);
    bench.send(0, b"PUB s.4 inbox 0\r\n\r\n");
    assert!(text(&bench, 0).contains("503"), "nobody is there any more");
}

#[test]
fn limits_of_unsub_count_from_sub_on() {
    let three = "PUB a 1|1|PUB a 1|2|PUB a 1|3|";
    let msgs = |n: usize| (1..=n).map(|n| format!("MSG a 1 1|{n}|")).collect::<String>();
    assert_eq!(answer(QUIET, &format!("SUB a 1|{three}UNSUB 1 2|{three}")), msgs(3));
    assert_eq!(answer(QUIET, &format!("SUB a 1|UNSUB 1 2|{three}")), msgs(2));
    assert_eq!(answer(QUIET, &format!("SUB a 1|UNSUB 1 1|UNSUB 1 2|{three}")), msgs(2));
    assert_eq!(answer(QUIET, &format!("SUB a 1|UNSUB 1 9|UNSUB 1|{three}")), "");
    assert_eq!(answer(QUIET, &format!("SUB a 1|UNSUB 1 1|{three}SUB a 1|{three}")), {
        format!("{}{}", msgs(1), msgs(3))
    });
}

/// Each message is delivered and counted as if alone, handled together with others or not.
#[test]
fn messages_in_a_row_are_as_good_as_single_ones() {
    const ROW: [&str; 6] =
        ["PUB a 1|1|", "PUB a 1|2|", "PUB a 02|33|", "PUB a r 1|4|", "PUB ab 1|5|", "PUB a 0||"];
    const NO_ECHO: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n";
    const PEDANTIC: &str = "CONNECT {\"verbose\":false,\"pedantic\":true}\r\n";
    let play = |connect: &str, before: &str, pieces: &[&str]| {
        let mut bench = bench(&[connect, QUIET]);
        bench.send(1, b"SUB a 1\r\nUNSUB 1 4\r\n");
        for piece in [&[before], pieces].concat() {
            bench.send(0, piece.replace('|', "\r\n").as_bytes());
        }
        let traffic = bench.ends.iter().map(|end| format!("{:?}", end.conn.traffic()));
        let traffic: String = traffic.collect();
        let listed = bench.registry.global().with_sublist(|sublist| sublist.count());
        (text(&bench, 0), text(&bench, 1), traffic, bench.registry.totals().in_msgs, listed)
    };
    for connect in ["", QUIET, HEADERS, NO_ECHO, PEDANTIC] {
        for before in ["", "SUB a 1|", "SUB a 1|SUB > 2|", "SUB a q 1|", "SUB a 1|UNSUB 1 2|"] {
            let together = play(connect, before, &[&ROW.concat()]);
            assert_eq!(together, play(connect, before, &ROW), "{connect}{before}");
            assert_eq!(together.1, "MSG a 1 1|1|MSG a 1 1|2|MSG a 1 02|33|MSG a 1 r 1|4|");
        }
    }
}

/// One client with the permissions of its user.
fn with_permissions(permissions: Permissions) -> Bench {
    let mut options = Options::default();
    let credential = Credential::Password { user: "u".into(), password: String::new() };
    let permissions = Some(permissions.into());
    options.authorization.login = Login::Users(vec![User { permissions, ..User::new(credential) }]);
    let mut bench = Bench::new(options, 1);
    bench.send(0, b"CONNECT {\"verbose\":false,\"user\":\"u\"}\r\n");
    bench
}

#[test]
fn a_row_takes_no_more_than_its_permissions_allow() {
    let publish = SubjectPermission { allow: Some(vec!["free.*".into()]), deny: Vec::new() };
    let responses = AllowResponses { max: 2, expires: None };
    let permissions =
        Permissions { publish, allow_responses: Some(responses), ..Permissions::default() };
    let mut bench = with_permissions(permissions);
    let row = |subject: &str| format!("PUB {subject} 0\r\n\r\n").repeat(3);
    let denied = |subject| format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'|");
    bench.send(0, format!("SUB > 1\r\n{}{}", row("free.1"), row("denied")).as_bytes());
    let free = "MSG free.1 1 0||".repeat(3);
    assert_eq!(text(&bench, 0), free + &denied("denied").repeat(3));
    bench.send(0, format!("PUB free.1 answer 0\r\n\r\n{}", row("answer")).as_bytes());
    let answers = "MSG answer 1 0||".repeat(2);
    assert_eq!(text(&bench, 0), format!("MSG free.1 1 answer 0||{answers}{}", denied("answer")));
}

/// Regression: one turn checked thousands of rules for each of thousands of ops, because that
/// counted as no work.
#[test]
fn rules_that_are_asked_count_as_work() {
    const COUNT: usize = 2_000;
    let deny: Vec<_> = (0..COUNT).map(|n| format!("*.x.{n}")).collect();
    let both = SubjectPermission { allow: None, deny };
    let permissions =
        Permissions { publish: both.clone(), subscribe: both, ..Permissions::default() };
    let mut bench = with_permissions(permissions);
    for (op, asked) in [
        ("SUB a.* 1\r\n", 1),
        ("SUB *.x.* 2\r\n", 2),
        ("PUB a.b 0\r\n\r\n", 1),
        // It matches the subscription, which is wider than the denied subject.
        ("PUB a.x.y 0\r\n\r\n", 2),
    ] {
        bench.delivery.staging.start_turn(Budget { work_ns_max: usize::MAX, splits: true });
        bench.send(0, op.as_bytes());
        let work_ns = bench.delivery.staging.work_ns();
        assert!(work_ns >= asked * COUNT * RULE_NS, "{op}: {work_ns} ns");
    }
}

/// Regression: messages staged by another worker were counted only after UNSUB had checked the
/// limit, so a spent subscription was never removed.
#[test]
fn a_limit_that_another_worker_passes_still_ends_the_subscription() {
    let mut bench = bench(&[QUIET, QUIET]);
    bench.send(0, b"SUB a 1\r\n");
    let mut other = Other::new(&bench, 1);
    for _ in 0..3 {
        assert!(other.publish(b"a"));
    }
    bench.send(0, b"UNSUB 1 2\r\n");
    other.commit();
    bench.send(1, b"PUB a 1\r\nx\r\n");
    assert_eq!(text(&bench, 0), "MSG a 1 1|x|".repeat(3));
    assert_eq!(bench.ends[0].conn.subscriptions().len(), 0);
    assert_eq!(other.account.with_sublist(|sublist| sublist.count()), 0);
}

/// Worker number two of a server in memory; a client publishes in its turn.
struct Other {
    delivery: Delivery,
    account: Arc<Account>,
    publisher: Arc<Conn>,
}

impl Other {
    fn new(bench: &Bench, publisher: usize) -> Other {
        Other {
            delivery: Delivery::new(&bench.registry),
            account: bench.registry.global(),
            publisher: Arc::clone(&bench.ends[publisher].conn),
        }
    }

    /// Matches and stages one message of one byte; true if it has a receiver.
    fn publish(&mut self, subject: &[u8]) -> bool {
        let publish = Publish {
            subject,
            reply: b"",
            header_len: None,
            size_text: b"1",
            message: b"x",
            tail: b"1\r\nx\r\n",
        };
        let publisher = Publisher { conn: &self.publisher, echo: true };
        self.delivery.deliver(&self.account, &publish, None, std::iter::empty(), publisher).reached
    }

    fn commit(&mut self) {
        self.delivery.commit(&self.publisher);
    }
}

/// Regression: messages staged by another worker came after the PONG of a client that had
/// unsubscribed, and were lost if it then left.
#[test]
fn nothing_comes_behind_the_answer_to_an_unsub() {
    for (connect, input, answer) in [
        (QUIET, "UNSUB 1|PING|PING|", "PONG|PONG|"),
        (QUIET, "UNSUB 1 1|PING|", "PONG|"),
        ("", "UNSUB 1|PING|", "+OK|PONG|"),
        (QUIET, "CONNECT {\"verbose\":true}|SUB b 1|", "+OK|+OK|"),
        (QUIET, "CONNECT {\"verbose\":false}|PING|", "PONG|"),
    ] {
        let mut bench = bench(&[connect, QUIET]);
        bench.send(0, b"SUB a 1\r\n");
        text(&bench, 0);
        let mut other = Other::new(&bench, 1);
        let turn = Arc::clone(&other.delivery.turn);
        let begun = turn.begin();
        assert!(other.publish(b"a"));
        bench.send(0, input.replace('|', "\r\n").as_bytes());
        bench.turn(0);
        assert_eq!(text(&bench, 0), "", "{input} is not answered yet");
        assert!(other.publish(b"b") <= input.contains("SUB b"));
        other.commit();
        drop(begun);
        bench.turn(0);
        assert_eq!(text(&bench, 0), format!("MSG a 1 1|x|{answer}"), "{input}");
    }
}

#[test]
fn a_turn_that_began_behind_an_unsub_is_not_waited_for() {
    let mut bench = bench(&[QUIET, QUIET]);
    let mut other = Other::new(&bench, 1);
    let turn = Arc::clone(&other.delivery.turn);
    bench.send(0, b"SUB a 1\r\n");
    let begun = turn.begin();
    bench.send(0, b"UNSUB 1\r\n");
    drop(begun);
    let begun = turn.begin();
    assert!(!other.publish(b"a"));
    bench.send(0, b"PING\r\n");
    assert_eq!(text(&bench, 0), "PONG|");
    drop(begun);
}

#[test]
fn a_client_that_waits_for_an_answer_may_end() {
    let mut bench = bench(&[QUIET, QUIET]);
    let other = Other::new(&bench, 1);
    let begun = other.delivery.turn.begin();
    bench.send(0, b"SUB a 1\r\nUNSUB 1\r\nPING\r\nPUB a 1\r\nx\r\n");
    bench.close(0, ClosedReason::ClientClosed);
    drop(begun);
    assert_eq!((text(&bench, 0), bench.registry.totals().in_msgs), (String::new(), 0));
}

/// The hash is one of the test vectors of crypt_blowfish.
fn with_bcrypt(clients: usize) -> Bench {
    let password = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".into();
    let mut options = Options::default();
    options.authorization.login = Login::Single { user: "u".into(), password };
    Bench::new(options, clients)
}

const RIGHT: &[u8] = b"CONNECT {\"verbose\":true,\"user\":\"u\",\"pass\":\"U*U\"}\r\n";
const WRONG: &[u8] = b"CONNECT {\"verbose\":true,\"user\":\"u\",\"pass\":\"U*V\"}\r\n";

#[test]
fn a_login_waits_for_its_check() {
    let mut bench = with_bcrypt(1);
    bench.send(0, RIGHT);
    bench.send(0, b"SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n");
    bench.turn(0);
    assert_eq!(text(&bench, 0), "", "nothing is handled before");
    bench.check(0);
    assert_eq!(text(&bench, 0), "+OK|+OK|+OK|MSG a 1 1|x|PONG|");

    bench.send(0, &[b"PING\r\n", RIGHT, b"PUB a 1\r\nx\r\n"].concat());
    assert_eq!(text(&bench, 0), "PONG|");
    bench.check(0);
    assert_eq!(text(&bench, 0), "+OK|+OK|", "a second CONNECT ends subscriptions");
}

#[test]
fn behind_a_wrong_password_nothing_is_handled() {
    let mut bench = with_bcrypt(1);
    bench.send(0, &[WRONG, b"PUB a 1\r\nx\r\n"].concat());
    bench.check(0);
    bench.turn(0);
    assert_eq!(text(&bench, 0), "-ERR 'Authorization Violation'|");
    assert_eq!(bench.ends[0].closed, Some(ClosedReason::AuthenticationViolation));
    assert_eq!(bench.registry.totals().in_msgs, 0);
}

#[test]
fn the_time_to_log_in_goes_on_while_a_check_is_waited_for() {
    let mut bench = with_bcrypt(1);
    bench.send(0, RIGHT);
    bench.move_to(0, Moment::START + Duration::from_secs(1));
    assert_eq!(bench.ends[0].closed, None);
    bench.move_to(0, Moment::START + Duration::from_secs(2));
    assert_eq!(text(&bench, 0), "-ERR 'Authentication Timeout'|");
    assert_eq!(bench.ends[0].closed, Some(ClosedReason::AuthenticationTimeout));
}

#[test]
fn the_first_ping_comes_soon_after_connect() {
    let mut bench = bench(&[QUIET]);
    bench.move_to(0, Moment::START + (FIRST_PING_MAX - Duration::from_millis(1)));
    assert_eq!(text(&bench, 0), "");
    bench.move_to(0, Moment::START + FIRST_PING_MAX * 2);
    assert_eq!(text(&bench, 0), "PING|");
}

#[test]
fn a_client_that_answers_no_ping_is_stale() {
    let mut bench = bench(&[QUIET]);
    let mut now = Moment::START;
    for _ in 0..4 {
        now = now + Duration::from_secs(600);
        bench.move_to(0, now);
    }
    assert_eq!(text(&bench, 0), "PING|PING|-ERR 'Stale Connection'|");
    assert_eq!(bench.ends[0].closed, Some(ClosedReason::StaleConnection));
}

#[test]
fn fuzz_client_corpus_and_seeded() {
    fuzzing::run("client", 300, fuzz_client, |random, corpus| match random.u8(..4) {
        0 => fuzzing::mutated(random, corpus),
        _ => (0..random.usize(..900)).map(|_| random.u8(..)).collect(),
    });
}
