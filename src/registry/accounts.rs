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
use crate::config::imports::{AccountImports, OfSystem, Services, StreamImport};
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
    /// The imports of each account, by its id.
    imports: Vec<Arc<AccountImports>>,
    /// Those of the system account's services, which every account has.
    of_system: Option<Arc<OfSystem>>,
    /// The destination for traces of an account, by its id; no id has one from the end on.
    trace_dests: Vec<Option<TraceDest>>,
}

impl Accounts {
    /// The accounts of a server that starts, with the compiled `imports` of the configured ones.
    pub(super) fn new(options: &Options, imports: Vec<AccountImports>) -> Accounts {
        let global = Arc::new(Account::new(0, GLOBAL_ACCOUNT));
        let by_name = BTreeMap::from([(GLOBAL_ACCOUNT.as_bytes().into(), Arc::clone(&global))]);
        Accounts::named(global, by_name, BTreeMap::new()).replaced(options, imports)
    }

    /// The accounts of these options, with the limits that are set there. Those known keep all that
    /// is in them.
    pub(super) fn replaced(&self, options: &Options, imports: Vec<AccountImports>) -> Accounts {
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
        accounts.set_imports(options, imports, self);
        accounts
    }

    /// Accounts that have nothing but a name.
    fn named(global: Arc<Account>, by_name: ByName, former: ByName) -> Accounts {
        let (mappings, imports, trace_dests) = (Vec::new(), Vec::new(), Vec::new());
        Accounts { global, by_name, former, mappings, imports, of_system: None, trace_dests }
    }

    /// Sets those `compiled` from the options. Imports that are equal to those `before` stay the
    /// same values.
    fn set_imports(&mut self, options: &Options, compiled: Vec<AccountImports>, before: &Accounts) {
        let mut imports = Vec::new();
        imports.resize_with(self.count() as usize, AccountImports::default);
        for (account, compiled) in options.accounts.iter().zip(compiled) {
            imports[self.by_name[account.name.as_bytes()].id as usize] = compiled;
        }
        self.of_system = options.system_account().map(|name| {
            let known = before.of_system.as_ref().filter(|of_system| of_system.are_of(name));
            known.cloned().unwrap_or_else(|| Arc::new(OfSystem::new(name)))
        });
        if let Some(of_system) = &self.of_system {
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
        self.imports = imports
            .map(|(id, imports)| match before.imports.get(id) {
                Some(before) => imports.in_place_of(before),
                None => Arc::new(imports),
            })
            .collect();
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
        &self.imports[account.id as usize]
    }

    /// True if all imports are the same as in those accounts.
    pub fn import_as(&self, others: &Accounts) -> bool {
        let is_same = |(one, other)| Arc::ptr_eq(one, other);
        self.imports.len() == others.imports.len()
            && self.imports.iter().zip(&others.imports).all(is_same)
    }

    /// The services that an account imports. An account of later settings has no imports yet.
    #[inline]
    pub fn services(&self, importer: &Account) -> Option<&Services> {
        self.imports.get(importer.id as usize).map(|imports| &imports.services)
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

    #[test]
    fn new_settings_bring_accounts_and_take_some() {
        let options = |names: &[&str]| {
            let accounts = names.iter().copied().map(AccountOptions::new).collect();
            Options { accounts, ..Options::default() }
        };
        let names = |accounts: &Accounts| {
            accounts.iter().map(|one| (one.name.to_string(), one.id)).collect::<Vec<_>>()
        };
        let first = Accounts::new(&options(&["b"]), Vec::new());
        let [g, sys, b] = [("$G", 0), ("$SYS", 1), ("b", 2)].map(|(n, id)| (n.to_owned(), id));
        assert_eq!(names(&first), [g.clone(), sys.clone(), b.clone()]);
        let a = ("a".to_owned(), 3);
        let then = first.replaced(&options(&["a", "b"]), Vec::new());
        assert_eq!(names(&then), [g.clone(), sys.clone(), a.clone(), b.clone()]);
        assert!(Arc::ptr_eq(first.find(b"b").unwrap(), then.find(b"b").unwrap()));
        assert!(Arc::ptr_eq(first.global(), then.of_user(None).unwrap()));
        assert!(then.of_user(Some("c")).is_none());
        let less = then.replaced(&options(&["a"]), Vec::new());
        assert_eq!(names(&less), [g.clone(), sys.clone(), a.clone()]);
        assert!(less.find(b"b").is_none() && less.find_any(b"b").is_some());
        let again = less.replaced(&options(&["c", "b"]), Vec::new());
        assert_eq!(names(&again), [g, sys, b, ("c".to_owned(), 4)]);
        let options = Options { no_system_account: true, ..Options::default() };
        let without = Accounts::new(&options, Vec::new());
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
        let compiled = || vec![AccountImports::default(), AccountImports::default()];
        let services = |accounts: &Accounts| {
            let services = accounts.services(accounts.find(b"a").unwrap()).unwrap();
            services.iter().cloned().collect::<Vec<_>>()
        };
        let first = Accounts::new(&options(false, "$SYS"), compiled());
        let then = first.replaced(&options(true, "$SYS"), compiled());
        let [old, new] = [&first, &then].map(services);
        assert_eq!([old.len(), new.len()], [4, 5]);
        assert!(old.iter().zip(&new).all(|(old, new)| Arc::ptr_eq(old, new)));
        let other = services(&then.replaced(&options(true, "S"), compiled()));
        assert_eq!(other.iter().map(|one| &*one.exporter).collect::<Vec<_>>(), ["S"; 5]);
    }

    #[test]
    fn limits_that_are_not_set_any_more_are_none() {
        let limited = |max_connections| {
            let limits = AccountLimits { max_connections, ..AccountLimits::default() };
            let accounts = vec![AccountOptions { limits, ..AccountOptions::new("a") }];
            Options { accounts, ..Options::default() }
        };
        let accounts = Accounts::new(&limited(Some(3)), Vec::new());
        let max = || accounts.find(b"a").unwrap().limits().max_connections;
        assert_eq!(max(), Some(3));
        accounts.replaced(&limited(None), Vec::new());
        assert_eq!(max(), None);
    }
}
