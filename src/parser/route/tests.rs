//! The ops of the route port row by row, as the real server answers, and the fuzz body.

use fastrand::Rng;

use crate::base::errors::ProtoErr;
use crate::base::fuzzing;
use crate::parser::fuzz::fuzz_route_parser;
use crate::parser::tests::{Shown, content, parse_with, text};
use crate::parser::{Parser, RouteOp, RouteRules, RoutedMsg};

const RULES: RouteRules = RouteRules {
    max_control_line: 16 * 4096,
    max_payload: 1 << 20,
    account_absent: false,
    connect_first: false,
};

const DEDICATED: RouteRules = RouteRules { account_absent: true, ..RULES };

fn ops(input: &str) -> Vec<String> {
    let (ops, end) = parse_with(RULES, input);
    assert_eq!(end, Ok(()), "{input:?}");
    ops
}

fn verdict(input: &str) -> ProtoErr {
    let (ops, end) = parse_with(RULES, input);
    assert_eq!(ops, [""; 0], "{input:?}");
    end.unwrap_err()
}

impl Shown for RouteRules {
    fn show(op: &RouteOp<'_>) -> String {
        match op {
            RouteOp::Info(json) => format!("INFO {}", text(json)),
            RouteOp::Connect(json) => format!("CONNECT {}", text(json)),
            RouteOp::Err(message) => format!("-ERR {}", text(message)),
            RouteOp::Ping => "PING".to_owned(),
            RouteOp::Pong => "PONG".to_owned(),
            RouteOp::Ok => "+OK".to_owned(),
            RouteOp::Ignored => "-".to_owned(),
            RouteOp::Sub { account, subject, queue } => {
                let queue = queue.map(|(name, weight)| format!(" {} x{weight}", text(name)));
                let queue = queue.unwrap_or_default();
                format!("RS+ [{}] {}{queue}", text(account), text(subject))
            }
            RouteOp::Unsub { account, subject, queue } => {
                let queue = queue.map_or(String::new(), |name| format!(" {}", text(name)));
                format!("RS- [{}] {}{queue}", text(account), text(subject))
            }
            RouteOp::Msg(RoutedMsg { account, publish, queues }) => {
                let [account, subject, reply] = [account, publish.subject, publish.reply].map(text);
                let queues = queues.iter().map(text).collect::<Vec<_>>().join(",");
                let tail = if publish.tail.is_empty() { "" } else { " =" };
                format!("[{account}] {subject} [{reply}] {{{queues}}} {}{tail}", content(publish))
            }
        }
    }
}

#[test]
fn interest() {
    let input = "RS+ $G foo\r\nRS+ $G bar q1 2\r\nRS- $G foo\r\nRS- $G bar q1\r\nrs+ A a.*\r\n";
    let shown = ["RS+ [$G] foo", "RS+ [$G] bar q1 x2", "RS- [$G] foo", "RS- [$G] bar q1"];
    assert_eq!(ops(input)[..4], shown);
    assert_eq!(ops(input)[4], "RS+ [A] a.*");
    let (ops, _) = parse_with(DEDICATED, "RS+ a\r\nRS+ a q 3\r\nRS- a\r\nRS- a q\r\n");
    assert_eq!(ops, ["RS+ [] a", "RS+ [] a q x3", "RS- [] a", "RS- [] a q"]);
    assert_eq!(self::ops("RS+ $G a q x\r\n"), ["RS+ [$G] a q x0"]);
}

