//! `Accounts`: the accounts of the server by name, and their imports.
//!
//! They are part of the settings, so finding one takes no lock. An account that new settings do not
//! name any more is *former*: its clients are about to leave, interest of other servers in it is
//! still listed, and settings that name it again get the same account.
//! nats: server/server.go `configureAccounts`, `LookupAccount`

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::account::Account;
use crate::base::limits::GLOBAL_ACCOUNT;
use crate::config::imports::{AccountImports, Digest, Imports, OfSystem, Services, StreamImport};
use crate::config::options::{Options, TraceDest};
use crate::mappings::Mappings;

type ByName = BTreeMap<Box<[u8]>, Arc<Account>>;

/// All accounts.
pub struct Accounts {
    global: Arc<Account>,
    by_name: ByName,
    former: ByName,
    /// The mappings of an account, by its id; no id has some from the end on.
    mappings: Vec<Option<Arc<Mappings>>>,
    imports: Arc<AllImports>,
    /// The destination for traces of an account, by its id; no id has one from the end on.
    trace_dests: Vec<Option<TraceDest>>,
}

/// The imports of all accounts. Settings that change none of them keep the same value.
#[derive(Default)]
struct AllImports {
    digest: Digest,
    /// Those of each account, by its id.
    by_id: Vec<Arc<AccountImports>>,
    /// Those of the system account's services, which every account has.
    of_system: Option<Arc<OfSystem>>,
}

impl Accounts {
    /// The accounts of a server that starts, with the `imports` of the configured ones.
    pub(super) fn new(options: &Options, imports: Imports) -> Accounts {
        let global = Arc::new(Account::new(0, GLOBAL_ACCOUNT));
        let by_name = BTreeMap::from([(GLOBAL_ACCOUNT.as_bytes().into(), Arc::clone(&global))]);
        Accounts::named(global, by_name, BTreeMap::new()).replaced(options, imports)
    }

    /// The accounts of these options, with the limits that are set there. Those known keep all that
    /// is in them.
    pub(super) fn replaced(&self, options: &Options, imports: Imports) -> Accounts {
        let mut by_name = BTreeMap::new();
        let mut count = self.count();
        for name in options.account_names() {
            by_name.entry(name.as_bytes().into()).or_insert_with(|| {
                self.find_any(name.as_bytes()).cloned().unwrap_or_else(|| {
                    count += 1;
                    Arc::new(Account::new(count - 1, name))
                })
            });
        }
        let known = self.by_name.iter().chain(&self.former);
        let left = known.filter(|(name, _)| !by_name.contains_key(*name));
        let former = left.map(|(name, account)| (name.clone(), Arc::clone(account))).collect();
        let limits = options.accounts.iter().map(|account| (&*account.name, account.limits));
        let limits: HashMap<_, _, RandomState> = limits.collect();
        for account in by_name.values() {
            account.set_limits(limits.get(&*account.name).copied().unwrap_or_default());
        }
        let mut accounts = Accounts::named(Arc::clone(&self.global), by_name, former);
        accounts.set_mappings(options);
        accounts.set_trace_dests(options);
        accounts.imports = match imports.compiled {
            Some(compiled) => {
                Arc::new(accounts.all_imports(options, imports.digest, compiled, self))
            }
            None => {
                assert_eq!(imports.digest, self.imports.digest, "those in force are known");
                Arc::clone(&self.imports)
            }
        };
        accounts
    }

    /// Accounts that have nothing but a name.
    fn named(global: Arc<Account>, by_name: ByName, former: ByName) -> Accounts {
        let (mappings, imports, trace_dests) = (Vec::new(), Arc::default(), Vec::new());
        Accounts { global, by_name, former, mappings, imports, trace_dests }
    }

