//! `/accountz` and `/accstatz`: the accounts, with exports and imports, and their traffic.
//!
//! nats: server/monitor.go `Accountz`, `accountInfo`, `AccountStatz`; server/accounts.go `statz`

mod sharing;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use crate::account::{Account, Usage};
use crate::base::ids::Kind;
use crate::base::moment::Moment;
use crate::base::stats::{PerKind, Traffic};
use crate::codec::date::Date;
use crate::codec::info::is_default;
use crate::codec::json::{JsonError, Reader};
use crate::config::options::{Options, Share, SubjectMapping};
use crate::conn::Conn;
use crate::monitor::subsz;
use crate::monitor::{QueryError, View};

use sharing::{ExportDetail, ImportDetail, RequestDetail};

/// The accounts that `/accstatz` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatzQuery {
    /// Only these, in this order, unless there are none.
    pub accounts: Vec<String>,
    /// Shows those without connections, too.
    pub unused: bool,
}

/// The document of `/accountz`: the names, or one account.
#[derive(Debug, Serialize)]
pub struct Accountz<'a> {
    pub server_id: &'a str,
    pub now: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_detail: Option<AccountDetail<'a>>,
}

/// One account.
#[derive(Debug, Serialize)]
pub struct AccountDetail<'a> {
    pub account_name: String,
    pub update_time: Date,
    #[serde(skip_serializing_if = "is_default")]
    pub is_system: bool,
    pub expired: bool,
    pub complete: bool,
    pub jetstream_enabled: bool,
    pub leafnode_connections: usize,
    pub client_connections: usize,
    pub subscriptions: u64,
    /// By their sources.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mappings: BTreeMap<&'a str, Vec<Destination<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportDetail>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<ImportDetail>,
    pub name_tag: String,
    pub sublist_stats: subsz::Stats,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub responses: BTreeMap<String, RequestDetail>,
}

/// A destination of a mapping.
#[derive(Debug, Serialize)]
pub struct Destination<'a> {
    pub subject: Cow<'a, str>,
    /// With the weights of the destinations before it.
    pub weight: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cluster: &'a str,
}

/// The document of `/accstatz`.
#[derive(Debug, Serialize)]
pub struct AccountStatz<'a> {
    pub server_id: &'a str,
    pub now: Date,
    pub account_statz: Vec<AccountStat>,
}

/// The activity of one account.
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
///
/// nats-differs: connections to other servers that carry several accounts count for the global one.
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

impl Volume {
    /// The part of the traffic that this server has sent.
    pub fn sent(traffic: &Traffic) -> Volume {
        Volume { msgs: traffic.out_msgs, bytes: traffic.out_bytes }
    }

    /// The part of the traffic that this server has received.
    pub fn received(traffic: &Traffic) -> Volume {
        Volume { msgs: traffic.in_msgs, bytes: traffic.in_bytes }
    }
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
    if name.is_empty() {
        let names = view.settings.accounts.iter().map(|account| account.name.to_string());
        accountz.accounts = Some(names.collect());
        return Ok(accountz);
    }
    accountz.account_detail = Some(account_info(view, name)?);
    Ok(accountz)
}

/// Makes the document of one account alone.
///
/// # Errors
/// [`QueryError`] if there is no account of that name.
pub fn account_info<'a>(view: &'a View<'_>, name: &str) -> Result<AccountDetail<'a>, QueryError> {
    let account = view.settings.accounts.find(name.as_bytes());
    let account = account.ok_or_else(|| QueryError(format!("Account {name} does not exist")))?;
    Ok(account_detail(view, account))
}

fn account_detail<'a>(view: &'a View<'_>, account: &Account) -> AccountDetail<'a> {
    let mut stats = subsz::Stats::default();
    stats.add(view.sublist_stats(account));
    stats.set_cache(&view.registry.totals().cache);
    let options = view.settings.options.accounts.iter().find(|one| *one.name == *account.name);
    AccountDetail {
        account_name: account.name.to_string(),
        update_time: view.date(Moment::START),
        is_system: view.settings.options.system_account() == Some(&account.name),
        expired: false,
        complete: true,
        jetstream_enabled: false,
        leafnode_connections: 0,
        client_connections: account.usage().client_count,
        subscriptions: stats.num_subscriptions,
        mappings: mappings(&view.settings.options, &account.name),
        exports: options.map(sharing::exports).unwrap_or_default(),
        imports: sharing::imports(view.settings.accounts.imports(account)),
        name_tag: account.name.to_string(),
        sublist_stats: stats,
        responses: sharing::responses(account),
    }
}

