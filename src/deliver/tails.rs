//! `Tails`: the bytes after the head of a frame: those of the publication, or rewritten ones where
//! these do not fit.

use crate::codec::encoder;
use crate::parser::{Publish, Tail};

/// The parts of frames that all receivers share.
pub(super) struct Tails<'a> {
    /// The tail of MSG; of HMSG if `with_header`.
    pub(super) tail: &'a [u8],
    pub(super) with_header: bool,
    pub(super) bytes: u64,
    /// The tail of MSG for receivers without headers, and the bytes of the message.
    pub(super) headless: Option<(&'a [u8], u64)>,
}

impl<'a> Tails<'a> {
    /// The tails of a publication, in `rewritten` where its own cannot be passed on.
    #[inline(always)]
    pub(super) fn new(publish: &'a Publish<'a>, rewritten: &'a mut Vec<u8>) -> Tails<'a> {
        if !publish.tail.is_empty() && publish.header_len.is_none() {
            return Tails::passed_on(Tail { text: publish.tail, len: publish.len() });
        }
        Tails::made(publish, rewritten)
    }

    /// The unchanged tail of a publication without headers.
    #[inline(always)]
    pub(super) fn passed_on(tail: Tail<'a>) -> Tails<'a> {
        Tails { tail: tail.text, with_header: false, bytes: tail.len as u64, headless: None }
    }

    /// The tails of a publication with headers, or with a tail that cannot be passed on.
    fn made(publish: &'a Publish<'a>, rewritten: &'a mut Vec<u8>) -> Tails<'a> {
        let with_header = publish.header_len.is_some();
        let bytes = publish.len() as u64;
        rewritten.clear();
        if publish.tail.is_empty() {
            write_reply(rewritten, publish.reply);
            if let Some(len) = publish.header_len {
                encoder::write_decimal(rewritten, len as u64);
                rewritten.push(b' ');
            }
            rewritten.extend_from_slice(publish.size_text);
            for part in [encoder::CRLF, publish.message, encoder::CRLF] {
                rewritten.extend_from_slice(part);
            }
        }
        let split = rewritten.len();
        if with_header {
            let payload = publish.payload();
            write_reply(rewritten, publish.reply);
            encoder::write_decimal(rewritten, payload.len() as u64);
            for part in [encoder::CRLF, payload, encoder::CRLF] {
                rewritten.extend_from_slice(part);
            }
        }
        let (made, headless) = rewritten.split_at(split);
        Tails {
            tail: if made.is_empty() { publish.tail } else { made },
            with_header,
            bytes,
            headless: with_header.then_some((headless, publish.payload().len() as u64)),
        }
    }
}

fn write_reply(out: &mut Vec<u8>, reply: &[u8]) {
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
}