    /// Those `compiled` from the options. Imports that are equal to those `before` stay the same
    /// values.
    fn all_imports(
        &self,
        options: &Options,
        digest: Digest,
        compiled: Vec<AccountImports>,
        before: &Accounts,
    ) -> AllImports {
        let mut imports = Vec::new();
        imports.resize_with(self.count() as usize, AccountImports::default);
        for (account, compiled) in options.accounts.iter().zip(compiled) {
            imports[self.by_name[account.name.as_bytes()].id as usize] = compiled;
        }
        let of_system = options.system_account().map(|name| {
            let known = before.imports.of_system.as_ref();
            let known = known.filter(|of_system| of_system.are_of(name));
            known.cloned().unwrap_or_else(|| Arc::new(OfSystem::new(name)))
        });
        if let Some(of_system) = &of_system {
            for account in self.by_name.values() {
                let services = &mut imports[account.id as usize].services;
                services.extend(of_system.imports(&account.name, before.services(account)));
            }
            for name in options.accounts_with_jetstream() {
                let services = &mut imports[self.by_name[name.as_bytes()].id as usize].services;
                services.extend(of_system.jetstream(name).map(Arc::new));
            }
        }
        let imports = imports.into_iter().enumerate();
        let by_id = imports
            .map(|(id, imports)| match before.imports.by_id.get(id) {
                Some(before) => imports.in_place_of(before),
                None => Arc::new(imports),
            })
            .collect();
        AllImports { digest, by_id, of_system }
    }

    /// The digest of all imports.
    pub fn imports_digest(&self) -> Digest {
        self.imports.digest
    }

    fn set_mappings(&mut self, options: &Options) {
        let cluster = options.cluster.as_ref().and_then(|cluster| cluster.name.as_deref());
        for (name, mappings) in options.mappings_by_account() {
            if let Some(mappings) = Mappings::new(mappings, cluster) {
                let id = self.by_name[name.as_bytes()].id as usize;
                self.mappings.resize(self.mappings.len().max(id + 1), None);
                self.mappings[id] = Some(Arc::new(mappings));
            }
        }
    }

    fn set_trace_dests(&mut self, options: &Options) {
        for account in options.accounts.iter().filter(|account| account.msg_trace.is_some()) {
            let id = self.by_name[account.name.as_bytes()].id as usize;
            self.trace_dests.resize(self.trace_dests.len().max(id + 1), None);
            self.trace_dests[id].clone_from(&account.msg_trace);
        }
    }

    /// The destination for traces of an account, if it has one.
    #[inline]
    pub fn trace_dest(&self, account: &Account) -> Option<&TraceDest> {
        self.trace_dests.get(account.id as usize)?.as_ref()
    }

    /// The mappings of an account, if it has some.
    #[inline]
    pub fn mappings(&self, account: &Account) -> Option<&Arc<Mappings>> {
        self.mappings.get(account.id as usize)?.as_ref()
    }

    /// Number of accounts so far; their ids are below it.
    pub fn count(&self) -> u32 {
        (self.by_name.len() + self.former.len()) as u32
    }

    /// The account of clients without another one.
    pub fn global(&self) -> &Arc<Account> {
        &self.global
    }

