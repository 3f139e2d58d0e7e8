//! `Sequel`: work that follows a message, once its match is released.

use std::sync::Arc;

use crate::account::Account;
use crate::base::ids::Kind;
use crate::codec::encoder;
use crate::conn::conn_event;
use crate::conn::subscription::Subscription;
use crate::deliver::Delivery;
use crate::deliver::beyond::Request;
use crate::deliver::latency;
use crate::deliver::row::Publisher;
use crate::deliver::tails::Tails;
use crate::parser::Publish;
use crate::sublist::{Entry, UNLISTED};

/// Work that follows a message.
pub(super) enum Sequel {
    /// The subscription has had its last message.
    Spent(Subscription),
    /// The message is a request to another account.
    Request(Request),
    /// The message is for this server: it may answer a request of another account, bring a
    /// measurement of another server, or be for the server's own client.
    Inline,
}

impl Delivery {
    /// Does the work that follows a message. True if that reached a receiver.
    #[cold]
    pub(super) fn follow_up(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'_>,
        publisher: Publisher<'_>,
    ) -> bool {
        if self.way.hops.is_empty() {
            self.way.count = 0;
        }
        let mut sequels = std::mem::take(&mut self.sequels);
        let mut reached = false;
        for sequel in sequels.drain(..) {
            match sequel {
                Sequel::Spent(subscription) => self.remove_spent(account, &subscription),
                Sequel::Request(request) => {
                    reached |= self.ask(account, &request, publish, publisher);
                }
                Sequel::Inline => {
                    reached = true;
                    self.take(account, publish, publisher);
                }
            }
        }
        self.sequels = sequels;
        reached
    }

    /// Takes a message for this server.
    fn take(&mut self, account: &Arc<Account>, publish: &Publish<'_>, publisher: Publisher<'_>) {
        if !publish.subject.starts_with(b"$SYS.") {
            return self.answer(account, publish, publisher);
        }
        // One that is only traced asks nothing.
        if self.is_only_traced() {
            return;
        }
        if latency::is_remote(publish.subject) {
            self.take_remote(publish.payload());
        } else if publisher.conn.kind != Kind::System {
            self.hand_over(account, publish);
        }
    }

    /// Passes a message on to the server's own client, as to a route.
    fn hand_over(&mut self, account: &Account, publish: &Publish<'_>) {
        let Some(own) = self.registry.system() else { return };
        let tails = Tails::new(publish, &mut self.rewritten);
        let mut head = Vec::with_capacity(HEAD_ROOM + publish.subject.len());
        let account = Some(account.name.as_bytes());
        encoder::write_routed_head(&mut head, tails.with_header, account, publish.subject);
        self.staging.stage_routed(&own, [&head, tails.tail, b""], tails.bytes);
    }

    /// Removes a subscription that has had its last message, in this account or another one.
    fn remove_spent(&mut self, account: &Account, subscription: &Subscription) {
        self.remove(account, subscription);
        if subscription.slot() != UNLISTED {
            self.remove_at_home(subscription);
        }
        let (conn, max) = (subscription.conn(), subscription.max());
        let sid = String::from_utf8_lossy(subscription.sid());
        conn_event!(DEBUG, conn, "Auto-unsubscribe limit of {max} reached for sid '{sid}'");
        conn_event!(TRACE, conn, "<-> [DELSUB {sid}]");
    }
}

/// Room for verb and account in the head of a message.
const HEAD_ROOM: usize = 32;
