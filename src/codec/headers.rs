//! The header block of HPUB and HMSG.
//!
//! ```text
//! NATS/1.0[ <status>[ <description>]] CRLF
//! <name>: <value> CRLF            any number of times
//! CRLF
//! ```
//!
//! The server passes blocks on unread, with any content; it only writes the one for "no
//! responders". Clients read blocks: names match in any case, blanks around values do not count,
//! lines without a colon are skipped.
//! nats: server/client.go `processInboundClientMsg` (503), `hdrLine`

/// First line of a block without status.
pub const VERSION: &[u8] = b"NATS/1.0";

/// Status of a request without subscriber.
pub const NO_RESPONDERS: u16 = 503;

const NO_RESPONDERS_HEAD: &[u8] = b"NATS/1.0 503\r\nNats-Subject: ";
const CRLF: &[u8] = b"\r\n";
const END: &[u8] = b"\r\n\r\n";

/// Length of the block of [`write_no_responders`], bytes.
#[must_use]
pub fn no_responders_len(subject: &[u8]) -> usize {
    NO_RESPONDERS_HEAD.len() + subject.len() + END.len()
}

/// Appends the block that reports to a publisher that its request to `subject` has no subscriber.
pub fn write_no_responders(subject: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(NO_RESPONDERS_HEAD);
    out.extend_from_slice(subject);
    out.extend_from_slice(END);
}

/// Appends `block`, which may be empty, with one header more as its last, and without all others of
/// that name. Whatever a client may take for a line counts as one; lines behind the end of the
/// block are left out.
pub fn write_with_last(
    block: &[u8],
    name: &str,
    write_value: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    let (first, mut rest) = split_line(block);
    out.extend_from_slice(if first.is_empty() { VERSION } else { first });
    while !rest.is_empty() {
        let (line, others) = split_line(rest);
        rest = others;
        let other = memchr::memchr(b':', line).unwrap_or(line.len());
        if line.is_empty() {
            break;
        }
        if !line[..other].trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            out.extend_from_slice(CRLF);
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(CRLF);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    write_value(out);
    out.extend_from_slice(END);
}

/// Appends a block with these names and values. None of them may hold CR or LF.
pub fn write<N: AsRef<str>, V: AsRef<str>>(headers: &[(N, V)], out: &mut Vec<u8>) {
    out.extend_from_slice(VERSION);
    for (name, value) in headers {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_ref().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_ref().as_bytes());
    }
    out.extend_from_slice(END);
}

/// Status number and description of the first line; `None` without a status.
#[must_use]
pub fn status(block: &[u8]) -> Option<(u16, &[u8])> {
    let line = lines(block).next()?.strip_prefix(VERSION)?.trim_ascii();
    let (digits, description) = line.split_at_checked(3)?;
    let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((code, description.trim_ascii()))
}

/// Names and values in the order of the block.
pub fn iter(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(block).skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
    })
}

/// Value of the first header of this name.
#[must_use]
pub fn find<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    iter(block).find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
}

/// The first line without its end, be that CR LF, CR or LF, and the text behind that.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    (line, rest.strip_prefix(CRLF).unwrap_or(rest.get(1..).unwrap_or_default()))
}

/// Lines without their ends; a bare LF ends one too.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_header_is_the_only_one_of_its_name() {
        for (block, written) in [
            ("", "NATS/1.0\r\nN-I: v\r\n\r\n"),
            ("NATS/1.0\r\n\r\n", "NATS/1.0\r\nN-I: v\r\n\r\n"),
            ("NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nA: b\r\nN-I: v\r\n\r\n"),
            ("NATS/1.0 200 OK\r\n\r\n", "NATS/1.0 200 OK\r\nN-I: v\r\n\r\n"),
            ("NATS/1.0\r\nN-I: 1\r\nA:b\r\nN-I: 2\r\n\r\n", "NATS/1.0\r\nA:b\r\nN-I: v\r\n\r\n"),
            // In any spelling, and with any line end.
            (
                "NATS/1.0\r\n n-i : 1\r\nN-I:2\r\nN-Id: 3\r\n\r\n",
                "NATS/1.0\r\nN-Id: 3\r\nN-I: v\r\n\r\n",
            ),
            ("NATS/1.0\nA: b\rN-I: 1\nn-I: 2", "NATS/1.0\r\nA: b\r\nN-I: v\r\n\r\n"),
            // Nothing hides ours.
            ("NATS/1.0\r\nA: b\r\n\r\nN-I: 1\r\n\r\n", "NATS/1.0\r\nA: b\r\nN-I: v\r\n\r\n"),
            ("\r\nA: b", "NATS/1.0\r\nA: b\r\nN-I: v\r\n\r\n"),
        ] {
            let mut out = Vec::new();
            write_with_last(block.as_bytes(), "N-I", |out| out.push(b'v'), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), written, "{block:?}");
        }
    }

    #[test]
    fn no_responders_block_is_the_real_servers() {
        let mut block = Vec::new();
        write_no_responders(b"nobody", &mut block);
        assert_eq!(block, b"NATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n");
        assert_eq!(block.len(), no_responders_len(b"nobody"));
        assert_eq!(status(&block), Some((NO_RESPONDERS, &b""[..])));
        assert_eq!(find(&block, "nats-subject"), Some(&b"nobody"[..]));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut block = Vec::new();
        write(&[("A", "1"), ("B", ""), ("A", "x: y")], &mut block);
        assert_eq!(block, b"NATS/1.0\r\nA: 1\r\nB: \r\nA: x: y\r\n\r\n");
        let all: Vec<_> = iter(&block).collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"B", b""), (b"A", b"x: y")]);
        assert_eq!(status(&block), None);

        let mut empty = Vec::new();
        write::<&str, &str>(&[], &mut empty);
        assert_eq!(empty, b"NATS/1.0\r\n\r\n");
    }

    #[test]
    fn status_may_have_a_description() {
        assert_eq!(
            status(b"NATS/1.0 408 Request Timeout\r\n\r\n"),
            Some((408, &b"Request Timeout"[..]))
        );
        assert_eq!(status(b"NATS/1.0 100"), Some((100, &b""[..])));
    }

    #[test]
    fn no_block_is_too_broken_to_read() {
        for block in
            [&b""[..], b"abcde", b"\r\n", b"NATS/1.0", b"NATS/1.0 x", b"NATS/1.0 \xff\xff\xff"]
        {
            assert_eq!(status(block), None);
            assert_eq!(iter(block).count(), 0);
            assert_eq!(find(block, ""), None);
        }
        assert_eq!(
            iter(b"NATS/1.0\nno colon\n:v\nn:\n\n").collect::<Vec<_>>(),
            [(&b""[..], &b"v"[..]), (b"n", b"")]
        );
    }
}
