//! Publications of a client: the subjects that they get, and whether they are allowed.
//!
//! Mappings come first, so permissions count for the mapped subject.
//! nats: server/parser.go `parse`, server/client.go `processInboundClientMsg`

use std::sync::{Arc, LazyLock};

use crate::account::Account;
use crate::account::samples;
use crate::auth::permissions::{self, CompiledPermissions};
use crate::base::errors::{Denied, ProtoErr};
use crate::base::moment::Moment;
use crate::base::quoted::Quoted;
use crate::client::{Admitted, Client, trace};
use crate::conn::conn_event;
use crate::deliver::{Delivery, Publisher, Row};
use crate::parser::{Followers, Publish, Remaining};
use crate::registry::settings::Settings;
use crate::sublist::cache::Shortcut;

/// The permissions of a client without restriction, if its messages may be mapped.
static EVERYTHING: LazyLock<Arc<CompiledPermissions>> = LazyLock::new(Arc::default);

/// The publications allowed on a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Any message on the subject, if it has no reply.
    Subject,
    /// This one message: it answers a request.
    Once,
}

impl Client {
    /// Handles a message that asks for no trace, or whose trace has begun.
    #[inline(always)]
    pub(super) fn handle_untraced<'a>(
        &self,
        admitted: &Admitted,
        publish: &Publish<'a>,
        remaining: Option<Remaining<'_, 'a>>,
        delivery: &mut Delivery,
    ) {
        if admitted.permissions.is_some() {
            return self.handle_checked(admitted, publish, remaining, delivery);
        }
        if may_be_reserved(publish) {
            if let Err(denied) = self.check_reserved(publish) {
                return self.deny(denied, publish, delivery);
            }
            self.measure(admitted, publish, delivery);
        }
        let followers = Followers::new(remaining, publish);
        self.publish(&admitted.account, publish, None, followers, delivery);
    }

    /// Handles a message that may be mapped or denied.
    // The others have a path without it.
    #[inline(never)]
    fn handle_checked<'a>(
        &self,
        admitted: &Admitted,
        published: &Publish<'a>,
        remaining: Option<Remaining<'_, 'a>>,
        delivery: &mut Delivery,
    ) {
        let mapped = delivery.map(&admitted.account, published.subject);
        let publish = match &mapped {
            None => *published,
            Some(mapped) => {
                let subject = &mapped.subject;
                if delivery.is_watched() {
                    trace::mapping(&self.conn, published.subject, subject);
                    delivery.note_mapping(subject);
                }
                Publish { subject, ..*published }
            }
        };
        let permissions = admitted.restriction().map(|permissions| &**permissions);
        if let Some(permissions) = permissions {
            delivery.staging.add_work(permissions.publish_ns());
        }
        match self.check_publish(permissions, &publish, delivery.now) {
            Ok(allowed) => {
                self.measure(admitted, &publish, delivery);
                let shortcut = mapped.as_ref().and_then(|mapped| mapped.shortcut.as_ref());
                let once = allowed == Allowed::Once || mapped.is_some() && shortcut.is_none();
                let followers = Followers::new(remaining.filter(|_| !once), published);
                self.publish(&admitted.account, &publish, shortcut, followers, delivery);
            }
            Err(denied) => self.deny(denied, &publish, delivery),
        }
    }

    /// Measures the service of this client, if another server has asked for that with its request.
    #[inline]
    fn measure(&self, admitted: &Admitted, publish: &Publish<'_>, delivery: &mut Delivery) {
        if samples::is_measured(publish.subject) {
            delivery.measure_service(&admitted.account, publish.subject, &self.conn);
        }
    }

    /// Refuses a message.
    #[cold]
    fn deny(&self, denied: Denied, publish: &Publish<'_>, delivery: &mut Delivery) {
        delivery.count_in(&self.conn, Row::new(publish));
        let error = ProtoErr::from(denied);
        delivery.note_refusal(&error.to_string());
        self.refuse(&error, delivery);
    }

    /// Delivers a message that is allowed, and its followers. Its subject may have a `shortcut`.
    #[inline(always)]
    fn publish<'a, 'f: 'a>(
        &self,
        account: &Arc<Account>,
        publish: &Publish<'a>,
        shortcut: Option<&Shortcut>,
        followers: Followers<'_, 'f>,
        delivery: &mut Delivery,
    ) {
        self.ok(delivery);
        let publisher = Publisher { conn: &self.conn, echo: self.asked.echo };
        let row = delivery.deliver(account, publish, shortcut, followers, publisher);
        delivery.count_in(&self.conn, row);
        if !row.reached {
            self.no_responders(account, publish, delivery);
        }
    }

    /// Tells the publisher of a request that nobody got it, if it wants to know.
    #[inline]
    pub(super) fn no_responders(
        &self,
        account: &Account,
        msg: &Publish<'_>,
        delivery: &mut Delivery,
    ) {
        if self.asked.no_responders && !msg.reply.is_empty() {
            delivery.no_responders(account, msg, &self.conn);
        }
    }

    /// Checks that the client may publish this, and returns how far that holds for other messages.
    fn check_publish(
        &self,
        permissions: Option<&CompiledPermissions>,
        publish: &Publish<'_>,
        now: Moment,
    ) -> Result<Allowed, Denied> {
        let subject = publish.subject;
        let mut allowed = Allowed::Subject;
        if let Some(permissions) = permissions
            && !permissions.can_publish(subject)
        {
            if !self.conn.take_reply(subject, now) {
                return Err(self.denied(subject));
            }
            allowed = Allowed::Once;
        }
        if may_be_reserved(publish) {
            self.check_reserved(publish)?;
        }
        Ok(allowed)
    }

    /// Checks that no subject of the server's own is meant.
    fn check_reserved(&self, publish: &Publish<'_>) -> Result<(), Denied> {
        if permissions::is_reserved_subject(publish.subject) {
            return Err(self.denied(publish.subject));
        }
        if permissions::is_reserved_reply(publish.reply) {
            let quoted = Quoted(publish.reply);
            conn_event!(ERROR, &self.conn, "Publish Violation - Reply {quoted}");
            return Err(Denied::PublishReply { reply: publish.reply.into() });
        }
        Ok(())
    }

    pub(super) fn denied(&self, subject: &[u8]) -> Denied {
        let quoted = Quoted(subject);
        conn_event!(ERROR, &self.conn, "Publish Violation - Subject {quoted}");
        Denied::Publish { subject: subject.into() }
    }
}

impl Admitted {
    /// Makes it check its messages if some of them may be mapped.
    pub(super) fn heed_mappings(&mut self, settings: &Settings) {
        let is_mapped = settings.accounts.mappings(&self.account).is_some();
        let everything = || is_mapped.then(|| Arc::clone(&EVERYTHING));
        self.permissions = self.restriction().cloned().or_else(everything);
    }

    /// The permissions of its user, if it may not do everything.
    pub(super) fn restriction(&self) -> Option<&Arc<CompiledPermissions>> {
        self.permissions.as_ref().filter(|permissions| !Arc::ptr_eq(permissions, &EVERYTHING))
    }
}

/// True if a subject of a message may be reserved. Most are not worth a call: all reserved ones
/// begin with one of these two.
#[inline]
fn may_be_reserved(publish: &Publish<'_>) -> bool {
    let is_special = |subject: &[u8]| matches!(subject.first(), Some(b'$' | b'_'));
    is_special(publish.subject) || is_special(publish.reply)
}
