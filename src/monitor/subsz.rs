//! `/subsz`: the subscriptions of all accounts, and the counters of their sublists.
//!
//! nats: server/monitor.go `Subsz`, `SubDetail`; server/sublist.go `SublistStats`

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::account::Account;
use crate::base::ids::Cid;
use crate::base::stats::CacheStats;
use crate::base::subject::is_valid_publish;
use crate::codec::date::Date;
use crate::codec::info::is_default;
use crate::codec::json::{JsonError, Reader};
use crate::conn::Conn;
use crate::conn::subscription::Subscription;
use crate::monitor::json::Float;
use crate::monitor::params::{Params, Subs, overlay_above_zero};
use crate::monitor::{LIMIT_DEFAULT, QueryError, View, page_range};
use crate::registry::{Closed, ClosedSubscription};
use crate::sublist::result::MatchResult;
use crate::sublist::{Entry, Interest, SublistStats};

/// The parameters of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Shows the subscriptions.
    pub subs: bool,
    /// Subscriptions to skip; none means 0.
    pub offset: Option<usize>,
    /// Subscriptions to show; none means [`LIMIT_DEFAULT`].
    pub limit: Option<usize>,
    /// Only those of this account, unless empty.
    pub account: String,
    /// Only those that match this subject, unless empty.
    pub test: String,
}

/// The document.
#[derive(Serialize)]
pub struct Subsz {
    pub server_id: String,
    pub now: Date,
    #[serde(flatten)]
    pub stats: Stats,
    pub total: usize,
    pub offset: usize,
    pub limit: usize,
    #[serde(skip_serializing_if = "OfAccounts::is_empty")]
    pub subscriptions_list: OfAccounts,
}

/// The subscriptions on the page by account, at least one of each.
#[derive(Default)]
pub struct OfAccounts(Vec<(Arc<Account>, Selected)>);

/// Part of the subscriptions of an account.
enum Selected {
    /// Part of those of these connections, looked up as they are written.
    Range { conns: Vec<Arc<Conn>>, skip: usize, room: usize },
    /// Those that match the subject to test.
    Matching(Vec<Subscription>),
}

/// The subjects of a connection's subscriptions.
pub struct SubjectList(Known);

/// All fields of a connection's subscriptions.
pub struct DetailList(Known);

/// The subscriptions of one connection, at least one.
pub enum Known {
    /// Those of an open connection, looked up as they are written.
    Open(Arc<Conn>),
    /// Those kept of an ended connection.
    Closed(Arc<Closed>),
}

/// Counters of sublists, and of the match caches in front of them.
///
/// nats-differs: each worker thread has its cache, so one subject may be in several of them.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    pub num_subscriptions: u64,
    pub num_cache: u64,
    pub num_inserts: u64,
    pub num_removes: u64,
    pub num_matches: u64,
    pub cache_hit_rate: Float,
    pub max_fanout: u64,
    pub avg_fanout: Float,
}

/// One subscription.
#[derive(Debug, Serialize)]
pub struct SubDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_tag: Option<String>,
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qgroup: Option<String>,
    pub sid: String,
    /// Messages delivered to it.
    pub msgs: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub cid: u64,
}

impl Query {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`QueryError`] for the first one that cannot be read.
    pub fn read(params: &Params) -> Result<Query, QueryError> {
        Ok(Query {
            subs: params.bool("subs")?,
            offset: params.above_zero("offset")?,
            limit: params.above_zero("limit")?,
            test: params.get("test").to_owned(),
            account: params.get("acc").to_owned(),
        })
    }

    /// Takes the value of an option in a JSON body.
    ///
    /// # Errors
    /// [`JsonError`] if it is of another type.
    pub fn overlay(&mut self, option: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match option {
            "offset" => overlay_above_zero(&mut self.offset, reader),
            "limit" => overlay_above_zero(&mut self.limit, reader),
            "subscriptions" => reader.overlay_bool(&mut self.subs),
            "account" => reader.overlay_string(&mut self.account, "string"),
            "test" => reader.overlay_string(&mut self.test, "string"),
            _ => reader.skip(),
        }
    }
}

