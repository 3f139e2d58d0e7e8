//! Fuzz bodies of the parser: each cut of the input gives the same ops.

use std::fmt;

use crate::parser::{
    ClientRules, Followers, Grammar, Op, Parser, Publish, RouteOp, RouteRules, RoutedMsg,
};

/// Small limits, so that short inputs reach them.
const MAX_CONTROL_LINE: usize = 64;
const MAX_PAYLOAD: usize = 200;

/// Bytes that a parser may keep besides one control line and one payload: name, blanks, line ends.
const KEPT_SLACK: usize = 32;

/// Bytes that the parser looks at together.
const WORD_LEN: usize = 8;

/// A grammar, with methods for the bodies.
trait Checked: Grammar + Copy {
    /// The op as text, for any grammar; asserts that it is well formed.
    fn check(op: &Self::Op<'_>) -> String;

    /// The same for the op of a plain message.
    fn check_plain(plain: &Self::Plain<'_>) -> String;

    /// Its message.
    fn publish<'a>(plain: &Self::Plain<'a>) -> Publish<'a>;

    /// Allows all ops, if `op` is CONNECT or one that may come before it.
    fn connected(&mut self, op: &Self::Op<'_>);
}

/// The client port: the first byte chooses whether headers are negotiated and whether CONNECT must
/// come first.
pub fn fuzz_parser(bytes: &[u8]) {
    let Some((&flags, input)) = bytes.split_first() else { return };
    let rules = ClientRules {
        max_control_line: MAX_CONTROL_LINE,
        max_payload: MAX_PAYLOAD,
        headers: flags & 1 != 0,
        connect_first: flags & 2 != 0,
    };
    fuzz_cuts(input, rules);
}

/// The route port: the first byte chooses whether accounts are named and whether CONNECT must come
/// first.
pub fn fuzz_route_parser(bytes: &[u8]) {
    let Some((&flags, input)) = bytes.split_first() else { return };
    let rules = RouteRules {
        max_control_line: MAX_CONTROL_LINE,
        max_payload: MAX_PAYLOAD,
        account_absent: flags & 1 != 0,
        connect_first: flags & 2 != 0,
    };
    fuzz_cuts(input, rules);
}

/// Parses `input` whole, cut in two at each place, byte by byte, and cut at random: ops and error
/// are the same, and the kept bytes stay within the limits.
fn fuzz_cuts(input: &[u8], rules: impl Checked) {
    let whole = ops([input], rules);
    // Every place of a long input would take too long; near its ends they are all tried.
    let step = input.len() / 300 + 1;
    for at in (0..input.len()).filter(|at| at % step == 0 || *at < 100 || at + 100 > input.len()) {
        let (front, back) = input.split_at(at);
        assert_same(&whole, &ops([front, back], rules), at);
    }
    assert_same(&whole, &ops(input.chunks(1), rules), 1);
    for round in 0..3 {
        let mut random = fastrand::Rng::with_seed(input.len() as u64 + round);
        let mut rest = input;
        let pieces = std::iter::from_fn(|| {
            let (piece, after) = rest.split_at(random.usize(..=rest.len().min(40)));
            rest = after;
            (!piece.is_empty() || !rest.is_empty()).then_some(piece)
        });
        assert_same(&whole, &ops(pieces, rules), usize::MAX);
    }
}

fn assert_same(whole: &[String], cut: &[String], at: usize) {
    assert_eq!(whole, cut, "cut at {at}");
}

/// The ops in `pieces` as text, and the error that ends them.
fn ops<'a, G: Checked>(pieces: impl IntoIterator<Item = &'a [u8]>, rules: G) -> Vec<String> {
    let mut parser = Parser::new(rules);
    let mut ops = Vec::new();
    let mut arrived = 0;
    for mut piece in pieces {
        arrived += piece.len();
        loop {
            let mut rules = parser.rules;
            let plain = parser.next_plain(piece);
            let plain = plain.map(|(plain, len)| {
                check_alike(&parser, &plain, piece, len);
                (G::check_plain(&plain), len)
            });
            let (op, used) = match parser.next(piece) {
                Ok((op, used)) => (op.map(|op| check_op(&mut rules, &op)), used),
                Err(error) => {
                    ops.push(format!("{error:?}"));
                    return ops;
                }
            };
            parser.rules = rules;
            assert!(used <= piece.len());
            if let Some((plain, len)) = plain {
                assert_eq!((op.as_ref(), used), (Some(&plain), len), "the short way differs");
            }
            piece = &piece[used..];
            let Some(op) = op else { break };
            ops.push(op);
        }
        assert!(piece.is_empty(), "nothing is left when there is no further op");
        // On the route port no payload is too large, but none takes memory before it is there.
        let kept_max = MAX_CONTROL_LINE + MAX_PAYLOAD.max(2 * arrived) + KEPT_SLACK;
        assert!(parser.kept_len() <= kept_max, "{} bytes are kept", parser.kept_len());
    }
    ops
}

/// The message behind a plain one is taken as alike if, and only if, it is a plain message to the
/// same place, and both have neither reply nor headers. At the end of the input, where the next
/// word is not whole, it may be left to a full parse.
fn check_alike<G: Checked>(parser: &Parser<G>, plain: &G::Plain<'_>, piece: &[u8], len: usize) {
    let padded = [piece, &[b'.'; WORD_LEN]].concat();
    let find = |mut input: &[u8]| {
        let before = input.len();
        let tail = Followers::new(Some(parser.take_plain(&mut input, len)), plain).next();
        tail.map(|tail| (tail.text.to_vec(), tail.len, before - len - input.len()))
    };
    let start = |plain: &G::Plain<'_>, text: &[u8]| {
        let publish = G::publish(plain);
        let simple = publish.reply.is_empty() && publish.header_len.is_none();
        simple.then(|| text[..text.len() - publish.tail.len()].to_vec())
    };
    let expected = parser.next_plain(&padded[len..]).and_then(|(next, next_len)| {
        let publish = G::publish(&next);
        let begin = start(&next, &padded[len..len + next_len])?;
        let same = start(plain, &piece[..len])? == begin;
        same.then(|| (publish.tail.to_vec(), publish.len(), next_len))
    });
    assert_eq!(find(&padded), expected);
    let found = find(piece);
    assert!(found.is_none() || found == expected);
}

