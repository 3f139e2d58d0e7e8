//! The parser row by row, as the real server answers, and its fuzz body.

use fastrand::Rng;

use crate::base::errors::ProtoErr;
use crate::base::fuzzing;
use crate::parser::fuzz::fuzz_parser;
use crate::parser::{ClientRules, Followers, Grammar, Op, Parser, Publish};

const RULES: ClientRules = ClientRules {
    max_control_line: 4096,
    max_payload: 1 << 20,
    headers: true,
    connect_first: false,
};

const UNKNOWN: Result<(), ProtoErr> = Err(ProtoErr::UnknownOp);

fn arguments(verb: &'static str) -> Result<(), ProtoErr> {
    Err(ProtoErr::Arguments(verb))
}

/// A grammar whose ops the tests compare as text.
pub(super) trait Shown: Grammar {
    fn show(op: &Self::Op<'_>) -> String;
}

/// The ops of `input` as text, and the error at its end.
pub(super) fn parse_with<G: Shown>(
    rules: G,
    input: impl AsRef<[u8]>,
) -> (Vec<String>, Result<(), ProtoErr>) {
    let mut parser = Parser::new(rules);
    let mut rest = input.as_ref();
    let mut shown = Vec::new();
    loop {
        match parser.next(rest) {
            Ok((Some(op), used)) => {
                shown.push(G::show(&op));
                rest = &rest[used..];
            }
            Ok((None, used)) => {
                assert_eq!(used, rest.len());
                return (shown, Ok(()));
            }
            Err(error) => return (shown, Err(error)),
        }
    }
}

fn parse(input: &str) -> (Vec<String>, Result<(), ProtoErr>) {
    parse_with(RULES, input)
}

#[test]
fn what_clients_usually_write_takes_the_short_way() {
    let parser = Parser::new(RULES);
    let lens = [
        ("PUB a 0\r\n\r\nPING\r\n", Some(11)),
        ("PUB orders.new 5\r\nhello\r\nPUB", Some(25)),
        ("PUB orders.new _INBOX.abcdefghijk 5\r\nhello\r\n", Some(44)),
        ("HPUB a 2 5\r\nhello\r\n", Some(19)),
        ("HPUB a r 5 5\r\nhello\r\n", Some(21)),
        ("HPUB a 0 5\r\nhello\r\n", None),
        ("HPUB a 6 5\r\nhello\r\n", None),
        ("HPUB a 5\r\nhello\r\n", None),
        ("HPUB a r s 5 5\r\nhello\r\n", None),
        ("PUB a b c 5\r\nhello\r\n", None),
        ("PUB a  5\r\nhello\r\n", None),
        ("PUB a\t5\r\nhello\r\n", None),
        ("PUB a 5\nhello\r\n", None),
        ("PUB a 5\r\nhello", None),
        ("PUB a 6\r\nhello\r\n", None),
        ("PUB  5\r\nhello\r\n", None),
    ];
    for (input, len) in lens {
        assert_eq!(parser.next_plain(input.as_bytes()).map(|(_, len)| len), len, "{input:?}");
    }
    let headerless = ClientRules { headers: false, ..RULES };
    assert!(Parser::new(headerless).next_plain(b"HPUB a 2 5\r\nhello\r\n").is_none());
    let one_too_many = ClientRules { max_control_line: 4, ..RULES };
    assert!(Parser::new(one_too_many).next_plain(b"PUB ab 5\r\nhello\r\n").is_some());
    assert!(Parser::new(one_too_many).next_plain(b"PUB abc 5\r\nhello\r\n").is_none());
}

#[test]
fn messages_alike_stand_in_a_row() {
    let parser = Parser::new(ClientRules { max_control_line: 6, max_payload: 11, ..RULES });
    let lens = [
        ("PUB a 2\r\nok\r\n", Some(13)),
        ("PUB a 0\r\n\r\nPING\r\n", Some(11)),
        ("PUB a 11\r\nhello world\r\n", Some(23)),
        ("PUB a 0002\r\nok\r\n", Some(16)),
        ("PUB a 00002\r\nok\r\n", None),
        ("PUB a 12\r\nhello worlds\r\n", None),
        ("PUB b 2\r\nok\r\n", None),
        ("PUB ab 2\r\nok\r\n", None),
        ("PUB a r 2\r\nok\r\n", None),
        ("pub a 2\r\nok\r\n", None),
        ("PUB a  2\r\nok\r\n", None),
        ("PUB a 2\nok\r\n", None),
        ("PUB a 2\r\nokay\r\n", None),
        ("PUB a 2\r\nok\r", None),
        ("PUB a 2", None),
        ("", None),
    ];
    for (behind, len) in lens {
        let input = format!("PUB a 2\r\nhi\r\n{behind}");
        let mut rest = input.as_bytes();
        let (first, first_len) = parser.next_plain(rest).unwrap();
        let tail = Followers::new(Some(parser.take_plain(&mut rest, first_len)), &first).next();
        assert_eq!(tail.map(|_| behind.len() - rest.len()), len, "{behind:?}");
        assert_eq!(rest.len(), behind.len() - len.unwrap_or(0), "{behind:?}");
    }
    for with_more in ["PUB a r 2\r\nhi\r\n", "HPUB a 1 2\r\nhi\r\n"] {
        let parser = Parser::new(RULES);
        let input = with_more.repeat(2);
        let (first, len) = parser.next_plain(input.as_bytes()).unwrap();
        let mut rest = input.as_bytes();
        assert_eq!(
            Followers::new(Some(parser.take_plain(&mut rest, len)), &first).next(),
            None,
            "{with_more:?}"
        );
    }
}

/// The only result of `input`.
fn verdict(input: &str) -> Result<(), ProtoErr> {
    let (ops, verdict) = parse(input);
    assert_eq!(ops, [""; 0], "{input:?}");
    verdict
}

impl Shown for ClientRules {
    fn show(op: &Op<'_>) -> String {
        let or_none = |bytes: &Option<&[u8]>| bytes.map_or("-".to_owned(), text);
        match op {
            Op::Connect(json) => format!("CONNECT {}", text(json)),
            Op::BeforeConnect => "no CONNECT".to_owned(),
            Op::Info(json) => format!("INFO {}", text(json)),
            Op::Err(message) => format!("-ERR {}", text(message)),
            Op::Ping => "PING".to_owned(),
            Op::Pong => "PONG".to_owned(),
            Op::Ok => "+OK".to_owned(),
            Op::Sub { subject, queue, sid } => {
                format!("SUB {} {} {}", text(subject), or_none(queue), text(sid))
            }
            Op::Unsub { sid, max } => format!("UNSUB {} {}", text(sid), or_none(max)),
            Op::Publish(publish) => {
                let [subject, reply] = [publish.subject, publish.reply].map(text);
                format!("PUB {subject} [{reply}] {}", content(publish))
            }
        }
    }
}

/// Any bytes as text.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Sizes, as `5` or `3/5`, and the content of that size.
pub(super) fn content(publish: &Publish<'_>) -> String {
    let header = publish.header_len.map_or(String::new(), |len| format!("{len}/"));
    format!("{header}{} {}", text(publish.size_text), text(publish.message))
}

#[test]
fn op_names_have_any_case() {
    let input = "pInG\r\npoNG\r\nsub a 1\r\nUnSub 1\r\npub a 1\r\nx\r\nhPub a 1 1\r\nx\r\n+ok\r\n";
    let (ops, verdict) = parse(input);
    assert_eq!(verdict, Ok(()));
    assert_eq!(
        ops,
        ["PING", "PONG", "SUB a - 1", "UNSUB 1 -", "PUB a [] 1 x", "PUB a [] 1/1 x", "+OK"]
    );
    assert_eq!(parse("connect {}\r\ninfo {}\r\n-err 'x'\r\n").0.len(), 3);
}

#[test]
fn blanks_are_spaces_and_tabs_in_any_number() {
    let (ops, end) = parse("SUB \t foo \t 1  \r\nPUB\t\tfoo  \t 2 \t\r\nhi\r\nUNSUB\t1\t 5 \r\n");
    assert_eq!(end, Ok(()));
    assert_eq!(ops, ["SUB foo - 1", "PUB foo [] 2 hi", "UNSUB 1 5"]);
    assert_eq!(parse("CONNECT{}\r\nCONNECT \t {} \r\n").0, ["CONNECT {}", "CONNECT {} "]);
    for blank in [" PING\r\n", "\tPING\r\n", "\r\n", "\n", "\r"] {
        assert_eq!(verdict(blank), UNKNOWN, "{blank:?}");
    }
}

#[test]
fn a_line_ends_at_lf_and_a_payload_at_crlf() {
    let (ops, verdict) = parse("SUB foo 1\nPUB foo 2\nhi\r\nPING\n");
    assert_eq!(verdict, Ok(()));
    assert_eq!(ops, ["SUB foo - 1", "PUB foo [] 2 hi", "PING"]);
    for payload in ["hi\nPING\r\n", "hi \r\n", "hii\r\n", "h\r\n\r\n", "hi\rx"] {
        assert_eq!(self::verdict(&format!("PUB foo 2\r\n{payload}")), UNKNOWN, "{payload:?}");
    }
    assert_eq!(parse("PUB foo 0\r\n\r\n").0, ["PUB foo [] 0 "]);
    assert_eq!(parse("PUB foo 4\r\n\r\n\r\n\r\n").0, ["PUB foo [] 4 \\r\\n\\r\\n"]);
}

#[test]
fn bytes_behind_ping_pong_and_ok_are_skipped() {
    let (ops, verdict) = parse("PING foo bar\r\nPINGxyz\r\nPING PING\r\nPONG x\n+OKAY\r\n");
    assert_eq!((ops.join(","), verdict), ("PING,PING,PING,PONG,+OK".to_string(), Ok(())));
    let long = format!("PING{}\r\nPONG\r\n", "x".repeat(100_000));
    assert_eq!(parse(&long).0, ["PING", "PONG"]);
    let mut parser = Parser::new(RULES);
    for _ in 0..50 {
        assert_eq!(parser.next(&long.as_bytes()[..2000]).unwrap(), (None, 2000));
        assert_eq!(parser.kept_len(), 0, "nothing is kept of such a line");
    }
}

#[test]
fn subjects_are_opaque_bytes() {
    let (ops, verdict) = parse_with(RULES, b"SUB a\0\xff.* 1\r\nPUB \xf0\0 \xc3 1\r\n\0\r\n");
    assert_eq!(verdict, Ok(()));
    assert_eq!(ops, ["SUB a\\x00\\xff.* - 1", "PUB \\xf0\\x00 [\\xc3] 1 \\x00"]);
}

#[test]
fn unknown_ops_and_bad_framing() {
    for input in [
        "FOO\r\n",
        "SUX\r\n",
        "SUB\r\n",
        "SUBfoo 1\r\n",
        "PUB\r\n",
        "UNSUB\r\n",
        "HPUB\r\n",
        "MSG a 1 0\r\n",
        "HMSG a 1 0 0\r\n",
        "RS+ $G a\r\n",
        "RMSG $G a 0\r\n",
        "LS+ a\r\n",
        "A+ a\r\n",
        "PX\r\n",
        "+O\r\n",
        "-OK\r\n",
    ] {
        assert_eq!(verdict(input), UNKNOWN, "{input:?}");
    }
}

#[test]
fn wrong_arguments() {
    for (verb, lines) in [
        ("SUB", &["SUB foo", "SUB a b c d", "SUB a b c d e f g", "SUB ", "SUB  \t"][..]),
        ("PUB", &["PUB foo", "PUB foo a b 2", "PUB foo x", "PUB foo -1", "PUB foo +2", "PUB "]),
        (
            "PUB",
            &["PUB 5", "PUB 123456789", "PUB  5", "PUB\t5", "PUB foo 1x", "PUB foo 1234567890"],
        ),
        ("UNSUB", &["UNSUB ", "UNSUB 1 2 3"]),
        ("HPUB", &["HPUB foo 3 2", "HPUB foo 2", "HPUB foo", "HPUB 1 2", "HPUB foo a b 1 2"]),
        ("HPUB", &["HPUB foo x 2", "HPUB foo 0 x", "HPUB foo 0 0000000002", "HPUB foo -1 2"]),
    ] {
        for line in lines {
            assert_eq!(verdict(&format!("{line}\r\n")), arguments(verb), "{line:?}");
            if !line.ends_with([' ', '\t']) {
                assert_eq!(verdict(&format!("{line}\n")), arguments(verb), "{line:?} LF");
            }
        }
    }
    let rules = ClientRules { headers: false, ..RULES };
    let verdict = parse_with(rules, b"HPUB foo 0 2\r\nhi\r\n").1;
    assert_eq!(verdict, Err(ProtoErr::HeadersNotSupported));
}

#[test]
fn sizes_have_one_to_nine_digits_and_keep_their_text() {
    assert_eq!(parse("PUB foo 0002\r\nhi\r\n").0, ["PUB foo [] 0002 hi"]);
    assert_eq!(parse("PUB foo r 000000002\r\nhi\r\n").0, ["PUB foo [r] 000000002 hi"]);
    assert_eq!(verdict("PUB foo 0000000002\r\nhi\r\n"), arguments("PUB"));
    assert_eq!(parse("HPUB foo 002 0003\r\nabc\r\n").0, ["PUB foo [] 2/0003 abc"]);
    assert_eq!(parse("HPUB foo 0 2\r\nhi\r\n").0, ["PUB foo [] 2 hi"]);
}

#[test]
fn a_control_line_may_be_as_long_as_the_limit() {
    for (verb, fits) in [("SUB ", "a 1"), ("PUB ", "a 0"), ("UNSUB  ", "1 9"), ("CONNECT", "{}")] {
        let longer = |by: usize| {
            let blanks = RULES.max_control_line - fits.len() + by;
            let (first, last) = fits.split_at(1);
            format!("{verb}{first}{}{last}\r\n", " ".repeat(blanks))
        };
        assert_eq!(parse(&longer(0)).1, Ok(()), "{verb}");
        assert_eq!(verdict(&longer(1)), Err(ProtoErr::MaxControlLine), "{verb}");
        let unfinished = longer(9);
        let unfinished = unfinished.trim_end().trim_end_matches(char::is_alphanumeric);
        assert_eq!(verdict(unfinished), Err(ProtoErr::MaxControlLine), "{verb} unfinished");
    }
}

/// Regression: blanks behind the name were kept, without limit, and looked at again for each
/// further byte.
#[test]
fn blanks_behind_the_name_cost_neither_memory_nor_limit() {
    let blanks = [b' '; 1000];
    let mut parser = Parser::new(RULES);
    assert_eq!(parser.next(b"PUB").unwrap(), (None, 3));
    for _ in 0..1000 {
        assert_eq!(parser.next(&blanks).unwrap(), (None, blanks.len()));
        assert!(
            parser.kept_len() <= RULES.max_control_line,
            "{} bytes are kept",
            parser.kept_len()
        );
    }
    let (op, _) = parser.next(b"foo 2\r\nhi\r\n").unwrap();
    assert_eq!(ClientRules::show(&op.unwrap()), "PUB foo [] 2 hi");
}

/// Regression: blanks within a text that stands behind INFO without a blank were taken for those
/// behind the name.
#[test]
fn blanks_within_a_text_are_kept() {
    let mut parser = Parser::new(RULES);
    assert_eq!(parser.next(b"INFO{    ").unwrap(), (None, 9));
    let (op, _) = parser.next(b"}\r\n").unwrap();
    assert_eq!(op, Some(Op::Info(b"{    }")));
}

#[test]
fn the_payload_limit_is_checked_before_the_payload() {
    let rules = ClientRules { max_payload: 10, ..RULES };
    assert_eq!(parse_with(rules, b"PUB a 11\r\n").1, Err(ProtoErr::MaxPayload));
    assert_eq!(parse_with(rules, b"HPUB a 5 11\r\n").1, Err(ProtoErr::MaxPayload));
    assert_eq!(parse_with(rules, b"PUB a 10\r\n0123456789\r\n").0.len(), 1);
}

#[test]
fn whatever_is_not_connect_is_asked_about_where_connect_has_to_come_first() {
    let rules = ClientRules { connect_first: true, ..RULES };
    for input in ["PING\r\n", "P", "SUB a 1\r\n", "PUB a 0\r\n\r\n", "\r\n", "INFO {}\r\n", "X"] {
        let mut parser = Parser::new(rules);
        assert!(parser.next_plain(input.as_bytes()).is_none());
        for _ in 0..2 {
            assert_eq!(
                parser.next(input.as_bytes()),
                Ok((Some(Op::BeforeConnect), 0)),
                "{input:?}"
            );
        }
        parser.rules = RULES;
        assert_ne!(parser.next(input.as_bytes()), Ok((Some(Op::BeforeConnect), 0)), "{input:?}");
    }
    assert_eq!(parse_with(rules, b"connect {}\r\n").0, ["CONNECT {}"]);
    assert_eq!(parse_with(rules, b"CX").1, UNKNOWN);
}

/// Regression: the memory of a payload that came in pieces grew to twice its size.
#[test]
fn a_payload_in_pieces_takes_no_more_than_its_size() {
    let mut parser = Parser::new(RULES);
    let total = "PUB a 1000000\r\n".len() + 1_000_000 + 2;
    parser.next(b"PUB a 1000000\r\n").unwrap();
    for _ in 0..100 {
        assert!(parser.next(&[b'x'; 9_999]).unwrap().0.is_none());
        assert!(parser.kept_len() <= total);
    }
}

/// Pieces of protocol, right and wrong.
const PIECES: [&[u8]; 44] = [
    b"PUB ",
    b"PUB",
    b"HPUB ",
    b"SUB ",
    b"UNSUB ",
    b"CONNECT ",
    b"CONNECT",
    b"PING",
    b"PONG",
    b"+OK",
    b"-ERR ",
    b"INFO ",
    b"PUB a 0\r\n\r\n",
    b"PUB a.b r 3\r\nabc\r\n",
    b"HPUB a 2 4\r\nhdhi\r\n",
    b"HPUB a r 0 1\r\nx\r\n",
    b"PUB  a 2\nhi\r\n",
    b"SUB a q 1\r\n",
    b"UNSUB 1 3\r\n",
    b"PING\r\n",
    b"CONNECT {}\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"  ",
    b"a",
    b"b.c",
    b"*",
    b">",
    b"0",
    b"1",
    b"2",
    b"5",
    b"200",
    b"201",
    b"000000002",
    b"0000000002",
    b"{}",
    b"s",
    b"pub ",
    b"\0",
    b"\xff",
];

fn protocol_like(random: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    if random.bool() {
        return fuzzing::mutated(random, corpus);
    }
    let mut bytes = vec![random.u8(..4) & random.u8(..4) | 1];
    for _ in 0..random.usize(1..30) {
        let piece = PIECES[random.usize(..PIECES.len())];
        let times = if random.u8(..40) == 0 { random.usize(1..120) } else { 1 };
        (0..times).for_each(|_| bytes.extend_from_slice(piece));
    }
    bytes
}

#[test]
fn fuzz_parser_corpus_and_seeded() {
    fuzzing::run("parser", 2_000, fuzz_parser, protocol_like);
}