/// Makes the document.
///
/// # Errors
/// [`QueryError`] if the subject to test is not one to publish to.
pub fn subsz(view: &View<'_>, query: &Query) -> Result<Subsz, QueryError> {
    let test = query.test.as_bytes();
    if !test.is_empty() && !is_valid_publish(test) {
        let subject = &query.test;
        return Err(QueryError(format!(
            "invalid test subject, must be valid publish subject: {subject}"
        )));
    }
    let mut subsz = Subsz {
        server_id: view.server_id().to_owned(),
        now: view.date(view.now),
        stats: Stats::default(),
        total: 0,
        offset: query.offset.unwrap_or(0),
        limit: query.limit.unwrap_or(LIMIT_DEFAULT),
        subscriptions_list: OfAccounts::default(),
    };
    let mut room = subsz.limit;
    for account in view.settings.accounts.iter() {
        if !query.account.is_empty() && *account.name != query.account {
            continue;
        }
        subsz.stats.add(view.sublist_stats(account));
        subsz.stats.set_cache(&view.registry.totals().cache);
        if !query.subs {
            continue;
        }
        let skip = subsz.offset.saturating_sub(subsz.total);
        let (selected, count) = select(view, account, test, skip, room);
        let range = page_range(skip, room, count);
        if !range.is_empty() {
            subsz.subscriptions_list.0.push((Arc::clone(account), selected));
        }
        room -= range.len();
        subsz.total += count;
    }
    Ok(subsz)
}

/// Part of the subscriptions that match `test`, or of all if it is empty, and the number of all.
fn select(
    view: &View<'_>,
    account: &Account,
    test: &[u8],
    skip: usize,
    room: usize,
) -> (Selected, usize) {
    if test.is_empty() {
        return (range(view, account, skip, room), account.with_sublist(|sublist| sublist.count()));
    }
    let mut found = MatchResult::new();
    account.match_into(test, &mut found);
    let page = found.iter().skip(skip).take(room).cloned().collect();
    (Selected::Matching(page), found.iter().count())
}

/// Part of all subscriptions, connection by connection: a walk over the sublist would lock it for
/// as long as it takes. Routes may have some of any account.
fn range(view: &View<'_>, account: &Account, mut skip: usize, room: usize) -> Selected {
    let mut conns = view.registry.conns();
    conns.retain(|conn| !conn.kind.is_client() || conn.about().account() == &*account.name);
    let passed = conns.iter().take_while(|conn| {
        let left = skip.checked_sub(count(conn, account));
        skip = left.unwrap_or(skip);
        left.is_some()
    });
    let passed = passed.count();
    conns.drain(..passed);
    Selected::Range { conns, skip, room }
}

/// The number of subscriptions of a connection in an account.
fn count(conn: &Conn, account: &Account) -> usize {
    match conn.kind.is_client() {
        true => conn.subscriptions().len(),
        false => conn.list_subscriptions().filter(|one| is_in(one, account)).count(),
    }
}

/// True if a subscription, of a client or of a route, is in that account.
fn is_in(subscription: &Subscription, account: &Account) -> bool {
    subscription.account().is_none_or(|name| name == account.name.as_bytes())
}

impl Selected {
    fn iter<'a>(&'a self, account: &'a Account) -> Box<dyn Iterator<Item = Subscription> + 'a> {
        match self {
            Selected::Range { conns, skip, room } => {
                let all = conns.iter().flat_map(|conn| conn.list_subscriptions());
                let all = all.filter(|one| is_in(one, account));
                Box::new(all.skip(*skip).take(*room))
            }
            Selected::Matching(page) => Box::new(page.iter().cloned()),
        }
    }
}

impl OfAccounts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for OfAccounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(|(account, selected)| {
            selected.iter(account).map(|one| SubDetail::of_account(&one, &account.name))
        }))
    }
}

/// The requested list of a connection's subscriptions, if it has any.
pub(super) fn lists(
    subs: Subs,
    known: impl FnOnce() -> Known,
) -> (Option<SubjectList>, Option<DetailList>) {
    match subs {
        Subs::None => (None, None),
        Subs::Subjects => (Some(known()).filter(Known::is_some).map(SubjectList), None),
        Subs::Detail => (None, Some(known()).filter(Known::is_some).map(DetailList)),
    }
}