    /// The account of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Account>> {
        self.by_name.get(name)
    }

    /// The account of that name, or the former one.
    pub fn find_any(&self, name: &[u8]) -> Option<&Arc<Account>> {
        self.find(name).or_else(|| self.former.get(name))
    }

    /// The account of a user: the named one, or else the global one.
    pub fn of_user(&self, account: Option<&str>) -> Option<&Arc<Account>> {
        account.map_or(Some(&self.global), |name| self.find(name.as_bytes()))
    }

    /// All of them and all former ones.
    pub fn iter_any(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_name.values().chain(self.former.values())
    }

    /// The imports of an account.
    pub fn imports(&self, account: &Account) -> &Arc<AccountImports> {
        &self.imports.by_id[account.id as usize]
    }

    /// True if all imports are the same as in those accounts.
    pub fn import_as(&self, others: &Accounts) -> bool {
        let [these, those] = [self, others].map(|accounts| &accounts.imports);
        let is_same = |(one, other)| Arc::ptr_eq(one, other);
        Arc::ptr_eq(these, those)
            || these.by_id.len() == those.by_id.len()
                && these.by_id.iter().zip(&those.by_id).all(is_same)
    }

    /// The services that an account imports. An account of later settings has no imports yet.
    #[inline]
    pub fn services(&self, importer: &Account) -> Option<&Services> {
        self.imports.by_id.get(importer.id as usize).map(|imports| &imports.services)
    }

    /// True if an import is in force, and not of earlier settings.
    pub fn have(&self, import: &Arc<StreamImport>) -> bool {
        let importer = self.find(import.importer.as_bytes());
        importer.is_some_and(|importer| self.imports(importer).holds(import))
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_name.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{AccountLimits, AccountOptions};

    fn accounts(options: &Options) -> Accounts {
        Accounts::new(options, Imports::new(options, None).0)
    }

    /// Those of the next settings, as a reload makes them.
    fn replaced(before: &Accounts, options: &Options) -> Accounts {
        before.replaced(options, Imports::new(options, Some(before.imports_digest())).0)
    }

    #[test]
    fn new_settings_bring_accounts_and_take_some() {
        let options = |names: &[&str]| {
            let accounts = names.iter().copied().map(AccountOptions::new).collect();
            Options { accounts, ..Options::default() }
        };
        let names = |accounts: &Accounts| {
            accounts.iter().map(|one| (one.name.to_string(), one.id)).collect::<Vec<_>>()
        };
        let first = accounts(&options(&["b"]));
        let [g, sys, b] = [("$G", 0), ("$SYS", 1), ("b", 2)].map(|(n, id)| (n.to_owned(), id));
        assert_eq!(names(&first), [g.clone(), sys.clone(), b.clone()]);
        let a = ("a".to_owned(), 3);
        let then = replaced(&first, &options(&["a", "b"]));
        assert_eq!(names(&then), [g.clone(), sys.clone(), a.clone(), b.clone()]);
        assert!(Arc::ptr_eq(first.find(b"b").unwrap(), then.find(b"b").unwrap()));
        assert!(Arc::ptr_eq(first.global(), then.of_user(None).unwrap()));
        assert!(then.of_user(Some("c")).is_none());
        let less = replaced(&then, &options(&["a"]));
        assert_eq!(names(&less), [g.clone(), sys.clone(), a.clone()]);
        assert!(less.find(b"b").is_none() && less.find_any(b"b").is_some());
        let again = replaced(&less, &options(&["c", "b"]));
        assert_eq!(names(&again), [g, sys, b, ("c".to_owned(), 4)]);
        let options = Options { no_system_account: true, ..Options::default() };
        let without = accounts(&options);
        assert_eq!(without.iter().count(), 1);
    }

    #[test]
    fn imports_from_the_system_account_stay_as_long_as_it_does() {
        let options = |jetstream, system_account: &str| {
            let a = AccountOptions { jetstream, ..AccountOptions::new("a") };
            let accounts = vec![a, AccountOptions::new("S")];
            Options {
                accounts,
                system_account: Some(system_account.to_owned()),
                ..Options::default()
            }
        };
        let services = |accounts: &Accounts| {
            let services = accounts.services(accounts.find(b"a").unwrap()).unwrap();
            services.iter().cloned().collect::<Vec<_>>()
        };
        let first = accounts(&options(false, "$SYS"));
        let then = replaced(&first, &options(true, "$SYS"));
        let [old, new] = [&first, &then].map(services);
        assert_eq!([old.len(), new.len()], [4, 5]);
        assert!(old.iter().zip(&new).all(|(old, new)| Arc::ptr_eq(old, new)));
        let other = services(&replaced(&then, &options(true, "S")));
        assert_eq!(other.iter().map(|one| &*one.exporter).collect::<Vec<_>>(), ["S"; 5]);
    }

    #[test]
    fn limits_that_are_not_set_any_more_are_none() {
        let limited = |max_connections| {
            let limits = AccountLimits { max_connections, ..AccountLimits::default() };
            let accounts = vec![AccountOptions { limits, ..AccountOptions::new("a") }];
            Options { accounts, ..Options::default() }
        };
        let accounts = accounts(&limited(Some(3)));
        let max = || accounts.find(b"a").unwrap().limits().max_connections;
        assert_eq!(max(), Some(3));
        replaced(&accounts, &limited(None));
        assert_eq!(max(), None);
    }
}
