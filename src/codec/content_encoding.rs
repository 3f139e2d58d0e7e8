//! `ContentEncoding`: the encoding of an answer in the system account, as its requester wants it.
//!
//! Encoded parts that stand behind each other are the encoding of the whole: both formats allow
//! streams behind a stream.
//! nats: server/events.go `getAcceptEncoding`, `internalSendLoop`

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::codec::{headers, s2};

/// An encoding that is named in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    Snappy,
    Gzip,
    /// None; the requester wants one that does not exist here.
    Identity,
}

impl ContentEncoding {
    /// The encoding that the header block of a request asks for; none if it asks for none. The
    /// name of the header counts in its usual spelling only.
    pub fn wanted(block: &[u8]) -> Option<ContentEncoding> {
        let (_, wanted) = headers::iter(block).find(|(name, _)| *name == b"Accept-Encoding")?;
        let wanted = wanted.to_ascii_lowercase();
        let names = |name: &[u8]| memchr::memmem::find(&wanted, name).is_some();
        let encoding = if names(b"snappy") || names(b"s2") {
            ContentEncoding::Snappy
        } else if names(b"gzip") {
            ContentEncoding::Gzip
        } else {
            ContentEncoding::Identity
        };
        (!wanted.is_empty()).then_some(encoding)
    }

    /// Appends the header block that names it.
    pub fn write_block(self, out: &mut Vec<u8>) {
        let name = match self {
            ContentEncoding::Snappy => "snappy",
            ContentEncoding::Gzip => "gzip",
            ContentEncoding::Identity => "identity",
        };
        headers::write(&[("Content-Encoding", name)], out);
    }

    /// Appends a part of an answer.
    pub fn encode(self, part: &[u8], out: &mut Vec<u8>) {
        match self {
            ContentEncoding::Snappy => s2::write_snappy(part, out),
            ContentEncoding::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::fast());
                let written = encoder.write_all(part).and_then(|()| encoder.finish().map(drop));
                written.expect("memory takes it");
            }
            ContentEncoding::Identity => out.extend_from_slice(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;
    use crate::codec::s2::Decompressor;

    fn wanted(header: &str) -> Option<ContentEncoding> {
        ContentEncoding::wanted(format!("NATS/1.0\r\n{header}\r\n\r\n").as_bytes())
    }

    #[test]
    fn the_requester_says_what_it_takes() {
        assert_eq!(ContentEncoding::wanted(b""), None);
        for (header, encoding) in [
            ("Accept-Encoding: snappy", Some(ContentEncoding::Snappy)),
            ("Accept-Encoding: gzip, SNAPPY", Some(ContentEncoding::Snappy)),
            ("Accept-Encoding: s2", Some(ContentEncoding::Snappy)),
            ("Accept-Encoding: GZIP", Some(ContentEncoding::Gzip)),
            ("Accept-Encoding: zstd", Some(ContentEncoding::Identity)),
            ("Accept-Encoding: ", None),
            ("accept-encoding: snappy", None),
            ("X: snappy", None),
        ] {
            assert_eq!(wanted(header), encoding, "{header}");
        }
    }

    #[test]
    fn parts_behind_each_other_are_the_whole() {
        let parts = [b"{\"server\":".to_vec(), b"x".repeat(200_000), b"}".to_vec()];
        let encoded = |encoding: ContentEncoding| {
            let mut out = Vec::new();
            parts.iter().for_each(|part| encoding.encode(part, &mut out));
            out
        };
        let mut plain = Vec::new();
        let gzip = encoded(ContentEncoding::Gzip);
        MultiGzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, parts.concat());
        let mut snappy = encoded(ContentEncoding::Snappy);
        assert!(snappy.starts_with(b"\xff\x06\0\0sNaPpY") && snappy.len() < 20_000);
        let (mut decompressor, mut plain, mut at) = (Decompressor::new(), Vec::new(), 0);
        while at < snappy.len() {
            let (found, used) = decompressor.next(&mut snappy[at..]).unwrap();
            plain.extend_from_slice(found.as_deref().unwrap_or_default());
            at += used;
        }
        assert_eq!(plain, parts.concat());
        assert_eq!(encoded(ContentEncoding::Identity), parts.concat());
    }
}