impl Known {
    fn is_some(&self) -> bool {
        match self {
            Known::Open(conn) => !conn.subscriptions().is_empty(),
            Known::Closed(closed) => !closed.subscriptions.is_empty(),
        }
    }
}

impl Serialize for SubjectList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Known::Open(conn) => {
                serializer.collect_seq(conn.list_subscriptions().map(|one| text(one.subject())))
            }
            Known::Closed(closed) => {
                let all = closed.subscriptions.iter();
                serializer.collect_seq(all.map(|one| text(&one.subject)))
            }
        }
    }
}

impl Serialize for DetailList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Known::Open(conn) => serializer
                .collect_seq(conn.list_subscriptions().map(|one| SubDetail::of_client(&one))),
            Known::Closed(closed) => {
                let (all, cid) = (closed.subscriptions.iter(), closed.conn.cid);
                let about = closed.conn.about();
                serializer
                    .collect_seq(all.map(|one| SubDetail::of_closed(one, cid, about.account())))
            }
        }
    }
}

impl Stats {
    /// Adds the counters of an account.
    pub fn add(&mut self, stats: SublistStats) {
        self.num_subscriptions += stats.num_subscriptions;
        self.num_inserts += stats.num_inserts;
        self.num_removes += stats.num_removes;
    }

    /// Sets the counters of the match caches, which serve all accounts.
    pub fn set_cache(&mut self, cache: &CacheStats) {
        let share = |part: u64, of: u64| Float(if of == 0 { 0.0 } else { part as f64 / of as f64 });
        self.num_cache = cache.num_cache;
        self.num_matches = cache.num_matches;
        self.cache_hit_rate = share(cache.num_hits, cache.num_matches);
        self.max_fanout = cache.fanout_max;
        self.avg_fanout = share(cache.fanout_total, cache.num_cache);
    }
}

impl SubDetail {
    /// A subscription in the list of its connection.
    fn of_client(subscription: &Subscription) -> SubDetail {
        SubDetail {
            account: None,
            account_tag: None,
            subject: text(subscription.subject()),
            qgroup: subscription.queue().map(text),
            sid: sid(subscription),
            msgs: subscription.delivered(),
            max: subscription.max(),
            cid: subscription.conn().cid.0,
        }
    }

    /// A subscription with the name of its account.
    pub fn of_account(subscription: &Subscription, account: &str) -> SubDetail {
        SubDetail {
            account: Some(account.to_owned()),
            account_tag: Some(account.to_owned()),
            ..SubDetail::of_client(subscription)
        }
    }

    /// A subscription of an ended connection, without limit.
    fn of_closed(subscription: &ClosedSubscription, cid: Cid, account: &str) -> SubDetail {
        SubDetail {
            account: Some(account.to_owned()),
            account_tag: Some(account.to_owned()),
            subject: text(&subscription.subject),
            qgroup: subscription.queue.as_deref().map(text),
            sid: text(&subscription.sid),
            msgs: subscription.delivered,
            max: 0,
            cid: cid.0,
        }
    }
}

/// The client's name for a subscription; of a service, its number in the account; of interest
/// announced by another server, the arguments of RS+.
///
/// nats: server/route.go `processRemoteSub`
fn sid(subscription: &Subscription) -> String {
    match subscription.interest() {
        Interest::Local | Interest::Import => text(subscription.sid()),
        Interest::Inline => String::new(),
        Interest::Service => {
            let account_len = subscription.account().map_or(0, <[u8]>::len);
            text(subscription.sid()[account_len..].trim_ascii_start())
        }
        Interest::Route => {
            let account = Some(subscription.sid()).filter(|_| !subscription.conn().is_dedicated());
            let subject = [subscription.subject()];
            let words = account.into_iter().chain(subject).chain(subscription.queue());
            words.fold("R".to_owned(), |sid, word| sid + " " + &text(word))
        }
    }
}

/// Bytes of a client as text; bytes that are not UTF-8 are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
