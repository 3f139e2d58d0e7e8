//! `Servers`: the other servers, as far as they publish in the system account that they live, that
//! they go, and how many clients an account has there.
//!
//! They are known by their ids, with the number of the last message of each: the numbers of one
//! server only grow. A server is forgotten when it says that it goes, when its last connection to
//! this one ends, or when it has been silent for long.
//! nats: server/events.go `remoteServerUpdate`, `updateRemoteServer`, `remoteServerShutdown`,
//! `remoteConnsUpdate`, `checkRemoteServers`
//! nats-differs: there, the end of all connections to a server is not noticed for minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::base::ids::ServerId;
use crate::base::limits::ROUTES_MAX;
use crate::base::moment::Moment;
use crate::base::quoted::Quoted;
use crate::deliver::Delivery;
use crate::system::System;

/// Silence after which a server is forgotten: five of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// Time between two looks for silent ones.
const LOOK_INTERVAL: Duration = Duration::from_secs(90);

/// The servers.
#[derive(Default)]
pub(super) struct Servers {
    known: BTreeMap<ServerId, Known>,
    look_at: Option<Moment>,
}

struct Known {
    seq: u64,
    heard_at: Moment,
}

/// What a message tells of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was not known.
    First,
    /// It goes on.
    Next,
    /// Later messages have come before.
    OutOfOrder,
    /// There are too many.
    Surplus,
}

impl Servers {
    /// Handles the message `seq` of a server.
    pub(super) fn hear(&mut self, id: ServerId, seq: u64, now: Moment) -> News {
        if let Some(known) = self.known.get_mut(&id) {
            if seq <= known.seq {
                return News::OutOfOrder;
            }
            *known = Known { seq, heard_at: now };
            return News::Next;
        }
        if self.known.len() >= ROUTES_MAX {
            return News::Surplus;
        }
        self.known.insert(id, Known { seq, heard_at: now });
        self.look_at.get_or_insert(now + LOOK_INTERVAL);
        News::First
    }

    /// Forgets a server; false if it is not known.
    pub(super) fn forget(&mut self, id: &ServerId) -> bool {
        self.known.remove(id).is_some()
    }

    /// The time to look for silent ones.
    pub(super) fn due(&self) -> Moment {
        self.look_at.unwrap_or(Moment::NEVER)
    }

    /// Forgets silent ones, and returns their ids.
    pub(super) fn forget_silent(&mut self, now: Moment) -> Vec<ServerId> {
        let is_silent = |known: &Known| now - known.heard_at > SILENCE_MAX;
        let silent = self.known.iter().filter(|(_, known)| is_silent(known));
        let silent: Vec<ServerId> = silent.map(|(id, _)| *id).collect();
        silent.iter().for_each(|id| _ = self.forget(id));
        self.look_at = (!self.known.is_empty()).then_some(now + LOOK_INTERVAL);
        silent
    }

    /// The number of them.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }
}

/// The statistics of another server, as far as they matter here.
#[derive(Deserialize)]
struct Statsz {
    server: Sender,
}

/// The clients of an account at another server.
#[derive(Deserialize)]
struct AccountConns {
    server: Sender,
    acc: String,
    #[serde(default)]
    conns: u32,
}

/// The server that has sent a message.
#[derive(Deserialize)]
struct Sender {
    id: String,
    #[serde(default)]
    seq: u64,
}

impl System {
    /// Handles an event of another server: its statistics, or the news that it goes.
    pub(super) fn hear_news(
        &mut self,
        server_id: &str,
        event: &str,
        json: &[u8],
        delivery: &mut Delivery,
    ) {
        if event != "STATSZ" {
            self.forget_server(server_id, delivery);
        } else if let Ok(Statsz { server }) = serde_json::from_slice(json) {
            self.take_note(&server, delivery);
        } else {
            tracing::debug!("Received bad server info for remote server update");
        }
    }

    /// Handles the number of clients of an account at another server. Too many in all servers are
    /// sent away.
    pub(super) fn hear_conns(&mut self, json: &[u8], delivery: &mut Delivery) {
        let Ok(AccountConns { server, acc, conns }) = serde_json::from_slice(json) else {
            tracing::error!("Error unmarshalling account connection event message");
            return;
        };
        let Some(account) = delivery.settings.accounts.find(acc.as_bytes()).cloned() else {
            return;
        };
        let Some(id) = self.take_note(&server, delivery) else { return };
        account.set_elsewhere(id, conns as usize);
        if account.surplus() > 0 {
            self.evictions.begin(&account);
            self.conn.wake();
        }
    }

