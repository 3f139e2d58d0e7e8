//! Messages in a row, their publisher, and their scope.

use std::sync::Arc;

use crate::account::Account;
use crate::conn::Conn;
use crate::parser::{Publish, Queues, RoutedMsg, Tail};
use crate::registry::accounts::Accounts;

/// Messages in a row, delivered together.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The number of messages.
    pub msgs: u64,
    /// Their header blocks and payloads, in bytes.
    pub bytes: u64,
    /// True if the last one reached a receiver.
    pub reached: bool,
}

impl Row {
    /// One message without a receiver so far.
    #[inline]
    pub fn new(first: &Publish<'_>) -> Row {
        Row { msgs: 1, bytes: first.len() as u64, reached: false }
    }

    /// Adds all followers, without receivers.
    #[inline]
    pub(super) fn extend<'a>(&mut self, followers: impl Iterator<Item = Tail<'a>>) {
        followers.for_each(|tail| self.add(tail));
    }

    #[inline]
    pub(super) fn add(&mut self, tail: Tail<'_>) {
        self.msgs += 1;
        self.bytes += tail.len as u64;
    }
}

/// The publisher of messages.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    /// Its connection.
    pub conn: &'a Arc<Conn>,
    /// True if it gets its own messages on its own subscriptions.
    pub echo: bool,
}

/// The scope of a message, among all subscriptions that match its subject.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// True if plain subscriptions get it.
    pub(super) plain: bool,
    pub(super) groups: Groups<'a>,
    /// The subject that clients see, if it is another one.
    pub(super) shown: Option<&'a [u8]>,
    /// True if subscriptions in other accounts get it, which import it.
    pub(super) imports: bool,
}

impl<'a> Scope<'a> {
    /// Of a publication: all subscriptions.
    pub(super) const ALL: Scope<'static> =
        Scope { plain: true, groups: Groups::All, shown: None, imports: true };

    /// Of a request or an answer: subscriptions of the account.
    pub(super) const OWN: Scope<'static> = Scope { imports: false, ..Scope::ALL };

    /// A search for all receivers of a message, whatever their groups.
    #[inline(always)]
    pub(super) fn search(
        &self,
        accounts: &'a Accounts,
        account: &'a Account,
        subject: &'a [u8],
    ) -> Search<'a> {
        let Scope { shown, imports, .. } = *self;
        Search { accounts, account, subject, shown, imports }
    }
}

/// A search for the receivers of a message.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) accounts: &'a Accounts,
    /// The account in which it is published.
    pub(super) account: &'a Account,
    pub(super) subject: &'a [u8],
    /// The subject that clients of that account see, if it is another one.
    pub(super) shown: Option<&'a [u8]>,
    /// True if other accounts import it.
    pub(super) imports: bool,
}

impl<'a> Search<'a> {
    /// The subject that clients of the account see.
    pub(super) fn shown(&self) -> &'a [u8] {
        self.shown.unwrap_or(self.subject)
    }
}

/// The groups that a message is for.
#[derive(Clone, Copy)]
pub(super) enum Groups<'a> {
    All,
    /// Those that another server named, in a message with this reply and size.
    Named {
        queues: Queues<'a>,
        reply: &'a [u8],
        size_text: &'a [u8],
    },
}

impl<'a> Groups<'a> {
    pub(super) fn named(msg: &RoutedMsg<'a>) -> Groups<'a> {
        let Publish { reply, size_text, .. } = msg.publish;
        Groups::Named { queues: msg.queues, reply, size_text }
    }
}
