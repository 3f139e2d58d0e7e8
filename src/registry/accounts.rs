//! `Accounts`: the accounts of the server by name.
//!
//! They are part of the settings, so finding one takes no lock. New settings may add accounts; none
//! is removed while the server runs, because clients may be in it.
//! nats: server/server.go `configureAccounts`, `LookupAccount`

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::Account;
use crate::base::limits::GLOBAL_ACCOUNT;
use crate::config::options::{AccountOptions, Options};

/// All accounts.
#[derive(Clone)]
pub struct Accounts {
    global: Arc<Account>,
    by_name: BTreeMap<Box<[u8]>, Arc<Account>>,
}

impl Accounts {
    /// The accounts of a server that starts.
    pub(super) fn new(options: &Options) -> Accounts {
        let global = Arc::new(Account::new(0, GLOBAL_ACCOUNT));
        let by_name = BTreeMap::from([(GLOBAL_ACCOUNT.as_bytes().into(), Arc::clone(&global))]);
        Accounts { global, by_name }.extended(options)
    }

    /// These accounts, and the new ones of the options, with the limits that are set there.
    pub(super) fn extended(&self, options: &Options) -> Accounts {
        let mut accounts = self.clone();
        for name in options.account_names() {
            let id = accounts.count();
            let account = || Arc::new(Account::new(id, name));
            accounts.by_name.entry(name.as_bytes().into()).or_insert_with(account);
        }
        for AccountOptions { name, limits } in &options.accounts {
            accounts.by_name[name.as_bytes()].set_limits(*limits);
        }
        accounts
    }

    /// Number of accounts; their ids are below it.
    pub fn count(&self) -> u32 {
        self.by_name.len() as u32
    }

    /// The account of clients without another one.
    pub fn global(&self) -> &Arc<Account> {
        &self.global
    }

    /// The account of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Account>> {
        self.by_name.get(name)
    }

    /// The account of a user: the named one, or else the global one.
    pub fn of_user(&self, account: Option<&str>) -> Option<&Arc<Account>> {
        account.map_or(Some(&self.global), |name| self.find(name.as_bytes()))
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_name.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_settings_bring_accounts_and_take_none() {
        let options = |names: &[&str]| {
            let accounts = names.iter().copied().map(AccountOptions::new).collect();
            Options { accounts, ..Options::default() }
        };
        let names = |accounts: &Accounts| {
            accounts.iter().map(|one| (one.name.to_string(), one.id)).collect::<Vec<_>>()
        };
        let first = Accounts::new(&options(&["b"]));
        let [g, sys, b] = [("$G", 0), ("$SYS", 1), ("b", 2)].map(|(n, id)| (n.to_owned(), id));
        assert_eq!(names(&first), [g.clone(), sys.clone(), b.clone()]);
        let then = first.extended(&options(&["a"]));
        assert_eq!(names(&then), [g, sys, ("a".to_owned(), 3), b]);
        assert!(Arc::ptr_eq(first.find(b"b").unwrap(), then.find(b"b").unwrap()));
        assert!(Arc::ptr_eq(first.global(), then.of_user(None).unwrap()));
        assert!(then.of_user(Some("c")).is_none());
        let without = Accounts::new(&Options { no_system_account: true, ..Options::default() });
        assert_eq!(without.count(), 1);
    }
}