    /// Takes note of a server, if it is another one and known or new.
    fn take_note(
        &mut self,
        Sender { id, seq }: &Sender,
        delivery: &mut Delivery,
    ) -> Option<ServerId> {
        let id = ServerId::new(id)?;
        if id == self.registry.server_id {
            tracing::error!("Received a message of this server itself: ignored");
            return None;
        }
        // Its last messages may be handled after the end of its last route.
        if !self.servers.known.contains_key(&id) && !self.is_connected(&id) {
            return None;
        }
        match self.servers.hear(id, *seq, delivery.now) {
            News::First => self.broadcast_statsz(delivery),
            News::Next => {}
            News::OutOfOrder => {
                let id = Quoted(id.as_str().as_bytes());
                tracing::error!("Received out of order remote server update from: {id}");
            }
            News::Surplus => return None,
        }
        Some(id)
    }

    /// True if that server has a route to this one.
    fn is_connected(&self, id: &ServerId) -> bool {
        self.look(|view| view.mesh.is_some_and(|mesh| mesh.knows(id.as_str())))
    }

    /// The number of servers, this one included.
    pub(super) fn active_servers(&self) -> usize {
        self.servers.count() + 1
    }

    /// Forgets a server and its clients.
    fn forget_server(&mut self, id: &str, delivery: &mut Delivery) {
        if let Some(id) = ServerId::new(id)
            && self.servers.forget(&id)
        {
            forget_clients(id, delivery);
        }
    }

    /// Forgets servers that have no connection to this one any more.
    pub(super) fn forget_gone(&mut self, delivery: &mut Delivery) {
        let known = self.servers.known.keys();
        let gone: Vec<ServerId> = known.filter(|id| !self.is_connected(id)).copied().collect();
        gone.iter().for_each(|id| self.forget_server(id.as_str(), delivery));
    }

    /// Forgets servers that have been silent for long.
    pub(super) fn forget_silent(&mut self, delivery: &mut Delivery) {
        for id in self.servers.forget_silent(delivery.now) {
            tracing::debug!("Detected orphan remote server: {}", Quoted(id.as_str().as_bytes()));
            forget_clients(id, delivery);
        }
    }
}

fn forget_clients(id: ServerId, delivery: &Delivery) {
    delivery.settings.accounts.iter_any().for_each(|account| account.set_elsewhere(id, 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ServerId {
        ServerId::of_key([number; 32])
    }

    #[test]
    fn numbers_of_a_server_only_grow() {
        let mut servers = Servers::default();
        let mut hear = |one, seq| servers.hear(id(one), seq, Moment::START);
        assert_eq!(
            [hear(1, 5), hear(1, 5), hear(1, 4)],
            [News::First, News::OutOfOrder, News::OutOfOrder]
        );
        assert_eq!([hear(1, 6), hear(2, 1)], [News::Next, News::First]);
        assert_eq!(servers.count(), 2);
        assert!(servers.forget(&id(1)) && !servers.forget(&id(1)));
        assert_eq!(servers.hear(id(1), 1, Moment::START), News::First);
    }

    #[test]
    fn silent_servers_are_forgotten() {
        let mut servers = Servers::default();
        assert_eq!(servers.due(), Moment::NEVER);
        servers.hear(id(1), 1, Moment::START);
        servers.hear(id(2), 1, Moment::START);
        let first = servers.due();
        assert_eq!(servers.forget_silent(first), []);
        servers.hear(id(2), 2, first);
        assert_eq!(servers.forget_silent(servers.due()), [id(1)]);
        servers.forget(&id(2));
        servers.forget_silent(servers.due());
        assert_eq!((servers.count(), servers.due()), (0, Moment::NEVER));
    }

    #[test]
    fn there_is_no_room_for_any_number() {
        let mut servers = Servers::default();
        for number in 0..=ROUTES_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            let expected = if number < ROUTES_MAX { News::First } else { News::Surplus };
            assert_eq!(servers.hear(ServerId::of_key(key), 1, Moment::START), expected);
        }
    }
}