/// Each form of the real server. The tail is the part that MSG or HMSG needs, except where queue
/// names stand within it.
#[test]
fn messages_in_all_forms() {
    for (line, shown) in [
        ("RMSG $G a 5\r\nhello", "[$G] a [] {} 5 hello ="),
        ("RMSG $G a _I.9 5\r\nhello", "[$G] a [_I.9] {} 5 hello ="),
        ("RMSG $G a | q1 q2 5\r\nhello", "[$G] a [] {q1,q2} 5 hello ="),
        ("RMSG $G a + r q1 q2 5\r\nhello", "[$G] a [r] {q1,q2} 5 hello"),
        ("RMSG $G a + r 5\r\nhello", "[$G] a [r] {} 5 hello ="),
        ("RMSG $G a | 5\r\nhello", "[$G] a [|] {} 5 hello ="),
        ("RMSG $G a 0\r\n", "[$G] a [] {} 0  ="),
        ("HMSG $G a 3 5\r\nhello", "[$G] a [] {} 3/5 hello ="),
        ("HMSG $G a r 3 5\r\nhello", "[$G] a [r] {} 3/5 hello ="),
        ("HMSG $G a | q1 3 5\r\nhello", "[$G] a [] {q1} 3/5 hello ="),
        ("HMSG $G a + r q1 3 5\r\nhello", "[$G] a [r] {q1} 3/5 hello"),
        ("HMSG $G a 0 5\r\nhello", "[$G] a [] {} 5 hello"),
        ("HMSG $G a 5 5\r\nhello", "[$G] a [] {} 5/5 hello ="),
        ("RMSG  $G\ta 5\r\nhello", "[$G] a [] {} 5 hello ="),
        ("RMSG $G a  r 5\r\nhello", "[$G] a [r] {} 5 hello ="),
        ("RMSG $G a r  5\r\nhello", "[$G] a [r] {} 5 hello"),
        ("RMSG $G a r 5 \r\nhello", "[$G] a [r] {} 5 hello"),
        ("RMSG $G a r 5\nhello", "[$G] a [r] {} 5 hello"),
    ] {
        assert_eq!(ops(&format!("{line}\r\n")), [shown], "{line:?}");
    }
    for (line, shown) in [
        ("RMSG a 5\r\nhello", "[] a [] {} 5 hello ="),
        ("RMSG a r 5\r\nhello", "[] a [r] {} 5 hello ="),
        ("RMSG a | q 5\r\nhello", "[] a [] {q} 5 hello ="),
        ("HMSG a + r q 3 5\r\nhello", "[] a [r] {q} 3/5 hello"),
        ("HMSG a 3 5\r\nhello", "[] a [] {} 3/5 hello ="),
    ] {
        assert_eq!(parse_with(DEDICATED, format!("{line}\r\n")).0, [shown], "{line:?}");
    }
}

#[test]
fn a_tail_is_what_a_client_gets_behind_the_sid() {
    for (line, tail) in [
        ("RMSG $G a 2\r\nhi\r\n", "2\r\nhi\r\n"),
        ("RMSG $G a r 2\r\nhi\r\n", "r 2\r\nhi\r\n"),
        ("RMSG $G a | q 2\r\nhi\r\n", "2\r\nhi\r\n"),
        ("RMSG $G a + r 2\r\nhi\r\n", "r 2\r\nhi\r\n"),
        ("HMSG $G a r 1 2\r\nhi\r\n", "r 1 2\r\nhi\r\n"),
        ("HMSG $G a | q 1 2\r\nhi\r\n", "1 2\r\nhi\r\n"),
    ] {
        let mut parser = Parser::new(RULES);
        let (op, used) = parser.next(line.as_bytes()).unwrap();
        let Some(RouteOp::Msg(msg)) = op else { panic!("{line:?}") };
        assert_eq!((msg.publish.tail, used), (tail.as_bytes(), line.len()), "{line:?}");
    }
}

#[test]
fn wrong_arguments_end_the_route_in_silence() {
    for (verb, lines) in [
        ("RS+", &["RS+ foo", "RS+ $G foo q", "RS+ $G foo q 1 2", "RS+ "][..]),
        ("RS-", &["RS- $G", "RS- $G a q 1", "UNSUB 1", "LS- $G"]),
        ("RMSG", &["RMSG $G foo", "RMSG $G foo x", "RMSG $G foo ? a 1", "RMSG $G foo ++ a q 1"]),
        ("RMSG", &["RMSG $G 5", "RMSG 5", "RMSG $G foo -1", "RMSG $G foo 1234567890"]),
        ("HMSG", &["HMSG $G foo 1", "HMSG $G foo 2 1", "HMSG $G foo x 1", "HMSG $G foo ? a 1 2"]),
        ("LS+", &["LS+ $G foo", "LS+ L $G foo q"]),
        ("LMSG", &["LMSG L $G foo 2", "LMSG L $G foo ? q 0 1"]),
        ("PUB", &["PUB a"]),
    ] {
        for line in lines {
            let error = verdict(&format!("{line}\r\n"));
            assert_eq!(error, ProtoErr::Arguments(verb), "{line:?}");
        }
    }
}

#[test]
fn what_means_nothing_here_is_ignored() {
    for line in [
        "SUB a 1",
        "PUB a 2\r\nhi",
        "HPUB a 1 2\r\nhi",
        "A+ $G",
        "A- $G",
        "LS+ L $G a",
        "LS+ L $G a q 1",
        "LS- $G a",
        "LMSG L $G a 0 2\r\nhi",
        "LMSG L $G a r 1 2\r\nhi",
        "LMSG L $G a + r q 0 2\r\nhi",
    ] {
        assert_eq!(ops(&format!("{line}\r\nPING\r\n")), ["-", "PING"], "{line:?}");
    }
    assert_eq!(ops("UNSUB $G foo\r\n"), ["RS- [$G] foo"]);
    assert_eq!(ops("+OK\r\nPONG\r\n-ERR 'x'\r\n"), ["+OK", "PONG", "-ERR \\'x\\'"]);
}

