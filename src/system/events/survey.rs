//! `Survey`: the traffic of each account, summed up over the open connections.
//!
//! A connection alone counts its traffic, so whoever wants that of an account has to ask all of
//! them. They are asked in pieces, and the more there are, the older the sums may be: so these take
//! a small part of a core, however often an account changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, Usage};
use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::base::stats::{PerKind, Traffic};
use crate::monitor::accountz::{self, TrafficByAccount};
use crate::registry::Registry;
use crate::registry::settings::Settings;

/// Connections that are asked each time.
const FEW: u32 = 64;

/// The age of sums, for each connection if there are more: some 50 times the time to ask it.
const AGE_PER_CONN: Duration = Duration::from_micros(10);

/// The last sums, and the next ones.
#[derive(Default)]
pub(super) struct Survey {
    /// The traffic of the accounts, by their ids.
    traffic: HashMap<u32, PerKind<Traffic>>,
    /// The time until which it is new enough.
    fresh_until: Moment,
    under_way: Option<Box<UnderWay>>,
}

/// Sums that are being made.
struct UnderWay {
    begin: Moment,
    /// The accounts with the traffic of those that had left by then: a connection that leaves
    /// meanwhile may be missing, but is not counted twice.
    accounts: Vec<(Arc<Account>, Usage)>,
    open: TrafficByAccount,
    count: u32,
    next_slot: usize,
}

impl Survey {
    /// Begins anew, unless the last sums are new enough.
    pub(super) fn renew(&mut self, registry: &Registry, settings: &Settings, now: Moment) {
        if self.under_way.is_some() || now < self.fresh_until {
            return;
        }
        let accounts = settings.accounts.iter();
        self.under_way = Some(Box::new(UnderWay {
            begin: now,
            accounts: accounts.map(|account| (Arc::clone(account), account.usage())).collect(),
            open: TrafficByAccount::new(),
            count: 0,
            next_slot: 0,
        }));
        let _ = self.go_on(registry);
    }

    /// True while sums are being made.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Asks some more connections.
    pub(super) fn go_on(&mut self, registry: &Registry) -> Left {
        let Some(mut sums) = self.under_way.take() else { return Left::Nothing };
        let (conns, next_slot) = registry.conns_from(sums.next_slot);
        sums.count += conns.len() as u32;
        accountz::add_traffic(&conns, &mut sums.open);
        if let Some(next_slot) = next_slot {
            sums.next_slot = next_slot;
            self.under_way = Some(sums);
            return Left::More;
        }
        self.fresh_until = match sums.count {
            ..=FEW => sums.begin,
            count => sums.begin + AGE_PER_CONN * count,
        };
        let sum = |(account, usage): &(Arc<Account>, Usage)| {
            let open = sums.open.get(&*account.name).copied().unwrap_or_default();
            (account.id, accountz::traffic(usage, &open))
        };
        self.traffic = sums.accounts.iter().map(sum).collect();
        Left::Nothing
    }

    /// The traffic of an account.
    pub(super) fn traffic(&self, account: &Account) -> PerKind<Traffic> {
        self.traffic.get(&account.id).copied().unwrap_or_default()
    }
}
