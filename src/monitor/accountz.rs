//! `/accountz` and `/accstatz`: the accounts, and what each has sent and received.
//!
//! nats: server/monitor.go `Accountz`, `accountInfo`, `AccountStatz`; server/accounts.go `statz`

use serde::Serialize;

use crate::account::Account;
use crate::base::moment::Moment;
use crate::monitor::json::Date;
use crate::monitor::subsz;
use crate::monitor::{QueryError, View};

/// The document of `/accountz`: the names, or one account.
#[derive(Debug, Serialize)]
pub struct Accountz<'a> {
    pub server_id: &'a str,
    pub now: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_account: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_detail: Option<AccountDetail>,
}

/// One account.
#[derive(Debug, Serialize)]
pub struct AccountDetail {
    pub account_name: String,
    pub update_time: Date,
    pub expired: bool,
    pub complete: bool,
    pub jetstream_enabled: bool,
    pub leafnode_connections: usize,
    pub client_connections: usize,
    pub subscriptions: u64,
    pub name_tag: String,
    pub sublist_stats: subsz::Stats,
}

/// The document of `/accstatz`.
#[derive(Debug, Serialize)]
pub struct AccountStatz<'a> {
    pub server_id: &'a str,
    pub now: Date,
    pub account_statz: Vec<AccountStat>,
}

/// What one account does.
#[derive(Debug, Serialize)]
pub struct AccountStat {
    pub acc: String,
    pub name: String,
    pub conns: usize,
    pub leafnodes: usize,
    pub total_conns: usize,
    pub num_subscriptions: usize,
    pub sent: Data,
    pub received: Data,
    pub slow_consumers: u64,
}

/// Messages and bytes in one direction, and the share of each kind of server connection.
#[derive(Debug, Default, Serialize)]
pub struct Data {
    #[serde(flatten)]
    pub all: Volume,
    pub gateways: Volume,
    pub routes: Volume,
    pub leafs: Volume,
}

/// A number of messages and their bytes.
#[derive(Debug, Default, Serialize)]
pub struct Volume {
    pub msgs: u64,
    pub bytes: u64,
}

/// Makes the document of `/accountz`; for one account unless `name` is empty.
///
/// # Errors
/// [`QueryError`] if there is no account of that name.
pub fn accountz<'a>(view: &'a View<'_>, name: &str) -> Result<Accountz<'a>, QueryError> {
    let mut accountz = Accountz {
        server_id: view.server_id(),
        now: view.date(view.now),
        system_account: view.settings.options.system_account(),
        accounts: None,
        account_detail: None,
    };
    let accounts = view.registry.accounts();
    if name.is_empty() {
        accountz.accounts = Some(accounts.iter().map(|account| account.name.to_string()).collect());
        return Ok(accountz);
    }
    let account = accounts.iter().find(|account| *account.name == *name);
    let account = account.ok_or_else(|| QueryError(format!("Account {name} does not exist")))?;
    accountz.account_detail = Some(account_detail(view, account));
    Ok(accountz)
}

fn account_detail(view: &View<'_>, account: &Account) -> AccountDetail {
    let mut stats = subsz::Stats::default();
    stats.add(account);
    stats.set_cache(&view.registry.totals().cache);
    AccountDetail {
        account_name: account.name.to_string(),
        update_time: view.date(Moment::START),
        expired: false,
        complete: true,
        jetstream_enabled: false,
        leafnode_connections: 0,
        client_connections: view.registry.client_count(),
        subscriptions: stats.num_subscriptions,
        name_tag: account.name.to_string(),
        sublist_stats: stats,
    }
}

/// Makes the document of `/accstatz`; with `unused`, of accounts without connections too.
pub fn accstatz<'a>(view: &'a View<'_>, unused: bool) -> AccountStatz<'a> {
    let conns = view.registry.client_count();
    // All clients are in the one account there is, so its counters are the server's.
    let totals = view.registry.totals();
    let routed = view.registry.route_traffic();
    let account_statz = view
        .registry
        .accounts()
        .iter()
        .filter(|_| unused || conns > 0)
        .map(|account| AccountStat {
            acc: account.name.to_string(),
            name: account.name.to_string(),
            conns,
            leafnodes: 0,
            total_conns: conns,
            num_subscriptions: account.with_sublist(|sublist| sublist.count()),
            sent: Data {
                all: Volume { msgs: totals.out_msgs, bytes: totals.out_bytes },
                routes: Volume { msgs: routed.out_msgs, bytes: routed.out_bytes },
                ..Data::default()
            },
            received: Data {
                all: Volume { msgs: totals.in_msgs, bytes: totals.in_bytes },
                routes: Volume { msgs: routed.in_msgs, bytes: routed.in_bytes },
                ..Data::default()
            },
            slow_consumers: totals.slow_consumers,
        })
        .collect();
    AccountStatz { server_id: view.server_id(), now: view.date(view.now), account_statz }
}