fn mappings<'a>(options: &'a Options, account: &str) -> BTreeMap<&'a str, Vec<Destination<'a>>> {
    let own = options.mappings_by_account().filter(|(name, _)| *name == account);
    let destinations = |mapping: &'a SubjectMapping| {
        let all = mapping.clusters().into_iter().flat_map(|cluster| {
            let destination = move |Share { destination, end }| Destination {
                subject: destination,
                weight: end,
                cluster: cluster.unwrap_or_default(),
            };
            mapping.shares(cluster).into_iter().map(destination)
        });
        (mapping.source.as_str(), all.collect())
    };
    own.flat_map(|(_, mappings)| mappings).map(destinations).collect()
}

impl StatzQuery {
    /// Takes the value of an option in a JSON body.
    ///
    /// # Errors
    /// [`JsonError`] if it is of another type.
    pub fn overlay(&mut self, option: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match option {
            "accounts" => reader.overlay_strings(&mut self.accounts),
            "include_unused" => reader.overlay_bool(&mut self.unused),
            _ => reader.skip(),
        }
    }

    /// The accounts, each with its clients and traffic.
    fn select<'a>(&'a self, view: &View<'a>) -> impl Iterator<Item = (&'a Arc<Account>, Usage)> {
        let all = &view.settings.accounts;
        let named = self.accounts.iter().filter_map(|name| all.find(name.as_bytes()));
        let others = all.iter().filter(|_| self.accounts.is_empty());
        let selected = named.chain(others).map(|account| (account, account.usage()));
        selected.filter(|(_, usage)| self.unused || usage.client_count > 0)
    }

    /// True if there are none.
    pub fn is_empty(&self, view: &View<'_>) -> bool {
        self.select(view).next().is_none()
    }
}

/// Makes the document of `/accstatz`.
pub fn accstatz<'a>(view: &'a View<'_>, query: &StatzQuery) -> AccountStatz<'a> {
    // Before the connections: one that leaves meanwhile may be missing, but is not counted twice.
    let accounts: Vec<_> = query.select(view).collect();
    let mut open = TrafficByAccount::new();
    add_traffic(&view.registry.conns(), &mut open);
    let account_statz = accounts.iter().map(|(account, usage)| {
        let open = open.get(&*account.name).copied().unwrap_or_default();
        account_stat(view, account, usage, &traffic(usage, &open))
    });
    AccountStatz {
        server_id: view.server_id(),
        now: view.date(view.now),
        account_statz: account_statz.collect(),
    }
}

/// The activity of an account; `traffic` is that of its connections.
pub fn account_stat(
    view: &View<'_>,
    account: &Account,
    usage: &Usage,
    traffic: &PerKind<Traffic>,
) -> AccountStat {
    let [mut all, routes] = [Kind::Client, Kind::Route].map(|kind| traffic[kind]);
    all += routes;
    AccountStat {
        acc: account.name.to_string(),
        name: account.name.to_string(),
        conns: usage.client_count,
        leafnodes: 0,
        total_conns: usage.client_count,
        num_subscriptions: view.sublist_stats(account).num_subscriptions as usize,
        sent: Data { all: Volume::sent(&all), routes: Volume::sent(&routes), ..Data::default() },
        received: Data {
            all: Volume::received(&all),
            routes: Volume::received(&routes),
            ..Data::default()
        },
        slow_consumers: usage.slow_consumers,
    }
}

/// The traffic of an account; `open` is that of its open connections.
pub fn traffic(usage: &Usage, open: &PerKind<Traffic>) -> PerKind<Traffic> {
    let mut all = PerKind::default();
    for kind in [Kind::Client, Kind::Route] {
        all[kind] = usage.traffic(kind, open[kind]);
    }
    all
}

/// Traffic of connections, by their account.
pub type TrafficByAccount = HashMap<String, PerKind<Traffic>>;

/// Adds the traffic of connections.
pub fn add_traffic(conns: &[Arc<Conn>], by_account: &mut TrafficByAccount) {
    // Requests to services are no traffic of an account.
    for conn in conns.iter().filter(|conn| conn.kind != Kind::System) {
        let about = conn.about();
        let known = match by_account.get_mut(about.account()) {
            Some(known) => known,
            None => by_account.entry(about.account().to_owned()).or_default(),
        };
        known[conn.kind] += conn.traffic();
    }
}
