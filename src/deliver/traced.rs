//! The receivers of a message with a trace.
//!
//! It goes the way of all others, but alone and not in bundles, and each receiver is noted. If it
//! is only traced, it goes to other servers that trace, and to nobody else.
//! nats: server/client.go `deliverMsg`; server/msgtrace.go `addEgressEvent`, `setHopHeader`

use crate::base::subject;
use crate::codec::msg_trace::Egress;
use crate::conn::Conn;
use crate::conn::subscription::{Shadow, Subscription};
use crate::deliver::matched::subject_of;
use crate::deliver::msg_trace::Traced;
use crate::deliver::offer::Offer;
use crate::sublist::{Entry, UNLISTED};

/// Time to note a receiver, nanoseconds, about.
const NOTE_NS: usize = 500;

const NO_ECHO: &str = "Not delivered because of no echo";
const DENIED: &str = "Not delivered because subscription denies this subject";
const SUBSCRIPTION_CLOSED: &str = "Not delivered because subscription is closed";
const SPENT: &str = "Not delivered because auto-unsubscribe exceeded";
const LAGGING: &str = "Not delivered because fast producer not stalled and consumer is slow";
const CLIENT_CLOSED: &str = "Not delivered because client is closed";
const ONLY_UNSUPPORTED: &str = "Not delivered because remote does not support message tracing";
const UNSUPPORTED: &str = "Message delivered but remote does not support message tracing so no \
                           trace event generated from there";

impl Offer<'_> {
    /// Stages a message with a trace for one subscription, unless it is only traced. True if the
    /// subscription gets it, or would.
    pub(super) fn offer_traced(
        &mut self,
        traced: &Traced,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        special: bool,
    ) -> bool {
        let conn = subscription.conn();
        if !conn.kind.is_client() {
            // This server itself.
            return special && self.claim(subscription, head);
        }
        self.staging.add_work(NOTE_NS);
        let about = conn.about();
        let (account, only) = (about.account(), traced.trace.lock().only);
        let (mut is_noted, mut listed) = (true, subscription.clone());
        if *account != *traced.account.name {
            let seen = subject_of(self.heads, head, subscription.sid());
            traced.trace.lock().note_stream_export(account, seen);
            is_noted = false;
            if let Some(shadow) = self.shadow(subscription, traced, seen) {
                is_noted = shadow.import.allow_trace;
                listed = shadow.subscription;
            }
            if only && !is_noted {
                return true;
            }
        }
        let refused = self.refuse_traced(subscription, slot, head, (special, only)).err();
        if is_noted {
            traced.trace.lock().note_egress(&Egress {
                name: about.name.as_deref().unwrap_or_default(),
                account,
                subscription: listed.subject(),
                queue: subscription.queue().unwrap_or_default(),
                error: refused.unwrap_or_default(),
                ..Egress::to(conn.kind, conn.cid.0)
            });
        }
        if refused.is_none() && !only {
            self.stage(subscription, slot, head, special);
        }
        refused.is_none()
    }

    /// The shadow by which a subscription of another account gets the message as `seen`.
    fn shadow(&self, original: &Subscription, traced: &Traced, seen: &[u8]) -> Option<Shadow> {
        let subscriptions = original.conn().subscriptions();
        let is_it = |Shadow { subscription, import }: &&Shadow| {
            *import.exporter == *traced.account.name
                && subject::matches(subscription.subject(), self.subject)
                && import.subjects.to_local(self.subject, &mut Vec::new()) == seen
        };
        subscriptions.shadows(original).iter().find(is_it).cloned()
    }

    /// The reason that a subscription does not get a message with a trace, if there is one.
    fn refuse_traced(
        &mut self,
        subscription: &Subscription,
        slot: u32,
        head: (u32, u32),
        (special, only): (bool, bool),
    ) -> Result<(), &'static str> {
        let conn = subscription.conn();
        if self.is_echo(slot) {
            return Err(NO_ECHO);
        }
        if special && !self.passes_filters(subscription, head) {
            return Err(DENIED);
        }
        if subscription.slot() == UNLISTED {
            return Err(SUBSCRIPTION_CLOSED);
        }
        if only {
            return Ok(());
        }
        if special && !self.count(subscription) {
            return Err(SPENT);
        }
        if self.staging.leaves_out(conn) {
            return Err(LAGGING);
        }
        if conn.is_closed() {
            return Err(CLIENT_CLOSED);
        }
        Ok(())
    }

    /// Notes a copy of a message with a trace for another server. Returns its number, unless it is
    /// not to be sent.
    pub(super) fn note_hop(&self, traced: &Traced, conn: &Conn) -> Option<String> {
        let about = conn.about();
        let mut trace = traced.trace.lock();
        let hop = trace.next_hop();
        let error = match (conn.takes_traces(), trace.only) {
            (true, _) if conn.is_closed() => CLIENT_CLOSED,
            (true, _) => "",
            (false, true) => ONLY_UNSUPPORTED,
            (false, false) => UNSUPPORTED,
        };
        trace.note_egress(&Egress {
            name: about.name.as_deref().unwrap_or_default(),
            hop: &hop,
            error,
            ..Egress::to(conn.kind, conn.cid.0)
        });
        matches!(error, "" | UNSUPPORTED).then_some(hop)
    }
}
