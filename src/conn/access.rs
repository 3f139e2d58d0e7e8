//! `Access`: the permissions of a connection, for deliveries to it.

use std::sync::Arc;

use crate::auth::permissions::{CompiledPermissions, Replies};
use crate::base::ids::Kind;
use crate::base::moment::Moment;

/// The permissions of its user, and the replies that it may publish now.
pub(super) struct Access {
    permissions: Arc<CompiledPermissions>,
    replies: Option<Box<Replies>>,
}

impl Access {
    /// The access of a user with these permissions.
    pub(super) fn new(permissions: Arc<CompiledPermissions>) -> Access {
        let replies = permissions.replies().map(Box::new);
        Access { permissions, replies }
    }

    /// The permissions of its user.
    pub(super) fn permissions(&self) -> Arc<CompiledPermissions> {
        Arc::clone(&self.permissions)
    }

    /// True if its user has `allow_responses`.
    pub(super) fn answers(&self) -> bool {
        self.replies.is_some()
    }

    /// True if a message on `subject` may go to a subscription in `queue`, or to another server.
    pub(super) fn can_deliver(&self, kind: Kind, subject: &[u8], queue: Option<&[u8]>) -> bool {
        match kind {
            Kind::Client | Kind::System => self.permissions.can_deliver(subject, queue),
            Kind::Route => self.permissions.can_export(subject),
        }
    }

    /// Allows messages to `reply`, unless they are allowed anyway.
    pub(super) fn allow_reply(&mut self, reply: &[u8], now: Moment) {
        if let Some(replies) = &mut self.replies
            && !self.permissions.can_publish(reply)
        {
            replies.open(reply, now.0);
        }
    }

    /// Uses up one reply to `subject`; false if none is allowed.
    pub(super) fn take_reply(&mut self, subject: &[u8], now: Moment) -> bool {
        self.replies.as_mut().is_some_and(|replies| replies.take(subject, now.0))
    }
}
