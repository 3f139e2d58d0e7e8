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

use crate::base::ids::Cid;

/// First line of a block without status.
pub const VERSION: &[u8] = b"NATS/1.0";

/// Status of a request without subscriber.
pub const NO_RESPONDERS: u16 = 503;

const NO_RESPONDERS_HEAD: &[u8] = b"NATS/1.0 503\r\nNats-Subject: ";
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

/// The requester of a service of this server: a connection by slot, and by number, since the slot
/// may have a new owner by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// `Conn.slot`.
    pub slot: u32,
    /// `Conn.cid`.
    pub cid: Cid,
}

const REQUESTER_HEAD: &[u8] = b"NATS/1.0\r\nRequester: ";

impl Requester {
    /// Appends the block of a request: the requester, then the headers in `block`, which may be
    /// empty.
    pub fn write(self, block: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(REQUESTER_HEAD);
        out.extend_from_slice(format!("{} {}\r\n", self.slot, self.cid).as_bytes());
        let version_end = memchr::memchr(b'\n', block).map_or(block.len(), |at| at + 1);
        let headers = &block[version_end..];
        out.extend_from_slice(if headers.is_empty() { b"\r\n" } else { headers });
    }

    /// Reads it from the first header of a block; the request's own headers come later.
    #[must_use]
    pub fn read(block: &[u8]) -> Option<Requester> {
        let line = block.strip_prefix(REQUESTER_HEAD)?.split(|byte| *byte == b'\r').next()?;
        let (slot, cid) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some(Requester { slot: slot.parse().ok()?, cid: Cid(cid.parse().ok()?) })
    }
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

/// Lines without their ends; a bare LF ends one too.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_first_who_asks() {
        let requester = Requester { slot: 3, cid: Cid(17) };
        for (block, written) in [
            ("", "NATS/1.0\r\nRequester: 3 17\r\n\r\n"),
            ("NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nRequester: 3 17\r\nA: b\r\n\r\n"),
            (
                "NATS/1.0\r\nRequester: 0 1\r\n\r\n",
                "NATS/1.0\r\nRequester: 3 17\r\nRequester: 0 1\r\n\r\n",
            ),
            ("NATS/1.0", "NATS/1.0\r\nRequester: 3 17\r\n\r\n"),
        ] {
            let mut request = Vec::new();
            requester.write(block.as_bytes(), &mut request);
            assert_eq!(String::from_utf8(request.clone()).unwrap(), written);
            assert_eq!(Requester::read(&request), Some(requester));
        }
        assert_eq!(Requester::read(b"NATS/1.0\r\nRequester: 3\r\n\r\n"), None);
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
