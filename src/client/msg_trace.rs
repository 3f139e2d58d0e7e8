//! Messages of a client that may ask for a trace.
//!
//! nats: server/parser.go `parse`; server/client.go `processHeaderPub`

use crate::client::{Admitted, Client, State};
use crate::deliver::{Delivery, Fate};
use crate::parser::{Publish, parse_size};

impl Client {
    /// Handles a message that may ask for a trace. One that goes nowhere is not counted.
    #[cold]
    pub(super) fn handle_traced(
        &self,
        admitted: &Admitted,
        publish: &Publish<'_>,
        delivery: &mut Delivery,
    ) {
        match self.begin_trace(admitted, publish, publish.len(), delivery) {
            Fate::Delivered => self.handle_untraced(admitted, publish, None, delivery),
            Fate::Untraced(tail) => {
                let publish = tail.publish(publish.subject, publish.reply);
                self.handle_untraced(admitted, &publish, None, delivery);
            }
            Fate::Lost => {}
            Fate::Denied(dest) => self.refuse(&self.denied(&dest).into(), delivery),
        }
        delivery.end_trace();
    }

    /// Publishes the trace of a message that is refused because it is too long, if it asks for one
    /// in the part of its headers that has come with its line.
    #[cold]
    pub(super) fn trace_too_long(&self, op: &[u8], delivery: &mut Delivery) {
        let State::Open(admitted) = &self.state else { return };
        let Some((publish, size)) = headed(op) else { return };
        let fate = self.begin_trace(admitted, &publish, size, delivery);
        if let Fate::Denied(dest) = fate {
            self.refuse(&self.denied(&dest).into(), delivery);
        }
        delivery.note_refusal("maximum payload exceeded");
        delivery.end_trace();
    }

    fn begin_trace(
        &self,
        admitted: &Admitted,
        publish: &Publish<'_>,
        size: usize,
        delivery: &mut Delivery,
    ) -> Fate {
        let permissions = admitted.restriction();
        let may_publish =
            |dest: &[u8]| permissions.is_none_or(|permissions| permissions.can_publish(dest));
        delivery.begin_trace(&admitted.account, (publish, size), &self.conn, may_publish)
    }
}

/// The part of a message with headers that has come, as its line says, and the size that this says.
fn headed(op: &[u8]) -> Option<(Publish<'_>, usize)> {
    let (line, rest) = op.split_at(memchr::memchr(b'\n', op)? + 1);
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let words: Vec<&[u8]> = words.collect();
    let (subject, header_len, size_text) = match &words[..] {
        [verb, subject, header_len, size] | [verb, subject, _, header_len, size]
            if verb.eq_ignore_ascii_case(b"HPUB") =>
        {
            (*subject, *header_len, *size)
        }
        _ => return None,
    };
    let header_len = parse_size(header_len)?.min(rest.len());
    let (reply, tail, message) = (&b""[..], &b""[..], &rest[..header_len]);
    let header_len = Some(header_len);
    Some((Publish { subject, reply, header_len, size_text, message, tail }, parse_size(size_text)?))
}
