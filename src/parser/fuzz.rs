//! Fuzz body of the parser: however the input is cut, the same ops come out of it.

use crate::parser::{Op, Parser, Rules};

/// Small limits, so that short inputs reach them.
const MAX_CONTROL_LINE: usize = 64;
const MAX_PAYLOAD: usize = 200;

/// What a parser may keep besides one control line and one payload: name, blanks and line ends.
const KEPT_SLACK: usize = 32;

/// Parses `bytes` whole, cut in two at each place, byte by byte, and cut at random: ops and error
/// are the same, and what is kept of an op stays within the limits.
///
/// The first byte chooses the rules: whether headers are negotiated, whether CONNECT must come
/// first.
pub fn fuzz_parser(bytes: &[u8]) {
    let Some((&flags, input)) = bytes.split_first() else { return };
    let rules = Rules {
        max_control_line: MAX_CONTROL_LINE,
        max_payload: MAX_PAYLOAD,
        headers: flags & 1 != 0,
        connect_first: flags & 2 != 0,
    };
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
            let (piece, behind) = rest.split_at(random.usize(..=rest.len().min(40)));
            rest = behind;
            (!piece.is_empty() || !rest.is_empty()).then_some(piece)
        });
        assert_same(&whole, &ops(pieces, rules), usize::MAX);
    }
}

fn assert_same(whole: &[String], cut: &[String], at: usize) {
    assert_eq!(whole, cut, "cut at {at}");
}

/// The ops in `pieces` as text, and the error that ends them. After CONNECT anything may come.
fn ops<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, rules: Rules) -> Vec<String> {
    let mut parser = Parser::new(rules);
    let mut ops = Vec::new();
    for mut piece in pieces {
        loop {
            let plain = parser.next_plain(piece).map(|(publish, len)| (Op::Publish(publish), len));
            let (op, used) = match parser.next(piece) {
                Ok(next) => next,
                Err(error) => {
                    ops.push(format!("{error:?}"));
                    return ops;
                }
            };
            assert!(used <= piece.len());
            if let Some((plain, len)) = plain {
                assert_eq!((op.as_ref(), used), (Some(&plain), len), "the short way differs");
            }
            piece = &piece[used..];
            let Some(op) = op else { break };
            check(&op);
            ops.push(format!("{op:?}"));
            if matches!(op, Op::Connect(_)) {
                parser.rules.connect_first = false;
            }
        }
        assert!(piece.is_empty(), "nothing is left when there is no further op");
        let kept_max = MAX_CONTROL_LINE.max(rules.max_control_line) + MAX_PAYLOAD + KEPT_SLACK;
        assert!(parser.kept_len() <= kept_max, "{} bytes are kept", parser.kept_len());
    }
    ops
}

/// What holds for each op, whatever it was made of.
fn check(op: &Op<'_>) {
    let argument = |text: &[u8]| assert!(!text.is_empty() && !text.contains(&b' '));
    match op {
        Op::Publish(publish) => {
            argument(publish.subject);
            assert!(publish.len() <= MAX_PAYLOAD);
            assert_eq!(publish.header().len() + publish.payload().len(), publish.len());
            if !publish.tail.is_empty() {
                let mut tail = Vec::new();
                if !publish.reply.is_empty() {
                    tail.extend_from_slice(publish.reply);
                    tail.push(b' ');
                }
                let line_end = publish.tail.len() - publish.message.len() - 4;
                let (line, message) = publish.tail.split_at(line_end);
                assert!(line.starts_with(&tail) && line.ends_with(publish.size_text));
                assert_eq!(message, [b"\r\n", publish.message, b"\r\n"].concat());
            }
        }
        Op::Sub { subject, queue, sid } => {
            [*subject, *sid].into_iter().chain(*queue).for_each(argument);
        }
        Op::Unsub { sid, max } => [*sid].into_iter().chain(*max).for_each(argument),
        Op::Connect(text) | Op::Info(text) | Op::Err(text) => {
            assert!(text.len() <= MAX_CONTROL_LINE);
        }
        Op::Ping | Op::Pong | Op::Ok => {}
    }
}
