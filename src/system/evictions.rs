//! `Evictions`: clients that are sent away because their account has too many in all servers.
//!
//! The newest go. To find them all connections are looked at, in pieces.
//! nats: server/accounts.go `updateRemoteServer`; server/client.go `maxAccountConnExceeded`

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::account::Account;
use crate::account::responses::Requester;
use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Cid;
use crate::base::left::Left;
use crate::conn::frames::Frames;
use crate::conn::outbound::Policy;
use crate::conn::{Conn, conn_event};
use crate::registry::Registry;
use crate::registry::settings::Settings;

/// The accounts with too many clients, each once.
#[derive(Default)]
pub(super) struct Evictions(VecDeque<Eviction>);

/// The search for the newest clients of an account.
struct Eviction {
    account: Arc<Account>,
    next_slot: usize,
    /// The newest so far, as many as have to go; the oldest of them on top.
    newest: BinaryHeap<Reverse<(Cid, u32)>>,
}

impl Evictions {
    /// Begins with an account.
    pub(super) fn begin(&mut self, account: &Arc<Account>) {
        if self.0.iter().all(|one| one.account.id != account.id) {
            let (next_slot, newest) = (0, BinaryHeap::new());
            self.0.push_back(Eviction { account: Arc::clone(account), next_slot, newest });
        }
    }

    /// Looks at some connections. The clients go after the last one.
    pub(super) fn go_on(&mut self, registry: &Registry, settings: &Settings) -> Left {
        let Some(Eviction { account, next_slot, newest }) = self.0.front_mut() else {
            return Left::Nothing;
        };
        let surplus = account.surplus();
        let (conns, next) = registry.conns_from(*next_slot);
        for conn in conns.iter().filter(|conn| conn.kind.is_client()) {
            if conn.about().account() == &*account.name {
                newest.push(Reverse((conn.cid, conn.slot)));
                if newest.len() > surplus {
                    newest.pop();
                }
            }
        }
        if let Some(next) = next {
            *next_slot = next;
            return Left::More;
        }
        for Reverse((cid, slot)) in newest.drain() {
            if let Some(conn) = registry.conn_of(Requester { slot, cid }) {
                evict(&conn, &settings.policy);
            }
        }
        self.0.pop_front();
        Left::More
    }
}

fn evict(conn: &Conn, policy: &Policy) {
    let error = ProtoErr::MaxAccountConnections;
    conn_event!(ERROR, conn, "{error}");
    let mut line = Vec::new();
    error.write_err(&mut line);
    conn.send(&Frames::from(&line[..]), policy);
    conn.close(ClosedReason::MaxAccountConnectionsExceeded, false);
}
