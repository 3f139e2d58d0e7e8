//! The clients of an account at other servers: the limit of the account holds for all servers.
//!
//! nats: server/accounts.go `updateRemoteServer`, `removeRemoteServer`

use crate::account::Account;
use crate::base::ids::ServerId;

impl Account {
    /// Stores the number of its clients at another server.
    pub fn set_elsewhere(&self, server: ServerId, count: usize) {
        let mut elsewhere = self.elsewhere.lock();
        if count > 0 {
            elsewhere.insert(server, count);
        } else {
            elsewhere.remove(&server);
        }
        let sum = elsewhere.values().sum();
        drop(elsewhere);
        self.usage.lock().elsewhere = sum;
    }

    /// The number of other servers with clients of it.
    pub fn server_count(&self) -> usize {
        self.elsewhere.lock().len()
    }

    /// The number of its clients in all servers that are too many.
    pub fn surplus(&self) -> usize {
        let usage = self.usage();
        let max = self.limits().max_connections.unwrap_or(usize::MAX);
        (usage.client_count + usage.elsewhere).saturating_sub(max)
    }
}
