//! `Tails`: the bytes after the head of a frame: those of the publication, or rewritten ones where
//! these do not fit.

use crate::codec::{encoder, msg_trace};
use crate::conn::Conn;
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

    /// The tail with the number of a copy in its headers; none without headers.
    #[cold]
    pub(super) fn with_hop(&self, reply: &[u8], hop: &str) -> Option<MadeTail> {
        let (_, payload_len) = self.headless?;
        let message = &self.tail[..self.tail.len() - encoder::CRLF.len()];
        let message = &message[message.len() - self.bytes as usize..];
        let (header, payload) = message.split_at(message.len() - payload_len as usize);
        let mut block = Vec::with_capacity(header.len() + HOP_ROOM);
        msg_trace::write_hop(header, hop, &mut block);
        Some(MadeTail::new(reply, &block, payload))
    }
}

/// The tail for one receiver, and true if it is of HMSG: what the others could get is not made.
#[inline(always)]
pub(super) fn for_one<'a>(
    publish: &'a Publish<'a>,
    receiver: &Conn,
    rewritten: &'a mut Vec<u8>,
) -> (bool, Tail<'a>) {
    let has_header = publish.header_len.is_some();
    if !publish.tail.is_empty() && (!has_header || receiver.headers()) {
        return (has_header, Tail { text: publish.tail, len: publish.len() });
    }
    let tails = Tails::made(publish, rewritten);
    match tails.headless {
        Some((text, bytes)) if !receiver.headers() => (false, Tail { text, len: bytes as usize }),
        _ => (tails.with_header, Tail { text: tails.tail, len: tails.bytes as usize }),
    }
}

/// Room for the number of a copy, and its header.
const HOP_ROOM: usize = 64;

/// The tail of a message with another header block.
pub struct MadeTail {
    text: Vec<u8>,
    header_len: usize,
    /// The sizes end before the message, with CR LF.
    message_at: usize,
    size_len: usize,
}

impl MadeTail {
    pub(super) fn new(reply: &[u8], block: &[u8], payload: &[u8]) -> MadeTail {
        let len = block.len() + payload.len();
        let mut text = Vec::with_capacity(reply.len() + len + LINE_ROOM);
        write_reply(&mut text, reply);
        encoder::write_decimal(&mut text, block.len() as u64);
        text.push(b' ');
        let size_at = text.len();
        encoder::write_decimal(&mut text, len as u64);
        let size_len = text.len() - size_at;
        text.extend_from_slice(encoder::CRLF);
        let message_at = text.len();
        for part in [block, payload, encoder::CRLF] {
            text.extend_from_slice(part);
        }
        MadeTail { text, header_len: block.len(), message_at, size_len }
    }

    /// It, and the bytes of its message.
    pub(super) fn text(&self) -> (&[u8], u64) {
        (&self.text, (self.text.len() - encoder::CRLF.len() - self.message_at) as u64)
    }

    /// The publication with this tail.
    pub fn publish<'a>(&'a self, subject: &'a [u8], reply: &'a [u8]) -> Publish<'a> {
        let size_end = self.message_at - encoder::CRLF.len();
        Publish {
            subject,
            reply,
            header_len: Some(self.header_len),
            size_text: &self.text[size_end - self.size_len..size_end],
            message: &self.text[self.message_at..self.text.len() - encoder::CRLF.len()],
            tail: &self.text,
        }
    }
}

/// Room for the sizes in a line, and for the ends of lines.
const LINE_ROOM: usize = 32;

fn write_reply(out: &mut Vec<u8>, reply: &[u8]) {
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
}