fn check_op<G: Checked>(rules: &mut G, op: &G::Op<'_>) -> String {
    rules.connected(op);
    G::check(op)
}

impl Checked for ClientRules {
    fn check(op: &Op<'_>) -> String {
        match op {
            Op::Publish(publish) => {
                assert!(publish.len() <= MAX_PAYLOAD);
                check_publish(publish);
            }
            Op::Sub { subject, queue, sid } => {
                [*subject, *sid].into_iter().chain(*queue).for_each(argument);
            }
            Op::Unsub { sid, max } => [*sid].into_iter().chain(*max).for_each(argument),
            Op::Connect(text) | Op::Info(text) | Op::Err(text) => {
                assert!(text.len() <= MAX_CONTROL_LINE);
            }
            Op::Ping | Op::Pong | Op::Ok | Op::BeforeConnect => {}
        }
        show(op)
    }

    fn check_plain(plain: &Publish<'_>) -> String {
        Self::check(&Op::Publish(*plain))
    }

    fn publish<'a>(plain: &Self::Plain<'a>) -> Publish<'a> {
        *plain
    }

    fn connected(&mut self, op: &Op<'_>) {
        self.connect_first &= !matches!(op, Op::Connect(_) | Op::BeforeConnect);
    }
}

impl Checked for RouteRules {
    fn check(op: &RouteOp<'_>) -> String {
        match op {
            RouteOp::Msg(msg) => {
                check_publish(&msg.publish);
                assert_eq!(msg.queues.is_empty(), msg.queues.iter().next().is_none());
                msg.queues.iter().for_each(argument);
                let has_tail = !msg.publish.tail.is_empty();
                assert!(!has_tail || msg.queues.is_empty() || msg.publish.reply.is_empty());
            }
            RouteOp::Sub { subject, queue, .. } => {
                [*subject].into_iter().chain(queue.map(|(name, _)| name)).for_each(argument);
            }
            RouteOp::Unsub { subject, queue, .. } => {
                [*subject].into_iter().chain(*queue).for_each(argument);
            }
            RouteOp::Connect(text) | RouteOp::Info(text) | RouteOp::Err(text) => {
                assert!(text.len() <= MAX_CONTROL_LINE);
            }
            RouteOp::Ping | RouteOp::Pong | RouteOp::Ok | RouteOp::Ignored => {}
        }
        show(op)
    }

    fn check_plain(plain: &RoutedMsg<'_>) -> String {
        Self::check(&RouteOp::Msg(*plain))
    }

    fn publish<'a>(plain: &Self::Plain<'a>) -> Publish<'a> {
        plain.publish
    }

    fn connected(&mut self, op: &RouteOp<'_>) {
        self.connect_first &= !matches!(op, RouteOp::Connect(_));
    }
}

fn show(op: &impl fmt::Debug) -> String {
    format!("{op:?}")
}

fn argument(text: &[u8]) {
    assert!(!text.is_empty() && !text.contains(&b' '));
}

fn check_publish(publish: &Publish<'_>) {
    argument(publish.subject);
    assert_eq!(publish.header().len() + publish.payload().len(), publish.len());
    if publish.tail.is_empty() {
        return;
    }
    let mut line = Vec::new();
    if !publish.reply.is_empty() {
        line.extend_from_slice(publish.reply);
        line.push(b' ');
    }
    let line_end = publish.tail.len() - publish.message.len() - 4;
    let (front, message) = publish.tail.split_at(line_end);
    assert!(front.starts_with(&line) && front.ends_with(publish.size_text));
    assert_eq!(message, [b"\r\n", publish.message, b"\r\n"].concat());
}
