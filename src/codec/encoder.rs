//! Writes protocol lines into a buffer, in both directions.
//!
//! Checks nothing: subjects, sids and sizes are written as given. The lines of
//! [`Info`](crate::codec::info::Info) and of [`ProtoErr`](crate::base::errors::ProtoErr) write
//! themselves.
//! nats: server/client.go `msgHeader`, `processPing`, `sendOK`

use serde::Serialize;

/// Asks for a PONG, as a sign of life.
pub const PING: &[u8] = b"PING\r\n";
/// Answers PING.
pub const PONG: &[u8] = b"PONG\r\n";
/// Accepts a verb of a verbose client.
pub const OK: &[u8] = b"+OK\r\n";
/// Ends each line and each payload.
pub const CRLF: &[u8] = b"\r\n";

/// Appends `HMSG <subject> <sid> [reply] <header size> <total size>` and CRLF. Header block,
/// payload and a CRLF must follow.
pub fn write_hmsg(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    header_len: usize,
    total_len: usize,
) {
    write_words(out, b"HMSG", [Some(subject), Some(sid), reply]);
    out.push(b' ');
    write_decimal(out, header_len as u64);
    write_last_number(out, total_len);
}

/// Appends a whole PUB with its payload.
pub fn write_pub(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>, payload: &[u8]) {
    write_words(out, b"PUB", [Some(subject), reply]);
    write_last_number(out, payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// Appends a whole HPUB with its header block and payload.
pub fn write_hpub(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: Option<&[u8]>,
    header_block: &[u8],
    payload: &[u8],
) {
    write_words(out, b"HPUB", [Some(subject), reply]);
    out.push(b' ');
    write_decimal(out, header_block.len() as u64);
    write_last_number(out, header_block.len() + payload.len());
    out.extend_from_slice(header_block);
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// Appends `SUB <subject> [queue] <sid>` and CRLF.
pub fn write_sub(out: &mut Vec<u8>, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
    write_words(out, b"SUB", [Some(subject), queue, Some(sid)]);
    out.extend_from_slice(CRLF);
}

/// Appends `UNSUB <sid> [max]` and CRLF.
pub fn write_unsub(out: &mut Vec<u8>, sid: &[u8], max: Option<u64>) {
    write_words(out, b"UNSUB", [Some(sid)]);
    if let Some(max) = max {
        out.push(b' ');
        write_decimal(out, max);
    }
    out.extend_from_slice(CRLF);
}

/// Appends the CONNECT line: of a client from a [`Connect`](crate::codec::connect::Connect), of a
/// server from a [`RouteConnect`](crate::codec::connect::RouteConnect).
pub fn write_connect(out: &mut Vec<u8>, connect: &impl Serialize) {
    out.extend_from_slice(b"CONNECT ");
    serde_json::to_writer(&mut *out, connect).expect("plain data into memory");
    out.extend_from_slice(CRLF);
}

/// Appends `RS+ [account] <subject> [<queue> <weight>]` and CRLF. `account` is none on a connection
/// dedicated to it.
pub fn write_rs_plus(
    out: &mut Vec<u8>,
    account: Option<&[u8]>,
    subject: &[u8],
    queue: Option<(&[u8], u32)>,
) {
    write_words(out, b"RS+", [account, Some(subject), queue.map(|(name, _)| name)]);
    if let Some((_, weight)) = queue {
        out.push(b' ');
        write_decimal(out, u64::from(weight));
    }
    out.extend_from_slice(CRLF);
}

/// Appends `RS- [account] <subject> [queue]` and CRLF, like [`write_rs_plus`].
pub fn write_rs_minus(
    out: &mut Vec<u8>,
    account: Option<&[u8]>,
    subject: &[u8],
    queue: Option<&[u8]>,
) {
    write_words(out, b"RS-", [account, Some(subject), queue]);
    out.extend_from_slice(CRLF);
}

/// Appends the head of a message to another server: `RMSG [account] <subject> ` or the same with
/// HMSG. The rest of the publication's line follows, or [`write_reply_and_queues`] and the sizes.
pub fn write_routed_head(out: &mut Vec<u8>, headers: bool, account: Option<&[u8]>, subject: &[u8]) {
    write_words(out, if headers { b"HMSG" } else { b"RMSG" }, [account, Some(subject)]);
    out.push(b' ');
}

/// Appends the names of a routed message: `<reply> `, `| <queue> ... ` or `+ <reply> <queue> ... `.
/// There is no reply if it is empty.
pub fn write_reply_and_queues<'a>(
    out: &mut Vec<u8>,
    reply: &[u8],
    queues: impl IntoIterator<Item = &'a [u8]>,
) {
    let mut queues = queues.into_iter().peekable();
    if queues.peek().is_some() {
        out.extend_from_slice(if reply.is_empty() { b"| " } else { b"+ " });
    }
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    for queue in queues {
        out.extend_from_slice(queue);
        out.push(b' ');
    }
}

/// Appends `number` in decimal digits.
pub fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20]; // as many as u64::MAX has
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn write_words<const N: usize>(out: &mut Vec<u8>, verb: &[u8], words: [Option<&[u8]>; N]) {
    out.extend_from_slice(verb);
    for word in words.into_iter().flatten() {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

fn write_last_number(out: &mut Vec<u8>, number: usize) {
    out.push(b' ');
    write_decimal(out, number as u64);
    out.extend_from_slice(CRLF);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::connect::Connect;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_to_clients() {
        assert_eq!(written(|o| write_hmsg(o, b"a", b"7", None, 12, 14)), "HMSG a 7 12 14\r\n");
        assert_eq!(written(|o| write_hmsg(o, b"a", b"7", Some(b"r"), 1, 2)), "HMSG a 7 r 1 2\r\n");
    }

    #[test]
    fn lines_to_servers() {
        assert_eq!(written(|o| write_pub(o, b"a", None, b"")), "PUB a 0\r\n\r\n");
        assert_eq!(written(|o| write_pub(o, b"a", Some(b"r"), b"hi")), "PUB a r 2\r\nhi\r\n");
        assert_eq!(
            written(|o| write_hpub(o, b"a", Some(b"r"), b"NATS/1.0\r\n\r\n", b"hi")),
            "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
        );
        assert_eq!(written(|o| write_sub(o, b"a.>", None, b"1")), "SUB a.> 1\r\n");
        assert_eq!(written(|o| write_sub(o, b"a", Some(b"q"), b"1")), "SUB a q 1\r\n");
        assert_eq!(written(|o| write_unsub(o, b"1", None)), "UNSUB 1\r\n");
        assert_eq!(written(|o| write_unsub(o, b"1", Some(5))), "UNSUB 1 5\r\n");
        let connect = Connect { name: Some("n".into()), ..Connect::default() };
        assert_eq!(
            written(|o| write_connect(o, &connect)),
            "CONNECT {\"verbose\":true,\"pedantic\":true,\"echo\":true,\"headers\":false,\
             \"no_responders\":false,\"tls_required\":false,\"protocol\":0,\"name\":\"n\"}\r\n"
        );
    }

    #[test]
    fn lines_between_servers() {
        let account = Some(&b"$G"[..]);
        assert_eq!(written(|o| write_rs_plus(o, account, b"a.*", None)), "RS+ $G a.*\r\n");
        let queue = Some((&b"q"[..], 2));
        assert_eq!(written(|o| write_rs_plus(o, account, b"a", queue)), "RS+ $G a q 2\r\n");
        assert_eq!(written(|o| write_rs_plus(o, None, b"a", queue)), "RS+ a q 2\r\n");
        assert_eq!(written(|o| write_rs_minus(o, account, b"a", None)), "RS- $G a\r\n");
        assert_eq!(written(|o| write_rs_minus(o, None, b"a", Some(b"q"))), "RS- a q\r\n");
        assert_eq!(written(|o| write_routed_head(o, false, account, b"a")), "RMSG $G a ");
        assert_eq!(written(|o| write_routed_head(o, true, None, b"a")), "HMSG a ");
        let names = |reply: &[u8], queues: &[&str]| {
            let queues = queues.iter().map(|queue| queue.as_bytes());
            written(|o| write_reply_and_queues(o, reply, queues))
        };
        assert_eq!(names(b"", &[]), "");
        assert_eq!(names(b"r", &[]), "r ");
        assert_eq!(names(b"", &["q1", "q2"]), "| q1 q2 ");
        assert_eq!(names(b"r", &["q1"]), "+ r q1 ");
    }

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        let edges = (0..20).flat_map(|power| [10u64.pow(power) - 1, 10u64.pow(power)]);
        for number in edges.chain([u64::MAX]) {
            assert_eq!(written(|o| write_decimal(o, number)), number.to_string());
        }
    }
}
