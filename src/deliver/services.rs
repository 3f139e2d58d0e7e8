//! Requests to the services of this server: messages with a header that names the requester.
//!
//! The services get them as another server would, as RMSG or HMSG, on their own connection.
//! nats: server/accounts.go `processServiceImport`, which passes on `Nats-Request-Info`

use crate::codec::encoder;
use crate::codec::headers::Requester;
use crate::deliver::beyond::Beyond;
use crate::deliver::offer::{self, Offer};

/// Time to stage a request for a service, nanoseconds, about.
const ASK_NS: usize = 1_000;

impl Offer<'_> {
    /// Stages a publication for the services that it asks. Returns their number.
    pub(super) fn offer_services(&mut self, beyond: &Beyond) -> u64 {
        let mut count = 0;
        for service in &beyond.services {
            let conn = service.subscription.conn();
            let is_its_own = conn.slot == self.publisher.conn.slot;
            if is_its_own || conn.is_closed() {
                continue;
            }
            count += 1;
            let (head, (tail, bytes)) = (beyond.head_of(service), self.request());
            if self.traced {
                offer::trace(conn, head, &tail);
            }
            service.subscription.add_delivered(1);
            self.staging.add_work(ASK_NS);
            self.staging.stage_routed(conn, [head, &tail, b""], bytes);
        }
        count
    }

    /// The tail of the message with the header that names the requester, and the bytes of that
    /// message.
    fn request(&self) -> (Vec<u8>, u64) {
        let tails = &self.tails;
        let end = tails.tail.len() - encoder::CRLF.len();
        let message = &tails.tail[end - tails.bytes as usize..end];
        let payload_len = tails.headless.map_or(tails.bytes, |(_, len)| len);
        let (block, payload) = message.split_at(message.len() - payload_len as usize);
        let conn = self.publisher.conn;
        let mut request = Vec::new();
        Requester { slot: conn.slot, cid: conn.cid }.write(block, &mut request);
        let block_len = request.len() as u64;
        request.extend_from_slice(payload);
        let bytes = request.len() as u64;
        let mut tail = Vec::with_capacity(self.reply.len() + request.len() + LINE_ROOM);
        if !self.reply.is_empty() {
            tail.extend_from_slice(self.reply);
            tail.push(b' ');
        }
        encoder::write_decimal(&mut tail, block_len);
        tail.push(b' ');
        encoder::write_decimal(&mut tail, bytes);
        for part in [encoder::CRLF, &request, encoder::CRLF] {
            tail.extend_from_slice(part);
        }
        (tail, bytes)
    }
}

/// Room for the sizes in a line.
const LINE_ROOM: usize = 32;
