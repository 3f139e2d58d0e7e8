//! Lines as clients send them.

/// A reply subject as client libraries make them.
pub(super) const INBOX: &str = "_INBOX.mJ3vQ8sR2tL5wX9yB4nC7d.Kq3Zf8aP";

/// The subject of one stream of measurements.
pub(super) const SUBJECT: &str = "plant.line.7.temperature";

/// `PUB subject [reply] size` with a payload of `len` bytes.
pub(super) fn publication(subject: &str, reply: &str, len: usize) -> Vec<u8> {
    let blank = if reply.is_empty() { "" } else { " " };
    let mut line = format!("PUB {subject} {reply}{blank}{len}\r\n").into_bytes();
    line.resize(line.len() + len, b'x');
    line.extend_from_slice(b"\r\n");
    line
}

/// `HPUB subject header-size size` with two headers and a payload of `len` bytes.
pub(super) fn with_headers(subject: &str, len: usize) -> Vec<u8> {
    let header = "NATS/1.0\r\nTrace-Id: 8f14e45fceea167a\r\nUnit: celsius\r\n\r\n";
    let total = header.len() + len;
    let mut line = format!("HPUB {subject} {} {total}\r\n{header}", header.len()).into_bytes();
    line.resize(line.len() + len, b'x');
    line.extend_from_slice(b"\r\n");
    line
}

/// `RMSG $G subject size` of another server with a payload of `len` bytes.
pub(super) fn routed(subject: &str, len: usize) -> Vec<u8> {
    let publication = publication(subject, "", len);
    [b"RMSG $G ", &publication["PUB ".len()..]].concat()
}

/// A number below `count` for each number below it, in an order that defeats the prefetcher.
pub(super) fn scattered(number: usize, count: usize) -> usize {
    // Prime, so that no number comes twice.
    number * 7_919 % count
}
