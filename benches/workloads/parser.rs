//! The parser alone: reads into ops. One operation is one op.

use std::hint::black_box;

use dialtone::internals::{ClientRules, Grammar, Parser, RouteRules};

use super::{Prepared, READ_LEN, stream};

const OPS: usize = 1000;

const RULES: ClientRules = ClientRules {
    max_control_line: 4096,
    max_payload: 1024 * 1024,
    headers: true,
    connect_first: false,
};

const ROUTE_RULES: RouteRules = RouteRules {
    max_control_line: 16 * 4096,
    max_payload: 1 << 20,
    account_absent: false,
    connect_first: false,
};

/// Messages from another server.
pub(super) fn routed(len: usize) -> Prepared {
    parsed_by(ROUTE_RULES, stream::routed(stream::SUBJECT, len).repeat(OPS), READ_LEN)
}

/// Publications with a payload of `len` bytes, in reads of `read_len` that end anywhere.
pub(super) fn publications(reply: &str, len: usize, read_len: usize) -> Prepared {
    parsed(stream::publication(stream::SUBJECT, reply, len).repeat(OPS), read_len)
}

pub(super) fn with_headers(len: usize) -> Prepared {
    parsed(stream::with_headers(stream::SUBJECT, len).repeat(OPS), READ_LEN)
}

/// Half of the lines SUB, half UNSUB.
pub(super) fn subscriptions() -> Prepared {
    let lines = |sid: usize| format!("SUB {} {sid}\r\nUNSUB {sid}\r\n", stream::SUBJECT);
    parsed((0..OPS / 2).map(lines).collect::<String>().into_bytes(), READ_LEN)
}

fn parsed(input: Vec<u8>, read_len: usize) -> Prepared {
    parsed_by(RULES, input, read_len)
}

fn parsed_by<G: Grammar + 'static>(rules: G, input: Vec<u8>, read_len: usize) -> Prepared {
    let mut parser = Parser::new(rules);
    Prepared::new(OPS, move || {
        let mut ops = 0;
        for mut read in input.chunks(read_len) {
            loop {
                if let Some((message, used)) = parser.next_plain(read) {
                    read = &read[used..];
                    black_box(&message);
                    ops += 1;
                    continue;
                }
                let (op, used) = parser.next(read).expect("the lines are right");
                read = &read[used..];
                let Some(op) = op else { break };
                black_box(&op);
                ops += 1;
            }
        }
        assert_eq!(ops, OPS);
    })
}