#[test]
fn unknown_ops() {
    for line in ["FOO", "MSG a 1 0", "RX", "RSX a", "LX", "AX", "HX", "RMSGX", "X", " RS+ a"] {
        assert_eq!(verdict(&format!("{line}\r\n")), ProtoErr::UnknownOp, "{line:?}");
    }
    assert_eq!(parse_with(RULES, "RMSG $G a 2\r\nhixx").1, Err(ProtoErr::UnknownOp));
}

#[test]
fn lines_are_as_long_as_sixteen_of_a_client() {
    let line = |len: usize| format!("RS+ $G {}\r\n", "x".repeat(len - 3));
    assert_eq!(ops(&line(65_536)).len(), 1);
    assert_eq!(verdict(&line(65_537)), ProtoErr::MaxControlLine);
    let queues = "q ".repeat(30_000);
    let many = format!("RMSG $G a | {queues}1\r\nx\r\n");
    let mut parser = Parser::new(RULES);
    let (op, _) = parser.next(many.as_bytes()).unwrap();
    let Some(RouteOp::Msg(msg)) = op else { panic!() };
    assert_eq!(msg.queues.iter().count(), 30_000);
}

/// Whole or promised, plain or not: nothing of it is kept.
#[test]
fn messages_are_as_long_as_may_wait() {
    let rules = RouteRules { max_payload: 10, ..RULES };
    for head in ["RMSG $G a ", "RMSG  $G a ", "RMSG $G a | q ", "HMSG $G a 2 ", "LMSG o $G a 0 "] {
        assert_eq!(parse_with(rules, format!("{head}10\r\n0123456789\r\n")).1, Ok(()), "{head}");
        let longer = format!("{head}11\r\n0123456789x\r\n");
        for input in [&longer, &longer[..longer.len() - 9]] {
            assert_eq!(parse_with(rules, input).1, Err(ProtoErr::MaxPayload), "{head}");
        }
    }
}

#[test]
fn nothing_but_connect_before_connect() {
    let rules = RouteRules { connect_first: true, ..RULES };
    for input in ["PING\r\n", "INFO {}\r\n", "RS+ $G a\r\n", "RMSG $G a 1\r\nx\r\n", "\r\n"] {
        let (ops, end) = parse_with(rules, input);
        assert_eq!((ops.len(), end), (0, Err(ProtoErr::AuthorizationViolation)), "{input:?}");
    }
    assert_eq!(parse_with(rules, "CONNECT {}\r\n").0, ["CONNECT {}"]);
}

/// Pieces of protocol, right and wrong.
const PIECES: [&[u8]; 38] = [
    b"RMSG ",
    b"HMSG ",
    b"RS+ ",
    b"RS- ",
    b"LS+ ",
    b"LMSG ",
    b"A+ ",
    b"INFO ",
    b"CONNECT ",
    b"PING",
    b"PUB a 1\r\nx\r\n",
    b"RMSG $G a 0\r\n\r\n",
    b"RMSG $G a.b r 3\r\nabc\r\n",
    b"HMSG $G a 2 4\r\nhdhi\r\n",
    b"RMSG $G a | q 1\r\nx\r\n",
    b"HMSG $G a + r q s 0 1\r\nx\r\n",
    b"RS+ $G a q 2\r\n",
    b"CONNECT {}\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"  ",
    b"$G",
    b"a",
    b"b.c",
    b"|",
    b"+",
    b"q",
    b"0",
    b"1",
    b"2",
    b"5",
    b"000000002",
    b"0000000002",
    b"\0",
    b"r",
];

#[test]
fn fuzz_route_parser_corpus_and_seeded() {
    let protocol_like = |random: &mut Rng, corpus: &[Vec<u8>]| {
        if random.bool() {
            return fuzzing::mutated(random, corpus);
        }
        let mut bytes = vec![random.u8(..4) & random.u8(..4)];
        for _ in 0..random.usize(1..30) {
            let times = if random.u8(..40) == 0 { random.usize(1..120) } else { 1 };
            let piece = random.choice(PIECES).unwrap();
            (0..times).for_each(|_| bytes.extend_from_slice(piece));
        }
        bytes
    };
    fuzzing::run("route_parser", 2_000, fuzz_route_parser, protocol_like);
}
