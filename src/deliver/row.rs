//! Messages in a row, who publishes them, and for whom they are.

use std::sync::Arc;

use crate::conn::Conn;
use crate::parser::{Publish, Queues, RoutedMsg, Tail};

/// Messages in a row, delivered together.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// How many.
    pub msgs: u64,
    /// Their header blocks and payloads, in bytes.
    pub bytes: u64,
    /// Whether the last one reached anybody.
    pub reached: bool,
}

impl Row {
    /// One message, which has reached nobody yet.
    #[inline]
    pub fn new(first: &Publish<'_>) -> Row {
        Row { msgs: 1, bytes: first.len() as u64, reached: false }
    }

    /// All that there are, which reach nobody.
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

/// Who publishes.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    /// Its connection.
    pub conn: &'a Arc<Conn>,
    /// It gets what it publishes, where it subscribed to it.
    pub echo: bool,
}

/// For whom a message is, of all that match its subject.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The plain subscriptions.
    pub(super) plain: bool,
    pub(super) groups: Groups<'a>,
    /// The subject on which clients get it, if it is not its own.
    pub(super) shown: Option<&'a [u8]>,
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
