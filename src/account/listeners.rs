//! The events of an account that somebody in the system account listens to.
//!
//! Each client that comes or goes is an event, mostly for nobody. So an account keeps which of its
//! events are heard, with the stamp of the system account for which that is true, and asks again
//! only after interest under `$SYS` has changed there.

use std::sync::atomic::Ordering::Relaxed;

use crate::account::Account;
use crate::base::ids::Kind;
use crate::base::limits::GLOBAL_ACCOUNT;
use crate::base::subject;
use crate::conn::subscription::Subscription;
use crate::sublist::epochs::Stamps;
use crate::sublist::result::MatchResult;

/// A kind of events of an account, as a bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard(u64);

/// The subjects of each kind: before and after the name of the account.
const SUBJECTS: [(Heard, &str, &str); 4] = [
    (Heard::CONNS, "$SYS.SERVER.ACCOUNT.", ".CONNS"),
    (Heard::CONNS, "$SYS.ACCOUNT.", ".SERVER.CONNS"),
    (Heard::CONNECT, "$SYS.ACCOUNT.", ".CONNECT"),
    (Heard::DISCONNECT, "$SYS.ACCOUNT.", ".DISCONNECT"),
];

/// The number of bits.
const BITS: u32 = 3;

impl Heard {
    /// A client has come or gone. Not of the global account.
    pub const CONNS: Heard = Heard(1);
    /// A client has logged in.
    pub const CONNECT: Heard = Heard(2);
    /// The connection of a client has ended.
    pub const DISCONNECT: Heard = Heard(4);

    /// The subjects of such an event of an account, in the order of its messages.
    pub fn subjects(self, account: &str) -> impl Iterator<Item = String> {
        let own = SUBJECTS.iter().filter(move |(kind, ..)| *kind == self);
        own.map(move |(_, before, after)| format!("{before}{account}{after}"))
    }
}

impl Account {
    /// True if a client or another server listens to such an event of this account.
    pub fn is_heard(&self, Heard(kind): Heard, system_account: &Account) -> bool {
        // Never more than changes, so the bits cut off are 0.
        let stamp = system_account.epochs().stamp(b"$SYS") << BITS;
        let known = self.heard.load(Relaxed);
        let heard = match known >> BITS << BITS == stamp {
            true => known,
            false => self.listen(stamp, system_account),
        };
        heard & kind != 0
    }

    #[cold]
    fn listen(&self, stamp: u64, system_account: &Account) -> u64 {
        let kinds = [Heard::CONNS, Heard::CONNECT, Heard::DISCONNECT].into_iter();
        let kinds = kinds.filter(|kind| *kind != Heard::CONNS || *self.name != *GLOBAL_ACCOUNT);
        let heard = kinds.filter(|kind| {
            let mut subjects = kind.subjects(&self.name);
            subjects.any(|subject| system_account.has_listener(subject.as_bytes()))
        });
        let heard = heard.fold(stamp, |all, Heard(kind)| all | kind);
        self.heard.store(heard, Relaxed);
        heard
    }

    /// True if somebody else than this server listens to a valid `subject`.
    pub fn has_listener(&self, subject: &[u8]) -> bool {
        let mut result = MatchResult::new();
        self.match_into(subject, &mut result);
        let is_other = |one: &Subscription| one.conn().kind != Kind::System;
        subject::is_valid_publish(subject) && result.iter().any(is_other)
    }
}
