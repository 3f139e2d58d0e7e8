//! `Usage`: the number of clients in an account, and the traffic of its connections.
//!
//! No message is counted here. A connection counts its own traffic, which is added when it leaves;
//! monitoring adds that of the open connections.
//! nats: server/accounts.go `stats`, `addClient`, `removeClient`

use crate::base::ids::Kind;
use crate::base::stats::{PerKind, Traffic};

/// The clients and the traffic of an account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// The clients in it now.
    pub client_count: usize,
    /// Its clients at other servers, as far as known.
    pub elsewhere: usize,
    /// Slow consumers among its clients so far.
    pub slow_consumers: u64,
    /// Traffic of all connections that have left, until they left.
    left: PerKind<Traffic>,
    /// Traffic of all connections that have come, before they came: it belongs to other accounts.
    before: PerKind<Traffic>,
}

impl Usage {
    /// Counts a connection in, with its traffic so far.
    pub(super) fn come(&mut self, kind: Kind, before: Traffic) {
        self.client_count += usize::from(kind.is_client());
        self.before[kind] += before;
    }

    /// Counts a connection out, with its traffic so far.
    pub(super) fn go(&mut self, kind: Kind, carried: Traffic) {
        self.client_count -= usize::from(kind.is_client());
        self.left[kind] += carried;
    }

    /// The traffic of the account over connections of that kind; `open` is the traffic of those in
    /// it now.
    #[must_use]
    pub fn traffic(&self, kind: Kind, open: Traffic) -> Traffic {
        let mut carried = open;
        carried += self.left[kind];
        carried.without(self.before[kind])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changes_the_account_takes_nothing_along() {
        let carried = |in_msgs| Traffic { in_msgs, ..Traffic::default() };
        let [mut one, mut other] = [Usage::default(); 2];
        one.come(Kind::Client, carried(0));
        one.go(Kind::Client, carried(3));
        other.come(Kind::Client, carried(3));
        assert_eq!((one.client_count, other.client_count), (0, 1));
        assert_eq!(one.traffic(Kind::Client, carried(0)), carried(3));
        assert_eq!(other.traffic(Kind::Client, carried(5)), carried(2));
        other.go(Kind::Client, carried(7));
        assert_eq!(other.traffic(Kind::Client, carried(0)), carried(4));
        assert_eq!(other.traffic(Kind::Route, carried(0)), carried(0));
    }
}
